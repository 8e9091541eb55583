use super::*;
use crate::kernels::testing::{assert_close, random, with_threads};

#[test]
fn norms_agree_with_their_scalar_twins() {
    for rows in [1, 2, 5] {
        for width in [1, 3, 16, 31, 64, 67, 128, 1000] {
            let shape = RmsNormShape { rows, width, epsilon: 1e-5 };
            let (x, residual) = (random(rows * width, 1), random(rows * width, 2));
            let weight = random(width, 3);
            let mut expected = vec![0.0; rows * width];
            rms_norm_scalar(&x, &weight, &mut expected, shape);
            let (mut sum_expected, mut norm_expected) = (residual.clone(), vec![0.0; rows * width]);
            add_rms_norm_scalar(&mut sum_expected, &x, &weight, &mut norm_expected, shape);
            for isa in InstructionSet::available() {
                let context = format!("{isa:?} {shape:?}");
                let mut y = vec![7.0; rows * width];
                rms_norm_with(isa, &x, &weight, &mut y, shape);
                assert_close(&y, &expected, 1e-6, &context);
                let (mut sum, mut y) = (residual.clone(), vec![7.0; rows * width]);
                add_rms_norm_with(isa, &mut sum, &x, &weight, &mut y, shape);
                assert_eq!(sum, sum_expected, "{context}");
                assert_close(&y, &norm_expected, 1e-6, &context);
            }
        }
    }
}

#[test]
fn a_row_of_zeros_stays_zero() {
    let shape = RmsNormShape { rows: 1, width: 20, epsilon: 1e-6 };
    let mut y = [7.0; 20];
    rms_norm(&[0.0; 20], &[2.0; 20], &mut y, shape);
    assert_eq!(y, [0.0; 20]);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = RmsNormShape { rows: 200, width: 1001, epsilon: 1e-5 };
    const { assert!(200 * 1001 >= ELEMENTS_WORTH_A_FORK) };
    let (x, weight) = (random(200 * 1001, 1), random(1001, 2));
    let [one, two] = [1, 2].map(|threads| {
        let (mut residual, mut y) = (x.clone(), vec![0.0; x.len()]);
        with_threads(threads, || add_rms_norm(&mut residual, &x, &weight, &mut y, shape));
        y
    });
    assert!(one == two);
}
