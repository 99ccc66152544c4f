//! How large a difference is, in units of its spread over seeds.

use super::{mean, sd};

/// Cohen's d of paired differences (d_z): their mean, divided by their standard deviation. `None` for
/// fewer than two differences, or if they are all equal.
///
/// Lakens (2013), Calculating and Reporting Effect Sizes, Frontiers in Psychology 4:863, formula 6.
pub fn paired_effect(differences: &[f64]) -> Option<f64> {
    let sd = sd(differences)?;
    (sd > 0.0).then(|| mean(differences).map(|mean| mean / sd))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effect_is_the_mean_in_standard_deviations() {
        // numpy 2.4.6: d.mean() / d.std(ddof=1)
        let differences = [0.0035, -0.0005, 0.03, 0.0075, 0.002];
        let effect = paired_effect(&differences).unwrap();
        assert!((effect - 0.687_465_155_587_670_5).abs() < 1e-12, "{effect}");
        assert_eq!(paired_effect(&[0.5]), None);
        assert_eq!(paired_effect(&[0.5, 0.5]), None);
    }
}
