//! Rotary position embeddings (<https://arxiv.org/abs/2104.09864>).

use crate::kernels::rotary::RotaryTables;

/// Rotates pairs of features by angles that grow with the position.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// Radians a position, for each pair of features: `(head_dim / 2)`.
    frequencies: Vec<f32>,
}

/// The rotations of a batch: cosines and sines `(tokens, head_dim / 2)`, shared by all layers.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Cosines of the angles.
    pub cos: Vec<f32>,
    /// Sines of the angles.
    pub sin: Vec<f32>,
    /// The row of each token in both: they are laid out in the order of the tokens.
    pub rows: Vec<usize>,
}

impl Rotation {
    /// Both tables as the kernel takes them.
    pub fn tables(&self) -> RotaryTables<'_> {
        RotaryTables { cos: &self.cos, sin: &self.sin }
    }
}

impl RotaryEmbedding {
    /// Frequencies `theta^(-2i / head_dim)`, without scaling.
    pub fn new(head_dim: usize, theta: f64) -> RotaryEmbedding {
        let frequency = |pair: usize| {
            let exponent = (2 * pair) as f32 / head_dim as f32;
            1.0 / (theta as f32).powf(exponent)
        };
        RotaryEmbedding { frequencies: (0..head_dim / 2).map(frequency).collect() }
    }

    /// The rotations of tokens at `positions`.
    pub fn at(&self, positions: &[u32]) -> Rotation {
        let angles = || {
            positions.iter().flat_map(|&position| {
                self.frequencies.iter().map(move |frequency| position as f32 * frequency)
            })
        };
        Rotation {
            cos: angles().map(f32::cos).collect(),
            sin: angles().map(f32::sin).collect(),
            rows: (0..positions.len()).collect(),
        }
    }
}
