//! The fused layer as a candle operator: batch first outside, position first inside.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::kernel::{Columns, GruBatch, GruInput, GruLayer, GruStates};
use super::{Direction, GruGrads, GruParams, GruRun, GruWeights};
use crate::Ragged;
use crate::real::{Matrix, Output};
use crate::storage::{contiguous, output, to_vec};
use crate::table::swap_axes;
use crate::team::Team;

pub(crate) fn sequence(
    input: &Tensor,
    weights: &GruWeights,
    rows: &Ragged,
    direction: Direction,
) -> Result<GruRun> {
    let (batch, len, inputs) = input.dims3()?;
    let units = weights.weight_hh.dim(1)?;
    let shapes = [
        (&weights.weight_ih, vec![3 * units, inputs]),
        (&weights.weight_hh, vec![3 * units, units]),
        (&weights.bias_ih, vec![3 * units]),
        (&weights.bias_hh, vec![3 * units]),
    ];
    if let Some((weight, shape)) = shapes.iter().find(|(weight, shape)| weight.dims() != shape) {
        bail!(
            "expected a weight of shape {shape:?}, got {:?}",
            weight.dims()
        );
    }
    if (rows.n_rows(), rows.max_len()) != (batch, len) {
        let (rows, max_len) = (rows.n_rows(), rows.max_len());
        bail!("the input is [{batch}, {len}], but its lengths are of [{rows}, {max_len}]");
    }
    let flat = [
        &weights.weight_ih,
        &weights.weight_hh,
        &weights.bias_ih,
        &weights.bias_hh,
    ]
    .map(Tensor::flatten_all)
    .into_iter()
    .collect::<Result<Vec<_>>>()?;
    let operator = Sequence {
        direction,
        lengths: rows.lengths().to_vec(),
        batch,
        len,
        inputs,
        units,
        trace: Mutex::new(None),
    };
    let states = input
        .contiguous()?
        .apply_op2(&Tensor::cat(&flat, 0)?, operator)?;
    Ok(GruRun {
        last: last(&states, rows, direction)?,
        states,
    })
}

/// The state after the last position that each row's direction reads, `[B, H]`.
fn last(states: &Tensor, rows: &Ragged, direction: Direction) -> Result<Tensor> {
    let (batch, len, units) = states.dims3()?;
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

/// `(input [B, S, I], weights) -> states [B, S, H]`, the weights one after the other.
struct Sequence {
    direction: Direction,
    lengths: Vec<usize>,
    batch: usize,
    len: usize,
    inputs: usize,
    units: usize,
    trace: Mutex<Option<Trace>>,
}

#[derive(Clone)]
struct Trace {
    layer: GruLayer<f32>,
    input: Vec<f32>,
    states: Vec<f32>,
}

impl Sequence {
    fn columns(&self) -> Columns {
        Columns {
            first: 0,
            stride: self.units,
        }
    }

    fn batch<'a>(&'a self, input: &'a [f32]) -> GruBatch<'a, f32> {
        GruBatch {
            input: GruInput::Dense(input),
            lengths: &self.lengths,
            len: self.len,
        }
    }

    fn forward(&self, input: &[f32], weights: &[f32]) -> Trace {
        let mut states = vec![0.0; self.len * self.batch * self.units];
        let input = swapped(input, self.batch, self.len);
        let mut layer = GruLayer::new(self.direction);
        layer.pack(self.split(weights));
        let batch = self.batch(&input);
        layer.forward(batch, &mut states, self.columns(), &mut Team::single());
        Trace {
            layer,
            input,
            states,
        }
    }

    fn split<'a>(&self, weights: &'a [f32]) -> GruParams<'a, f32> {
        let gates = 3 * self.units;
        let (weight_ih, rest) = weights.split_at(gates * self.inputs);
        let (weight_hh, biases) = rest.split_at(gates * self.units);
        let (bias_ih, bias_hh) = biases.split_at(gates);
        GruParams {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        }
    }

    fn split_mut<'a>(&self, weights: &'a mut [f32]) -> GruGrads<'a, f32> {
        let gates = 3 * self.units;
        let (weight_ih, rest) = weights.split_at_mut(gates * self.inputs);
        let (weight_hh, biases) = rest.split_at_mut(gates * self.units);
        let (bias_ih, bias_hh) = biases.split_at_mut(gates);
        GruGrads {
            weight_ih,
            weight_hh,
            bias_ih,
            bias_hh,
        }
    }
}

impl CustomOp2 for Sequence {
    fn name(&self) -> &'static str {
        "gru"
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
        let states = swapped(&trace.states, self.len, self.batch);
        if let Ok(mut kept) = self.trace.lock() {
            *kept = Some(trace);
        }
        output(states, (self.batch, self.len, self.units))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weights: &Tensor,
        _states: &Tensor,
        d_states: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.trace.lock().ok().and_then(|kept| kept.clone());
        let mut trace = match kept {
            Some(trace) => trace,
            None => self.forward(&to_vec(input)?, &to_vec(weights)?),
        };
        let d_states = swapped(&to_vec(d_states)?, self.batch, self.len);
        let d_last = vec![0.0; self.batch * self.units];
        let mut d_input = vec![0.0; input.elem_count()];
        let mut d_weights = vec![0.0; weights.elem_count()];
        let seen = GruStates {
            states: &trace.states,
            d_states: &d_states,
            columns: self.columns(),
            d_last: Matrix::dense(&d_last, self.batch, self.units),
        };
        trace.layer.backward(
            self.batch(&trace.input),
            seen,
            &mut d_input,
            Output::Replace,
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
    swap_axes(&mut out, values, (outer, inner));
    out
}
