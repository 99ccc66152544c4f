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

/// The output of a layer for a batch of rows.
pub(crate) struct LayerOutput {
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
    initial: Option<State<&Tensor>>,
) -> Result<LayerOutput> {
    if direction == Direction::Backward && initial.is_some() {
        let input = rows.reverse(input)?;
        let run = sequence::<C>(&input, weights, rows, Direction::Forward, initial)?;
        return Ok(LayerOutput {
            states: rows.reverse(&run.states)?,
            last: run.last,
        });
    }
    let (batch, len, inputs) = input.dims3()?;
    let mut arguments = weights.all().to_vec();
    if let Some(initial) = initial {
        arguments.extend(&initial.into_array()[..1 + C::CELL_STATES]);
    }
    let flat = arguments
        .into_iter()
        .map(Tensor::flatten_all)
        .collect::<Result<Vec<_>>>()?;
    let operator = Sequence::<C> {
        direction,
        lengths: rows.lengths().to_vec(),
        batch,
        len,
        inputs,
        units: weights.weight_hh.dim(1)?,
        has_initial: initial.is_some(),
        trace: Mutex::new(None),
    };
    let all = input
        .contiguous()?
        .apply_op2(&Tensor::cat(&flat, 0)?, operator)?;
    Ok(LayerOutput {
        states: all.narrow(1, 0, len)?,
        last: State {
            hidden: all.narrow(1, len, 1)?.squeeze(1)?,
            cell: all.narrow(1, len + 1, C::CELL_STATES)?.flatten(1, 2)?,
        },
    })
}

/// `(input [B, S, I], parameters) -> [B, S + 1 + N, H]`: the states of all positions, then the last
/// state and the last cell states, of which a cell has N: 0 or 1. The parameters are the weights and,
/// if there is one, the initial state, one after the other.
struct Sequence<C> {
    direction: Direction,
    lengths: Vec<usize>,
    batch: usize,
    len: usize,
    inputs: usize,
    units: usize,
    has_initial: bool,
    trace: Mutex<Option<Trace<C>>>,
}

#[derive(Clone)]
struct Trace<C> {
    layer: RecurrentLayer<f32, C>,
    input: Vec<f32>,
    states: Vec<f32>,
}

impl<C: Cell> Sequence<C> {
    fn batch<'a>(&'a self, input: &'a [f32], parameters: &'a [f32]) -> RecurrentBatch<'a, f32> {
        let initial = &parameters[self.sizes().iter().sum()..];
        let (hidden, cell) = initial.split_at(initial.len().min(self.batch * self.units));
        RecurrentBatch {
            input: RecurrentInput::Dense(input),
            lengths: &self.lengths,
            len: self.len,
            initial: self.has_initial.then_some(State { hidden, cell }),
        }
    }

    fn forward(&self, input: &[f32], parameters: &[f32]) -> Trace<C> {
        let mut states = vec![0.0; self.len * self.batch * self.units];
        let input = swapped(input, self.batch, self.len);
        let mut layer = RecurrentLayer::new(self.direction);
        layer.pack(self.split(parameters), &[]);
        let batch = self.batch(&input, parameters);
        layer.forward(
            batch,
            &mut states,
            Columns::all(self.units),
            Save::Gates,
            &mut Team::of_candle(),
        );
        Trace {
            layer,
            input,
            states,
        }
    }

    /// The output, position first: `[S + 1 + N, B, H]`.
    fn outputs(&self, trace: &Trace<C>, parameters: &[f32]) -> Vec<f32> {
        let end = trace.states.len();
        let mut outputs = trace.states.clone();
        outputs.resize(end + (1 + C::CELL_STATES) * self.batch * self.units, 0.0);
        let (hidden, cell) = outputs[end..].split_at_mut(self.batch * self.units);
        let columns = Columns::all(self.units);
        trace.layer.last(
            self.batch(&trace.input, parameters),
            &trace.states,
            columns,
            State { hidden, cell },
            columns,
        );
        outputs
    }

    /// The sizes of the weights, in order.
    fn sizes(&self) -> [usize; 4] {
        let gates = C::GATES * self.units;
        [gates * self.inputs, gates * self.units, gates, gates]
    }

    fn split<'a>(&self, parameters: &'a [f32]) -> RecurrentParams<'a, f32> {
        let mut rest = parameters;
        let [weight_ih, weight_hh, bias_ih, bias_hh] = self.sizes().map(|size| {
            let part;
            (part, rest) = rest.split_at(size);
            part
        });
        RecurrentParams {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        }
    }

    /// The gradients of the weights, and of the initial state.
    fn split_mut<'a>(&self, parameters: &'a mut [f32]) -> (RecurrentGrads<'a, f32>, &'a mut [f32]) {
        let mut rest = parameters;
        let [weight_ih, weight_hh, bias_ih, bias_hh] = self.sizes().map(|size| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(size);
            rest = after;
            part
        });
        let weights = RecurrentGrads {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        };
        (weights, rest)
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
        let parameters = contiguous(weights, weights_layout)?;
        let trace = self.forward(contiguous(input, input_layout)?, parameters);
        let positions = self.len + 1 + C::CELL_STATES;
        let outputs = swapped(&self.outputs(&trace, parameters), positions, self.batch);
        if let Ok(mut saved) = self.trace.lock() {
            *saved = Some(trace);
        }
        output(outputs, (self.batch, positions, self.units))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weights: &Tensor,
        _outputs: &Tensor,
        d_outputs: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let parameters = to_vec(weights)?;
        let saved = self.trace.lock().ok().and_then(|saved| saved.clone());
        let mut trace = match saved {
            Some(trace) => trace,
            None => self.forward(&to_vec(input)?, &parameters),
        };
        let state = self.batch * self.units;
        let positions = self.len + 1 + C::CELL_STATES;
        let d_outputs = swapped(&to_vec(d_outputs)?, self.batch, positions);
        let (d_states, d_last) = d_outputs.split_at(self.len * state);
        let (d_hidden, d_cell) = d_last.split_at(state);
        let mut d_input = vec![0.0; input.elem_count()];
        let mut d_parameters = vec![0.0; parameters.len()];
        let (mut d_weights, d_initial) = self.split_mut(&mut d_parameters);
        let states = RecurrentStates {
            states: &trace.states,
            d_states,
            columns: Columns::all(self.units),
            d_last: State {
                hidden: Matrix::dense(d_hidden, self.batch, self.units),
                cell: Matrix::dense(d_cell, self.batch, C::CELL_STATES * self.units),
            },
        };
        trace.layer.backward(
            self.batch(&trace.input, &parameters),
            states,
            &mut d_input,
            Epilogue::Replace,
            &mut d_weights,
            &mut Team::of_candle(),
        );
        if self.has_initial {
            let State { hidden, cell } = trace.layer.d_initial(self.batch);
            d_initial[..state].copy_from_slice(hidden);
            d_initial[state..].copy_from_slice(cell);
        }
        let d_input = swapped(&d_input, self.len, self.batch);
        let d_input = Tensor::from_vec(d_input, input.shape(), input.device())?;
        let d_parameters = Tensor::from_vec(d_parameters, weights.shape(), weights.device())?;
        Ok((Some(d_input), Some(d_parameters)))
    }
}

/// `[outer, inner, W]` as `[inner, outer, W]`.
fn swapped(values: &[f32], outer: usize, inner: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    swap_axes(&mut out, values, outer, inner, &mut Team::single());
    out
}
