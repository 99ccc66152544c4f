//! How fast one quantity grows with another.

use super::mean;

/// The exponent `b` of the power law `y = a x^b` that fits best: the slope of the least-squares line through
/// the points (x, y) on logarithmic axes. `None` if a value is not positive, or if no two values of x differ.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let is_positive = |&(x, y): &(f64, f64)| x > 0.0 && y > 0.0;
    if !points.iter().all(is_positive) {
        return None;
    }
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().map(|(x, y)| (x.ln(), y.ln())).unzip();
    let (center_x, center_y) = (mean(&xs)?, mean(&ys)?);
    let pairs = || xs.iter().zip(&ys);
    let covariance: f64 = pairs().map(|(x, y)| (x - center_x) * (y - center_y)).sum();
    let variance: f64 = xs.iter().map(|x| (x - center_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_has_its_exponent() {
        let square = [1.0, 10.0, 1_000.0].map(|x: f64| (x, 3.0 * x * x));
        assert!((exponent(&square).unwrap() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn noisy_points_have_the_slope_of_scipy() {
        // scipy 1.17.1: scipy.stats.linregress(np.log(x), np.log(y)).slope
        let points = [(1e3, 0.0054), (1e4, 0.0452), (1e5, 0.4425), (1e6, 6.7943)];
        let found = exponent(&points).unwrap();
        assert!((found - 1.029_002_771_800_002_3).abs() < 1e-12, "{found}");
    }

    #[test]
    fn without_two_positive_points_there_is_no_exponent() {
        assert_eq!(exponent(&[]), None);
        assert_eq!(exponent(&[(2.0, 1.0), (2.0, 3.0)]), None);
        assert_eq!(exponent(&[(1.0, 1.0), (2.0, 0.0)]), None);
    }
}
