//! `s2s eval --lengths`: evaluates each length separately and saves results as it goes.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use reverse_data::{Example, Split, Synthetic};
use s2s_runlog::{
    DecodingMode, Error, JsonLines, LengthRecord, LengthTiming, Lengths, LengthsRecord,
    LengthsRequest, Protocol, RunLock, read_json, read_lines, write_csv, write_json,
};
use s2s_train::{ByLength, deviations};

use super::progress::Progress;
use super::tables;
use crate::checkpoint::Loaded;
use crate::failure::Usage;
use crate::picture;
use crate::shell::quote;
use crate::signals::{self, Signals};
use crate::ui::Ui;
use crate::usage::peak_mib;

/// Default number of sequences per length.
const DEFAULT_SAMPLES: u64 = 100;
const MAX_SAMPLES: u64 = 1_000_000;
/// The sequences of a length are generated together; more symbols than this might exhaust memory.
const MAX_SYMBOLS: u64 = 100_000_000;

/// Time between two saves. A killed process loses the results since the last one.
const SAVE_EVERY: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
#[command(next_help_heading = "By length")]
pub(crate) struct LengthsArgs {
    /// Evaluate each of these lengths, such as 40,80 or 1..500 (both ends included)
    #[arg(long, value_name = "LIST", group = "which")]
    lengths: Option<String>,
    /// Use the lengths and the score of a publication; deviations of the run's training data are
    /// reported
    #[arg(long, value_enum, group = "which")]
    protocol: Option<ProtocolName>,
    /// Evaluate only every K-th length of each range in --lengths
    #[arg(long, value_name = "K", requires = "lengths", conflicts_with = "protocol", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    step: Option<usize>,
    /// Sequences per length, at most as many as the split has [default: 100]
    #[arg(long, value_name = "N", requires = "which", value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_SAMPLES))]
    samples: Option<u64>,
    /// Stop decoding at EOS (eos), at the correct length with EOS disabled (oracle), or evaluate
    /// both [default: both]
    #[arg(long, value_enum, requires = "which")]
    mode: Option<Mode>,
    /// Name of the output: lengths-NAME.json and so on [default: the name of the protocol, if any]
    #[arg(long, value_name = "NAME", requires = "which", value_parser = plain_name)]
    name: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProtocolName {
    /// Delétang et al. (2023), arXiv:2207.02098: two symbols, trained on lengths 1 to 40, tested on
    /// 41 to 500; mean token accuracy at the correct length
    Deepmind,
    /// Grefenstette et al. (2015), arXiv:1506.02516: 128 symbols, trained on lengths 8 to 64,
    /// tested on 65 to 128; exact match (coarse) and fine accuracy
    Grefenstette,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Eos,
    Oracle,
    Both,
}

/// The requested evaluation; `None` without --lengths and --protocol.
pub(crate) fn request(args: &super::Args) -> anyhow::Result<Option<LengthsRequest>> {
    let by_length = &args.by_length;
    let protocol = by_length.protocol.map(|name| match name {
        ProtocolName::Deepmind => Protocol::Deepmind,
        ProtocolName::Grefenstette => Protocol::Grefenstette,
    });
    let lengths = match (protocol, &by_length.lengths) {
        (Some(protocol), _) => protocol.lengths(),
        (None, Some(text)) => Lengths::parse(text, by_length.step.unwrap_or(1))
            .map_err(|error| Usage(format!("--lengths: {error}")))?,
        (None, None) => return Ok(None),
    };
    let split = args.split.unwrap_or(Split::Test);
    if split == Split::Train {
        let what = "lengths are evaluated on sequences that no training set contains; use --split val or test";
        return Err(Usage(what.to_owned()).into());
    }
    let samples = by_length.samples.unwrap_or(DEFAULT_SAMPLES);
    let longest = lengths.iter().last().unwrap_or(1) as u64;
    if samples * longest > MAX_SYMBOLS {
        return Err(Usage(format!(
            "{samples} sequences of length {longest} have more than {MAX_SYMBOLS} symbols; lower \
             --samples to at most {}",
            MAX_SYMBOLS / longest
        ))
        .into());
    }
    Ok(Some(LengthsRequest {
        protocol,
        lengths,
        samples,
        modes: match by_length.mode.unwrap_or(Mode::Both) {
            Mode::Eos => vec![DecodingMode::Eos],
            Mode::Oracle => vec![DecodingMode::Oracle],
            Mode::Both => vec![DecodingMode::Eos, DecodingMode::Oracle],
        },
        split: split.to_string(),
        checkpoint: args.checkpoint.name()?.to_owned(),
    }))
}

pub(crate) fn run(args: &super::Args, request: LengthsRequest, ui: &Ui) -> anyhow::Result<u8> {
    let loaded = args.checkpoint.load(ui)?;
    if loaded.trained.config.data.is_text() {
        let what = "lengths can be evaluated for synthetic data only, and this run was trained on text; \
                    remove --lengths or --protocol";
        return Err(Usage(what.to_owned()).into());
    }
    let lock = loaded.dir.lock()?;
    let by_default = request.protocol.map(Protocol::name);
    let name = args.by_length.name.as_deref().or(by_default);
    let path = loaded.dir.lengths(name);
    let timing = loaded.dir.lengths_timing(name);
    let record = begin(&path, request, &loaded)?;
    let mut evaluation = Evaluation {
        times: times(&timing, &record.rows),
        record,
        path,
        lock,
        saved: Instant::now(),
    };
    for deviation in &evaluation.record.deviations {
        ui.message(format!(
            "note: the training data deviate from the protocol: {deviation}"
        ));
    }
    let shown = quote(&evaluation.path);
    if evaluation.record.is_complete {
        ui.message(format!(
            "already evaluated; to evaluate again, remove {shown}"
        ));
    } else {
        let signals = Signals::catch(ui)?;
        if evaluation
            .run(&loaded, args.split.unwrap_or(Split::Test), &timing, ui)?
            .is_break()
        {
            let (done, missing) = (
                evaluation.record.rows.len(),
                evaluation.record.missing().len(),
            );
            ui.message(format!(
                "stopped; {done} of {} results are saved in {shown}; run the same command to continue",
                done + missing
            ));
            return Ok(signals.exit_code());
        }
    }
    let table = evaluation.path.with_extension("csv");
    evaluation.lock.check()?;
    write_csv(&table, &evaluation.record.rows)?;
    let mut written = vec![evaluation.path.clone(), table];
    written.extend(picture::draw_lengths(&loaded.dir, &evaluation.path)?);
    if args.json {
        ui.data(&format!("{}\n", serde_json::to_string(&evaluation.record)?))?;
    } else {
        ui.data(&tables::of(&evaluation.record, &evaluation.times))?;
        for path in written {
            ui.message(format!("wrote {}", quote(&path)));
        }
    }
    Ok(0)
}

/// An evaluation in progress.
struct Evaluation {
    record: LengthsRecord,
    path: PathBuf,
    /// The timings of the rows, as far as they are known.
    times: Vec<LengthTiming>,
    lock: RunLock,
    saved: Instant,
}

impl Evaluation {
    /// Evaluates the missing rows; `Break` if a signal stopped it.
    fn run(
        &mut self,
        loaded: &Loaded,
        split: Split,
        timing: &Path,
        ui: &Ui,
    ) -> anyhow::Result<ControlFlow<()>> {
        let config = &loaded.trained.config;
        let data = Synthetic::new(&config.data, config.seed, config.train.eval_batch_size)?;
        let by_length = ByLength::new(&loaded.trained.model, &config.data)?;
        let n_samples = usize::try_from(self.record.request.samples)?;
        let missing = self.record.missing();
        let lengths = missing.iter().map(|(length, _)| *length);
        let mut progress = Progress::start(ui, lengths, self.record.request.samples);
        let rows = &self.record.rows;
        let is_saved = |timing: &LengthTiming| rows.iter().any(|row| timing.is_of(row));
        let mut timing = JsonLines::resume(timing, is_saved)?;

        let mut examples: (usize, Vec<Example>) = (0, Vec::new());
        for (length, mode) in missing {
            if examples.0 != length {
                examples = (length, data.of_length(split, length, n_samples));
            }
            let examples = &examples.1;
            progress.begin(length, mode);
            if examples.is_empty() {
                if !self.record.without_samples.contains(&length) {
                    ui.message(format!(
                        "note: the {split} split has no sequence of length {length}"
                    ));
                    self.record.without_samples.push(length);
                }
                continue;
            }
            let began = Instant::now();
            let on_step = || {
                progress.advance();
                match signals::is_received() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let Some(row) = by_length.evaluate(examples, mode, &on_step)? else {
                self.save()?;
                return Ok(ControlFlow::Break(()));
            };
            let secs = began.elapsed().as_secs_f64();
            progress.end(&row, secs);
            self.record.rows.push(row);
            let row_timing = LengthTiming {
                mode,
                length,
                secs,
                threads: loaded.runtime.threads,
                peak_mib: peak_mib(),
            };
            timing.append(&row_timing)?;
            self.times.push(row_timing);
            if self.saved.elapsed() > SAVE_EVERY {
                self.save()?;
            }
        }
        self.record.complete();
        self.save()?;
        Ok(ControlFlow::Continue(()))
    }

    fn save(&mut self) -> anyhow::Result<()> {
        if self.record.is_complete || !self.record.rows.is_empty() {
            self.lock.check()?;
            write_json(&self.path, &self.record)?;
        }
        self.saved = Instant::now();
        Ok(())
    }
}

/// Timings of rows from earlier processes; empty if the log cannot be read.
fn times(path: &Path, rows: &[LengthRecord]) -> Vec<LengthTiming> {
    let mut times: Vec<LengthTiming> = read_lines(path).unwrap_or_default();
    times.retain(|timing| rows.iter().any(|row| timing.is_of(row)));
    times
}

/// The requested evaluation with the rows that were saved before, if any.
fn begin(path: &Path, request: LengthsRequest, loaded: &Loaded) -> anyhow::Result<LengthsRecord> {
    let data = &loaded.trained.config.data;
    let protocol = request.protocol;
    let requested = LengthsRecord {
        step: loaded.trained.step,
        min_trained: data.min_len,
        max_trained: data.max_len,
        deviations: protocol.map_or_else(Vec::new, |protocol| deviations(protocol, data)),
        is_complete: false,
        means: Vec::new(),
        without_samples: Vec::new(),
        rows: Vec::new(),
        request,
    };
    let found: LengthsRecord = match read_json(path) {
        Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(requested);
        }
        found => found?,
    };
    let differences = differences(&found, &requested);
    if differences.is_empty() {
        return Ok(found);
    }
    Err(Usage(format!(
        "{} contains a different evaluation ({}); choose another --name, or remove the file",
        path.display(),
        differences.join("; ")
    ))
    .into())
}

/// How a saved evaluation differs from the requested one.
fn differences(found: &LengthsRecord, requested: &LengthsRecord) -> Vec<String> {
    let describe = |record: &LengthsRecord| {
        let request = &record.request;
        let modes: Vec<String> = request.modes.iter().map(ToString::to_string).collect();
        [
            (
                "protocol",
                request.protocol.map_or("none", Protocol::name).to_owned(),
            ),
            ("lengths", request.lengths.to_string()),
            ("samples", request.samples.to_string()),
            ("mode", modes.join(" and ")),
            ("split", request.split.clone()),
            ("checkpoint", request.checkpoint.clone()),
            ("step", record.step.to_string()),
        ]
    };
    let pairs = describe(found).into_iter().zip(describe(requested));
    pairs
        .filter(|(found, requested)| found != requested)
        .map(|((what, found), (_, requested))| {
            format!(
                "{what}: {} saved, {} requested",
                brief(&found),
                brief(&requested)
            )
        })
        .collect()
}

/// Shortens a list for a message.
fn brief(list: &str) -> String {
    const MAX_CHARS: usize = 40;
    match list.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &list[..end]),
        None => list.to_owned(),
    }
}

fn plain_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) {
        true => Ok(name.to_owned()),
        false => Err("a name has 1 to 64 characters of a-z, 0-9 and `-`".to_owned()),
    }
}
