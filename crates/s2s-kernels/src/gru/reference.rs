//! The GRU in plain tensor operations.

use candle_core::{Result, Tensor};

use super::GruRun;
use crate::recurrent::reference::{linear, sigmoid, steps};
use crate::{Direction, Ragged, RecurrentWeights};

pub(crate) fn sequence(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
) -> Result<GruRun> {
    let (states, [last]) = steps(input, weights, rows, direction, update)?;
    Ok(GruRun { states, last })
}

pub(crate) fn cell(input: &Tensor, hidden: &Tensor, weights: &RecurrentWeights) -> Result<Tensor> {
    let gates = linear(input, &weights.weight_ih, &weights.bias_ih)?; // [B, 3H]
    let [hidden] = update(&gates, [hidden], weights)?;
    Ok(hidden)
}

/// The equations of the module, from the input's share of the gates `[B, 3H]`.
fn update(
    input_gates: &Tensor,
    [hidden]: [&Tensor; 1],
    weights: &RecurrentWeights,
) -> Result<[Tensor; 1]> {
    let hidden_gates = linear(hidden, &weights.weight_hh, &weights.bias_hh)?; // [B, 3H]
    let width = hidden.dim(1)?;
    let gate = |gates: &Tensor, index: usize| gates.narrow(1, index * width, width);

    let both = (input_gates.narrow(1, 0, 2 * width)? + hidden_gates.narrow(1, 0, 2 * width)?)?;
    let both = sigmoid(&both)?; // [B, 2H]
    let (reset, update) = (gate(&both, 0)?, gate(&both, 1)?);
    let new = (gate(input_gates, 2)? + (reset * gate(&hidden_gates, 2)?)?)?.tanh()?;
    Ok([(&new + (update * (hidden - &new)?)?)?])
}
