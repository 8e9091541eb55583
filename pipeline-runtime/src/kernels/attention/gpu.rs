//! Attention on a GPU, over keys and values in pages.
//!
//! A page holds [`PAGE`] tokens of one sequence for all layers: `(layers, 2, kv_heads)` tiles of keys, then values, of
//! `PAGE x head_dim` numbers each. How a tile is laid out is the kernels' own affair: only they read and write it.
//! Pages are found by their addresses, `u64 (slots, max_pages)`; a page wholly before the window is not touched.
//!
//! A prompt is appended to the cache ([`rotary_append`]) and then attends to it ([`prefill`]); a decoding step does
//! both in one launch ([`decode`]).

mod checks;

use pipeline_schema::DType;

pub use self::checks::{checks, speeds};
use super::AttentionShape;
use crate::error::Result;
use crate::gpu::{Buffer, Chip, Device, HOPPER, Launch, PRELUDE, Source, TENSOR, suffix};
use crate::kernels::launching::expect;

/// Tokens of a page.
pub const PAGE: usize = 64;

/// The longest head that the kernels take.
pub const MOST_HEAD_DIM: usize = 256;

/// The most sequences of a decoding step.
pub const MOST_DECODE_ROWS: usize = 1024;

const CACHE: &str = include_str!("cache.cuh");

/// Rotation, and keys and values into the cache.
pub static APPEND: Source =
    Source { name: "attention_append", parts: &[PRELUDE, CACHE, include_str!("append.cu")] };
/// Decoding steps.
pub static DECODE: Source =
    Source { name: "attention_decode", parts: &[PRELUDE, CACHE, TENSOR, include_str!("decode.cu")] };
/// Prompts.
pub static PREFILL: Source = Source {
    name: "attention_prefill",
    parts: &[
        PRELUDE,
        CACHE,
        TENSOR,
        HOPPER,
        include_str!("prompts/queries.cuh"),
        include_str!("prompts/plain.cuh"),
        include_str!("prompts/tensor.cuh"),
        include_str!("prompts/hopper.cuh"),
        include_str!("prompts/kernels.cu"),
    ],
};

/// One layer of a cache in pages.
#[derive(Clone, Copy, Debug)]
pub struct CacheLayer<'a> {
    /// Addresses of pages: `u64 (slots, max_pages)`.
    pub pages: &'a Buffer,
    /// Pages that a sequence can have.
    pub max_pages: usize,
    /// The layer.
    pub layer: usize,
}

/// The angles by which tokens are rotated.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRotary<'a> {
    /// `f32 (rows of angles, rotary_dim / 2)`
    pub cos: &'a Buffer,
    /// `f32 (rows of angles, rotary_dim / 2)`
    pub sin: &'a Buffer,
    /// Which row of angles each token has, often its position: `u32 (rows)`.
    pub rows: &'a Buffer,
    /// Leading numbers of a head that are rotated: even, at most head_dim.
    pub rotary_dim: usize,
}

/// Norms over each head of queries and of keys, before they are rotated.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorms<'a> {
    /// `f32 (head_dim)`
    pub query: &'a Buffer,
    /// `f32 (head_dim)`
    pub key: &'a Buffer,
    /// Added to the mean square.
    pub epsilon: f32,
}

/// Tokens that enter the cache.
#[derive(Clone, Copy, Debug)]
pub struct NewTokens<'a> {
    /// Queries, keys and values side by side: `(rows, (heads + 2 kv_heads) head_dim)`.
    pub qkv: &'a Buffer,
    /// Tokens.
    pub rows: usize,
    /// Earlier tokens of the sequence of each: `u32 (rows)`. Its page must exist.
    pub positions: &'a Buffer,
    /// The sequence of each, or `u32::MAX` for a row to leave out: `u32 (rows)`.
    pub slots: &'a Buffer,
    /// The angles.
    pub rotary: DeviceRotary<'a>,
    /// The norms.
    pub norms: Option<HeadNorms<'a>>,
    /// Where they go.
    pub cache: CacheLayer<'a>,
}

/// Keys that no query sees.
#[derive(Clone, Copy, Debug)]
pub struct DeviceKeyMask<'a> {
    /// 0 for keys that are not seen: `u8 (slots, stride)`.
    pub seen: &'a Buffer,
    /// Tokens of a sequence that it covers.
    pub stride: usize,
}

/// Whether the kernels take heads of this shape.
pub fn supports(shape: AttentionShape) -> bool {
    (1..=MOST_HEAD_DIM).contains(&shape.head_dim)
        && shape.kv_heads > 0
        && shape.heads.is_multiple_of(shape.kv_heads)
        && shape.scale > 0.0
}

/// Rotates queries, and writes rotated keys and values to the cache.
///
/// query: `(rows, heads, head_dim)`, overwritten except for rows that are left out. All numbers are of `dtype`, but for
/// those said to be others.
///
/// # Panics
/// Where a buffer is too small for the shape, or [`supports`] says no.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn rotary_append(
    device: &Device,
    query: &Buffer,
    tokens: NewTokens<'_>,
    shape: AttentionShape,
    dtype: DType,
) -> Result<()> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    tokens.check(shape, dtype);
    expect(query, "query", &[tokens.rows, heads, head_dim], dtype.size());
    let kernel = format!("rotary_append_{}", suffix(dtype));
    // As many lanes for a head as it has pairs of vectors, at most a warp.
    let vector = 16 / dtype.size();
    let vector = match head_dim.is_multiple_of(vector) && tokens.rotary.rotary_dim.is_multiple_of(2 * vector)
    {
        true => vector,
        false => 1,
    };
    let of_a_head = head_dim.div_ceil(2 * vector).next_power_of_two().min(device.chip().warp as usize);
    // Blocks of equal size, so that few threads are without a head.
    let lanes = (heads + 2 * kv_heads) * of_a_head;
    let blocks = lanes.div_ceil(256);
    let launch = Launch::new(device, &APPEND, &kernel)
        .grid(tokens.rows, blocks, 1)
        .threads(lanes.div_ceil(blocks).next_multiple_of(64))
        .buffer(query)
        .buffer(tokens.qkv)
        .buffer(tokens.positions)
        .buffer(tokens.slots);
    let launch = tokens.cache.arguments(launch, shape);
    let launch = tokens.rotation(launch);
    // SAFETY: a block for each row, and every buffer holds its shape.
    unsafe { launch.run() }
}

/// What the blocks of [`decode`] leave for each other. One serves all layers and steps of its sizes.
#[derive(Clone, Debug)]
pub struct DecodeScratch {
    partials: Buffer,
    counters: Buffer,
    blocks: usize,
    rows: usize,
    shape: [usize; 3],
}

impl DecodeScratch {
    /// Scratch for steps of at most `rows` sequences.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn new(device: &Device, rows: usize, shape: AttentionShape) -> Result<DecodeScratch> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
        // The plain kernel hides less of the memory's latency by itself: more of its blocks share a multiprocessor.
        let blocks = 4 * device.chip().multiprocessors as usize;
        let floats = 2 * blocks * 16 * (head_dim + 4);
        Ok(DecodeScratch {
            partials: device.allocate(floats * size_of::<f32>())?,
            counters: device.zeros(rows.max(1) * heads * size_of::<u32>())?,
            blocks,
            rows,
            shape: [heads, kv_heads, head_dim],
        })
    }
}

/// One new token of each sequence: rotates its query, key and value, appends key and value to the cache, and attends.
///
/// output: `(rows, heads, head_dim)`, overwritten except for rows that are left out. Nothing that changes from step to
/// step is an argument, so that a captured step can be replayed. Positions, slots, pages and what the cache holds are
/// read while the kernel before still runs: only the new tokens may be its work.
///
/// # Panics
/// Where a buffer is too small for the shape, there are more rows than the scratch or [`MOST_DECODE_ROWS`] allow, or
/// [`supports`] says no.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
pub fn decode(
    device: &Device,
    output: &Buffer,
    tokens: NewTokens<'_>,
    key_mask: Option<DeviceKeyMask<'_>>,
    scratch: &DecodeScratch,
    shape: AttentionShape,
    dtype: DType,
) -> Result<()> {
    decode_by(device, output, tokens, key_mask, scratch, shape, dtype, true)
}

#[expect(clippy::too_many_arguments, reason = "those of `decode` and one")]
fn decode_by(
    device: &Device,
    output: &Buffer,
    tokens: NewTokens<'_>,
    key_mask: Option<DeviceKeyMask<'_>>,
    scratch: &DecodeScratch,
    shape: AttentionShape,
    dtype: DType,
    tensor_cores: bool,
) -> Result<()> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    tokens.check(shape, dtype);
    expect(output, "output", &[tokens.rows, heads, head_dim], dtype.size());
    assert!(
        tokens.rows <= scratch.rows.min(MOST_DECODE_ROWS) && scratch.shape == [heads, kv_heads, head_dim],
        "decode: {} rows of {shape:?} with scratch for {} of {:?}",
        tokens.rows,
        scratch.rows,
        scratch.shape
    );
    if tokens.rows == 0 {
        return Ok(());
    }
    let fast = tensor_cores.then(|| decode_shared(device.chip(), tokens.rows, head_dim, dtype)).flatten();
    let (kernel, blocks, threads, shared) = match fast {
        Some(shared) => {
            let kernel = format!("decode_attention_{head_dim}_{}", suffix(dtype));
            (kernel, device.chip().multiprocessors as usize, 160, shared)
        }
        None => (format!("decode_attention_{}", suffix(dtype)), scratch.blocks, 128, 0),
    };
    let launch = Launch::new(device, &DECODE, &kernel)
        .grid(blocks.min(scratch.blocks), 1, 1)
        .threads(threads)
        .shared(shared)
        .buffer(output)
        .buffer(tokens.qkv)
        .buffer(tokens.positions)
        .buffer(tokens.slots)
        .number(tokens.rows);
    let launch = tokens.cache.arguments(launch, shape);
    let launch = tokens.rotation(launch);
    let launch = visibility(launch, shape, key_mask).buffer(&scratch.partials).buffer(&scratch.counters);
    // SAFETY: every buffer holds its shape; the scratch is for this many blocks and rows.
    unsafe { launch.run() }
}

/// New tokens of several sequences, in the cache already, attend to their sequences.
///
/// query, output: `(rows, heads, head_dim)`; rows of no sequence are left as they are. sequences: `u32 (count, 4)`: first
/// row, rows, slot, and tokens in the cache with these. `rows` bounds their sum.
///
/// # Panics
/// Where a buffer is too small for the shape, or [`supports`] says no.
///
/// # Errors
/// The kernel does not compile, or the driver refuses.
#[expect(clippy::too_many_arguments, reason = "each is another buffer or size")]
pub fn prefill(
    device: &Device,
    query: &Buffer,
    output: &Buffer,
    rows: usize,
    sequences: &Buffer,
    count: usize,
    cache: CacheLayer<'_>,
    key_mask: Option<DeviceKeyMask<'_>>,
    shape: AttentionShape,
    dtype: DType,
) -> Result<()> {
    let ways = Way::all(device.chip(), shape.head_dim, dtype);
    prefill_by(ways[0], device, query, output, rows, sequences, count, cache, key_mask, shape, dtype)
}

/// How prompts attend: a kernel, its threads, its shared memory, the queries of a block.
#[derive(Clone, Copy, Debug)]
struct Way {
    kernel: &'static str,
    /// The end of the kernel's name before its number format.
    depth: usize,
    threads: usize,
    shared: usize,
    queries: usize,
    /// Whether as many blocks as there are multiprocessors go through the list of all queries and heads.
    stays: bool,
}

impl Way {
    /// Those that a chip has, the fastest first, the plain one last.
    fn all(chip: &Chip, head_dim: usize, dtype: DType) -> Vec<Way> {
        let mut ways = Vec::new();
        if chip.target == "sm_90a" && dtype != DType::F32 && [64, 128].contains(&head_dim) {
            // `HopperPrompt` of `prompts/hopper.cuh`: two stages each of queries, keys and values, and of arrivals.
            let shared = 3 * 2 * (128 * head_dim * dtype.size() + 2 * size_of::<u64>()) + ALIGNMENT;
            let kernel = "prefill_attention_hopper";
            ways.push(Way { kernel, depth: head_dim, threads: 384, shared, queries: 128, stays: true });
        }
        if has_tensor_cores(chip, head_dim, dtype) {
            let queries = if head_dim > 128 { 64 } else { 128 };
            let shared = (queries + 4 * PAGE) * head_dim * dtype.size() + ALIGNMENT;
            if shared <= chip.shared_per_block as usize {
                let kernel = "prefill_attention_tensor";
                ways.push(Way {
                    kernel,
                    depth: head_dim,
                    threads: 2 * queries,
                    shared,
                    queries,
                    stays: false,
                });
            }
        }
        let depth = head_dim.next_power_of_two().max(64);
        let queries = if depth > 128 { 16 } else { 64 };
        let floats = (queries + 32) * (depth + 4) + queries * 33;
        let shared = floats * size_of::<f32>() + ALIGNMENT;
        ways.push(Way { kernel: "prefill_attention", depth, threads: 256, shared, queries, stays: false });
        ways
    }
}

#[expect(clippy::too_many_arguments, reason = "those of `prefill` and one")]
fn prefill_by(
    way: Way,
    device: &Device,
    query: &Buffer,
    output: &Buffer,
    rows: usize,
    sequences: &Buffer,
    count: usize,
    cache: CacheLayer<'_>,
    key_mask: Option<DeviceKeyMask<'_>>,
    shape: AttentionShape,
    dtype: DType,
) -> Result<()> {
    assert!(supports(shape), "attention on a GPU: {shape:?}");
    let AttentionShape { heads, head_dim, .. } = shape;
    expect(query, "query", &[rows, heads, head_dim], dtype.size());
    expect(output, "output", &[rows, heads, head_dim], dtype.size());
    expect(sequences, "sequences", &[count, 4], 4);
    if rows == 0 || count == 0 {
        return Ok(());
    }
    let kernel = format!("{}_{}_{}", way.kernel, way.depth, suffix(dtype));
    // Each sequence may end with a block that is not full.
    let blocks = rows / way.queries + count;
    let grid = match way.stays {
        true => (blocks * heads).min(device.chip().multiprocessors as usize),
        false => heads,
    };
    let launch = Launch::new(device, &PREFILL, &kernel)
        .grid(grid, if way.stays { 1 } else { blocks }, 1)
        .threads(way.threads)
        .shared(way.shared)
        .buffer(output)
        .buffer(query)
        .buffer(sequences)
        .number(count);
    let launch = visibility(cache.arguments(launch, shape), shape, key_mask);
    // SAFETY: every buffer holds its shape, and the grid covers all rows.
    unsafe { launch.run() }
}

/// By so much a kernel may move the start of its shared memory.
const ALIGNMENT: usize = 1024;

/// Whether the kernels on NVIDIA's tensor cores take these heads.
fn has_tensor_cores(chip: &Chip, head_dim: usize, dtype: DType) -> bool {
    generation(chip) >= 80 && dtype != DType::F32 && [64, 128, 256].contains(&head_dim)
}

/// 90 for `sm_90a`; 0 for another vendor's chip.
fn generation(chip: &Chip) -> u32 {
    let digits = chip.target.strip_prefix("sm_").unwrap_or_default().trim_end_matches(char::is_alphabetic);
    digits.parse().unwrap_or(0)
}

/// Bytes of shared memory of the decoding kernel on tensor cores, `None` where it does not run: `DecodeShared` of
/// `decode.cu`.
fn decode_shared(chip: &Chip, rows: usize, head_dim: usize, dtype: DType) -> Option<usize> {
    if !has_tensor_cores(chip, head_dim, dtype) {
        return None;
    }
    let stages = match ((90..120).contains(&generation(chip)), head_dim) {
        (true, 64) => 6,
        (true, _) => 3,
        (false, 64) => 4,
        (false, 128) => 2,
        (false, _) => 1,
    };
    let tiles = (stages * 2 * PAGE + 16 + 2) * head_dim * dtype.size();
    let sums = 16 * (head_dim + 8) * size_of::<f32>() + 2 * 5 * 16 * size_of::<f32>();
    let rest = stages * 2 * size_of::<u64>() + size_of::<u64>() + (rows + 1) * size_of::<u32>();
    let shared = tiles + sums + rest + ALIGNMENT;
    (shared <= chip.shared_per_block as usize).then_some(shared)
}

fn visibility<'a>(
    launch: Launch<'a>,
    shape: AttentionShape,
    key_mask: Option<DeviceKeyMask<'_>>,
) -> Launch<'a> {
    // A window beyond 32 bits hides nothing.
    let window = shape.window.filter(|&window| u32::try_from(window).is_ok());
    assert!(window != Some(0), "attention on a GPU: a window of 0 hides all");
    let mask = key_mask.map_or((0, 0), |mask| (mask.seen.address(), mask.stride));
    launch.float(shape.scale).number(window.unwrap_or(0)).address(mask.0).number(mask.1)
}

impl CacheLayer<'_> {
    fn arguments<'a>(&self, launch: Launch<'a>, shape: AttentionShape) -> Launch<'a> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
        let launch = launch.buffer(self.pages).number(self.max_pages).number(self.layer);
        launch.number(heads).number(kv_heads).number(head_dim)
    }
}

impl NewTokens<'_> {
    fn check(&self, shape: AttentionShape, dtype: DType) {
        assert!(supports(shape), "attention on a GPU: {shape:?}");
        let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
        let rotary_dim = self.rotary.rotary_dim;
        assert!(
            rotary_dim.is_multiple_of(2) && rotary_dim <= head_dim,
            "rotary_dim {rotary_dim} of {shape:?}"
        );
        expect(self.qkv, "qkv", &[self.rows, heads + 2 * kv_heads, head_dim], dtype.size());
        expect(self.positions, "positions", &[self.rows], 4);
        expect(self.slots, "slots", &[self.rows], 4);
        expect(self.rotary.rows, "rows of angles", &[self.rows], 4);
        assert_eq!(self.rotary.cos.bytes(), self.rotary.sin.bytes(), "rotary: the tables have one length");
        if let Some(norms) = self.norms {
            expect(norms.query, "query_norm", &[head_dim], 4);
            expect(norms.key, "key_norm", &[head_dim], 4);
        }
    }

    fn rotation<'a>(&self, launch: Launch<'a>) -> Launch<'a> {
        let DeviceRotary { cos, sin, rows, rotary_dim } = self.rotary;
        let launch = launch.number(rotary_dim).buffer(cos).buffer(sin).buffer(rows);
        match self.norms {
            Some(HeadNorms { query, key, epsilon }) => launch.buffer(query).buffer(key).float(epsilon),
            None => launch.address(0).address(0).float(0.0),
        }
    }
}
