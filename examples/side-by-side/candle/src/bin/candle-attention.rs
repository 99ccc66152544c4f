//! Reverses sequences, with additive attention of four heads: each scores all positions and reads its part of
//! the values.

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};
use candle_nn::rnn::{GRU, GRUConfig, GRUState, RNN, gru};
use candle_nn::{AdamW, Embedding, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use candle_nn::{embedding, init, linear, linear_no_bias, loss, ops};

const VOCAB: usize = 10; // 1 to 8 are symbols
const EOS: u32 = 0;
const BOS: u32 = 9;
const WIDTH: usize = 64;
const BATCH: usize = 32;
const HEADS: usize = 4;

struct Model {
    embedding: Embedding,
    encoder: GRU,
    decoder: GRU,
    query: Linear,
    key: Linear,
    energy: Tensor, // [n, A / n]
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
            energy: vb.get_with_hints(
                (HEADS, WIDTH / HEADS),
                "energy",
                init::DEFAULT_KAIMING_UNIFORM,
            )?,
            output: linear(2 * WIDTH, VOCAB, vb.pp("output"))?,
        })
    }

    /// The states of all positions `[B, S, H]`, and the last one.
    fn encode(&self, source: &Tensor) -> Result<(Tensor, GRUState)> {
        let states = self.encoder.seq(&self.embedding.forward(source)?)?;
        let values: Vec<_> = states.iter().map(|state| state.h.clone()).collect();
        Ok((Tensor::stack(&values, 1)?, states[states.len() - 1].clone()))
    }

    fn attend(&self, state: &Tensor, values: &Tensor) -> Result<Tensor> {
        let (batch, len, width) = values.dims3()?;
        let heads = (batch, len, HEADS, width / HEADS);
        let query = self.query.forward(state)?.unsqueeze(1)?;
        let sums = self.key.forward(values)?.broadcast_add(&query)?;
        let scores = sums.tanh()?.reshape(heads)?.broadcast_mul(&self.energy)?;
        let weights = ops::softmax(&scores.sum_keepdim(D::Minus1)?, 1)?; // [B, S, n, 1]
        let parts = values.reshape(heads)?.broadcast_mul(&weights)?.sum(1)?;
        parts.flatten_from(1)
    }

    /// The logits of the token after `token`.
    fn step(&self, token: &Tensor, state: &mut GRUState, values: &Tensor) -> Result<Tensor> {
        let context = self.attend(&state.h, values)?;
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

fn main() -> Result<()> {
    let vars = VarMap::new();
    let model = Model::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let params = ParamsAdamW {
        lr: 5e-3,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(vars.all_vars(), params)?;
    for step in 0..300 {
        let source =
            Tensor::rand(1f32, 9f32, (BATCH, 1 + step % 5), &Device::Cpu)?.to_dtype(DType::U32)?;
        let end = Tensor::full(EOS, (BATCH, 1), &Device::Cpu)?;
        let target = Tensor::cat(&[&source.flip(&[1])?, &end], 1)?;
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
    let answer = model.answer(&[3, 1, 4, 1, 5])?;
    println!(
        "{}",
        answer
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    );
    Ok(())
}
