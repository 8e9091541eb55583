//! Experts in ggml's block formats on a GPU.

use pipeline_schema::DType;

use super::gpu::{DeviceExperts, ExpertsBuffers, MOST_EXPERTS, experts as dense_experts};
use super::{DROPPED, ExpertsShape};
use crate::error::{Error, Result};
use crate::gpu::testing::{download, poisoned, random, rounding, upload};
use crate::gpu::{Buffer, Device, Launch, PRELUDE, Source, suffix};
use crate::kernels::activation::silu_f64;
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::{blocks_for, expect};
use crate::kernels::matmul::quantized::{
    STRIP_THREADS, dequantize, row_bytes, takes_strips, weights as random_weights,
};
use crate::kernels::quantized::{
    QuantizedFormat, QuantizedRef, dequantize as dequantize_here, quantize, quantized_rows,
};

/// The kernels.
pub static SOURCE: Source = Source {
    name: "experts-quantized",
    parts: &[
        PRELUDE,
        include_str!("../../gpu/quantized.cuh"),
        include_str!("../matmul/rows.cuh"),
        include_str!("../matmul/quantized_rows.cuh"),
        include_str!("few.cuh"),
        include_str!("quantized.cu"),
    ],
};

/// The most tokens of a launch, a bit of a word each.
const FEW: usize = 32;
/// More tokens than this take the weights of a layer back in a dense format first: reading the blocks once for 32 of them
/// takes longer then.
const MANY: usize = 256;

/// The experts of a layer on a device, quantised.
#[derive(Clone, Debug)]
pub struct QuantizedExperts {
    /// (experts, 2, intermediate, hidden), the rows of gate before those of up, [packed](QuantizedFormat::pack).
    pub gate_up: Buffer,
    /// (experts, hidden, intermediate), packed.
    pub down: Buffer,
    /// The format of both.
    pub format: QuantizedFormat,
    /// How many there are: at most [`MOST_EXPERTS`].
    pub experts: usize,
    /// The number format of x and of what stands between the two halves of the layer.
    pub dtype: DType,
}

/// Where the parts of the scratch begin.
struct Scratch {
    x: usize,
    activated: usize,
    quantized: usize,
    bytes: usize,
}

impl QuantizedExperts {
    /// Bytes of scratch that a layer of this shape needs.
    pub fn scratch_bytes(&self, shape: ExpertsShape) -> usize {
        self.scratch(shape).bytes
    }

    fn scratch(&self, shape: ExpertsShape) -> Scratch {
        let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
        let tokens = tokens.min(FEW);
        let pairs = tokens * experts_per_token;
        // Values, scales for 32 and sums of 16, as `quantized_row_bytes` in quantized.cuh.
        let row_bytes = |width: usize| width + width / 32 * 4 + width / 16 * 4;
        let aligned = |bytes: usize| bytes.next_multiple_of(256);
        let activated = aligned(tokens * row_bytes(hidden));
        let quantized = activated + aligned(pairs * intermediate * self.dtype.size());
        Scratch { x: 0, activated, quantized, bytes: quantized + aligned(pairs * row_bytes(intermediate)) }
    }
}

/// hidden += Σ over slots of weight · down(silu(gate · x) · (up · x)): x and what stands between the two halves are
/// quantised to 8 bits with a scale for 32 neighbours; products of a scale are summed as whole numbers, all else in
/// `f32`. Bound by reading the weights of the experts that are visited, once for 32 tokens. More than 256 tokens take the
/// weights of the layer as dense ones, as [`experts`](super::gpu::experts) does, if the device has room for so many.
///
/// # Panics
/// Where a buffer is too small for the shape, hidden or intermediate is no multiple of the format's block, or there are
/// no experts or more than [`MOST_EXPERTS`].
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn quantized_experts(
    device: &Device,
    weights: &QuantizedExperts,
    buffers: ExpertsBuffers<'_>,
    shape: ExpertsShape,
) -> Result<()> {
    let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
    let QuantizedExperts { ref gate_up, ref down, format, experts, dtype } = *weights;
    let (block, block_bytes) = (format.block(), format.block_bytes());
    assert!((1..=MOST_EXPERTS).contains(&experts), "experts: 1 to {MOST_EXPERTS}, not {experts}");
    let whole = hidden.is_multiple_of(block) && intermediate.is_multiple_of(block);
    assert!(whole, "quantized_experts: {shape:?} is of whole blocks of {format:?}");
    expect(gate_up, "gate_up", &[experts, 2, intermediate, hidden / block], block_bytes);
    expect(down, "down", &[experts, hidden, intermediate / block], block_bytes);
    expect(buffers.x, "x", &[tokens, hidden], dtype.size());
    expect(buffers.experts, "experts", &[tokens, experts_per_token], 4);
    expect(buffers.weights, "weights", &[tokens, experts_per_token], 4);
    expect(buffers.hidden, "hidden", &[tokens, hidden], 4);
    expect(buffers.scratch, "scratch", &[weights.scratch_bytes(shape)], 1);
    if tokens > MANY {
        match Dense::allocate(device, weights, shape) {
            Ok(dense) => return many(device, weights, dense, buffers, shape),
            // Slower is better than not at all.
            Err(Error::OutOfMemory { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if tokens == 1 && fits_one(device, shape) {
        return one(device, weights, buffers, shape);
    }
    let scratch = weights.scratch(shape);
    let part = |offset: usize| buffers.scratch.address() + offset as u64;
    let (x, activated, quantized) = (part(scratch.x), part(scratch.activated), part(scratch.quantized));
    let (name, end) = (format.name(), suffix(dtype));
    let blocks = 2 * device.chip().multiprocessors as usize;

    for first in (0..tokens).step_by(FEW) {
        let rows = FEW.min(tokens - first);
        let at_once = if rows == 1 { 1 } else { 4 };
        let row = |buffer: &Buffer, bytes: usize| buffer.address() + (first * bytes) as u64;
        let chosen = row(buffers.experts, 4 * experts_per_token);
        let run = |launch: Launch<'_>| -> Result<()> {
            // SAFETY: the buffers were checked; the kernels take any number of blocks and any routing.
            unsafe { launch.run() }
        };
        let kernel = format!("experts_quantize_{end}");
        let quantize = |from: u64, to: u64, rows: usize, width: usize| {
            let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks_for(device, rows * width), 1, 1);
            run(launch.address(from).address(to).number(rows).number(width))
        };

        quantize(row(buffers.x, hidden * dtype.size()), x, rows, hidden)?;
        let gate_up_kernel = format!("experts_{name}_gate_up{at_once}_{end}");
        let launch = Launch::new(device, &SOURCE, &gate_up_kernel).grid(blocks, 1, 1);
        let launch = launch.address(x).buffer(gate_up).address(chosen).number(rows).number(experts_per_token);
        run(launch.number(experts).number(hidden).number(intermediate).address(activated))?;

        quantize(activated, quantized, rows * experts_per_token, intermediate)?;
        let down_kernel = format!("experts_{name}_down{at_once}");
        let launch = Launch::new(device, &SOURCE, &down_kernel).grid(blocks, 1, 1);
        let launch = launch.address(quantized).buffer(down).address(chosen);
        let launch = launch.address(row(buffers.weights, 4 * experts_per_token)).number(rows);
        let launch = launch.number(experts_per_token).number(experts).number(hidden).number(intermediate);
        run(launch.address(row(buffers.hidden, 4 * hidden)))?;
    }
    Ok(())
}

/// Whether tensor cores take one token: rows in whole strips, and what it has between the two halves in the shared memory
/// of a block.
fn fits_one(device: &Device, shape: ExpertsShape) -> bool {
    const MOST_SLOTS: usize = 64;
    const DECLARED: usize = 8 * 1024;
    let ExpertsShape { hidden, intermediate, experts_per_token, .. } = shape;
    let shared = hidden.max(experts_per_token * intermediate);
    takes_strips(device, hidden)
        && takes_strips(device, intermediate)
        && experts_per_token <= MOST_SLOTS
        && row_bytes(shared) + DECLARED <= device.chip().shared_per_block as usize
}

/// One token: every block quantises what it multiplies with while its first weights are on their way.
fn one(
    device: &Device,
    weights: &QuantizedExperts,
    buffers: ExpertsBuffers<'_>,
    shape: ExpertsShape,
) -> Result<()> {
    let ExpertsShape { hidden, intermediate, experts_per_token, .. } = shape;
    let activated = buffers.scratch.address() + weights.scratch(shape).activated as u64;
    let (name, end) = (weights.format.name(), suffix(weights.dtype));
    let blocks = |tiles: usize| tiles.min(device.chip().multiprocessors as usize);

    let kernel = format!("experts_{name}_one_gate_up_{end}");
    let launch = Launch::new(device, &SOURCE, &kernel).threads(STRIP_THREADS).shared(row_bytes(hidden));
    let launch = launch.grid(blocks(experts_per_token * intermediate.div_ceil(8)), 1, 1);
    let launch = launch.buffer(buffers.x).buffer(&weights.gate_up).buffer(buffers.experts);
    let launch = launch.number(experts_per_token).number(weights.experts).number(hidden);
    // SAFETY: the buffers were checked; the kernel takes any number of blocks and any routing.
    unsafe { launch.number(intermediate).address(activated).run() }?;

    // This one reads the routing before it waits for the kernel before it: nothing may come between the two.
    let kernel = format!("experts_{name}_one_down_{end}");
    let launch = Launch::new(device, &SOURCE, &kernel).threads(STRIP_THREADS);
    let launch = launch.shared(row_bytes(experts_per_token * intermediate));
    let launch = launch.grid(blocks(hidden.div_ceil(16)), 1, 1);
    let launch = launch.address(activated).buffer(&weights.down).buffer(buffers.experts);
    let launch = launch.buffer(buffers.weights).number(experts_per_token).number(weights.experts);
    // SAFETY: as above.
    unsafe { launch.number(hidden).number(intermediate).buffer(buffers.hidden).run() }
}

/// Room for the weights of a layer as dense ones and for their products.
struct Dense {
    experts: DeviceExperts,
    gate_up: Buffer,
    down: Buffer,
    scratch: Buffer,
}

impl Dense {
    fn allocate(device: &Device, weights: &QuantizedExperts, shape: ExpertsShape) -> Result<Dense> {
        let QuantizedExperts { experts, dtype, .. } = *weights;
        let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
        let bytes = experts * hidden * intermediate * dtype.size();
        let (gate_up, down) = (device.allocate(2 * bytes)?, device.allocate(bytes)?);
        let experts =
            DeviceExperts::new(device, gate_up.clone(), down.clone(), experts, hidden, intermediate, dtype)?;
        let scratch = device.allocate(experts.scratch_bytes(tokens, experts_per_token))?;
        Ok(Dense { experts, gate_up, down, scratch })
    }
}

/// The layer on weights that become dense first.
fn many(
    device: &Device,
    weights: &QuantizedExperts,
    dense: Dense,
    buffers: ExpertsBuffers<'_>,
    shape: ExpertsShape,
) -> Result<()> {
    let QuantizedExperts { format, experts, dtype, .. } = *weights;
    let size = experts * shape.hidden * shape.intermediate;
    dequantize(device, &weights.gate_up, format, &dense.gate_up, 2 * size, dtype)?;
    dequantize(device, &weights.down, format, &dense.down, size, dtype)?;
    let buffers = ExpertsBuffers { scratch: &dense.scratch, ..buffers };
    dense_experts(device, &dense.experts, buffers, shape)
}

/// Every kernel beside its twin, on the same quantised numbers.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for format in QuantizedFormat::ALL {
        for dtype in DType::ALL {
            for (tokens, hidden, intermediate, experts_per_token, count) in [
                (1, 256, 512, 2, 4),
                (1, 4352, 768, 3, 5),
                (3, 512, 256, 1, 3),
                (7, 256, 256, 3, 3),
                (40, 256, 256, 2, 5),
                (300, 256, 256, 1, 3),
                (1100, 256, 256, 2, 2),
            ] {
                let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token };
                checks.push(check(device, format, shape, count, dtype)?);
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
    QuantizedFormat::ALL.into_iter().map(|format| speed(device, format)).collect()
}

/// One token in a layer of Mixtral-8x7B, whose weights are a part of them again and again.
fn speed(device: &Device, format: QuantizedFormat) -> Result<Check> {
    const EXPERTS: usize = 8;
    const ROWS: usize = 64;
    let (dtype, hidden, intermediate) = (DType::BF16, 4096, 14_336);
    let shape = ExpertsShape { tokens: 1, hidden, intermediate, experts_per_token: 2 };
    // Whole rows of both halves of the layer.
    let part = ROWS * intermediate;
    let scale = 2.0 / (hidden as f32).sqrt();
    let numbers: Vec<f32> = random(part, 1).into_iter().map(|value| scale * value).collect();
    let blocks = quantize(format, &numbers)?;
    let mut values = vec![0.0; part];
    dequantize_here(QuantizedRef::new(format, &blocks), &mut values);
    let repeated = |weights: usize| -> Result<Buffer> {
        let all = device.allocate(format.bytes(weights))?;
        let mut start = 0;
        for section in format.sections() {
            let bytes = format.section(&blocks, section);
            let one = device.upload(&bytes)?;
            for _ in 0..weights / part {
                device.copy(&all, start, &one, 0, bytes.len())?;
                start += bytes.len();
            }
        }
        Ok(all)
    };
    let size = EXPERTS * hidden * intermediate;
    let (gate_up, down) = (repeated(2 * size)?, repeated(size)?);
    let weights = QuantizedExperts { gate_up, down, format, experts: EXPERTS, dtype };

    let (x, x_values) = upload(device, &random(hidden, 3), dtype)?;
    let factors = [0.75, 0.25];
    let chosen = (0..EXPERTS as u32)
        .step_by(2)
        .map(|first| device.upload(&[first, first + 1]))
        .collect::<Result<Vec<_>>>()?;
    let device_factors = device.upload(&factors)?;
    let sum = device.zeros(hidden * 4)?;
    let scratch = device.allocate(weights.scratch_bytes(shape))?;
    let run = |turn: usize| {
        let buffers = ExpertsBuffers {
            x: &x,
            experts: &chosen[turn % chosen.len()],
            weights: &device_factors,
            hidden: &sum,
            scratch: &scratch,
        };
        quantized_experts(device, &weights, buffers, shape)
    };
    run(0)?;
    let found = download(device, &sum, hidden, DType::F32)?;
    // Gate and up rows are the same.
    let x_values = quantized_rows(&x_values);
    let activated: Vec<f32> = values
        .chunks_exact(hidden)
        .map(|row| {
            let product = dot(row, &x_values);
            half::bf16::from_f64(silu_f64(product) * product).to_f32()
        })
        .collect();
    let activated = quantized_rows(&activated.repeat(intermediate / activated.len()));
    let expected: Vec<f32> =
        values.chunks_exact(intermediate).map(|row| dot(row, &activated) as f32).collect();
    let expected = expected.repeat(hidden / ROWS);
    let case = format!("{format:?} {dtype} 1x{hidden}x{intermediate}, 2 of {EXPERTS}");
    let check = Check::compare("quantized_experts", case, &found, &expected, 4e-3);
    let mut turn = 0;
    let microseconds = time(device, 5, 12, || {
        turn += 1;
        run(turn)
    })?;
    Ok(check.timed(microseconds, Work::Bytes(format.bytes(2 * 3 * hidden * intermediate) as f64)))
}

fn dot(row: &[f32], x: &[f32]) -> f64 {
    row.iter().zip(x).map(|(weight, x)| f64::from(*weight) * f64::from(*x)).sum()
}

/// One shape, with dropped slots and tokens that chose an expert twice.
fn check(
    device: &Device,
    format: QuantizedFormat,
    shape: ExpertsShape,
    count: usize,
    dtype: DType,
) -> Result<Check> {
    let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
    let slots = tokens * experts_per_token;
    let (gate_up, mut gate_up_values) = random_weights(device, format, 2 * count * intermediate * hidden)?;
    let (down, mut down_values) = random_weights(device, format, count * hidden * intermediate)?;
    let (x, x_values) = upload(device, &random(tokens * hidden, 3), dtype)?;
    let chosen: Vec<u32> = (0..slots as u32)
        .map(|slot| if slot % 7 == 3 { DROPPED } else { slot * slot % count as u32 })
        .collect();
    let (factors, before) = (random(slots, 5), random(tokens * hidden, 6));

    let narrow = |value: f64| match dtype {
        DType::F32 => value as f32,
        DType::BF16 => half::bf16::from_f64(value).to_f32(),
        DType::F16 => half::f16::from_f64(value).to_f32(),
    };
    // What many tokens round are the weights, not the activations.
    let many = tokens > MANY;
    if many {
        gate_up_values
            .iter_mut()
            .chain(&mut down_values)
            .for_each(|value| *value = narrow(f64::from(*value)));
    }
    let quantized = |rows: &[f32]| if many { rows.to_vec() } else { quantized_rows(rows) };
    let quantized_x = quantized(&x_values);
    let mut expected: Vec<f64> = before.iter().map(|&value| value.into()).collect();
    for slot in (0..slots).filter(|&slot| chosen[slot] != DROPPED) {
        let (token, expert) = (slot / experts_per_token, chosen[slot] as usize);
        let x = &quantized_x[token * hidden..(token + 1) * hidden];
        let row = |index: usize| &gate_up_values[index * hidden..(index + 1) * hidden];
        let activated: Vec<f32> = (0..intermediate)
            .map(|i| {
                let gate = dot(row(2 * expert * intermediate + i), x);
                narrow(silu_f64(gate) * dot(row((2 * expert + 1) * intermediate + i), x))
            })
            .collect();
        let activated = quantized(&activated);
        for column in 0..hidden {
            let first = (expert * hidden + column) * intermediate;
            let product = dot(&down_values[first..first + intermediate], &activated);
            expected[token * hidden + column] += f64::from(factors[slot]) * product;
        }
    }
    let expected: Vec<f32> = expected.into_iter().map(|value| value as f32).collect();

    let weights = QuantizedExperts { gate_up, down, format, experts: count, dtype };
    let (chosen, factors) = (device.upload(&chosen)?, device.upload(&factors)?);
    let sum = device.upload(&before)?;
    let scratch = poisoned(device, weights.scratch_bytes(shape), DType::F32)?;
    let buffers =
        ExpertsBuffers { x: &x, experts: &chosen, weights: &factors, hidden: &sum, scratch: &scratch };
    quantized_experts(device, &weights, buffers, shape)?;
    let found = download(device, &sum, tokens * hidden, DType::F32)?;
    let case = format!("{format:?} {dtype} {tokens}x{hidden}x{intermediate}, {experts_per_token} of {count}");
    // Where the last bit moves a number across a rounding, one of many is off by one of 254 units.
    Ok(Check::compare("quantized_experts", case, &found, &expected, rounding(dtype).max(2e-3)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_their_twins() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
