//! One step at a time on packed weights, for inference.

use candle_core::{Result, Tensor, bail};

use crate::matrix::{Epilogue, Matrix};
use crate::recurrent::weights::CellWeights;
use crate::recurrent::{Cell, NextState, RecurrentParams, RecurrentWeights, State};
use crate::storage::{has_kernel, to_vec};

/// The layers of a [`Gru`](super::Gru), with packed weights; see [`Gru::cell`](super::Gru::cell).
#[derive(Clone, Debug)]
pub struct GruCell(pub(super) Layers<crate::gru::Gru>);

/// The layers of an [`Lstm`](super::Lstm), with packed weights; see [`Lstm::cell`](super::Lstm::cell).
#[derive(Clone, Debug)]
pub struct LstmCell(pub(super) Layers<crate::lstm::Lstm>);

impl GruCell {
    /// The next states of all layers, `[L, B, H]`, from `input` `[B, I]` and the states before. The last is
    /// the output. They have no graph.
    ///
    /// # Errors
    /// If the shapes disagree, or if the tensors are not f32 on the CPU.
    pub fn step(&self, input: &Tensor, state: &Tensor) -> Result<Tensor> {
        let [next] = self.0.step(input, [state])?;
        Ok(next)
    }
}

impl LstmCell {
    /// The next states of all layers, `[L, B, H]` each, from `input` `[B, I]` and the states before. The
    /// last `hidden` is the output. They have no graph.
    ///
    /// # Errors
    /// If the shapes disagree, or if the tensors are not f32 on the CPU.
    pub fn step(&self, input: &Tensor, state: &State<Tensor>) -> Result<State<Tensor>> {
        let [hidden, cell] = self.0.step(input, state.each_ref().into_array())?;
        Ok(State { hidden, cell })
    }
}

/// The packed weights of stacked layers.
#[derive(Clone, Debug)]
pub(super) struct Layers<C> {
    layers: Vec<CellWeights<f32, C>>,
    inputs: usize,
}

impl<C: Cell> Layers<C> {
    /// Packs the weights as they are.
    pub(super) fn new(layers: &[&RecurrentWeights]) -> Result<Self> {
        let mut packed = Vec::with_capacity(layers.len());
        let mut inputs = None;
        for weights in layers {
            if !has_kernel(&weights.all()) {
                bail!("packed weights must be f32 on the CPU; `step` of the layer takes others");
            }
            let [weight_ih, weight_hh, bias_ih, bias_hh] = weights.all().map(to_vec);
            let params = RecurrentParams {
                weight_ih: &weight_ih?,
                weight_hh: &weight_hh?,
                bias_ih: &bias_ih?,
                bias_hh: &bias_hh?,
            };
            let columns = params.inputs();
            let mut own = CellWeights::<f32, C>::default();
            own.pack(
                params,
                Matrix::dense(params.weight_ih, params.bias_ih.len(), columns),
            );
            packed.push(own);
            inputs = inputs.or(Some(columns));
        }
        Ok(Self {
            layers: packed,
            inputs: inputs.unwrap_or(0),
        })
    }

    /// Each vector of the next states, `[L, B, H]`; a cell has one or two.
    fn step<const N: usize>(&self, input: &Tensor, state: [&Tensor; N]) -> Result<[Tensor; N]> {
        let (rows, inputs) = input.dims2()?;
        let units = self.layers.first().map_or(0, |layer| layer.units);
        let shape = [self.layers.len(), rows, units];
        let wrong = state.iter().find(|vector| vector.dims() != shape);
        if let Some(vector) = wrong {
            bail!("expected states of {shape:?}, got {:?}", vector.dims());
        }
        if inputs != self.inputs {
            bail!(
                "expected an input of [{rows}, {}], got {:?}",
                self.inputs,
                input.dims()
            );
        }
        if !has_kernel(&[&[input], &state[..]].concat()) {
            bail!("a cell with packed weights reads f32 on the CPU, and at least one row");
        }
        let active: Vec<usize> = (0..rows).collect();
        let mut input = to_vec(input)?;
        let previous: Vec<Vec<f32>> = state.into_iter().map(to_vec).collect::<Result<_>>()?;
        let mut next = previous.clone();
        let width = rows * units;
        let gates_width = C::GATES * units;
        let mut input_gates = vec![0.0; rows * gates_width];
        let mut hidden_gates = vec![0.0; rows * gates_width];
        let mut gates = vec![0.0; rows * C::gates_stride(units)];
        for (index, layer) in self.layers.iter().enumerate() {
            let own = index * width..(index + 1) * width;
            let vector = |n: usize| match previous.get(n) {
                Some(vector) => Matrix::dense(&vector[own.clone()], rows, units),
                None => Matrix::dense(&[], rows, 0),
            };
            let before = State {
                hidden: vector(0),
                cell: vector(1),
            };
            let read = Matrix::dense(&input, rows, input.len() / rows);
            let bias = Epilogue::Bias(&layer.bias_ih);
            layer
                .input
                .forward(read, &mut input_gates, gates_width, bias);
            layer.hidden_gates(before.hidden, &mut hidden_gates);
            let (hidden, cell) = next.split_at_mut(1);
            C::forward(
                &active,
                Matrix::dense(&input_gates, rows, gates_width),
                Matrix::dense(&hidden_gates, rows, gates_width),
                before,
                &mut gates,
                NextState {
                    hidden: &mut hidden[0][own.clone()],
                    hidden_stride: units,
                    cell: cell
                        .first_mut()
                        .map_or(&mut [], |cell| &mut cell[own.clone()]),
                },
            );
            input.clear();
            input.extend_from_slice(&next[0][own]);
        }
        let mut tensors = Vec::with_capacity(N);
        for vector in next {
            tensors.push(Tensor::from_vec(vector, &shape, &candle_core::Device::Cpu)?);
        }
        Ok(tensors
            .try_into()
            .unwrap_or_else(|_| unreachable!("as many as before")))
    }
}
