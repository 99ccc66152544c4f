//! Stacked recurrent layers.

use std::fmt;

use candle_core::{Result, Tensor, bail};
use s2s_kernels::{Direction, Ragged, RecurrentWeights, State, reference};
use serde::{Deserialize, Serialize};

use crate::connections::Connections;
use crate::draws::dropped;
use crate::{Init, Mode, ModelConfig, Probability, Scope};

/// The kind of recurrent cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// Gated recurrent unit: [`s2s_kernels::gru`].
    #[default]
    Gru,
    /// Long short-term memory: [`s2s_kernels::lstm`].
    Lstm,
}

impl fmt::Display for CellKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gru => "gru",
            Self::Lstm => "lstm",
        })
    }
}

impl CellKind {
    /// Gates, `G`.
    pub fn gates(self) -> usize {
        match self {
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    /// Vectors in a layer's state: `h`, and `c` for an LSTM.
    pub fn state_vectors(self) -> usize {
        match self {
            Self::Gru => 1,
            Self::Lstm => 2,
        }
    }

    /// One step: the next state from `input [B, I]` and the state before.
    pub(crate) fn step(
        self,
        input: &Tensor,
        before: &LayerState,
        weights: &RecurrentWeights,
    ) -> Result<LayerState> {
        match self {
            Self::Gru => Ok(LayerState {
                hidden: reference::gru_cell(input, &before.hidden, weights)?,
                cell: None,
            }),
            Self::Lstm => {
                let Some(cell) = &before.cell else {
                    bail!("the state of an LSTM must have a cell state");
                };
                let before = State {
                    hidden: before.hidden.clone(),
                    cell: cell.clone(),
                };
                Ok(reference::lstm_cell(input, &before, weights)?.into())
            }
        }
    }

    /// The states `[B, S, H]` and the last state of a layer that reads `input [B, S, I]`.
    fn run(
        self,
        input: &Tensor,
        weights: &RecurrentWeights,
        rows: &Ragged,
        direction: Direction,
    ) -> Result<(Tensor, LayerState)> {
        match self {
            Self::Gru => {
                let output = reference::gru(input, weights, rows, direction, None)?;
                let last = LayerState {
                    hidden: output.last,
                    cell: None,
                };
                Ok((output.states, last))
            }
            Self::Lstm => {
                let output = reference::lstm(input, weights, rows, direction, None)?;
                Ok((output.states, output.last.into()))
            }
        }
    }
}

/// The state of a recurrent layer.
#[derive(Clone, Debug)]
pub struct LayerState {
    /// `h`, the layer's output, `[B, H]`.
    pub hidden: Tensor,
    /// `c` of an LSTM, `[B, H]`; none for a GRU.
    pub cell: Option<Tensor>,
}

impl LayerState {
    /// A copy that is detached from the graph.
    pub fn detached(&self) -> Self {
        Self {
            hidden: self.hidden.detach(),
            cell: self.cell.as_ref().map(Tensor::detach),
        }
    }

    /// The states of the rows with these indices `[n]` (u32).
    pub(crate) fn rows(&self, indices: &Tensor) -> Result<Self> {
        let of = |tensor: &Tensor| tensor.index_select(indices, 0);
        Ok(Self {
            hidden: of(&self.hidden)?,
            cell: self.cell.as_ref().map(of).transpose()?,
        })
    }

    /// Both directions concatenated, `[B, 2H]`.
    fn concat(&self, other: &Self) -> Result<Self> {
        let cell = match (&self.cell, &other.cell) {
            (Some(own), Some(other)) => Some(Tensor::cat(&[own, other], 1)?),
            _ => None,
        };
        Ok(Self {
            hidden: Tensor::cat(&[&self.hidden, &other.hidden], 1)?,
            cell,
        })
    }
}

impl From<State<Tensor>> for LayerState {
    fn from(state: State<Tensor>) -> Self {
        Self {
            hidden: state.hidden,
            cell: Some(state.cell),
        }
    }
}

/// The parameters of one recurrent layer, with the names of `torch.nn.GRU` and `torch.nn.LSTM`:
/// `suffix` is `_l0`, `_l0_reverse` and so on.
///
/// # Errors
/// If the names are taken.
pub fn recurrent_weights(
    scope: &mut Scope<'_>,
    cell: CellKind,
    suffix: &str,
    input: usize,
    hidden: usize,
) -> Result<RecurrentWeights> {
    let (gates, init) = (cell.gates() * hidden, Init::fan_in(hidden));
    Ok(RecurrentWeights {
        weight_ih: scope.get(&format!("weight_ih{suffix}"), (gates, input), init)?,
        weight_hh: scope.get(&format!("weight_hh{suffix}"), (gates, hidden), init)?,
        bias_ih: scope.get(&format!("bias_ih{suffix}"), gates, init)?,
        bias_hh: scope.get(&format!("bias_hh{suffix}"), gates, init)?,
    })
}

/// A stack of bidirectional recurrent layers: layer k reads both directions of layer k - 1.
#[derive(Debug)]
pub struct Recurrent {
    cell: CellKind,
    layers: Vec<[RecurrentWeights; 2]>,
    connections: Connections,
    dropout: Probability,
}

impl Recurrent {
    /// The layers of an encoder with these sizes: `rnn` and `norm` of its scope.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn bidirectional(scope: &mut Scope<'_>, config: &ModelConfig) -> Result<Self> {
        let (cell, hidden) = (config.cell, config.hidden.get());
        let rnn = &mut scope.pp("rnn");
        let layers = (0..config.layers.get())
            .map(|k| {
                let input = match k {
                    0 => config.embedding.get(),
                    _ => 2 * hidden,
                };
                Ok([
                    recurrent_weights(rnn, cell, &format!("_l{k}"), input, hidden)?,
                    recurrent_weights(rnn, cell, &format!("_l{k}_reverse"), input, hidden)?,
                ])
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            cell,
            layers,
            connections: Connections::new(scope, config, 2 * hidden)?,
            dropout: config.dropout,
        })
    }

    /// `[B, S, I]` to the top layer's output `[B, S, 2H]`, 0 where padded, and each layer's last states,
    /// `[B, 2H]` each.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn forward(
        &self,
        input: Tensor,
        rows: &Ragged,
        mode: Mode<'_>,
    ) -> Result<(Tensor, Vec<LayerState>)> {
        let mut output = input;
        let mut last = Vec::with_capacity(self.layers.len());
        for (k, [forward, backward]) in self.layers.iter().enumerate() {
            let below = (k > 0).then_some(&output);
            let mask = match below {
                Some(below) => mode.dropout_mask(
                    &format!("encoder.rnn.{k}"),
                    below.shape().clone(),
                    self.dropout,
                    below.dtype(),
                    below.device(),
                )?,
                None => None,
            };
            let read = dropped(output.clone(), mask.as_ref())?;
            let run = |weights, direction| self.cell.run(&read, weights, rows, direction);
            let (forward, forward_last) = run(forward, Direction::Forward)?;
            let (backward, backward_last) = run(backward, Direction::Backward)?;
            let states = Tensor::cat(&[forward, backward], 2)?; // [B, S, 2H]
            output = self.connections.output(k, &states, below)?;
            if self.connections.fills_padding(k) {
                output = output.broadcast_mul(&rows.mask().unsqueeze(2)?)?;
            }
            last.push(forward_last.concat(&backward_last)?); // [B, 2H]
        }
        Ok((output, last))
    }
}
