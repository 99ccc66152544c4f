//! The bridge: the decoder's first state from the encoder's last.

use std::fmt;

use candle_core::{Result, Tensor, bail};
use serde::{Deserialize, Serialize};

use crate::{CellKind, Encoded, LayerState, Linear, ModelConfig, Scope};

/// How the decoder's first state is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeKind {
    /// A learned map of both directions, through tanh.
    #[default]
    Tanh,
    /// Both directions side by side.
    Concat,
    /// The forward direction alone.
    Last,
    /// Zeros: the decoder learns about the source by attention alone.
    Zero,
}

impl fmt::Display for BridgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tanh => "tanh",
            Self::Concat => "concat",
            Self::Last => "last",
            Self::Zero => "zero",
        })
    }
}

/// The bridge: the decoder's first state from the encoder's last.
///
/// ```text
/// tanh:    state[k] = tanh(W_k [forward; backward] + b_k)
/// concat:  state[k] = [forward; backward]        needs D = 2H
/// last:    state[k] = forward                    needs D = H
/// zero:    state[k] = 0
/// ```
///
/// Both vectors of an LSTM's state are made so, the decoder's `h` from the encoder's `h` and `c` from
/// `c`, each by a map of its own: `bridge.{k}.weight` and `bridge.{k}.cell.weight`.
#[derive(Debug)]
pub struct Bridge {
    kind: BridgeKind,
    maps: Vec<Maps>,
    decoder: usize,
}

/// The maps of one layer's state.
#[derive(Debug)]
struct Maps {
    hidden: Linear,
    cell: Option<Linear>,
}

impl Bridge {
    /// A bridge of the configured kind and widths.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(scope: &mut Scope<'_>, config: &ModelConfig) -> Result<Self> {
        let (hidden, decoder) = (config.hidden.get(), config.decoder.width().get());
        let mut maps = |k: usize| -> Result<Maps> {
            let mut scope = scope.pp(k);
            Ok(Maps {
                hidden: Linear::new(&mut scope, 2 * hidden, decoder)?,
                cell: match config.cell {
                    CellKind::Gru => None,
                    CellKind::Lstm => {
                        Some(Linear::new(&mut scope.pp("cell"), 2 * hidden, decoder)?)
                    }
                },
            })
        };
        let maps = match config.bridge {
            BridgeKind::Tanh => (0..config.layers.get())
                .map(&mut maps)
                .collect::<Result<_>>()?,
            BridgeKind::Concat | BridgeKind::Last | BridgeKind::Zero => Vec::new(),
        };
        Ok(Self {
            kind: config.bridge,
            maps,
            decoder,
        })
    }

    /// For each layer the decoder's first state, `[B, D]` each.
    ///
    /// # Errors
    /// If the widths do not fit the kind.
    pub fn forward(&self, encoded: &Encoded) -> Result<Vec<LayerState>> {
        let state = |(k, last): (usize, &LayerState)| {
            let maps = self.maps.get(k);
            let cell = maps.and_then(|maps| maps.cell.as_ref());
            Ok(LayerState {
                hidden: self.vector(&last.hidden, maps.map(|maps| &maps.hidden))?,
                cell: match &last.cell {
                    Some(last) => Some(self.vector(last, cell)?),
                    None => None,
                },
            })
        };
        encoded.last.iter().enumerate().map(state).collect()
    }

    /// One vector of a first state, from the encoder's `last [B, 2H]`.
    fn vector(&self, last: &Tensor, map: Option<&Linear>) -> Result<Tensor> {
        match (self.kind, map) {
            (BridgeKind::Tanh, Some(map)) => map.forward(last)?.tanh(),
            (BridgeKind::Tanh, None) => bail!("the encoder's state is not of the bridge's cell"),
            (BridgeKind::Concat, _) => Ok(last.clone()),
            (BridgeKind::Last, _) => last.narrow(1, 0, self.decoder),
            (BridgeKind::Zero, _) => {
                Tensor::zeros((last.dim(0)?, self.decoder), last.dtype(), last.device())
            }
        }
    }
}
