//! `s2s eval --lengths`: each length by itself, kept as it goes.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use reverse_data::{Example, Split, Synthetic};
use s2s_runlog::{
    DecodingMode, Error, JsonLines, LengthRecord, LengthTiming, Lengths, LengthsRecord,
    LengthsRequest, Protocol, read_json, read_lines, write_csv, write_json,
};
use s2s_train::{ByLength, deviations};

use super::progress::Progress;
use super::tables;
use crate::checkpoint::Loaded;
use crate::failure::Usage;
use crate::picture;
use crate::shell::quote;
use crate::signals::Signals;
use crate::ui::Ui;
use crate::usage::peak_mib;

/// Sequences of a length, unless said otherwise.
const DEFAULT_SAMPLES: u64 = 100;
const MAX_SAMPLES: u64 = 1_000_000;
/// The sequences of a length are drawn together: more symbols than this might not fit the machine.
const MAX_SYMBOLS: u64 = 100_000_000;

/// What is done is written about so often: a kill costs what came after, and the length at work.
const SAVE_EVERY: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
#[command(next_help_heading = "By length")]
pub(crate) struct LengthsArgs {
    /// Lengths to evaluate each by itself, such as 40,80 or 1..500, which holds both its ends
    #[arg(long, value_name = "LIST", group = "which")]
    lengths: Option<String>,
    /// The lengths and the score of a publication: two symbols, trained on 1 to 40, tested on 41 to
    /// 500; or 128 symbols, 8 to 64, 65 to 128. What the run was trained on is compared with it
    #[arg(long, value_enum, group = "which")]
    protocol: Option<ProtocolName>,
    /// Of each range in --lengths, take every K-th length
    #[arg(long, value_name = "K", requires = "lengths", conflicts_with = "protocol", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    step: Option<usize>,
    /// Sequences of each length, or all that the split has [default: 100]
    #[arg(long, value_name = "N", requires = "which", value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_SAMPLES))]
    samples: Option<u64>,
    /// Whether the model ends its output by EOS, or is told the length and cannot say EOS, or one
    /// after the other [default: both]
    #[arg(long, value_enum, requires = "which")]
    mode: Option<Mode>,
    /// Write to lengths-NAME.json and so on [default: the protocol's name]
    #[arg(long, value_name = "NAME", requires = "which", value_parser = plain_name)]
    name: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProtocolName {
    /// Delétang et al. (2023), arXiv:2207.02098: mean token accuracy, the length told
    Deepmind,
    /// Grefenstette et al. (2015), arXiv:1506.02516: exact match (coarse) and fine accuracy
    Grefenstette,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Eos,
    Oracle,
    Both,
}

/// What is asked for; none if not by length.
pub(crate) fn request(args: &super::Args) -> Result<Option<LengthsRequest>, Usage> {
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
    let samples = by_length.samples.unwrap_or(DEFAULT_SAMPLES);
    let longest = lengths.iter().last().unwrap_or(1) as u64;
    if samples * longest > MAX_SYMBOLS {
        return Err(Usage(format!(
            "{samples} sequences of length {longest} are more than {MAX_SYMBOLS} symbols: lower \
             --samples to at most {}",
            MAX_SYMBOLS / longest
        )));
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
        split: args.split.to_string(),
        checkpoint: args.checkpoint.name().to_owned(),
    }))
}

pub(crate) fn run(args: &super::Args, request: LengthsRequest, ui: &Ui) -> anyhow::Result<u8> {
    let loaded = args.checkpoint.load()?;
    let _lock = loaded.dir.lock()?;
    let by_default = request.protocol.map(Protocol::name);
    let name = args.by_length.name.as_deref().or(by_default);
    let path = loaded.dir.lengths(name);
    let timing = loaded.dir.lengths_timing(name);
    let record = begin(&path, request, &loaded)?;
    let mut evaluation = Evaluation {
        times: times(&timing, &record.rows),
        record,
        path,
        saved: Instant::now(),
    };
    for deviation in &evaluation.record.deviations {
        ui.talk(format!(
            "note: not what the protocol trains on: {deviation}"
        ));
    }
    let shown = quote(&evaluation.path);
    if evaluation.record.is_complete {
        ui.talk(format!("evaluated before; to do it again, remove {shown}"));
    } else {
        let signals = Signals::catch(ui)?;
        if evaluation
            .run(&loaded, args.split, &timing, &signals, ui)?
            .is_break()
        {
            let (done, missing) = (
                evaluation.record.rows.len(),
                evaluation.record.missing().len(),
            );
            ui.talk(format!(
                "stopped; {done} of {} figures are kept in {shown}: the same command goes on",
                done + missing
            ));
            return Ok(signals.exit_code());
        }
    }
    let table = evaluation.path.with_extension("csv");
    write_csv(&table, &evaluation.record.rows)?;
    let mut written = vec![evaluation.path.clone(), table];
    written.extend(picture::draw_lengths(&loaded.dir, &evaluation.path)?);
    if args.json {
        ui.data(&format!("{}\n", serde_json::to_string(&evaluation.record)?))?;
    } else {
        ui.data(&tables::of(&evaluation.record, &evaluation.times))?;
        for path in written {
            ui.talk(format!("wrote {}", quote(&path)));
        }
    }
    Ok(0)
}

/// A record that grows length by length.
struct Evaluation {
    record: LengthsRecord,
    path: PathBuf,
    /// What each row took, as far as that is known.
    times: Vec<LengthTiming>,
    saved: Instant,
}

impl Evaluation {
    /// Evaluates what is missing; breaks if a signal stopped it.
    fn run(
        &mut self,
        loaded: &Loaded,
        split: Split,
        timing: &Path,
        signals: &Signals<'_>,
        ui: &Ui,
    ) -> anyhow::Result<ControlFlow<()>> {
        let config = &loaded.config;
        let data = Synthetic::new(&config.data, config.seed, config.train.eval_batch_size)?;
        let by_length = ByLength::new(&loaded.model, &config.data)?;
        let n_samples = usize::try_from(self.record.request.samples)?;
        let missing = self.record.missing();
        let lengths = missing.iter().map(|(length, _)| *length);
        let mut progress = Progress::start(ui, lengths, self.record.request.samples);
        let rows = &self.record.rows;
        let is_kept = |taken: &LengthTiming| rows.iter().any(|row| taken.is_of(row));
        let mut timing = JsonLines::resume(timing, is_kept)?;

        let mut examples: (usize, Vec<Example>) = (0, Vec::new());
        for (length, mode) in missing {
            if examples.0 != length {
                examples = (length, data.of_length(split, length, n_samples));
            }
            let examples = &examples.1;
            progress.begin(length, mode);
            if examples.is_empty() {
                if !self.record.without_samples.contains(&length) {
                    ui.talk(format!(
                        "note: the {split} split has no sequence of length {length}"
                    ));
                    self.record.without_samples.push(length);
                }
                continue;
            }
            let began = Instant::now();
            let on_step = || {
                progress.advance();
                match signals.is_received() {
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
            let taken = LengthTiming {
                mode,
                length,
                secs,
                threads: loaded.runtime.threads,
                peak_mib: peak_mib(),
            };
            timing.append(&taken)?;
            self.times.push(taken);
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
            write_json(&self.path, &self.record)?;
        }
        self.saved = Instant::now();
        Ok(())
    }
}

/// What rows of an earlier process took; a log that cannot be read tells nothing.
fn times(path: &Path, rows: &[LengthRecord]) -> Vec<LengthTiming> {
    let mut times: Vec<LengthTiming> = read_lines(path).unwrap_or_default();
    times.retain(|taken| rows.iter().any(|row| taken.is_of(row)));
    times
}

/// What there is of the evaluation that is asked for: nothing, a part or all of it.
fn begin(path: &Path, request: LengthsRequest, loaded: &Loaded) -> anyhow::Result<LengthsRecord> {
    let data = &loaded.config.data;
    let protocol = request.protocol;
    let asked = LengthsRecord {
        step: loaded.step,
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
            return Ok(asked);
        }
        found => found?,
    };
    let differences = differences(&found, &asked);
    if differences.is_empty() {
        return Ok(found);
    }
    Err(Usage(format!(
        "{} holds another evaluation ({}): to keep both, name this one with --name; to lose it, \
         remove it",
        path.display(),
        differences.join("; ")
    ))
    .into())
}

/// In what a kept evaluation is another one.
fn differences(found: &LengthsRecord, asked: &LengthsRecord) -> Vec<String> {
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
    let pairs = describe(found).into_iter().zip(describe(asked));
    pairs
        .filter(|(found, asked)| found != asked)
        .map(|((what, found), (_, asked))| {
            format!("{what} {} there, {} here", brief(&found), brief(&asked))
        })
        .collect()
}

/// A list that fits into a message.
fn brief(list: &str) -> String {
    const MOST: usize = 40;
    match list.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &list[..end]),
        None => list.to_owned(),
    }
}

fn plain_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) {
        true => Ok(name.to_owned()),
        false => Err("a name is part of a file's, and made of a-z, 0-9 and `-`".to_owned()),
    }
}
