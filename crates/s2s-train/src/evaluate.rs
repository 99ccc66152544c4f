//! Evaluation of a split, free-running and teacher-forced.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use rayon::prelude::*;
use reverse_data::{BatchSource, Sequence, Split};
use s2s_model::{Batch, BatchLoss, Beam, Decoded, Forcing, Generator, Seq2Seq, Source};
use s2s_runlog::{AttentionRecord, EvalRecord, TextScores};

use crate::observer::notify;
use crate::text::{OutputsWithReferences, TextTally};
use crate::{Codec, Failures, Flow, Model, Observer, Result, Scoring, Tally, to_batch, tokens_of};

/// Maximum number of samples in [`Evaluation::wrong`].
const N_WRONG: usize = 8;

/// The metrics of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Free-running.
    pub free: Tally,
    /// Teacher-forced.
    pub forced: Tally,
    /// The first samples that were not exact free-running: index in the split, and output up to EOS,
    /// with at most as many tokens as the reference.
    pub wrong: Vec<(u64, Vec<u32>)>,
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
            text: None,
        }
    }

    /// Adds a batch.
    fn add(
        &mut self,
        split: Split,
        batch: &Batch,
        [free, forced]: [&BatchLoss; 2],
        scoring: &Scoring,
    ) {
        let first = self.free.n_sequences;
        let room = N_WRONG - self.wrong.len();
        let wrong = wrong_rows(free, batch, scoring);
        let outputs = wrong.map(|row| (first + row as u64, output(free, batch, row, scoring.eos)));
        self.wrong.extend(outputs.take(room));
        if split == Split::Test {
            self.failures.add(free, batch, scoring, first);
        }
        self.free += Tally::free(free, batch, scoring);
        self.forced += Tally::forced(forced, batch, scoring);
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
    codec: &Codec,
) -> Result<Evaluation> {
    let result = evaluate_observed(model, data, split, codec, &mut [])?;
    Ok(result.expect("there is no observer to stop it"))
}

/// The same with observers, which can stop it between two batches; there is no result then.
pub(crate) fn evaluate_observed(
    model: &mut impl Model,
    data: &dyn BatchSource,
    split: Split,
    codec: &Codec,
    observers: &mut [&mut dyn Observer],
) -> Result<Option<Evaluation>> {
    let scoring = Scoring::new(codec);
    let mut evaluation = Evaluation::default();
    for step in 0..data.n_batches(split).unwrap_or(0) {
        if is_interrupted(observers)? {
            return Ok(None);
        }
        let batch = to_batch(data.batch(split, step), model.tokens())?;
        let free = model.loss(&batch, &Forcing::Never)?;
        let forced = model.loss(&batch, &Forcing::Always)?;
        evaluation.add(split, &batch, [&free, &forced], &scoring);
    }
    Ok(Some(evaluation))
}

/// Evaluates every batch of a split with the mean probabilities of several models, on all threads.
///
/// # Errors
/// If there is no model, the models have different vocabularies, or a device fails.
pub fn evaluate_ensemble(
    models: &[&Seq2Seq],
    data: &dyn BatchSource,
    split: Split,
    codec: &Codec,
) -> Result<Evaluation> {
    let packed = Generator::ensemble(models)?;
    let steps = 0..data.n_batches(split).unwrap_or(0);
    let measured = steps.into_par_iter().map(|step| -> Result<_> {
        let batch = to_batch(data.batch(split, step), tokens_of(&codec.vocabulary))?;
        let mut ensemble = packed.clone();
        let free = ensemble.loss(&batch, &Forcing::Never)?;
        let forced = ensemble.loss(&batch, &Forcing::Always)?;
        Ok((batch, free, forced))
    });
    let scoring = Scoring::new(codec);
    let mut evaluation = Evaluation::default();
    for (batch, free, forced) in measured.collect::<Result<Vec<_>>>()? {
        evaluation.add(split, &batch, [&free, &forced], &scoring);
    }
    Ok(evaluation)
}

/// Whether an observer interrupts an evaluation.
fn is_interrupted(observers: &mut [&mut dyn Observer]) -> Result<bool> {
    Ok(notify(observers, |observer| observer.on_eval_batch())? == Flow::Interrupt)
}

/// The rows that are not exact.
fn wrong_rows(loss: &BatchLoss, batch: &Batch, scoring: &Scoring) -> impl Iterator<Item = usize> {
    let is_exact: Vec<bool> = scoring.exact_rows(loss, batch).collect();
    let rows = is_exact.into_iter().enumerate();
    rows.filter(|(_, is_exact)| !is_exact).map(|(row, _)| row)
}

/// The predicted tokens of a row up to EOS, at most as many as the reference has.
fn output(loss: &BatchLoss, batch: &Batch, row: usize, eos: u32) -> Vec<u32> {
    let first = row * batch.target_len();
    let predicted = &loss.predictions[first..][..batch.target_lengths()[row]];
    let end = predicted.iter().position(|token| *token == eos);
    predicted[..end.map_or(predicted.len(), |end| end + 1)].to_vec()
}

/// How outputs of text are compared with references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// Each pair has one reference.
    One,
    /// The targets of all pairs with the same source are references of one output.
    OfEqualSources,
}

/// Decodes every source of a split of text greedily and compares the outputs with the references. `None` if
/// an observer interrupts it.
///
/// # Errors
/// If the device fails.
pub(crate) fn score_text_observed(
    model: &impl Model,
    data: &dyn BatchSource,
    split: Split,
    codec: &Codec,
    references: References,
    observers: &mut [&mut dyn Observer],
) -> Result<Option<TextScores>> {
    let decode = |sources: &[Vec<u32>]| {
        let source = Source::new(sources, model.tokens())?;
        let decoded = model.decode(&source, codec.stop())?;
        Ok(decoded.into_iter().map(|output| vec![output]).collect())
    };
    let tally = TextTally::new(NonZeroUsize::MIN);
    score_outputs(decode, tally, data, split, codec, references, observers)
}

/// A source and its references, as tokens and as lines.
struct Group {
    source: Vec<u32>,
    references: Vec<Vec<u32>>,
    lines: Vec<String>,
}

/// Compares the outputs of `decode` for every source of a split, best first, with the references. `None` if
/// an observer interrupts it.
fn score_outputs(
    mut decode: impl FnMut(&[Vec<u32>]) -> Result<Vec<Vec<Decoded>>>,
    mut tally: TextTally,
    data: &dyn BatchSource,
    split: Split,
    codec: &Codec,
    references: References,
    observers: &mut [&mut dyn Observer],
) -> Result<Option<TextScores>> {
    /// Sources decoded at once.
    const BATCH: usize = 256;
    let vocabulary = &codec.vocabulary;
    let unknown = vocabulary
        .unknown()
        .map_or_else(String::new, |token| vocabulary.text(token));
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of: HashMap<String, usize> = HashMap::new();
    for index in 0..data.n_samples(split).unwrap_or(0) {
        let [source, target] = data.sequences(split, index);
        let [source_line, line] = [&source, &target].map(|sequence| {
            // A word that reads like `<unk>` is not what an output means by it.
            let texts = sequence.texts.iter().map(|text| match text == &unknown {
                true => "\u{fffd}",
                false => text,
            });
            vocabulary.join(texts)
        });
        let new = groups.len();
        let group = match references {
            References::One => new,
            References::OfEqualSources => *group_of.entry(source_line).or_insert(new),
        };
        match groups.get_mut(group) {
            Some(group) => {
                group.references.push(target.tokens);
                group.lines.push(line);
            }
            None => groups.push(Group {
                source: source.tokens,
                references: vec![target.tokens],
                lines: vec![line],
            }),
        }
    }
    // Sources of similar length share a batch; sums do not depend on their order.
    groups.sort_by_key(|group| group.source.len());
    for batch in groups.chunks(BATCH) {
        if is_interrupted(observers)? {
            return Ok(None);
        }
        let inputs: Vec<Vec<u32>> = batch
            .iter()
            .map(|group| codec.model_input(&group.source))
            .collect();
        for (group, outputs) in batch.iter().zip(decode(&inputs)?) {
            let scored = OutputsWithReferences {
                outputs: &outputs,
                line: &vocabulary.line(&outputs[0].tokens),
                references: &group.references,
                lines: &group.lines,
            };
            tally.add(&scored, vocabulary.unknown());
        }
    }
    Ok(Some(tally.scores()))
}

/// Decodes every source of a split of text greedily and compares the outputs with the references.
///
/// # Errors
/// If the device fails.
pub fn score_text(
    model: &impl Model,
    data: &dyn BatchSource,
    split: Split,
    codec: &Codec,
    references: References,
) -> Result<TextScores> {
    let scores = score_text_observed(model, data, split, codec, references, &mut [])?;
    Ok(scores.expect("there is no observer to stop it"))
}

/// Decodes every source of a split by beam search, on all threads, and compares the outputs with the
/// references: the best ones, and with [`Beam::n_best`] above 1 also whether one of all is correct. Several
/// models are an ensemble, whose probabilities are averaged.
///
/// # Errors
/// If there is no model, the models have different vocabularies, the constraints of the beam are invalid for a
/// source, or a device fails.
pub fn score_beam(
    models: &[&Seq2Seq],
    beam: &Beam,
    data: &dyn BatchSource,
    split: Split,
    codec: &Codec,
    references: References,
) -> Result<TextScores> {
    /// Sources decoded at once by a thread.
    const ROWS: usize = 64;
    let packed = Generator::ensemble(models)?;
    let decode = |sources: &[Vec<u32>]| -> Result<Vec<Vec<Decoded>>> {
        let batches = sources.par_chunks(ROWS).map(|sources| -> Result<_> {
            let source = Source::new(sources, tokens_of(&codec.vocabulary))?;
            Ok(packed.clone().beam(&source, beam)?)
        });
        Ok(batches.collect::<Result<Vec<_>>>()?.concat())
    };
    let tally = TextTally::new(beam.n_best);
    let scores = score_outputs(decode, tally, data, split, codec, references, &mut [])?;
    Ok(scores.expect("there is no observer to stop it"))
}

/// Longest source whose attention weights are recorded: their memory grows with the square of the
/// length, and a larger picture is unreadable.
const MAX_LEN_WITH_WEIGHTS: usize = 128;

/// A model's output and attention for a source with this target.
///
/// # Errors
/// If the device fails.
pub(crate) fn attention_of(
    model: &impl Model,
    [source, target]: &[Sequence; 2],
    codec: &Codec,
    step: u64,
) -> Result<AttentionRecord> {
    let input = Source::new(&[codec.model_input(&source.tokens)], model.tokens())?;
    let mut decoded = match input.max_len() <= MAX_LEN_WITH_WEIGHTS {
        true => model.decode_with_attention(&input, codec.stop())?,
        false => model.decode(&input, codec.stop())?,
    };
    Ok(attention_record(
        decoded.remove(0),
        [source, target],
        codec,
        step,
    ))
}

/// The record of an output that a model decoded after `step` training steps.
pub fn attention_record(
    decoded: Decoded,
    [source, target]: [&Sequence; 2],
    codec: &Codec,
    step: u64,
) -> AttentionRecord {
    let vocabulary = &codec.vocabulary;
    let mut prediction = vocabulary.texts(&decoded.tokens);
    if decoded.stopped {
        prediction.push(vocabulary.text(vocabulary.eos()));
    }
    let has_weights = decoded.weights.iter().flatten().any(|weight| *weight > 0.0);
    AttentionRecord {
        step,
        source: codec.input_texts(&source.texts),
        target: target.texts.clone(),
        prediction,
        is_exact: decoded.stopped
            && decoded.tokens == target.tokens
            && target.unknown(vocabulary).is_empty(),
        weights: if has_weights {
            decoded.weights
        } else {
            Vec::new()
        },
    }
}

#[cfg(test)]
mod tests {
    use s2s_model::{OutputLimit, Tokens};

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
        let scoring = Scoring {
            eos,
            unknown: None,
            limit: OutputLimit::default(),
        };
        assert_eq!(
            wrong_rows(&loss, &batch, &scoring).collect::<Vec<_>>(),
            [0, 2]
        );
    }
}
