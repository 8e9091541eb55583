//! Quantised weights on a GPU.

use pipeline_schema::DType;

use crate::error::Result;
use crate::gpu::{Buffer, Device};
use crate::kernels::QuantizedFormat;
use crate::kernels::matmul::quantized::dequantize;
use crate::tensor::DeviceTensor;

/// Quantised weights on a GPU, [packed](QuantizedFormat::pack), and the number format of the activations they meet. Cheap
/// to clone.
#[derive(Clone, Debug)]
pub struct DeviceBlocks {
    device: Device,
    buffer: Buffer,
    format: QuantizedFormat,
    dtype: DType,
    weights: usize,
}

impl DeviceBlocks {
    /// Room for so many weights, which are not set.
    ///
    /// # Panics
    /// They are no whole number of blocks.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn uninitialised(
        device: &Device,
        format: QuantizedFormat,
        dtype: DType,
        weights: usize,
    ) -> Result<DeviceBlocks> {
        let buffer = device.allocate(format.bytes(weights))?;
        Ok(DeviceBlocks { device: device.clone(), buffer, format, dtype, weights })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The format of the weights.
    pub fn format(&self) -> QuantizedFormat {
        self.format
    }

    /// The number format of activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The weights as dense ones, in the number format of activations: `(out_features, in_features)`, in memory of their
    /// own.
    ///
    /// # Errors
    /// There is too little memory.
    pub fn dense(&self, out_features: usize, in_features: usize) -> Result<DeviceTensor> {
        let dense = DeviceTensor::uninitialised(&self.device, self.dtype, &[out_features, in_features])?;
        dequantize(&self.device, &self.buffer, self.format, dense.buffer(), self.weights, self.dtype)?;
        Ok(dense)
    }
}
