//! Evaluation of one length: output, kind of error, and alignment of the attention.
//!
//! Memory is proportional to the tokens of a batch: attention weights are reduced as they are
//! computed and never stored. Time is proportional to the length if a step reads only the positions
//! that can have a weight, as with location-relative attention; otherwise it grows with the square of the length.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use reverse_data::{DataConfig, Example, MAX_LEN, Task, TaskConfig, Vocabulary, mark_source};
use s2s_model::{Decoded, Generator, OutputLimit, Seq2Seq, Source, Stop};
use s2s_runlog::{DecodingMode, LengthRecord, LengthSums, MAX_LENGTH, Protocol};

use crate::Result;

const _: () = assert!(
    MAX_LENGTH == MAX_LEN,
    "every length that can be generated can be requested"
);

/// Maximum number of source positions in a batch; a longer sequence is a batch of its own.
const MAX_BATCH_TOKENS: usize = 1 << 14;
/// Maximum number of sequences in a batch.
const MAX_BATCH_ROWS: usize = 256;

/// Evaluates a model at single lengths against the task it was trained on.
#[derive(Debug)]
pub struct ByLength<'a> {
    model: &'a Seq2Seq,
    packed: Generator<'a>, // cloned for each thread; clones share the packed weights
    vocabulary: Vocabulary,
    task: Box<dyn Task>,
    n_markers: usize,
}

impl<'a> ByLength<'a> {
    /// Prepares the evaluation of a model trained on `data`; packs its weights once.
    ///
    /// # Errors
    /// If the vocabulary is invalid, or the weights cannot be packed.
    pub fn new(model: &'a Seq2Seq, data: &DataConfig) -> Result<Self> {
        Ok(Self {
            model,
            packed: Generator::new(model)?,
            vocabulary: Vocabulary::new(data.vocab)?,
            task: data.task(),
            n_markers: if data.source_markers { 2 } else { 0 },
        })
    }

    /// The metrics of examples that have the same length; `None` if `on_step` stopped the
    /// evaluation.
    ///
    /// `on_step` is called for each step of each sequence, from several threads. The result does
    /// not depend on the number of threads. Batches are split by length alone and each sequence is
    /// summed separately, so on the fused path the result does not depend on the batch either, not
    /// even by rounding.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate(
        &self,
        examples: &[Example],
        mode: DecodingMode,
        on_step: &(dyn Fn() -> ControlFlow<()> + Sync),
    ) -> Result<Option<LengthRecord>> {
        let length = examples.first().map_or(0, |example| example.source.len());
        let n_positions = length + self.n_markers;
        let rows = (MAX_BATCH_TOKENS / n_positions.max(1)).clamp(1, MAX_BATCH_ROWS);
        let batches: Vec<&[Example]> = examples.chunks(rows).collect();
        let Some(sequences) = self.decode_all(&batches, mode, on_step)? else {
            return Ok(None);
        };
        let mut sums = LengthSums::default();
        for sequence in sequences {
            sums += sequence;
        }
        Ok(Some(sums.record(mode, length, n_positions)))
    }

    /// The sums of each sequence, in the order of the input; `None` if the evaluation was stopped.
    fn decode_all(
        &self,
        batches: &[&[Example]],
        mode: DecodingMode,
        on_step: &(dyn Fn() -> ControlFlow<()> + Sync),
    ) -> Result<Option<Vec<LengthSums>>> {
        let next = AtomicUsize::new(0);
        let is_stopped = AtomicBool::new(false);
        let on_step = || {
            if on_step().is_break() {
                is_stopped.store(true, Ordering::Relaxed);
            }
            match is_stopped.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let work = || -> Result<Vec<(usize, Vec<LengthSums>)>> {
            let mut generator = self.packed.clone();
            let mut done = Vec::new();
            while !is_stopped.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = batches.get(index) else {
                    break;
                };
                done.push((index, self.decode(&mut generator, batch, mode, &on_step)?));
            }
            Ok(done)
        };
        // The reference path starts its own threads and needs the large stack of the calling
        // thread.
        let n_others = match self.model.is_fused() {
            true => self
                .model
                .threads()
                .get()
                .min(batches.len())
                .saturating_sub(1),
            false => 0,
        };
        let mut parts = thread::scope(|scope| -> Result<Vec<_>> {
            let others: Vec<_> = (0..n_others).map(|_| scope.spawn(work)).collect();
            let mut parts = work()?;
            for other in others {
                parts.extend(
                    other
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                );
            }
            Ok(parts)
        })?;
        parts.sort_by_key(|(index, _)| *index);
        let sequences = parts.into_iter().flat_map(|(_, sums)| sums).collect();
        Ok((!is_stopped.load(Ordering::Relaxed)).then_some(sequences))
    }

    fn decode(
        &self,
        generator: &mut Generator<'_>,
        batch: &[Example],
        mode: DecodingMode,
        on_step: &dyn Fn() -> ControlFlow<()>,
    ) -> Result<Vec<LengthSums>> {
        let with_markers = |example: &Example| match self.n_markers {
            0 => example.source.clone(),
            _ => mark_source(&example.source, &self.vocabulary),
        };
        let (stop, eos): (Stop, &[u32]) = match mode {
            DecodingMode::Eos => {
                let limit = OutputLimit::of_growth(self.task.growth());
                (Stop::AtEos(limit), &[self.vocabulary.eos()])
            }
            DecodingMode::Oracle => (
                Stop::AtSourceLength {
                    n_markers: self.n_markers,
                    growth: self.task.growth(),
                },
                &[],
            ),
        };
        let sources: Vec<Vec<u32>> = batch.iter().map(with_markers).collect();
        let references: Vec<Vec<u32>> = batch
            .iter()
            .map(|example| [&example.target[..], eos].concat())
            .collect();
        let source = Source::new(&sources, self.model.tokens())?;

        let mut steps = vec![0; batch.len()];
        let mut sums = vec![LengthSums::default(); batch.len()];
        let outputs = generator.watch(&source, stop, &mut |row, weights, support| {
            if self.model.has_attention() {
                let origin = self.task.origin(batch[row].source.len(), steps[row]);
                if let Some(origin) = origin.filter(|_| steps[row] < batch[row].target.len()) {
                    add_attention(
                        &mut sums[row],
                        weights,
                        support,
                        origin + self.n_markers / 2,
                    );
                }
            }
            steps[row] += 1;
            // Tokens after the last reference token do not affect any metric.
            match on_step().is_break() || steps[row] >= references[row].len() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        for ((sums, output), reference) in sums.iter_mut().zip(&outputs).zip(&references) {
            *sums += score(output, reference, self.vocabulary.eos());
        }
        Ok(sums)
    }
}

/// Counts the correct tokens and classifies the error. The reference ends with EOS unless the
/// length is given.
fn score(decoded: &Decoded, reference: &[u32], eos: u32) -> LengthSums {
    let end = decoded.stopped.then_some(&eos);
    let output: Vec<u32> = decoded.tokens.iter().chain(end).copied().collect();
    let pairs = || output.iter().zip(reference);
    let n_before_error = pairs()
        .take_while(|(got, expected)| got == expected)
        .count();
    let mut sums = LengthSums {
        n_sequences: 1,
        n_tokens: reference.len() as u64,
        n_right: pairs().filter(|(got, expected)| got == expected).count() as u64,
        n_before_error: n_before_error as u64,
        ..LengthSums::default()
    };
    let has_end = reference.last() == Some(&eos);
    if n_before_error == reference.len() {
        sums.n_exact = 1;
    } else if has_end && !decoded.stopped {
        sums.n_ran_over = 1;
    } else if has_end && output.len() < reference.len() {
        sums.n_stopped_early = 1;
    } else {
        sums.n_wrong_token = 1;
    }
    sums
}

/// Adds the attention of one step, whose correct source position is `origin`. The weights are 0
/// outside of `support`.
fn add_attention(sums: &mut LengthSums, weights: &[f32], support: &[Range<usize>], origin: usize) {
    let mut greatest = 0;
    for position in support.iter().cloned().flatten() {
        let weight = weights[position];
        if weight > weights[greatest] {
            greatest = position;
        }
        if weight > 0.0 {
            let weight = f64::from(weight);
            sums.entropy -= weight * weight.ln();
        }
    }
    sums.n_steps += 1;
    sums.mass += f64::from(weights[origin]);
    sums.n_aligned += u64::from(greatest == origin);
}

/// How the training data of a model differ from those of a protocol.
pub fn deviations(protocol: Protocol, data: &DataConfig) -> Vec<String> {
    let mut found = Vec::new();
    if data.task != TaskConfig::Reverse {
        found.push("data.task is not \"reverse\"".to_owned());
    }
    let (min, max) = protocol.trained();
    for (key, got, expected) in [
        (
            "vocab",
            data.vocab as usize,
            protocol.n_symbols() as usize + 1,
        ),
        ("min_len", data.min_len, min),
        ("max_len", data.max_len, max),
    ] {
        if got != expected {
            found.push(format!("data.{key} is {got}, not {expected}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const EOS: u32 = 9;

    /// Scores an output against the reference `1 2 3`: error class, correct tokens, and tokens
    /// before the first error.
    fn scored(tokens: &[u32], mode: DecodingMode) -> (&'static str, u64, u64) {
        let stopped = tokens.last() == Some(&EOS);
        let output = Decoded {
            tokens: tokens
                .iter()
                .copied()
                .filter(|token| *token != EOS)
                .collect(),
            stopped,
            ..Decoded::default()
        };
        let reference: &[u32] = match mode {
            DecodingMode::Eos => &[1, 2, 3, EOS],
            DecodingMode::Oracle => &[1, 2, 3],
        };
        let sums = score(&output, reference, EOS);
        let classes = [
            ("exact", sums.n_exact),
            ("early", sums.n_stopped_early),
            ("over", sums.n_ran_over),
            ("wrong", sums.n_wrong_token),
        ];
        let class: Vec<&str> = classes
            .iter()
            .filter(|(_, count)| *count == 1)
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(class.len(), 1, "{tokens:?} has classes {class:?}");
        assert_eq!(
            classes.iter().map(|(_, count)| count).sum::<u64>(),
            sums.n_sequences
        );
        (class[0], sums.n_right, sums.n_before_error)
    }

    #[test]
    fn errors_are_classified_by_the_length_of_the_output() {
        let eos = |tokens: &[u32]| scored(tokens, DecodingMode::Eos);
        assert_eq!(eos(&[1, 2, 3, EOS]), ("exact", 4, 4));
        assert_eq!(eos(&[EOS]), ("early", 0, 0));
        assert_eq!(eos(&[1, 2, EOS]), ("early", 2, 2));
        assert_eq!(eos(&[1, 2, 3, 3]), ("over", 3, 3));
        assert_eq!(eos(&[1, 5, 3, EOS]), ("wrong", 3, 1));
        assert_eq!(eos(&[1, 5, EOS]), ("early", 1, 1));
        assert_eq!(eos(&[5, 2, 3, 3]), ("over", 2, 0));
        let oracle = |tokens: &[u32]| scored(tokens, DecodingMode::Oracle);
        assert_eq!(oracle(&[1, 2, 3]), ("exact", 3, 3));
        assert_eq!(oracle(&[1, 2, 2]), ("wrong", 2, 2));
    }

    #[test]
    fn every_output_has_exactly_one_class() {
        for code in 0..4_u32.pow(4) {
            let digit = |position| code / 4_u32.pow(position) % 4;
            let mut tokens: Vec<u32> = (0..4)
                .map(|position| [1, 2, 3, EOS][digit(position) as usize])
                .collect();
            if let Some(end) = tokens.iter().position(|token| *token == EOS) {
                tokens.truncate(end + 1);
            }
            let (class, n_right, n_before_error) = scored(&tokens, DecodingMode::Eos);
            assert!(n_before_error <= n_right);
            assert_eq!(class == "exact", n_before_error == 4);
        }
    }

    #[test]
    fn attention_adds_mass_alignment_and_entropy() {
        let mut sums = LengthSums::default();
        add_attention(&mut sums, &[0.25, 0.5, 0.0, 0.25], &[0..2, 3..4], 1);
        let only = 2..3;
        add_attention(&mut sums, &[0.0, 0.0, 1.0, 0.0], &[only], 0);
        assert_eq!((sums.n_steps, sums.n_aligned, sums.mass), (2, 1, 0.5));
        assert!((sums.entropy - 1.5 * 2_f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn all_deviations_from_a_protocol_are_listed() {
        let data = DataConfig {
            vocab: 3,
            max_len: 40,
            ..DataConfig::default()
        };
        assert_eq!(deviations(Protocol::Deepmind, &data), [""; 0]);
        let copy = DataConfig {
            task: TaskConfig::Copy,
            ..data
        };
        assert_eq!(
            deviations(Protocol::Grefenstette, &copy),
            [
                "data.task is not \"reverse\"",
                "data.vocab is 3, not 129",
                "data.min_len is 1, not 8",
                "data.max_len is 40, not 64",
            ]
        );
    }
}
