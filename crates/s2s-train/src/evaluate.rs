//! Evaluation of a split, free-running and teacher-forced.

use reverse_data::{BatchSource, Example, Split, Vocabulary, mark_source};
use s2s_model::{Batch, BatchLoss, Decoded, Forcing, Source, Stop};
use s2s_runlog::{AttentionRecord, EvalRecord};

use crate::{Failures, Flow, Model, Observer, Result, Tally, to_batch};

/// Maximum number of samples in [`Evaluation::wrong`].
const N_WRONG: usize = 8;

/// The metrics of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Free-running.
    pub free: Tally,
    /// Teacher-forced.
    pub forced: Tally,
    /// Indices in the split of the first samples that were not exact free-running.
    pub wrong: Vec<u64>,
    /// The errors free-running; counted for the test split only.
    pub failures: Failures,
}

impl Evaluation {
    /// The exposure gap: free-running minus teacher-forced loss, in nats per token.
    pub fn exposure_gap(&self) -> f64 {
        self.free.loss() - self.forced.loss()
    }

    /// The metrics as means.
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
/// Free-running output has as many steps as the reference has tokens, EOS included: more steps
/// could not change a metric, so a model that never stops costs no more than one that does.
///
/// # Errors
/// If the device fails.
pub fn evaluate(
    model: &mut impl Model,
    data: &dyn BatchSource,
    split: Split,
) -> Result<Evaluation> {
    let result = evaluate_observed(model, data, split, &mut [])?;
    Ok(result.expect("there is no observer to stop it"))
}

/// The same with observers, which can stop it between two batches; there is no result then.
pub(crate) fn evaluate_observed(
    model: &mut impl Model,
    data: &dyn BatchSource,
    split: Split,
    observers: &mut [&mut dyn Observer],
) -> Result<Option<Evaluation>> {
    let tokens = model.tokens();
    let mut evaluation = Evaluation::default();
    for step in 0..data.n_batches(split).unwrap_or(0) {
        for observer in observers.iter_mut() {
            if observer.on_eval_batch()? == Flow::Interrupt {
                return Ok(None);
            }
        }
        let batch = to_batch(data.batch(split, step), tokens)?;
        let free = model.loss(&batch, &Forcing::Never)?;
        let first = evaluation.free.n_sequences;
        let room = N_WRONG - evaluation.wrong.len();
        let wrong = wrong_rows(&free, &batch).map(|row| first + row as u64);
        evaluation.wrong.extend(wrong.take(room));
        if split == Split::Test {
            evaluation.failures.add(&free, &batch, tokens.eos, first);
        }
        evaluation.free += Tally::free(&free, &batch, tokens.eos);
        let forced = model.loss(&batch, &Forcing::Always)?;
        evaluation.forced += Tally::forced(&forced, &batch);
    }
    Ok(Some(evaluation))
}

/// The rows whose predictions differ from the target, EOS included.
fn wrong_rows(loss: &BatchLoss, batch: &Batch) -> impl Iterator<Item = usize> {
    let width = batch.target_len();
    let predictions = loss.predictions.chunks_exact(width);
    let targets = batch.target_out().chunks_exact(width);
    let rows = predictions.zip(targets).zip(batch.target_lengths());
    rows.enumerate()
        .filter(|(_, ((predicted, target), len))| predicted[..**len] != target[..**len])
        .map(|(row, _)| row)
}

/// Longest source whose attention weights are recorded: their memory grows with the square of the
/// length, and a larger picture is unreadable.
const MAX_LEN_WITH_WEIGHTS: usize = 128;

/// A model's output and attention for one example.
///
/// # Errors
/// If the device fails.
pub fn attention_of(
    model: &impl Model,
    example: &Example,
    vocabulary: &Vocabulary,
    source_markers: bool,
    step: u64,
) -> Result<AttentionRecord> {
    let source = model_input(example, vocabulary, source_markers);
    let source = Source::new(&[source], model.tokens())?;
    let with_weights = source.max_len() <= MAX_LEN_WITH_WEIGHTS;
    let decoded = model.decode(&source, Stop::AtEos, with_weights)?.remove(0);
    Ok(attention_record(
        decoded,
        example,
        vocabulary,
        source_markers,
        step,
    ))
}

/// The record of an example that a model decoded after `step` training steps.
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
    let has_weights = decoded.weights.iter().flatten().any(|weight| *weight > 0.0);
    AttentionRecord {
        step,
        source: texts(&model_input(example, vocabulary, source_markers)),
        target: texts(&example.target),
        prediction,
        is_exact: decoded.stopped && decoded.tokens == example.target,
        weights: if has_weights {
            decoded.weights
        } else {
            Vec::new()
        },
    }
}

/// The source as the model reads it.
fn model_input(example: &Example, vocabulary: &Vocabulary, source_markers: bool) -> Vec<u32> {
    if source_markers {
        mark_source(&example.source, vocabulary)
    } else {
        example.source.clone()
    }
}

#[cfg(test)]
mod tests {
    use s2s_model::Tokens;

    use super::*;

    #[test]
    fn wrong_rows_are_those_that_differ_before_their_end() {
        let eos = 11;
        let tokens = Tokens {
            size: 12,
            bos: 10,
            eos,
        };
        let targets = [vec![1, 2], vec![3], vec![4]];
        let batch = Batch::new(&targets, &targets, tokens).unwrap();
        let loss = BatchLoss {
            loss_sum: 0.0,
            predictions: vec![1, 2, 7, 3, eos, 7, 4, 4, eos],
        };
        assert_eq!(wrong_rows(&loss, &batch).collect::<Vec<_>>(), [0, 2]);
    }
}
