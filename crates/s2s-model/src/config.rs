//! The configuration of a model.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::{AttentionConfig, BridgeKind, CellKind, DecoderConfig, Readout, TransducerConfig};

/// The `[model]` table of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Width of a token's embedding, in the encoder and in the decoder, which have separate tables.
    pub embedding: NonZeroUsize,
    /// Encoder units per direction.
    pub hidden: NonZeroUsize,
    /// Units of a recurrent decoder, or the table of another kind.
    pub decoder: DecoderConfig,
    /// The kind of recurrent cell.
    pub cell: CellKind,
    /// Recurrent layers of the encoder, and of the decoder.
    pub layers: NonZeroUsize,
    /// Whether each layer above the first adds what it reads from the layer below to its output, in the
    /// encoder and in a recurrent decoder.
    pub residual: bool,
    /// Whether the output of each layer below the top is normalized, in the encoder and in a recurrent
    /// decoder.
    pub layer_norm: bool,
    /// Whether a recurrent decoder reads the attentional vector of the step before in place of a context:
    /// see [`RecurrentDecoder`](crate::RecurrentDecoder).
    pub input_feeding: bool,
    /// Dropout probability between recurrent layers, as in `torch.nn.GRU`; 0 with one layer.
    pub dropout: Probability,
    /// Dropout probability on each element of a token's embedding.
    pub embedding_dropout: Probability,
    /// How the decoder's initial state is computed from the encoder's last state.
    pub bridge: BridgeKind,
    /// The implementation that runs. `fused` exists in f32, on the CPU and on CUDA.
    pub kernels: Kernels,
    /// The attention mechanism.
    pub attention: AttentionConfig,
}

impl Default for ModelConfig {
    fn default() -> Self {
        let size = |n| NonZeroUsize::new(n).expect("a literal above zero");
        Self {
            embedding: size(64),
            hidden: size(64),
            decoder: size(128).into(),
            cell: CellKind::default(),
            layers: size(1),
            residual: false,
            layer_norm: false,
            input_feeding: false,
            dropout: Probability::ZERO,
            embedding_dropout: Probability(0.1),
            bridge: BridgeKind::default(),
            kernels: Kernels::default(),
            attention: AttentionConfig::default(),
        }
    }
}

impl ModelConfig {
    /// Every combination of values that cannot be built.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.problems_except_attention();
        if self.decoder.transducer().is_some() {
            return problems;
        }
        let (values, state) = (2 * self.hidden.get(), self.decoder.width().get());
        problems.extend(self.attention.mechanism().problem(values, state));
        let is_blind = !self.attention.has_weights();
        if is_blind && matches!(self.bridge, BridgeKind::Zero | BridgeKind::Last) {
            problems.push(Problem {
                key: "bridge",
                message: format!(
                    "without attention, bridge \"{}\" leaves part of the encoder unused",
                    self.bridge
                ),
                help: "set bridge = \"tanh\", or choose an attention".to_owned(),
            });
        }
        problems
    }

    /// Whether a key of `[model]` has an effect. A transducer has no attention, bridge or input feeding.
    pub fn has_effect(&self, key: &str) -> bool {
        let is_of_recurrent = matches!(key, "attention" | "bridge" | "input_feeding");
        self.decoder.transducer().is_none() || !is_of_recurrent
    }

    /// Whether the whole model has kernels on a CUDA device.
    pub fn has_cuda_kernels(&self) -> bool {
        self.kernels == Kernels::Fused
            && self.decoder.transducer().is_none()
            && self.attention.mechanism().has_cuda_kernels()
            && self.is_plain_on_cuda()
    }

    /// Whether the model has none of the options that have kernels on the CPU alone.
    pub(crate) fn is_plain_on_cuda(&self) -> bool {
        !(self.residual || self.layer_norm || self.input_feeding)
    }

    /// Normalized layers of the encoder, and of a recurrent decoder.
    pub(crate) fn n_norms(&self) -> usize {
        match self.layer_norm {
            true => self.layers.get() - 1,
            false => 0,
        }
    }

    /// The problems that do not depend on the attention.
    pub(crate) fn problems_except_attention(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(transducer) = self.decoder.transducer() {
            problems.extend(self.problems_of_transducer(transducer));
        }
        let (hidden, decoder) = (self.hidden.get(), self.decoder.width().get());
        let needed = match self.bridge {
            _ if !self.has_effect("bridge") => None,
            BridgeKind::Concat => Some(2 * hidden),
            BridgeKind::Last => Some(hidden),
            BridgeKind::Tanh | BridgeKind::Zero => None,
        };
        if let Some(needed) = needed.filter(|needed| *needed != decoder) {
            problems.push(Problem {
                key: "bridge",
                message: format!(
                    "bridge \"{}\" needs decoder = {needed} with hidden = {hidden}, got {decoder}",
                    self.bridge
                ),
                help: format!(
                    "set decoder = {needed}, or bridge = \"tanh\", which fits any widths"
                ),
            });
        }
        if self.layers.get() == 1 {
            problems.extend(self.problems_of_single_layer());
        }
        problems
    }

    fn problems_of_single_layer(&self) -> Vec<Problem> {
        let dropout = self.dropout.get();
        [
            (
                "dropout",
                format!("dropout = {dropout}"),
                dropout > 0.0,
                "set dropout = 0; embedding_dropout applies to the input of a single layer",
            ),
            (
                "residual",
                "residual = true".to_owned(),
                self.residual,
                "set layers = 2 or more, or residual = false",
            ),
            (
                "layer_norm",
                "layer_norm = true".to_owned(),
                self.layer_norm,
                "set layers = 2 or more, or layer_norm = false",
            ),
        ]
        .into_iter()
        .filter(|(_, _, is_set, _)| *is_set)
        .map(|(key, set, _, help)| Problem {
            key,
            message: format!("{set} applies between recurrent layers, and there is only one"),
            help: help.to_owned(),
        })
        .collect()
    }
}

impl ModelConfig {
    fn problems_of_transducer(&self, transducer: &TransducerConfig) -> Vec<Problem> {
        let mut problems = Vec::new();
        let default = Self::default();
        for (key, is_default, instead) in [
            (
                "attention",
                self.attention == default.attention,
                "its head reads the source",
            ),
            (
                "bridge",
                self.bridge == default.bridge,
                "its first state is the same for every source",
            ),
            ("input_feeding", !self.input_feeding, "it reads no outputs"),
        ] {
            if !is_default {
                problems.push(Problem {
                    key,
                    message: format!("has no effect on a transducer: {instead}"),
                    help: format!(
                        "remove it, or set decoder to a number for a recurrent decoder with {key}"
                    ),
                });
            }
        }
        let bonus = transducer.entropy_bonus;
        if !(bonus >= 0.0 && bonus.is_finite()) {
            problems.push(Problem {
                key: "decoder.entropy_bonus",
                message: format!("must be a finite number, 0 or above, got {bonus}"),
                help: "0 turns the bonus off".to_owned(),
            });
        }
        if transducer.readout == Readout::PerMode && self.kernels == Kernels::Fused {
            problems.push(Problem {
                key: "decoder.readout",
                message: "\"per-mode\" has no kernels".to_owned(),
                help: "set kernels = \"reference\", which is slower".to_owned(),
            });
        }
        problems
    }
}

/// Which implementation of the model trains, evaluates and decodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernels {
    /// The fast path: kernels with hand-written gradients, in f32. A model that has none takes the
    /// reference path.
    #[default]
    Fused,
    /// The definition in tensor operations, differentiated by candle.
    Reference,
}

/// A value of [`ModelConfig`] that does not fit the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Key in the `[model]` table.
    pub key: &'static str,
    /// What is wrong, with the value and the bound.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// A probability in `[0, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Probability(f64);

impl Probability {
    /// Probability 0.
    pub const ZERO: Self = Self(0.0);

    /// The probability as a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Probability {
    type Error = OutOfBounds;

    fn try_from(value: f64) -> Result<Self, OutOfBounds> {
        match (0.0..1.0).contains(&value) {
            true => Ok(Self(value)),
            false => Err(OutOfBounds {
                rule: "must lie in [0, 1)",
                value,
            }),
        }
    }
}

/// A number that a configuration cannot have.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{rule}, got {value}")]
pub struct OutOfBounds {
    /// The bounds, in words.
    pub rule: &'static str,
    /// The number.
    pub value: f64,
}

impl From<Probability> for f64 {
    fn from(value: Probability) -> Self {
        value.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridge_that_does_not_fit_is_named_with_the_width_it_needs() {
        let config: ModelConfig =
            toml::from_str("hidden = 8\ndecoder = 9\nbridge = \"concat\"").unwrap();
        let problems = config.problems();
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].message.contains("needs decoder = 16"),
            "{problems:?}"
        );
    }

    #[test]
    fn dropout_between_layers_needs_two_of_them() {
        let problems = |text: &str| toml::from_str::<ModelConfig>(text).unwrap().problems();
        let one = problems("dropout = 0.25\nlayers = 1");
        assert_eq!(one.len(), 1, "{one:?}");
        assert_eq!(one[0].key, "dropout");
        assert!(one[0].message.contains("0.25"), "{one:?}");
        assert_eq!(problems("dropout = 0.25\nlayers = 2"), []);
        assert_eq!(problems("embedding_dropout = 0.25\nlayers = 1"), []);
    }

    #[test]
    fn connections_between_layers_need_two_of_them() {
        let problems = |text: &str| toml::from_str::<ModelConfig>(text).unwrap().problems();
        for key in ["residual", "layer_norm"] {
            let one = problems(&format!("{key} = true\nlayers = 1"));
            assert_eq!(one.len(), 1, "{one:?}");
            assert_eq!(one[0].key, key);
            assert!(one[0].message.contains("there is only one"), "{one:?}");
            assert_eq!(problems(&format!("{key} = true\nlayers = 2")), []);
        }
        assert_eq!(problems("input_feeding = true\nlayers = 1"), []);
    }

    #[test]
    fn dot_needs_states_as_wide_as_values() {
        let problems = |text: &str| toml::from_str::<ModelConfig>(text).unwrap().problems();
        let dot = problems("hidden = 8\ndecoder = 9\nattention = { kind = \"dot\" }");
        assert_eq!(dot.len(), 1, "{dot:?}");
        assert!(dot[0].message.contains("decoder = 16"), "{dot:?}");
        assert_eq!(
            problems("hidden = 8\ndecoder = 16\nattention = { kind = \"dot\" }"),
            []
        );
        assert_eq!(
            problems("hidden = 8\ndecoder = 9\nattention = { kind = \"general\" }"),
            []
        );
    }

    #[test]
    fn attention_that_sees_nothing_but_where_it_was_needs_a_start() {
        let problems = |start: &str| {
            let kind = "dynamic-convolution";
            let text = format!("attention = {{ kind = \"{kind}\", start = \"{start}\" }}");
            toml::from_str::<ModelConfig>(&text).unwrap().problems()
        };
        let nowhere = problems("zeros");
        assert_eq!(nowhere.len(), 1, "{nowhere:?}");
        assert_eq!(nowhere[0].key, "attention.start");
        assert_eq!((problems("last"), problems("first")), (vec![], vec![]));
    }

    #[test]
    fn misspelled_key_inside_an_attention_is_refused() {
        for kind in [
            "additive",
            "dot",
            "general",
            "location",
            "dynamic-convolution",
            "ntm",
            "location-relative",
            "none",
        ] {
            let text = format!("[attention]\nkind = \"{kind}\"");
            assert!(toml::from_str::<ModelConfig>(&text).is_ok(), "{kind}");
            let text = format!("[attention]\nkind = \"{kind}\"\nunitz = 3");
            assert!(toml::from_str::<ModelConfig>(&text).is_err(), "{kind}");
        }
    }

    #[test]
    fn transducer_has_neither_attention_nor_bridge() {
        let problems = |text: &str| {
            let text = format!("{text}\n[decoder]\nkind = \"transducer\"");
            toml::from_str::<ModelConfig>(&text).unwrap().problems()
        };
        assert_eq!(problems("layers = 1"), []);
        for (key, text) in [
            ("attention", "attention = { kind = \"none\" }"),
            ("bridge", "bridge = \"concat\""),
            ("input_feeding", "input_feeding = true"),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].key, key);
        }
        let text = "[decoder]\nkind = \"transducer\"\nentropy_bonus = -1.0";
        let found = toml::from_str::<ModelConfig>(text).unwrap().problems();
        assert_eq!(found[0].key, "decoder.entropy_bonus", "{found:?}");
    }

    #[test]
    fn dropout_outside_its_range_is_refused() {
        for dropout in ["1.0", "-0.1", "nan"] {
            let error = toml::from_str::<ModelConfig>(&format!("dropout = {dropout}")).unwrap_err();
            assert!(error.to_string().contains("[0, 1)"), "{error}");
        }
    }
}
