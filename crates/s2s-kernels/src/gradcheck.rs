//! Gradients compared with central differences, in f64.

/// Pseudo-random numbers in (-1, 1), a function of the seed.
pub(crate) fn numbers(seed: u64, n: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..8).for_each(|_| _ = next());
    (0..n).map(|_| next()).collect()
}

/// Asserts that `gradient` is the gradient of `loss` at `point`.
///
/// The error of a central difference is of the order of step² plus rounding / step: 1e-10 each at this
/// step size, for functions and derivatives of the order of 1.
#[track_caller]
pub(crate) fn assert_gradient(
    name: &str,
    point: &[f64],
    gradient: &[f64],
    mut loss: impl FnMut(&[f64]) -> f64,
) {
    const STEP: f64 = 1e-5;
    const TOLERANCE: f64 = 2e-8;
    assert_eq!(
        point.len(),
        gradient.len(),
        "{name}: the gradient must have the size of the point"
    );
    let mut moved = point.to_vec();
    for (i, &derivative) in gradient.iter().enumerate() {
        moved[i] = point[i] + STEP;
        let above = loss(&moved);
        moved[i] = point[i] - STEP;
        let below = loss(&moved);
        moved[i] = point[i];
        let difference = (above - below) / (2.0 * STEP);
        let error = (derivative - difference).abs();
        let bound = TOLERANCE * difference.abs().max(1.0);
        assert!(
            error < bound,
            "{name}[{i}]: gradient {derivative}, central difference {difference}"
        );
    }
}

/// `Σ_i a[i] b[i]`: a loss whose gradient with respect to `a` is `b`.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "the loss must cover all outputs");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
