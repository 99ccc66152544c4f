//! The GRU in plain tensor operations.

use candle_core::{Result, Tensor};

use super::{Direction, GruRun, GruWeights};
use crate::Ragged;

pub(crate) fn sequence(
    input: &Tensor,
    weights: &GruWeights,
    rows: &Ragged,
    direction: Direction,
) -> Result<GruRun> {
    let (batch, len, _) = input.dims3()?;
    let hidden = weights.weight_hh.dim(1)?;
    let input_gates = linear(input, &weights.weight_ih, &weights.bias_ih)?; // [B, S, 3H]

    let mut state = Tensor::zeros((batch, hidden), input.dtype(), input.device())?;
    let mut states = vec![state.clone(); len];
    for step in 0..len {
        let position = match direction {
            Direction::Forward => step,
            Direction::Backward => len - 1 - step,
        };
        let gates = input_gates.narrow(1, position, 1)?.squeeze(1)?; // [B, 3H]
        let next = update(&gates, &state, weights)?;
        if rows.is_full_at(position) {
            state = next;
            states[position] = state.clone();
        } else {
            let mask = rows.mask().narrow(1, position, 1)?; // [B, 1]
            state = (&state + (next - &state)?.broadcast_mul(&mask)?)?;
            states[position] = state.broadcast_mul(&mask)?;
        }
    }
    Ok(GruRun {
        states: Tensor::stack(&states, 1)?,
        last: state,
    })
}

pub(crate) fn cell(input: &Tensor, hidden: &Tensor, weights: &GruWeights) -> Result<Tensor> {
    let gates = linear(input, &weights.weight_ih, &weights.bias_ih)?; // [B, 3H]
    update(&gates, hidden, weights)
}

/// The equations of the module, from the input's share of the gates `[B, 3H]`.
fn update(input_gates: &Tensor, hidden: &Tensor, weights: &GruWeights) -> Result<Tensor> {
    let hidden_gates = linear(hidden, &weights.weight_hh, &weights.bias_hh)?; // [B, 3H]
    let width = hidden.dim(1)?;
    let gate = |gates: &Tensor, index: usize| gates.narrow(1, index * width, width);

    let both = (input_gates.narrow(1, 0, 2 * width)? + hidden_gates.narrow(1, 0, 2 * width)?)?;
    let both = sigmoid(&both)?; // [B, 2H]
    let (reset, update) = (gate(&both, 0)?, gate(&both, 1)?);
    let new = (gate(input_gates, 2)? + (reset * gate(&hidden_gates, 2)?)?)?.tanh()?;
    &new + (update * (hidden - &new)?)?
}

/// `x Wᵀ + b` over the last axis.
fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let flat = x.flatten_to(x.rank() - 2)?; // [rows, I]
    if let Some(last) = dims.last_mut() {
        *last = weight.dim(0)?;
    }
    flat.matmul(&weight.t()?)?
        .broadcast_add(bias)?
        .reshape(dims)
}

/// Through tanh, which candle differentiates in one node and which never overflows.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)
}
