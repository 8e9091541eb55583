//! Numbers on a GPU.

use half::{bf16, f16};
use pipeline_schema::DType;

use crate::error::{Error, Result};
use crate::gpu::{Buffer, Device, Plain};
use crate::kernels::elementwise::gpu::convert;
use crate::tensor::Tensor;

/// Numbers on a GPU with a shape, row-major and contiguous. Cheap to clone: clones share their memory.
#[derive(Clone, Debug)]
pub struct DeviceTensor {
    device: Device,
    buffer: Buffer,
    dtype: DType,
    shape: Vec<usize>,
}

impl DeviceTensor {
    /// A tensor whose numbers are not set.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn uninitialised(device: &Device, dtype: DType, shape: &[usize]) -> Result<DeviceTensor> {
        let bytes = checked_bytes(dtype, shape)?;
        let buffer = device.allocate(bytes)?;
        Ok(DeviceTensor { device: device.clone(), buffer, dtype, shape: shape.to_vec() })
    }

    /// A tensor in memory that is there already.
    ///
    /// # Panics
    /// The buffer is shorter than the tensor.
    pub fn from_buffer(device: &Device, buffer: Buffer, dtype: DType, shape: &[usize]) -> DeviceTensor {
        let elements = shape.iter().product::<usize>();
        assert!(elements * dtype.size() <= buffer.bytes(), "a tensor lies in its buffer");
        DeviceTensor { device: device.clone(), buffer, dtype, shape: shape.to_vec() }
    }

    /// A copy of `numbers` on a device, in their own number format.
    ///
    /// # Errors
    /// There is too little memory, or another number of elements than `shape` says.
    pub fn upload<T: Float>(device: &Device, numbers: &[T], shape: &[usize]) -> Result<DeviceTensor> {
        if shape.iter().product::<usize>() != numbers.len() {
            return Err(Error::Shape {
                operation: "upload",
                expected: format!("{shape:?}"),
                found: format!("{} numbers", numbers.len()),
            });
        }
        let tensor = DeviceTensor::uninitialised(device, T::DTYPE, shape)?;
        device.write(&tensor.buffer, 0, numbers)?;
        Ok(tensor)
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Where the numbers begin.
    pub fn address(&self) -> u64 {
        self.buffer.address()
    }

    /// The number format.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The size of every dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The same numbers in another shape.
    ///
    /// # Errors
    /// `shape` has another number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<DeviceTensor> {
        if shape.iter().product::<usize>() != self.elements() {
            return Err(Error::Shape {
                operation: "reshape",
                expected: format!("as many numbers as {:?}", self.shape),
                found: format!("{shape:?}"),
            });
        }
        Ok(DeviceTensor { shape: shape.to_vec(), ..self.clone() })
    }

    /// The given rows of a matrix, in the given order. `(rows, width) -> (indices.len(), width)`
    ///
    /// # Errors
    /// A row that the tensor does not have.
    pub fn select_rows(&self, indices: &[usize]) -> Result<DeviceTensor> {
        let width = self.shape.last().copied().unwrap_or(1);
        let rows = self.elements() / width.max(1);
        if let Some(index) = indices.iter().find(|index| **index >= rows) {
            return Err(Error::Shape {
                operation: "select_rows",
                expected: format!("rows below {rows}"),
                found: format!("row {index}"),
            });
        }
        let selected = DeviceTensor::uninitialised(&self.device, self.dtype, &[indices.len(), width])?;
        let bytes = width * self.dtype.size();
        // Rows in order are copied together.
        let mut done = 0;
        while let Some(&first) = indices.get(done) {
            let rest = &indices[done..];
            let run = rest.iter().enumerate().take_while(|(step, index)| **index == first + step).count();
            self.device.copy(&selected.buffer, done * bytes, &self.buffer, first * bytes, run * bytes)?;
            done += run;
        }
        Ok(selected)
    }

    /// Tensors of one width, below each other. `(rows_i, width) -> (sum of rows_i, width)`
    pub(super) fn concatenate_rows(first: &DeviceTensor, tensors: &[Tensor]) -> Result<DeviceTensor> {
        let width = first.shape.last().copied().unwrap_or(1);
        let mut rows = 0;
        let mut parts = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            match tensor.on_device() {
                Some(part) if part.dtype == first.dtype && tensor.rows_and_width().1 == width => {
                    parts.push(part)
                }
                _ => {
                    return Err(Error::Shape {
                        operation: "concatenate_rows",
                        expected: format!("rows of {width} in {} on {}", first.dtype, first.device),
                        found: format!("{:?}", tensor.shape()),
                    });
                }
            }
            rows += tensor.rows_and_width().0;
        }
        let whole = DeviceTensor::uninitialised(&first.device, first.dtype, &[rows, width])?;
        let mut offset = 0;
        for part in parts {
            let bytes = part.elements() * part.dtype.size();
            first.device.copy(&whole.buffer, offset, &part.buffer, 0, bytes)?;
            offset += bytes;
        }
        Ok(whole)
    }

    /// The same numbers in another format: `f32` from any, any from `f32`.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<DeviceTensor> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        if dtype != DType::F32 && self.dtype != DType::F32 {
            return self.to_dtype(DType::F32)?.to_dtype(dtype);
        }
        let converted = DeviceTensor::uninitialised(&self.device, dtype, &self.shape)?;
        convert(&self.device, &self.buffer, self.dtype, &converted.buffer, dtype, self.elements())?;
        Ok(converted)
    }

    /// The numbers, widened to `f32`. Waits for all work.
    ///
    /// # Errors
    /// Work before failed.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let (device, length) = (&self.device, self.elements());
        Ok(match self.dtype {
            DType::F32 => device.read(&self.buffer, 0, length)?,
            DType::BF16 => device.read::<bf16>(&self.buffer, 0, length)?.iter().map(|n| n.to_f32()).collect(),
            DType::F16 => device.read::<f16>(&self.buffer, 0, length)?.iter().map(|n| n.to_f32()).collect(),
        })
    }

    /// The same numbers in memory that nobody else has, to be changed in place.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], if they must be copied.
    pub fn into_unique(self) -> Result<DeviceTensor> {
        if self.buffer.is_unique() {
            return Ok(self);
        }
        let copy = DeviceTensor::uninitialised(&self.device, self.dtype, &self.shape)?;
        self.device.copy(&copy.buffer, 0, &self.buffer, 0, self.elements() * self.dtype.size())?;
        Ok(copy)
    }
}

fn checked_bytes(dtype: DType, shape: &[usize]) -> Result<usize> {
    let elements = shape.iter().try_fold(dtype.size(), |product, &size| product.checked_mul(size));
    elements.ok_or_else(|| Error::Shape {
        operation: "allocate",
        expected: "a size that can be addressed".to_owned(),
        found: format!("{shape:?}"),
    })
}

/// Number formats of tensors.
pub trait Float: Plain {
    /// The number format.
    const DTYPE: DType;
}

impl Float for f32 {
    const DTYPE: DType = DType::F32;
}

impl Float for bf16 {
    const DTYPE: DType = DType::BF16;
}

impl Float for f16 {
    const DTYPE: DType = DType::F16;
}
