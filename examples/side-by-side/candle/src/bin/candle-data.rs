//! Reads Roman numerals: trains on pairs, and answers for a number that is not among them.

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};
use candle_nn::rnn::{GRU, GRUConfig, GRUState, RNN, gru};
use candle_nn::{AdamW, Embedding, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use candle_nn::{embedding, linear, linear_no_bias, loss, ops};

const CHARACTERS: &str = "$0123456789ivxlc^"; // padding and EOS, symbols, BOS
const VOCAB: usize = CHARACTERS.len();
const EOS: u32 = 0;
const BOS: u32 = VOCAB as u32 - 1;
const WIDTH: usize = 64;
const BATCH: usize = 32;

struct Model {
    embedding: Embedding,
    encoder: GRU,
    decoder: GRU,
    query: Linear,
    key: Linear,
    energy: Linear,
    output: Linear,
}

impl Model {
    fn new(vb: VarBuilder) -> Result<Self> {
        let config = GRUConfig::default();
        Ok(Self {
            embedding: embedding(VOCAB, WIDTH, vb.pp("embedding"))?,
            encoder: gru(WIDTH, WIDTH, config, vb.pp("encoder"))?,
            decoder: gru(2 * WIDTH, WIDTH, config, vb.pp("decoder"))?,
            query: linear(WIDTH, WIDTH, vb.pp("query"))?,
            key: linear_no_bias(WIDTH, WIDTH, vb.pp("key"))?,
            energy: linear_no_bias(WIDTH, 1, vb.pp("energy"))?,
            output: linear(2 * WIDTH, VOCAB, vb.pp("output"))?,
        })
    }

    /// The states of all positions `[B, S, H]`, and the last one.
    fn encode(&self, source: &Tensor) -> Result<(Tensor, GRUState)> {
        let states = self.encoder.seq(&self.embedding.forward(source)?)?;
        let values: Vec<_> = states.iter().map(|state| state.h.clone()).collect();
        Ok((Tensor::stack(&values, 1)?, states[states.len() - 1].clone()))
    }

    /// The logits of the token after `token`.
    fn step(&self, token: &Tensor, state: &mut GRUState, values: &Tensor) -> Result<Tensor> {
        let query = self.query.forward(&state.h)?.unsqueeze(1)?;
        let sums = self.key.forward(values)?.broadcast_add(&query)?;
        let weights = ops::softmax(&self.energy.forward(&sums.tanh()?)?, 1)?;
        let context = values.broadcast_mul(&weights)?.sum(1)?;
        let input = Tensor::cat(&[&self.embedding.forward(token)?, &context], 1)?;
        *state = self.decoder.step(&input, state)?;
        self.output.forward(&Tensor::cat(&[&state.h, &context], 1)?)
    }

    fn answer(&self, source: &[u32]) -> Result<Vec<u32>> {
        let source = Tensor::new(source, &Device::Cpu)?.unsqueeze(0)?;
        let (values, mut state) = self.encode(&source)?;
        let (mut token, mut answer) = (BOS, Vec::new());
        while answer.len() < 20 {
            let input = Tensor::new(&[token], &Device::Cpu)?;
            let logits = self.step(&input, &mut state, &values)?;
            token = logits.argmax(D::Minus1)?.to_vec1()?[0];
            if token == EOS {
                break;
            }
            answer.push(token);
        }
        Ok(answer)
    }
}

fn ids(text: &str) -> Vec<u32> {
    let positions = text.chars().filter_map(|char| CHARACTERS.find(char));
    positions.map(|position| position as u32).collect()
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
fn padded(rows: impl Iterator<Item = String>, len: usize) -> Result<Tensor> {
    let rows: Vec<u32> = rows
        .flat_map(|text| ids(&format!("{text:$<len$}")))
        .collect();
    Tensor::from_vec(rows, (BATCH, len), &Device::Cpu)
}

fn main() -> Result<()> {
    let numbers: Vec<usize> = (1..400).filter(|number| number % 7 < 5).collect();
    let vars = VarMap::new();
    let model = Model::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let params = ParamsAdamW {
        lr: 5e-3,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(vars.all_vars(), params)?;
    for step in 0..600 {
        // A stride that is prime to the number of pairs visits them all in a scattered order.
        let batch = (0..BATCH).map(|row| numbers[(step * BATCH + row) * 101 % numbers.len()]);
        let source = padded(batch.clone().map(roman), 14)?;
        let target = padded(batch.map(|number| number.to_string()), 4)?;
        let (values, mut state) = model.encode(&source)?;
        let mut token = Tensor::full(BOS, BATCH, &Device::Cpu)?;
        let mut losses = Vec::new();
        for t in 0..target.dim(1)? {
            let logits = model.step(&token, &mut state, &values)?;
            token = target.i((.., t))?.contiguous()?;
            losses.push(loss::cross_entropy(&logits, &token)?);
        }
        optimizer.backward_step(&Tensor::stack(&losses, 0)?.mean_all()?)?;
    }
    let answer = model.answer(&ids(&format!("{:$<14}", roman(146))))?;
    println!(
        "{}",
        answer
            .iter()
            .map(|id| &CHARACTERS[*id as usize..][..1])
            .collect::<String>()
    );
    Ok(())
}
