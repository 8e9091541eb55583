//! The kernels beside their scalar twins, and how fast they are.

use super::*;
use crate::gpu::testing::{download, poisoned, random, upload};
use crate::kernels::attention::{AttentionSequence, attention_scalar};
use crate::kernels::check::{Check, Work, time};
use crate::kernels::norm::{RmsNormShape, rms_norm_scalar};
use crate::kernels::rotary::{RotaryShape, RotaryTables, rotary_scalar};

/// Every kernel beside its scalar twin.
///
/// # Errors
/// A kernel does not compile, or the driver refuses.
pub fn checks(device: &Device) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for dtype in DType::ALL {
        for (heads, kv_heads, head_dim, rotary_dim) in [
            (3, 1, 4, 4),
            (4, 2, 20, 20),
            (6, 2, 33, 10),
            (14, 2, 64, 64),
            (4, 1, 80, 40),
            (3, 3, 96, 96),
            (8, 2, 128, 128),
            (20, 1, 128, 0),
            (4, 2, 256, 256),
        ] {
            for (window, masked, normed) in [(None, false, true), (Some(70), true, false)] {
                let scale = 1.0 / (head_dim as f32).sqrt();
                let shape = AttentionShape { heads, kv_heads, head_dim, scale, window };
                let case = Case { shape, rotary_dim, masked, normed, dtype };
                checks.extend(case.steps(device)?);
                checks.extend(case.prompts(device)?);
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
    for (sequences, length) in [(1, 8192), (16, 8192), (1, 32768)] {
        checks.push(decode_speed(device, sequences, length)?);
    }
    for length in [512, 2048, 8192] {
        checks.push(prefill_speed(device, length)?);
    }
    checks.push(append_speed(device, 8192)?);
    Ok(checks)
}

/// Attention of Llama-3-8B and Mixtral-8x7B.
const REAL: AttentionShape =
    AttentionShape { heads: 32, kv_heads: 8, head_dim: 128, scale: 0.088_388_35, window: None };

/// Keys and values of sequences of equal length, the same page again and again but in memory of its own; and what
/// the twin needs of one sequence.
struct Repeated {
    pages: Buffer,
    max_pages: usize,
    layers: usize,
    /// Keeps the pages alive.
    _arena: Buffer,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Repeated {
    fn new(device: &Device, layers: usize, sequences: usize, length: usize) -> Result<Repeated> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = REAL;
        // How a page is laid out is known to the kernels alone: they write the first.
        let row = (heads + 2 * kv_heads) * head_dim;
        let (qkv, numbers) = upload(device, &random(PAGE * row, 1), DType::BF16)?;
        let page = device.allocate(2 * kv_heads * PAGE * head_dim * DType::BF16.size())?;
        let positions = device.upload(&(0..PAGE as u32).collect::<Vec<_>>())?;
        let (slots, nothing) = (device.upload(&[0u32; PAGE])?, device.zeros(4)?);
        let first = device.upload(&[page.address()])?;
        let tokens = NewTokens {
            qkv: &qkv,
            rows: PAGE,
            positions: &positions,
            slots: &slots,
            rotary: DeviceRotary { cos: &nothing, sin: &nothing, rows: &positions, rotary_dim: 0 },
            norms: None,
            cache: CacheLayer { pages: &first, max_pages: 1, layer: 0 },
        };
        let query = device.allocate(PAGE * heads * head_dim * DType::BF16.size())?;
        rotary_append(device, &query, tokens, REAL, DType::BF16)?;

        let max_pages = length.div_ceil(PAGE);
        let places = sequences * max_pages * layers;
        let arena = device.allocate(places * page.bytes())?;
        for place in 0..places {
            device.copy(&arena, place * page.bytes(), &page, 0, page.bytes())?;
        }
        let stride = (layers * page.bytes()) as u64;
        let addresses: Vec<u64> =
            (0..(sequences * max_pages) as u64).map(|page| arena.address() + page * stride).collect();
        let part = |start: usize| -> Vec<f32> {
            let token = |token: usize| numbers[token % PAGE * row + start..][..kv_heads * head_dim].to_vec();
            (0..length).flat_map(token).collect()
        };
        let (keys, values) = (part(heads * head_dim), part((heads + kv_heads) * head_dim));
        Ok(Repeated { pages: device.upload(&addresses)?, max_pages, layers, _arena: arena, keys, values })
    }

    fn layer(&self, turn: usize) -> CacheLayer<'_> {
        CacheLayer { pages: &self.pages, max_pages: self.max_pages, layer: turn % self.layers }
    }

    /// What the twin says of the last queries.
    fn twin(&self, query: &[f32]) -> Vec<f32> {
        let mut output = vec![0.0; query.len()];
        let queries = 0..query.len() / (REAL.heads * REAL.head_dim);
        let sequence = AttentionSequence { queries, keys: &self.keys, values: &self.values, key_mask: None };
        attention_scalar(query, &[sequence], &mut output, REAL);
        output
    }
}

/// A step of sequences of this length, whose caches the device's does not hold.
fn decode_speed(device: &Device, sequences: usize, length: usize) -> Result<Check> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = REAL;
    let bytes = sequences * length * 2 * kv_heads * head_dim * DType::BF16.size();
    let layers = (4 * device.chip().l2 as usize).div_ceil(bytes).max(2);
    let cache = Repeated::new(device, layers, sequences, length)?;
    // The last token is the one that is appended: what the page has of it already.
    let width = kv_heads * head_dim;
    let [keys, values] = [&cache.keys, &cache.values].map(|cached| &cached[(length - 1) * width..]);
    let query = random(heads * head_dim, 2);
    let (qkv, numbers) = upload(device, &[&query, keys, values].concat().repeat(sequences), DType::BF16)?;
    let positions = device.upload(&vec![length as u32 - 1; sequences])?;
    let slots = device.upload(&(0..sequences as u32).collect::<Vec<_>>())?;
    let nothing = device.zeros(4)?;
    let output = poisoned(device, sequences * heads * head_dim, DType::BF16)?;
    let scratch = DecodeScratch::new(device, sequences, REAL)?;
    let step = |turn: usize| {
        let rotary = DeviceRotary { cos: &nothing, sin: &nothing, rows: &positions, rotary_dim: 0 };
        let (positions, slots) = (&positions, &slots);
        let cache = cache.layer(turn);
        let tokens = NewTokens { qkv: &qkv, rows: sequences, positions, slots, rotary, norms: None, cache };
        decode(device, &output, tokens, None, &scratch, REAL, DType::BF16)
    };
    step(0)?;
    let found = download(device, &output, sequences * heads * head_dim, DType::BF16)?;
    let expected = cache.twin(&numbers[..heads * head_dim]).repeat(sequences);
    let case = format!("bf16, {sequences} sequences of {length}");
    let check = Check::compare("decode_attention", case, &found, &expected, 1.2e-2);
    let mut turn = 0;
    let microseconds = time(device, 5, 20, || {
        turn += 1;
        step(turn)
    })?;
    Ok(check.timed(microseconds, Work::Bytes(bytes as f64)))
}

/// A prompt of this length.
fn prefill_speed(device: &Device, length: usize) -> Result<Check> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = REAL;
    let width = heads * head_dim;
    // As many copies of all that is read as the device's cache does not hold.
    let bytes = length * (heads + 2 * kv_heads) * head_dim * DType::BF16.size();
    let copies = (4 * device.chip().l2 as usize).div_ceil(bytes).max(2);
    let cache = Repeated::new(device, copies, 1, length)?;
    let (query, numbers) = upload(device, &random(length * width, 2), DType::BF16)?;
    let mut queries = vec![query];
    while queries.len() < copies {
        let copy = device.allocate(queries[0].bytes())?;
        device.copy(&copy, 0, &queries[0], 0, copy.bytes())?;
        queries.push(copy);
    }
    let output = poisoned(device, length * width, DType::BF16)?;
    let sequences = device.upload(&[0, length as u32, 0, length as u32])?;
    let run = |turn: usize| {
        let (query, cache) = (&queries[turn % copies], cache.layer(turn));
        prefill(device, query, &output, length, &sequences, 1, cache, None, REAL, DType::BF16)
    };
    run(0)?;
    // The twin of the last queries only: it is slow.
    let last = (length - 8) * width;
    let found = download(device, &output, length * width, DType::BF16)?;
    let expected = cache.twin(&numbers[last..]);
    let case = format!("bf16, a prompt of {length}");
    let check = Check::compare("prefill_attention", case, &found[last..], &expected, 1.2e-2);
    let mut turn = 0;
    let microseconds = time(device, 5, 20, || {
        turn += 1;
        run(turn)
    })?;
    // Two products over the lower triangle.
    let operations = (2 * 2 * width * length * (length + 1) / 2) as f64;
    Ok(check.timed(microseconds, Work::Operations(operations, DType::BF16)))
}

/// Rotation of a prompt of this length, and its keys and values into the cache.
fn append_speed(device: &Device, length: usize) -> Result<Check> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = REAL;
    let dtype = DType::BF16;
    let case = Case { shape: REAL, rotary_dim: head_dim, masked: false, normed: false, dtype };
    let story = case.story(device, &[length])?;
    let (qkv, _) = upload(device, &story.slots[0].qkv, dtype)?;
    let positions = device.upload(&(0..length as u32).collect::<Vec<_>>())?;
    let slots = device.upload(&vec![0u32; length])?;
    let rotary = DeviceRotary { cos: &story.cos, sin: &story.sin, rows: &positions, rotary_dim: head_dim };
    let (positions, slots, cache) = (&positions, &slots, story.cache());
    let tokens = NewTokens { qkv: &qkv, rows: length, positions, slots, rotary, norms: None, cache };
    let query = poisoned(device, length * heads * head_dim, dtype)?;
    let microseconds = time(device, 5, 20, || rotary_append(device, &query, tokens, REAL, dtype))?;
    let found = download(device, &query, length * heads * head_dim, dtype)?;
    let expected = &story.slots[0].exact_query;
    let bound = crate::gpu::testing::rounding(dtype);
    let check =
        Check::compare("rotary_append", format!("bf16, a prompt of {length}"), &found, expected, bound);
    // Every number read and written, and the angles of each token.
    let bytes = length * ((heads + 2 * kv_heads) * head_dim * 2 * dtype.size() + head_dim * 4);
    Ok(check.timed(microseconds, Work::Bytes(bytes as f64)))
}

/// One check's sizes.
struct Case {
    shape: AttentionShape,
    rotary_dim: usize,
    masked: bool,
    normed: bool,
    dtype: DType,
}

/// Random sequences on a device, and the twin's keys and values of them.
struct Story {
    pages: Buffer,
    max_pages: usize,
    /// Keeps the pages alive.
    _arena: Buffer,
    cos: Buffer,
    sin: Buffer,
    norms: [Buffer; 2],
    seen: Buffer,
    /// For each slot, rows of qkv as rounded, then rotated queries, rotated keys, and values.
    slots: Vec<Told>,
}

struct Told {
    qkv: Vec<f32>,
    /// Before they are rounded.
    exact_query: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mask: Vec<bool>,
}

/// Numbers as the device rounds them.
fn rounded(values: &[f32], dtype: DType) -> Vec<f32> {
    let round = |value: &f32| match dtype {
        DType::F32 => *value,
        DType::BF16 => half::bf16::from_f32(*value).to_f32(),
        DType::F16 => half::f16::from_f32(*value).to_f32(),
    };
    values.iter().map(round).collect()
}

impl Case {
    const LAYERS: usize = 2;
    const LAYER: usize = 1;
    const EPSILON: f32 = 1e-5;

    fn name(&self, what: &str) -> String {
        let Case { shape, rotary_dim, masked, normed, dtype } = self;
        let AttentionShape { heads, kv_heads, head_dim, window, .. } = shape;
        format!(
            "{dtype} {heads}/{kv_heads} heads of {head_dim}, {rotary_dim} rotated, window {window:?}, \
             masked {masked}, normed {normed}, {what}"
        )
    }

    /// How far rounding of queries, weights and results goes, as a share of the largest number.
    fn bound(&self) -> f64 {
        match self.dtype {
            DType::F32 => 2e-5,
            DType::BF16 => 1.2e-2,
            DType::F16 => 1.6e-3,
        }
    }

    /// Sequences of these lengths, nothing of them in the cache yet. Its memory holds no numbers.
    fn story(&self, device: &Device, lengths: &[usize]) -> Result<Story> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let half = self.rotary_dim / 2;
        let angles = (0..longest * half).map(|index| {
            let (position, pair) = (index / half, index % half);
            position as f64 * 1000f64.powf(-(pair as f64) / half as f64)
        });
        let (cos, sin): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        let weights =
            [7, 8].map(|seed| random(head_dim, seed).iter().map(|x| 1.0 + x / 2.0).collect::<Vec<f32>>());

        let mut slots = Vec::new();
        for (&length, seed) in lengths.iter().zip(100..) {
            let width = (heads + 2 * kv_heads) * head_dim;
            let qkv: Vec<f32> = random(length * width, seed).iter().map(|x| 3.0 * x).collect();
            let qkv = rounded(&qkv, self.dtype);
            let part = |start: usize, count: usize| -> Vec<f32> {
                let rows = qkv.chunks(width);
                rows.flat_map(|row| row[start * head_dim..(start + count) * head_dim].to_vec()).collect()
            };
            let rotated = |start: usize, heads: usize, weight: &[f32]| {
                let mut x = part(start, heads);
                if self.normed {
                    let rows = length * heads;
                    let shape = RmsNormShape { rows, width: head_dim, epsilon: Self::EPSILON };
                    let mut normed = vec![0.0; x.len()];
                    rms_norm_scalar(&x, weight, &mut normed, shape);
                    x = normed;
                }
                let positions: Vec<usize> = (0..length).collect();
                let shape = RotaryShape { heads, head_dim, rotary_dim: self.rotary_dim };
                rotary_scalar(&mut x, &positions, RotaryTables { cos: &cos, sin: &sin }, shape);
                x
            };
            let mask = random(length, seed + 50).iter().map(|&x| !self.masked || x > -0.4).collect();
            let exact_query = rotated(0, heads, &weights[0]);
            let query = rounded(&exact_query, self.dtype);
            let key = rounded(&rotated(heads, kv_heads, &weights[1]), self.dtype);
            let value = part(heads + kv_heads, kv_heads);
            slots.push(Told { qkv, exact_query, query, key, value, mask });
        }

        let max_pages = longest.div_ceil(PAGE);
        let page = Self::LAYERS * 2 * kv_heads * PAGE * head_dim;
        let arena = poisoned(device, lengths.len() * max_pages * page, self.dtype)?;
        // Pages of a sequence are not neighbours.
        let addresses: Vec<u64> = (0..lengths.len() * max_pages)
            .map(|index| {
                let (slot, number) = (index / max_pages, index % max_pages);
                arena.address() + ((number * lengths.len() + slot) * page * self.dtype.size()) as u64
            })
            .collect();
        let seen: Vec<u8> = slots
            .iter()
            .flat_map(|told| (0..longest).map(|key| u8::from(told.mask.get(key).copied().unwrap_or(true))))
            .collect();
        let [query_norm, key_norm] = weights;
        Ok(Story {
            pages: device.upload(&addresses)?,
            max_pages,
            _arena: arena,
            cos: device.upload(&cos)?,
            sin: device.upload(&sin)?,
            norms: [device.upload(&query_norm)?, device.upload(&key_norm)?],
            seen: device.upload(&seen)?,
            slots,
        })
    }

    /// Appends tokens of some sequences (slot, first, end), by a launch of its own or in a step of decoding; returns
    /// the rotated queries, or the step's output.
    fn append(
        &self,
        device: &Device,
        story: &Story,
        ranges: &[(usize, usize, usize)],
        step: Option<(&DecodeScratch, bool)>,
    ) -> Result<Vec<f32>> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let width = (heads + 2 * kv_heads) * head_dim;
        let (mut qkv, mut positions, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        for &(slot, first, end) in ranges {
            qkv.extend(&story.slots[slot].qkv[first * width..end * width]);
            positions.extend((first..end).map(|position| position as u32));
            slots.extend(std::iter::repeat_n(slot as u32, end - first));
        }
        let rows = positions.len();
        let (qkv, _) = upload(device, &qkv, self.dtype)?;
        let positions = device.upload(&positions)?;
        let slots = device.upload(&slots)?;
        let tokens = NewTokens {
            qkv: &qkv,
            rows,
            positions: &positions,
            slots: &slots,
            rotary: DeviceRotary {
                cos: &story.cos,
                sin: &story.sin,
                rows: &positions,
                rotary_dim: self.rotary_dim,
            },
            norms: self.normed.then_some(HeadNorms {
                query: &story.norms[0],
                key: &story.norms[1],
                epsilon: Self::EPSILON,
            }),
            cache: story.cache(),
        };
        let output = poisoned(device, rows * heads * head_dim, self.dtype)?;
        match step {
            None => rotary_append(device, &output, tokens, self.shape, self.dtype)?,
            Some((scratch, tensor_cores)) => {
                let mask = self.mask(story);
                decode_by(device, &output, tokens, mask, scratch, self.shape, self.dtype, tensor_cores)?;
            }
        }
        download(device, &output, rows * heads * head_dim, self.dtype)
    }

    fn mask<'a>(&self, story: &'a Story) -> Option<DeviceKeyMask<'a>> {
        let stride = story.slots.iter().map(|told| told.mask.len()).max().unwrap_or(0);
        self.masked.then_some(DeviceKeyMask { seen: &story.seen, stride })
    }

    /// What the twin says of the tokens of some sequences.
    fn twin(&self, story: &Story, ranges: &[(usize, usize, usize)]) -> Vec<f32> {
        let AttentionShape { heads, kv_heads, head_dim, .. } = self.shape;
        let mut result = Vec::new();
        for &(slot, first, end) in ranges {
            let Told { query, key, value, mask, .. } = &story.slots[slot];
            let query = &query[first * heads * head_dim..end * heads * head_dim];
            let mut output = vec![0.0; query.len()];
            let sequence = AttentionSequence {
                queries: 0..end - first,
                keys: &key[..end * kv_heads * head_dim],
                values: &value[..end * kv_heads * head_dim],
                key_mask: self.masked.then_some(&mask[..end]),
            };
            attention_scalar(query, &[sequence], &mut output, self.shape);
            result.extend(output);
        }
        result
    }

    fn steps(&self, device: &Device) -> Result<Vec<Check>> {
        let mut checks = Vec::new();
        let lengths = [1, 300, 65, 64, 700];
        let fast = decode_shared(device.chip(), lengths.len(), self.shape.head_dim, self.dtype).is_some();
        for tensor_cores in [false, true] {
            if tensor_cores && !fast {
                continue;
            }
            let story = self.story(device, &lengths)?;
            let ranges = |earlier: usize| -> Vec<(usize, usize, usize)> {
                lengths.iter().enumerate().map(|(slot, &end)| (slot, end - earlier.min(end), end)).collect()
            };
            let before: Vec<_> = ranges(1).iter().map(|&(slot, first, _)| (slot, 0, first)).collect();
            self.append(device, &story, &before, None)?;
            let scratch = DecodeScratch::new(device, lengths.len(), self.shape)?;
            let expected = self.twin(&story, &ranges(1));
            // Twice: the counters are as they were, and what is appended again is the same.
            for turn in ["first step", "same step again"] {
                let found = self.append(device, &story, &ranges(1), Some((&scratch, tensor_cores)))?;
                let kernel = if tensor_cores { "decode_attention (tensor)" } else { "decode_attention" };
                checks.push(Check::compare(kernel, self.name(turn), &found, &expected, self.bound()));
            }
        }
        Ok(checks)
    }

    fn prompts(&self, device: &Device) -> Result<Vec<Check>> {
        let AttentionShape { heads, head_dim, .. } = self.shape;
        let mut checks = Vec::new();
        let story = self.story(device, &[130, 1, 300, 65])?;
        // The first part of two sequences, then the rest of all.
        self.append(device, &story, &[(0, 0, 17), (2, 0, 200)], None)?;
        let ranges = [(2, 200, 300), (0, 17, 130), (3, 0, 65), (1, 0, 1)];
        let query = self.append(device, &story, &ranges, None)?;
        let rows = query.len() / (heads * head_dim);
        let expected: Vec<f32> = ranges
            .iter()
            .flat_map(|&(slot, first, end)| {
                story.slots[slot].exact_query[first * heads * head_dim..end * heads * head_dim].to_vec()
            })
            .collect();
        let bound = crate::gpu::testing::rounding(self.dtype);
        checks.push(Check::compare("rotary_append", self.name("prompts"), &query, &expected, bound));

        let (query, _) = upload(device, &query, self.dtype)?;
        let mut first_row = 0;
        let sequences: Vec<u32> = ranges
            .iter()
            .flat_map(|&(slot, first, end)| {
                let facts = [first_row, end - first, slot, end].map(|fact| fact as u32);
                first_row += end - first;
                facts
            })
            .collect();
        let sequences = device.upload(&sequences)?;
        let expected = self.twin(&story, &ranges);
        for way in Way::all(device.chip(), head_dim, self.dtype) {
            let output = poisoned(device, rows * heads * head_dim, self.dtype)?;
            let (cache, mask) = (story.cache(), self.mask(&story));
            let (count, shape, dtype) = (ranges.len(), self.shape, self.dtype);
            prefill_by(way, device, &query, &output, rows, &sequences, count, cache, mask, shape, dtype)?;
            let found = download(device, &output, rows * heads * head_dim, dtype)?;
            checks.push(Check::compare(way.kernel, self.name("prompts"), &found, &expected, self.bound()));
        }
        Ok(checks)
    }
}

impl Story {
    fn cache(&self) -> CacheLayer<'_> {
        CacheLayer { pages: &self.pages, max_pages: self.max_pages, layer: Case::LAYER }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn kernels_agree_with_their_scalar_twins() {
        crate::kernels::check::assert_passes(super::checks);
        crate::kernels::check::assert_passes(super::speeds);
    }
}
