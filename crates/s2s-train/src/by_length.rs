//! Evaluation of one length: what the model says, how it ends, and where it looks.
//!
//! Memory is of the order of the tokens of a batch: attention's weights are summed up as they come
//! and never kept. Time is in the square of the length, for every step looks at every position.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use reverse_data::{DataConfig, Example, MAX_LEN, Task, TaskConfig, Vocabulary, mark_source};
use s2s_model::{Decoded, Greedy, Seq2Seq, Source, Stop};
use s2s_runlog::{DecodingMode, LengthRecord, LengthSums, MAX_LENGTH, Protocol};

use crate::Result;

const _: () = assert!(
    MAX_LENGTH == MAX_LEN,
    "whatever can be drawn can be asked for"
);

/// Source positions of a batch at most, or one sequence.
const MAX_BATCH_TOKENS: usize = 1 << 14;
/// Sequences of a batch at most.
const MAX_BATCH_ROWS: usize = 256;

/// A model, and the task by which it is judged.
#[derive(Debug)]
pub struct ByLength<'a> {
    model: &'a Seq2Seq,
    vocabulary: Vocabulary,
    task: Box<dyn Task>,
    n_markers: usize,
}

impl<'a> ByLength<'a> {
    /// For a model of such data.
    ///
    /// # Errors
    /// If there is no such vocabulary.
    pub fn new(model: &'a Seq2Seq, data: &DataConfig) -> Result<Self> {
        Ok(Self {
            model,
            vocabulary: Vocabulary::new(data.vocab)?,
            task: data.task(),
            n_markers: if data.source_markers { 2 } else { 0 },
        })
    }

    /// The figures of examples of one length; `None` if `on_step` broke it off.
    ///
    /// `on_step` is told of every step of every sequence, from several threads. No figure depends on
    /// their number. Batches are cut by length alone and each sequence is summed up by itself, so that
    /// companions do not matter either: not by a bit on the fused path.
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

    /// What each sequence comes to, in their order; `None` if it was broken off.
    fn decode_all(
        &self,
        batches: &[&[Example]],
        mode: DecodingMode,
        on_step: &(dyn Fn() -> ControlFlow<()> + Sync),
    ) -> Result<Option<Vec<LengthSums>>> {
        let next = AtomicUsize::new(0);
        let is_broken_off = AtomicBool::new(false);
        let on_step = || {
            if on_step().is_break() {
                is_broken_off.store(true, Ordering::Relaxed);
            }
            match is_broken_off.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let work = || -> Result<Vec<(usize, Vec<LengthSums>)>> {
            let mut greedy = Greedy::new(self.model)?;
            let mut done = Vec::new();
            while !is_broken_off.load(Ordering::Relaxed) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(batch) = batches.get(index) else {
                    break;
                };
                done.push((index, self.decode(&mut greedy, batch, mode, &on_step)?));
            }
            Ok(done)
        };
        // The reference path has threads of its own, and needs the stack of the caller's.
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
        Ok((!is_broken_off.load(Ordering::Relaxed)).then_some(sequences))
    }

    fn decode(
        &self,
        greedy: &mut Greedy<'_>,
        batch: &[Example],
        mode: DecodingMode,
        on_step: &dyn Fn() -> ControlFlow<()>,
    ) -> Result<Vec<LengthSums>> {
        let read = |example: &Example| match self.n_markers {
            0 => example.source.clone(),
            _ => mark_source(&example.source, &self.vocabulary),
        };
        let (stop, eos): (Stop, &[u32]) = match mode {
            DecodingMode::Eos => (Stop::AtEos, &[self.vocabulary.eos()]),
            DecodingMode::Oracle => (
                Stop::AtSourceLength {
                    n_markers: self.n_markers,
                    growth: self.task.growth(),
                },
                &[],
            ),
        };
        let read: Vec<Vec<u32>> = batch.iter().map(read).collect();
        let references: Vec<Vec<u32>> = batch
            .iter()
            .map(|example| [&example.target[..], eos].concat())
            .collect();
        let source = Source::new(&read, self.model.tokens())?;

        let mut steps = vec![0; batch.len()];
        let mut looks = vec![LengthSums::default(); batch.len()];
        let said = greedy.watch(&source, stop, &mut |row, weights| {
            if self.model.has_attention() {
                let origin = self.task.origin(batch[row].source.len(), steps[row]);
                if let Some(origin) = origin.filter(|_| steps[row] < batch[row].target.len()) {
                    look(&mut looks[row], weights, origin + self.n_markers / 2);
                }
            }
            steps[row] += 1;
            // What comes after the reference's last token can change no figure.
            match on_step().is_break() || steps[row] >= references[row].len() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        for ((sums, said), reference) in looks.iter_mut().zip(&said).zip(&references) {
            *sums += judge(said, reference, self.vocabulary.eos());
        }
        Ok(looks)
    }
}

/// What was right, and in what way it went wrong. The reference ends with EOS unless the length was
/// told.
fn judge(said: &Decoded, reference: &[u32], eos: u32) -> LengthSums {
    let end = said.stopped.then_some(&eos);
    let output: Vec<u32> = said.tokens.iter().chain(end).copied().collect();
    let pairs = || output.iter().zip(reference);
    let n_before_error = pairs().take_while(|(said, right)| said == right).count();
    let mut sums = LengthSums {
        n_sequences: 1,
        n_tokens: reference.len() as u64,
        n_right: pairs().filter(|(said, right)| said == right).count() as u64,
        n_before_error: n_before_error as u64,
        ..LengthSums::default()
    };
    let has_end = reference.last() == Some(&eos);
    if n_before_error == reference.len() {
        sums.n_exact = 1;
    } else if has_end && !said.stopped {
        sums.n_ran_over = 1;
    } else if has_end && output.len() < reference.len() {
        sums.n_stopped_early = 1;
    } else {
        sums.n_wrong_token = 1;
    }
    sums
}

/// Adds a step at which `origin` was the position to look at.
fn look(sums: &mut LengthSums, weights: &[f32], origin: usize) {
    const BLOCK: usize = 64;
    let mut greatest = 0;
    for (index, block) in weights.chunks(BLOCK).enumerate() {
        // Of a long source, most positions have no weight at all.
        if !block
            .iter()
            .fold(false, |any, weight| any | (*weight != 0.0))
        {
            continue;
        }
        for (position, weight) in (index * BLOCK..).zip(block) {
            if *weight > weights[greatest] {
                greatest = position;
            }
            if *weight > 0.0 {
                let weight = f64::from(*weight);
                sums.entropy -= weight * weight.ln();
            }
        }
    }
    sums.n_steps += 1;
    sums.mass += f64::from(weights[origin]);
    sums.n_aligned += u64::from(greatest == origin);
}

/// In what the data that a model was trained on differ from those of a protocol.
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

    /// Judges what was said to the reference `1 2 3`; the class of error, tokens right and before
    /// the first error.
    fn judged(tokens: &[u32], mode: DecodingMode) -> (&'static str, u64, u64) {
        let stopped = tokens.last() == Some(&EOS);
        let said = Decoded {
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
        let sums = judge(&said, reference, EOS);
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
        assert_eq!(class.len(), 1, "{tokens:?} is in {class:?}");
        assert_eq!(
            classes.iter().map(|(_, count)| count).sum::<u64>(),
            sums.n_sequences
        );
        (class[0], sums.n_right, sums.n_before_error)
    }

    #[test]
    fn the_length_of_a_wrong_output_decides_its_class() {
        let eos = |tokens: &[u32]| judged(tokens, DecodingMode::Eos);
        assert_eq!(eos(&[1, 2, 3, EOS]), ("exact", 4, 4));
        assert_eq!(eos(&[EOS]), ("early", 0, 0));
        assert_eq!(eos(&[1, 2, EOS]), ("early", 2, 2));
        assert_eq!(eos(&[1, 2, 3, 3]), ("over", 3, 3));
        assert_eq!(eos(&[1, 5, 3, EOS]), ("wrong", 3, 1));
        assert_eq!(eos(&[1, 5, EOS]), ("early", 1, 1));
        assert_eq!(eos(&[5, 2, 3, 3]), ("over", 2, 0));
        let oracle = |tokens: &[u32]| judged(tokens, DecodingMode::Oracle);
        assert_eq!(oracle(&[1, 2, 3]), ("exact", 3, 3));
        assert_eq!(oracle(&[1, 2, 2]), ("wrong", 2, 2));
    }

    #[test]
    fn every_output_is_in_one_class_of_its_own() {
        for code in 0..4_u32.pow(4) {
            let digit = |place| code / 4_u32.pow(place) % 4;
            let mut tokens: Vec<u32> = (0..4)
                .map(|place| [1, 2, 3, EOS][digit(place) as usize])
                .collect();
            if let Some(end) = tokens.iter().position(|token| *token == EOS) {
                tokens.truncate(end + 1);
            }
            let (class, n_right, n_before_error) = judged(&tokens, DecodingMode::Eos);
            assert!(n_before_error <= n_right);
            assert_eq!(class == "exact", n_before_error == 4);
        }
    }

    #[test]
    fn a_look_adds_mass_rank_and_entropy() {
        let mut sums = LengthSums::default();
        look(&mut sums, &[0.25, 0.5, 0.25, 0.0], 1);
        look(&mut sums, &[0.0, 0.0, 1.0, 0.0], 0);
        assert_eq!((sums.n_steps, sums.n_aligned, sums.mass), (2, 1, 0.5));
        assert!((sums.entropy - 1.5 * 2_f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn every_difference_from_a_protocol_is_named() {
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
