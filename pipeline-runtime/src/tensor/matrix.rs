//! The weights of linear maps.

use std::ops::Deref;
use std::sync::Arc;

use half::{bf16, f16};
use pipeline_schema::DType;

use crate::checkpoint::{MappedSlice, Number};
use crate::error::{Error, Result};
use crate::gpu;
use crate::kernels::MatrixRef;
use crate::tensor::DeviceTensor;

/// The numbers of a weight matrix: in place in a mapped file, or in memory. Cheap to clone.
#[derive(Clone, Debug)]
pub enum WeightNumbers<T> {
    /// In the file, whose bytes are aligned for `T`.
    Mapped(MappedSlice),
    /// In memory.
    Owned(Arc<Vec<T>>),
}

impl<T: Number> WeightNumbers<T> {
    /// The numbers of a mapped file, in place where they are aligned, else copied.
    pub fn mapped(slice: MappedSlice) -> WeightNumbers<T> {
        match slice.borrowed::<T>() {
            Some(_) => WeightNumbers::Mapped(slice),
            None => WeightNumbers::from(slice.numbers::<T>().into_owned()),
        }
    }
}

impl<T> From<Vec<T>> for WeightNumbers<T> {
    fn from(numbers: Vec<T>) -> WeightNumbers<T> {
        WeightNumbers::Owned(Arc::new(numbers))
    }
}

impl<T: Number> Deref for WeightNumbers<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            WeightNumbers::Mapped(slice) => slice.borrowed().expect("only aligned bytes are used in place"),
            WeightNumbers::Owned(numbers) => numbers,
        }
    }
}

/// A weight matrix `(out_features, in_features)`, row-major, in the number format it is computed in.
#[derive(Clone, Debug)]
pub struct Matrix {
    numbers: Numbers,
    out_features: usize,
    in_features: usize,
}

#[derive(Clone, Debug)]
enum Numbers {
    F32(WeightNumbers<f32>),
    Bf16(WeightNumbers<bf16>),
    /// For devices: the processor has no arithmetic in `f16`.
    F16(WeightNumbers<f16>),
    Device(DeviceTensor),
}

impl Matrix {
    /// A matrix of `f32` numbers.
    ///
    /// # Panics
    /// `numbers` does not hold `out_features * in_features` elements.
    pub fn from_f32(numbers: WeightNumbers<f32>, out_features: usize, in_features: usize) -> Matrix {
        assert_eq!(numbers.len(), out_features * in_features, "a matrix is full");
        Matrix { numbers: Numbers::F32(numbers), out_features, in_features }
    }

    /// A matrix of `bf16` numbers.
    ///
    /// # Panics
    /// `numbers` does not hold `out_features * in_features` elements.
    pub fn from_bf16(numbers: WeightNumbers<bf16>, out_features: usize, in_features: usize) -> Matrix {
        assert_eq!(numbers.len(), out_features * in_features, "a matrix is full");
        Matrix { numbers: Numbers::Bf16(numbers), out_features, in_features }
    }

    /// A matrix of `f16` numbers, to be taken to a device.
    ///
    /// # Panics
    /// `numbers` does not hold `out_features * in_features` elements.
    pub fn from_f16(numbers: WeightNumbers<f16>, out_features: usize, in_features: usize) -> Matrix {
        assert_eq!(numbers.len(), out_features * in_features, "a matrix is full");
        Matrix { numbers: Numbers::F16(numbers), out_features, in_features }
    }

    /// Matrices of one number format and width below each other in the memory of a device, straight from where their
    /// numbers are: no second copy is made on the host.
    ///
    /// # Errors
    /// There is too little memory, widths or number formats differ, or there is no matrix.
    pub fn stacked_on(device: &gpu::Device, parts: &[&Matrix]) -> Result<Matrix> {
        let mismatch = |found: String| Error::Shape {
            operation: "stacked_on",
            expected: "matrices of one width and number format".to_owned(),
            found,
        };
        let Some(first) = parts.first() else { return Err(mismatch("none".to_owned())) };
        let (dtype, in_features) = (first.dtype(), first.in_features);
        if let Some(other) =
            parts.iter().find(|part| part.in_features != in_features || part.dtype() != dtype)
        {
            return Err(mismatch(format!("({}, {})", other.out_features, other.in_features)));
        }
        let out_features = parts.iter().map(|part| part.out_features).sum();
        let whole = DeviceTensor::uninitialised(device, dtype, &[out_features, in_features])?;
        let mut offset = 0;
        for part in parts {
            part.write_to(device, whole.buffer(), offset)?;
            offset += part.size();
        }
        Ok(Matrix { numbers: Numbers::Device(whole), out_features, in_features })
    }

    /// A matrix in the memory of a device that repeats the numbers of `block`: nothing else is copied there.
    ///
    /// # Errors
    /// There is too little memory, or the block is empty.
    pub fn repeated_on(
        device: &gpu::Device,
        block: &Matrix,
        out_features: usize,
        in_features: usize,
    ) -> Result<Matrix> {
        let whole = DeviceTensor::uninitialised(device, block.dtype(), &[out_features, in_features])?;
        let (buffer, mut written) = (whole.buffer(), block.size());
        if written == 0 || written > buffer.bytes() {
            return Err(Error::Shape {
                operation: "repeated_on",
                expected: format!("from 1 to {} numbers", out_features * in_features),
                found: format!("{}", block.out_features * block.in_features),
            });
        }
        block.write_to(device, buffer, 0)?;
        while written < buffer.bytes() {
            let more = written.min(buffer.bytes() - written);
            device.copy(buffer, written, buffer, 0, more)?;
            written += more;
        }
        Ok(Matrix { numbers: Numbers::Device(whole), out_features, in_features })
    }

    /// Copies the numbers to memory of a device, from byte `offset` on.
    ///
    /// # Panics
    /// They do not fit.
    ///
    /// # Errors
    /// The device refuses.
    pub fn write_to(&self, device: &gpu::Device, buffer: &gpu::Buffer, offset: usize) -> Result<()> {
        match &self.numbers {
            Numbers::F32(numbers) => device.write(buffer, offset, numbers),
            Numbers::Bf16(numbers) => device.write(buffer, offset, numbers),
            Numbers::F16(numbers) => device.write(buffer, offset, numbers),
            Numbers::Device(tensor) => device.copy(buffer, offset, tensor.buffer(), 0, self.size()),
        }
    }

    /// The number format.
    pub fn dtype(&self) -> DType {
        match &self.numbers {
            Numbers::F32(_) => DType::F32,
            Numbers::Bf16(_) => DType::BF16,
            Numbers::F16(_) => DType::F16,
            Numbers::Device(tensor) => tensor.dtype(),
        }
    }

    /// The weights on a GPU, `None` on the processor.
    pub fn on_device(&self) -> Option<&DeviceTensor> {
        match &self.numbers {
            Numbers::Device(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Rows: the features that come out.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns: the features that go in.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Bytes of the weights.
    pub fn size(&self) -> usize {
        self.out_features * self.in_features * self.dtype().size()
    }

    /// The weights as the processor's kernels take them.
    ///
    /// # Errors
    /// They are on a GPU, or in `f16`.
    pub fn on_host(&self) -> Result<MatrixRef<'_>> {
        match &self.numbers {
            Numbers::F32(numbers) => Ok(MatrixRef::F32(numbers)),
            Numbers::Bf16(numbers) => Ok(MatrixRef::Bf16(numbers)),
            Numbers::F16(_) | Numbers::Device(_) => Err(Error::Shape {
                operation: "on_host",
                expected: "weights in f32 or bf16 on the processor".to_owned(),
                found: match self.on_device() {
                    Some(tensor) => format!("weights on {}", tensor.device()),
                    None => format!("weights in {}", self.dtype()),
                },
            }),
        }
    }

    /// Writes row `index` into `row`, widened to `f32`.
    ///
    /// # Panics
    /// There is no such row, or `row` is not `in_features` long.
    ///
    /// # Errors
    /// The weights are not the processor's.
    pub fn copy_row(&self, index: usize, row: &mut [f32]) -> Result<()> {
        let range = index * self.in_features..(index + 1) * self.in_features;
        match self.on_host()? {
            MatrixRef::F32(numbers) => row.copy_from_slice(&numbers[range]),
            MatrixRef::Bf16(numbers) => {
                for (widened, number) in row.iter_mut().zip(&numbers[range]) {
                    *widened = number.to_f32();
                }
            }
        }
        Ok(())
    }
}
