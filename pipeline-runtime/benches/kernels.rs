//! Times of the hand-written kernels at the sizes of real models, as parts of what the machine can do.
//!
//! `cargo bench -p pipeline-runtime --bench kernels [-- WORD...]` runs the rows whose name contains a word. The roof
//! that bounds a row is sampled before each of its runs: the share is the median over pairs of neighbours, as another
//! job on the machine lowers both. Beside it stands the shortest run as a part of the highest sample.

use std::time::Instant;

use half::bf16;
use pipeline_runtime::kernels::attention::{AttentionSequence, AttentionShape, attention};
use pipeline_runtime::kernels::experts::{ExpertRouting, ExpertWeights, ExpertsShape, experts};
use pipeline_runtime::kernels::matmul::{MatmulShape, matmul};
use pipeline_runtime::kernels::quantized::quantize;
use pipeline_runtime::kernels::roof::{RoofProbe, Roofs};
use pipeline_runtime::kernels::{InstructionSet, MatrixRef, QuantizedFormat, QuantizedRef};
use rayon::prelude::*;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("{}, {} threads", InstructionSet::detected().name(), rayon::current_num_threads());
    println!("before: {}", Roofs::measure());
    println!(
        "{:<38} {:>11} {:>15} {:>8} {:>10} {:>8}",
        "kernel", "median", "rate", "roof", "of roof", "at best"
    );
    let mut table = Table { words, probe: RoofProbe::new() };
    for group in [
        matmul_rows,
        quantized_rows,
        attention_rows,
        expert_rows::<bf16>,
        expert_rows::<f32>,
        quantized_expert_rows,
    ] {
        group(&mut table);
    }
    println!("after:  {}", Roofs::measure());
}

/// What bounds a row.
#[derive(Clone, Copy)]
enum Bound {
    /// Bytes that are read from memory.
    Memory(usize),
    /// Multiplications and additions of `f32`.
    F32(usize),
    /// Multiplications and additions of `bf16`.
    Bf16(usize),
}

/// Measures and prints rows.
struct Table {
    words: Vec<String>,
    probe: RoofProbe,
}

impl Table {
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Runs until a second has passed, at least nine times after one that does not count.
    fn add(&mut self, name: &str, bound: Bound, mut run: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        run();
        let (mut times, mut roofs, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        let begin = Instant::now();
        while times.len() < 9 || (begin.elapsed().as_secs_f64() < 1.0 && times.len() < 500) {
            let (amount, roof) = match bound {
                Bound::Memory(bytes) => (bytes, self.probe.dram_read()),
                Bound::F32(operations) => (operations, self.probe.f32()),
                Bound::Bf16(operations) => {
                    (operations, self.probe.bf16().unwrap_or_else(|| self.probe.f32()))
                }
            };
            let start = Instant::now();
            run();
            let time = start.elapsed().as_secs_f64();
            times.push(time);
            roofs.push(roof);
            shares.push(amount as f64 / time / 1e9 / roof);
        }
        let (amount, unit) = match bound {
            Bound::Memory(bytes) => (bytes, "GB/s"),
            Bound::F32(operations) | Bound::Bf16(operations) => (operations, "GFLOP/s"),
        };
        let best = amount as f64
            / smallest(&times)
            / 1e9
            / -smallest(&roofs.iter().map(|roof| -roof).collect::<Vec<_>>());
        let (time, roof, share) = (median(times), median(roofs), median(shares));
        let rate = amount as f64 / time / 1e9;
        println!(
            "{name:<38} {:>8.3} ms {rate:>7.1} {unit:<7} {roof:>8.1} {:>8.0} % {:>6.0} %",
            time * 1e3,
            share * 100.0,
            best * 100.0
        );
    }
}

fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// An element of weights and how matrices of it are borrowed.
trait Weight: Copy + Send + Sync {
    const NAME: &'static str;
    fn from_f32(value: f32) -> Self;
    fn matrix(elements: &[Self]) -> MatrixRef<'_>;
    fn arithmetic(operations: usize) -> Bound;
}

impl Weight for f32 {
    const NAME: &'static str = "f32";
    fn from_f32(value: f32) -> f32 {
        value
    }
    fn matrix(elements: &[f32]) -> MatrixRef<'_> {
        MatrixRef::F32(elements)
    }
    fn arithmetic(operations: usize) -> Bound {
        Bound::F32(operations)
    }
}

impl Weight for bf16 {
    const NAME: &'static str = "bf16";
    fn from_f32(value: f32) -> bf16 {
        bf16::from_f32(value)
    }
    fn matrix(elements: &[bf16]) -> MatrixRef<'_> {
        MatrixRef::Bf16(elements)
    }
    fn arithmetic(operations: usize) -> Bound {
        Bound::Bf16(operations)
    }
}

/// Values between -scale and scale, the same every time.
fn values<W: Weight>(length: usize, scale: f32) -> Vec<W> {
    (0..length)
        .into_par_iter()
        .with_min_len(1 << 16)
        .map(|index| {
            let mixed = (index as u64).wrapping_add(0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            W::from_f32(scale * ((mixed >> 40) as f32 / (1 << 23) as f32 - 1.0))
        })
        .collect()
}

fn matmul_rows(table: &mut Table) {
    products::<bf16>(table);
    products::<f32>(table);
}

fn products<W: Weight>(table: &mut Table) {
    for (in_features, out_features, all_rows) in [
        (4096, 14336, &[1usize, 2, 4, 8, 16, 32, 128, 512][..]),
        (14336, 4096, &[1, 128]),
        (4096, 4096, &[1, 512]),
    ] {
        let names: Vec<String> = all_rows
            .iter()
            .map(|rows| format!("matmul {} {rows} x {in_features} -> {out_features}", W::NAME))
            .collect();
        if !names.iter().any(|name| table.wants(name)) {
            continue;
        }
        let weight: Vec<W> = values(in_features * out_features, 0.02);
        for (&rows, name) in all_rows.iter().zip(&names) {
            let shape = MatmulShape { rows, in_features, out_features };
            let x: Vec<f32> = values(rows * in_features, 1.0);
            let mut y = vec![0.0; rows * out_features];
            let bound = match rows {
                0..=8 => Bound::Memory(size_of_val(weight.as_slice())),
                _ => W::arithmetic(2 * rows * in_features * out_features),
            };
            table.add(name, bound, || matmul(&x, W::matrix(&weight), &mut y, shape));
        }
    }
}

/// Blocks of so many weights. A part is quantised and repeated: choosing scales takes longer than the products.
fn blocks(format: QuantizedFormat, weights: usize) -> Vec<u8> {
    let part = quantize(format, &values::<f32>(1 << 20, 0.02)).expect("whole blocks can be quantised");
    part.iter().copied().cycle().take(format.bytes(weights)).collect()
}

/// Bits a weight and how far products are from those in `f32`: the root of the mean square of the difference, as a share
/// of the products'.
fn describe(format: QuantizedFormat) {
    let shape = MatmulShape { rows: 1, in_features: 4096, out_features: 256 };
    let dense: Vec<f32> = values(1 << 20, 0.02);
    let blocks = quantize(format, &dense).expect("whole blocks can be quantised");
    let x: Vec<f32> = values(shape.in_features, 1.0);
    let [mut exact, mut found] = [vec![0.0; 256], vec![0.0; 256]];
    matmul(&x, MatrixRef::F32(&dense), &mut exact, shape);
    matmul(&x, MatrixRef::Quantized(QuantizedRef::new(format, &blocks)), &mut found, shape);
    let square = |number: f32| f64::from(number).powi(2);
    let difference: f64 = exact.iter().zip(&found).map(|(exact, found)| square(exact - found)).sum();
    let error = (difference / exact.iter().map(|&number| square(number)).sum::<f64>()).sqrt();
    println!("{format}: {} bits a weight, {:.2} % off products in f32", format.bits(), 100.0 * error);
}

fn quantized_rows(table: &mut Table) {
    for format in QuantizedFormat::ALL {
        let (in_features, out_features) = (4096, 14336);
        let rows = [1usize, 2, 4, 8, 16, 128, 512]
            .map(|rows| (rows, format!("matmul {format} {rows} x {in_features} -> {out_features}")));
        if !rows.iter().any(|(_, name)| table.wants(name)) {
            continue;
        }
        describe(format);
        let weight = blocks(format, in_features * out_features);
        for (rows, name) in rows {
            let shape = MatmulShape { rows, in_features, out_features };
            let x: Vec<f32> = values(rows * in_features, 1.0);
            let mut y = vec![0.0; rows * out_features];
            let bound = match rows {
                0..=8 => Bound::Memory(weight.len()),
                _ => Bound::Bf16(2 * rows * in_features * out_features),
            };
            let weight = MatrixRef::Quantized(QuantizedRef::new(format, &weight));
            table.add(&name, bound, || matmul(&x, weight, &mut y, shape));
        }
    }
}

/// A layer of Mixtral-8x7B, quantised.
fn quantized_expert_rows(table: &mut Table) {
    for format in QuantizedFormat::ALL {
        let (name, size) = (format.name(), 4096 * 14336);
        let matrix = |_| blocks(format, size);
        layer_rows(
            table,
            name,
            matrix,
            |blocks| MatrixRef::Quantized(QuantizedRef::new(format, blocks)),
            format.bytes(size),
            Bound::Bf16,
        );
    }
}

fn attention_rows(table: &mut Table) {
    let shape = AttentionShape { heads: 32, kv_heads: 8, head_dim: 128, scale: 0.088_388_35, window: None };
    for (queries, context) in [(512, 512), (2048, 2048), (1, 4096), (1, 512)] {
        let name = match queries {
            1 => format!("attention decode, context {context}"),
            _ => format!("attention prefill, {queries} tokens"),
        };
        if !table.wants(&name) {
            continue;
        }
        let width = shape.heads * shape.head_dim;
        let kv_length = context * shape.kv_heads * shape.head_dim;
        let query: Vec<f32> = values(queries * width, 1.0);
        // Several caches in turn, so that the last level does not hold one from call to call.
        let caches: Vec<(Vec<f32>, Vec<f32>)> = (0..if queries == 1 { 8 } else { 1 })
            .map(|_| (values(kv_length, 1.0), values(kv_length, 1.0)))
            .collect();
        let mut output = vec![0.0; queries * width];
        let bound = match queries {
            1 => Bound::Memory(2 * 4 * kv_length),
            // Two products over the lower triangle.
            _ => Bound::F32(2 * 2 * width * queries * (queries + 1) / 2),
        };
        let mut caches = caches.iter().cycle();
        table.add(&name, bound, || {
            let (keys, values) = caches.next().expect("a cycle never ends");
            let sequence = AttentionSequence { queries: 0..queries, keys, values, key_mask: None };
            attention(&query, &[sequence], &mut output, shape);
        });
    }
}

fn expert_rows<W: Weight>(table: &mut Table) {
    let size = 4096 * 14336;
    let matrix = |_| -> Vec<W> { values(size, 0.02) };
    layer_rows(table, W::NAME, matrix, W::matrix, size * size_of::<W>(), W::arithmetic);
}

/// A layer of Mixtral-8x7B: 8 experts, 2 a token. `matrix` makes the weights of one matrix, of so many bytes.
fn layer_rows<W: Send + Sync>(
    table: &mut Table,
    format: &str,
    matrix: impl Fn(usize) -> Vec<W>,
    as_matrix: impl Fn(&[W]) -> MatrixRef<'_>,
    matrix_bytes: usize,
    arithmetic: fn(usize) -> Bound,
) {
    const EXPERTS: usize = 8;
    let (hidden, intermediate, experts_per_token) = (4096, 14336, 2);
    let rows = [1usize, 2, 128, 512].map(|tokens| (tokens, format!("experts {format} {tokens} tokens")));
    if !rows.iter().any(|(_, name)| table.wants(name)) {
        return;
    }
    let matrices: Vec<[Vec<W>; 3]> = (0..EXPERTS).map(|_| [0, 1, 2].map(&matrix)).collect();
    let weights: Vec<ExpertWeights<'_>> = matrices
        .iter()
        .map(|[gate, up, down]| ExpertWeights {
            gate: as_matrix(gate),
            up: as_matrix(up),
            down: as_matrix(down),
        })
        .collect();
    for (tokens, name) in rows {
        let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token };
        let x: Vec<f32> = values(tokens * hidden, 1.0);
        let mut output = vec![0.0; tokens * hidden];
        let factors = vec![0.5; tokens * experts_per_token];
        let products = tokens * experts_per_token * 3 * hidden * intermediate;
        // Two different experts a token, another choice every call.
        let choose = |call: usize| -> Vec<u32> {
            let pairs = (0..tokens).map(|token| {
                let mixed = (call * tokens + token).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
                let first = mixed % EXPERTS;
                [first as u32, ((first + 1 + mixed / EXPERTS % (EXPERTS - 1)) % EXPERTS) as u32]
            });
            pairs.flatten().collect()
        };
        let visited = |indices: &[u32]| (0..EXPERTS as u32).filter(|expert| indices.contains(expert)).count();
        let calls = 0..64;
        let average = calls.clone().map(|call| visited(&choose(call))).sum::<usize>() as f64 / 64.0;
        let bytes = (average * (3 * matrix_bytes) as f64) as usize;
        let bound = if tokens <= 8 { Bound::Memory(bytes) } else { arithmetic(2 * products) };
        let mut calls = calls.cycle();
        table.add(&name, bound, || {
            let indices = choose(calls.next().expect("a cycle never ends"));
            let routing = ExpertRouting { experts: &indices, weights: &factors };
            experts(&x, routing, &weights, &mut output, shape);
        });
    }
}
