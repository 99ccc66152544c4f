//! Every architecture that a configuration can name, and small models of them.
//!
//! The kinds come from serde, which lists them when it rejects an unknown one: every law covers a new
//! cell, attention, bridge or implementation without an edit here.

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use candle_core::{DType, Device, Result};
use s2s_kernels::Start;
use s2s_model::{
    AttentionConfig, Batch, BridgeKind, CellKind, Decoded, DecoderConfig, Generator, Kernels,
    ModelConfig, Probability, Readout, Seq2Seq, Source, Stop, Tokens, TransducerConfig,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Symbols 1 to 10.
pub(crate) const TOKENS: Tokens = Tokens {
    size: 13,
    bos: 11,
    eos: 12,
};

/// Decoding of exactly as many tokens as the source has.
pub(crate) const FIXED_LENGTH: Stop = Stop::AtSourceLength {
    n_markers: 0,
    growth: 1,
};

/// Greedy outputs with attention weights.
pub(crate) fn greedy(model: &Seq2Seq, source: &Source, stop: Stop) -> Result<Vec<Decoded>> {
    Generator::new(model)?.with_attention().greedy(source, stop)
}

/// The device that the tests run on: the CPU, or the one named by `S2S_TEST_DEVICE` (`cuda` or `metal`).
pub(crate) fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let name = std::env::var("S2S_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        let device = match name.as_str() {
            "cpu" => Ok(Device::Cpu),
            "cuda" => open_cuda(),
            "metal" => Device::new_metal(0),
            other => panic!("S2S_TEST_DEVICE must be cpu, cuda or metal, got {other}"),
        };
        device.unwrap_or_else(|error| panic!("S2S_TEST_DEVICE = {name}: {error}"))
    })
}

#[cfg(feature = "cuda")]
fn open_cuda() -> Result<Device> {
    s2s_kernels::cuda::open_cuda(0)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda() -> Result<Device> {
    Device::new_cuda(0)
}

/// Whether a model has a fast path on a device, in f32.
pub(crate) fn has_fast_path(device: &Device, config: &ModelConfig) -> bool {
    use AttentionConfig::{Additive, LocationRelative};
    match device {
        Device::Cpu => true,
        Device::Cuda(_) => {
            config.decoder.transducer().is_none()
                && matches!(config.attention, Additive(_) | LocationRelative(_))
                && !(config.residual || config.layer_norm || config.input_feeding)
        }
        Device::Metal(_) => false,
    }
}

/// A tolerance for sums in single precision, ten times wider off the CPU, where products run in blocks of
/// another size.
pub(crate) fn on_device(tolerance: f64) -> f64 {
    match device() {
        Device::Cpu => tolerance,
        Device::Cuda(_) | Device::Metal(_) => 10.0 * tolerance,
    }
}

/// The names that `T` accepts in the place of `?` in `probe`.
#[track_caller]
fn names<T: DeserializeOwned>(probe: &Value) -> Vec<String> {
    let refusal = match serde_json::from_value::<T>(probe.clone()) {
        Ok(_) => panic!("{probe} was accepted"),
        Err(error) => error.to_string(),
    };
    // "unknown variant `?`, expected one of `a`, `b`"
    let quoted = refusal.split('`').skip(1).step_by(2);
    let names: Vec<String> = quoted.skip(1).map(str::to_owned).collect();
    assert!(!names.is_empty(), "no kinds in: {refusal}");
    names
}

/// The kinds of a plain enum.
fn kinds<T: DeserializeOwned>() -> Vec<T> {
    names::<T>(&json!("?"))
        .into_iter()
        .map(|name| serde_json::from_value(json!(name)).expect("a name that serde gave"))
        .collect()
}

/// Both paths through the model.
pub(crate) fn all_kernels() -> Vec<Kernels> {
    kinds()
}

/// Every recurrent cell.
pub(crate) fn cells() -> Vec<CellKind> {
    kinds()
}

/// Every attention, small where its size can be chosen.
pub(crate) fn attentions() -> Vec<AttentionConfig> {
    names::<AttentionConfig>(&json!({ "kind": "?" }))
        .into_iter()
        .map(|kind| {
            let mut config = json!({ "kind": kind });
            for (key, size) in [("units", 6), ("filters", 2), ("width", 3)] {
                let with = with(&config, key, &json!(size));
                if parse(&with).is_some() {
                    config = with;
                }
            }
            parse(&config).unwrap_or_else(|| panic!("attention {kind} has no default"))
        })
        .collect()
}

/// Every attention in every way: from each place to start where it has one, scaled or not.
pub(crate) fn attentions_in_every_way() -> Vec<AttentionConfig> {
    let mut ways: Vec<(&str, Value)> = names::<Start>(&json!("?"))
        .into_iter()
        .map(|start| ("start", json!(start)))
        .collect();
    ways.push(("scaled", json!(true)));
    let mut found = Vec::new();
    for attention in attentions() {
        let config = serde_json::to_value(&attention).expect("a configuration is a table");
        found.push(attention);
        for (key, value) in &ways {
            let other = parse(&with(&config, key, value));
            found.extend(other.filter(|other| is_sound(other) && !found.contains(other)));
        }
    }
    found
}

fn with(config: &Value, key: &str, value: &Value) -> Value {
    let mut config = config.clone();
    config[key] = value.clone();
    config
}

fn parse(config: &Value) -> Option<AttentionConfig> {
    serde_json::from_value(config.clone()).ok()
}

/// Whether some model can be built with it.
fn is_sound(attention: &AttentionConfig) -> bool {
    let config = ModelConfig {
        hidden: size(3),
        decoder: size(6).into(),
        attention: attention.clone(),
        ..ModelConfig::default()
    };
    config.problems().is_empty()
}

/// Every architecture, with one layer and with two, and with `hidden` encoder units a direction.
pub(crate) fn architectures(hidden: usize) -> Vec<ModelConfig> {
    let mut found = with_feedback(hidden);
    for cell in cells() {
        for layers in [1, 2] {
            for kernels in all_kernels() {
                let config = ModelConfig {
                    cell,
                    layers: size(layers),
                    kernels,
                    ..transducer(hidden)
                };
                found.extend(with_options(&config));
                if kernels == Kernels::Reference {
                    found.push(with_readout_per_mode(&config));
                }
                found.push(config);
            }
        }
    }
    found
}

/// The same transducer with a readout for each mode.
pub(crate) fn with_readout_per_mode(config: &ModelConfig) -> ModelConfig {
    let transducer = config.decoder.transducer().expect("a transducer");
    ModelConfig {
        decoder: DecoderConfig::Transducer(TransducerConfig {
            readout: Readout::PerMode,
            ..transducer.clone()
        }),
        kernels: Kernels::Reference,
        ..config.clone()
    }
}

/// A model with each option of `[model]` that is on or off, and with all of them, of those that fit it.
pub(crate) fn with_options(config: &ModelConfig) -> Vec<ModelConfig> {
    let plain = serde_json::to_value(config).expect("a configuration is a table");
    let on = |config: &Value, key: &String| with(config, key, &json!(true));
    let read = |config: Value| -> ModelConfig {
        serde_json::from_value(config).expect("an option is true or false")
    };
    let keys = plain
        .as_object()
        .expect("a configuration is a table")
        .iter();
    let options = keys.filter(|(_, value)| value.is_boolean());
    let options = options.filter(|(key, _)| read(on(&plain, key)).problems().is_empty());
    let options: Vec<&String> = options.map(|(key, _)| key).collect();
    let all = options
        .iter()
        .fold(plain.clone(), |config, key| on(&config, key));
    let each = options.iter().map(|key| on(&plain, key));
    each.chain([all]).map(read).collect()
}

/// A transducer with `hidden` encoder units a direction.
pub(crate) fn transducer(hidden: usize) -> ModelConfig {
    ModelConfig {
        embedding: size(hidden + 1),
        hidden: size(hidden),
        decoder: DecoderConfig::Transducer(TransducerConfig {
            modes: size(3),
            ..TransducerConfig::default()
        }),
        embedding_dropout: Probability::ZERO,
        ..ModelConfig::default()
    }
}

/// Every cell, attention, bridge and implementation that go together, of those whose decoder reads its own
/// output; and with two layers, every attention with all options, one also with each.
pub(crate) fn with_feedback(hidden: usize) -> Vec<ModelConfig> {
    let of = |cell| with_feedback_of(cell, hidden);
    cells().into_iter().flat_map(of).collect()
}

fn with_feedback_of(cell: CellKind, hidden: usize) -> Vec<ModelConfig> {
    let mut found = Vec::new();
    for attention in attentions() {
        for kernels in all_kernels() {
            let mut of_two_layers = with_options(&ModelConfig {
                embedding: size(hidden + 1),
                hidden: size(hidden),
                decoder: size(2 * hidden).into(),
                cell,
                layers: size(2),
                kernels,
                attention: attention.clone(),
                embedding_dropout: Probability::ZERO,
                ..ModelConfig::default()
            });
            if !matches!(attention, AttentionConfig::Additive(_)) {
                of_two_layers.drain(..of_two_layers.len() - 1);
            }
            found.extend(of_two_layers);
        }
        for bridge in kinds::<BridgeKind>() {
            for layers in [1, 2] {
                for kernels in all_kernels() {
                    let fitting = [2 * hidden, hidden].map(|decoder| ModelConfig {
                        embedding: size(hidden + 1),
                        hidden: size(hidden),
                        decoder: size(decoder).into(),
                        cell,
                        layers: size(layers),
                        bridge,
                        kernels,
                        attention: attention.clone(),
                        embedding_dropout: Probability::ZERO,
                        ..ModelConfig::default()
                    });
                    found.extend(
                        fitting
                            .into_iter()
                            .find(|config| config.problems().is_empty()),
                    );
                }
            }
        }
    }
    found
}

/// A size above zero.
pub(crate) fn size(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("sizes of tests are above zero")
}

/// A model with its initial parameters, whose output hardly depends on its input.
pub(crate) fn fresh(config: &ModelConfig, seed: u64) -> Result<Seq2Seq> {
    Seq2Seq::new(config, TOKENS, seed, DType::F32, device())
}

/// A model with large parameters: its gates saturate, its attention is peaked, and its output depends on
/// the source. Normalized outputs are large already.
pub(crate) fn decisive(config: &ModelConfig, seed: u64) -> Result<Seq2Seq> {
    let model = fresh(config, seed)?;
    for (name, var) in model.params().iter() {
        if !name.contains(".norm.") {
            var.set(&(var.as_detached_tensor() * 4.0)?)?;
        }
    }
    Ok(model)
}

/// Ragged sources, one of a single token, one without padding.
pub(crate) fn sources() -> Vec<Vec<u32>> {
    vec![
        vec![5, 3, 5],
        vec![3, 1, 4, 1, 5, 9, 2],
        vec![6],
        vec![8, 9, 7, 10],
    ]
}

/// The sources with their reversals.
pub(crate) fn reversals(sources: &[Vec<u32>]) -> Result<Batch> {
    let reversed = |source: &Vec<u32>| source.iter().rev().copied().collect();
    let targets: Vec<Vec<u32>> = sources.iter().map(reversed).collect();
    Batch::new(sources, &targets, TOKENS)
}
