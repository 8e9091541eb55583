//! Activations as they are defined, in `f64`.

/// x / (1 + e^-x)
pub(crate) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// The scalar twin of [`silu`](super::silu).
pub fn silu_scalar(x: &mut [f32]) {
    for x in x {
        *x = silu(f64::from(*x)) as f32;
    }
}

/// The scalar twin of [`silu_multiply`](super::silu_multiply).
pub fn silu_multiply_scalar(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = (silu(f64::from(*gate)) * f64::from(*up)) as f32;
    }
}
