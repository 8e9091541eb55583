//! Kernels beside their scalar twins: what tests assert, and what `pipelines doctor` shows on a user's own machine.

use super::Device;
use crate::error::Result;

/// One kernel on one size, compared with its scalar twin.
#[derive(Clone, Debug)]
pub struct Check {
    /// The kernel.
    pub kernel: String,
    /// The sizes.
    pub case: String,
    /// The largest difference, over the largest number of the twin's result.
    pub error: f64,
    /// The largest difference that rounding explains.
    pub bound: f64,
    /// How long it takes, where that was measured.
    pub speed: Option<Speed>,
}

/// How fast a kernel is.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Microseconds a launch, the median of many.
    pub microseconds: f64,
    /// The roof that bounds it.
    pub bound_by: Work,
}

/// What a kernel must at least do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Bytes that it must move.
    Bytes(f64),
    /// Operations that it must do on matrices.
    Operations(f64),
}

impl Check {
    /// Compares a result with the twin's. A number that is not one, or was never written, never passes.
    ///
    /// # Panics
    /// The lengths differ.
    pub fn compare(
        kernel: &str,
        case: impl Into<String>,
        found: &[f32],
        expected: &[f32],
        bound: f64,
    ) -> Check {
        assert_eq!(found.len(), expected.len(), "{kernel}: the twin has as many numbers");
        let scale =
            expected.iter().fold(f64::MIN_POSITIVE, |scale, number| scale.max(f64::from(number.abs())));
        let error = found.iter().zip(expected).fold(0.0f64, |error, (found, expected)| {
            let difference = (f64::from(*found) - f64::from(*expected)).abs();
            if difference.is_nan() { f64::INFINITY } else { error.max(difference / scale) }
        });
        Check { kernel: kernel.to_owned(), case: case.into(), error, bound, speed: None }
    }

    /// Whether the difference is explained.
    pub fn passes(&self) -> bool {
        self.error <= self.bound
    }
}

/// Microseconds that `work` takes on the device: the median of `turns`, each of `launches` in a row.
///
/// # Errors
/// Where `work` fails.
pub fn time(
    device: &Device,
    turns: usize,
    launches: usize,
    mut work: impl FnMut() -> Result<()>,
) -> Result<f64> {
    work()?;
    let mut times = Vec::with_capacity(turns);
    for _ in 0..turns {
        let timer = device.start_timer()?;
        for _ in 0..launches {
            work()?;
        }
        times.push(f64::from(timer.milliseconds()?) * 1e3 / launches as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
