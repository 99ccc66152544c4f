//! The operations that a batch cannot do without: what an implementation is held against.
//!
//! Counted are the multiply-adds of matrix products and of the attention, two operations each, with
//! what a good implementation does once done once:
//!
//! ```text
//! tables     embedding · gate weights, a row a token of the vocabulary and not of the batch
//! encoder    a layer and direction: input of S positions (but the lowest's), states of S - 1
//! bridge     one product a layer
//! keys       once a sequence, not once a step
//! decoder    T steps: query, scores, context; the gates of each layer; output
//! ```
//!
//! Backward takes two products for each of forward. Elementwise work (gates, softmax, dropout,
//! Adam) counts as nothing, so that no implementation reaches the peak.

use crate::{AttentionConfig, BridgeKind, ModelConfig};

/// The sizes of a batch whose rows are all full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// B.
    pub batch: usize,
    /// S.
    pub source_len: usize,
    /// T, the end included where it is said.
    pub target_len: usize,
    /// V, the special tokens included.
    pub vocab_size: usize,
}

/// Floating-point operations of one pass forward, teacher-forced or free.
///
/// Two operations a multiply-add of a matrix product or of the attention; embeddings folded into
/// tables over the vocabulary and keys projected once a sequence; elementwise work not counted.
pub fn forward_flops(config: &ModelConfig, work: &Workload) -> f64 {
    let [embedding, hidden, decoder, layers] = [
        config.embedding.get() as f64,
        config.hidden.get() as f64,
        config.decoder.get() as f64,
        config.layers.get() as f64,
    ];
    let [batch, source_len, target_len, vocab] = [
        work.batch as f64,
        work.source_len as f64,
        work.target_len as f64,
        work.vocab_size as f64,
    ];
    let (values, gates, encoder_gates) = (2.0 * hidden, 3.0 * decoder, 3.0 * hidden);
    let positions = batch * source_len;

    let tables = vocab * embedding * (2.0 * encoder_gates + gates);
    // The state before the first position is zero.
    let states = batch * (source_len - 1.0) * hidden * encoder_gates;
    let inputs = (layers - 1.0) * positions * values * encoder_gates;
    let encoder = 2.0 * (layers * states + inputs);
    let bridge = match config.bridge {
        BridgeKind::Tanh => layers * batch * values * decoder,
        BridgeKind::Concat | BridgeKind::Last | BridgeKind::Zero => 0.0,
    };
    let (keys, attention, context) = match &config.attention {
        AttentionConfig::Additive(additive) => {
            let units = additive.units.get() as f64;
            let step = batch * (decoder * units + source_len * units + source_len * values);
            (positions * values * units, step, values)
        }
        AttentionConfig::None {} => (0.0, 0.0, 0.0),
    };
    // Each layer its own states, and the state below; the lowest the context instead.
    let cells = batch * gates * (layers * decoder + (layers - 1.0) * decoder + context);
    let output = batch * (decoder + context) * vocab;
    let multiply_adds =
        tables + encoder + bridge + keys + target_len * (attention + cells + output);
    2.0 * multiply_adds
}

/// Floating-point operations of one training step: [`forward_flops`], and twice as many backward.
pub fn step_flops(config: &ModelConfig, work: &Workload) -> f64 {
    3.0 * forward_flops(config, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ModelConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_model_of_ones_is_counted_by_hand() {
        let ones =
            "embedding = 1\nhidden = 1\ndecoder = 1\n[attention]\nkind = \"additive\"\nunits = 1";
        let work = Workload {
            batch: 1,
            source_len: 2,
            target_len: 1,
            vocab_size: 3,
        };
        // Tables 3·(6 + 3), encoder 2·3, bridge 2, keys 2·2; one step: query 1, scores 2,
        // context 2·2, gates 3·(1 + 2), output (1 + 2)·3.
        let multiply_adds = 27 + 6 + 2 + 4 + (1 + 2 + 4 + 9 + 9);
        assert_eq!(
            forward_flops(&config(ones), &work),
            f64::from(2 * multiply_adds)
        );
    }

    #[test]
    fn a_step_of_the_notebook_takes_about_fifty_billion() {
        let sizes = "embedding = 128\nhidden = 256\ndecoder = 512\nlayers = 2\n\
                     [attention]\nkind = \"additive\"\nunits = 512";
        let work = Workload {
            batch: 128,
            source_len: 12,
            target_len: 13,
            vocab_size: 52,
        };
        let gflop = step_flops(&config(sizes), &work) / 1e9;
        assert!((gflop - 51.5).abs() < 0.1, "{gflop}");
    }
}
