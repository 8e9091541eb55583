//! Kernels beside their scalar twins: what tests assert, and what `pipelines doctor` shows on a user's own machine.

use std::time::{Duration, Instant};

use pipeline_schema::DType;
use serde::Serialize;

use crate::error::Result;
use crate::gpu::Device;
use crate::kernels::{
    activation, attention, cpu_checks, elementwise, embedding, experts, matmul, norm, router, sampling,
    softmax,
};

/// Kernels that are checked together.
#[derive(Clone, Copy)]
pub struct Family {
    /// What they compute.
    pub name: &'static str,
    /// Every path, on small sizes.
    pub checks: Runs,
    /// Sizes of real models, timed.
    pub speeds: Runs,
}

/// Kernels beside their twins.
#[derive(Clone, Copy)]
pub struct Runs {
    /// On the processor, where there are any for it.
    pub cpu: Option<fn() -> Vec<Check>>,
    /// On a GPU, likewise.
    pub gpu: Option<RunOnGpu>,
}

/// Runs kernels on a GPU. It fails where one does not compile, or the driver refuses.
pub type RunOnGpu = fn(&Device) -> Result<Vec<Check>>;

/// Every kernel there is.
pub const FAMILIES: [Family; 13] = [
    family("activation", Some(cpu_checks::check_activation), Some(activation::gpu::checks))
        .timed(Some(cpu_checks::activation_speeds), Some(activation::gpu::speeds)),
    family("attention", Some(cpu_checks::check_attention), Some(attention::gpu::checks))
        .timed(Some(cpu_checks::attention_speeds), Some(attention::gpu::speeds)),
    family("elementwise", None, Some(elementwise::gpu::checks)).timed(None, Some(elementwise::gpu::speeds)),
    family("embedding", None, Some(embedding::gpu::checks)).timed(None, Some(embedding::gpu::speeds)),
    family("experts", Some(cpu_checks::check_experts), Some(experts::gpu::checks))
        .timed(Some(cpu_checks::experts_speeds), Some(experts::gpu::speeds)),
    family("quantized experts", Some(cpu_checks::check_quantized_experts), Some(experts::quantized::checks))
        .timed(None, Some(experts::quantized::speeds)),
    family("matmul", Some(cpu_checks::check_matmul), Some(matmul::gpu::checks))
        .timed(Some(cpu_checks::matmul_speeds), Some(matmul::gpu::speeds)),
    family("quantized matmul", Some(cpu_checks::check_quantized_matmul), Some(matmul::quantized::checks))
        .timed(Some(cpu_checks::quantized_matmul_speeds), Some(matmul::quantized::speeds)),
    family("norm", Some(cpu_checks::check_norm), Some(norm::gpu::checks))
        .timed(Some(cpu_checks::norm_speeds), Some(norm::gpu::speeds)),
    // On a GPU it is part of attention.
    family("rotary", Some(cpu_checks::check_rotary), None).timed(Some(cpu_checks::rotary_speeds), None),
    family("router", Some(cpu_checks::check_router), Some(router::gpu::checks))
        .timed(Some(cpu_checks::router_speeds), Some(router::gpu::speeds)),
    family("sampling", None, Some(sampling::gpu::checks)).timed(None, Some(sampling::gpu::speeds)),
    family("softmax", Some(cpu_checks::check_softmax), Some(softmax::gpu::checks))
        .timed(Some(cpu_checks::softmax_speeds), Some(softmax::gpu::speeds)),
];

const fn family(name: &'static str, cpu: Option<fn() -> Vec<Check>>, gpu: Option<RunOnGpu>) -> Family {
    Family { name, checks: Runs { cpu, gpu }, speeds: Runs { cpu: None, gpu: None } }
}

impl Family {
    const fn timed(mut self, cpu: Option<fn() -> Vec<Check>>, gpu: Option<RunOnGpu>) -> Family {
        self.speeds = Runs { cpu, gpu };
        self
    }
}

/// One kernel on one size, compared with its scalar twin.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Speed {
    /// Microseconds a launch, the median of many.
    pub microseconds: f64,
    /// The roof that bounds it.
    pub bound_by: Work,
}

/// What a kernel must at least do.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Bytes that it must move.
    Bytes(f64),
    /// Multiplications and additions that it must do on numbers of this format.
    Operations(f64, DType),
}

/// What a machine or a device can do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Roof {
    /// Bytes a second of memory.
    pub bytes: f64,
    /// Multiplications and additions of `f32` a second.
    pub f32: f64,
    /// Multiplications and additions of `bf16` and `f16` a second.
    pub half: f64,
}

impl Speed {
    /// How much of the roof is reached: 1 is all of it.
    pub fn share(&self, roof: &Roof) -> f64 {
        let (work, most) = match self.bound_by {
            Work::Bytes(bytes) => (bytes, roof.bytes),
            Work::Operations(operations, DType::F32) => (operations, roof.f32),
            Work::Operations(operations, DType::BF16 | DType::F16) => (operations, roof.half),
        };
        work / (self.microseconds / 1e6) / most
    }
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

    /// The check with the time of a launch.
    pub(crate) fn timed(mut self, microseconds: f64, bound_by: Work) -> Check {
        self.speed = Some(Speed { microseconds, bound_by });
        self
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
    Ok(median(times))
}

/// Microseconds that `work` takes on the processor: the median of at least five turns, and of what a quarter of a
/// second has room for.
pub(crate) fn time_here(mut work: impl FnMut()) -> f64 {
    work();
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < 5 || (begin.elapsed() < Duration::from_millis(250) && times.len() < 1000) {
        let start = Instant::now();
        work();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    median(times)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Runs a family's checks on CUDA, where there is a device.
///
/// # Panics
/// A check fails or does not pass.
#[cfg(test)]
pub(crate) fn assert_passes(checks: impl FnOnce(&Device) -> Result<Vec<Check>>) {
    let Some(device) = crate::gpu::testing::device(pipeline_schema::Hardware::Cuda) else { return };
    let checks = checks(&device).expect("the kernels run");
    assert!(!checks.is_empty());
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| !check.passes())
        .map(|check| format!("{} {}: {:e} > {:e}", check.kernel, check.case, check.error, check.bound))
        .collect();
    assert!(failed.is_empty(), "{} of {} fail:\n{}", failed.len(), checks.len(), failed.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_or_unwritten_does_not_pass() {
        let compare = |found: &[f32]| Check::compare("k", "", found, &[1.0, -4.0], 0.1).passes();
        assert!(compare(&[1.3, -4.0]));
        assert!(!compare(&[1.5, -4.0]));
        assert!(!compare(&[f32::NAN, -4.0]));
    }

    #[test]
    fn a_share_is_of_the_roof_that_bounds() {
        let roof = Roof { bytes: 1e12, f32: 1e13, half: 1e14 };
        let share = |bound_by| Speed { microseconds: 10.0, bound_by }.share(&roof);
        assert!((share(Work::Bytes(5e6)) - 0.5).abs() < 1e-9);
        assert!((share(Work::Operations(5e7, DType::F32)) - 0.5).abs() < 1e-9);
        assert!((share(Work::Operations(5e8, DType::BF16)) - 0.5).abs() < 1e-9);
    }
}
