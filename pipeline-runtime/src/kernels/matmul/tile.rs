//! The register tile of products whose lanes are outputs.

use crate::kernels::simd::{Simd, Units};

/// A matrix of units, read one unit (broadcast) at a time.
#[derive(Clone, Copy)]
pub(crate) struct Broadcast {
    /// Unit 0 of row 0.
    pub(crate) start: *const f32,
    /// From a row to the next, in units.
    pub(crate) row_stride: usize,
    /// From a unit of a row to the next.
    pub(crate) unit_stride: usize,
}

/// Adds the products of R rows and N vectors of outputs over `units` units to `sums`.
///
/// # Safety
/// `rows` is valid for reading R rows of `units` units. At `outputs`, N vectors can be read, and at each of
/// `units - 1` further places, each `stride` elements after the one before.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, U: Units<S>, const R: usize, const N: usize>(
    simd: S,
    rows: Broadcast,
    outputs: *const f32,
    stride: usize,
    units: usize,
    mut sums: [[S::Vector; N]; R],
) -> [[S::Vector; N]; R] {
    let (mut row, mut output) = (rows.start, outputs);
    for _ in 0..units {
        // SAFETY: the caller vouches for both operands over `units` units.
        unsafe {
            let outputs: [S::Vector; N] = std::array::from_fn(|n| simd.load(output.add(n * S::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let value = simd.splat(row.add(r * rows.row_stride).read());
                for (sum, output) in sums.iter_mut().zip(outputs) {
                    *sum = U::multiply_add(simd, output, value, *sum);
                }
            }
        }
        row = row.wrapping_add(rows.unit_stride);
        output = output.wrapping_add(stride);
    }
    sums
}
