//! Times the recurrent layers beside candle-nn's: forward and backward, medians of alternating runs.
//!
//! README.md has the command: candle must be compiled for speed.

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::{GRUConfig, LSTMConfig, RNN};
use candle_nn::{VarBuilder, VarMap};
use s2s_kernels::{instruction_set, nn};

const BATCH: usize = 64;
const LEN: usize = 24;
const UNITS: usize = 128;
const REPETITIONS: usize = 15;

fn main() -> Result<()> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let numbers = (0..BATCH * LEN * UNITS).map(|i| (i % 17) as f32 / 17.0 - 0.5);
    let input = Tensor::from_iter(numbers, &Device::Cpu)?.reshape((BATCH, LEN, UNITS))?;
    let input = Var::from_tensor(&input)?;
    let input = input.as_tensor();
    println!(
        "batch {BATCH}, length {LEN}, {UNITS} units, {}",
        instruction_set().unwrap_or("?")
    );

    let ours = nn::gru(UNITS, UNITS, vb.pp("gru"))?;
    let theirs = candle_nn::gru(UNITS, UNITS, GRUConfig::default(), vb.pp("gru"))?;
    compare(
        "GRU",
        || ours.forward(input).map(|output| output.states),
        || {
            Tensor::stack(
                &theirs.seq(input)?.iter().map(|s| s.h()).collect::<Vec<_>>(),
                1,
            )
        },
    )?;
    let ours = nn::lstm(UNITS, UNITS, vb.pp("lstm"))?;
    let theirs = candle_nn::lstm(UNITS, UNITS, LSTMConfig::default(), vb.pp("lstm"))?;
    compare(
        "LSTM",
        || ours.forward(input).map(|output| output.states),
        || {
            Tensor::stack(
                &theirs.seq(input)?.iter().map(|s| s.h()).collect::<Vec<_>>(),
                1,
            )
        },
    )
}

/// Prints the times of two layers with the same parameters, after a check that they agree.
fn compare(
    name: &str,
    ours: impl Fn() -> Result<Tensor>,
    theirs: impl Fn() -> Result<Tensor>,
) -> Result<()> {
    let difference = (ours()? - theirs()?)?
        .abs()?
        .max_all()?
        .to_scalar::<f32>()?;
    assert!(
        difference < 1e-5,
        "{name}: the states differ by {difference}"
    );
    let (mut times, mut other_times) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        times.push(time(&ours)?);
        other_times.push(time(&theirs)?);
    }
    let (time, other) = (median(times), median(other_times));
    println!(
        "{name:4}  s2s-kernels {time:7.2} ms  candle-nn {other:7.2} ms  {:.2} x",
        other / time
    );
    Ok(())
}

/// Milliseconds of a forward and a backward pass.
fn time(states: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let start = Instant::now();
    states()?.sqr()?.sum_all()?.backward()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
