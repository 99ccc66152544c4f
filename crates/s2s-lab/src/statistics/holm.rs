//! Holm's correction for several tests at once.

/// The p-values of several tests after Holm's correction, in the order of `ps`. If those below 0.05 are
/// called significant, the chance that any of them is a false alarm is at most 5 %.
///
/// Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of
/// Statistics 6(2).
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|&a, &b| ps[a].total_cmp(&ps[b]));
    let mut adjusted = vec![0.0; ps.len()];
    let mut largest = 0.0_f64;
    for (rank, &index) in order.iter().enumerate() {
        let n_left = (ps.len() - rank) as f64;
        largest = largest.max((n_left * ps[index]).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_p_value_is_multiplied_by_the_number_of_those_not_smaller() {
        // By hand: 0.005 · 5, 0.01 · 4, 0.03 · 3, 0.04 · 2 but not below the one before, 0.5 · 1.
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        for (found, expected) in adjusted.iter().zip([0.04, 0.09, 0.09, 0.025, 0.5]) {
            assert!((found - expected).abs() < 1e-15, "{adjusted:?}");
        }
    }

    #[test]
    fn adjusted_p_values_are_those_of_statsmodels() {
        // statsmodels 0.15.0 with scipy 1.17.1: multipletests(ps, method="holm")
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005, 0.5, 0.2, 0.0004]);
        let expected = [0.05, 0.12, 0.12, 0.03, 0.5, 0.4, 0.0028];
        for (found, expected) in adjusted.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{adjusted:?}");
        }
    }

    #[test]
    fn a_single_test_keeps_its_p_value_and_none_exceeds_one() {
        assert_eq!(holm(&[0.03]), [0.03]);
        assert_eq!(holm(&[0.6, 0.7]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }
}
