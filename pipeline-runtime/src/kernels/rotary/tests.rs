use super::*;
use crate::kernels::testing::{assert_close, random, with_threads};

/// Tables for 40 positions.
fn tables(rotary_dim: usize) -> (Vec<f32>, Vec<f32>) {
    let half = rotary_dim / 2;
    let angles = (0..40 * half).map(|index| {
        let (position, i) = (index / half, index % half);
        position as f64 * 10000f64.powf(-(i as f64) / half as f64)
    });
    angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip()
}

#[test]
fn rotations_agree_with_the_scalar_twin() {
    let positions = [0, 7, 3, 39, 7];
    for (heads, head_dim, rotary_dim) in
        [(1, 2, 2), (3, 6, 6), (2, 32, 32), (4, 80, 80), (3, 70, 34), (2, 5, 0)]
    {
        let shape = RotaryShape { heads, head_dim, rotary_dim };
        let (cos, sin) = tables(rotary_dim);
        let tables = RotaryTables { cos: &cos, sin: &sin };
        let x = random(5 * heads * head_dim, 1);
        let mut expected = x.clone();
        rotary_scalar(&mut expected, &positions, tables, shape);
        for isa in InstructionSet::available() {
            let mut y = x.clone();
            rotary_with(isa, &mut y, &positions, tables, shape);
            assert_close(&y, &expected, 1e-6, &format!("{isa:?} {shape:?}"));
        }
    }
}

#[test]
fn position_zero_and_what_is_not_rotated_stay() {
    let shape = RotaryShape { heads: 2, head_dim: 10, rotary_dim: 6 };
    let (cos, sin) = tables(6);
    let x = random(40, 1);
    let mut y = x.clone();
    rotary(&mut y, &[0, 5], RotaryTables { cos: &cos, sin: &sin }, shape);
    assert_eq!(y[..20], x[..20]);
    assert_eq!([&y[26..30], &y[36..40]], [&x[26..30], &x[36..40]]);
    assert!((20..26).all(|index| y[index] != x[index]));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let shape = RotaryShape { heads: 9, head_dim: 66, rotary_dim: 66 };
    let positions: Vec<usize> = (0..300).map(|token| token % 40).collect();
    let (cos, sin) = tables(66);
    let x = random(300 * 9 * 66, 1);
    assert!(x.len() >= ELEMENTS_WORTH_A_FORK);
    let [one, two] = [1, 2].map(|threads| {
        let mut y = x.clone();
        with_threads(threads, || rotary(&mut y, &positions, RotaryTables { cos: &cos, sin: &sin }, shape));
        y
    });
    assert!(one == two);
}

#[test]
#[should_panic(expected = "beyond the tables")]
fn a_position_beyond_the_tables_is_refused() {
    let (cos, sin) = tables(4);
    let shape = RotaryShape { heads: 1, head_dim: 4, rotary_dim: 4 };
    rotary(&mut [0.0; 4], &[40], RotaryTables { cos: &cos, sin: &sin }, shape);
}
