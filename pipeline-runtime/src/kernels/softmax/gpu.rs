//! Softmax on a GPU.

use pipeline_schema::DType;

use super::softmax_scalar;
use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::expect;

/// The kernels.
pub static SOURCE: Source = Source { name: "softmax", parts: &[PRELUDE, include_str!("gpu.cu")] };

/// Replaces each row of x by e^x / Σ e^x, and writes ln Σ e^x of each row to `log_sum_exp` where it is given: the
/// contract of [`softmax`](super::softmax).
///
/// x: (rows, width) `f32`; log_sum_exp: (rows) `f32`.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn softmax(
    device: &Device,
    x: &Buffer,
    log_sum_exp: Option<&Buffer>,
    rows: usize,
    width: usize,
) -> Result<()> {
    expect(x, "x", &[rows, width], 4);
    if let Some(log_sum_exp) = log_sum_exp {
        expect(log_sum_exp, "log_sum_exp", &[rows], 4);
    }
    let threads = width.next_multiple_of(64).clamp(64, 1024);
    let launch = Launch::new(device, &SOURCE, "softmax_f32").grid(rows, 1, 1).threads(threads);
    let launch = launch.buffer(x).address(log_sum_exp.map_or(0, Buffer::address)).number(width);
    // SAFETY: a block for each row, and every buffer holds its shape.
    unsafe { launch.run() }
}

/// The kernel beside its scalar twin.
///
/// # Errors
/// It does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for width in [1, 7, 64, 1000, 5000] {
        let rows = 5;
        let mut values: Vec<f32> = random(rows * width, 1).iter().map(|value| value * 8.0).collect();
        values[0] = f32::NAN;
        values[width] = f32::NEG_INFINITY;
        values[2 * width..3 * width].fill(f32::NEG_INFINITY);
        values[3 * width] = f32::INFINITY;
        let x = device.upload(&values)?;
        let log_sum_exp = poisoned(device, rows, DType::F32)?;
        softmax(device, &x, Some(&log_sum_exp), rows, width)?;
        // The twin counts infinities as numbers, which no scale survives: the comparison is of what is finite.
        let expected: Vec<f32> = softmax_scalar(&mut values, width);
        let found = download(device, &log_sum_exp, rows, DType::F32)?;
        let finite = |numbers: &[f32]| -> Vec<f32> {
            numbers
                .iter()
                .map(|number| if number.abs() < 1e30 { *number } else { number.signum() * 99.0 })
                .collect()
        };
        let case = format!("{rows}x{width}");
        checks.push(Check::compare(
            "softmax (log_sum_exp)",
            &*case,
            &finite(&found),
            &finite(&expected),
            1e-6,
        ));
        let found = download(device, &x, rows * width, DType::F32)?;
        checks.push(Check::compare("softmax", case, &found, &values, 1e-6));
    }
    Ok(checks)
}

/// How fast it is, with the error of what was measured.
///
/// # Errors
/// As [`checks`].
pub fn speeds(device: &Device) -> Result<Vec<Check>> {
    let (rows, width) = (1024, 32_000);
    let mut values: Vec<f32> = random(rows * width, 1).iter().map(|value| value * 8.0).collect();
    let x = device.upload(&values)?;
    softmax(device, &x, None, rows, width)?;
    let found = download(device, &x, rows * width, DType::F32)?;
    softmax_scalar(&mut values, width);
    let check = Check::compare("softmax", format!("{rows}x{width}"), &found, &values, 1e-6);
    let microseconds = time(device, 5, 20, || softmax(device, &x, None, rows, width))?;
    Ok(vec![check.timed(microseconds, Work::Bytes((rows * width * 8) as f64))])
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_their_scalar_twins() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
