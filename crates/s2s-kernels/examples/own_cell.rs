//! A recurrent cell of your own on the kernels' loops: that of Elman (1990), `torch.nn.RNN` with tanh.
//!
//! ```text
//! h' = tanh(W_ih x + b_ih + W_hh h + b_hh)
//! ```
//!
//! A [`Cell`] has only the elementwise part of a step and its derivative. The layer around it multiplies the
//! matrices, packs the rows and reads them in both directions. Run it with
//! `cargo run --release -p s2s-kernels --example own_cell`.

#![expect(clippy::print_stdout, reason = "an example for the terminal")]

use s2s_kernels::State;
use s2s_kernels::slices::{
    Bidirectional, BidirectionalStates, Cell, GateBlock, Matrix, NextState, Real, RecurrentBatch,
    RecurrentGrads, RecurrentInput, RecurrentParams, Save, Team,
};

#[derive(Clone, Copy, Debug, Default)]
struct Elman;

impl Cell for Elman {
    const GATES: usize = 1;
    /// h', from which the derivative of tanh is computed.
    const SAVED: usize = 1;
    const CELL_STATES: usize = 0;
    // Both projections have the same derivative.
    const HIDDEN_BLOCKS: &'static [GateBlock] = &[GateBlock {
        gates: 0..1,
        saved: 0,
    }];

    fn forward<T: Real>(
        active: &[usize],
        input_gates: Matrix<'_, T>,
        hidden_gates: Matrix<'_, T>,
        previous: State<Matrix<'_, T>>,
        gates: &mut [T],
        next: NextState<'_, T>,
    ) {
        let units = previous.hidden.cols;
        for &row in active {
            for unit in 0..units {
                let input = input_gates.data[row * input_gates.stride + unit];
                let hidden = hidden_gates.data[row * hidden_gates.stride + unit];
                let state = (input + hidden).tanh();
                gates[row * Self::gates_stride(units) + unit] = state;
                next.hidden[row * next.hidden_stride + unit] = state;
            }
        }
    }

    fn backward<T: Real>(
        active: &[usize],
        previous: State<Matrix<'_, T>>,
        _next_cell: Matrix<'_, T>,
        gates: &mut [T],
        d_state: State<&mut [T]>,
    ) {
        let units = previous.hidden.cols;
        for (row, gates) in gates.chunks_mut(Self::gates_stride(units)).enumerate() {
            if !active.contains(&row) {
                gates.fill(T::ZERO);
                continue;
            }
            let d_state = &mut d_state.hidden[row * units..][..units];
            for (gate, d_state) in gates.iter_mut().zip(d_state) {
                let state = *gate;
                *gate = *d_state * (T::ONE - state * state); // tanh' = 1 - tanh²
                *d_state = T::ZERO; // h affects h' only through its projection
            }
        }
    }
}

const INPUTS: usize = 3;
const UNITS: usize = 2;
const LENGTHS: [usize; 2] = [4, 2];
const LEN: usize = 4;

/// The parameters of one direction, one after another.
const N_PARAMS: usize = UNITS * INPUTS + UNITS * UNITS + 2 * UNITS;

fn params(all: &[f64]) -> RecurrentParams<'_, f64> {
    let (weight_ih, rest) = all.split_at(UNITS * INPUTS);
    let (weight_hh, rest) = rest.split_at(UNITS * UNITS);
    let (bias_ih, bias_hh) = rest.split_at(UNITS);
    RecurrentParams {
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
    }
}

fn grads(all: &mut [f64]) -> RecurrentGrads<'_, f64> {
    let (weight_ih, rest) = all.split_at_mut(UNITS * INPUTS);
    let (weight_hh, rest) = rest.split_at_mut(UNITS * UNITS);
    let (bias_ih, bias_hh) = rest.split_at_mut(UNITS);
    RecurrentGrads {
        weight_ih,
        weight_hh,
        bias_ih,
        bias_hh,
    }
}

/// Different numbers within ±1.
fn numbers(n: usize) -> Vec<f64> {
    (1..=n).map(|i| (1.7 * i as f64).sin()).collect()
}

/// The sum of all states, and its gradient.
fn sum_of_states(weights: &[f64], input: &[f64]) -> (f64, Vec<f64>) {
    let mut team = Team::single();
    let mut layer = Bidirectional::<f64, Elman>::new();
    let (forward, backward) = weights.split_at(N_PARAMS);
    layer.pack([params(forward), params(backward)], &[]);
    let batch = RecurrentBatch {
        input: RecurrentInput::Dense(input),
        lengths: &LENGTHS,
        len: LEN,
        initial: None,
    };
    let mut states = vec![0.0; LEN * LENGTHS.len() * 2 * UNITS];
    let mut last = vec![0.0; LENGTHS.len() * 2 * UNITS];
    let hidden_only = |hidden| State {
        hidden,
        cell: &mut [][..],
    };
    layer.forward(
        batch,
        &mut states,
        hidden_only(&mut last),
        Save::Gates,
        &mut team,
    );

    let mut gradient = vec![0.0; weights.len()];
    let (forward, backward) = gradient.split_at_mut(N_PARAMS);
    let mut d_input = vec![0.0; input.len()];
    let flow = BidirectionalStates {
        states: &states,
        d_states: &vec![1.0; states.len()],
        d_last: State {
            hidden: &vec![0.0; last.len()],
            cell: &[],
        },
    };
    let mut both = [grads(forward), grads(backward)];
    layer.backward(batch, flow, &mut d_input, &mut both, &mut team);
    (states.iter().sum(), gradient)
}

fn main() {
    let (sum, error) = check();
    println!("sum of the states: {sum:.6}");
    println!("largest error of a derivative, against central differences: {error:.1e}");
}

/// The sum of the states, and the largest difference of a derivative from a central difference.
fn check() -> (f64, f64) {
    const STEP: f64 = 1e-5;
    let weights = numbers(2 * N_PARAMS);
    let input = numbers(LEN * LENGTHS.len() * INPUTS); // [S, B, I]
    let (sum, gradient) = sum_of_states(&weights, &input);
    let errors = gradient.iter().enumerate().map(|(index, derivative)| {
        let at = |step: f64| {
            let mut moved = weights.clone();
            moved[index] += step;
            sum_of_states(&moved, &input).0
        };
        let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        (derivative - expected).abs()
    });
    (sum, errors.fold(0.0, f64::max))
}

#[test]
fn its_derivatives_are_right() {
    let (_, error) = check();
    assert!(error < 1e-8, "{error}");
}
