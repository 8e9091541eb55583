use half::bf16;

use super::{Kernel, Products, exp, silu};
use crate::kernels::InstructionSet;
use crate::kernels::testing::{random, to_bf16};

/// Applies a function to a slice a vector at a time.
struct Map<'a, F>(&'a [f32], F);

#[derive(Clone, Copy)]
enum Function {
    Exp,
    Silu,
    Round,
}

impl Kernel for Map<'_, Function> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> Vec<f32> {
        let mut results = vec![0.0; self.0.len()];
        for (input, output) in self.0.chunks(S::LANES).zip(results.chunks_mut(S::LANES)) {
            let x = simd.load_short(input);
            let y = match self.1 {
                Function::Exp => exp(simd, x),
                Function::Silu => silu(simd, x),
                Function::Round => simd.round(x),
            };
            simd.store_short(output, y);
        }
        results
    }
}

#[test]
fn exp_is_accurate() {
    let inputs: Vec<f32> = (-870..=883).map(|tenth| tenth as f32 / 10.0 + 0.013).collect();
    for set in InstructionSet::available() {
        for (x, y) in inputs.iter().zip(set.run(Map(&inputs, Function::Exp))) {
            let expected = f64::from(*x).exp();
            assert!(
                (f64::from(y) / expected - 1.0).abs() < 3e-7,
                "{set:?}: exp({x}) = {y}, expected {expected}"
            );
        }
    }
}

#[test]
fn exp_and_silu_at_the_ends() {
    let inputs = [f32::NEG_INFINITY, -1e30, -89.0, 0.0, 90.0, f32::INFINITY, f32::NAN];
    for set in InstructionSet::available() {
        let results = set.run(Map(&inputs, Function::Exp));
        assert_eq!(results[..6], [0.0, 0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY], "{set:?}");
        assert!(results[6].is_nan(), "{set:?}");
        let results = set.run(Map(&inputs[1..], Function::Silu));
        assert_eq!(results[..3].iter().map(|y| y.abs()).collect::<Vec<_>>(), [0.0; 3], "{set:?}");
        assert_eq!(results[3..5], [90.0, f32::INFINITY], "{set:?}");
        assert!(results[5].is_nan(), "{set:?}");
    }
}

#[test]
fn rounding_ties_to_even() {
    let inputs = [-2.5, -1.5, -0.4, 0.5, 1.5, 2.5, 126.7];
    for set in InstructionSet::available() {
        assert_eq!(
            set.run(Map(&inputs, Function::Round)),
            [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0, 127.0],
            "{set:?}"
        );
    }
}

/// Transposes a square, and reads and writes partial vectors on the way.
struct Transpose<'a>(&'a [f32]);

impl Kernel for Transpose<'_> {
    type Output = (usize, Vec<f32>);
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> (usize, Vec<f32>) {
        let mut rows = [simd.zero(); 16];
        for (row, values) in rows.iter_mut().zip(self.0.chunks(16)).take(S::LANES) {
            *row = simd.load_slice(values);
        }
        simd.transpose(&mut rows);
        let mut result = vec![0.0; S::LANES * S::LANES];
        for (row, output) in rows.into_iter().zip(result.chunks_mut(S::LANES)) {
            simd.store_slice(output, row);
        }
        (S::LANES, result)
    }
}

#[test]
fn squares_are_transposed() {
    let values = random(256, 1);
    for set in InstructionSet::available() {
        let (lanes, result) = set.run(Transpose(&values));
        for row in 0..lanes {
            for column in 0..lanes {
                assert_eq!(result[column * lanes + row], values[row * 16 + column], "{set:?}");
            }
        }
    }
}

/// Sum, maximum, and sum of `bf16`, of the first `count` elements.
struct Reduce<'a>(&'a [f32], &'a [bf16], usize);

impl Kernel for Reduce<'_> {
    type Output = Option<[f32; 3]>;
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> Option<[f32; 3]> {
        if self.2 > S::LANES {
            return None;
        }
        let vector = simd.load_short(&self.0[..self.2]);
        // SAFETY: the slice has 16 elements, `count` is at most the lanes.
        let halves = unsafe { simd.load_bf16_first(self.1.as_ptr(), self.2) };
        Some([simd.sum(vector), simd.largest(vector), simd.sum(halves)])
    }
}

#[test]
fn partial_vectors_are_reduced() {
    let values: Vec<f32> = random(16, 2).into_iter().map(|value| value + 1.5).collect();
    let halves = to_bf16(&values);
    for set in InstructionSet::available() {
        for count in 1..=16 {
            if let Some([sum, largest, halves_sum]) = set.run(Reduce(&values, &halves, count)) {
                assert!((sum - values[..count].iter().sum::<f32>()).abs() < 1e-5, "{set:?} {count}");
                assert_eq!(largest, values[..count].iter().copied().fold(0.0, f32::max), "{set:?} {count}");
                let expected: f32 = halves[..count].iter().map(|half| half.to_f32()).sum();
                assert!((halves_sum - expected).abs() < 1e-5, "{set:?} {count}");
            }
        }
    }
}

/// The sums of four vectors.
struct Sums<'a>(&'a [f32]);

impl Kernel for Sums<'_> {
    type Output = (usize, [f32; 4]);
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> (usize, [f32; 4]) {
        (S::LANES, simd.sums([0, 16, 32, 48].map(|start| simd.load_slice(&self.0[start..]))))
    }
}

#[test]
fn four_vectors_are_summed() {
    let values = random(64, 3);
    for set in InstructionSet::available() {
        let (lanes, sums) = set.run(Sums(&values));
        for (index, sum) in sums.into_iter().enumerate() {
            let expected: f32 = values[16 * index..][..lanes].iter().sum();
            assert!((sum - expected).abs() < 1e-5, "{set:?}");
        }
    }
}

/// Writes `count` lanes of ones over `to`.
struct StoreFirst<'a>(&'a mut [f32; 16], usize);

impl Kernel for StoreFirst<'_> {
    type Output = usize;
    #[inline(always)]
    fn run<S: Products>(self, simd: S) -> usize {
        let count = self.1.min(S::LANES);
        simd.store_short(&mut self.0[..count], simd.splat(1.0));
        count
    }
}

#[test]
fn partial_stores_leave_the_rest() {
    for set in InstructionSet::available() {
        for count in 0..=16 {
            let mut target = [7.0; 16];
            let written = set.run(StoreFirst(&mut target, count));
            assert!(target[..written].iter().all(|&value| value == 1.0), "{set:?} {count}");
            assert!(target[written..].iter().all(|&value| value == 7.0), "{set:?} {count}");
        }
    }
}
