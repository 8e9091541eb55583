//! The normalisation on a GPU.

use pipeline_schema::DType;

use super::{RmsNormShape, add_rms_norm_scalar, rms_norm_scalar};
use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, rounding, upload};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source, suffix};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::{expect, threads_for_row};

/// The kernels.
pub static SOURCE: Source = Source { name: "norm", parts: &[PRELUDE, include_str!("gpu.cu")] };

/// y = hidden / sqrt(mean(hidden²) + epsilon) · weight for each row, sums in `f32`.
///
/// hidden: (rows, width) `f32`; weight: (width) `f32`; y: (rows, width) of `dtype`, overwritten.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn rms_norm(
    device: &Device,
    hidden: &Buffer,
    weight: &Buffer,
    y: &Buffer,
    shape: RmsNormShape,
    dtype: DType,
) -> Result<()> {
    let RmsNormShape { rows, width, epsilon } = shape;
    expect(hidden, "hidden", &[rows, width], 4);
    expect(weight, "weight", &[width], 4);
    expect(y, "y", &[rows, width], dtype.size());
    let kernel = format!("rms_norm_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(rows, 1, 1).threads(threads_for_row(width));
    let launch = launch.buffer(hidden).buffer(weight).buffer(y).number(width).float(epsilon);
    // SAFETY: a block for each row, and every buffer holds its shape.
    unsafe { launch.run() }
}

/// hidden += x, then y = rms_norm(hidden).
///
/// hidden: (rows, width) `f32`; x, y: (rows, width) of `dtype`; weight: (width) `f32`. y may be x.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn add_rms_norm(
    device: &Device,
    hidden: &Buffer,
    x: &Buffer,
    weight: &Buffer,
    y: &Buffer,
    shape: RmsNormShape,
    dtype: DType,
) -> Result<()> {
    let RmsNormShape { rows, width, epsilon } = shape;
    expect(hidden, "hidden", &[rows, width], 4);
    expect(x, "x", &[rows, width], dtype.size());
    expect(weight, "weight", &[width], 4);
    expect(y, "y", &[rows, width], dtype.size());
    let kernel = format!("add_rms_norm_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(rows, 1, 1).threads(threads_for_row(width));
    let launch = launch.buffer(hidden).buffer(x).buffer(weight).buffer(y).number(width).float(epsilon);
    // SAFETY: a block for each row, and every buffer holds its shape.
    unsafe { launch.run() }
}

/// Every kernel beside its scalar twin.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (rows, width) in [(1, 1), (3, 24), (2, 67), (5, 1000), (2, 4096), (1, 14_336)] {
            let shape = RmsNormShape { rows, width, epsilon: 1e-5 };
            let case = format!("{dtype} {rows}x{width}");
            let (hidden, weight) = (random(rows * width, 1), random(width, 2));
            let (x, x_rounded) = upload(device, &random(rows * width, 3), dtype)?;
            let weights = device.upload(&weight)?;
            let hiddens = device.upload(&hidden)?;
            let y = poisoned(device, rows * width, dtype)?;
            let mut expected = vec![0.0; rows * width];

            rms_norm(device, &hiddens, &weights, &y, shape, dtype)?;
            rms_norm_scalar(&hidden, &weight, &mut expected, shape);
            let found = download(device, &y, rows * width, dtype)?;
            checks.push(Check::compare("rms_norm", case.clone(), &found, &expected, rounding(dtype)));

            device.fill(&y, 0xff)?;
            add_rms_norm(device, &hiddens, &x, &weights, &y, shape, dtype)?;
            let mut sum = hidden.clone();
            add_rms_norm_scalar(&mut sum, &x_rounded, &weight, &mut expected, shape);
            let found = download(device, &y, rows * width, dtype)?;
            checks.push(Check::compare("add_rms_norm", case.clone(), &found, &expected, rounding(dtype)));
            let found = download(device, &hiddens, rows * width, DType::F32)?;
            checks.push(Check::compare("add_rms_norm (hidden)", case, &found, &sum, 1e-7));
        }
    }
    Ok(checks)
}

/// How fast they are, with the errors of what was measured.
///
/// # Errors
/// As [`checks`].
pub fn speeds(device: &Device) -> Result<Vec<Check>> {
    let (dtype, width) = (DType::BF16, 4096);
    let mut checks = Vec::new();
    for rows in [1, 8192] {
        let shape = RmsNormShape { rows, width, epsilon: 1e-5 };
        let case = format!("{dtype} {rows}x{width}");
        let (mut hidden, weight) = (random(rows * width, 1), random(width, 2));
        let (x, x_rounded) = upload(device, &random(rows * width, 3), dtype)?;
        let (hiddens, weights) = (device.upload(&hidden)?, device.upload(&weight)?);
        let y = poisoned(device, rows * width, dtype)?;
        let mut expected = vec![0.0; rows * width];
        let bytes = |of_an_element: usize| Work::Bytes((rows * width * of_an_element + width * 4) as f64);

        let microseconds = time(device, 5, 20, || rms_norm(device, &hiddens, &weights, &y, shape, dtype))?;
        let found = download(device, &y, rows * width, dtype)?;
        rms_norm_scalar(&hidden, &weight, &mut expected, shape);
        let check = Check::compare("rms_norm", &*case, &found, &expected, rounding(dtype));
        checks.push(check.timed(microseconds, bytes(4 + 2)));

        add_rms_norm(device, &hiddens, &x, &weights, &y, shape, dtype)?;
        let found = download(device, &y, rows * width, dtype)?;
        add_rms_norm_scalar(&mut hidden, &x_rounded, &weight, &mut expected, shape);
        let check = Check::compare("add_rms_norm", case, &found, &expected, rounding(dtype));
        let microseconds =
            time(device, 5, 20, || add_rms_norm(device, &hiddens, &x, &weights, &y, shape, dtype))?;
        checks.push(check.timed(microseconds, bytes(4 + 4 + 2 + 2)));
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_their_scalar_twins() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
