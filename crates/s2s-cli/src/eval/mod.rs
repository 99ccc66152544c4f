//! `s2s eval`.

mod by_length;
mod progress;
mod tables;

use std::error::Error as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use reverse_data::{BatchSource, DataConfig, Error as DataError, Example, Split};
use s2s_lab::statistics::percent;
use s2s_model::{Beam, Constraints, NonFinite, OutputLimit, Seq2Seq};
use s2s_runlog::{EvalRecord, RunDir, is_folder};
use s2s_train::{
    Codec, Error, OpenSplit, References, Trained, evaluate, evaluate_ensemble, open_split,
    score_beam, score_text,
};
use s2s_viz::Table;

use crate::checkpoint::{CheckpointArgs, Loaded};
use crate::decoding::{BeamArgs, above_zero};
use crate::failure::{Hinted, Usage, memory};
use crate::machine::batch_size;
use crate::shell::{program, quote, quote_text};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s eval runs/default-seed0
  s2s eval runs/default-seed0@last --split val --json
  s2s eval runs/dates-seed0 --data more-dates.tsv
  s2s eval runs/default-seed0 --beam 5 --n-best 5
  s2s eval runs/default-seed0 runs/default-seed1
  s2s eval runs/default-seed0 --lengths 1..40
  s2s eval runs/default-seed0 --lengths 1..12,20..500 --step 20 --samples 50 --name far
  s2s eval runs/deepmind-seed0 --protocol deepmind";

/// Evaluate a trained model on a split or by length
///
/// Decoding is free-running: the model is fed its own output. Token accuracy is the share of
/// reference tokens (EOS included) that are predicted correctly; exact match is the share of
/// sequences that are correct as a whole. For text, a second table compares greedy outputs with their
/// references: edit distance of tokens and characters as a share of the references, chrF and BLEU. With
/// --beam, the second table is for the outputs of a beam search, also of synthetic data.
///
/// Several runs that were trained on the same data are evaluated as one model: their probabilities are
/// averaged, and data and step are those of the first run.
///
/// With --lengths or --protocol, each length is evaluated separately, also beyond the training
/// lengths, on sequences that no training set contains. Results go to lengths.json, lengths.csv and
/// plots/lengths.* in the run folder. After Ctrl-C, the same command continues; an existing
/// evaluation with other options is never overwritten. Errors are classified as early (EOS too
/// soon), over (EOS missing) or wrong (correct length, wrong token). Memory grows
/// linearly with the length. Time grows linearly with location-relative attention and with a
/// transducer, and with the square of the length with any other attention.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// Further runs, to average their probabilities with those of the first
    #[arg(value_name = "RUN", conflicts_with = "which", value_hint = ValueHint::DirPath)]
    others: Vec<PathBuf>,
    /// Split to evaluate [default: test; all pairs of a table given by --data]
    #[arg(
        long,
        value_parser = PossibleValuesParser::new(["train", "val", "test"]).try_map(|name| name.parse::<Split>())
    )]
    split: Option<Split>,
    /// Evaluate other text: a table of pairs, or a folder of parallel text; also tells where the text of
    /// the run is if it has moved
    #[arg(long, value_name = "PATH", conflicts_with = "which", value_hint = ValueHint::AnyPath)]
    data: Option<PathBuf>,
    /// Sequences per batch [default: train.eval_batch_size, or fewer if --data has very long lines]; affects results by rounding only
    #[arg(long, value_name = "N", value_parser = batch_size(), conflicts_with = "which")]
    batch_size: Option<NonZeroUsize>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Accept a checkpoint with parameters that are not finite
    #[arg(long, conflicts_with = "which")]
    allow_nonfinite: bool,
    /// Maximum number of output tokens of text, EOS included [default: from the lengths in training]
    #[arg(long, value_name = "N", conflicts_with = "which", value_parser = above_zero())]
    max_len: Option<NonZeroUsize>,
    /// Count pairs with the same source as several references: an output is correct if it equals one of
    /// them, exact match is the share of sources, and the closest reference counts for error rates
    #[arg(long, conflicts_with = "which")]
    references: bool,
    #[command(flatten)]
    beam: BeamArgs,
    /// Also measure how often one of the N best outputs is correct
    #[arg(long, value_name = "N", requires = "beam", help_heading = "Beam search", value_parser = above_zero())]
    n_best: Option<NonZeroUsize>,
    #[command(flatten)]
    by_length: by_length::LengthsArgs,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    if let Some(request) = by_length::request(args)? {
        if args.beam.is_set() {
            let what = "lengths are evaluated greedily; remove --beam, or --lengths and --protocol";
            return Err(Usage(what.to_owned()).into());
        }
        return by_length::run(args, request, ui);
    }
    let numbers = match args.allow_nonfinite {
        true => NonFinite::Accept,
        false => NonFinite::Reject,
    };
    let (loaded, others) = match &args.others[..] {
        [] => (args.checkpoint.load_with(numbers, ui)?, Vec::new()),
        others => args.checkpoint.load_ensemble(others, numbers, ui)?,
    };
    let Loaded { dir, trained, .. } = loaded;
    let Trained {
        mut model,
        config,
        mut codec,
        step,
    } = trained;
    let is_text = config.data.is_text() || args.data.is_some();
    for (option, is_set) in [
        ("--max-len", args.max_len.is_some()),
        ("--references", args.references),
    ] {
        if is_set && !is_text {
            return Err(Usage(format!("{option} applies to text only; remove it")).into());
        }
    }
    if let Some(n_tokens) = args.max_len {
        codec.limit = OutputLimit::fixed(n_tokens);
    }
    let references = match args.references {
        true => References::OfEqualSources,
        false => References::One,
    };
    let OpenSplit {
        source,
        split,
        name,
        batch_size,
    } = open_split(&dir, &config, args.split, args.data.as_deref())
        .map_err(|error| explain(error, &dir, args.data.as_deref()))?;
    let batch_size = args.batch_size.unwrap_or(batch_size);
    let data = source.with_batch_size(batch_size);
    let constraints = Constraints {
        stop: codec.stop(),
        ..Constraints::default()
    };
    let n_best = args.n_best.unwrap_or(NonZeroUsize::MIN);
    let beam = args
        .beam
        .beam(n_best, constraints.clone(), &codec.vocabulary)?;
    let in_batches = |error: Error| memory::in_batches(error.into(), batch_size);
    let evaluation = match others.is_empty() {
        true => evaluate(&mut model, &*data, split, &codec),
        false => evaluate_ensemble(&together(&model, &others), &*data, split, &codec),
    };
    let evaluation = evaluation.map_err(in_batches)?;
    let score = |beam: &Beam| {
        let models = together(&model, &others);
        score_beam(&models, beam, &*data, split, &codec, references).map_err(in_batches)
    };
    let text = match beam {
        Some(beam) => Some(score(&beam)?),
        None if !is_text => None,
        None if others.is_empty() => {
            let score = score_text(&model, &*data, split, &codec, references);
            Some(score.map_err(in_batches)?)
        }
        None => Some(score(&Beam {
            constraints,
            ..Beam::new(1) // greedy
        })?),
    };
    let mut record = evaluation.record(split, step);
    (record.split, record.text) = (name, text);
    if let Some(text) = record.text.filter(|_| args.references) {
        record.exact_match = text.exact_match; // by one definition: with all references of a source
    }
    warn_truncated(&record, ui);
    if is_text {
        let read = ReadPairs::count(&*data, split, &codec);
        read.warn_longer(ui);
        if let Some(data) = &args.data {
            read.warn_unknown(&dir, &config.data, data, ui); // `train` did so for its own text
        }
    }
    if args.json {
        ui.data(&format!("{}\n", serde_json::to_string(&record)?))?;
    } else {
        ui.data(&table(&record))?;
    }
    Ok(0)
}

/// The models of an ensemble.
fn together<'a>(first: &'a Seq2Seq, others: &'a [Seq2Seq]) -> Vec<&'a Seq2Seq> {
    [first].into_iter().chain(others).collect()
}

/// Text of --data that cannot be read needs another hint than text of a configuration.
fn explain(error: Error, dir: &RunDir, data: Option<&Path>) -> anyhow::Error {
    let (what, hint) = match (error, data) {
        (Error::Corpus(source), _) => {
            let cause = source
                .source()
                .map_or(String::new(), |cause| format!(": {cause}"));
            let hint = "--data with a table of pairs, or with a folder that has the two files of the \
                        split, such as test.src and test.trg";
            (format!("{source}{cause}"), hint.to_owned())
        }
        (Error::Data(DataError::EmptySplit { split, n_rows, .. }), Some(data)) => {
            let what = format!(
                "{}: none of its {n_rows} pairs falls in the {split} split",
                data.display()
            );
            let (run, data) = (quote(dir.path()), quote(data));
            let hint = format!(
                "`{} eval {run} --data {data}` evaluates all its pairs",
                program()
            );
            (what, hint)
        }
        (Error::Data(DataError::Sample { index, problem, .. }), Some(data)) => {
            let what = format!("{}, pair {}: {problem}", data.display(), index + 1);
            let hint = "pairs of numbers, as `s2s data export` writes them, or a run on text";
            (what, hint.to_owned())
        }
        (error, _) => return error.into(),
    };
    Hinted { what, hint }.into()
}

/// Warns about outputs that were cut.
pub(crate) fn warn_truncated(record: &EvalRecord, ui: &Ui) {
    if let Some(text) = record.text.filter(|text| text.n_truncated > 0) {
        ui.warning(format!(
            "{} of {} outputs were cut before their end and count as wrong; `s2s eval --max-len N` \
             allows N tokens",
            text.n_truncated, text.n_sources
        ));
    }
}

/// What makes the metrics of some pairs differ from those of training.
struct ReadPairs {
    /// Number of tokens of sources and of references.
    n_tokens: [u64; 2],
    /// Those that are not in the vocabulary.
    n_unknown: [u64; 2],
    n_sources: u64,
    /// Sources that are longer than any in training.
    n_longer: u64,
    longest: usize,
    longest_in_training: Option<usize>,
}

impl ReadPairs {
    fn count(data: &dyn BatchSource, split: Split, codec: &Codec) -> Self {
        let unknown = codec.vocabulary.unknown();
        let mut read = Self {
            n_tokens: [0; 2],
            n_unknown: [0; 2],
            n_sources: data.n_samples(split).unwrap_or(0),
            n_longer: 0,
            longest: 0,
            longest_in_training: codec.longest_source,
        };
        for index in 0..read.n_sources {
            let Example { source, target } = data.example(split, index);
            let is_longer = codec
                .longest_source
                .is_some_and(|longest| source.len() > longest);
            read.n_longer += u64::from(is_longer);
            read.longest = read.longest.max(source.len());
            for (side, tokens) in [source, target].iter().enumerate() {
                let is_unknown = |token: &&u32| unknown == Some(**token);
                read.n_tokens[side] += tokens.len() as u64;
                read.n_unknown[side] += tokens.iter().filter(is_unknown).count() as u64;
            }
        }
        read
    }

    /// Warns about sources that are longer than any in training.
    fn warn_longer(&self, ui: &Ui) {
        if let Some(longest) = self.longest_in_training.filter(|_| self.n_longer > 0) {
            ui.warning(format!(
                "{} of the {} sources are longer than any in training ({} tokens; the longest in \
                 training has {longest}), and few models generalize in length",
                self.n_longer, self.n_sources, self.longest
            ));
        }
    }

    /// Warns about tokens that the model has never seen.
    fn warn_unknown(&self, dir: &RunDir, own: &DataConfig, data: &Path, ui: &Ui) {
        const MAX_SHARE: f64 = 0.01;
        let share = |side: usize| self.n_unknown[side] as f64 / self.n_tokens[side].max(1) as f64;
        let [source, target] = [0, 1].map(share);
        if source.max(target) <= MAX_SHARE {
            return;
        }
        ui.warning(format!(
            "{} of the source tokens and {} of the reference tokens are not in the vocabulary of the run; \
             such a reference never counts as correct; `{} train --from {}{}` learns them from this text",
            percent(source),
            percent(target),
            program(),
            quote(dir.path()),
            learning_sets(own, data)
        ));
    }
}

/// The options of `train --from` that take the vocabulary from this text.
fn learning_sets(own: &DataConfig, data: &Path) -> String {
    let (key, other, others) = match is_folder(data) {
        true => ("data.folder", "data.file", &own.file),
        false => ("data.file", "data.folder", &own.folder),
    };
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    let mut sets = vec![format!("{key}={}", data.display())];
    for (other, is_set) in [
        (other, is_set(others)),
        ("data.vocab_file", is_set(&own.vocab_file)),
    ] {
        if is_set {
            sets.push(format!("{other}="));
        }
    }
    let default = DataConfig::default();
    if own.max_tokens != default.max_tokens {
        sets.push(format!("data.max_tokens={}", default.max_tokens));
    }
    if own.min_count != default.min_count {
        sets.push(format!("data.min_count={}", default.min_count));
    }
    let sets = sets.iter().map(|set| format!(" --set {}", quote_text(set)));
    sets.collect()
}

/// The metrics of a split as a table with one row, and a second one for text.
pub(crate) fn table(record: &EvalRecord) -> String {
    let table = Table::new()
        .column("split", [&record.split])
        .column("sequences", [record.n_sequences])
        .column("loss", [format!("{:.4}", record.loss)])
        .column("forced loss", [format!("{:.4}", record.forced_loss)])
        .column("token accuracy", [percent(record.token_accuracy)])
        .column("exact match", [percent(record.exact_match)])
        .column("step", [record.step]);
    let Some(text) = &record.text else {
        return table.text();
    };
    let mut of_text = Table::new()
        .column("sources", [text.n_sources])
        .column("correct", [percent(text.exact_match)]);
    if let Some(best) = &text.n_best {
        of_text = of_text.column(format!("in best {}", best.n), [percent(best.exact_match)]);
    }
    let of_text = of_text
        .column("token errors", [percent(text.token_error_rate)])
        .column("character errors", [percent(text.char_error_rate)])
        .column("chrF", [format!("{:.1}", text.chrf)])
        .column("BLEU", [format!("{:.1}", text.bleu)])
        .column("unknown tokens", [percent(text.unknown_tokens)])
        .column("cut", [text.n_truncated]);
    format!("{}\n{}", table.text(), of_text.text())
}
