//! How the layers of a stack are connected: residual connections and layer normalization.

use candle_core::{Result, Tensor};
use s2s_kernels::reference::layer_norm;

use crate::{Init, ModelConfig, Scope};

/// What each layer of a stack passes on, to the next layer and, from the top, to its readers.
///
/// ```text
/// y_k = norm_k(h_k + y_(k-1))
/// ```
///
/// for the states `h_k` of layer k. The sum is that of `model.residual`, in each layer above the first, as
/// in GNMT: Wu et al. (2016), arXiv:1609.08144, section 3.1, after He et al. (2016), arXiv:1512.03385. It is
/// before the dropout of the layer's input. The norm is that of `model.layer_norm`, in each layer below the
/// top: Ba, Kiros, Hinton (2016), arXiv:1607.06450. Without both, `y_k = h_k`. The states that a layer keeps
/// from step to step remain `h_k`.
#[derive(Debug)]
pub(crate) struct Connections {
    residual: bool,
    norms: Vec<LayerNorm>,
}

/// The layer normalization of PyTorch, with its names: `weight` and `bias` are `[N]`.
#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl Connections {
    /// The connections of a stack whose layers have outputs of this width. The scope is that of the stack's
    /// part of the model.
    pub(crate) fn new(scope: &mut Scope<'_>, config: &ModelConfig, width: usize) -> Result<Self> {
        let norms = (0..config.n_norms()).map(|k| {
            let mut scope = scope.pp(format!("norm.{k}"));
            Ok(LayerNorm {
                weight: scope.get("weight", width, Init::Constant { value: 1.0 })?,
                bias: scope.get("bias", width, Init::Constant { value: 0.0 })?,
            })
        });
        Ok(Self {
            residual: config.residual,
            norms: norms.collect::<Result<_>>()?,
        })
    }

    /// The output of a layer with these states `[.., N]`, from that of the layer below.
    pub(crate) fn output(
        &self,
        layer: usize,
        states: &Tensor,
        below: Option<&Tensor>,
    ) -> Result<Tensor> {
        let sum = match below {
            Some(below) if self.residual => (states + below)?,
            _ => states.clone(),
        };
        match self.norms.get(layer) {
            Some(LayerNorm { weight, bias }) => layer_norm(&sum, weight, bias),
            None => Ok(sum),
        }
    }

    /// Whether the output of a layer is not 0 where its states are.
    pub(crate) fn fills_padding(&self, layer: usize) -> bool {
        layer < self.norms.len()
    }
}
