//! The product as it is defined.

use rayon::prelude::*;

use super::{MatmulEpilogue, MatmulShape};
use crate::kernels::MatrixRef;

/// y = x · Wᵀ (+ bias) (+ y) with sums in `f64`: the scalar twin of [`matmul_with`](super::matmul_with).
///
/// # Panics
/// Where a length does not fit the shape.
pub fn matmul_scalar(
    x: &[f32],
    weight: MatrixRef<'_>,
    epilogue: MatmulEpilogue<'_>,
    y: &mut [f32],
    shape: MatmulShape,
) {
    shape.check(x, weight, epilogue, y);
    y.par_iter_mut().enumerate().for_each(|(index, y)| {
        let (row, output) = (index / shape.out_features, index % shape.out_features);
        let mut sum = epilogue.bias.map_or(0.0, |bias| f64::from(bias[output]));
        if epilogue.accumulate {
            sum += f64::from(*y);
        }
        for k in 0..shape.in_features {
            sum += f64::from(x[row * shape.in_features + k]) * weight.get(output * shape.in_features + k);
        }
        *y = sum as f32;
    });
}
