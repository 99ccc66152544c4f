//! A character language model: an LSTM with layers, whose state is carried from one piece of a text to the
//! next, and which then writes text one character at a time.
//!
//!     cargo run --release -p s2s-kernels --example char_lm

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{AdamW, Embedding, Optimizer, ParamsAdamW, VarBuilder, VarMap, embedding};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use s2s_kernels::nn::{self, Linear, Lstm, RecurrentOptions};
use s2s_kernels::{Ragged, State, token_loss};

/// Any text will do; this one is in every copy of the crate.
const TEXT: &str = include_str!("../LICENSE-APACHE");
const ROWS: usize = 8;
const LEN: usize = 24;
const UNITS: usize = 96;
const LAYERS: usize = 2;

struct LanguageModel {
    embedding: Embedding,
    lstm: Lstm,
    output: Linear,
}

impl LanguageModel {
    fn new(characters: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let options = RecurrentOptions {
            layers: LAYERS,
            ..RecurrentOptions::default()
        };
        Ok(Self {
            embedding: embedding(characters, 32, vb.pp("embedding"))?,
            lstm: nn::lstm_with(32, UNITS, options, vb.pp("lstm"))?,
            output: nn::linear(UNITS, characters, vb.pp("output"))?,
        })
    }

    /// Characters `[B, S]` to logits `[B, S, V]`, and the state at the end.
    fn forward(
        &self,
        characters: &Tensor,
        rows: &Ragged,
        state: &State<Tensor>,
    ) -> Result<(Tensor, State<Tensor>)> {
        let x = self.embedding.forward(characters)?;
        let output = self.lstm.forward_ragged(&x, rows, Some(state))?;
        Ok((self.output.forward(&output.states)?, output.last))
    }

    /// The likeliest text after `start`.
    fn write(&self, start: &[u32], len: usize) -> Result<Vec<u32>> {
        let mut state = zero_state(1)?;
        let mut text = start.to_vec();
        for at in 0..start.len() + len {
            let x = Tensor::new(&text[at..=at], &Device::Cpu)?;
            state = self.lstm.step(&self.embedding.forward(&x)?, &state)?;
            if at + 1 == text.len() {
                let logits = self.output.forward(&state.hidden.get(LAYERS - 1)?)?;
                text.push(logits.argmax(D::Minus1)?.to_vec1::<u32>()?[0]);
            }
        }
        Ok(text)
    }
}

fn zero_state(rows: usize) -> Result<State<Tensor>> {
    let zeros = Tensor::zeros((LAYERS, rows, UNITS), DType::F32, &Device::Cpu)?;
    Ok(State {
        hidden: zeros.clone(),
        cell: zeros,
    })
}

/// Draws all parameters again: candle's own initialization cannot be seeded on the CPU.
fn seed(variables: &VarMap) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let data = variables.data().lock().expect("one thread");
    let mut all: Vec<_> = data.iter().collect();
    all.sort_by_key(|(name, _)| name.as_str());
    for (_, variable) in all {
        let drawn = (0..variable.elem_count()).map(|_| rng.random_range(-0.2..0.2_f32));
        variable.set(&Tensor::from_iter(drawn, &Device::Cpu)?.reshape(variable.shape())?)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let (_, written) = train()?;
    println!("{written}");
    Ok(())
}

/// Trains a language model. Returns its loss in the last epoch, in nats per character, and what it writes.
fn train() -> Result<(f32, String)> {
    let mut alphabet: Vec<char> = TEXT.chars().collect();
    alphabet.sort_unstable();
    alphabet.dedup();
    let ids = |text: &str| -> Vec<u32> {
        let id = |c| alphabet.binary_search(&c).expect("a character of the text") as u32;
        text.chars().map(id).collect()
    };
    let text = Tensor::from_vec(ids(TEXT), TEXT.chars().count(), &Device::Cpu)?;

    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let model = LanguageModel::new(alphabet.len(), vb)?;
    seed(&variables)?;
    let rate = ParamsAdamW {
        lr: 1e-2,
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(variables.all_vars(), rate)?;

    // ROWS stretches of the text side by side, each read in pieces of LEN characters.
    let stretch = (text.elem_count() - 1) / ROWS;
    let side_by_side = |shift| {
        text.narrow(0, shift, ROWS * stretch)?
            .reshape((ROWS, stretch))
    };
    let (inputs, targets) = (side_by_side(0)?, side_by_side(1)?);
    let rows = Ragged::full(ROWS, LEN, DType::F32, &Device::Cpu)?;
    let mut loss_per_character = f32::NAN;
    for epoch in 1..=10 {
        let (mut state, mut sum, mut pieces) = (zero_state(ROWS)?, 0.0, 0.0);
        for at in (0..stretch - LEN + 1).step_by(LEN) {
            let input = inputs.narrow(1, at, LEN)?.contiguous()?;
            let target = targets.narrow(1, at, LEN)?.contiguous()?;
            let (logits, next) = model.forward(&input, &rows, &state)?;
            let loss = token_loss(&logits, &target, &rows)?.mean()?;
            optimizer.backward_step(&loss)?;
            // The gradient does not flow into the piece before.
            state = next.map(|vector| vector.detach());
            sum += loss.to_scalar::<f32>()?;
            pieces += 1.0;
        }
        loss_per_character = sum / pieces;
        println!("epoch {epoch}: {loss_per_character:.3} nats per character");
    }

    let written = model.write(&ids("You may "), 60)?;
    let written: String = written.iter().map(|&id| alphabet[id as usize]).collect();
    Ok((loss_per_character, written))
}

#[test]
fn it_learns() {
    let (loss, written) = train().unwrap();
    assert!(loss < 2.0, "{loss} nats per character");
    assert!(written.starts_with("You may "), "{written}");
}
