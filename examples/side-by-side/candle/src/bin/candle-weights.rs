//! Runs a model of PyTorch: its weights, under its names, and its first logits.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::rnn::{GRU, GRUConfig, GRUState, RNN, gru};
use candle_nn::{Embedding, Linear, Module, VarBuilder, embedding, linear, linear_no_bias, ops};

const WEIGHTS: &str = "../../crates/s2s-model/tests/pytorch/weights.pt";
const VOCAB: usize = 8;
const BOS: u32 = 6;
const EMBEDDING: usize = 3;
const HIDDEN: usize = 4;
const STATE: usize = 5;
const UNITS: usize = 6;

struct Model {
    source: Embedding,
    forward: GRU,
    backward: GRU,
    bridge: Linear,
    target: Embedding,
    decoder: GRU,
    attn: Linear,
    energy: Linear,
    output: Linear,
}

impl Model {
    fn new(vb: VarBuilder) -> Result<Self> {
        let (encoder, decoder) = (vb.pp("encoder"), vb.pp("decoder"));
        let config = GRUConfig::default();
        let reversed = vb.clone().rename_f(|name| format!("{name}_reverse"));
        Ok(Self {
            source: embedding(VOCAB, EMBEDDING, encoder.pp("embedding"))?,
            forward: gru(EMBEDDING, HIDDEN, config, encoder.pp("gru"))?,
            backward: gru(EMBEDDING, HIDDEN, config, reversed.pp("encoder.gru"))?,
            bridge: linear(2 * HIDDEN, STATE, encoder.pp("fc"))?,
            target: embedding(VOCAB, EMBEDDING, decoder.pp("embedding"))?,
            decoder: gru(EMBEDDING + 2 * HIDDEN, STATE, config, decoder.pp("gru"))?,
            attn: linear(STATE + 2 * HIDDEN, UNITS, decoder.pp("attention.attn"))?,
            energy: linear_no_bias(UNITS, 1, decoder.pp("attention.v"))?,
            output: linear(STATE + 2 * HIDDEN, VOCAB, decoder.pp("fc_out"))?,
        })
    }

    fn encode(&self, source: &Tensor) -> Result<(Tensor, GRUState)> {
        let embedded = self.source.forward(source)?;
        let forward = self.forward.seq(&embedded)?;
        let backward = self.backward.seq(&embedded.flip(&[1])?)?;
        let both = forward.iter().zip(backward.iter().rev());
        let values: Vec<_> = both
            .map(|(f, b)| Tensor::cat(&[&f.h, &b.h], 1))
            .collect::<Result<_>>()?;
        let last = source.dim(1)? - 1;
        let ends = Tensor::cat(&[&forward[last].h, &backward[last].h], 1)?;
        Ok((
            Tensor::stack(&values, 1)?,
            GRUState {
                h: self.bridge.forward(&ends)?.tanh()?,
            },
        ))
    }

    /// The logits of the token after `token`.
    fn step(&self, token: &Tensor, state: &mut GRUState, values: &Tensor) -> Result<Tensor> {
        let states = state.h.unsqueeze(1)?.repeat((1, values.dim(1)?, 1))?;
        let sums = self.attn.forward(&Tensor::cat(&[&states, values], 2)?)?;
        let weights = ops::softmax(&self.energy.forward(&sums.tanh()?)?, 1)?;
        let context = values.broadcast_mul(&weights)?.sum(1)?;
        let input = Tensor::cat(&[&self.target.forward(token)?, &context], 1)?;
        *state = self.decoder.step(&input, state)?;
        self.output.forward(&Tensor::cat(&[&state.h, &context], 1)?)
    }
}

fn main() -> Result<()> {
    let model = Model::new(VarBuilder::from_pth(WEIGHTS, DType::F32, &Device::Cpu)?)?;
    let (values, mut state) = model.encode(&Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?)?;
    let logits = model.step(&Tensor::new(&[BOS], &Device::Cpu)?, &mut state, &values)?;
    println!("{:.4?}", logits.squeeze(0)?.to_vec1::<f32>()?);
    Ok(())
}
