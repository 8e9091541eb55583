//! What the tests of several kernels share.

use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `length` values between -1 and 1.
pub(crate) fn random(length: usize, seed: u64) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| generator.random_range(-1.0..1.0)).collect()
}

/// The values rounded to `bf16`.
pub(crate) fn to_bf16(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&value| bf16::from_f32(value)).collect()
}

/// Panics unless every pair differs by at most `tolerance` times the largest expected magnitude (at least 1e-3).
pub(crate) fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, context: &str) {
    assert_eq!(actual.len(), expected.len(), "{context}");
    let scale = expected.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
    for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        assert!(
            (actual - expected).abs() <= tolerance * scale,
            "{context}: {actual} at {index}, expected {expected} (scale {scale})"
        );
    }
}

/// Runs `body` in a pool of so many threads.
pub(crate) fn with_threads<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
    pool.install(body)
}
