//! Reads Roman numerals: trains on pairs, and answers for a number that is not among them.

use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, Gru, GruConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::prelude::*;
use burn::tensor::activation::softmax;

const CHARACTERS: &str = "$0123456789ivxlc^"; // padding and EOS, symbols, BOS
const VOCAB: usize = CHARACTERS.len();
const EOS: i64 = 0;
const BOS: i64 = VOCAB as i64 - 1;
const WIDTH: usize = 64;
const BATCH: usize = 32;

#[derive(Module, Debug)]
struct Model {
    embedding: Embedding,
    encoder: Gru,
    decoder: Gru,
    query: Linear,
    key: Linear,
    energy: Linear,
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
            energy: LinearConfig::new(WIDTH, 1).with_bias(false).init(device),
            output: LinearConfig::new(2 * WIDTH, VOCAB).init(device),
        }
    }

    /// The states of all positions `[B, S, H]`, and the last one `[B, 1, H]`.
    fn encode(&self, source: Tensor<2, Int>) -> (Tensor<3>, Tensor<3>) {
        let values = self.encoder.forward(self.embedding.forward(source), None);
        let last = values.dims()[1] - 1;
        (values.clone(), values.narrow(1, last, 1))
    }

    /// The logits `[B, 1, V]` of the token after `token` `[B, 1]`.
    fn step(&self, token: Tensor<2, Int>, state: &mut Tensor<3>, values: &Tensor<3>) -> Tensor<3> {
        let sums = self.key.forward(values.clone()) + self.query.forward(state.clone());
        let weights = softmax(self.energy.forward(sums.tanh()), 1);
        let context = (values.clone() * weights).sum_dim(1);
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

fn ids(text: &str) -> Vec<i64> {
    let positions = text.chars().filter_map(|char| CHARACTERS.find(char));
    positions.map(|position| position as i64).collect()
}

fn roman(mut number: usize) -> String {
    let values = [100, 90, 50, 40, 10, 9, 5, 4, 1];
    let numerals = ["c", "xc", "l", "xl", "x", "ix", "v", "iv", "i"];
    let mut text = String::new();
    for (value, numeral) in values.into_iter().zip(numerals) {
        text += &numeral.repeat(number / value);
        number %= value;
    }
    text
}

/// `[B, len]`, padded.
fn padded(rows: impl Iterator<Item = String>, len: usize, device: &Device) -> Tensor<2, Int> {
    let rows: Vec<i64> = rows
        .flat_map(|text| ids(&format!("{text:$<len$}")))
        .collect();
    Tensor::from_data(TensorData::new(rows, [BATCH, len]), device)
}

fn main() {
    let numbers: Vec<usize> = (1..400).filter(|number| number % 7 < 5).collect();
    let device = Device::flex().autodiff();
    device.seed(1);
    let mut model = Model::new(&device);
    let mut optimizer = AdamWConfig::new().init();
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    for step in 0..600 {
        // A stride that is prime to the number of pairs visits them all in a scattered order.
        let batch = (0..BATCH).map(|row| numbers[(step * BATCH + row) * 101 % numbers.len()]);
        let source = padded(batch.clone().map(roman), 14, &device);
        let target = padded(batch.map(|number| number.to_string()), 4, &device);
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
    let answer = model.answer(&ids(&format!("{:$<14}", roman(146))), &device);
    println!(
        "{}",
        answer
            .iter()
            .map(|id| &CHARACTERS[*id as usize..][..1])
            .collect::<String>()
    );
}
