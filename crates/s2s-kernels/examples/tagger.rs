//! A sequence tagger: for each symbol, whether the same symbol follows later in the sequence.
//!
//!     cargo run --release -p s2s-kernels --example tagger

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{AdamW, Embedding, Optimizer, ParamsAdamW, VarBuilder, VarMap, embedding};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use s2s_kernels::nn::{self, Gru, Linear, RecurrentOptions};
use s2s_kernels::{Ragged, token_loss};

const SYMBOLS: usize = 8;
const MAX_LEN: usize = 12;
const BATCH: usize = 32;

struct Tagger {
    embedding: Embedding,
    encoder: Gru,
    output: Linear,
}

impl Tagger {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let options = RecurrentOptions {
            is_bidirectional: true,
            ..RecurrentOptions::default()
        };
        Ok(Self {
            embedding: embedding(SYMBOLS, 16, vb.pp("embedding"))?,
            encoder: nn::gru_with(16, 32, options, vb.pp("encoder"))?,
            output: nn::linear(64, 2, vb.pp("output"))?,
        })
    }

    /// Symbols `[B, S]` to logits `[B, S, 2]`.
    fn forward(&self, symbols: &Tensor, rows: &Ragged) -> Result<Tensor> {
        let x = self.embedding.forward(symbols)?;
        self.output
            .forward(&self.encoder.forward_ragged(&x, rows, None)?.states)
    }
}

/// Symbols, tags, and the lengths of the rows.
fn batch(rng: &mut ChaCha8Rng) -> Result<(Tensor, Tensor, Ragged)> {
    let (mut symbols, mut tags, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..BATCH {
        let len = rng.random_range(1..=MAX_LEN);
        let mut row: Vec<u32> = (0..len)
            .map(|_| rng.random_range(0..SYMBOLS as u32))
            .collect();
        let mut tag: Vec<u32> = (0..len)
            .map(|at| row[at + 1..].contains(&row[at]).into())
            .collect();
        row.resize(MAX_LEN, 0);
        tag.resize(MAX_LEN, 0);
        symbols.extend(row);
        tags.extend(tag);
        lengths.push(len);
    }
    let tensor = |numbers| Tensor::from_vec(numbers, (BATCH, MAX_LEN), &Device::Cpu);
    let rows = Ragged::new(lengths, MAX_LEN, DType::F32, &Device::Cpu)?;
    Ok((tensor(symbols)?, tensor(tags)?, rows))
}

/// Draws all parameters again: candle's own initialization cannot be seeded on the CPU.
fn seed(variables: &VarMap, rng: &mut ChaCha8Rng) -> Result<()> {
    let data = variables.data().lock().expect("one thread");
    let mut all: Vec<_> = data.iter().collect();
    all.sort_by_key(|(name, _)| name.as_str());
    for (_, variable) in all {
        let drawn = (0..variable.elem_count()).map(|_| rng.random_range(-0.3..0.3_f32));
        variable.set(&Tensor::from_iter(drawn, &Device::Cpu)?.reshape(variable.shape())?)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let (correct, n_tags) = train()?;
    println!("{correct} of {n_tags} tags of new sequences are correct");
    Ok(())
}

/// Trains a tagger. Returns how many tags of new sequences are correct, and how many there are.
fn train() -> Result<(f32, usize)> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let variables = VarMap::new();
    let model = Tagger::new(VarBuilder::from_varmap(
        &variables,
        DType::F32,
        &Device::Cpu,
    ))?;
    seed(&variables, &mut rng)?;
    let rate = ParamsAdamW {
        lr: 1e-2,
        weight_decay: 0.0,
        ..ParamsAdamW::default()
    };
    let mut optimizer = AdamW::new(variables.all_vars(), rate)?;
    for step in 1..=600 {
        let (symbols, tags, rows) = batch(&mut rng)?;
        let logits = model.forward(&symbols, &rows)?;
        let loss = token_loss(&logits, &tags, &rows)?.mean()?;
        optimizer.backward_step(&loss)?;
        if step % 200 == 0 {
            println!("step {step}: loss {:.4}", loss.to_scalar::<f32>()?);
        }
    }

    let (symbols, tags, rows) = batch(&mut rng)?;
    let predicted = model.forward(&symbols, &rows)?.argmax(2)?;
    let equal = predicted.eq(&tags)?.to_dtype(DType::F32)?;
    let correct = (equal * rows.mask())?.sum_all()?.to_scalar::<f32>()?;
    Ok((correct, rows.n_tokens()))
}

#[test]
fn it_learns() {
    let (correct, n_tags) = train().unwrap();
    assert!(correct > 0.98 * n_tags as f32, "{correct} of {n_tags}");
}
