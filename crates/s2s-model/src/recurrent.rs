//! Stacked recurrent layers.

use candle_core::{Result, Tensor};
use s2s_kernels::{Direction, GruWeights, Kernels, Ragged};

use crate::draws::dropped;
use crate::{Init, Mode, Probability, Scope};

/// The parameters of one GRU layer, with the names of `torch.nn.GRU`: `suffix` is `_l0`,
/// `_l0_reverse` and so on.
///
/// # Errors
/// If the names are taken.
pub fn gru_weights(
    scope: &mut Scope<'_>,
    suffix: &str,
    input: usize,
    hidden: usize,
) -> Result<GruWeights> {
    let init = Init::fan_in(hidden);
    Ok(GruWeights {
        weight_ih: scope.get(&format!("weight_ih{suffix}"), (3 * hidden, input), init)?,
        weight_hh: scope.get(&format!("weight_hh{suffix}"), (3 * hidden, hidden), init)?,
        bias_ih: scope.get(&format!("bias_ih{suffix}"), 3 * hidden, init)?,
        bias_hh: scope.get(&format!("bias_hh{suffix}"), 3 * hidden, init)?,
    })
}

/// A stack of bidirectional GRU layers: layer k reads both directions of layer k - 1.
#[derive(Debug)]
pub struct Gru {
    layers: Vec<[GruWeights; 2]>,
    dropout: Probability,
    kernels: Kernels,
}

impl Gru {
    /// `layers` layers of `hidden` units a direction.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn bidirectional(
        scope: &mut Scope<'_>,
        input: usize,
        hidden: usize,
        layers: usize,
        dropout: Probability,
        kernels: Kernels,
    ) -> Result<Self> {
        let layers = (0..layers)
            .map(|k| {
                let input = if k == 0 { input } else { 2 * hidden };
                Ok([
                    gru_weights(scope, &format!("_l{k}"), input, hidden)?,
                    gru_weights(scope, &format!("_l{k}_reverse"), input, hidden)?,
                ])
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            layers,
            dropout,
            kernels,
        })
    }

    /// `[B, S, I]` to the top layer's states `[B, S, 2H]`, and each layer's last states `[B, 2H]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn forward(
        &self,
        input: Tensor,
        rows: &Ragged,
        mode: Mode<'_>,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let mut states = input;
        let mut last = Vec::with_capacity(self.layers.len());
        for (k, [forward, backward]) in self.layers.iter().enumerate() {
            if k > 0 {
                let mask = mode.dropout_mask(
                    &format!("encoder.rnn.{k}"),
                    states.shape().clone(),
                    self.dropout,
                    states.dtype(),
                    states.device(),
                )?;
                states = dropped(states, mask.as_ref())?;
            }
            let forward = self
                .kernels
                .gru(&states, forward, rows, Direction::Forward)?;
            let backward = self
                .kernels
                .gru(&states, backward, rows, Direction::Backward)?;
            states = Tensor::cat(&[forward.states, backward.states], 2)?; // [B, S, 2H]
            last.push(Tensor::cat(&[forward.last, backward.last], 1)?); // [B, 2H]
        }
        Ok((states, last))
    }
}
