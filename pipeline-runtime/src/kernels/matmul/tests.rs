use super::*;
use crate::kernels::testing::{assert_close, random, to_bf16, with_threads};

/// Odd sizes on purpose: sums shorter than a vector, a unit over, several blocks; one output, part of a tile, several
/// blocks; one row, part of a tile, several tiles.
fn shapes() -> Vec<MatmulShape> {
    let mut shapes = Vec::new();
    for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17, 33] {
        for in_features in [1, 7, 16, 31, 67, 130] {
            for out_features in [1, 3, 5, 16, 50, 97, 113] {
                shapes.push(MatmulShape { rows, in_features, out_features });
            }
        }
    }
    shapes.push(MatmulShape { rows: 9, in_features: 1095, out_features: 200 });
    shapes.push(MatmulShape { rows: 40, in_features: 2051, out_features: 99 });
    assert!(shapes.iter().any(|shape| shape.rows == FEW_ROWS));
    assert!(shapes.iter().any(|shape| shape.rows == FEW_ROWS + 1));
    shapes.push(MatmulShape { rows: 3, in_features: 2051, out_features: 203 });
    shapes
}

fn check(shape: MatmulShape, bf16_weights: bool, biased: bool, accumulate: bool) {
    let MatmulShape { rows, in_features, out_features } = shape;
    let x = random(rows * in_features, 1);
    let values = random(out_features * in_features, 2);
    let halves = to_bf16(&values);
    let weight = if bf16_weights { MatrixRef::Bf16(&halves) } else { MatrixRef::F32(&values) };
    let bias = random(out_features, 3);
    let epilogue = MatmulEpilogue { bias: biased.then_some(bias.as_slice()), accumulate };
    let before = random(rows * out_features, 4);
    let mut expected = before.clone();
    matmul_scalar(&x, weight, epilogue, &mut expected, shape);
    for isa in InstructionSet::available() {
        let mut y = before.clone();
        matmul_with(isa, &x, weight, epilogue, &mut y, shape);
        // Activations rounded to 8 bits of mantissa are off by 2^-9 each.
        let rounded = bf16_weights && isa == InstructionSet::Avx512Bf16 && rows > EXACT_ROWS;
        let tolerance = if rounded { 6e-3 } else { 1e-5 };
        let context = format!("{isa:?} {shape:?} bf16 {bf16_weights} bias {biased} accumulate {accumulate}");
        assert_close(&y, &expected, tolerance, &context);
    }
}

#[test]
fn every_shape_agrees_with_the_scalar_twin() {
    for shape in shapes() {
        check(shape, false, false, false);
        check(shape, true, false, false);
    }
}

#[test]
fn bias_and_accumulation_agree_with_the_scalar_twin() {
    for rows in [1, 6, 19] {
        let shape = MatmulShape { rows, in_features: 1100, out_features: 101 };
        for (biased, accumulate) in [(true, false), (false, true), (true, true)] {
            check(shape, false, biased, accumulate);
            check(shape, true, biased, accumulate);
        }
    }
}

#[test]
fn activations_that_are_bf16_are_multiplied_without_loss() {
    let shape = MatmulShape { rows: 21, in_features: 301, out_features: 70 };
    let x: Vec<f32> = to_bf16(&random(21 * 301, 1)).iter().map(|value| value.to_f32()).collect();
    let weight = to_bf16(&random(70 * 301, 2));
    let mut expected = vec![0.0; 21 * 70];
    matmul_scalar(&x, MatrixRef::Bf16(&weight), MatmulEpilogue::default(), &mut expected, shape);
    for isa in InstructionSet::available() {
        let mut y = vec![0.0; 21 * 70];
        matmul_with(isa, &x, MatrixRef::Bf16(&weight), MatmulEpilogue::default(), &mut y, shape);
        assert_close(&y, &expected, 1e-5, &format!("{isa:?}"));
    }
}

#[test]
fn slices_need_no_alignment() {
    for rows in [1, 6, 20] {
        let shape = MatmulShape { rows, in_features: 165, out_features: 61 };
        let x = random(rows * 165 + 1, 1);
        let values = random(61 * 165 + 1, 2);
        let halves = to_bf16(&values);
        for weight in [MatrixRef::F32(&values[1..]), MatrixRef::Bf16(&halves[1..])] {
            let mut expected = vec![0.0; rows * 61];
            matmul_scalar(&x[1..], weight, MatmulEpilogue::default(), &mut expected, shape);
            for isa in InstructionSet::available() {
                let mut y = vec![0.0; rows * 61 + 1];
                matmul_with(isa, &x[1..], weight, MatmulEpilogue::default(), &mut y[1..], shape);
                assert_close(&y[1..], &expected, 6e-3, &format!("{isa:?} {rows}"));
            }
        }
    }
}

#[test]
fn empty_dimensions_are_fine() {
    for (rows, in_features, out_features) in [(0, 3, 5), (3, 0, 5), (20, 0, 5), (3, 5, 0), (20, 5, 0)] {
        let shape = MatmulShape { rows, in_features, out_features };
        let (x, weight) = (vec![1.0; rows * in_features], vec![1.0; out_features * in_features]);
        let mut y = vec![7.0; rows * out_features];
        matmul(&x, MatrixRef::F32(&weight), &mut y, shape);
        assert!(y.iter().all(|&value| value == 0.0), "{shape:?}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for rows in [1, 3, 11, 40] {
        let shape = MatmulShape { rows, in_features: 1027, out_features: 1501 };
        assert!(rows * 1027 * 1501 >= PRODUCTS_WORTH_A_FORK);
        let x = random(rows * 1027, 1);
        let values = random(1501 * 1027, 2);
        let halves = to_bf16(&values);
        for weight in [MatrixRef::F32(&values), MatrixRef::Bf16(&halves)] {
            let [one, two] = [1, 2].map(|threads| {
                let mut y = vec![0.0; rows * 1501];
                with_threads(threads, || matmul(&x, weight, &mut y, shape));
                y
            });
            assert!(one == two, "{shape:?}");
        }
    }
}

#[test]
#[should_panic(expected = "matmul: weight")]
fn a_weight_of_another_length_is_refused() {
    let shape = MatmulShape { rows: 1, in_features: 4, out_features: 2 };
    matmul(&[0.0; 4], MatrixRef::F32(&[0.0; 7]), &mut [0.0; 2], shape);
}

#[test]
#[should_panic(expected = "matmul: y")]
fn a_shape_that_wraps_around_is_refused() {
    let shape = MatmulShape { rows: 2, in_features: 0, out_features: (1 << (usize::BITS - 1)) + 1 };
    matmul(&[], MatrixRef::F32(&[]), &mut [0.0; 2], shape);
}
