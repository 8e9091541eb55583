//! The kernels agree with candle-nn's operations: an implementation by other hands.

use candle_core::{DType, Device, Tensor};
use pipeline_runtime::kernels::matmul::{MatmulShape, matmul};
use pipeline_runtime::kernels::norm::{RmsNormShape, rms_norm};
use pipeline_runtime::kernels::rotary::{RotaryShape, RotaryTables, rotary};
use pipeline_runtime::kernels::softmax::softmax;
use pipeline_runtime::kernels::{MatrixRef, activation};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| generator.random_range(-3.0..3.0)).collect()
}

fn tensor(numbers: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap()
}

fn assert_close(found: &[f32], expected: &Tensor) {
    let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let bound = 1e-5 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= bound, "{index}: {found} and {expected}");
    }
}

#[test]
fn root_mean_square_norm() {
    let (rows, width) = (5, 67);
    let (x, weight) = (random(rows * width, 1), random(width, 2));
    let mut y = vec![0.0; rows * width];
    rms_norm(&x, &weight, &mut y, RmsNormShape { rows, width, epsilon: 1e-5 });
    let expected =
        candle_nn::ops::rms_norm(&tensor(&x, &[rows, width]), &tensor(&weight, &[width]), 1e-5).unwrap();
    assert_close(&y, &expected);
}

#[test]
fn rotary_embedding() {
    let (tokens, heads, head_dim) = (7, 3, 10);
    let x = random(tokens * heads * head_dim, 3);
    let angles: Vec<f32> = random(tokens * head_dim / 2, 4);
    let cos: Vec<f32> = angles.iter().map(|angle| angle.cos()).collect();
    let sin: Vec<f32> = angles.iter().map(|angle| angle.sin()).collect();
    let mut y = x.clone();
    let positions: Vec<usize> = (0..tokens).collect();
    let shape = RotaryShape { heads, head_dim, rotary_dim: head_dim };
    rotary(&mut y, &positions, RotaryTables { cos: &cos, sin: &sin }, shape);
    // candle's layout is (batch, heads, tokens, head_dim).
    let input = tensor(&x, &[1, tokens, heads, head_dim]).transpose(1, 2).unwrap().contiguous().unwrap();
    let table = |numbers: &[f32]| tensor(numbers, &[tokens, head_dim / 2]);
    let expected = candle_nn::rotary_emb::rope(&input, &table(&cos), &table(&sin)).unwrap();
    assert_close(&y, &expected.transpose(1, 2).unwrap().contiguous().unwrap());
}

#[test]
fn softmax_of_rows() {
    let (rows, width) = (6, 45);
    let mut x = random(rows * width, 5);
    let expected = candle_nn::ops::softmax_last_dim(&tensor(&x, &[rows, width])).unwrap();
    softmax(&mut x, width);
    assert_close(&x, &expected);
}

#[test]
fn gated_activation() {
    let (gate, up) = (random(131, 6), random(131, 7));
    let expected = candle_nn::ops::silu(&tensor(&gate, &[131])).unwrap().mul(&tensor(&up, &[131])).unwrap();
    let mut y = gate.clone();
    activation::silu_multiply(&mut y, &up);
    assert_close(&y, &expected);
}

#[test]
fn product_with_a_transposed_weight() {
    for rows in [1, 3, 40] {
        let (in_features, out_features) = (83, 29);
        let (x, weight) = (random(rows * in_features, 8), random(out_features * in_features, 9));
        let mut y = vec![0.0; rows * out_features];
        matmul(&x, MatrixRef::F32(&weight), &mut y, MatmulShape { rows, in_features, out_features });
        let transposed = tensor(&weight, &[out_features, in_features]).t().unwrap();
        let expected = tensor(&x, &[rows, in_features]).matmul(&transposed).unwrap();
        let scaled: Vec<f32> = y.iter().map(|number| number / 30.0).collect();
        assert_close(&scaled, &(expected.to_dtype(DType::F32).unwrap() / 30.0).unwrap());
    }
}
