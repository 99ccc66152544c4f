//! GRU and LSTM with their parameters: stacked layers, in one or both directions.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;

use super::cell::{GruCell, Layers, LstmCell};
use super::linear::bound;
use crate::recurrent::Cell;
use crate::reference::{gru_cell, lstm_cell};
use crate::{Direction, GruOutput, LstmOutput, Ragged, RecurrentWeights, State};

/// The options of a recurrent layer, which are those of `torch.nn.GRU`.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentOptions {
    /// The number of stacked layers; each reads the states of the one below.
    pub layers: usize,
    /// Whether each layer also reads backward. Its states are then `[forward; backward]`.
    pub is_bidirectional: bool,
    /// Whether the layers have biases.
    pub has_bias: bool,
}

impl Default for RecurrentOptions {
    /// One layer, forward, with biases.
    fn default() -> Self {
        Self {
            layers: 1,
            is_bidirectional: false,
            has_bias: true,
        }
    }
}

/// A [GRU](crate::gru()) with its parameters.
#[derive(Clone, Debug)]
pub struct Gru(Stack);

/// An [LSTM](crate::lstm()) with its parameters.
#[derive(Clone, Debug)]
pub struct Lstm(Stack);

/// A GRU of one layer, from `inputs` to `units` numbers, initialized like `torch.nn.GRU`. Its parameters
/// are `weight_ih_l0` `[3·units, inputs]`, `weight_hh_l0` `[3·units, units]`, `bias_ih_l0` and
/// `bias_hh_l0` `[3·units]`.
///
/// # Errors
/// If the builder has no parameters of these names and shapes.
pub fn gru(inputs: usize, units: usize, vb: VarBuilder<'_>) -> Result<Gru> {
    gru_with(inputs, units, RecurrentOptions::default(), vb)
}

/// A GRU with options. The parameters of layer `k` end in `_lk`, those of the backward direction in
/// `_lk_reverse`.
///
/// # Errors
/// If the builder has no parameters of these names and shapes, or without a layer.
pub fn gru_with(
    inputs: usize,
    units: usize,
    options: RecurrentOptions,
    vb: VarBuilder<'_>,
) -> Result<Gru> {
    Stack::new(crate::gru::Gru::GATES, inputs, units, options, &vb).map(Gru)
}

/// An LSTM of one layer, like [`gru`]; its parameters have `4·units` rows.
///
/// # Errors
/// If the builder has no parameters of these names and shapes.
pub fn lstm(inputs: usize, units: usize, vb: VarBuilder<'_>) -> Result<Lstm> {
    lstm_with(inputs, units, RecurrentOptions::default(), vb)
}

/// An LSTM with options, like [`gru_with`].
///
/// # Errors
/// If the builder has no parameters of these names and shapes, or without a layer.
pub fn lstm_with(
    inputs: usize,
    units: usize,
    options: RecurrentOptions,
    vb: VarBuilder<'_>,
) -> Result<Lstm> {
    Stack::new(crate::lstm::Lstm::GATES, inputs, units, options, &vb).map(Lstm)
}

impl Gru {
    /// The states of rows without padding: `input` `[B, S, I]` gives states `[B, S, D·H]`, in D
    /// directions, and the last state of each layer and direction, `[L·D, B, H]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn forward(&self, input: &Tensor) -> Result<GruOutput> {
        self.forward_ragged(input, &full(input)?, None)
    }

    /// [`forward`](Self::forward) of padded rows, from an initial state `[L·D, B, H]`, or from 0.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn forward_ragged(
        &self,
        input: &Tensor,
        rows: &Ragged,
        initial: Option<&Tensor>,
    ) -> Result<GruOutput> {
        let (states, [last]) = self
            .0
            .forward(input, initial.map(|it| [it]), |run, initial| {
                let initial = initial.map(|[hidden]| hidden);
                let output = crate::gru(
                    run.input,
                    run.weights,
                    rows,
                    run.direction,
                    initial.as_ref(),
                )?;
                Ok((output.states, [output.last]))
            })?;
        Ok(GruOutput { states, last })
    }

    /// One step, in plain tensor operations that autograd differentiates. [`cell`](Self::cell) is faster where
    /// the weights stay as they are. `input` `[B, I]` and the states of all layers, `[L, B, H]`, give the next states.
    ///
    /// # Errors
    /// If the shapes disagree, or if the layers read in both directions.
    pub fn step(&self, input: &Tensor, state: &Tensor) -> Result<Tensor> {
        let [next] = self.0.step(input, [state], |input, [hidden], weights| {
            Ok([gru_cell(input, hidden, weights)?])
        })?;
        Ok(next)
    }

    /// The layers with a packed copy of their weights, to run them step by step on the kernels, without
    /// autograd. Make another one after the weights have changed.
    ///
    /// # Errors
    /// If the layers read in both directions, or if the weights are not f32 on the CPU.
    pub fn cell(&self) -> Result<GruCell> {
        Layers::new(&self.0.forward_layers()?).map(GruCell)
    }
}

impl Lstm {
    /// The states of rows without padding: `input` `[B, S, I]` gives states `[B, S, D·H]`, in D
    /// directions, and the last state of each layer and direction, `[L·D, B, H]` each.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn forward(&self, input: &Tensor) -> Result<LstmOutput> {
        self.forward_ragged(input, &full(input)?, None)
    }

    /// [`forward`](Self::forward) of padded rows, from an initial state `[L·D, B, H]` each, or from 0.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn forward_ragged(
        &self,
        input: &Tensor,
        rows: &Ragged,
        initial: Option<&State<Tensor>>,
    ) -> Result<LstmOutput> {
        let initial = initial.map(|state| state.each_ref().into_array());
        let (states, [hidden, cell]) = self.0.forward(input, initial, |run, initial| {
            let initial = initial.map(|[hidden, cell]| State { hidden, cell });
            let output = crate::lstm(
                run.input,
                run.weights,
                rows,
                run.direction,
                initial.as_ref(),
            )?;
            Ok((output.states, output.last.into_array()))
        })?;
        Ok(LstmOutput {
            states,
            last: State { hidden, cell },
        })
    }

    /// One step, in plain tensor operations that autograd differentiates. [`cell`](Self::cell) is faster where
    /// the weights stay as they are. `input` `[B, I]` and the states of all layers, `[L, B, H]` each, give the next states.
    ///
    /// # Errors
    /// If the shapes disagree, or if the layers read in both directions.
    pub fn step(&self, input: &Tensor, state: &State<Tensor>) -> Result<State<Tensor>> {
        let before = state.each_ref().into_array();
        let [hidden, cell] = self.0.step(input, before, |input, before, weights| {
            let [hidden, cell] = before.map(Tensor::clone);
            let next = lstm_cell(input, &State { hidden, cell }, weights)?;
            Ok(next.into_array())
        })?;
        Ok(State { hidden, cell })
    }

    /// The layers with a packed copy of their weights, to run them step by step on the kernels, without
    /// autograd. Make another one after the weights have changed.
    ///
    /// # Errors
    /// If the layers read in both directions, or if the weights are not f32 on the CPU.
    pub fn cell(&self) -> Result<LstmCell> {
        Layers::new(&self.0.forward_layers()?).map(LstmCell)
    }
}

/// Rows without padding.
fn full(input: &Tensor) -> Result<Ragged> {
    let (rows, len, _) = input.dims3()?;
    Ragged::full(rows, len, input.dtype(), input.device())
}

/// The parameters of stacked layers, each with one or two directions.
#[derive(Clone, Debug)]
struct Stack {
    layers: Vec<Vec<RecurrentWeights>>,
}

/// One layer and direction on its input.
struct LayerInput<'a> {
    input: &'a Tensor,
    weights: &'a RecurrentWeights,
    direction: Direction,
}

impl Stack {
    fn new(
        gates: usize,
        inputs: usize,
        units: usize,
        options: RecurrentOptions,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        if options.layers == 0 {
            bail!("a recurrent layer needs at least one layer");
        }
        let suffixes = match options.is_bidirectional {
            true => &["", "_reverse"][..],
            false => &[""],
        };
        let weights = |layer: usize, suffix: &str| {
            let inputs = match layer {
                0 => inputs,
                _ => suffixes.len() * units,
            };
            let (rows, bound) = (gates * units, bound(units));
            let name = |kind: &str| format!("{kind}_l{layer}{suffix}");
            let bias = |kind| match options.has_bias {
                true => vb.get_with_hints(rows, &name(kind), bound),
                false => Tensor::zeros(rows, vb.dtype(), vb.device()),
            };
            Ok(RecurrentWeights {
                weight_ih: vb.get_with_hints((rows, inputs), &name("weight_ih"), bound)?,
                weight_hh: vb.get_with_hints((rows, units), &name("weight_hh"), bound)?,
                bias_ih: bias("bias_ih")?,
                bias_hh: bias("bias_hh")?,
            })
        };
        let layer = |layer| {
            suffixes
                .iter()
                .map(|suffix| weights(layer, suffix))
                .collect()
        };
        Ok(Self {
            layers: (0..options.layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// The states of the top layer, `[B, S, D·H]`, and each vector of the last states, `[L·D, B, H]`.
    fn forward<const N: usize>(
        &self,
        input: &Tensor,
        initial: Option<[&Tensor; N]>,
        run: impl Fn(LayerInput<'_>, Option<[Tensor; N]>) -> Result<(Tensor, [Tensor; N])>,
    ) -> Result<(Tensor, [Tensor; N])> {
        if let Some(initial) = initial {
            let n: usize = self.layers.iter().map(Vec::len).sum();
            for vector in initial {
                check_first(vector, n)?;
            }
        }
        let mut states = input.clone();
        let mut last: [Vec<Tensor>; N] = std::array::from_fn(|_| Vec::new());
        let mut index = 0;
        for layer in &self.layers {
            let mut parts = Vec::with_capacity(layer.len());
            for (weights, direction) in layer.iter().zip([Direction::Forward, Direction::Backward])
            {
                let of_run = |vector: &Tensor| vector.get(index);
                let initial = initial.map(|it| try_each(it, of_run)).transpose()?;
                let one = LayerInput {
                    input: &states,
                    weights,
                    direction,
                };
                let (part, ends) = run(one, initial)?;
                parts.push(part);
                last.iter_mut()
                    .zip(ends)
                    .for_each(|(last, end)| last.push(end));
                index += 1;
            }
            states = match &parts[..] {
                [one] => one.clone(),
                several => Tensor::cat(several, 2)?,
            };
        }
        Ok((
            states,
            try_each(last.each_ref(), |all| Tensor::stack(all, 0))?,
        ))
    }

    /// The weights of each layer, if all read forward alone.
    fn forward_layers(&self) -> Result<Vec<&RecurrentWeights>> {
        self.layers
            .iter()
            .map(|layer| match &layer[..] {
                [weights] => Ok(weights),
                _ => bail!("a layer that reads in both directions cannot be run step by step"),
            })
            .collect()
    }

    /// Each vector of the next states, `[L, B, H]`.
    fn step<const N: usize>(
        &self,
        input: &Tensor,
        state: [&Tensor; N],
        step: impl Fn(&Tensor, [&Tensor; N], &RecurrentWeights) -> Result<[Tensor; N]>,
    ) -> Result<[Tensor; N]> {
        for vector in state {
            check_first(vector, self.layers.len())?;
        }
        let mut input = input.clone();
        let mut all: [Vec<Tensor>; N] = std::array::from_fn(|_| Vec::new());
        for (index, weights) in self.forward_layers()?.into_iter().enumerate() {
            let before = try_each(state, |vector: &Tensor| vector.get(index))?;
            let next = step(&input, before.each_ref(), weights)?;
            input = next[0].clone();
            all.iter_mut()
                .zip(next)
                .for_each(|(all, next)| all.push(next));
        }
        try_each(all.each_ref(), |all| Tensor::stack(all, 0))
    }
}

/// Returns an error unless there is one state for each of `n` layers and directions.
fn check_first(states: &Tensor, n: usize) -> Result<()> {
    let (got, ..) = states.dims3()?;
    if got != n {
        bail!(
            "expected the states of {n} layers and directions, [{n}, B, H], got {:?}",
            states.dims()
        );
    }
    Ok(())
}

/// Applies a function that can fail to each element.
fn try_each<const N: usize, X, Y>(all: [X; N], f: impl Fn(X) -> Result<Y>) -> Result<[Y; N]> {
    let done: Vec<Y> = all.into_iter().map(f).collect::<Result<_>>()?;
    Ok(done
        .try_into()
        .unwrap_or_else(|_| unreachable!("as many as before")))
}
