//! Softmax as it is defined, in `f64`.

use super::rows_of;

/// The scalar twin of [`softmax`](super::softmax).
///
/// # Panics
/// Where the length of x is no multiple of `width`.
pub fn softmax_scalar(x: &mut [f32], width: usize) -> Vec<f32> {
    rows_of(x, width);
    x.chunks_exact_mut(width)
        .map(|row| {
            let value = |x: f32| match x.is_nan() {
                true => f64::NEG_INFINITY,
                false => f64::from(x.min(f32::MAX)),
            };
            let highest = row.iter().map(|&x| value(x)).fold(f64::NEG_INFINITY, f64::max);
            if highest == f64::NEG_INFINITY {
                row.fill(0.0);
                return f32::NEG_INFINITY;
            }
            let sum: f64 = row.iter().map(|&x| (value(x) - highest).exp()).sum();
            for x in &mut *row {
                *x = ((value(*x) - highest).exp() / sum) as f32;
            }
            (highest + sum.ln()) as f32
        })
        .collect()
}
