//! Softmax of rows and the logarithm of their sums of exponentials.

mod cpu;
pub mod gpu;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{SoftmaxRow, exponentials, largest};
pub use scalar::softmax_scalar;

use super::InstructionSet;
use super::parallel::{ELEMENTS_WORTH_A_FORK, SharedSlice, for_each_block};

/// Replaces each row of x by e^x / Σ e^x, computed from differences to the row's largest element, and returns
/// ln Σ e^x of each row.
///
/// x: (rows, width). Sums are in `f32`. NaN counts as negative infinity, and infinity as the largest finite number;
/// a row that has nothing but negative infinity becomes zeros and its logarithm is negative infinity.
///
/// # Panics
/// Where the length of x is no multiple of `width`.
pub fn softmax(x: &mut [f32], width: usize) -> Vec<f32> {
    softmax_with(InstructionSet::detected(), x, width)
}

/// [`softmax`] with an instruction set.
///
/// # Panics
/// Where the length of x is no multiple of `width`.
pub fn softmax_with(isa: InstructionSet, x: &mut [f32], width: usize) -> Vec<f32> {
    let rows = rows_of(x, width);
    let fork = x.len() >= ELEMENTS_WORTH_A_FORK;
    let mut log_sum_exp = vec![0.0; rows];
    let (x, logarithms) = (SharedSlice::new(x), SharedSlice::new(&mut log_sum_exp));
    for_each_block(rows, fork, |row| {
        // SAFETY: each block writes the row of its own number.
        let (x, logarithm) =
            unsafe { (x.range(row * width..(row + 1) * width), logarithms.range(row..row + 1)) };
        logarithm[0] = isa.run(SoftmaxRow { x });
    });
    log_sum_exp
}

/// The number of rows of `width` elements.
fn rows_of(x: &[f32], width: usize) -> usize {
    assert!(width > 0 && x.len().is_multiple_of(width), "softmax: x is (rows, width), width {width}");
    x.len() / width
}
