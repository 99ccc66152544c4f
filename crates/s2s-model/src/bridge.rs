//! The bridge: the decoder's first state from the encoder's last.

use std::fmt;

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Encoded, Linear, ModelConfig, Scope};

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
#[derive(Debug)]
pub struct Bridge {
    kind: BridgeKind,
    layers: Vec<Linear>,
    decoder: usize,
}

impl Bridge {
    /// A bridge of the configured kind and widths.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(scope: &mut Scope<'_>, config: &ModelConfig) -> Result<Self> {
        let (hidden, decoder) = (config.hidden.get(), config.decoder.get());
        let layers = match config.bridge {
            BridgeKind::Tanh => (0..config.layers.get())
                .map(|k| Linear::new(&mut scope.pp(k), 2 * hidden, decoder))
                .collect::<Result<_>>()?,
            BridgeKind::Concat | BridgeKind::Last | BridgeKind::Zero => Vec::new(),
        };
        Ok(Self {
            kind: config.bridge,
            layers,
            decoder,
        })
    }

    /// For each layer the decoder's first state, `[B, D]`.
    ///
    /// # Errors
    /// If the widths do not fit the kind.
    pub fn forward(&self, encoded: &Encoded) -> Result<Vec<Tensor>> {
        let state = |(k, last): (usize, &Tensor)| match self.kind {
            BridgeKind::Tanh => self.layers[k].forward(last)?.tanh(),
            BridgeKind::Concat => Ok(last.clone()),
            BridgeKind::Last => last.narrow(1, 0, self.decoder),
            BridgeKind::Zero => {
                Tensor::zeros((last.dim(0)?, self.decoder), last.dtype(), last.device())
            }
        };
        encoded.last.iter().enumerate().map(state).collect()
    }
}
