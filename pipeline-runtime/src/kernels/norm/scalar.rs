//! The normalisation as it is defined, in `f64`.

use super::RmsNormShape;

/// The scalar twin of [`rms_norm`](super::rms_norm).
///
/// # Panics
/// Where a length does not fit the shape.
pub fn rms_norm_scalar(x: &[f32], weight: &[f32], y: &mut [f32], shape: RmsNormShape) {
    shape.check(x, weight, y);
    let width = shape.width;
    for row in 0..shape.rows {
        let x = &x[row * width..(row + 1) * width];
        let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / width as f64;
        let factor = 1.0 / (mean + f64::from(shape.epsilon)).sqrt();
        for (index, y) in y[row * width..(row + 1) * width].iter_mut().enumerate() {
            *y = (f64::from(x[index]) * factor * f64::from(weight[index])) as f32;
        }
    }
}

/// The scalar twin of [`add_rms_norm`](super::add_rms_norm).
///
/// # Panics
/// Where a length does not fit the shape.
pub fn add_rms_norm_scalar(
    residual: &mut [f32],
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    shape: RmsNormShape,
) {
    for (residual, x) in residual.iter_mut().zip(x) {
        *residual += x;
    }
    rms_norm_scalar(residual, weight, y, shape);
}
