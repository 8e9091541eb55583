//! Normalisation.

use crate::error::Result;
use crate::kernels::norm::{RmsNormShape, rms_norm};
use crate::layers::Weights;
use crate::tensor::Tensor;

/// Root mean square normalisation, `y = x / sqrt(mean(x^2) + eps) * weight` (<https://arxiv.org/abs/1910.07467>).
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Vec<f32>,
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
    pub fn new(weight: Vec<f32>, eps: f64) -> RmsNorm {
        RmsNorm { weight, epsilon: eps as f32 }
    }

    /// `(..., width) -> (..., width)`
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let (rows, width) = input.rows_and_width();
        let mut output = vec![0.0; rows * width];
        let shape = RmsNormShape { rows, width, epsilon: self.epsilon };
        rms_norm(&input.as_slice()?, &self.weight, &mut output, shape);
        Tensor::from_vec(output, input.shape())
    }
}
