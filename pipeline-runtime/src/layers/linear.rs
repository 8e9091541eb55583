//! Linear maps and embeddings.

use crate::error::{Error, Result};
use crate::layers::Weights;
use crate::tensor::{Matrix, Tensor};

/// `y = x W^T + b`, or without `b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Matrix,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `weight` `(out_features, in_features)`.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, in_features: usize, out_features: usize) -> Result<Linear> {
        Linear::load_with(weights, in_features, out_features, false)
    }

    /// Reads `weight` `(out_features, in_features)` and, where there is one, `bias` `(out_features)`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load_with(
        weights: &Weights<'_>,
        in_features: usize,
        out_features: usize,
        bias: bool,
    ) -> Result<Linear> {
        let vector = || Tensor::from_vec(weights.vector("bias", out_features)?, &[out_features]);
        Ok(Linear {
            weight: weights.matrix("weight", out_features, in_features)?,
            bias: bias.then(vector).transpose()?,
        })
    }

    /// The map with these weights and no bias.
    pub fn new(weight: Matrix) -> Linear {
        Linear { weight, bias: None }
    }

    /// `(..., in_features) -> (..., out_features)`
    ///
    /// # Errors
    /// The last dimension is not `in_features`.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let product = input.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => product.add_row(bias),
            None => Ok(product),
        }
    }

    /// The weights.
    pub fn weight(&self) -> &Matrix {
        &self.weight
    }
}

/// A vector per token.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Matrix,
}

impl Embedding {
    /// Reads `weight` `(vocab_size, hidden_size)`.
    ///
    /// # Errors
    /// The weight is missing or has another shape.
    pub fn load(weights: &Weights<'_>, vocab_size: usize, hidden_size: usize) -> Result<Embedding> {
        Ok(Embedding { weight: weights.matrix("weight", vocab_size, hidden_size)? })
    }

    /// The embedding with these weights.
    pub fn new(weight: Matrix) -> Embedding {
        Embedding { weight }
    }

    /// `(tokens) -> (tokens, hidden_size)`
    ///
    /// # Errors
    /// A token that is not in the vocabulary.
    pub fn forward(&self, tokens: &[u32]) -> Result<Tensor> {
        let width = self.weight.in_features();
        let mut hidden = vec![0.0; tokens.len() * width];
        for (row, &token) in hidden.chunks_exact_mut(width).zip(tokens) {
            if token as usize >= self.weight.out_features() {
                let size = self.weight.out_features();
                return Err(Error::input(format!(
                    "token {token} is outside the vocabulary of {size} tokens"
                )));
            }
            self.weight.copy_row(token as usize, row);
        }
        Tensor::from_vec(hidden, &[tokens.len(), width])
    }

    /// The map back to the vocabulary with the same weights, for models that tie both.
    pub fn tied(&self) -> Linear {
        Linear::new(self.weight.clone())
    }
}
