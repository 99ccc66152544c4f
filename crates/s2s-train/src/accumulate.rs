//! Gradient accumulation: the batches of a step, and their gradient, which is that of one large batch up to
//! rounding.
//!
//! ```text
//! gradient = Σ_i n_i gradient_i / Σ_i n_i          n_i tokens in batch i
//! ```

use std::ops::Range;

use candle_core::{Result, Tensor};

/// The numbers of the batches of a step, which counts from 1. They are all in one epoch, whose last step may
/// have fewer; without epochs, all steps have as many.
pub(crate) fn batches_of_step(step: u64, per_step: u64, per_epoch: Option<u64>) -> Range<u64> {
    let done = step - 1;
    let per_epoch = per_epoch.unwrap_or(u64::MAX).max(1);
    let steps = per_epoch.div_ceil(per_step);
    let (epoch, first) = (done / steps, done % steps * per_step);
    let start = epoch * per_epoch;
    start + first..start + (first + per_step).min(per_epoch)
}

/// `sum + share · gradients`, one a parameter; an empty sum is 0. The only gradients of a step, with a share
/// of 1, are returned as they are. Otherwise, the result shares no memory with `gradients`.
pub(crate) fn add_share(sum: &[Tensor], gradients: Vec<Tensor>, share: f64) -> Result<Vec<Tensor>> {
    if share == 1.0 {
        return Ok(gradients);
    }
    let parts = gradients.into_iter().map(|gradient| gradient * share);
    match sum {
        [] => parts.collect(),
        _ => sum
            .iter()
            .zip(parts)
            .map(|(sum, part)| sum + part?)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_an_epoch_have_each_of_its_batches_once() {
        let steps = |n: u64, per_step, per_epoch| -> Vec<Vec<u64>> {
            (1..=n)
                .map(|step| batches_of_step(step, per_step, per_epoch).collect())
                .collect()
        };
        assert_eq!(steps(3, 1, Some(2)), [[0], [1], [2]]);
        let [first, second, third] = [vec![0, 1], vec![2], vec![3, 4]];
        assert_eq!(steps(3, 2, Some(3)), [first, second, third]);
        assert_eq!(steps(2, 2, None), [[0, 1], [2, 3]]);
        assert_eq!(steps(2, 9, Some(2)), [[0, 1], [2, 3]]);
    }
}
