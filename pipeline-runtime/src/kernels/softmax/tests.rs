use super::*;
use crate::kernels::testing::{assert_close, random, with_threads};

#[test]
fn rows_agree_with_the_scalar_twin() {
    for width in [1, 2, 15, 16, 17, 100, 1001] {
        let x: Vec<f32> = random(3 * width, 1).into_iter().map(|x| 30.0 * x).collect();
        let mut expected = x.clone();
        let logarithms = softmax_scalar(&mut expected, width);
        for isa in InstructionSet::available() {
            let mut y = x.clone();
            let found = softmax_with(isa, &mut y, width);
            assert_close(&y, &expected, 2e-6, &format!("{isa:?} {width}"));
            assert_close(&found, &logarithms, 1e-6, &format!("{isa:?} {width}"));
        }
    }
}

#[test]
fn odd_values_follow_the_contract() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let mut rows: Vec<f32> = Vec::new();
    rows.extend([nan, 1.0, 2.0, nan, -infinity].iter().cycle().take(20));
    rows.extend([nan, -infinity].iter().cycle().take(20));
    rows.extend([infinity, 0.0, nan, -3e38].iter().cycle().take(20));
    let mut expected = rows.clone();
    let logarithms = softmax_scalar(&mut expected, 20);
    assert!(expected.iter().all(|y| y.is_finite()));
    for isa in InstructionSet::available() {
        let mut y = rows.clone();
        let found = softmax_with(isa, &mut y, 20);
        assert_close(&y, &expected, 1e-6, &format!("{isa:?}"));
        assert_eq!(found[1], f32::NEG_INFINITY, "{isa:?}");
        assert_close(&[found[0], found[2]], &[logarithms[0], logarithms[2]], 1e-6, &format!("{isa:?}"));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let x = random(400 * 333, 1);
    assert!(x.len() >= ELEMENTS_WORTH_A_FORK);
    let [one, two] = [1, 2].map(|threads| {
        let mut y = x.clone();
        let logarithms = with_threads(threads, || softmax(&mut y, 333));
        (y, logarithms)
    });
    assert!(one == two);
}
