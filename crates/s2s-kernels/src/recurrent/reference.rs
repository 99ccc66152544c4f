//! What the layers share in plain tensor operations.

use candle_core::{Result, Tensor};

use crate::{Direction, Ragged, RecurrentWeights};

/// The states `[B, S, H]` of a cell whose `update` makes the next state, of one or more vectors
/// `[B, H]`, from the input's share of the gates `[B, G·H]`; and the last state.
///
/// Others read the first vector.
pub(crate) fn steps<const N: usize>(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
    update: impl Fn(&Tensor, [&Tensor; N], &RecurrentWeights) -> Result<[Tensor; N]>,
) -> Result<(Tensor, [Tensor; N])> {
    let (batch, len, _) = input.dims3()?;
    let hidden = weights.weight_hh.dim(1)?;
    let input_gates = linear(input, &weights.weight_ih, &weights.bias_ih)?; // [B, S, G·H]

    let zeros = Tensor::zeros((batch, hidden), input.dtype(), input.device())?;
    let mut state: [Tensor; N] = std::array::from_fn(|_| zeros.clone());
    let mut states = vec![zeros.clone(); len];
    for step in 0..len {
        let position = direction.position(step, len);
        let gates = input_gates.narrow(1, position, 1)?.squeeze(1)?; // [B, G·H]
        let next = update(&gates, state.each_ref(), weights)?;
        if rows.is_full_at(position) {
            state = next;
            states[position] = state[0].clone();
        } else {
            let mask = rows.mask().narrow(1, position, 1)?; // [B, 1]
            for (state, next) in state.iter_mut().zip(next) {
                *state = (&*state + (next - &*state)?.broadcast_mul(&mask)?)?;
            }
            states[position] = state[0].broadcast_mul(&mask)?;
        }
    }
    Ok((Tensor::stack(&states, 1)?, state))
}

/// `x Wᵀ + b` over the last axis.
pub(crate) fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
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
pub(crate) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    x.affine(0.5, 0.0)?.tanh()?.affine(0.5, 0.5)
}
