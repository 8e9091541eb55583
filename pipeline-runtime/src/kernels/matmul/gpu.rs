//! Products of few rows on a GPU. Many rows go to the vendor's library ([`Device::matmul`]).

use pipeline_schema::{DType, Hardware};

use super::MatmulShape;
use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, rounding, upload};
use crate::gpu::{Buffer, Device, Launch, MATRIX, PRELUDE, Source, TENSOR, suffix};
use crate::kernels::MatrixRef;
use crate::kernels::activation::silu_multiply_scalar;
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::expect;
use crate::kernels::matmul::{MatmulEpilogue, matmul_scalar};
use crate::kernels::norm::{RmsNormShape, rms_norm_scalar};

/// The kernels.
pub static SOURCE: Source = Source {
    name: "matmul",
    parts: &[PRELUDE, TENSOR, MATRIX, include_str!("rows.cuh"), include_str!("gpu.cu")],
};

/// The most rows that [`few_rows`] takes.
pub const FEW_ROWS: usize = 16;

/// Threads of a block.
const THREADS: usize = 256;

/// What is multiplied with the weights.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// (rows, in_features) of the weights' number format.
    Rows(&'a Buffer),
    /// The RMS norm of the residual stream, rounded to the weights' number format.
    Norm {
        /// (rows, in_features) `f32`.
        hidden: &'a Buffer,
        /// (in_features) `f32`.
        weight: &'a Buffer,
        /// Added to the mean square.
        epsilon: f32,
    },
}

/// What becomes of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// y = sums, in the weights' number format.
    Store,
    /// y = sums, in `f32`.
    StoreF32,
    /// y += sums: y is `f32`, the residual stream.
    Accumulate,
    /// y = silu(gate sums) · up sums, in the weights' number format. The weights are (2, out_features, in_features):
    /// gate rows, then up rows.
    SwiGlu,
}

/// A product of few rows: y = x · Wᵀ, sums in `f32`.
#[derive(Clone, Copy, Debug)]
pub struct FewRows<'a> {
    /// x.
    pub input: Input<'a>,
    /// (out_features, in_features) of `dtype`; twice that for [`Epilogue::SwiGlu`].
    pub weight: &'a Buffer,
    /// (out_features) `f32`, added to every row; none for [`Epilogue::SwiGlu`].
    pub bias: Option<&'a Buffer>,
    /// (rows, out_features).
    pub y: &'a Buffer,
    /// What becomes of the sums.
    pub epilogue: Epilogue,
    /// At most [`FEW_ROWS`] rows.
    pub shape: MatmulShape,
    /// The number format of the weights.
    pub dtype: DType,
}

/// Whether [`few_rows`] can compute the norm of so many rows itself ([`Input::Norm`]): they must fit a block's shared
/// memory.
pub fn takes_norm(device: &Device, rows: usize, in_features: usize, dtype: DType) -> bool {
    // What the kernels declare: two sets of sums (8 warps, 8 or 16 rows, 36) `f32` and the norm's own.
    let declared = 2 * 8 * rows.next_multiple_of(8) * 36 * 4 + 512;
    let shape = MatmulShape { rows, in_features, out_features: 0 };
    let needed = plan(device, shape, dtype, true).shared.saturating_add(declared);
    rows <= FEW_ROWS && needed <= device.chip().shared_per_block as usize
}

/// How a product is launched.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// On tensor cores.
    tiles: bool,
    /// Bytes of shared memory that the launch asks for.
    shared: usize,
}

/// Tensor cores where there are some that take the shape, and shared memory for normed rows.
fn plan(device: &Device, shape: MatmulShape, dtype: DType, norm: bool) -> Plan {
    let MatmulShape { rows, in_features, .. } = shape;
    let tiles = device.hardware() == Hardware::Cuda
        && dtype != DType::F32
        && in_features > 0
        && in_features.is_multiple_of(64);
    // Behind each row the kernel on tensor cores leaves 64 bytes free, so that rows lie in different banks.
    let stride = if tiles { in_features + 32 } else { in_features.next_multiple_of(8) };
    let shared = rows.saturating_mul(stride).saturating_mul(dtype.size());
    Plan { tiles, shared: if norm { shared } else { 0 } }
}

/// The product of few rows, bound by reading the weights once.
///
/// # Panics
/// Where a buffer is too small for the shape, there are more than [`FEW_ROWS`] rows, a norm is asked for that
/// [`takes_norm`] denies, or a bias with [`Epilogue::SwiGlu`].
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn few_rows(device: &Device, product: &FewRows<'_>) -> Result<()> {
    let FewRows { input, weight, bias, y, epilogue, shape, dtype } = *product;
    let MatmulShape { rows, in_features, out_features } = shape;
    let swiglu = epilogue == Epilogue::SwiGlu;
    assert!(rows <= FEW_ROWS, "few_rows: at most {FEW_ROWS} rows, not {rows}");
    expect(weight, "weight", &[1 + usize::from(swiglu), out_features, in_features], dtype.size());
    let y_size = if matches!(epilogue, Epilogue::Store | Epilogue::SwiGlu) { dtype.size() } else { 4 };
    expect(y, "y", &[rows, out_features], y_size);
    if let Some(bias) = bias {
        assert!(!swiglu, "few_rows: SwiGLU takes no bias");
        expect(bias, "bias", &[out_features], 4);
    }
    let (x, norm_weight, epsilon) = match input {
        Input::Rows(x) => {
            expect(x, "x", &[rows, in_features], dtype.size());
            (x, 0, 0.0)
        }
        Input::Norm { hidden, weight, epsilon } => {
            expect(hidden, "hidden", &[rows, in_features], 4);
            expect(weight, "norm weight", &[in_features], 4);
            assert!(
                takes_norm(device, rows, in_features, dtype),
                "few_rows: the norm of {rows} rows does not fit"
            );
            (hidden, weight.address(), epsilon)
        }
    };
    if rows == 0 || out_features == 0 {
        return Ok(());
    }
    let norm = matches!(input, Input::Norm { .. });
    let source = if norm { "hidden" } else { "x" };
    let plan = plan(device, shape, dtype, norm);
    let multiprocessors = device.chip().multiprocessors as usize;
    let (kernel, blocks) = if plan.tiles {
        let octets = rows.next_multiple_of(8);
        let pair = if swiglu { "_swiglu" } else { "" };
        // One block a multiprocessor: the blocks of the next kernel find room beside it and ask for their weights.
        (format!("tile_rows{octets}_{source}{pair}_{}", suffix(dtype)), multiprocessors.min(out_features))
    } else {
        let most = if rows == 1 {
            1
        } else if rows <= 4 {
            4
        } else {
            16
        };
        let outputs = (THREADS / device.chip().warp as usize) * 2;
        let blocks = out_features.div_ceil(outputs).min(4 * multiprocessors);
        (format!("warp_rows{most}_{source}_{}", suffix(dtype)), blocks)
    };
    let launch =
        Launch::new(device, &SOURCE, &kernel).grid(blocks, 1, 1).threads(THREADS).shared(plan.shared);
    let launch = launch.buffer(weight).buffer(x).address(norm_weight).float(epsilon);
    let launch = launch.address(bias.map_or(0, Buffer::address)).buffer(y).number(epilogue as usize);
    // SAFETY: every buffer holds its shape, and shared memory is as large as the normed rows.
    unsafe { launch.number(rows).number(in_features).number(out_features).run() }
}

/// The product as it is defined: the twin of [`few_rows`], on what the buffers hold. x: (rows, in_features).
pub(super) fn few_rows_scalar(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    epilogue: Epilogue,
    shape: MatmulShape,
) {
    let MatmulShape { rows, in_features, out_features } = shape;
    let accumulate = epilogue == Epilogue::Accumulate;
    let matmul = |weight: &[f32], y: &mut [f32]| {
        matmul_scalar(x, MatrixRef::F32(weight), MatmulEpilogue { bias, accumulate }, y, shape);
    };
    if epilogue == Epilogue::SwiGlu {
        let (gate, up) = weight.split_at(out_features * in_features);
        let mut ups = vec![0.0; rows * out_features];
        matmul(gate, y);
        matmul(up, &mut ups);
        silu_multiply_scalar(y, &ups);
    } else {
        matmul(weight, y);
    }
}

/// Every kernel beside its scalar twin.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (out_features, in_features) in [(37, 24), (5, 7), (1, 64), (300, 192), (1000, 3584)] {
            for rows in [1, 2, 4, 5, 8, 16] {
                let shape = MatmulShape { rows, in_features, out_features };
                for epilogue in [Epilogue::Store, Epilogue::StoreF32, Epilogue::Accumulate, Epilogue::SwiGlu]
                {
                    for norm in [false, true] {
                        checks.extend(check(device, shape, epilogue, norm, dtype)?);
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
    for (out_features, in_features, epilogue) in [
        (6144, 4096, Epilogue::Store),
        (4096, 4096, Epilogue::Accumulate),
        (14_336, 4096, Epilogue::SwiGlu),
        (4096, 14_336, Epilogue::Accumulate),
        (128_256, 4096, Epilogue::StoreF32),
    ] {
        let shape = MatmulShape { rows: 1, in_features, out_features };
        checks.push(speed(device, shape, epilogue)?);
    }
    Ok(checks)
}

/// One product; `None` where the kernels take no norm of this size.
fn check(
    device: &Device,
    shape: MatmulShape,
    epilogue: Epilogue,
    norm: bool,
    dtype: DType,
) -> Result<Option<Check>> {
    let MatmulShape { rows, in_features, out_features } = shape;
    if norm && !takes_norm(device, rows, in_features, dtype) {
        return Ok(None);
    }
    let swiglu = epilogue == Epilogue::SwiGlu;
    let (weight, weights) =
        upload(device, &random((1 + usize::from(swiglu)) * out_features * in_features, 1), dtype)?;
    let biases = random(out_features, 2);
    let bias = if rows % 2 == 0 && !swiglu { Some(device.upload(&biases)?) } else { None };
    let activations = random(rows * in_features, 3);
    let (hidden, norm_weights) = (device.upload(&activations)?, random(in_features, 4));
    let norm_weight = device.upload(&norm_weights)?;
    let (x, rounded) = if norm {
        let mut normed = vec![0.0; activations.len()];
        let shape = RmsNormShape { rows, width: in_features, epsilon: 1e-5 };
        rms_norm_scalar(&activations, &norm_weights, &mut normed, shape);
        upload(device, &normed, dtype)?
    } else {
        upload(device, &activations, dtype)?
    };
    let stored = if matches!(epilogue, Epilogue::Store | Epilogue::SwiGlu) { dtype } else { DType::F32 };
    let mut expected = random(rows * out_features, 5);
    let y = match epilogue {
        Epilogue::Accumulate => device.upload(&expected)?,
        _ => poisoned(device, expected.len(), stored)?,
    };
    let input = match norm {
        true => Input::Norm { hidden: &hidden, weight: &norm_weight, epsilon: 1e-5 },
        false => Input::Rows(&x),
    };
    few_rows(
        device,
        &FewRows { input, weight: &weight, bias: bias.as_ref(), y: &y, epilogue, shape, dtype },
    )?;
    let biases = bias.is_some().then_some(&*biases);
    few_rows_scalar(&rounded, &weights, biases, &mut expected, epilogue, shape);
    let found = download(device, &y, expected.len(), stored)?;
    // Where the norm falls on the other side of a rounding, one activation of many is off by one unit.
    let bound = if norm { rounding(dtype) } else { rounding(stored) };
    let case = format!(
        "{dtype} {rows}x{in_features}->{out_features} {epilogue:?}{}",
        if norm { " norm" } else { "" }
    );
    Ok(Some(Check::compare("few_rows", case, &found, &expected, bound)))
}

/// One product of weights that no cache holds.
fn speed(device: &Device, shape: MatmulShape, epilogue: Epilogue) -> Result<Check> {
    let MatmulShape { rows, in_features, out_features } = shape;
    let dtype = DType::BF16;
    let matrices = 1 + usize::from(epilogue == Epilogue::SwiGlu);
    let bytes = matrices * out_features * in_features * dtype.size();
    let copies = (4 * device.chip().l2 as usize).div_ceil(bytes).max(2);
    let (x, rounded) = upload(device, &random(rows * in_features, 1), dtype)?;
    let (first, weights) = upload(device, &random(matrices * out_features * in_features, 2), dtype)?;
    let mut weight = vec![first];
    for _ in 1..copies {
        let copy = device.allocate(bytes)?;
        device.copy(&copy, 0, &weight[0], 0, bytes)?;
        weight.push(copy);
    }
    let y = device.zeros(rows * out_features * 4)?;
    let product =
        |weight| FewRows { input: Input::Rows(&x), weight, bias: None, y: &y, epilogue, shape, dtype };
    few_rows(device, &product(&weight[0]))?;
    let stored = if matches!(epilogue, Epilogue::Store | Epilogue::SwiGlu) { dtype } else { DType::F32 };
    let found = download(device, &y, rows * out_features, stored)?;
    let mut expected = vec![0.0; rows * out_features];
    few_rows_scalar(&rounded, &weights, None, &mut expected, epilogue, shape);
    let case = format!("{dtype} {rows}x{in_features}->{out_features} {epilogue:?}");
    let check = Check::compare("few_rows", case, &found, &expected, rounding(stored));
    let mut turn = 0;
    let microseconds = time(device, 5, 20, || {
        turn += 1;
        few_rows(device, &product(&weight[turn % copies]))
    })?;
    Ok(check.timed(microseconds, Work::Bytes(bytes as f64)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_their_scalar_twins() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
