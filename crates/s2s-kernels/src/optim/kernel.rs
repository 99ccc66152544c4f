//! The norm of a gradient and Adam's update on slices, without temporaries.

use super::AdamStep;
use crate::simd::multiversion;
use crate::team::{Team, split_rows};

/// Numbers of a block: its sum is one thread's, and blocks are summed in their order.
const BLOCK: usize = 1 << 14;

/// `Σ g²` over all gradients, in f64 and in an order that depends on their lengths alone.
pub fn squared_norm<'a>(
    gradients: impl IntoIterator<Item = &'a [f32]>,
    team: &mut Team<f32>,
) -> f64 {
    let blocks: Vec<&[f32]> = gradients
        .into_iter()
        .flat_map(|g| g.chunks(BLOCK))
        .collect();
    let mut sums = vec![0.0; blocks.len()];
    team.on_rows(&mut sums, blocks.len(), 1, |range, sums| {
        for (sum, block) in sums.iter_mut().zip(&blocks[range]) {
            *sum = squares(block);
        }
    });
    sums.iter().sum()
}

/// One update of `param` and its moments, in place.
pub fn adam(
    param: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    step: &AdamStep,
    team: &mut Team<f32>,
) {
    let n = param.len();
    assert_eq!(
        [gradient.len(), first.len(), second.len()],
        [n; 3],
        "one moment a number"
    );
    let ranges = team.ranges(n);
    let work = split_rows(param, 1, &ranges)
        .into_iter()
        .zip(split_rows(first, 1, &ranges))
        .zip(split_rows(second, 1, &ranges))
        .zip(ranges)
        .collect();
    team.run(work, |(((param, first), second), range), _| {
        update(param, &gradient[range], first, second, step);
    });
}

multiversion! {
    fn squares(block: &[f32]) -> f64 {
        const LANES: usize = 16;
        let mut lanes = [0.0_f64; LANES];
        let chunks = block.chunks_exact(LANES);
        let rest: f64 = chunks.remainder().iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        for chunk in chunks {
            for (lane, &g) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(g) * f64::from(g);
            }
        }
        lanes.iter().sum::<f64>() + rest
    }

    fn update(param: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32], step: &AdamStep) {
        let kept = (1.0 - step.learning_rate * step.weight_decay) as f32;
        let (scale, rate) = (step.grad_scale as f32, step.learning_rate as f32);
        let (beta1, rest1) = (step.beta1 as f32, (1.0 - step.beta1) as f32);
        let (beta2, rest2) = (step.beta2 as f32, (1.0 - step.beta2) as f32);
        let inverse1 = (1.0 / step.correction1) as f32;
        let inverse2 = (1.0 / step.correction2) as f32;
        let epsilon = step.epsilon as f32;
        for (((p, &g), m), v) in param.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * scale;
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * (g * g);
            *p = kept * *p - rate * ((*m * inverse1) / ((*v * inverse2).sqrt() + epsilon));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn norm_is_the_same_for_any_number_of_threads() {
        let gradients = [vec![3.0; 1], vec![0.5; 3 * BLOCK + 17], Vec::new()];
        let norm = |threads| {
            let mut team = Team::new(NonZeroUsize::new(threads).unwrap());
            squared_norm(gradients.iter().map(Vec::as_slice), &mut team)
        };
        assert_eq!(norm(1), 9.0 + 0.25 * (3 * BLOCK + 17) as f64);
        assert_eq!(norm(1), norm(2));
        assert_eq!(norm(1), norm(3));
    }
}
