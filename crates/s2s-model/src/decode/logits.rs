//! From logits to log-probabilities.

use std::borrow::Cow;

use super::Stop;

/// What turns the logits of a step into log-probabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizer {
    greatest: f32,
    /// Of `Σ exp(logit - greatest)`.
    log_sum: f64,
}

impl Normalizer {
    pub(super) fn of(logits: &[f32]) -> Self {
        let greatest = logits[argmax(logits) as usize];
        let sum: f64 = logits
            .iter()
            .map(|logit| f64::from(logit - greatest).exp())
            .sum();
        Self {
            greatest,
            log_sum: sum.ln(),
        }
    }

    /// The log-probability of the token with this logit, in nats.
    pub(super) fn log_prob(self, logit: f32) -> f64 {
        -(self.log_sum - f64::from(logit - self.greatest))
    }
}

impl Stop {
    /// The logits `[V]` of a step without those of tokens that cannot occur: EOS, if the output length is
    /// fixed.
    pub(super) fn possible(self, logits: &[f32], eos: u32) -> Cow<'_, [f32]> {
        match self {
            Self::AtEos(_) => Cow::Borrowed(logits),
            Self::AtSourceLength { .. } => {
                let mut logits = logits.to_vec();
                logits[eos as usize] = f32::NEG_INFINITY;
                Cow::Owned(logits)
            }
        }
    }
}

/// The index of the largest number; the first of equal ones.
pub(crate) fn argmax(numbers: &[f32]) -> u32 {
    s2s_kernels::slices::argmax(numbers) as u32
}

/// The indices of the `n` largest numbers, largest first; the first of equal ones comes first. Those that
/// are -∞ are left out.
pub(super) fn largest(numbers: &[f32], n: usize) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::with_capacity(n + 1);
    for (index, &number) in numbers.iter().enumerate() {
        let is_among = match found.last() {
            Some(&last) if found.len() == n => number > numbers[last as usize],
            _ => number > f32::NEG_INFINITY,
        };
        if is_among {
            let place = found.partition_point(|&other| numbers[other as usize] >= number);
            found.insert(place, index as u32);
            found.truncate(n);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_numbers_come_in_order_and_equal_ones_in_theirs() {
        let numbers = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0, f32::NAN];
        assert_eq!(largest(&numbers, 3), [1, 3, 4]);
        assert_eq!(largest(&numbers, 9), [1, 3, 4, 0]);
        assert_eq!(largest(&numbers, 1), [argmax(&numbers)]);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let logits = [0.5, -2.0, 90.0, 88.0];
        let normalizer = Normalizer::of(&logits);
        let sum: f64 = logits.iter().map(|l| normalizer.log_prob(*l).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }
}
