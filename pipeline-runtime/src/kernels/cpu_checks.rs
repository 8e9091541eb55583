//! The processor's kernels with every instruction set that it has, beside their scalar twins, and how fast they are.

use half::bf16;
use pipeline_schema::DType;

use super::activation::{silu_multiply, silu_multiply_scalar, silu_multiply_with, silu_scalar, silu_with};
use super::attention::{AttentionSequence, AttentionShape, attention, attention_scalar, attention_with};
use super::check::{Check, Work, time_here};
use super::experts::{
    DROPPED, ExpertRouting, ExpertWeights, ExpertsShape, experts, experts_scalar, experts_with,
};
use super::matmul::{FEW_ROWS, MatmulEpilogue, MatmulShape, matmul, matmul_scalar, matmul_with};
use super::norm::{
    RmsNormShape, add_rms_norm_scalar, add_rms_norm_with, rms_norm, rms_norm_scalar, rms_norm_with,
};
use super::quantized::{QuantizedFormat, QuantizedRef, quantize, quantized_rows};
use super::rotary::{RotaryShape, RotaryTables, rotary, rotary_scalar, rotary_with};
use super::router::{TopKShape, softmax_top_k, softmax_top_k_scalar, softmax_top_k_with};
use super::softmax::{softmax, softmax_scalar, softmax_with};
use super::{InstructionSet, MatrixRef};
use crate::gpu::testing::random;

/// What sums in `f32` in another order explain.
const EXACT: f64 = 2e-5;

/// `f32` that no cache holds: 128 MiB.
const BEYOND_CACHES: usize = 1 << 25;

/// The formats of dense weights.
const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

fn scaled(length: usize, seed: u64, scale: f32) -> Vec<f32> {
    random(length, seed).into_iter().map(|value| scale * value).collect()
}

/// Random weights in both formats.
struct Weights(Vec<f32>, Vec<bf16>);

impl Weights {
    fn new(length: usize, in_features: usize, seed: u64) -> Weights {
        let values = scaled(length, seed, 2.0 / (in_features as f32).sqrt());
        let halves: Vec<bf16> = values.iter().map(|&value| bf16::from_f32(value)).collect();
        Weights(values, halves)
    }

    fn of(&self, dtype: DType) -> MatrixRef<'_> {
        match dtype {
            DType::F32 => MatrixRef::F32(&self.0),
            _ => MatrixRef::Bf16(&self.1),
        }
    }
}

/// What rounding explains where so many rows meet weights of a format: products of pairs round activations too.
fn bound(isa: InstructionSet, dtype: DType) -> f64 {
    if dtype == DType::BF16 && isa == InstructionSet::Avx512Bf16 { 1e-2 } else { EXACT }
}

pub(crate) fn check_activation() -> Vec<Check> {
    let mut checks = Vec::new();
    for length in [1, 67, 5000] {
        let (x, up) = (scaled(length, 1, 20.0), random(length, 2));
        let (mut silu, mut product) = (x.clone(), x.clone());
        silu_scalar(&mut silu);
        silu_multiply_scalar(&mut product, &up);
        for isa in InstructionSet::available() {
            let case = format!("{length}, {}", isa.name());
            let mut y = x.clone();
            silu_with(isa, &mut y);
            checks.push(Check::compare("silu", &*case, &y, &silu, EXACT));
            y.copy_from_slice(&x);
            silu_multiply_with(isa, &mut y, &up);
            checks.push(Check::compare("silu_multiply", case, &y, &product, EXACT));
        }
    }
    checks
}

pub(crate) fn activation_speeds() -> Vec<Check> {
    let (mut gate, up) = (random(BEYOND_CACHES / 2, 1), random(BEYOND_CACHES / 2, 2));
    let mut expected = gate[..1000].to_vec();
    silu_multiply_scalar(&mut expected, &up[..1000]);
    let mut first = gate[..1000].to_vec();
    silu_multiply(&mut first, &up[..1000]);
    let microseconds = time_here(|| silu_multiply(&mut gate, &up));
    let check = Check::compare("silu_multiply", format!("{}", gate.len()), &first, &expected, EXACT);
    vec![check.timed(microseconds, Work::Bytes(12.0 * gate.len() as f64))]
}

pub(crate) fn check_attention() -> Vec<Check> {
    let mut checks = Vec::new();
    for (heads, kv_heads, head_dim, window, context, queries) in [
        (1, 1, 4, None, 1, 1),
        (6, 2, 33, None, 70, 1),
        (6, 2, 33, Some(9), 70, 70),
        (8, 2, 64, None, 300, 120),
        (4, 4, 128, Some(100), 257, 257),
    ] {
        let shape = attention_shape(heads, kv_heads, head_dim, window);
        let query = scaled(queries * heads * head_dim, 1, 3.0);
        let (keys, values) =
            (random(context * kv_heads * head_dim, 2), random(context * kv_heads * head_dim, 3));
        let mask: Vec<bool> = random(context, 4).iter().map(|&value| value > -0.6).collect();
        for key_mask in [None, Some(&*mask)] {
            let sequence = AttentionSequence { queries: 0..queries, keys: &keys, values: &values, key_mask };
            let mut expected = vec![0.0; query.len()];
            attention_scalar(&query, std::slice::from_ref(&sequence), &mut expected, shape);
            for isa in InstructionSet::available() {
                let mut output = vec![f32::NAN; query.len()];
                attention_with(isa, &query, std::slice::from_ref(&sequence), &mut output, shape);
                let case = format!(
                    "{queries} of {context}, {heads}/{kv_heads} heads of {head_dim}, window {window:?}, masked {}, {}",
                    key_mask.is_some(),
                    isa.name()
                );
                checks.push(Check::compare("attention", case, &output, &expected, EXACT));
            }
        }
    }
    checks
}

pub(crate) fn attention_speeds() -> Vec<Check> {
    [(1, 4096), (512, 512)].map(|(queries, context)| attention_speed(queries, context)).into()
}

fn attention_shape(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt(), window }
}

/// Keys and values whose last so many tokens ask.
fn whole([keys, values]: &[Vec<f32>; 2], queries: usize) -> AttentionSequence<'_> {
    AttentionSequence { queries: 0..queries, keys, values, key_mask: None }
}

fn attention_speed(queries: usize, context: usize) -> Check {
    let shape = attention_shape(32, 8, 128, None);
    let (width, kv_width) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let query = random(queries * width, 1);
    // Several caches in turn, so that the processor's does not hold one from run to run.
    let caches: Vec<[Vec<f32>; 2]> = (0..if queries == 1 { 6 } else { 1 })
        .map(|cache| [1, 2].map(|which| random(context * kv_width, 10 * cache + which)))
        .collect();
    let mut output = vec![0.0; query.len()];
    attention(&query, &[whole(&caches[0], queries)], &mut output, shape);
    // The twin of the last queries only: it is slow.
    let last = queries.min(8);
    let mut expected = vec![0.0; last * width];
    let twin = whole(&caches[0], last);
    attention_scalar(&query[(queries - last) * width..], &[twin], &mut expected, shape);
    let (case, found) = (format!("{queries} of {context}"), &output[(queries - last) * width..]);
    let check = Check::compare("attention", case, found, &expected, EXACT);
    let mut turns = caches.iter().cycle();
    let microseconds = time_here(|| {
        let cache = turns.next().expect("a cycle never ends");
        attention(&query, &[whole(cache, queries)], &mut output, shape);
    });
    check.timed(
        microseconds,
        match queries {
            1 => Work::Bytes((2 * 4 * context * kv_width) as f64),
            // Two products over the lower triangle.
            _ => Work::Operations((2 * 2 * width * queries * (queries + 1) / 2) as f64, DType::F32),
        },
    )
}

pub(crate) fn check_experts() -> Vec<Check> {
    let mut checks = Vec::new();
    for dtype in DTYPES {
        for (tokens, hidden, intermediate, experts_per_token, count) in
            [(1, 67, 131, 3, 5), (7, 33, 50, 2, 4), (41, 130, 197, 2, 5)]
        {
            let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token };
            let layer = ExpertLayer::new(shape, count);
            let mut expected = vec![0.0; tokens * hidden];
            experts_scalar(&layer.x, layer.routing(), &layer.weights(dtype), &mut expected, shape);
            for isa in InstructionSet::available() {
                let mut output = vec![f32::NAN; tokens * hidden];
                experts_with(isa, &layer.x, layer.routing(), &layer.weights(dtype), &mut output, shape);
                let case = format!("{dtype} {tokens}x{hidden}x{intermediate}, {}", isa.name());
                checks.push(Check::compare("experts", case, &output, &expected, bound(isa, dtype)));
            }
        }
    }
    checks
}

pub(crate) fn experts_speeds() -> Vec<Check> {
    DTYPES.iter().flat_map(|&dtype| [1, 128].map(|tokens| experts_speed(tokens, dtype))).collect()
}

/// Experts, tokens, and which of them go where.
struct ExpertLayer {
    matrices: Vec<[Weights; 3]>,
    x: Vec<f32>,
    chosen: Vec<u32>,
    factors: Vec<f32>,
}

impl ExpertLayer {
    fn new(shape: ExpertsShape, count: usize) -> ExpertLayer {
        let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
        let size = hidden * intermediate;
        let expert = |index: usize| {
            let seed = 10 * index as u64;
            [(hidden, 1), (hidden, 2), (intermediate, 3)]
                .map(|(in_features, matrix)| Weights::new(size, in_features, seed + matrix))
        };
        // Every token visits different experts; some slots are dropped where there are many.
        let slots = tokens * experts_per_token;
        let chosen = (0..slots).map(|slot| match slot % 11 {
            5 => DROPPED,
            _ => ((slot % experts_per_token + slot / experts_per_token * 3) % count) as u32,
        });
        ExpertLayer {
            matrices: (0..count).map(expert).collect(),
            x: random(tokens * hidden, 7),
            chosen: chosen.collect(),
            factors: random(slots, 8),
        }
    }

    fn routing(&self) -> ExpertRouting<'_> {
        ExpertRouting { experts: &self.chosen, weights: &self.factors }
    }

    fn weights(&self, dtype: DType) -> Vec<ExpertWeights<'_>> {
        let weights = self.matrices.iter().map(|matrices| {
            let [gate, up, down] = matrices.each_ref().map(|weights| weights.of(dtype));
            ExpertWeights { gate, up, down }
        });
        weights.collect()
    }
}

/// Four experts of a quarter of Mixtral-8x7B's size, of which a token visits two.
fn experts_speed(tokens: usize, dtype: DType) -> Check {
    let shape = ExpertsShape { tokens, hidden: 2048, intermediate: 7168, experts_per_token: 2 };
    let mut layer = ExpertLayer::new(shape, 4);
    layer.chosen = (0..2 * tokens).map(|slot| ((slot % 2 + slot / 2 * 3) % 4) as u32).collect();
    let weights = layer.weights(dtype);
    let mut output = vec![0.0; layer.x.len()];
    experts(&layer.x, layer.routing(), &weights, &mut output, shape);
    // The twin of the first tokens only: it is slow.
    let first = ExpertsShape { tokens: tokens.min(2), ..shape };
    let mut expected = vec![0.0; first.tokens * first.hidden];
    let routing = ExpertRouting {
        experts: &layer.chosen[..2 * first.tokens],
        weights: &layer.factors[..2 * first.tokens],
    };
    experts_scalar(&layer.x[..expected.len()], routing, &weights, &mut expected, first);
    let case = format!("{dtype} {tokens}x{}x{}", shape.hidden, shape.intermediate);
    let bound = bound(InstructionSet::detected(), dtype);
    let check = Check::compare("experts", case, &output[..expected.len()], &expected, bound);
    // Other experts every turn, so that no cache holds them.
    let turns = [layer.chosen.clone(), layer.chosen.iter().map(|expert| (expert + 2) % 4).collect()];
    let mut turns = turns.iter().cycle();
    let microseconds = time_here(|| {
        let chosen = turns.next().expect("a cycle never ends");
        let routing = ExpertRouting { experts: chosen, weights: &layer.factors };
        experts(&layer.x, routing, &weights, &mut output, shape);
    });
    let products = 2 * 3 * shape.hidden * shape.intermediate;
    check.timed(
        microseconds,
        match tokens {
            1 => Work::Bytes((products * dtype.size()) as f64),
            _ => Work::Operations((2 * tokens * products) as f64, dtype),
        },
    )
}

pub(crate) fn check_matmul() -> Vec<Check> {
    let mut checks = Vec::new();
    for dtype in DTYPES {
        for (rows, in_features, out_features) in [(1, 67, 5), (4, 130, 33), (9, 48, 100), (40, 257, 70)] {
            let shape = MatmulShape { rows, in_features, out_features };
            let weight = Weights::new(in_features * out_features, in_features, 1);
            let x = random(rows * in_features, 2);
            let mut expected = vec![0.0; rows * out_features];
            matmul_scalar(&x, weight.of(dtype), MatmulEpilogue::default(), &mut expected, shape);
            for isa in InstructionSet::available() {
                let mut y = vec![f32::NAN; expected.len()];
                matmul_with(isa, &x, weight.of(dtype), MatmulEpilogue::default(), &mut y, shape);
                let case = format!("{dtype} {rows}x{in_features}->{out_features}, {}", isa.name());
                checks.push(Check::compare("matmul", case, &y, &expected, bound(isa, dtype)));
            }
        }
    }
    checks
}

pub(crate) fn matmul_speeds() -> Vec<Check> {
    DTYPES.iter().flat_map(|&dtype| [1, 128].map(|rows| matmul_speed(rows, dtype))).collect()
}

fn matmul_speed(rows: usize, dtype: DType) -> Check {
    let shape = MatmulShape { rows, in_features: 4096, out_features: 14_336 };
    let weight = Weights::new(shape.in_features * shape.out_features, shape.in_features, 1);
    let x = random(rows * shape.in_features, 2);
    let mut y = vec![0.0; rows * shape.out_features];
    matmul(&x, weight.of(dtype), &mut y, shape);
    // The twin of the first row only: it is slow.
    let first = MatmulShape { rows: 1, ..shape };
    let mut expected = vec![0.0; shape.out_features];
    matmul_scalar(&x[..shape.in_features], weight.of(dtype), MatmulEpilogue::default(), &mut expected, first);
    let case = format!("{dtype} {rows}x{}->{}", shape.in_features, shape.out_features);
    let bound = bound(InstructionSet::detected(), dtype);
    let check = Check::compare("matmul", case, &y[..shape.out_features], &expected, bound);
    let microseconds = time_here(|| matmul(&x, weight.of(dtype), &mut y, shape));
    let products = shape.in_features * shape.out_features;
    check.timed(
        microseconds,
        match rows {
            1 => Work::Bytes((products * dtype.size()) as f64),
            _ => Work::Operations((2 * rows * products) as f64, dtype),
        },
    )
}

/// Quantised weights and the twin of a product with them: on the same weights, with x as the kernel takes it.
struct QuantizedWeights(QuantizedFormat, Vec<u8>);

impl QuantizedWeights {
    fn new(format: QuantizedFormat, length: usize, in_features: usize, seed: u64) -> QuantizedWeights {
        let values = scaled(length, seed, 2.0 / (in_features as f32).sqrt());
        QuantizedWeights(format, quantize(format, &values).expect("whole blocks can be quantised"))
    }

    fn matrix(&self) -> MatrixRef<'_> {
        MatrixRef::Quantized(QuantizedRef::new(self.0, &self.1))
    }
}

/// What rounding explains where so many rows meet quantised weights: many round weights and activations to `bf16`.
fn quantized_bound(isa: InstructionSet, rows: usize) -> f64 {
    if rows > FEW_ROWS && isa == InstructionSet::Avx512Bf16 { 1e-2 } else { EXACT }
}

pub(crate) fn check_quantized_matmul() -> Vec<Check> {
    let mut checks = Vec::new();
    for format in QuantizedFormat::ALL {
        for (rows, blocks, out_features) in [(1, 3, 5), (3, 1, 70), (8, 2, 33), (40, 3, 100)] {
            let shape = MatmulShape { rows, in_features: blocks * format.block(), out_features };
            let weight =
                QuantizedWeights::new(format, shape.in_features * out_features, shape.in_features, 1);
            let x = random(rows * shape.in_features, 2);
            let mut expected = vec![0.0; rows * out_features];
            let x_taken = if rows <= FEW_ROWS { quantized_rows(&x) } else { x.clone() };
            matmul_scalar(&x_taken, weight.matrix(), MatmulEpilogue::default(), &mut expected, shape);
            for isa in InstructionSet::available() {
                let mut y = vec![f32::NAN; expected.len()];
                matmul_with(isa, &x, weight.matrix(), MatmulEpilogue::default(), &mut y, shape);
                let case = format!("{format} {rows}x{}->{out_features}, {}", shape.in_features, isa.name());
                checks.push(Check::compare("matmul", case, &y, &expected, quantized_bound(isa, rows)));
            }
        }
    }
    checks
}

pub(crate) fn quantized_matmul_speeds() -> Vec<Check> {
    let speeds = |format| [1, 128].map(|rows| quantized_matmul_speed(format, rows));
    QuantizedFormat::ALL.into_iter().flat_map(speeds).collect()
}

fn quantized_matmul_speed(format: QuantizedFormat, rows: usize) -> Check {
    let shape = MatmulShape { rows, in_features: 4096, out_features: 14_336 };
    let products = shape.in_features * shape.out_features;
    let weight = QuantizedWeights::new(format, products, shape.in_features, 1);
    let x = random(rows * shape.in_features, 2);
    let mut y = vec![0.0; rows * shape.out_features];
    matmul(&x, weight.matrix(), &mut y, shape);
    // The twin of some outputs of the first row only: it is slow.
    let first = MatmulShape { rows: 1, out_features: 500, ..shape };
    let mut expected = vec![0.0; first.out_features];
    let x_taken = if rows <= FEW_ROWS { quantized_rows(&x) } else { x.clone() };
    let part = QuantizedRef::new(format, &weight.1[..format.bytes(first.out_features * first.in_features)]);
    let (x_taken, part) = (&x_taken[..shape.in_features], MatrixRef::Quantized(part));
    matmul_scalar(x_taken, part, MatmulEpilogue::default(), &mut expected, first);
    let case = format!("{format} {rows}x{}->{}", shape.in_features, shape.out_features);
    let bound = quantized_bound(InstructionSet::detected(), rows);
    let check = Check::compare("matmul", case, &y[..first.out_features], &expected, bound);
    let microseconds = time_here(|| matmul(&x, weight.matrix(), &mut y, shape));
    check.timed(
        microseconds,
        match rows {
            1 => Work::Bytes(format.bytes(products) as f64),
            _ => Work::Operations((2 * rows * products) as f64, DType::BF16),
        },
    )
}

pub(crate) fn check_quantized_experts() -> Vec<Check> {
    let mut checks = Vec::new();
    for format in QuantizedFormat::ALL {
        for (tokens, hidden, intermediate, experts_per_token, count) in
            [(1, 256, 512, 2, 4), (7, 512, 768, 2, 3), (41, 256, 256, 2, 2)]
        {
            let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token };
            let layer = ExpertLayer::new(shape, count);
            let matrices: Vec<[QuantizedWeights; 3]> = (0..count as u64)
                .map(|expert| {
                    [(hidden, 1), (hidden, 2), (intermediate, 3)].map(|(in_features, matrix)| {
                        QuantizedWeights::new(
                            format,
                            hidden * intermediate,
                            in_features,
                            10 * expert + matrix,
                        )
                    })
                })
                .collect();
            let weights: Vec<ExpertWeights<'_>> = matrices
                .iter()
                .map(|[gate, up, down]| ExpertWeights {
                    gate: gate.matrix(),
                    up: up.matrix(),
                    down: down.matrix(),
                })
                .collect();
            let mut expected = vec![0.0; tokens * hidden];
            experts_scalar(&layer.x, layer.routing(), &weights, &mut expected, shape);
            for isa in InstructionSet::available() {
                let mut output = vec![f32::NAN; tokens * hidden];
                experts_with(isa, &layer.x, layer.routing(), &weights, &mut output, shape);
                let case = format!("{format} {tokens}x{hidden}x{intermediate}, {}", isa.name());
                // The twin rounds no activations; the products alone are compared with one that does.
                checks.push(Check::compare("experts", case, &output, &expected, 2e-2));
            }
        }
    }
    checks
}

pub(crate) fn check_norm() -> Vec<Check> {
    let mut checks = Vec::new();
    for (rows, width) in [(1, 1), (3, 67), (2, 4096)] {
        let shape = RmsNormShape { rows, width, epsilon: 1e-5 };
        let (x, residual, weight) = (random(rows * width, 1), random(rows * width, 2), random(width, 3));
        let (mut normed, mut sum, mut sum_normed) =
            (vec![0.0; x.len()], residual.clone(), vec![0.0; x.len()]);
        rms_norm_scalar(&x, &weight, &mut normed, shape);
        add_rms_norm_scalar(&mut sum, &x, &weight, &mut sum_normed, shape);
        for isa in InstructionSet::available() {
            let case = format!("{rows}x{width}, {}", isa.name());
            let mut y = vec![f32::NAN; x.len()];
            rms_norm_with(isa, &x, &weight, &mut y, shape);
            checks.push(Check::compare("rms_norm", &*case, &y, &normed, EXACT));
            let mut hidden = residual.clone();
            add_rms_norm_with(isa, &mut hidden, &x, &weight, &mut y, shape);
            checks.push(Check::compare("add_rms_norm", &*case, &y, &sum_normed, EXACT));
            checks.push(Check::compare("add_rms_norm (residual)", case, &hidden, &sum, EXACT));
        }
    }
    checks
}

pub(crate) fn norm_speeds() -> Vec<Check> {
    let shape = RmsNormShape { rows: BEYOND_CACHES / 2 / 4096, width: 4096, epsilon: 1e-5 };
    let (x, weight) = (random(shape.rows * shape.width, 1), random(shape.width, 2));
    let (mut y, mut expected) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    rms_norm(&x, &weight, &mut y, shape);
    rms_norm_scalar(&x, &weight, &mut expected, shape);
    let check = Check::compare("rms_norm", format!("{}x{}", shape.rows, shape.width), &y, &expected, EXACT);
    let microseconds = time_here(|| rms_norm(&x, &weight, &mut y, shape));
    vec![check.timed(microseconds, Work::Bytes(8.0 * x.len() as f64))]
}

pub(crate) fn check_rotary() -> Vec<Check> {
    [(5, 3, 6, 6), (5, 4, 80, 40), (5, 2, 5, 0)]
        .into_iter()
        .flat_map(|(tokens, heads, head_dim, rotary_dim)| {
            rotary_checks(tokens, RotaryShape { heads, head_dim, rotary_dim }, false)
        })
        .collect()
}

pub(crate) fn rotary_speeds() -> Vec<Check> {
    rotary_checks(2048, RotaryShape { heads: 32, head_dim: 128, rotary_dim: 128 }, true)
}

/// Every instruction set, the one that is used timed where it is asked for.
fn rotary_checks(tokens: usize, shape: RotaryShape, timed: bool) -> Vec<Check> {
    let RotaryShape { heads, head_dim, rotary_dim } = shape;
    let positions: Vec<usize> = (0..tokens).map(|token| token * 7 % 40).collect();
    let half = rotary_dim / 2;
    let angles = (0..40 * half)
        .map(|index| (index / half) as f64 * 10_000f64.powf(-((index % half) as f64) / half as f64));
    let (cos, sin): (Vec<f32>, Vec<f32>) =
        angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
    let tables = RotaryTables { cos: &cos, sin: &sin };
    let x = random(tokens * heads * head_dim, 1);
    let mut expected = x.clone();
    rotary_scalar(&mut expected, &positions, tables, shape);
    let check = |isa: InstructionSet| {
        let mut y = x.clone();
        rotary_with(isa, &mut y, &positions, tables, shape);
        let case = format!("{tokens}x{heads}x{head_dim}, {rotary_dim} rotated, {}", isa.name());
        let check = Check::compare("rotary", case, &y, &expected, EXACT);
        if !timed || isa != InstructionSet::detected() {
            return check;
        }
        let microseconds = time_here(|| rotary(&mut y, &positions, tables, shape));
        check.timed(microseconds, Work::Bytes(8.0 * x.len() as f64))
    };
    InstructionSet::available().map(check).collect()
}

pub(crate) fn check_router() -> Vec<Check> {
    let mut checks = Vec::new();
    for (tokens, experts, k, normalize) in [(1, 8, 2, true), (5, 3, 3, false), (70, 128, 8, true)] {
        let shape = TopKShape { experts, k, normalize };
        let mut logits = scaled(tokens * experts, 1, 4.0);
        // Of equal logits the lower index is chosen.
        logits[experts - 1] = logits[0];
        let expected = softmax_top_k_scalar(&logits, shape);
        let numbers = |indices: &[u32]| indices.iter().map(|&index| index as f32).collect::<Vec<_>>();
        for isa in InstructionSet::available() {
            let found = softmax_top_k_with(isa, &logits, shape);
            let case = format!("{tokens} tokens, {k} of {experts}, {}", isa.name());
            let (chosen, twin) = (numbers(&found.experts), numbers(&expected.experts));
            checks.push(Check::compare("softmax_top_k (choice)", &*case, &chosen, &twin, 0.0));
            checks.push(Check::compare("softmax_top_k", case, &found.weights, &expected.weights, EXACT));
        }
    }
    checks
}

pub(crate) fn router_speeds() -> Vec<Check> {
    let shape = TopKShape { experts: 8, k: 2, normalize: true };
    let logits = random(8 * (1 << 18), 1);
    let expected = softmax_top_k_scalar(&logits, shape);
    let found = softmax_top_k(&logits, shape);
    let check = Check::compare(
        "softmax_top_k",
        format!("{} tokens, 2 of 8", 1 << 18),
        &found.weights,
        &expected.weights,
        EXACT,
    );
    let microseconds = time_here(|| drop(softmax_top_k(&logits, shape)));
    vec![check.timed(microseconds, Work::Bytes(4.0 * logits.len() as f64))]
}

pub(crate) fn check_softmax() -> Vec<Check> {
    [1, 7, 1000].into_iter().flat_map(|width| softmax_checks(5, width, false)).collect()
}

pub(crate) fn softmax_speeds() -> Vec<Check> {
    softmax_checks(BEYOND_CACHES / 2 / 32_000, 32_000, true)
}

/// Every instruction set, the one that is used timed where it is asked for.
fn softmax_checks(rows: usize, width: usize, timed: bool) -> Vec<Check> {
    let x = scaled(rows * width, 1, 8.0);
    let mut expected = x.clone();
    let sums = softmax_scalar(&mut expected, width);
    let mut checks = Vec::new();
    for isa in InstructionSet::available() {
        let mut y = x.clone();
        let found = softmax_with(isa, &mut y, width);
        let case = format!("{rows}x{width}, {}", isa.name());
        checks.push(Check::compare("softmax (log_sum_exp)", &*case, &found, &sums, EXACT));
        let check = Check::compare("softmax", case, &y, &expected, EXACT);
        checks.push(if timed && isa == InstructionSet::detected() {
            let microseconds = time_here(|| drop(softmax(&mut y, width)));
            check.timed(microseconds, Work::Bytes(8.0 * x.len() as f64))
        } else {
            check
        });
    }
    checks
}
