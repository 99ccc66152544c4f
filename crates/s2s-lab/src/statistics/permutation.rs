//! The paired permutation test: do two configurations differ on the seeds that they share?

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::mean;

/// Up to this number of pairs, [`paired_test`] counts every assignment of signs: 2 to the power of it, 4,096.
pub const EXACT_PAIRS: usize = 12;

/// Random assignments of signs for more pairs.
const DRAWS: usize = 100_000;

/// Of the generator that draws them.
const SEED: u64 = 0;

/// The result of a paired permutation test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedTest {
    /// Number of pairs.
    pub n_pairs: usize,
    /// Two-sided p-value.
    pub p: f64,
    /// Whether all assignments of signs were counted, not a random part of them.
    pub is_exact: bool,
}

/// The two-sided paired permutation test of the mean of `differences`, one for each shared seed;
/// `None` without any.
///
/// If the configurations did not differ, each difference could as well have the other sign. The p-value
/// is the share of the assignments of signs whose mean is at least as far from zero as the observed one: of
/// all assignments for up to [`EXACT_PAIRS`] pairs, of 100,000 random ones (with a fixed seed) for more.
pub fn paired_test(differences: &[f64]) -> Option<PairedTest> {
    let n_pairs = differences.len();
    let observed = mean(differences)?.abs();
    // Sums in another order may differ in the last bits from the observed one.
    let threshold = observed * (1.0 - 1e-12);
    let is_extreme = |is_negative: &dyn Fn(usize) -> bool| {
        let signed = differences.iter().enumerate();
        let signed = signed.map(|(i, value)| if is_negative(i) { -value } else { *value });
        (signed.sum::<f64>() / n_pairs as f64).abs() >= threshold
    };
    let is_exact = n_pairs <= EXACT_PAIRS;
    let p = if is_exact {
        let assignments = 0..1_u64 << n_pairs;
        let n_extreme = assignments
            .filter(|bits| is_extreme(&|i| bits >> i & 1 == 1))
            .count();
        n_extreme as f64 / (1_u64 << n_pairs) as f64
    } else {
        let mut generator = ChaCha8Rng::seed_from_u64(SEED);
        let mut bits = vec![0_u64; n_pairs.div_ceil(64)];
        let mut n_extreme = 1; // the observed assignment
        for _ in 0..DRAWS {
            bits.fill_with(|| generator.next_u64());
            n_extreme += usize::from(is_extreme(&|i| bits[i / 64] >> (i % 64) & 1 == 1));
        }
        n_extreme as f64 / (DRAWS + 1) as f64
    };
    Some(PairedTest {
        n_pairs,
        p,
        is_exact,
    })
}

/// The smallest p-value that [`paired_test`] can give for this number of pairs: when all differences
/// have the same sign. 1 without pairs. With it, a report states how many seeds a test needs.
pub fn smallest_p(n_pairs: usize) -> f64 {
    match n_pairs {
        0 => 1.0,
        n if n <= EXACT_PAIRS => 2.0 / (1_u64 << n) as f64,
        _ => 1.0 / (DRAWS + 1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 12] = [
        0.91, 0.85, 0.97, 0.99, 0.62, 0.88, 0.93, 0.95, 0.90, 0.40, 0.96, 0.98,
    ];
    const B: [f64; 12] = [
        0.89, 0.86, 0.90, 0.95, 0.60, 0.70, 0.93, 0.90, 0.91, 0.35, 0.90, 0.97,
    ];

    fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| a - b).collect()
    }

    #[test]
    fn few_pairs_have_the_exact_p_value_of_scipy() {
        // scipy 1.17.1: stats.permutation_test((a, b), mean difference, permutation_type="samples",
        // n_resamples=np.inf, alternative="two-sided")
        let five = (
            [0.9995, 0.9980, 1.0, 0.9875, 0.9930],
            [0.9960, 0.9985, 0.9700, 0.9800, 0.9910],
        );
        for (differences, p) in [
            (differences(&five.0, &five.1), 0.125),
            (differences(&A, &B), 0.008_789_062_5),
            (differences(&A[..6], &B[..6]), 0.0625),
        ] {
            let test = paired_test(&differences).unwrap();
            assert_eq!((test.p, test.is_exact), (p, true));
        }
    }

    #[test]
    fn many_pairs_have_about_the_p_value_of_scipy() {
        let a = [
            -0.802, -1.324, -0.248, 0.42, 1.136, 0.11, -0.553, -0.785, 0.749, 1.635, 0.273, -1.233,
            -0.958, 1.6, 0.203, -1.732,
        ];
        let b = [
            -0.544, -1.606, -0.263, 0.476, 1.079, 0.686, -0.284, -0.779, 1.254, 2.35, -0.249,
            -1.062, -1.149, 1.813, -0.142, -1.422,
        ];
        let test = paired_test(&differences(&a, &b)).unwrap();
        assert!(!test.is_exact);
        // Three standard errors of 100,000 draws around scipy's exact 0.24136.
        assert!((test.p - 0.241_363_525_390_625).abs() < 0.0041, "{test:?}");
    }

    #[test]
    fn differences_of_one_sign_have_the_smallest_p_value() {
        for n in 1..=EXACT_PAIRS {
            let test = paired_test(&vec![0.25; n]).unwrap();
            assert_eq!(test.p, smallest_p(n));
        }
        assert_eq!(smallest_p(5), 0.0625);
    }

    #[test]
    fn no_difference_is_no_evidence() {
        assert_eq!(paired_test(&[0.0; 5]).unwrap().p, 1.0);
        assert_eq!(paired_test(&[]), None);
    }
}
