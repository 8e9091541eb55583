//! Routing as it is defined: sort everything, in `f64`.

use super::{TopK, TopKShape};

/// The scalar twin of [`softmax_top_k`](super::softmax_top_k).
///
/// # Panics
/// Where the length of logits is no multiple of `experts`, or k is not between 1 and `experts`.
pub fn softmax_top_k_scalar(logits: &[f32], shape: TopKShape) -> TopK {
    shape.tokens(logits);
    let mut result = TopK::default();
    for logits in logits.chunks_exact(shape.experts) {
        let values: Vec<f64> = logits
            .iter()
            .map(|&logit| if logit.is_nan() { f64::NEG_INFINITY } else { f64::from(logit.min(f32::MAX)) })
            .collect();
        let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exponentials: Vec<f64> = values
            .iter()
            .map(|value| if highest == f64::NEG_INFINITY { 0.0 } else { (value - highest).exp() })
            .collect();
        let sum: f64 = exponentials.iter().sum();
        let probability = |index: usize| if sum > 0.0 { exponentials[index] / sum } else { 0.0 };
        let mut order: Vec<usize> = (0..shape.experts).collect();
        order.sort_by(|&a, &b| values[b].partial_cmp(&values[a]).expect("no value is NaN").then(a.cmp(&b)));
        order.truncate(shape.k);
        let chosen: f64 = order.iter().map(|&index| probability(index)).sum();
        let divisor = if shape.normalize && chosen > 0.0 { chosen } else { 1.0 };
        result.experts.extend(order.iter().map(|&index| index as u32));
        result.weights.extend(order.iter().map(|&index| (probability(index) / divisor) as f32));
        let entropy: f64 =
            (0..shape.experts).map(probability).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        result.entropy.push(entropy as f32);
        result.log_sum_exp.push((highest + sum.ln()) as f32);
    }
    result
}
