//! The weights of linear maps.

use std::ops::Deref;
use std::sync::Arc;

use half::{bf16, f16};
use pipeline_schema::DType;

use crate::checkpoint::{MappedSlice, Number};
use crate::error::{Error, Result};
use crate::gpu;
use crate::kernels::quantized::{dequantize, quantize_with};
use crate::kernels::{MatrixRef, QuantizedFormat, QuantizedRef};
use crate::tensor::{DeviceBlocks, DeviceTensor};

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

/// A weight matrix `(out_features, in_features)`, row-major, in the number format it is computed in, or quantised.
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
    /// ggml's blocks.
    Blocks {
        format: QuantizedFormat,
        blocks: Arc<Vec<u8>>,
        dtype: DType,
    },
    Device(DeviceTensor),
    DeviceBlocks(DeviceBlocks),
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

    /// The matrix in a format of blocks, quantised on all threads; `dtype` is the number format of the activations that
    /// it will meet on a device.
    ///
    /// # Errors
    /// Rows are no whole blocks, or the weights are on a device or quantised already.
    pub fn quantized(&self, format: QuantizedFormat, dtype: DType) -> Result<Matrix> {
        let weights = self.out_features * self.in_features;
        if !self.in_features.is_multiple_of(format.block()) {
            return Err(self.mismatch("quantized", format!("rows of whole blocks of {format}")));
        }
        let blocks = match &self.numbers {
            Numbers::F32(numbers) => quantize_with(format, weights, |range| numbers[range].to_vec()),
            Numbers::Bf16(numbers) => quantize_with(format, weights, |range| {
                numbers[range].iter().map(|number| number.to_f32()).collect()
            }),
            Numbers::F16(numbers) => quantize_with(format, weights, |range| {
                numbers[range].iter().map(|number| number.to_f32()).collect()
            }),
            Numbers::Blocks { .. } | Numbers::Device(_) | Numbers::DeviceBlocks(_) => {
                return Err(self.mismatch("quantized", "dense weights on the processor".to_owned()));
            }
        };
        Ok(Matrix::from_blocks(format, blocks?, dtype, self.out_features, self.in_features))
    }

    /// A matrix of ggml's blocks; `dtype` is the number format of the activations that it will meet on a device.
    ///
    /// # Panics
    /// Rows are no whole blocks, or `blocks` does not hold `out_features * in_features` weights.
    pub fn from_blocks(
        format: QuantizedFormat,
        blocks: Vec<u8>,
        dtype: DType,
        out_features: usize,
        in_features: usize,
    ) -> Matrix {
        assert!(in_features.is_multiple_of(format.block()), "rows are whole blocks");
        assert_eq!(blocks.len(), format.bytes(out_features * in_features), "a matrix is full");
        let numbers = Numbers::Blocks { format, blocks: Arc::new(blocks), dtype };
        Matrix { numbers, out_features, in_features }
    }

    /// Matrices of one format and width below each other in the memory of a device, straight from where their numbers
    /// are: no second copy is made on the host.
    ///
    /// # Errors
    /// There is too little memory, widths or formats differ, or there is no matrix.
    pub fn stacked_on(device: &gpu::Device, parts: &[&Matrix]) -> Result<Matrix> {
        let mismatch = |found: String| Error::Shape {
            operation: "stacked_on",
            expected: "matrices of one width and format".to_owned(),
            found,
        };
        let Some(first) = parts.first() else { return Err(mismatch("none".to_owned())) };
        let alike = |part: &Matrix| {
            (part.in_features, part.dtype(), part.quantization())
                == (first.in_features, first.dtype(), first.quantization())
        };
        if let Some(other) = parts.iter().find(|part| !alike(part)) {
            return Err(mismatch(format!("({}, {})", other.out_features, other.in_features)));
        }
        let out_features = parts.iter().map(|part| part.out_features).sum();
        let whole = first.room_on(device, out_features)?;
        let mut row = 0;
        for part in parts {
            part.write_to(&whole, row)?;
            row += part.out_features;
        }
        Ok(whole)
    }

    /// A matrix in the memory of a device, of the format and width of this one, whose numbers are not set.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn room_on(&self, device: &gpu::Device, out_features: usize) -> Result<Matrix> {
        let in_features = self.in_features;
        let numbers = match self.quantization() {
            None => Numbers::Device(DeviceTensor::uninitialised(
                device,
                self.dtype(),
                &[out_features, in_features],
            )?),
            Some(format) => {
                let weights = out_features * in_features;
                Numbers::DeviceBlocks(DeviceBlocks::uninitialised(device, format, self.dtype(), weights)?)
            }
        };
        Ok(Matrix { numbers, out_features, in_features })
    }

    /// A matrix in the memory of a device that repeats the numbers of `block`, a single row: nothing else is copied there.
    ///
    /// # Errors
    /// There is too little memory, or the block is empty, longer than the matrix, or not of the matrix's blocks.
    pub fn repeated_on(
        device: &gpu::Device,
        block: &Matrix,
        out_features: usize,
        in_features: usize,
    ) -> Result<Matrix> {
        let (length, given) = (out_features * in_features, block.out_features * block.in_features);
        let unit = block.quantization().map_or(1, QuantizedFormat::block);
        if given == 0 || given > length || !in_features.is_multiple_of(unit) {
            return Err(Error::Shape {
                operation: "repeated_on",
                expected: format!("from 1 to {length} numbers"),
                found: format!("{given}"),
            });
        }
        // The row is in a matrix as wide as all of it for as long as it is written.
        let whole = Matrix { in_features: length, ..block.clone() }.room_on(device, 1)?;
        block.write_numbers(&whole, 0)?;
        let buffer = whole.device_memory().map(|(_, buffer)| buffer).expect("it was made on a device");
        let mut begin = 0;
        for bytes in block.section_bytes() {
            let end = begin + length / unit * bytes;
            let mut written = begin + given / unit * bytes;
            while written < end {
                let more = (written - begin).min(end - written);
                device.copy(buffer, written, buffer, begin, more)?;
                written += more;
            }
            begin = end;
        }
        Ok(Matrix { out_features, in_features, ..whole })
    }

    /// Copies the rows into a matrix on a device that was made with [`room_on`](Self::room_on), from row `row` on.
    ///
    /// # Panics
    /// They do not fit.
    ///
    /// # Errors
    /// The device refuses, or the other matrix is none of this format and width on a device.
    pub fn write_to(&self, whole: &Matrix, row: usize) -> Result<()> {
        if (whole.in_features, whole.dtype(), whole.quantization())
            != (self.in_features, self.dtype(), self.quantization())
        {
            return Err(self.mismatch("write_to", "matrices of one width and format".to_owned()));
        }
        assert!(row + self.out_features <= whole.out_features, "rows of {}", whole.out_features);
        self.write_numbers(whole, row * self.in_features)
    }

    /// Copies the numbers to those from number `first` on, a whole number of blocks.
    fn write_numbers(&self, whole: &Matrix, first: usize) -> Result<()> {
        let Some((device, buffer)) = whole.device_memory() else {
            return Err(whole.mismatch("write_to", "a matrix on a device".to_owned()));
        };
        match &self.numbers {
            Numbers::F32(numbers) => device.write(buffer, first * 4, numbers),
            Numbers::Bf16(numbers) => device.write(buffer, first * 2, numbers),
            Numbers::F16(numbers) => device.write(buffer, first * 2, numbers),
            Numbers::Device(tensor) => {
                device.copy(buffer, first * tensor.dtype().size(), tensor.buffer(), 0, self.size())
            }
            Numbers::Blocks { format, blocks, .. } => {
                let mut begin = 0;
                for section in format.sections() {
                    let offset = begin + first / format.block() * section.len();
                    device.write(buffer, offset, &format.section(blocks, section))?;
                    begin += whole.out_features * whole.in_features / format.block() * section.len();
                }
                Ok(())
            }
            Numbers::DeviceBlocks(part) => {
                let format = part.format();
                let (mut begin, mut source) = (0, 0);
                for section in format.sections() {
                    let bytes = self.out_features * self.in_features / format.block() * section.len();
                    let offset = begin + first / format.block() * section.len();
                    device.copy(buffer, offset, part.buffer(), source, bytes)?;
                    begin += whole.out_features * whole.in_features / format.block() * section.len();
                    source += bytes;
                }
                Ok(())
            }
        }
    }

    /// Bytes of a number, or of the parts of a block, in each of the runs that the numbers have on a device.
    fn section_bytes(&self) -> Vec<usize> {
        match self.quantization() {
            None => vec![self.dtype().size()],
            Some(format) => format.sections().iter().map(|section| section.len()).collect(),
        }
    }

    /// Where the numbers are on a GPU.
    fn device_memory(&self) -> Option<(&gpu::Device, &gpu::Buffer)> {
        match &self.numbers {
            Numbers::Device(tensor) => Some((tensor.device(), tensor.buffer())),
            Numbers::DeviceBlocks(blocks) => Some((blocks.device(), blocks.buffer())),
            _ => None,
        }
    }

    fn mismatch(&self, operation: &'static str, expected: String) -> Error {
        let place = match self.device_memory() {
            Some((device, _)) => format!(" on {device}"),
            None => String::new(),
        };
        let format = self.quantization().map_or(self.dtype().to_string(), |format| format.to_string());
        let found = format!("({}, {}) in {format}{place}", self.out_features, self.in_features);
        Error::Shape { operation, expected, found }
    }

    /// The number format; of quantised weights, that of the activations which they meet on a device.
    pub fn dtype(&self) -> DType {
        match &self.numbers {
            Numbers::F32(_) => DType::F32,
            Numbers::Bf16(_) => DType::BF16,
            Numbers::F16(_) => DType::F16,
            Numbers::Blocks { dtype, .. } => *dtype,
            Numbers::Device(tensor) => tensor.dtype(),
            Numbers::DeviceBlocks(blocks) => blocks.dtype(),
        }
    }

    /// The format of quantised weights, `None` of dense ones.
    pub fn quantization(&self) -> Option<QuantizedFormat> {
        match &self.numbers {
            Numbers::Blocks { format, .. } => Some(*format),
            Numbers::DeviceBlocks(blocks) => Some(blocks.format()),
            _ => None,
        }
    }

    /// Dense weights on a GPU, `None` of all others.
    pub fn on_device(&self) -> Option<&DeviceTensor> {
        match &self.numbers {
            Numbers::Device(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Quantised weights on a GPU, `None` of all others.
    pub fn blocks_on_device(&self) -> Option<&DeviceBlocks> {
        match &self.numbers {
            Numbers::DeviceBlocks(blocks) => Some(blocks),
            _ => None,
        }
    }

    /// The GPU that the weights are on, `None` on the processor.
    pub fn device(&self) -> Option<&gpu::Device> {
        self.device_memory().map(|(device, _)| device)
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
        let weights = self.out_features * self.in_features;
        match self.quantization() {
            None => weights * self.dtype().size(),
            Some(format) => format.bytes(weights),
        }
    }

    /// The weights as the processor's kernels take them.
    ///
    /// # Errors
    /// They are on a GPU, or dense ones in `f16`.
    pub fn on_host(&self) -> Result<MatrixRef<'_>> {
        match &self.numbers {
            Numbers::F32(numbers) => Ok(MatrixRef::F32(numbers)),
            Numbers::Bf16(numbers) => Ok(MatrixRef::Bf16(numbers)),
            Numbers::Blocks { format, blocks, .. } => {
                Ok(MatrixRef::Quantized(QuantizedRef::new(*format, blocks)))
            }
            Numbers::F16(_) | Numbers::Device(_) | Numbers::DeviceBlocks(_) => {
                Err(self.mismatch("on_host", "weights in f32, bf16 or blocks on the processor".to_owned()))
            }
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
            MatrixRef::Quantized(weights) => {
                let blocks = QuantizedRef::new(weights.format(), weights.bytes(range));
                dequantize(blocks, row);
            }
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
