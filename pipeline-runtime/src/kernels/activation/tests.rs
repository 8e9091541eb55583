use super::*;
use crate::kernels::testing::{assert_close, random, with_threads};

#[test]
fn activations_agree_with_their_scalar_twins() {
    for length in [0, 1, 3, 15, 16, 17, 100, BLOCK + 5] {
        let x: Vec<f32> = random(length, 1).into_iter().map(|x| 20.0 * x).collect();
        let up = random(length, 2);
        let (mut silu_expected, mut product_expected) = (x.clone(), x.clone());
        silu_scalar(&mut silu_expected);
        silu_multiply_scalar(&mut product_expected, &up);
        for isa in InstructionSet::available() {
            let (mut y, mut product) = (x.clone(), x.clone());
            silu_with(isa, &mut y);
            silu_multiply_with(isa, &mut product, &up);
            assert_close(&y, &silu_expected, 1e-6, &format!("{isa:?} {length}"));
            assert_close(&product, &product_expected, 1e-6, &format!("{isa:?} {length}"));
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let x = random(ELEMENTS_WORTH_A_FORK + 77, 1);
    let [one, two] = [1, 2].map(|threads| {
        let mut y = x.clone();
        with_threads(threads, || silu(&mut y));
        y
    });
    assert!(one == two);
}
