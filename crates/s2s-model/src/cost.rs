//! The necessary operations of a batch, against which an implementation is measured.
//!
//! The count covers the multiply-adds of matrix products and of the attention, two operations each, and
//! assumes that what can be computed once is computed once:
//!
//! ```text
//! tables     embedding · gate weights, one row per token of the vocabulary, or of the batch if that has
//!            fewer; with dropout on embeddings, one row per position of the batch
//! encoder    per layer and direction: input of S positions (except the lowest), states of S - 1
//! bridge     one product per layer and vector of its state
//! keys       once per sequence
//! decoder    T steps: query, scores, context; the gates of each layer; output; vector with input feeding
//! transducer T steps: transitions and moves; the move of the head, the reading; output
//! ```
//!
//! The backward pass takes two products for each product of the forward pass. Elementwise work (gates,
//! softmax, dropout, Adam) is not counted, so no implementation reaches the peak.

use crate::attention::AttentionCost;
use crate::{BridgeKind, ModelConfig, Probability, Readout};

/// The sizes of a batch whose rows are all full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// B.
    pub batch: usize,
    /// S.
    pub source_len: usize,
    /// T, EOS included.
    pub target_len: usize,
    /// V, the special tokens included.
    pub vocab_size: usize,
}

/// Floating-point operations of one forward pass, teacher-forced or free-running.
///
/// Two operations a multiply-add of a matrix product or of the attention; embeddings folded into
/// tables over the vocabulary and keys projected once a sequence; elementwise work not counted.
pub fn forward_flops(config: &ModelConfig, work: &Workload) -> f64 {
    flops(config, work, |positions| positions.min(work.vocab_size))
}

/// Floating-point operations of one training step: those of a forward pass, and twice as many for the
/// backward pass.
///
/// This is three times [`forward_flops`], unless there is dropout on embeddings: two positions with the
/// same token then have different inputs, and no table serves both.
pub fn step_flops(config: &ModelConfig, work: &Workload) -> f64 {
    let has_tables = config.embedding_dropout == Probability::ZERO;
    3.0 * flops(config, work, |positions| match has_tables {
        true => positions.min(work.vocab_size),
        false => positions,
    })
}

/// `inputs` maps a number of positions to the number of different embeddings at them.
fn flops(config: &ModelConfig, work: &Workload, inputs: impl Fn(usize) -> usize) -> f64 {
    let embedded = |len: usize| inputs(work.batch * len) as f64;
    let [sources, targets] = [embedded(work.source_len), embedded(work.target_len)];
    let [embedding, hidden, decoder, layers] = [
        config.embedding.get() as f64,
        config.hidden.get() as f64,
        config.decoder.width().get() as f64,
        config.layers.get() as f64,
    ];
    let [batch, source_len, target_len, vocab] = [
        work.batch as f64,
        work.source_len as f64,
        work.target_len as f64,
        work.vocab_size as f64,
    ];
    let (values, n_gates) = (2.0 * hidden, config.cell.gates() as f64);
    let (gates, encoder_gates) = (n_gates * decoder, n_gates * hidden);
    let positions = batch * source_len;

    let is_recurrent = config.decoder.transducer().is_none();
    let read_by_decoder = if is_recurrent { targets * gates } else { 0.0 };
    let tables = embedding * (sources * 2.0 * encoder_gates + read_by_decoder);
    // The state before the first position is zero.
    let states = batch * (source_len - 1.0) * hidden * encoder_gates;
    let inputs = (layers - 1.0) * positions * values * encoder_gates;
    let encoder = 2.0 * (layers * states + inputs);
    if let Some(transducer) = config.decoder.transducer() {
        let (modes, moves) = (decoder, transducer.moves() as f64);
        let chosen = (values + 1.0) * modes * (modes + moves);
        let read = source_len * (transducer.distances() as f64 + values);
        let readouts = match transducer.readout {
            Readout::Shared => 1.0,
            Readout::PerMode => modes,
        };
        let output = (readouts * values + modes) * vocab;
        return 2.0 * (tables + encoder + target_len * batch * (chosen + read + output));
    }
    let bridge = match config.bridge {
        BridgeKind::Tanh => {
            let maps = layers * config.cell.state_vectors() as f64;
            maps * batch * values * decoder
        }
        BridgeKind::Concat | BridgeKind::Last | BridgeKind::Zero => 0.0,
    };
    let AttentionCost {
        key,
        step,
        score,
        context,
    } = attention_cost(config);
    let [key, step, score, context] = [key, step, score, context].map(|n| n as f64);
    let keys = positions * key;
    let attention = batch * (step + source_len * (score + context));
    // Each layer reads its own state and the state below; the lowest reads the context instead, or with input
    // feeding the vector, which the output layer reads, too.
    let both = decoder + context;
    let (fed, vector, read) = match config.input_feeding {
        true => (decoder, both * decoder, decoder),
        false => (context, 0.0, both),
    };
    let cells = batch * gates * (layers * decoder + (layers - 1.0) * decoder + fed);
    let output = batch * (vector + read * vocab);
    let multiply_adds =
        tables + encoder + bridge + keys + target_len * (attention + cells + output);
    2.0 * multiply_adds
}

fn attention_cost(config: &ModelConfig) -> AttentionCost {
    let (values, state) = (2 * config.hidden.get(), config.decoder.width().get());
    config.attention.mechanism().cost(values, state)
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
        // Tables 2·6 + 1·3, encoder 2·3, bridge 2, keys 2·2; one step: query 1, scores 2,
        // context 2·2, gates 3·(1 + 2), output (1 + 2)·3.
        let multiply_adds = 15 + 6 + 2 + 4 + (1 + 2 + 4 + 9 + 9);
        assert_eq!(
            forward_flops(&config(ones), &work),
            f64::from(2 * multiply_adds)
        );
        // An LSTM has a gate more in the tables, the encoder and the decoder, and a cell state to
        // bridge.
        let more = (2 * 2 + 1) + 2 + 2 + (1 + 2);
        let lstm = format!("cell = \"lstm\"\n{ones}");
        assert_eq!(
            forward_flops(&config(&lstm), &work),
            f64::from(2 * (multiply_adds + more))
        );
    }

    #[test]
    fn input_feeding_of_ones_is_counted_by_hand() {
        let flops = |key: &str| {
            let sizes = "embedding = 1\nhidden = 1\ndecoder = 1";
            let work = Workload {
                batch: 1,
                source_len: 2,
                target_len: 1,
                vocab_size: 3,
            };
            forward_flops(&config(&format!("{key}\n{sizes}")), &work)
        };
        // Gates read 1 number instead of 2, the output layer 1 instead of 3; the vector reads 3.
        let more = -3 - 2 * 3 + 3;
        let fed = flops("input_feeding = true");
        assert_eq!(fed - flops(""), f64::from(2 * more));
    }

    #[test]
    fn a_transducer_of_ones_is_counted_by_hand() {
        let ones =
            "embedding = 1\nhidden = 1\n[decoder]\nkind = \"transducer\"\nmodes = 1\nreach = 1";
        let work = Workload {
            batch: 1,
            source_len: 2,
            target_len: 1,
            vocab_size: 3,
        };
        // Tables 2·6, encoder 2·3; one step: transition 2 and 9 moves 2 each, mixed 1 + 9; moved 2·3,
        // read 2·2, output (2 + 1)·3.
        let multiply_adds = 12 + 6 + (2 + 18 + 10 + 6 + 4 + 9);
        assert_eq!(
            forward_flops(&config(ones), &work),
            f64::from(2 * multiply_adds)
        );
    }

    #[test]
    fn scores_of_ones_are_counted_by_hand() {
        let ones = |attention: &str| {
            format!("hidden = 1\ndecoder = 2\nbridge = \"tanh\"\n[attention]\nkind = {attention}")
        };
        let sizes = "units = 1\nfilters = 1\nwidth = 1";
        for (attention, state, position) in [
            ("\"additive\"\nunits = 1".to_owned(), 2, 1),
            ("\"dot\"".to_owned(), 0, 2),
            ("\"general\"".to_owned(), 0, 2),
            // Filter, its feature's way to the unit, energy.
            (format!("\"location\"\n{sizes}"), 2, 3),
            // The state's filter beside; both filters, both features, energy.
            (format!("\"dynamic-convolution\"\n{sizes}"), 3, 5),
            // Query, gate, three taps, sharpness; energy, three taps.
            ("\"ntm\"\nunits = 1".to_owned(), 12, 4),
            ("\"location-relative\"\nunits = 1".to_owned(), 10, 4),
            ("\"none\"".to_owned(), 0, 0),
        ] {
            let cost = attention_cost(&config(&ones(&attention)));
            assert_eq!((cost.step, cost.score), (state, position), "{attention}");
        }
    }

    #[test]
    fn a_step_of_the_notebook_takes_about_fifty_billion() {
        let sizes = "embedding = 128\nhidden = 256\ndecoder = 512\nlayers = 2\n\
                     dropout = 0.25\nembedding_dropout = 0.0\n[attention]\nkind = \"additive\"\nunits = 512";
        let work = Workload {
            batch: 128,
            source_len: 12,
            target_len: 13,
            vocab_size: 52,
        };
        let gflop = step_flops(&config(sizes), &work) / 1e9;
        assert!((gflop - 51.5).abs() < 0.1, "{gflop}");
        // 1,536 and 1,664 rows of products with embeddings instead of 52.
        let dropping = sizes.replace("embedding_dropout = 0.0", "embedding_dropout = 0.1");
        let more = step_flops(&config(&dropping), &work) / 1e9 - gflop;
        let multiply_adds = 128 * ((1536 - 52) * 1536 + (1664 - 52) * 1536);
        assert!(
            (more - 6e-9 * f64::from(multiply_adds)).abs() < 1e-6,
            "{more}"
        );
    }
}
