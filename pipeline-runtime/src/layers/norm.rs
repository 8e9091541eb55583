//! Normalisation.

use pipeline_schema::DType;

use crate::error::Result;
use crate::kernels::norm::{RmsNormShape, gpu, rms_norm};
use crate::layers::Weights;
use crate::tensor::{DeviceTensor, Tensor};

/// Root mean square normalisation, `y = x / sqrt(mean(x^2) + eps) * weight` (<https://arxiv.org/abs/1910.07467>).
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// `(width)`, in `f32`.
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    /// Reads `weight` `(width)`.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, width: usize, eps: f64) -> Result<RmsNorm> {
        Ok(RmsNorm { weight: weights.vector("weight", width)?, epsilon: eps as f32 })
    }

    /// The norm with these weights.
    pub fn new(weight: Tensor, eps: f64) -> RmsNorm {
        RmsNorm { weight, epsilon: eps as f32 }
    }

    /// `(..., width) -> (..., width)`
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let (rows, width) = input.rows_and_width();
        if let Some(input) = input.on_device() {
            return Ok(self.forward_on(input, DType::F32)?.into());
        }
        let mut output = vec![0.0; rows * width];
        let shape = RmsNormShape { rows, width, epsilon: self.epsilon };
        rms_norm(&input.as_slice()?, &self.weight.as_slice()?, &mut output, shape);
        Tensor::from_vec(output, input.shape())
    }

    /// The norm on a GPU, in the number format of the product that takes it.
    ///
    /// # Errors
    /// The norm is not on the device of the input, or there is no room.
    pub fn forward_on(&self, input: &DeviceTensor, dtype: DType) -> Result<DeviceTensor> {
        let input = input.to_dtype(DType::F32)?;
        let weight = self.weight.clone().into_device()?;
        let width = weight.elements();
        let shape = RmsNormShape { rows: input.elements() / width.max(1), width, epsilon: self.epsilon };
        let normed = DeviceTensor::uninitialised(input.device(), dtype, input.shape())?;
        gpu::rms_norm(input.device(), input.buffer(), weight.buffer(), normed.buffer(), shape, dtype)?;
        Ok(normed)
    }

    /// The weights `(width)`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// What is added to the mean of the squares.
    pub fn epsilon(&self) -> f32 {
        self.epsilon
    }
}
