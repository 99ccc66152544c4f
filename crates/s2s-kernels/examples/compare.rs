//! Times the recurrent layers beside candle-nn's, medians of alternating runs: forward and backward over
//! whole sequences, and single steps.
//!
//! README.md has the command: candle must be compiled for speed.

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::rnn::{GRUConfig, GRUState, LSTMConfig, LSTMState, RNN};
use candle_nn::{VarBuilder, VarMap};
use s2s_kernels::{State, instruction_set, nn};

const BATCH: usize = 64;
const LEN: usize = 24;
const UNITS: usize = 128;
const REPETITIONS: usize = 15;

fn main() -> Result<()> {
    let variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let input = numbers(BATCH * LEN * UNITS)?.reshape((BATCH, LEN, UNITS))?;
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
    )?;
    for rows in [1, 64] {
        steps(rows, &vb)?;
    }
    Ok(())
}

/// Prints the times of a step of a GRU and of an LSTM: on packed weights, in tensor operations, of
/// candle-nn.
fn steps(rows: usize, vb: &VarBuilder<'_>) -> Result<()> {
    let input = numbers(rows * UNITS)?.reshape((rows, UNITS))?;
    let (one, stacked) = (input.clone(), input.unsqueeze(0)?);
    let layer = nn::gru(UNITS, UNITS, vb.pp("gru"))?;
    let cell = layer.cell()?;
    let theirs = candle_nn::gru(UNITS, UNITS, GRUConfig::default(), vb.pp("gru"))?;
    let state = GRUState { h: one.clone() };
    print_steps(
        "GRU",
        rows,
        [
            &|| cell.step(&input, &stacked),
            &|| layer.step(&input, &stacked),
            &|| theirs.step(&input, &state)?.h.unsqueeze(0),
        ],
    )?;
    let layer = nn::lstm(UNITS, UNITS, vb.pp("lstm"))?;
    let cell = layer.cell()?;
    let theirs = candle_nn::lstm(UNITS, UNITS, LSTMConfig::default(), vb.pp("lstm"))?;
    let state = LSTMState::new(one.clone(), one);
    let stacked = State {
        hidden: stacked.clone(),
        cell: stacked,
    };
    print_steps(
        "LSTM",
        rows,
        [
            &|| Ok(cell.step(&input, &stacked)?.hidden),
            &|| Ok(layer.step(&input, &stacked)?.hidden),
            &|| theirs.step(&input, &state)?.h().unsqueeze(0),
        ],
    )
}

/// Medians of some steps, alternating between the implementations, after a check that they agree.
fn print_steps(name: &str, rows: usize, all: [&dyn Fn() -> Result<Tensor>; 3]) -> Result<()> {
    const STEPS: usize = 400;
    let first = all[0]()?;
    let mut times: [Vec<f64>; 3] = Default::default();
    for step in all {
        let difference = (step()? - &first)?.abs()?.flatten_all()?.max(0)?;
        let difference: f32 = difference.to_scalar()?;
        assert!(
            difference < 1e-5,
            "{name}: the states differ by {difference}"
        );
    }
    for _ in 0..STEPS {
        for (step, times) in all.iter().zip(&mut times) {
            let start = Instant::now();
            step()?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    let [packed, plain, theirs] = times.map(median);
    println!(
        "{name:4}  step, batch {rows:2}  packed {packed:6.1} µs  tensor operations {plain:6.1} µs  candle-nn \
         {theirs:6.1} µs  {:.2} x",
        theirs / packed
    );
    Ok(())
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

/// Numbers from -0.5 to 0.5.
fn numbers(n: usize) -> Result<Tensor> {
    let numbers = (0..n).map(|i| (i % 17) as f32 / 17.0 - 0.5);
    Tensor::from_iter(numbers, &Device::Cpu)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
