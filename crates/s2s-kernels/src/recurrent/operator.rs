//! The fused layer as a candle operator: batch first outside, position first inside.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::batch::{Columns, RecurrentBatch, RecurrentInput, RecurrentStates};
use super::layer::RecurrentLayer;
use super::{Cell, Direction, RecurrentGrads, RecurrentParams, RecurrentWeights, Save, State};
use crate::Ragged;
use crate::matrix::{Epilogue, Matrix};
use crate::storage::{contiguous, output, to_vec};
use crate::table::swap_axes;
use crate::team::Team;

/// What a layer makes of a batch of rows.
pub(crate) struct Run {
    /// `[B, S, H]`; 0 where padded.
    pub(crate) states: Tensor,
    /// After the last position read, `[B, H]`.
    pub(crate) last: State<Tensor>,
}

pub(crate) fn sequence<C: Cell>(
    input: &Tensor,
    weights: &RecurrentWeights,
    rows: &Ragged,
    direction: Direction,
) -> Result<Run> {
    let (batch, len, inputs) = input.dims3()?;
    let flat = [
        &weights.weight_ih,
        &weights.weight_hh,
        &weights.bias_ih,
        &weights.bias_hh,
    ]
    .map(Tensor::flatten_all)
    .into_iter()
    .collect::<Result<Vec<_>>>()?;
    let operator = Sequence::<C> {
        direction,
        lengths: rows.lengths().to_vec(),
        batch,
        len,
        inputs,
        units: weights.weight_hh.dim(1)?,
        trace: Mutex::new(None),
    };
    let all = input
        .contiguous()?
        .apply_op2(&Tensor::cat(&flat, 0)?, operator)?;
    Ok(Run {
        states: all.narrow(1, 0, len)?,
        last: State {
            hidden: last(&all, rows, direction)?,
            cell: all.narrow(1, len, C::CELL_STATES)?.flatten(1, 2)?,
        },
    })
}

/// The state after the last position that each row's direction reads, `[B, H]`, of states that
/// begin with those of all positions.
fn last(states: &Tensor, rows: &Ragged, direction: Direction) -> Result<Tensor> {
    let (batch, _, units) = states.dims3()?;
    let len = rows.max_len();
    if direction == Direction::Backward || rows.is_full_at(len - 1) {
        let position = direction.last(len).unwrap_or(0);
        return states.narrow(1, position, 1)?.squeeze(1);
    }
    // An empty row's state is the 0 at its first position.
    let ends = rows
        .lengths()
        .iter()
        .map(|len| len.saturating_sub(1) as u32)
        .collect();
    Tensor::from_vec(ends, (batch, 1, 1), states.device())?
        .broadcast_as((batch, 1, units))?
        .contiguous()
        .and_then(|ends| states.gather(&ends, 1))?
        .squeeze(1)
}

/// `(input [B, S, I], weights) -> [B, S + N, H]`, the weights one after the other; after the states
/// of all positions the last cell states, of which a cell has N: 0 or 1.
struct Sequence<C> {
    direction: Direction,
    lengths: Vec<usize>,
    batch: usize,
    len: usize,
    inputs: usize,
    units: usize,
    trace: Mutex<Option<Trace<C>>>,
}

#[derive(Clone)]
struct Trace<C> {
    layer: RecurrentLayer<f32, C>,
    input: Vec<f32>,
    states: Vec<f32>,
}

impl<C: Cell> Sequence<C> {
    fn columns(&self) -> Columns {
        Columns {
            first: 0,
            stride: self.units,
        }
    }

    fn batch<'a>(&'a self, input: &'a [f32]) -> RecurrentBatch<'a, f32> {
        RecurrentBatch {
            input: RecurrentInput::Dense(input),
            lengths: &self.lengths,
            len: self.len,
        }
    }

    fn forward(&self, input: &[f32], weights: &[f32]) -> Trace<C> {
        let mut states = vec![0.0; self.len * self.batch * self.units];
        let input = swapped(input, self.batch, self.len);
        let mut layer = RecurrentLayer::new(self.direction);
        layer.pack(self.split(weights), &[]);
        let batch = self.batch(&input);
        let columns = self.columns();
        layer.forward(
            batch,
            &mut states,
            columns,
            Save::Gates,
            &mut Team::single(),
        );
        Trace {
            layer,
            input,
            states,
        }
    }

    /// What the operator says, position first: `[S + N, B, H]`.
    fn said(&self, trace: &Trace<C>) -> Vec<f32> {
        let mut said = trace.states.clone();
        let mut cell = vec![0.0; self.batch * C::CELL_STATES * self.units];
        let ends = State {
            hidden: &mut [][..],
            cell: &mut cell[..],
        };
        let columns = self.columns();
        trace
            .layer
            .last(&self.lengths, &trace.states, columns, ends, columns);
        said.extend(cell);
        said
    }

    fn split<'a>(&self, weights: &'a [f32]) -> RecurrentParams<'a, f32> {
        let gates = C::GATES * self.units;
        let (weight_ih, rest) = weights.split_at(gates * self.inputs);
        let (weight_hh, biases) = rest.split_at(gates * self.units);
        let (bias_ih, bias_hh) = biases.split_at(gates);
        RecurrentParams {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        }
    }

    fn split_mut<'a>(&self, weights: &'a mut [f32]) -> RecurrentGrads<'a, f32> {
        let gates = C::GATES * self.units;
        let (weight_ih, rest) = weights.split_at_mut(gates * self.inputs);
        let (weight_hh, biases) = rest.split_at_mut(gates * self.units);
        let (bias_ih, bias_hh) = biases.split_at_mut(gates);
        RecurrentGrads {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        }
    }
}

impl<C: Cell> CustomOp2 for Sequence<C> {
    fn name(&self) -> &'static str {
        "recurrent"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = contiguous(input, input_layout)?;
        let trace = self.forward(input, contiguous(weights, weights_layout)?);
        let positions = self.len + C::CELL_STATES;
        let said = swapped(&self.said(&trace), positions, self.batch);
        if let Ok(mut kept) = self.trace.lock() {
            *kept = Some(trace);
        }
        output(said, (self.batch, positions, self.units))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weights: &Tensor,
        _said: &Tensor,
        d_said: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.trace.lock().ok().and_then(|kept| kept.clone());
        let mut trace = match kept {
            Some(trace) => trace,
            None => self.forward(&to_vec(input)?, &to_vec(weights)?),
        };
        let d_said = swapped(&to_vec(d_said)?, self.batch, self.len + C::CELL_STATES);
        let (d_states, d_cell) = d_said.split_at(self.len * self.batch * self.units);
        let d_hidden = vec![0.0; self.batch * self.units];
        let mut d_input = vec![0.0; input.elem_count()];
        let mut d_weights = vec![0.0; weights.elem_count()];
        let seen = RecurrentStates {
            states: &trace.states,
            d_states,
            columns: self.columns(),
            d_last: State {
                hidden: Matrix::dense(&d_hidden, self.batch, self.units),
                cell: Matrix::dense(d_cell, self.batch, C::CELL_STATES * self.units),
            },
        };
        trace.layer.backward(
            self.batch(&trace.input),
            seen,
            &mut d_input,
            Epilogue::Replace,
            &mut self.split_mut(&mut d_weights),
            &mut Team::single(),
        );
        let d_input = swapped(&d_input, self.len, self.batch);
        let d_input = Tensor::from_vec(d_input, input.shape(), input.device())?;
        let d_weights = Tensor::from_vec(d_weights, weights.shape(), weights.device())?;
        Ok((Some(d_input), Some(d_weights)))
    }
}

/// `[outer, inner, W]` as `[inner, outer, W]`.
fn swapped(values: &[f32], outer: usize, inner: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    swap_axes(&mut out, values, outer, inner, &mut Team::single());
    out
}
