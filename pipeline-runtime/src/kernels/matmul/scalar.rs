//! The product as it is defined.

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
    for row in 0..shape.rows {
        for output in 0..shape.out_features {
            let y = &mut y[row * shape.out_features + output];
            let mut sum = epilogue.bias.map_or(0.0, |bias| f64::from(bias[output]));
            if epilogue.accumulate {
                sum += f64::from(*y);
            }
            for k in 0..shape.in_features {
                sum += f64::from(x[row * shape.in_features + k]) * weight.get(output * shape.in_features + k);
            }
            *y = sum as f32;
        }
    }
}
