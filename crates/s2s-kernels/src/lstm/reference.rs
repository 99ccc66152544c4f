//! The LSTM in plain tensor operations.

use candle_core::{Result, Tensor};

use super::LstmRun;
use crate::recurrent::reference::{linear, sigmoid, steps};
use crate::{Direction, Ragged, RecurrentWeights, State};

pub(crate) fn sequence(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
) -> Result<LstmRun> {
    let (states, [hidden, cell]) = steps(input, weights, rows, direction, update)?;
    Ok(LstmRun {
        states,
        last: State { hidden, cell },
    })
}

pub(crate) fn cell(
    input: &Tensor,
    state: &State<Tensor>,
    weights: &RecurrentWeights,
) -> Result<State<Tensor>> {
    let gates = linear(input, &weights.weight_ih, &weights.bias_ih)?; // [B, 4H]
    let [hidden, cell] = update(&gates, [&state.hidden, &state.cell], weights)?;
    Ok(State { hidden, cell })
}

/// The equations of the module, from the input's share of the gates `[B, 4H]`.
fn update(
    input_gates: &Tensor,
    [hidden, cell]: [&Tensor; 2],
    weights: &RecurrentWeights,
) -> Result<[Tensor; 2]> {
    let gates = (input_gates + linear(hidden, &weights.weight_hh, &weights.bias_hh)?)?; // [B, 4H]
    let width = hidden.dim(1)?;
    let gate = |index: usize| gates.narrow(1, index * width, width);
    let (input, forget, output) = (
        sigmoid(&gate(0)?)?,
        sigmoid(&gate(1)?)?,
        sigmoid(&gate(3)?)?,
    );
    let new = gate(2)?.tanh()?;
    let cell = ((forget * cell)? + (input * new)?)?;
    Ok([(output * cell.tanh()?)?, cell])
}
