//! The loop of a recurrent layer in plain tensor operations.

use candle_core::{Result, Tensor};

use crate::{Direction, Ragged, RecurrentWeights};

/// The states `[B, S, H]` of a cell, and its last state, from its initial state or from 0.
///
/// `step` computes the next state, of one or more vectors `[B, H]`, from the input's part of the gates
/// `[B, G·H]` and the state before. The first vector of a state is the layer's output.
pub(crate) fn scan<const N: usize>(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
    initial: Option<[&Tensor; N]>,
    step: impl Fn(&Tensor, [&Tensor; N]) -> Result<[Tensor; N]>,
) -> Result<(Tensor, [Tensor; N])> {
    rows.check(input)?;
    let (batch, len, inputs) = input.dims3()?;
    let hidden = weights.weight_hh.dim(1)?;
    // Position first: the gates of one position are then contiguous.
    let input = input.transpose(0, 1)?.reshape((len * batch, inputs))?;
    let mut input_gates = Vec::with_capacity(len);
    let gates = Projection::input(weights)?.forward(&input)?; // [S·B, G·H]
    split_rows(&gates, batch, &mut input_gates)?;

    let zeros = Tensor::zeros((batch, hidden), input.dtype(), input.device())?;
    let mut state: [Tensor; N] = match initial {
        Some(initial) => initial.map(Tensor::clone),
        None => std::array::from_fn(|_| zeros.clone()),
    };
    let mut states = vec![zeros; len];
    for index in 0..len {
        let position = direction.position(index, len);
        let next = step(&input_gates[position], state.each_ref())?;
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

/// Splits `[N·rows, W]` into its N blocks of `rows`, by halves.
///
/// The gradient of a slice has the size of the tensor that it was cut from. Cutting one block after
/// the other from the whole would therefore cost O(N²) in the backward pass; halves cost O(N log N).
fn split_rows(all: &Tensor, rows: usize, blocks: &mut Vec<Tensor>) -> Result<()> {
    let n = all.dim(0)? / rows;
    if n <= 1 {
        blocks.push(all.clone());
        return Ok(());
    }
    let half = n / 2 * rows;
    split_rows(&all.narrow(0, 0, half)?, rows, blocks)?;
    split_rows(&all.narrow(0, half, n * rows - half)?, rows, blocks)
}

/// `x Wᵀ + b`, transposed once for all steps of a sequence.
pub(crate) struct Projection {
    weight: Tensor, // [in, out]
    bias: Tensor,   // [1, out]
}

impl Projection {
    /// The input's part of the gates.
    pub(crate) fn input(weights: &RecurrentWeights) -> Result<Self> {
        Self::new(&weights.weight_ih, &weights.bias_ih)
    }

    /// The hidden state's part of the gates.
    pub(crate) fn hidden(weights: &RecurrentWeights) -> Result<Self> {
        Self::new(&weights.weight_hh, &weights.bias_hh)
    }

    fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        Ok(Self {
            weight: weight.t()?,
            bias: bias.unsqueeze(0)?,
        })
    }

    /// `[rows, in]` to `[rows, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        // CUDA multiplies contiguous matrices only.
        x.contiguous()?
            .matmul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}
