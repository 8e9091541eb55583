//! The layer as it is defined.

use rayon::prelude::*;

use super::{DROPPED, ExpertRouting, ExpertWeights, ExpertsShape};
use crate::kernels::activation::silu_f64;

/// Each token by itself, in `f64`: the scalar twin of [`experts`](super::experts).
///
/// # Panics
/// As [`experts`](super::experts).
pub fn experts_scalar(
    x: &[f32],
    routing: ExpertRouting<'_>,
    experts: &[ExpertWeights<'_>],
    output: &mut [f32],
    shape: ExpertsShape,
) {
    shape.check(x, routing, experts, output);
    let ExpertsShape { tokens, hidden, intermediate, experts_per_token } = shape;
    for token in 0..tokens {
        let x = &x[token * hidden..(token + 1) * hidden];
        let mut sums = vec![0.0f64; hidden];
        for slot in token * experts_per_token..(token + 1) * experts_per_token {
            if routing.experts[slot] == DROPPED {
                continue;
            }
            let expert = experts[routing.experts[slot] as usize];
            let activated: Vec<f64> = (0..intermediate)
                .into_par_iter()
                .map(|i| {
                    let (mut gate, mut up) = (0.0, 0.0);
                    for (k, &x) in x.iter().enumerate() {
                        gate += f64::from(x) * expert.gate.get(i * hidden + k);
                        up += f64::from(x) * expert.up.get(i * hidden + k);
                    }
                    silu_f64(gate) * up
                })
                .collect();
            sums.par_iter_mut().enumerate().for_each(|(column, sum)| {
                let down = |i: usize| expert.down.get(column * intermediate + i);
                let product: f64 = activated.iter().enumerate().map(|(i, value)| value * down(i)).sum();
                *sum += f64::from(routing.weights[slot]) * product;
            });
        }
        for (output, sum) in output[token * hidden..(token + 1) * hidden].iter_mut().zip(sums) {
            *output = sum as f32;
        }
    }
}
