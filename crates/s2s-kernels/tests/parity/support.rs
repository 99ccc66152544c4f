use candle_core::{Device, Result, Shape, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers for one case, the same for the same seed.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.0.random_range(-1.0..1.0)).collect()
    }

    pub(crate) fn tensor(&mut self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        Tensor::from_vec(self.numbers(shape.elem_count()), shape, &Device::Cpu)
    }

    pub(crate) fn var(&mut self, shape: impl Into<Shape>) -> Result<Var> {
        Var::from_tensor(&self.tensor(shape)?)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.random_range(0..bound)
    }

    pub(crate) fn words(&mut self, n: usize, vocab: usize) -> Vec<u32> {
        (0..n).map(|_| self.below(vocab) as u32).collect()
    }

    pub(crate) fn coins(&mut self, n: usize, prob: f64) -> Vec<bool> {
        (0..n).map(|_| self.0.random_bool(prob)).collect()
    }

    /// 0 or 1/(1-p), half of each.
    pub(crate) fn mask(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| if self.0.random_bool(0.5) { 2.0 } else { 0.0 })
            .collect()
    }
}

pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// Both paths round differently and sum in another order; the fused activations are off by 3e-7.
/// Relative to the largest number, since a sum's small result has its large terms' error; the
/// inputs are of the order of 1, so that less than 0.1 in all is a saturated unit's.
#[track_caller]
pub(crate) fn assert_close(name: &str, fused: &[f32], reference: &[f32]) {
    const TOLERANCE: f32 = 3e-5;
    assert_eq!(fused.len(), reference.len(), "{name}");
    let size = reference.iter().fold(0.1_f32, |max, x| max.max(x.abs()));
    for (i, (a, b)) in fused.iter().zip(reference).enumerate() {
        let error = (a - b).abs() / size;
        assert!(
            error < TOLERANCE,
            "{name}[{i}]: fused {a}, reference {b}, off by {error:e}"
        );
    }
}

/// The value and the gradients by each variable; no gradient counts as zeros.
pub(crate) fn gradients(loss: &Tensor, vars: &[&Var]) -> Result<Vec<Vec<f32>>> {
    let grads = loss.backward()?;
    vars.iter()
        .map(|var| match grads.get(var) {
            Some(grad) => numbers(grad),
            None => Ok(vec![0.0; var.elem_count()]),
        })
        .collect()
}

/// `Σ x ⊙ weights`: a loss that no element escapes.
pub(crate) fn weighted_sum(x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    x.mul(weights)?.sum_all()
}
