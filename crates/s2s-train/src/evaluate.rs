//! Evaluation: a split, running free and with the true tokens fed.

use candle_core::Device;
use reverse_data::{BatchSource, Example, Split, Vocabulary, mark_source};
use s2s_model::{Forcing, Source, Stop};
use s2s_runlog::{AttentionRecord, EvalRecord};

use crate::{Model, Result, Tally, to_batch};

/// A split's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The model fed its own output.
    pub free: Tally,
    /// The model fed the true tokens.
    pub forced: Tally,
}

impl Evaluation {
    /// What it costs the model to live with its own output, in nats a token.
    pub fn exposure_gap(&self) -> f64 {
        self.free.loss() - self.forced.loss()
    }

    /// The figures, divided.
    pub fn record(&self, split: Split, step: u64) -> EvalRecord {
        EvalRecord {
            split: split.to_string(),
            step,
            n_sequences: self.free.n_sequences,
            n_tokens: self.free.n_tokens,
            loss: self.free.loss(),
            forced_loss: self.forced.loss(),
            token_accuracy: self.free.token_accuracy(),
            exact_match: self.free.exact_match(),
        }
    }
}

/// Evaluates every batch of a split.
///
/// Running free, the model is given as many steps as the reference has tokens, EOS included: more
/// could change no figure, so a model that never stops costs no more than one that does.
///
/// # Errors
/// If the device fails.
pub fn evaluate(
    model: &mut impl Model,
    data: &dyn BatchSource,
    split: Split,
    device: &Device,
) -> Result<Evaluation> {
    let (tokens, dtype) = (model.tokens(), model.params().dtype());
    let mut evaluation = Evaluation::default();
    for step in 0..data.n_batches(split).unwrap_or(0) {
        let padded = data.batch(split, step);
        let batch = to_batch(&padded, tokens, dtype, device)?;
        let free = model.score(&batch, &Forcing::Never)?;
        evaluation.free += Tally::free(&free, &padded, tokens.eos);
        let forced = model.score(&batch, &Forcing::Always)?;
        evaluation.forced += Tally::forced(&forced, &padded);
    }
    Ok(evaluation)
}

/// What a model says to one example, and where it looks while it does.
///
/// # Errors
/// If the device fails.
pub fn attention_of(
    model: &impl Model,
    example: &Example,
    vocabulary: Vocabulary,
    source_markers: bool,
    step: u64,
    device: &Device,
) -> Result<AttentionRecord> {
    let tokens = model.tokens();
    let source = if source_markers {
        mark_source(&example.source, vocabulary)
    } else {
        example.source.clone()
    };
    let texts = |tokens: &[u32]| -> Vec<String> {
        tokens.iter().map(|token| vocabulary.text(*token)).collect()
    };
    let tensor = Source::new(
        std::slice::from_ref(&source),
        tokens,
        model.params().dtype(),
        device,
    )?;
    let mut decoded = model.decode(&tensor, Stop::AtEos, true)?.remove(0);
    let is_exact = decoded.stopped && decoded.tokens == example.target;
    if decoded.stopped {
        decoded.tokens.push(tokens.eos);
    }
    let is_looking = decoded.weights.iter().flatten().any(|weight| *weight > 0.0);
    Ok(AttentionRecord {
        step,
        source: texts(&source),
        target: texts(&example.target),
        prediction: texts(&decoded.tokens),
        weights: if is_looking {
            decoded.weights
        } else {
            Vec::new()
        },
        is_exact,
    })
}
