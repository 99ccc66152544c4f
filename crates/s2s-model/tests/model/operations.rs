//! The tensor operations that the reference path uses give the CPU's results on the device of the tests,
//! for the layouts that the path has: views, broadcasts, transposed weights.

use std::num::NonZeroUsize;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::ops::{log_softmax, sigmoid, softmax};
use rand::Rng;
use s2s_kernels::{
    AdamStep, Direction, Moments, Ragged, RecurrentWeights, adam, reference, squared_norm,
};
use s2s_model::{Embedding, Params, keyed_rng};

use crate::architectures::device;
use crate::closeness::distance;

const BATCH: usize = 4;
const LEN: usize = 5;
const WIDTH: usize = 6;
const LENGTHS: [usize; BATCH] = [3, 5, 1, 4];

/// The operands of every operation, on one device.
struct Operands {
    x: Tensor,      // [B, S, W]
    y: Tensor,      // [B, S, W]
    scores: Tensor, // [B, S]
    weight: Tensor, // [W, W]
    bias: Tensor,   // [W]
    ids: Tensor,    // [B, S] (u32)
    rows: Ragged,
    embedding: Embedding,
}

impl Operands {
    fn new(device: &Device) -> Result<Self> {
        let draw = |name: &str, shape: &[usize]| {
            let mut rng = keyed_rng(0, name, 0);
            let n = shape.iter().product();
            let numbers: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
            Tensor::from_vec(numbers, shape, device)
        };
        let mut params = Params::new(0, DType::F32, device);
        let ids = (0..BATCH * LEN).map(|n| (n * 5 % WIDTH) as u32).collect();
        Ok(Self {
            x: draw("x", &[BATCH, LEN, WIDTH])?,
            y: draw("y", &[BATCH, LEN, WIDTH])?,
            scores: draw("scores", &[BATCH, LEN])?,
            weight: draw("weight", &[WIDTH, WIDTH])?,
            bias: draw("bias", &[WIDTH])?,
            ids: Tensor::from_vec::<_, u32>(ids, (BATCH, LEN), device)?,
            embedding: Embedding::new(&mut params.root(), WIDTH, WIDTH)?,
            rows: Ragged::new(LENGTHS.to_vec(), LEN, DType::F32, device)?,
        })
    }

    /// One step of `x`, a view of `[B, W]` with gaps between its rows.
    fn step(&self, x: &Tensor) -> Result<Tensor> {
        x.narrow(1, 2, 1)?.squeeze(1)
    }

    fn results(&self) -> Result<Vec<(&'static str, Result<Tensor>)>> {
        let mask = self.rows.mask();
        let column = || mask.narrow(1, 3, 1); // [B, 1]
        let (x, y) = (&self.x, &self.y);
        let rows = x.reshape((BATCH * LEN, WIDTH))?;
        let last = self.step(x)?;
        let coins = Tensor::from_vec(vec![1_u8, 0, 1, 0], BATCH, x.device())?;
        let masked = |scores: &Tensor| scores + mask.affine(1e30, -1e30)?;
        let weights = softmax(&masked(&self.scores)?, D::Minus1)?;
        let targets = self.ids.unsqueeze(2)?;
        let layer = |direction| -> Result<(Tensor, Tensor)> {
            let units = WIDTH / 3;
            let hidden = self.weight.narrow(1, 0, units)?.contiguous()?;
            let weights = RecurrentWeights {
                weight_ih: self.weight.clone(),
                weight_hh: hidden,
                bias_ih: self.bias.clone(),
                bias_hh: self.bias.clone(),
            };
            let output = reference::gru(x, &weights, &self.rows, direction, None)?;
            Ok((output.states, output.last))
        };
        Ok(vec![
            ("mask", Ok(mask.clone())),
            ("mask column", column()?.contiguous()),
            ("product with a column", last.broadcast_mul(&column()?)),
            ("difference of a view", &self.step(x)? - &self.step(y)?),
            ("affine mask", mask.affine(1e30, -1e30)),
            ("masked scores", masked(&self.scores)),
            ("masked softmax", Ok(weights.clone())),
            ("weighted sum", weights.unsqueeze(1)?.matmul(x)?.squeeze(1)),
            (
                "product with a transposed weight",
                rows.matmul(&self.weight.t()?),
            ),
            (
                "product with a bias",
                rows.broadcast_add(&self.bias.unsqueeze(0)?),
            ),
            (
                "transposed rows",
                x.transpose(0, 1)?.reshape((LEN * BATCH, WIDTH)),
            ),
            ("concatenation", Tensor::cat(&[x, y], 2)),
            ("stack", Tensor::stack(&[&last, &self.step(y)?], 1)),
            ("sigmoid", sigmoid(&x.narrow(2, 1, 3)?)),
            ("tanh of a view", x.narrow(2, 1, 3)?.tanh()),
            (
                "embedding",
                self.weight.index_select(&self.ids.flatten_all()?, 0),
            ),
            (
                "embedding of a step",
                self.embedding
                    .forward(&self.ids.narrow(1, 2, 1)?.squeeze(1)?),
            ),
            ("argmax", x.argmax(D::Minus1)?.to_dtype(DType::F32)),
            (
                "token of a step",
                self.ids.narrow(1, 2, 1)?.squeeze(1)?.to_dtype(DType::F32),
            ),
            (
                "choice by coins",
                coins
                    .where_cond(
                        &self.ids.narrow(1, 2, 1)?.squeeze(1)?,
                        &x.argmax(D::Minus1)?.narrow(1, 0, 1)?.squeeze(1)?,
                    )?
                    .to_dtype(DType::F32),
            ),
            (
                "gathered log-softmax",
                log_softmax(x, D::Minus1)?.gather(&targets, 2),
            ),
            ("padding", weights.pad_with_zeros(1, 1, 1)),
            ("sum", x.sum_all()),
            (
                "forward GRU",
                layer(Direction::Forward).map(|(states, _)| states),
            ),
            (
                "backward GRU",
                layer(Direction::Backward).map(|(states, _)| states),
            ),
            (
                "last state",
                layer(Direction::Forward).map(|(_, last)| last),
            ),
        ])
    }
}

#[test]
fn operations_give_the_results_of_the_cpu() -> Result<()> {
    let (cpu, own) = (Operands::new(&Device::Cpu)?, Operands::new(device())?);
    let mut wrong = Vec::new();
    for ((name, expected), (_, got)) in cpu.results()?.into_iter().zip(own.results()?) {
        let expected = expected?;
        match got.and_then(|got| distance(&got, &expected)) {
            Ok(distance) if distance < 1e-5 => {}
            Ok(distance) => wrong.push(format!("{name}: {distance:e} apart")),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn norm_and_adam_are_their_definitions_on_the_device() -> Result<()> {
    let one = NonZeroUsize::MIN;
    let step = AdamStep {
        grad_scale: 0.5,
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 0.19,
        correction2: 0.0199,
    };
    // More tensors than a launch takes, and more numbers than a block.
    let shapes = (1..40).map(|n| n * n).chain([20_000]);
    let draw = |place: usize, n: usize| -> Result<Tensor> {
        let mut rng = keyed_rng(n as u64, "numbers", place as u64);
        let numbers: Vec<f32> = (0..n).map(|_| rng.random_range(0.0..1.0)).collect();
        Tensor::from_vec(numbers, n, &Device::Cpu)
    };
    let (mut updated, mut expected) = (Vec::new(), Vec::new());
    for n in shapes {
        for (device, all) in [(device(), &mut updated), (&Device::Cpu, &mut expected)] {
            let at = |place| draw(place, n)?.to_device(device);
            let moments = Moments {
                first: at(2)?,
                second: at(3)?,
            };
            all.push((Var::from_tensor(&at(0)?)?, at(1)?, moments));
        }
    }
    let gradients: Vec<Tensor> = updated.iter().map(|(_, grad, _)| grad.clone()).collect();
    let norm = squared_norm(&gradients, one)?;
    let mut expected_norm = 0.0;
    for (param, grad, moments) in &mut expected {
        expected_norm += reference::squared_norm(grad)?;
        reference::adam(param, grad, moments, &step)?;
    }
    assert!((norm - expected_norm).abs() < 1e-12 * expected_norm);
    let all = updated
        .iter_mut()
        .map(|(param, grad, moments)| (&*param, &*grad, moments));
    adam(all, &step, one)?;
    for ((param, _, moments), (expected, _, expected_moments)) in updated.iter().zip(&expected) {
        let pairs = [
            (param.as_tensor(), expected.as_tensor()),
            (&moments.first, &expected_moments.first),
            (&moments.second, &expected_moments.second),
        ];
        for (got, expected) in pairs {
            assert!(distance(got, expected)? < 1e-6);
        }
    }
    Ok(())
}
