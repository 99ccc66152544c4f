//! Reverses sequences, with additive attention of four heads: each scores all positions and reads its part of
//! the values.

use burn::module::Param;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, Gru, GruConfig, Initializer, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::{Distribution, activation::softmax};

const VOCAB: usize = 10; // 1 to 8 are symbols
const EOS: i64 = 0;
const BOS: i64 = 9;
const WIDTH: usize = 64;
const BATCH: usize = 32;
const HEADS: usize = 4;

#[derive(Module, Debug)]
struct Model {
    embedding: Embedding,
    encoder: Gru,
    decoder: Gru,
    query: Linear,
    key: Linear,
    energy: Param<Tensor<2>>, // [n, A / n]
    output: Linear,
}

impl Model {
    fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(VOCAB, WIDTH).init(device),
            encoder: GruConfig::new(WIDTH, WIDTH, true).init(device),
            decoder: GruConfig::new(2 * WIDTH, WIDTH, true).init(device),
            query: LinearConfig::new(WIDTH, WIDTH).init(device),
            key: LinearConfig::new(WIDTH, WIDTH)
                .with_bias(false)
                .init(device),
            energy: Initializer::Uniform {
                min: -0.1,
                max: 0.1,
            }
            .init([HEADS, WIDTH / HEADS], device),
            output: LinearConfig::new(2 * WIDTH, VOCAB).init(device),
        }
    }

    /// The states of all positions `[B, S, H]`, and the last one `[B, 1, H]`.
    fn encode(&self, source: Tensor<2, Int>) -> (Tensor<3>, Tensor<3>) {
        let values = self.encoder.forward(self.embedding.forward(source), None);
        let last = values.dims()[1] - 1;
        (values.clone(), values.narrow(1, last, 1))
    }

    fn attend(&self, state: Tensor<3>, values: Tensor<3>) -> Tensor<3> {
        let [batch, len, width] = values.dims();
        let heads = [batch, len, HEADS, width / HEADS];
        let sums = self.key.forward(values.clone()) + self.query.forward(state);
        let scores = sums.tanh().reshape(heads) * self.energy.val().unsqueeze();
        let weights = softmax(scores.sum_dim(3), 1); // [B, S, n, 1]
        let parts = (values.reshape(heads) * weights).sum_dim(1);
        parts.flatten(2, 3)
    }

    /// The logits `[B, 1, V]` of the token after `token` `[B, 1]`.
    fn step(&self, token: Tensor<2, Int>, state: &mut Tensor<3>, values: &Tensor<3>) -> Tensor<3> {
        let context = self.attend(state.clone(), values.clone());
        let input = Tensor::cat(vec![self.embedding.forward(token), context.clone()], 2);
        *state = self
            .decoder
            .forward(input, Some(state.clone().squeeze_dim(1)));
        self.output
            .forward(Tensor::cat(vec![state.clone(), context], 2))
    }

    fn answer(&self, source: &[i64], device: &Device) -> Vec<i64> {
        let (values, mut state) =
            self.encode(Tensor::<1, Int>::from_ints(source, device).unsqueeze());
        let (mut token, mut answer) = (BOS, Vec::new());
        while answer.len() < 20 {
            let input = Tensor::from_ints([[token]], device);
            token = self
                .step(input, &mut state, &values)
                .argmax(2)
                .into_scalar();
            if token == EOS {
                break;
            }
            answer.push(token);
        }
        answer
    }
}

fn main() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let mut model = Model::new(&device);
    let mut optimizer = AdamWConfig::new().init();
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    for step in 0..300 {
        let symbols = Distribution::Uniform(1.0, 9.0);
        let source = Tensor::<2, Int>::random([BATCH, 1 + step % 5], symbols, &device);
        let end = Tensor::full([BATCH, 1], EOS, &device);
        let target = Tensor::cat(vec![source.clone().flip([1]), end], 1);
        let (values, mut state) = model.encode(source);
        let mut token = Tensor::full([BATCH, 1], BOS, &device);
        let mut logits = Vec::new();
        for next in target.clone().iter_dim(1) {
            logits.push(model.step(token, &mut state, &values));
            token = next;
        }
        let logits = Tensor::cat(logits, 1).flatten(0, 1);
        let loss = cross_entropy.forward(logits, target.flatten(0, 1));
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(5e-3, model, grads);
    }
    let answer = model.answer(&[3, 1, 4, 1, 5], &device);
    println!(
        "{}",
        answer
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    );
}
