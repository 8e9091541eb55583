//! Activations on a GPU.

use pipeline_schema::DType;

use super::{silu_multiply_scalar, silu_scalar};
use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, rounding, upload};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source, suffix};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::{blocks_for, expect};

/// The kernels.
pub static SOURCE: Source = Source { name: "activation", parts: &[PRELUDE, include_str!("gpu.cu")] };

/// y = silu(gate) · up, where gate and up are the halves of each row of a fused product.
///
/// gate_up: (rows, 2, width), y: (rows, width), both of `dtype`.
///
/// # Panics
/// Where a buffer is too small for the shape.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn swiglu(
    device: &Device,
    gate_up: &Buffer,
    y: &Buffer,
    rows: usize,
    width: usize,
    dtype: DType,
) -> Result<()> {
    expect(gate_up, "gate_up", &[rows, 2, width], dtype.size());
    expect(y, "y", &[rows, width], dtype.size());
    if rows * width == 0 {
        return Ok(());
    }
    let kernel = format!("swiglu_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks_for(device, rows * width), 1, 1);
    // SAFETY: every buffer holds its shape.
    unsafe { launch.buffer(gate_up).buffer(y).number(rows).number(width).run() }
}

/// x = x / (1 + e^-x) for `length` elements of `dtype`, in place.
///
/// # Panics
/// Where the buffer is too small.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn silu(device: &Device, x: &Buffer, length: usize, dtype: DType) -> Result<()> {
    expect(x, "x", &[length], dtype.size());
    if length == 0 {
        return Ok(());
    }
    let kernel = format!("silu_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks_for(device, length), 1, 1);
    // SAFETY: the buffer holds its length.
    unsafe { launch.buffer(x).address(length as u64).run() }
}

/// Every kernel beside its scalar twin.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (rows, width) in [(1, 1), (3, 24), (5, 67), (2, 1000), (300, 14_336)] {
            let case = format!("{dtype} {rows}x{width}");
            let values: Vec<f32> = random(rows * 2 * width, 1).iter().map(|value| value * 6.0).collect();
            let (gate_up, rounded) = upload(device, &values, dtype)?;
            let y = poisoned(device, rows * width, dtype)?;
            swiglu(device, &gate_up, &y, rows, width, dtype)?;
            let mut expected = Vec::new();
            for row in rounded.chunks_exact(2 * width) {
                let mut gate = row[..width].to_vec();
                silu_multiply_scalar(&mut gate, &row[width..]);
                expected.extend(gate);
            }
            let found = download(device, &y, rows * width, dtype)?;
            checks.push(Check::compare("swiglu", &*case, &found, &expected, rounding(dtype)));

            silu(device, &gate_up, rows * 2 * width, dtype)?;
            let mut expected = rounded;
            silu_scalar(&mut expected);
            let found = download(device, &gate_up, expected.len(), dtype)?;
            checks.push(Check::compare("silu", case, &found, &expected, rounding(dtype)));
        }
    }
    Ok(checks)
}

/// How fast they are, with the errors of what was measured.
///
/// # Errors
/// As [`checks`].
pub fn speeds(device: &Device) -> Result<Vec<Check>> {
    let (dtype, rows, width) = (DType::BF16, 2048, 14_336);
    let case = format!("{dtype} {rows}x{width}");
    let values: Vec<f32> = random(rows * 2 * width, 1).iter().map(|value| value * 6.0).collect();
    let (gate_up, mut rounded) = upload(device, &values, dtype)?;
    let y = poisoned(device, rows * width, dtype)?;
    let microseconds = time(device, 5, 20, || swiglu(device, &gate_up, &y, rows, width, dtype))?;
    let mut expected = Vec::with_capacity(rows * width);
    for row in rounded.chunks_exact(2 * width) {
        let mut gate = row[..width].to_vec();
        silu_multiply_scalar(&mut gate, &row[width..]);
        expected.extend(gate);
    }
    let found = download(device, &y, rows * width, dtype)?;
    let swiglus = Check::compare("swiglu", &*case, &found, &expected, rounding(dtype))
        .timed(microseconds, Work::Bytes((rows * 3 * width * dtype.size()) as f64));

    silu(device, &gate_up, rounded.len(), dtype)?;
    let found = download(device, &gate_up, rounded.len(), dtype)?;
    silu_scalar(&mut rounded);
    let silus = Check::compare("silu", case, &found, &rounded, rounding(dtype));
    let microseconds = time(device, 5, 20, || silu(device, &gate_up, rounded.len(), dtype))?;
    Ok(vec![swiglus, silus.timed(microseconds, Work::Bytes((rounded.len() * 2 * dtype.size()) as f64))])
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_their_scalar_twins() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
