//! The LSTM in plain tensor operations.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::{Lstm, LstmOutput};
use crate::recurrent::reference::{Projection, scan};
use crate::recurrent::{Cell, check_state};
use crate::{Direction, Ragged, RecurrentWeights, State};

/// The definition of [`lstm`](crate::lstm()), with the same shapes: `input` is `[B, S, I]`, `initial` twice `[B, H]`.
///
/// # Errors
/// If the shapes disagree.
pub fn lstm(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
    initial: Option<&State<Tensor>>,
) -> Result<LstmOutput> {
    weights.check(Lstm::GATES, input)?;
    let initial = initial.map(|state| state.each_ref().into_array());
    for vector in initial.iter().flatten() {
        check_state(vector, weights, input)?;
    }
    let hidden_projection = Projection::hidden(weights)?;
    let (states, [hidden, cell]) =
        scan(input, weights, rows, direction, initial, |gates, state| {
            step(gates, state, &hidden_projection)
        })?;
    Ok(LstmOutput {
        states,
        last: State { hidden, cell },
    })
}

/// One step of an LSTM: `input` `[B, I]` and a state of two `[B, H]` give the next state.
///
/// # Errors
/// If the shapes disagree.
pub fn lstm_cell(
    input: &Tensor,
    state: &State<Tensor>,
    weights: &RecurrentWeights,
) -> Result<State<Tensor>> {
    weights.check(Lstm::GATES, input)?;
    let gates = Projection::input(weights)?.forward(input)?; // [B, 4H]
    let state = [&state.hidden, &state.cell];
    let [hidden, cell] = step(&gates, state, &Projection::hidden(weights)?)?;
    Ok(State { hidden, cell })
}

/// The equations of the module, from the input's part of the gates `[B, 4H]`.
fn step(
    input_gates: &Tensor,
    [hidden, cell]: [&Tensor; 2],
    projection: &Projection,
) -> Result<[Tensor; 2]> {
    let gates = (input_gates + projection.forward(hidden)?)?; // [B, 4H]
    let width = hidden.dim(1)?;
    let input_forget = sigmoid(&gates.narrow(1, 0, 2 * width)?)?; // [B, 2H]
    let input = input_forget.narrow(1, 0, width)?;
    let forget = input_forget.narrow(1, width, width)?;
    let new = gates.narrow(1, 2 * width, width)?.tanh()?;
    let output = sigmoid(&gates.narrow(1, 3 * width, width)?)?;
    let cell = ((forget * cell)? + (input * new)?)?;
    Ok([(output * cell.tanh()?)?, cell])
}
