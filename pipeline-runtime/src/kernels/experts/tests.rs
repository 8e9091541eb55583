use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::kernels::testing::{assert_close, random, to_bf16, with_threads};

/// Random weights of one expert, in both dtypes.
struct Expert {
    values: [Vec<f32>; 3],
    halves: [Vec<bf16>; 3],
}

impl Expert {
    fn new(shape: ExpertsShape, seed: u64) -> Expert {
        let scale = 2.0 / (shape.hidden as f32).sqrt();
        let values = [0, 1, 2].map(|matrix| {
            let values = random(shape.hidden * shape.intermediate, 10 * seed + matrix);
            values.into_iter().map(|value| scale * value).collect::<Vec<_>>()
        });
        let halves = [0, 1, 2].map(|matrix| to_bf16(&values[matrix]));
        Expert { values, halves }
    }

    fn weights(&self, bf16: bool) -> ExpertWeights<'_> {
        let [gate, up, down] = [0, 1, 2].map(|matrix| match bf16 {
            true => MatrixRef::Bf16(&self.halves[matrix]),
            false => MatrixRef::F32(&self.values[matrix]),
        });
        ExpertWeights { gate, up, down }
    }
}

/// Indices of `count` experts, about one in eight dropped; the last expert is never visited.
fn routing(shape: ExpertsShape, count: u32) -> (Vec<u32>, Vec<f32>) {
    let mut generator = ChaCha8Rng::seed_from_u64(5);
    let slots = shape.tokens * shape.experts_per_token;
    let experts =
        (0..slots)
            .map(|_| {
                if generator.random_range(0..8) == 0 { DROPPED } else { generator.random_range(0..count - 1) }
            })
            .collect();
    (experts, random(slots, 6))
}

fn check(shape: ExpertsShape, count: u32, bf16: bool) {
    let experts: Vec<Expert> = (0..count).map(|index| Expert::new(shape, u64::from(index))).collect();
    let weights: Vec<ExpertWeights<'_>> = experts.iter().map(|expert| expert.weights(bf16)).collect();
    let (indices, factors) = routing(shape, count);
    let routing = ExpertRouting { experts: &indices, weights: &factors };
    let x = random(shape.tokens * shape.hidden, 7);
    let mut expected = vec![0.0; x.len()];
    experts_scalar(&x, routing, &weights, &mut expected, shape);
    for isa in InstructionSet::available() {
        let mut output = vec![7.0; x.len()];
        experts_with(isa, &x, routing, &weights, &mut output, shape);
        let rounded = bf16 && isa == InstructionSet::Avx512Bf16;
        let tolerance = if rounded { 1e-2 } else { 2e-5 };
        assert_close(
            &output,
            &expected,
            tolerance,
            &format!("{isa:?} {shape:?} {count} experts, bf16 {bf16}"),
        );
    }
}

#[test]
fn layers_agree_with_the_scalar_twin() {
    for (tokens, hidden, intermediate, experts_per_token, count) in [
        (1, 16, 32, 2, 4),
        (1, 67, 131, 3, 5),
        (2, 48, 100, 1, 3),
        (7, 33, 50, 2, 4),
        (30, 64, 96, 2, 3),
        (41, 130, 197, 2, 5),
        (100, 19, 5, 3, 4),
    ] {
        let shape = ExpertsShape { tokens, hidden, intermediate, experts_per_token };
        check(shape, count, false);
        check(shape, count, true);
    }
}

#[test]
fn dtypes_may_differ_between_experts() {
    let shape = ExpertsShape { tokens: 40, hidden: 40, intermediate: 50, experts_per_token: 1 };
    let experts = [Expert::new(shape, 0), Expert::new(shape, 1)];
    let mut weights = [experts[0].weights(false), experts[1].weights(true)];
    weights[0].down = experts[0].weights(true).down;
    let indices: Vec<u32> = (0..40).map(|token| u32::from(token % 4 != 0)).collect();
    let factors = random(40, 3);
    let routing = ExpertRouting { experts: &indices, weights: &factors };
    let x = random(40 * 40, 4);
    let (mut output, mut expected) = (vec![0.0; 1600], vec![0.0; 1600]);
    experts_scalar(&x, routing, &weights, &mut expected, shape);
    for isa in InstructionSet::available() {
        experts_with(isa, &x, routing, &weights, &mut output, shape);
        assert_close(&output, &expected, 1e-2, &format!("{isa:?}"));
    }
}

#[test]
fn tokens_are_taken_in_parts() {
    let shape = ExpertsShape { tokens: 50, hidden: 40, intermediate: 50, experts_per_token: 2 };
    let experts: Vec<Expert> = (0..3).map(|index| Expert::new(shape, index)).collect();
    let weights: Vec<ExpertWeights<'_>> = experts.iter().map(|expert| expert.weights(false)).collect();
    let (indices, factors) = routing(shape, 3);
    let routing = ExpertRouting { experts: &indices, weights: &factors };
    let x = random(50 * 40, 7);
    let mut expected = vec![0.0; x.len()];
    experts_scalar(&x, routing, &weights, &mut expected, shape);
    for tokens_at_a_time in [1, 20, 50] {
        let mut output = vec![7.0; x.len()];
        in_parts(InstructionSet::detected(), &x, routing, &weights, &mut output, shape, tokens_at_a_time);
        assert_close(&output, &expected, 2e-5, &format!("{tokens_at_a_time}"));
    }
}

#[test]
fn a_token_whose_slots_are_dropped_is_zero() {
    let shape = ExpertsShape { tokens: 2, hidden: 20, intermediate: 30, experts_per_token: 2 };
    let expert = Expert::new(shape, 0);
    let routing = ExpertRouting { experts: &[DROPPED, DROPPED, 0, DROPPED], weights: &[0.5; 4] };
    let mut output = vec![7.0; 40];
    experts(&random(40, 1), routing, &[expert.weights(false)], &mut output, shape);
    assert!(output[..20].iter().all(|&value| value == 0.0));
    assert!(output[20..].iter().any(|&value| value != 0.0));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for tokens in [1, 50] {
        let shape = ExpertsShape { tokens, hidden: 700, intermediate: 1001, experts_per_token: 2 };
        assert!(2 * tokens * 700 * 1001 > crate::kernels::parallel::PRODUCTS_WORTH_A_FORK);
        let experts: Vec<Expert> = (0..4).map(|index| Expert::new(shape, index)).collect();
        let (indices, factors) = routing(shape, 4);
        let x = random(tokens * 700, 7);
        for bf16 in [false, true] {
            let weights: Vec<ExpertWeights<'_>> = experts.iter().map(|expert| expert.weights(bf16)).collect();
            let routing = ExpertRouting { experts: &indices, weights: &factors };
            let [one, two] = [1, 2].map(|threads| {
                let mut output = vec![0.0; x.len()];
                with_threads(threads, || super::experts(&x, routing, &weights, &mut output, shape));
                output
            });
            assert!(one == two, "{shape:?} bf16 {bf16}");
        }
    }
}

#[test]
#[should_panic(expected = "an index is not below 1")]
fn an_unknown_expert_is_refused() {
    let shape = ExpertsShape { tokens: 1, hidden: 4, intermediate: 4, experts_per_token: 1 };
    let expert = Expert::new(shape, 0);
    let routing = ExpertRouting { experts: &[1], weights: &[1.0] };
    experts(&[0.0; 4], routing, &[expert.weights(false)], &mut [0.0; 4], shape);
}
