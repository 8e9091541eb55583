//! Rotary position embedding (RoFormer), in the half-split layout of Hugging Face's `rotate_half`.

mod cpu;
mod scalar;
#[cfg(test)]
mod tests;

pub use scalar::rotary_scalar;

use super::InstructionSet;
use super::parallel::{ELEMENTS_WORTH_A_FORK, SharedSlice, for_each_block};

/// Cosines and sines of every position and frequency.
#[derive(Clone, Copy, Debug)]
pub struct RotaryTables<'a> {
    /// (positions, rotary_dim / 2)
    pub cos: &'a [f32],
    /// (positions, rotary_dim / 2)
    pub sin: &'a [f32],
}

/// The shape of what is rotated: (tokens, heads, head_dim).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotaryShape {
    /// Heads of a token.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Leading elements of a head that are rotated: even, at most `head_dim`.
    pub rotary_dim: usize,
}

/// Rotates the heads of each token in place by the angles of its position.
///
/// Element i of the first half of the rotated part becomes a · cos - b · sin and element i of its second half
/// b · cos + a · sin, where a and b are what they were. x: (tokens, heads, head_dim); positions: (tokens).
///
/// # Panics
/// Where a length does not fit the shape or a position is not in the tables.
pub fn rotary(x: &mut [f32], positions: &[usize], tables: RotaryTables<'_>, shape: RotaryShape) {
    rotary_with(InstructionSet::detected(), x, positions, tables, shape);
}

/// [`rotary`] with an instruction set.
///
/// # Panics
/// Where a length does not fit the shape or a position is not in the tables.
pub fn rotary_with(
    isa: InstructionSet,
    x: &mut [f32],
    positions: &[usize],
    tables: RotaryTables<'_>,
    shape: RotaryShape,
) {
    shape.check(x, positions, tables);
    let (width, half) = (shape.heads * shape.head_dim, shape.rotary_dim / 2);
    let fork = x.len() >= ELEMENTS_WORTH_A_FORK;
    let x = SharedSlice::new(x);
    for_each_block(positions.len(), fork, |token| {
        // SAFETY: each block writes the token of its own number.
        let x = unsafe { x.range(token * width..(token + 1) * width) };
        let angles = positions[token] * half..(positions[token] + 1) * half;
        let (cos, sin) = (&tables.cos[angles.clone()], &tables.sin[angles]);
        isa.run(cpu::Rotate { x, cos, sin, head_dim: shape.head_dim });
    });
}

impl RotaryShape {
    /// Panics unless the lengths fit.
    fn check(self, x: &[f32], positions: &[usize], tables: RotaryTables<'_>) {
        let RotaryShape { heads, head_dim, rotary_dim } = self;
        assert!(rotary_dim.is_multiple_of(2) && rotary_dim <= head_dim, "rotary: rotary_dim of {self:?}");
        assert_eq!(x.len(), positions.len() * heads * head_dim, "rotary: x is (tokens, heads, head_dim)");
        assert_eq!(tables.cos.len(), tables.sin.len(), "rotary: the tables have one length");
        let longest = positions.iter().max().map_or(0, |position| (position + 1) * (rotary_dim / 2));
        assert!(tables.cos.len() >= longest, "rotary: a position is beyond the tables");
    }
}
