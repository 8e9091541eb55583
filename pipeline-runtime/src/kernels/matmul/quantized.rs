//! Products of few rows and weights in ggml's block formats on a GPU, and such weights back in a dense format, for
//! products of many rows.

use pipeline_schema::DType;

use super::MatmulShape;
use super::gpu::{Epilogue, FEW_ROWS, Input, few_rows_scalar};
use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, rounding, upload};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source, suffix};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::{blocks_for, expect};
use crate::kernels::norm::{RmsNormShape, rms_norm_scalar};
use crate::kernels::quantized::{
    QuantizedFormat, QuantizedRef, dequantize as dequantize_here, quantize, quantized_rows,
};

/// The kernels.
pub static SOURCE: Source = Source {
    name: "matmul-quantized",
    parts: &[
        PRELUDE,
        include_str!("../../gpu/quantized.cuh"),
        include_str!("rows.cuh"),
        include_str!("quantized_rows.cuh"),
        include_str!("quantized.cu"),
    ],
};

/// Threads of a block.
const THREADS: usize = 256;
/// And of one that takes strips.
pub(crate) const STRIP_THREADS: usize = 512;

/// The most rows that tensor cores take at once.
const STRIP_ROWS: usize = 4;

/// Bytes of a quantised row: values, scales for 32 and sums of 16, as `quantized_row_bytes` in quantized.cuh.
pub(crate) fn row_bytes(in_features: usize) -> usize {
    in_features + in_features / 32 * 4 + in_features / 16 * 4
}

/// Whether [`quantized_few_rows`] takes rows of this length: one must fit a block's shared memory.
pub fn fits_shared(device: &Device, in_features: usize) -> bool {
    rows_in_shared(device, in_features) > 0
}

/// How many quantised rows fit beside what the kernels declare themselves, at most.
fn rows_in_shared(device: &Device, in_features: usize) -> usize {
    let declared = if takes_strips(device, in_features) { 10 * 1024 } else { 1024 };
    (device.chip().shared_per_block as usize).saturating_sub(declared) / row_bytes(in_features).max(1)
}

/// Whether tensor cores take rows of this length, in strips of 256 weights.
pub(crate) fn takes_strips(device: &Device, in_features: usize) -> bool {
    device.chip().target.starts_with("sm_") && in_features.is_multiple_of(256)
}

/// The most rows that one launch takes: for more, the registers do not suffice.
fn rows_at_once(format: QuantizedFormat) -> usize {
    match format {
        QuantizedFormat::Q4K => 4,
        QuantizedFormat::Q80 => 8,
    }
}

/// A product of few rows with quantised weights: y = x · Wᵀ. x is quantised too, to 8 bits with a scale for 32
/// neighbours.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedFewRows<'a> {
    /// x: rows of `dtype`, or the norm of the residual stream.
    pub input: Input<'a>,
    /// (out_features, in_features), [packed](QuantizedFormat::pack); twice that for [`Epilogue::SwiGlu`].
    pub weight: &'a Buffer,
    /// (out_features) `f32`, added to every row; none for [`Epilogue::SwiGlu`].
    pub bias: Option<&'a Buffer>,
    /// (rows, out_features).
    pub y: &'a Buffer,
    /// What becomes of the sums.
    pub epilogue: Epilogue,
    /// At most [`FEW_ROWS`] rows; in_features is a multiple of the format's block.
    pub shape: MatmulShape,
    /// The format of the weights.
    pub format: QuantizedFormat,
    /// The number format of x, and of y where the epilogue stores it.
    pub dtype: DType,
}

/// The product of few rows, bound by reading the weights. They are read once for as many rows as fit a block's shared
/// memory: 4 at most, of `Q8_0` without tensor cores 8.
///
/// # Panics
/// Where a buffer is too small for the shape, the shape does not fit the format, [`fits_shared`] denies the rows, there
/// are more than [`FEW_ROWS`], or a bias comes with [`Epilogue::SwiGlu`].
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn quantized_few_rows(device: &Device, product: &QuantizedFewRows<'_>) -> Result<()> {
    let QuantizedFewRows { input, weight, bias, y, epilogue, shape, format, dtype } = *product;
    let MatmulShape { rows, in_features, out_features } = shape;
    let swiglu = epilogue == Epilogue::SwiGlu;
    assert!(rows <= FEW_ROWS, "quantized_few_rows: at most {FEW_ROWS} rows, not {rows}");
    assert!(in_features.is_multiple_of(format.block()), "quantized_few_rows: {shape:?} is of whole blocks");
    let matrices = 1 + usize::from(swiglu);
    expect(weight, "weight", &[matrices, out_features, in_features / format.block()], format.block_bytes());
    let y_size = if matches!(epilogue, Epilogue::Store | Epilogue::SwiGlu) { dtype.size() } else { 4 };
    expect(y, "y", &[rows, out_features], y_size);
    if let Some(bias) = bias {
        assert!(!swiglu, "quantized_few_rows: SwiGLU takes no bias");
        expect(bias, "bias", &[out_features], 4);
    }
    let (x, x_size, name, norm_weight, epsilon) = match input {
        Input::Rows(x) => (x, dtype.size(), "x", 0, 0.0),
        Input::Norm { hidden, weight, epsilon } => {
            expect(weight, "norm weight", &[in_features], 4);
            (hidden, 4, "hidden", weight.address(), epsilon)
        }
    };
    expect(x, "x", &[rows, in_features], x_size);
    if rows == 0 || out_features == 0 {
        return Ok(());
    }
    assert!(
        fits_shared(device, in_features),
        "quantized_few_rows: a row of {in_features} does not fit a block's shared memory"
    );
    let row_bytes = row_bytes(in_features);
    let strips = takes_strips(device, in_features);
    let multiprocessors = device.chip().multiprocessors as usize;
    // Tensor cores take 16 weight rows at a time, otherwise a warp takes two.
    let (most, blocks, threads) = if strips {
        let tiles = out_features.div_ceil(if swiglu { 8 } else { 16 });
        (STRIP_ROWS, tiles.min(multiprocessors), STRIP_THREADS)
    } else {
        let tasks = if swiglu { out_features } else { out_features.div_ceil(2) };
        let warps = THREADS / device.chip().warp as usize;
        (rows_at_once(format), tasks.div_ceil(warps).min(2 * multiprocessors), THREADS)
    };
    let at_once = most.min(rows_in_shared(device, in_features));
    for first in (0..rows).step_by(at_once) {
        let count = at_once.min(rows - first);
        let way = match strips {
            true => format!("strips{}", if count == 1 { 1 } else { STRIP_ROWS }),
            false => format!("rows{}", count.next_power_of_two()),
        };
        let end = if strips && swiglu { "_swiglu" } else { "" };
        let kernel = format!("{}_{way}_{name}{end}_{}", format.name(), suffix(dtype));
        let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks, 1, 1).threads(threads);
        let launch = launch.shared(count * row_bytes).buffer(weight);
        let launch = launch.address(x.address() + (first * in_features * x_size) as u64);
        let launch = launch.address(norm_weight).float(epsilon).address(bias.map_or(0, Buffer::address));
        let launch = launch.address(y.address() + (first * out_features * y_size) as u64);
        let launch = launch.number(epilogue as usize).number(count).number(in_features).number(out_features);
        // SAFETY: every buffer holds its shape, and shared memory the quantised rows.
        unsafe { launch.run()? };
    }
    Ok(())
}

/// dense = the weights, in `dtype`.
///
/// weight: [packed](QuantizedFormat::pack); dense: (weights) of `dtype`.
///
/// # Panics
/// Where a buffer is too small, or `weights` is no multiple of the format's block.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn dequantize(
    device: &Device,
    weight: &Buffer,
    format: QuantizedFormat,
    dense: &Buffer,
    weights: usize,
    dtype: DType,
) -> Result<()> {
    expect(weight, "weight", &[format.bytes(weights)], 1);
    expect(dense, "dense", &[weights], dtype.size());
    if weights == 0 {
        return Ok(());
    }
    let kernel = format!("dequantize_{}_{}", format.name(), suffix(dtype));
    let count = match format {
        QuantizedFormat::Q4K => weights / format.block(),
        QuantizedFormat::Q80 => weights,
    };
    let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks_for(device, weights / 2), 1, 1);
    // SAFETY: both buffers hold their lengths.
    unsafe { launch.buffer(weight).buffer(dense).address(count as u64).run() }
}

/// Every kernel beside its scalar twin: the dense product of the dequantised weights, once with x quantised like the
/// kernels do, once with x as it is, which shows what quantising x costs.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for format in QuantizedFormat::ALL {
        for dtype in DType::ALL {
            for (out_features, blocks) in [(5, 1), (37, 3), (200, 8)] {
                let in_features = blocks * format.block();
                for rows in [1, 3, 8, 11] {
                    let shape = MatmulShape { rows, in_features, out_features };
                    for epilogue in
                        [Epilogue::Store, Epilogue::StoreF32, Epilogue::Accumulate, Epilogue::SwiGlu]
                    {
                        for norm in [false, true] {
                            checks.extend(check(device, format, shape, epilogue, norm, dtype)?);
                        }
                    }
                }
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
    let mut checks = Vec::new();
    for format in QuantizedFormat::ALL {
        for (out_features, in_features, epilogue) in [
            (4096, 4096, Epilogue::Accumulate),
            (14_336, 4096, Epilogue::SwiGlu),
            (32_000, 4096, Epilogue::StoreF32),
        ] {
            let shape = MatmulShape { rows: 1, in_features, out_features };
            checks.push(speed(device, format, shape, epilogue)?);
        }
    }
    Ok(checks)
}

/// Random weights in a format: packed on the device, and what they stand for.
pub(crate) fn weights(device: &Device, format: QuantizedFormat, count: usize) -> Result<(Buffer, Vec<f32>)> {
    let blocks = quantize(format, &random(count, 1))?;
    let mut dense = vec![0.0; count];
    dequantize_here(QuantizedRef::new(format, &blocks), &mut dense);
    Ok((device.upload(&format.pack(&blocks))?, dense))
}

fn check(
    device: &Device,
    format: QuantizedFormat,
    shape: MatmulShape,
    epilogue: Epilogue,
    norm: bool,
    dtype: DType,
) -> Result<Vec<Check>> {
    let MatmulShape { rows, in_features, out_features } = shape;
    let swiglu = epilogue == Epilogue::SwiGlu;
    let (weight, dense) = weights(device, format, (1 + usize::from(swiglu)) * out_features * in_features)?;
    let biases = random(out_features, 2);
    let bias = if rows % 2 == 0 && !swiglu { Some(device.upload(&biases)?) } else { None };
    let activations = random(rows * in_features, 3);
    let (hidden, norm_weights) = (device.upload(&activations)?, random(in_features, 4));
    let norm_weight = device.upload(&norm_weights)?;
    let (x, mut values) = upload(device, &activations, dtype)?;
    if norm {
        let shape = RmsNormShape { rows, width: in_features, epsilon: 1e-5 };
        rms_norm_scalar(&activations, &norm_weights, &mut values, shape);
    }
    let stored = if matches!(epilogue, Epilogue::Store | Epilogue::SwiGlu) { dtype } else { DType::F32 };
    let before = random(rows * out_features, 5);
    let y = match epilogue {
        Epilogue::Accumulate => device.upload(&before)?,
        _ => poisoned(device, before.len(), stored)?,
    };
    let input = match norm {
        true => Input::Norm { hidden: &hidden, weight: &norm_weight, epsilon: 1e-5 },
        false => Input::Rows(&x),
    };
    let product = QuantizedFewRows {
        input,
        weight: &weight,
        bias: bias.as_ref(),
        y: &y,
        epilogue,
        shape,
        format,
        dtype,
    };
    quantized_few_rows(device, &product)?;
    let found = download(device, &y, before.len(), stored)?;
    let biases = bias.is_some().then_some(&*biases);
    let twin = |x: &[f32]| {
        let mut expected = before.clone();
        few_rows_scalar(x, &dense, biases, &mut expected, epilogue, shape);
        expected
    };
    let case = format!(
        "{format:?} {dtype} {rows}x{in_features}->{out_features} {epilogue:?}{}",
        if norm { " norm" } else { "" }
    );
    // Where a norm's last bit moves a number across a rounding, one of many is off by one of 254 units.
    let bound = rounding(stored).max(if norm { 4e-3 } else { 2e-5 });
    let mut checks = vec![
        Check::compare("quantized_few_rows", &*case, &found, &twin(&quantized_rows(&values)), bound),
        Check::compare("quantized_few_rows (x not quantised)", case, &found, &twin(&values), 2e-2),
    ];
    if rows == 1 && epilogue == Epilogue::Store {
        let back = poisoned(device, dense.len(), dtype)?;
        dequantize(device, &weight, format, &back, dense.len(), dtype)?;
        let found = download(device, &back, dense.len(), dtype)?;
        let case = format!("{format:?} {dtype} {}", dense.len());
        checks.push(Check::compare("dequantize", case, &found, &dense, rounding(dtype)));
    }
    Ok(checks)
}

/// One row, with weights that no cache holds.
fn speed(device: &Device, format: QuantizedFormat, shape: MatmulShape, epilogue: Epilogue) -> Result<Check> {
    let MatmulShape { in_features, out_features, .. } = shape;
    let dtype = DType::BF16;
    let matrices = 1 + usize::from(epilogue == Epilogue::SwiGlu);
    let bytes = format.bytes(matrices * out_features * in_features);
    let copies = (4 * device.chip().l2 as usize).div_ceil(bytes).max(2);
    let (x, values) = upload(device, &random(in_features, 3), dtype)?;
    let (first, dense) = weights(device, format, matrices * out_features * in_features)?;
    let mut weight = vec![first];
    for _ in 1..copies {
        let copy = device.allocate(bytes)?;
        device.copy(&copy, 0, &weight[0], 0, bytes)?;
        weight.push(copy);
    }
    let y = device.zeros(out_features * 4)?;
    let product = |weight| QuantizedFewRows {
        input: Input::Rows(&x),
        weight,
        bias: None,
        y: &y,
        epilogue,
        shape,
        format,
        dtype,
    };
    quantized_few_rows(device, &product(&weight[0]))?;
    let stored = if matches!(epilogue, Epilogue::Store | Epilogue::SwiGlu) { dtype } else { DType::F32 };
    let found = download(device, &y, out_features, stored)?;
    let mut expected = vec![0.0; out_features];
    few_rows_scalar(&quantized_rows(&values), &dense, None, &mut expected, epilogue, shape);
    let case = format!("{format:?} 1x{in_features}->{out_features} {epilogue:?}");
    let bound = rounding(stored).max(2e-5);
    let check = Check::compare("quantized_few_rows", case, &found, &expected, bound);
    let mut turn = 0;
    let microseconds = time(device, 5, 20, || {
        turn += 1;
        quantized_few_rows(device, &product(&weight[turn % copies]))
    })?;
    Ok(check.timed(microseconds, Work::Bytes(bytes as f64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpu_kernels_agree_with_their_scalar_twins() {
        crate::kernels::check::assert_passes(checks);
        crate::kernels::check::assert_passes(speeds);
    }
}
