//! The experts on a GPU: straight from memory into the matrix units for few tokens, grouped products for many.

use pipeline_schema::DType;

use super::{DROPPED, ExpertRouting, ExpertWeights, ExpertsShape, experts_scalar};
use crate::error::Result;
use crate::gpu::testing::{download, poisoned, random, upload};
use crate::gpu::{Buffer, Device, HOPPER, Launch, MATRIX, PRELUDE, Source, TENSOR, suffix};
use crate::kernels::MatrixRef;
use crate::kernels::check::{Check, Work, time};
use crate::kernels::launching::expect;

/// The kernels.
pub static SOURCE: Source = Source {
    name: "experts",
    parts: &[PRELUDE, TENSOR, MATRIX, include_str!("few.cuh"), include_str!("gpu.cu")],
};

/// Those for Hopper's own units, empty for other chips.
pub static WIDE: Source =
    Source { name: "experts-hopper", parts: &[PRELUDE, TENSOR, HOPPER, include_str!("hopper.cu")] };

/// The most experts of a layer.
pub const MOST_EXPERTS: usize = 1024;

/// The most tokens that are not sorted by expert, a bit of a word each.
const FEW: usize = 32;
/// The same where the tensor copy engine brings the weights of sorted ones, which is faster for more.
const FEW_BESIDE_COPIES: usize = 8;
/// As many as one tile of the matrix units takes.
const VERY_FEW: usize = 16;
/// Rows of a tile of the products for many tokens.
const TILE_ROWS: usize = 128;

/// The experts of a layer on a device.
#[derive(Clone, Debug)]
pub struct DeviceExperts {
    gate_up: Buffer,
    down: Buffer,
    /// Tensor maps of both, where the chip has the engine for them.
    maps: Option<Buffer>,
    experts: usize,
    hidden: usize,
    intermediate: usize,
    dtype: DType,
}

/// What a layer of experts reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsBuffers<'a> {
    /// The tokens, normalised: (tokens, hidden) of the weights' dtype.
    pub x: &'a Buffer,
    /// The experts of each token, [`DROPPED`] or any other number that is not below the number of experts for none:
    /// (tokens, experts_per_token) `u32`.
    pub experts: &'a Buffer,
    /// Factors of the sum: (tokens, experts_per_token) `f32`.
    pub weights: &'a Buffer,
    /// Where the sum is added: (tokens, hidden) `f32`.
    pub hidden: &'a Buffer,
    /// At least [`DeviceExperts::scratch_bytes`].
    pub scratch: &'a Buffer,
}

/// Where the parts of the scratch begin.
struct Scratch {
    activated: usize,
    results: usize,
    order: usize,
    tiles: usize,
    tile_count: usize,
    bytes: usize,
}

impl DeviceExperts {
    /// Takes the weights of a layer.
    ///
    /// gate_up: (experts, 2, intermediate, hidden), the rows of gate before those of up; down: (experts, hidden,
    /// intermediate); both of `dtype`.
    ///
    /// # Panics
    /// Where a buffer is too small, or there are no experts or more than [`MOST_EXPERTS`].
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory), or the driver refuses.
    pub fn new(
        device: &Device,
        gate_up: Buffer,
        down: Buffer,
        experts: usize,
        hidden: usize,
        intermediate: usize,
        dtype: DType,
    ) -> Result<DeviceExperts> {
        assert!((1..=MOST_EXPERTS).contains(&experts), "experts: 1 to {MOST_EXPERTS}, not {experts}");
        expect(&gate_up, "gate_up", &[experts, 2, intermediate, hidden], dtype.size());
        expect(&down, "down", &[experts, hidden, intermediate], dtype.size());
        let first = device.tensor_map(&gate_up, 2 * experts * intermediate, hidden, dtype)?;
        let second = device.tensor_map(&down, experts * hidden, intermediate, dtype)?;
        let maps = match (first, second) {
            (Some(first), Some(second)) => Some(device.upload(&[first, second].concat())?),
            _ => None,
        };
        Ok(DeviceExperts { gate_up, down, maps, experts, hidden, intermediate, dtype })
    }

    /// Bytes of scratch that so many tokens need.
    pub fn scratch_bytes(&self, tokens: usize, experts_per_token: usize) -> usize {
        self.scratch(tokens, experts_per_token).bytes
    }

    fn scratch(&self, tokens: usize, experts_per_token: usize) -> Scratch {
        let pairs = tokens * experts_per_token;
        let mut bytes = 0;
        let mut part = |length: usize, size: usize| {
            let offset = bytes;
            bytes += (length * size).next_multiple_of(256);
            offset
        };
        let size = self.dtype.size();
        let activated = part(pairs * self.intermediate, size);
        let sorted = !self.takes_unsorted(tokens);
        let results = part(if sorted { pairs * self.hidden } else { 0 }, size);
        let order = part(if sorted { pairs } else { 0 }, 4);
        let tiles = part(if sorted { self.most_tiles(pairs) } else { 0 }, 16);
        let tile_count = part(sorted.into(), 4);
        Scratch { activated, results, order, tiles, tile_count, bytes }
    }

    /// Whether so many tokens are multiplied without sorting them by expert.
    fn takes_unsorted(&self, tokens: usize) -> bool {
        tokens <= if self.maps.is_some() { FEW_BESIDE_COPIES } else { FEW }
    }

    /// Each expert has at most one tile that is not full.
    fn most_tiles(&self, pairs: usize) -> usize {
        pairs.div_ceil(TILE_ROWS) + self.experts.min(pairs)
    }
}

/// hidden += Σ over slots of weight · down(silu(gate · x) · (up · x)), sums in `f32`, `activated` rounded to the dtype
/// of the weights. The same numbers on every run; they depend on the number of tokens, which decides between the
/// kernels.
///
/// # Panics
/// Where a buffer is too small for the shape, or hidden and intermediate are not those of the weights.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn experts(
    device: &Device,
    weights: &DeviceExperts,
    buffers: ExpertsBuffers<'_>,
    shape: ExpertsShape,
) -> Result<()> {
    let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
    let size = weights.dtype.size();
    assert_eq!((hidden, intermediate), (weights.hidden, weights.intermediate), "experts: {shape:?}");
    expect(buffers.x, "x", &[tokens, hidden], size);
    expect(buffers.experts, "experts", &[tokens, experts_per_token], 4);
    expect(buffers.weights, "weights", &[tokens, experts_per_token], 4);
    expect(buffers.hidden, "hidden", &[tokens, hidden], 4);
    expect(buffers.scratch, "scratch", &[weights.scratch_bytes(tokens, experts_per_token)], 1);
    match tokens {
        0 => Ok(()),
        _ if weights.takes_unsorted(tokens) => few(device, weights, buffers, shape),
        _ => many(device, weights, weights.maps.as_ref(), buffers, shape),
    }
}

/// Up to [`FEW`] tokens.
fn few(
    device: &Device,
    weights: &DeviceExperts,
    buffers: ExpertsBuffers<'_>,
    shape: ExpertsShape,
) -> Result<()> {
    let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
    let (name, end) = (if tokens <= VERY_FEW { "few" } else { "some" }, suffix(weights.dtype));
    let activated = buffers.scratch;

    let kernel = format!("experts_{name}_gate_up_{end}");
    let blocks = 2 * device.chip().multiprocessors as usize;
    let launch = Launch::new(device, &SOURCE, &kernel).grid(blocks, 1, 1);
    let launch = launch.buffer(buffers.x).buffer(&weights.gate_up).buffer(buffers.experts);
    let launch = launch.number(tokens).number(experts_per_token).number(weights.experts);
    let launch = launch.number(hidden).number(intermediate).buffer(activated);
    // SAFETY: `experts` has checked the buffers; the kernel takes any number of blocks and any routing.
    unsafe { launch.run() }?;

    // This one reads the routing before it waits for the kernel before it: nothing may come between the two.
    let kernel = format!("experts_{name}_down_{end}");
    let launch = Launch::new(device, &SOURCE, &kernel).grid(hidden.div_ceil(16), 1, 1);
    let launch = launch.buffer(activated).buffer(&weights.down).buffer(buffers.experts);
    let launch = launch.buffer(buffers.weights).number(tokens).number(experts_per_token);
    let launch = launch.number(weights.experts).number(hidden).number(intermediate).buffer(buffers.hidden);
    // SAFETY: as above.
    unsafe { launch.run() }
}

/// More: pairs of token and slot sorted by expert, grouped products, and the sum over the slots.
fn many(
    device: &Device,
    weights: &DeviceExperts,
    maps: Option<&Buffer>,
    buffers: ExpertsBuffers<'_>,
    shape: ExpertsShape,
) -> Result<()> {
    let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
    let pairs = tokens * experts_per_token;
    let scratch = weights.scratch(tokens, experts_per_token);
    let part = |offset: usize| buffers.scratch.address() + offset as u64;
    let (activated, results) = (part(scratch.activated), part(scratch.results));
    let (order, tiles, tile_count) = (part(scratch.order), part(scratch.tiles), part(scratch.tile_count));
    let most_tiles = weights.most_tiles(pairs);
    let end = suffix(weights.dtype);

    let launch = Launch::new(device, &SOURCE, "experts_sort").threads(1024);
    let launch = launch.buffer(buffers.experts).number(pairs).number(weights.experts);
    // SAFETY: `experts` has checked the buffers, and the scratch has room for every pair and tile.
    unsafe { launch.address(order).address(tiles).address(tile_count).run() }?;

    let (source, name, threads, shared) = match maps {
        Some(_) => (&WIDE, "wide", 384, 1024 + 4 * 128 * (128 + 256)),
        None => (&SOURCE, "many", 256, 0),
    };
    let grid = |columns: usize| match maps {
        Some(_) => (device.chip().multiprocessors as usize, 1),
        None => (columns, most_tiles),
    };
    let matrix =
        |buffer: &Buffer, index: u64| maps.map_or(buffer.address(), |maps| maps.address() + 128 * index);

    let kernel = format!("experts_{name}_gate_up_{end}");
    let (x, y) = grid(intermediate.div_ceil(64));
    let launch = Launch::new(device, source, &kernel).grid(x, y, 1).threads(threads).shared(shared);
    let launch = launch.buffer(buffers.x).address(matrix(&weights.gate_up, 0)).address(order);
    let launch = launch.address(tiles).address(tile_count).number(experts_per_token);
    let launch = launch.number(hidden).number(intermediate).address(activated);
    // SAFETY: as above; tiles and order are those of the sort.
    unsafe { launch.run() }?;

    let kernel = format!("experts_{name}_down_{end}");
    let (x, y) = grid(hidden.div_ceil(128));
    let launch = Launch::new(device, source, &kernel).grid(x, y, 1).threads(threads).shared(shared);
    let launch = launch.address(activated).address(matrix(&weights.down, 1)).address(order);
    let launch = launch.buffer(buffers.weights).address(tiles).address(tile_count);
    let launch = launch.number(experts_per_token).number(hidden).number(intermediate).address(results);
    // SAFETY: as above.
    unsafe { launch.run() }?;

    let kernel = format!("experts_add_{end}");
    let launch = Launch::new(device, &SOURCE, &kernel).grid(tokens, hidden.div_ceil(2048).max(1), 1);
    let launch = launch.address(results).buffer(buffers.experts).number(experts_per_token);
    let launch = launch.number(weights.experts).number(hidden).buffer(buffers.hidden);
    // SAFETY: as above.
    unsafe { launch.run() }
}

/// Every path beside the scalar twin.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (tokens, hidden, intermediate, experts_per_token, count) in [
            (1, 64, 96, 2, 4),
            (3, 24, 40, 1, 3),
            (8, 136, 264, 2, 8),
            (13, 67, 131, 2, 4),
            (16, 40, 56, 3, 5),
            (17, 24, 40, 2, 4),
            (32, 136, 72, 8, 32),
            (33, 72, 200, 2, 40),
            // Tiles with places for half of a block's warps only, through many stages.
            (40, 64, 4096, 2, 3),
            (90, 4096, 64, 3, 5),
            (150, 67, 51, 3, 5),
            (300, 136, 264, 2, 3),
            // More tiles of places than go through the weights together.
            (2300, 72, 136, 2, 8),
        ] {
            let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token };
            checks.extend(check(device, shape, count, dtype)?);
        }
    }
    Ok(checks)
}

/// How fast they are on a layer of Mixtral-8x7B: eight experts with the same weights in memory of their own, two a token.
///
/// # Errors
/// As [`checks`].
pub fn speeds(device: &Device) -> Result<Vec<Check>> {
    const COUNT: usize = 8;
    let (hidden, intermediate, dtype) = (4096, 14_336, DType::BF16);
    let size = hidden * intermediate;
    let scaled = |length: usize, seed: u64, width: usize| -> Vec<f32> {
        let scale = 2.0 / (width as f32).sqrt();
        random(length, seed).into_iter().map(|value| scale * value).collect()
    };
    let repeated = |values: &[f32]| -> Result<(Buffer, Vec<f32>)> {
        let (one, rounded) = upload(device, values, dtype)?;
        let all = device.allocate(COUNT * one.bytes())?;
        for expert in 0..COUNT {
            device.copy(&all, expert * one.bytes(), &one, 0, one.bytes())?;
        }
        Ok((all, rounded))
    };
    let (gate_up, gate_up_values) = repeated(&scaled(2 * size, 1, hidden))?;
    let (down, down_values) = repeated(&scaled(size, 2, intermediate))?;
    let weights = DeviceExperts::new(device, gate_up, down, COUNT, hidden, intermediate, dtype)?;
    let expert = ExpertWeights {
        gate: MatrixRef::F32(&gate_up_values[..size]),
        up: MatrixRef::F32(&gate_up_values[size..]),
        down: MatrixRef::F32(&down_values),
    };
    let counts = [1, 8, 16, 32, 512, 8192];
    counts.into_iter().map(|tokens| speed(device, &weights, &[expert; COUNT], tokens)).collect()
}

/// Two experts a token, for so many tokens.
fn speed(
    device: &Device,
    weights: &DeviceExperts,
    twin: &[ExpertWeights<'_>],
    tokens: usize,
) -> Result<Check> {
    let &DeviceExperts { experts: count, hidden, intermediate, dtype, .. } = weights;
    let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token: 2 };
    let ExpertsShape { experts_per_token, .. } = shape;
    let (x, x_values) = upload(device, &random(tokens * hidden, 3), dtype)?;
    let factors = random(tokens * experts_per_token, 4);
    // Two different experts a token; other ones for a single token every turn, so that no cache holds them.
    let choose = |turn: usize| -> Vec<u32> {
        (0..tokens)
            .flat_map(|token| [2 * turn + 3 * token, 2 * turn + 3 * token + 1])
            .map(|expert| (expert % count) as u32)
            .collect()
    };
    let visited = (0..count as u32).filter(|expert| choose(0).contains(expert)).count();
    let chosen = (0..4).map(|turn| device.upload(&choose(turn))).collect::<Result<Vec<_>>>()?;
    let device_factors = device.upload(&factors)?;
    let sum = device.zeros(tokens * hidden * 4)?;
    let scratch = device.allocate(weights.scratch_bytes(tokens, experts_per_token))?;
    let run = |turn: usize| {
        let (experts, weights_of_tokens) = (&chosen[turn % chosen.len()], &device_factors);
        let buffers =
            ExpertsBuffers { x: &x, experts, weights: weights_of_tokens, hidden: &sum, scratch: &scratch };
        self::experts(device, weights, buffers, shape)
    };
    run(0)?;
    // The twin of the first tokens only: it is slow.
    let first = ExpertsShape { tokens: tokens.min(2), ..shape };
    let mut expected = vec![0.0; first.tokens * hidden];
    let slots = first.tokens * experts_per_token;
    let routing = ExpertRouting { experts: &choose(0)[..slots], weights: &factors[..slots] };
    experts_scalar(&x_values[..expected.len()], routing, twin, &mut expected, first);
    let found = download(device, &sum, expected.len(), DType::F32)?;
    let case = format!("{dtype} {tokens}x{hidden}x{intermediate}, {experts_per_token} of {count}");
    let check = Check::compare("experts", case, &found, &expected, 1.2e-2);
    let mut turn = 0;
    let microseconds = time(device, 5, 12, || {
        turn += 1;
        run(turn)
    })?;
    let size = hidden * intermediate;
    Ok(check.timed(
        microseconds,
        match tokens {
            0..=FEW => Work::Bytes((visited * 3 * size * dtype.size()) as f64),
            _ => Work::Operations((2 * tokens * experts_per_token * 3 * size) as f64, dtype),
        },
    ))
}

/// One shape, with dropped slots, tokens that chose an expert twice, and an expert that nobody chose.
fn check(device: &Device, shape: ExpertsShape, count: usize, dtype: DType) -> Result<Vec<Check>> {
    let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
    let slots = tokens * experts_per_token;
    let size = hidden * intermediate;
    let scaled = |length: usize, seed: u64, width: usize| -> Vec<f32> {
        let scale = 2.0 / (width as f32).sqrt();
        random(length, seed).into_iter().map(|value| scale * value).collect()
    };
    let (gate_up, gate_up_values) = upload(device, &scaled(2 * count * size, 1, hidden), dtype)?;
    let (down, down_values) = upload(device, &scaled(count * size, 2, intermediate), dtype)?;
    let (x, x_values) = upload(device, &random(tokens * hidden, 3), dtype)?;
    let chosen: Vec<u32> = random(slots, 4)
        .into_iter()
        .enumerate()
        .map(|(slot, value)| match slot % 7 {
            3 => DROPPED,
            _ => ((value + 1.0) / 2.0 * (count - 1) as f32) as u32 % (count - 1) as u32,
        })
        .collect();
    let factors = random(slots, 5);
    let before = random(tokens * hidden, 6);

    let parts: Vec<ExpertWeights<'_>> = (0..count)
        .map(|expert| {
            let part = |index: usize| index * size..(index + 1) * size;
            ExpertWeights {
                gate: MatrixRef::F32(&gate_up_values[part(2 * expert)]),
                up: MatrixRef::F32(&gate_up_values[part(2 * expert + 1)]),
                down: MatrixRef::F32(&down_values[part(expert)]),
            }
        })
        .collect();
    let mut expected = vec![0.0; tokens * hidden];
    experts_scalar(
        &x_values,
        ExpertRouting { experts: &chosen, weights: &factors },
        &parts,
        &mut expected,
        shape,
    );
    for (expected, before) in expected.iter_mut().zip(&before) {
        *expected += before;
    }

    let mut weights = DeviceExperts::new(device, gate_up, down, count, hidden, intermediate, dtype)?;
    let (chosen, factors) = (device.upload(&chosen)?, device.upload(&factors)?);
    let bytes = weights.scratch_bytes(tokens, experts_per_token);
    let mut checks = Vec::new();
    let paths = if !weights.takes_unsorted(tokens) && weights.maps.is_some() { 2 } else { 1 };
    for path in 0..paths {
        let name = match &weights.maps {
            _ if weights.takes_unsorted(tokens) => "experts, few tokens",
            Some(_) => "experts, many tokens, Hopper",
            None => "experts, many tokens",
        };
        let (sum, scratch) = (device.upload(&before)?, poisoned(device, bytes, DType::F32)?);
        let buffers =
            ExpertsBuffers { x: &x, experts: &chosen, weights: &factors, hidden: &sum, scratch: &scratch };
        experts(device, &weights, buffers, shape)?;
        let found = download(device, &sum, tokens * hidden, DType::F32)?;
        let case = format!("{dtype} {tokens}x{hidden}x{intermediate}, {experts_per_token} of {count}");
        // Between the halves of the layer, and for many tokens once more before the sum, numbers are rounded.
        let bound = match dtype {
            DType::F32 => 1e-5,
            DType::BF16 => 1.2e-2,
            DType::F16 => 1.5e-3,
        };
        checks.push(Check::compare(name, case, &found, &expected, bound));
        if path == 0 {
            weights.maps = None;
        }
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use pipeline_schema::Hardware;

    use super::*;

    #[test]
    fn kernels_agree_with_the_scalar_twin() {
        crate::kernels::check::assert_passes(checks);
        crate::kernels::check::assert_passes(speeds);
    }

    #[test]
    fn every_run_gives_the_same_bits() {
        let Some(device) = crate::gpu::testing::device(Hardware::Cuda) else { return };
        let (hidden, intermediate, count) = (136, 264, 6);
        let weight = |length: usize, seed| upload(&device, &random(length, seed), DType::BF16).unwrap().0;
        let gate_up = weight(2 * count * hidden * intermediate, 1);
        let down = weight(count * hidden * intermediate, 2);
        let weights =
            DeviceExperts::new(&device, gate_up, down, count, hidden, intermediate, DType::BF16).unwrap();
        for tokens in [7, 32, 500] {
            let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token: 2 };
            let x = weight(tokens * hidden, 3);
            let chosen: Vec<u32> = (0..2 * tokens).map(|slot| (slot * slot % 5) as u32).collect();
            let (chosen, factors) =
                (device.upload(&chosen).unwrap(), device.upload(&random(2 * tokens, 4)).unwrap());
            let scratch = device.allocate(weights.scratch_bytes(tokens, 2)).unwrap();
            let run = || {
                let sum = device.zeros(tokens * hidden * 4).unwrap();
                let buffers = ExpertsBuffers {
                    x: &x,
                    experts: &chosen,
                    weights: &factors,
                    hidden: &sum,
                    scratch: &scratch,
                };
                experts(&device, &weights, buffers, shape).unwrap();
                device.read::<u32>(&sum, 0, tokens * hidden).unwrap()
            };
            let first = run();
            assert!(first.iter().any(|&bits| bits != 0));
            for _ in 0..5 {
                assert!(first == run(), "{tokens} tokens");
            }
        }
    }
}
