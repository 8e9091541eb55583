//! Root mean square normalisation, alone and behind a residual addition.

mod cpu;
pub mod gpu;
mod scalar;
#[cfg(test)]
mod tests;

pub use scalar::{add_rms_norm_scalar, rms_norm_scalar};

use super::InstructionSet;
use super::parallel::{ELEMENTS_WORTH_A_FORK, SharedSlice, for_each_block};

/// The shape and the constant of a normalisation over the last dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNormShape {
    /// Rows of x and y.
    pub rows: usize,
    /// Elements of a row.
    pub width: usize,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// y = x / sqrt(mean(x²) + epsilon) · weight for each row, sums in `f32`.
///
/// x, y: (rows, width); weight: (width).
///
/// # Panics
/// Where a length does not fit the shape.
pub fn rms_norm(x: &[f32], weight: &[f32], y: &mut [f32], shape: RmsNormShape) {
    rms_norm_with(InstructionSet::detected(), x, weight, y, shape);
}

/// [`rms_norm`] with an instruction set.
///
/// # Panics
/// Where a length does not fit the shape.
pub fn rms_norm_with(isa: InstructionSet, x: &[f32], weight: &[f32], y: &mut [f32], shape: RmsNormShape) {
    let RmsNormShape { rows, width, epsilon } = shape;
    shape.check(x, weight, y);
    let y = SharedSlice::new(y);
    for_each_block(rows, rows * width >= ELEMENTS_WORTH_A_FORK, |row| {
        let range = row * width..(row + 1) * width;
        // SAFETY: each block writes the row of its own number.
        let y = unsafe { y.range(range.clone()) };
        isa.run(cpu::RmsNorm { x: &x[range], weight, epsilon, y });
    });
}

/// residual += x, then y = rms_norm(residual): what stands between two blocks of a transformer, in one pass.
///
/// residual, x, y: (rows, width); weight: (width).
///
/// # Panics
/// Where a length does not fit the shape.
pub fn add_rms_norm(residual: &mut [f32], x: &[f32], weight: &[f32], y: &mut [f32], shape: RmsNormShape) {
    add_rms_norm_with(InstructionSet::detected(), residual, x, weight, y, shape);
}

/// [`add_rms_norm`] with an instruction set.
///
/// # Panics
/// Where a length does not fit the shape.
pub fn add_rms_norm_with(
    isa: InstructionSet,
    residual: &mut [f32],
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    shape: RmsNormShape,
) {
    let RmsNormShape { rows, width, epsilon } = shape;
    shape.check(x, weight, y);
    assert_eq!(residual.len(), x.len(), "rms_norm: residual is (rows, width) of {shape:?}");
    let (residual, y) = (SharedSlice::new(residual), SharedSlice::new(y));
    for_each_block(rows, rows * width >= ELEMENTS_WORTH_A_FORK, |row| {
        let range = row * width..(row + 1) * width;
        // SAFETY: each block writes the row of its own number.
        let (residual, y) = unsafe { (residual.range(range.clone()), y.range(range.clone())) };
        isa.run(cpu::AddRmsNorm { residual, x: &x[range], weight, epsilon, y });
    });
}

impl RmsNormShape {
    /// Panics unless the lengths fit.
    fn check(self, x: &[f32], weight: &[f32], y: &[f32]) {
        assert_eq!(x.len(), self.rows * self.width, "rms_norm: x is (rows, width) of {self:?}");
        assert_eq!(weight.len(), self.width, "rms_norm: weight is (width) of {self:?}");
        assert_eq!(y.len(), x.len(), "rms_norm: y is (rows, width) of {self:?}");
    }
}
