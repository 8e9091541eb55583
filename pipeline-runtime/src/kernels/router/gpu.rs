//! The router on a GPU: logits, softmax and the choice of experts in one launch, with the norm before it if need be.

use pipeline_schema::DType;

use super::{TopKShape, softmax_top_k_scalar};
use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, rounding, upload};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source, suffix};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::expect;
use crate::kernels::norm::{RmsNormShape, rms_norm_scalar};

/// The kernels.
pub static SOURCE: Source = Source { name: "router", parts: &[PRELUDE, include_str!("gpu.cu")] };

/// The most experts that a router chooses from.
pub const MOST_EXPERTS: usize = 1024;

/// The most experts that a token visits: a lane of a warp each.
pub const MOST_CHOSEN: usize = 32;

/// Up to so many rows each has a block of its own.
pub const ROWS_ALONE: usize = 64;

/// What a router writes.
#[derive(Clone, Copy, Debug)]
pub struct RouterBuffers<'a> {
    /// x gateᵀ: (rows, experts) `f32`.
    pub logits: &'a Buffer,
    /// The chosen experts, the most probable first: (rows, k) `u32`.
    pub experts: &'a Buffer,
    /// Their weights: (rows, k) `f32`.
    pub weights: &'a Buffer,
}

/// logits = x gateᵀ, softmax over all experts, the `k` largest, as
/// [`softmax_top_k`](super::softmax_top_k) chooses them; sums in `f32`.
///
/// x: (rows, width), gate: (experts, width), both of `dtype`.
///
/// # Panics
/// Where a buffer is too small, `k` is not between 1 and [`MOST_CHOSEN`] and the number of experts, or there are more
/// than [`MOST_EXPERTS`].
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
#[expect(clippy::too_many_arguments, reason = "a kernel's operands and sizes")]
pub fn router(
    device: &Device,
    x: &Buffer,
    gate: &Buffer,
    output: RouterBuffers<'_>,
    rows: usize,
    width: usize,
    shape: TopKShape,
    dtype: DType,
) -> Result<()> {
    expect(x, "x", &[rows, width], dtype.size());
    check(gate, output, rows, width, shape, dtype);
    let (name, blocks, most_threads) = match rows <= ROWS_ALONE {
        true => ("router_row", rows, 512),
        false => ("router", rows.div_ceil(4), 256),
    };
    let kernel = format!("{name}_{}", suffix(dtype));
    let launch =
        Launch::new(device, &SOURCE, &kernel).grid(blocks, 1, 1).threads(threads(width, most_threads));
    let launch = arguments(launch.buffer(x), gate, output, rows, width, shape);
    // SAFETY: a block for each row or four, every buffer holds its shape, and the shape is within the kernel's.
    unsafe { launch.run() }
}

/// x = rms_norm(hidden), then [`router`] of x.
///
/// hidden: (rows, width) `f32`; norm_weight: (width) `f32`; x: (rows, width) of `dtype`, overwritten.
///
/// # Panics
/// As [`router`].
///
/// # Errors
/// As [`router`].
#[expect(clippy::too_many_arguments, reason = "a kernel's operands and sizes")]
pub fn rms_norm_router(
    device: &Device,
    hidden: &Buffer,
    norm_weight: &Buffer,
    x: &Buffer,
    gate: &Buffer,
    output: RouterBuffers<'_>,
    norm: RmsNormShape,
    shape: TopKShape,
    dtype: DType,
) -> Result<()> {
    let RmsNormShape { rows, width, epsilon } = norm;
    expect(hidden, "hidden", &[rows, width], 4);
    expect(norm_weight, "norm_weight", &[width], 4);
    expect(x, "x", &[rows, width], dtype.size());
    check(gate, output, rows, width, shape, dtype);
    let kernel = format!("rms_norm_router_{}", suffix(dtype));
    let launch = Launch::new(device, &SOURCE, &kernel).grid(rows, 1, 1).threads(threads(width, 512));
    let launch = launch.buffer(hidden).buffer(norm_weight).float(epsilon).buffer(x);
    let launch = arguments(launch, gate, output, rows, width, shape);
    // SAFETY: a block for each row, every buffer holds its shape, and the shape is within the kernel's.
    unsafe { launch.run() }
}

fn check(
    gate: &Buffer,
    output: RouterBuffers<'_>,
    rows: usize,
    width: usize,
    shape: TopKShape,
    dtype: DType,
) {
    let TopKShape { experts, k, .. } = shape;
    assert!(k >= 1 && k <= experts && k <= MOST_CHOSEN, "router: k of {shape:?}");
    assert!(experts <= MOST_EXPERTS, "router: at most {MOST_EXPERTS} experts, not {shape:?}");
    expect(gate, "gate", &[experts, width], dtype.size());
    expect(output.logits, "logits", &[rows, experts], 4);
    expect(output.experts, "experts", &[rows, k], 4);
    expect(output.weights, "weights", &[rows, k], 4);
}

/// What all of the kernels take after x.
fn arguments<'a>(
    launch: Launch<'a>,
    gate: &Buffer,
    output: RouterBuffers<'_>,
    rows: usize,
    width: usize,
    shape: TopKShape,
) -> Launch<'a> {
    let launch = launch.buffer(gate).number(rows).number(width).number(shape.experts).number(shape.k);
    let launch = launch.number(shape.normalize.into());
    launch.buffer(output.logits).buffer(output.experts).buffer(output.weights)
}

/// One thread for 8 numbers of a row.
fn threads(width: usize, most: usize) -> usize {
    width.div_ceil(8).next_multiple_of(64).clamp(64, most)
}

/// x gateᵀ of the first `rows`.
fn scalar_logits(x: &[f32], gate: &[f32], rows: usize, width: usize) -> Vec<f32> {
    let dot = |x: &[f32], gate: &[f32]| -> f64 {
        x.iter().zip(gate).map(|(x, gate)| f64::from(*x) * f64::from(*gate)).sum()
    };
    let rows = x.chunks_exact(width).take(rows);
    rows.flat_map(|x| gate.chunks_exact(width).map(move |gate| dot(x, gate) as f32)).collect()
}

/// Every kernel beside its scalar twin.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (rows, width, experts, k, normalize) in [
            (1, 1024, 8, 2, true),
            (5, 24, 4, 2, false),
            (7, 67, 3, 3, true),
            (3, 40, 256, 6, false),
            (66, 72, 60, 4, true),
            (130, 136, 128, 8, true),
        ] {
            let shape = TopKShape { experts, k, normalize };
            let norm = RmsNormShape { rows, width, epsilon: 1e-5 };
            let hidden = random(rows * width, 1);
            let norm_weight = random(width, 2);
            let mut gate = random(experts * width, 3);
            // Equal experts: of equal logits the lower index is chosen.
            gate.copy_within(..width, (experts / 2) * width);
            let (gate, gate_values) = upload(device, &gate, dtype)?;
            let (hiddens, norm_weights) = (device.upload(&hidden)?, device.upload(&norm_weight)?);
            let mut normed = vec![0.0; hidden.len()];
            rms_norm_scalar(&hidden, &norm_weight, &mut normed, norm);
            for fused in [false, true] {
                let (x, _) = upload(device, &normed, dtype)?;
                let logits = poisoned(device, rows * experts, DType::F32)?;
                let chosen = poisoned(device, rows * k, DType::F32)?;
                let weights = poisoned(device, rows * k, DType::F32)?;
                let output = RouterBuffers { logits: &logits, experts: &chosen, weights: &weights };
                let name = if fused { "rms_norm_router" } else { "router" };
                let case = format!("{dtype} {rows}x{width}, {k} of {experts}");
                if fused {
                    device.fill(&x, 0xff)?;
                    rms_norm_router(device, &hiddens, &norm_weights, &x, &gate, output, norm, shape, dtype)?;
                    let found = download(device, &x, rows * width, dtype)?;
                    let bound = rounding(dtype);
                    checks.push(Check::compare(
                        "rms_norm_router (norm)",
                        case.clone(),
                        &found,
                        &normed,
                        bound,
                    ));
                } else {
                    router(device, &x, &gate, output, rows, width, shape, dtype)?;
                }
                // The twins go on from what the kernel wrote: a choice must not hang on the last bit.
                let x = download(device, &x, rows * width, dtype)?;
                let expected = scalar_logits(&x, &gate_values, rows, width);
                let logits = download(device, &logits, rows * experts, DType::F32)?;
                checks.push(Check::compare(name, case.clone(), &logits, &expected, 1e-5));
                let twin = softmax_top_k_scalar(&logits, shape);
                let numbers = |indices: &[u32]| indices.iter().map(|&index| index as f32).collect::<Vec<_>>();
                let chosen = numbers(&device.read::<u32>(&chosen, 0, rows * k)?);
                let name = format!("{name} (choice)");
                checks.push(Check::compare(&name, case.clone(), &chosen, &numbers(&twin.experts), 0.0));
                let weights = download(device, &weights, rows * k, DType::F32)?;
                checks.push(Check::compare(&name, case, &weights, &twin.weights, 1e-5));
            }
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
    let shape = TopKShape { experts: 8, k: 2, normalize: true };
    let TopKShape { experts, k, .. } = shape;
    let (gate, gate_values) = upload(device, &random(experts * width, 3), dtype)?;
    let norm_weight = random(width, 2);
    let norm_weights = device.upload(&norm_weight)?;
    let mut checks = Vec::new();
    for rows in [1, ROWS_ALONE, 8192] {
        let case = format!("{dtype} {rows}x{width}, {k} of {experts}");
        let hidden = random(rows * width, 1);
        let (x, rounded) = upload(device, &hidden, dtype)?;
        let logits = poisoned(device, rows * experts, DType::F32)?;
        let (chosen, weights) =
            (poisoned(device, rows * k, DType::F32)?, poisoned(device, rows * k, DType::F32)?);
        let output = RouterBuffers { logits: &logits, experts: &chosen, weights: &weights };
        // The logits of some rows beside those of `x`, and the weights of the chosen beside the twin's of these logits.
        let mut enter = |kernel: &str, x: &[f32], microseconds, of_an_element: usize| -> Result<()> {
            let found = download(device, &logits, rows * experts, DType::F32)?;
            let some = rows.min(64);
            let expected = scalar_logits(x, &gate_values, some, width);
            let check = Check::compare(kernel, &*case, &found[..some * experts], &expected, 1e-5);
            let bytes = rows * (width * of_an_element + experts * 4 + k * 8) + experts * width * dtype.size();
            checks.push(check.timed(microseconds, Work::Bytes(bytes as f64)));
            let twin = softmax_top_k_scalar(&found, shape);
            let weights = download(device, &weights, rows * k, DType::F32)?;
            let name = format!("{kernel} (choice)");
            checks.push(Check::compare(&name, &*case, &weights, &twin.weights, 1e-5));
            Ok(())
        };

        let microseconds =
            time(device, 5, 20, || router(device, &x, &gate, output, rows, width, shape, dtype))?;
        enter("router", &rounded, microseconds, dtype.size())?;

        // More rows have a norm of their own before.
        if rows > ROWS_ALONE {
            continue;
        }
        let hiddens = device.upload(&hidden)?;
        let norm = RmsNormShape { rows, width, epsilon: 1e-5 };
        let microseconds = time(device, 5, 20, || {
            rms_norm_router(device, &hiddens, &norm_weights, &x, &gate, output, norm, shape, dtype)
        })?;
        let normed = download(device, &x, rows * width, dtype)?;
        enter("rms_norm_router", &normed, microseconds, 4 + dtype.size())?;
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_agree_with_their_scalar_twins() {
        crate::kernels::check::assert_passes(checks);
        crate::kernels::check::assert_passes(speeds);
    }

    #[test]
    fn logits_that_are_no_numbers_are_chosen_last() {
        let Some(device) = crate::gpu::testing::device(pipeline_schema::Hardware::Cuda) else { return };
        let (nan, infinite) = (f32::NAN, f32::INFINITY);
        let rows = [[nan, 1.0, nan], [nan; 3], [-infinite, infinite, 0.0], [-infinite; 3]];
        // x times the identity would make NaN of every logit: a width of one, a row at a time.
        for logits in rows {
            let shape = TopKShape { experts: 3, k: 3, normalize: true };
            let (x, gate) = (device.upload(&[1.0f32]).unwrap(), device.upload(&logits).unwrap());
            let [found, chosen, weights] =
                [3; 3].map(|length| poisoned(&device, length, DType::F32).unwrap());
            let output = RouterBuffers { logits: &found, experts: &chosen, weights: &weights };
            router(&device, &x, &gate, output, 1, 1, shape, DType::F32).unwrap();
            let twin = softmax_top_k_scalar(&logits, shape);
            assert_eq!(device.read::<u32>(&chosen, 0, 3).unwrap(), twin.experts, "{logits:?}");
            assert_eq!(device.read::<f32>(&weights, 0, 3).unwrap(), twin.weights, "{logits:?}");
        }
    }
}
