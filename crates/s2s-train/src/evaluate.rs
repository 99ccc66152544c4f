//! Evaluation: a split, running free and with the true tokens fed.

use candle_core::Device;
use reverse_data::{BatchSource, Example, PaddedBatch, Split, Vocabulary, mark_source};
use s2s_model::{Decoded, Forcing, Score, Source, Stop};
use s2s_runlog::{AttentionRecord, EvalRecord};

use crate::{Model, Observer, Result, Tally, to_batch};

/// Wrong samples of which [`Evaluation::wrong`] takes note.
const N_WRONG: usize = 8;

/// A split's figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// The model fed its own output.
    pub free: Tally,
    /// The model fed the true tokens.
    pub forced: Tally,
    /// The first samples that were not exact running free, by their index in the split.
    pub wrong: Vec<u64>,
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
    let result = evaluate_observed(model, data, split, device, &mut [])?;
    Ok(result.expect("nobody is there to stop it"))
}

/// The same with observers who may stop it between two batches: there is no result then.
pub(crate) fn evaluate_observed(
    model: &mut impl Model,
    data: &dyn BatchSource,
    split: Split,
    device: &Device,
    observers: &mut [&mut dyn Observer],
) -> Result<Option<Evaluation>> {
    let (tokens, dtype) = (model.tokens(), model.params().dtype());
    let mut evaluation = Evaluation::default();
    for step in 0..data.n_batches(split).unwrap_or(0) {
        for observer in observers.iter_mut() {
            if observer.on_eval_batch()?.is_break() {
                return Ok(None);
            }
        }
        let padded = data.batch(split, step);
        let batch = to_batch(&padded, tokens, dtype, device)?;
        let free = model.score(&batch, &Forcing::Never)?;
        let first = evaluation.free.n_sequences;
        let room = N_WRONG - evaluation.wrong.len();
        let wrong = wrong_rows(&free, &padded).map(|row| first + row as u64);
        evaluation.wrong.extend(wrong.take(room));
        evaluation.free += Tally::free(&free, &padded, tokens.eos);
        let forced = model.score(&batch, &Forcing::Always)?;
        evaluation.forced += Tally::forced(&forced, &padded);
    }
    Ok(Some(evaluation))
}

/// The rows whose predictions are not the target, EOS included.
fn wrong_rows(score: &Score, batch: &PaddedBatch) -> impl Iterator<Item = usize> {
    let width = batch.target_len().max(1);
    let predictions = score.predictions.chunks_exact(width);
    let targets = batch.target.chunks_exact(width);
    let rows = predictions.zip(targets).zip(&batch.target_lengths);
    rows.enumerate()
        .filter(|(_, ((said, target), len))| said[..**len] != target[..**len])
        .map(|(row, _)| row)
}

/// Source tokens beyond which no attention weights are kept: they take memory and room in the square
/// of the length, and nobody can look at them.
const MAX_WATCHED: usize = 128;

/// What a model says to one example, and where it looks while it does.
///
/// # Errors
/// If the device fails.
pub fn attention_of(
    model: &impl Model,
    example: &Example,
    vocabulary: &Vocabulary,
    source_markers: bool,
    step: u64,
    device: &Device,
) -> Result<AttentionRecord> {
    let source = read(example, vocabulary, source_markers);
    let dtype = model.params().dtype();
    let source = Source::new(&[source], model.tokens(), dtype, device)?;
    let is_watched = source.rows.max_len() <= MAX_WATCHED;
    let decoded = model.decode(&source, Stop::AtEos, is_watched)?.remove(0);
    Ok(attention_record(
        decoded,
        example,
        vocabulary,
        source_markers,
        step,
    ))
}

/// The record of what a model of `step` steps said to an example, decoded with its weights.
pub fn attention_record(
    decoded: Decoded,
    example: &Example,
    vocabulary: &Vocabulary,
    source_markers: bool,
    step: u64,
) -> AttentionRecord {
    let texts = |tokens: &[u32]| -> Vec<String> {
        tokens.iter().map(|token| vocabulary.text(*token)).collect()
    };
    let mut prediction = texts(&decoded.tokens);
    if decoded.stopped {
        prediction.push(vocabulary.text(vocabulary.eos()));
    }
    let is_looking = decoded.weights.iter().flatten().any(|weight| *weight > 0.0);
    AttentionRecord {
        step,
        source: texts(&read(example, vocabulary, source_markers)),
        target: texts(&example.target),
        prediction,
        is_exact: decoded.stopped && decoded.tokens == example.target,
        weights: if is_looking {
            decoded.weights
        } else {
            Vec::new()
        },
    }
}

/// The source as the model reads it.
fn read(example: &Example, vocabulary: &Vocabulary, source_markers: bool) -> Vec<u32> {
    if source_markers {
        mark_source(&example.source, vocabulary)
    } else {
        example.source.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_rows_are_those_that_differ_before_their_end() {
        let vocabulary = &Vocabulary::new(9).unwrap();
        let example = |target: &[u32]| Example {
            source: target.to_vec(),
            target: target.to_vec(),
        };
        let examples = [example(&[1, 2]), example(&[3]), example(&[4])];
        let batch = PaddedBatch::from_examples(&examples, vocabulary, false);
        let eos = vocabulary.eos();
        let score = Score {
            loss_sum: 0.0,
            predictions: vec![1, 2, 7, 3, eos, 7, 4, 4, eos],
        };
        assert_eq!(wrong_rows(&score, &batch).collect::<Vec<_>>(), [0, 2]);
    }
}
