use super::*;
use crate::kernels::testing::{assert_close, random, with_threads};

#[test]
fn routing_agrees_with_the_scalar_twin() {
    for (experts, k) in [(1, 1), (2, 1), (8, 2), (8, 8), (17, 3), (60, 4), (128, 8)] {
        for normalize in [false, true] {
            let shape = TopKShape { experts, k, normalize };
            let logits: Vec<f32> = random(7 * experts, 1).into_iter().map(|x| 5.0 * x).collect();
            let expected = softmax_top_k_scalar(&logits, shape);
            for isa in InstructionSet::available() {
                let context = format!("{isa:?} {shape:?}");
                let found = softmax_top_k_with(isa, &logits, shape);
                assert_eq!(found.experts, expected.experts, "{context}");
                assert_close(&found.weights, &expected.weights, 2e-6, &context);
                assert_close(&found.entropy, &expected.entropy, 2e-6, &context);
                assert_close(&found.log_sum_exp, &expected.log_sum_exp, 1e-6, &context);
            }
        }
    }
}

#[test]
fn equal_logits_choose_the_lower_index() {
    let shape = TopKShape { experts: 6, k: 3, normalize: true };
    let found = softmax_top_k(&[1.0, 3.0, 1.0, 3.0, 1.0, 0.0], shape);
    assert_eq!(found.experts, [1, 3, 0]);
    let found = softmax_top_k(&[0.0, -0.0, 0.0, 0.0, 0.0, 0.0], shape);
    assert_eq!(found.experts, [0, 1, 2]);
    assert_close(&found.weights, &[1.0 / 3.0; 3], 1e-6, "uniform");
    assert_close(&found.entropy, &[6f32.ln()], 1e-6, "uniform");
}

#[test]
fn nan_is_chosen_last() {
    let shape = TopKShape { experts: 4, k: 3, normalize: true };
    let found = softmax_top_k(&[f32::NAN, 2.0, f32::NAN, 2.0], shape);
    assert_eq!(found.experts, [1, 3, 0]);
    assert_eq!(found.weights, [0.5, 0.5, 0.0]);
    let found = softmax_top_k(&[f32::NAN; 4], shape);
    assert_eq!(found.experts, [0, 1, 2]);
    assert_eq!(found.weights, [0.0; 3]);
    assert_eq!((found.entropy[0], found.log_sum_exp[0]), (0.0, f32::NEG_INFINITY));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = TopKShape { experts: 64, k: 6, normalize: true };
    let logits = random(2100 * 64, 1);
    assert!(logits.len() >= ELEMENTS_WORTH_A_FORK);
    let [one, two] = [1, 2].map(|threads| with_threads(threads, || softmax_top_k(&logits, shape)));
    assert!(one == two);
}

#[test]
#[should_panic(expected = "softmax_top_k: k")]
fn more_choices_than_experts_are_refused() {
    softmax_top_k(&[0.0; 4], TopKShape { experts: 4, k: 5, normalize: false });
}
