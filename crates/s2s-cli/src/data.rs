//! `s2s data`.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Subcommand, ValueHint};
use reverse_data::{BatchSource, Split, corpus_paths};
use s2s_lab::statistics::median;
use s2s_runlog::{Draft, exists};
use s2s_train::{open_data, text_len};
use s2s_viz::Table;
use serde::Serialize;

use crate::config::ConfigArgs;
use crate::failure::Usage;
use crate::ui::Ui;
use crate::usage;

const EXAMPLES: &str = "\
Examples:
  s2s data show --set data.task=sort
  s2s data export corpora/reverse --config configs/tiny.toml
  s2s train --set data.folder=corpora/reverse
  s2s data time --set data.file=pairs.tsv";

const EXPORT_EXAMPLES: &str = "\
Examples:
  s2s data export corpora/reverse
  s2s data export corpora/reverse --split test --force --set data.test_samples=500";

const SHOW_EXAMPLES: &str = "\
Example:
  s2s data show --split val -n 3 --set data.task=odds-first";

const TIME_EXAMPLE: &str = "\
Example:
  s2s data time --set data.file=pairs.tsv --set data.tokens=chars";

/// Print the samples of a configuration, export them to files, or time how fast text is read
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Export(Export),
    Show(Show),
    Time(Time),
}

/// Export samples as parallel text: train.src, train.trg, dev.src, dev.trg, test.src, test.trg
///
/// Line i of a .trg file is the target of line i of its .src file; tokens are separated by spaces.
/// Each file appears under its name only when it is complete. Train on such a folder with
/// data.folder.
#[derive(clap::Args)]
#[command(after_help = EXPORT_EXAMPLES)]
struct Export {
    /// Output folder
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Split to export
    #[arg(
        long,
        default_value = "all",
        value_parser = PossibleValuesParser::new(["train", "dev", "test", "all"]).map(|name| splits(&name))
    )]
    split: &'static [Split],
    /// Replace existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Print samples, one per line: source, tab, target
#[derive(clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct Show {
    /// Split to print
    #[arg(
        long,
        default_value = "train",
        value_parser = PossibleValuesParser::new(["train", "val", "test"]).try_map(|name| name.parse::<Split>())
    )]
    split: Split,
    /// Number of samples
    #[arg(short, value_name = "N", default_value_t = 10)]
    n: u64,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Time how fast the files of text are read
///
/// Reads them as `train` does before the first step: bytes, hashes, vocabulary, splits, and the counts of
/// duplicates and leaks. The first time is a warm-up. A megabyte is 10⁶ bytes of the files as they are;
/// peak memory is that of the whole process, and is compared with the text, which is larger than a compressed
/// file.
#[derive(clap::Args)]
#[command(after_help = TIME_EXAMPLE)]
struct Time {
    /// How often they are read
    #[arg(short, value_name = "N", default_value = "5")]
    n: NonZeroUsize,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Smallest text that peak memory is compared with, in bytes.
const MIN_COMPARED: u64 = 10_000_000;

/// What `data time` measured.
#[derive(Serialize)]
struct Timing {
    n_bytes: u64,
    /// Bytes of the text, decompressed.
    n_text_bytes: u64,
    n_pairs: u64,
    /// Medians.
    wall_ms: f64,
    cpu_ms: f64,
    /// From the median processor time.
    mb_per_cpu_second: f64,
    /// Absent where the system does not report it.
    peak_mib: Option<f64>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    match &args.action {
        Action::Export(args) => export(args, ui),
        Action::Show(args) => show(args, ui),
        Action::Time(args) => time(args, ui),
    }
}

fn splits(name: &str) -> &'static [Split] {
    match name {
        "train" => &[Split::Train],
        "dev" => &[Split::Val],
        "test" => &[Split::Test],
        _ => &Split::ALL,
    }
}

fn export(args: &Export, ui: &Ui) -> anyhow::Result<u8> {
    let data = open_data(&args.config.load()?)?.source;
    for &split in args.split {
        if data.n_samples(split).is_none() {
            let what = "the training split is endless (data.train_samples is 0); set \
                        data.train_samples or choose another --split";
            return Err(Usage(what.to_owned()).into());
        }
        for path in corpus_paths(&args.dir, split) {
            if !args.force && exists(&path)? {
                let what = format!(
                    "{} already exists; nothing was written; use --force to replace it",
                    path.display()
                );
                return Err(Usage(what).into());
            }
        }
    }
    for &split in args.split {
        for path in write(&*data, split, &args.dir)? {
            ui.data(&format!("{}\n", path.display()))?;
        }
    }
    Ok(0)
}

/// Writes the source and target file of a split.
fn write(data: &dyn BatchSource, split: Split, dir: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let paths = corpus_paths(dir, split);
    let [mut sources, mut targets] = [Draft::create(&paths[0])?, Draft::create(&paths[1])?];
    for index in 0..data.n_samples(split).unwrap_or(0) {
        let example = data.example(split, index);
        sources.write((data.vocabulary().line(&example.source) + "\n").as_bytes())?;
        targets.write((data.vocabulary().line(&example.target) + "\n").as_bytes())?;
    }
    sources.publish()?;
    targets.publish()?;
    Ok(paths)
}

fn show(args: &Show, ui: &Ui) -> anyhow::Result<u8> {
    let data = open_data(&args.config.load()?)?.source;
    for index in 0..args.n.min(data.n_samples(args.split).unwrap_or(u64::MAX)) {
        let example = data.example(args.split, index);
        let [source, target] =
            [&example.source, &example.target].map(|tokens| data.vocabulary().line(tokens));
        ui.data(&format!("{source}\t{target}\n"))?;
    }
    Ok(0)
}

fn time(args: &Time, ui: &Ui) -> anyhow::Result<u8> {
    let config = args.config.load()?;
    if !config.data.is_text() {
        let what = "generated data have no files to read; set data.file or data.folder";
        return Err(Usage(what.to_owned()).into());
    }
    let (mut files, mut n_pairs) = (Vec::new(), 0);
    let (mut wall_ms, mut cpu_ms) = (Vec::new(), Vec::new());
    for _ in 0..=args.n.get() {
        let (started, spent) = (Instant::now(), usage::cpu_ms()?);
        let data = open_data(&config)?;
        black_box(data.source.report());
        cpu_ms.push(usage::cpu_ms()? - spent);
        wall_ms.push(1e3 * started.elapsed().as_secs_f64());
        files = data.corpus.map_or(Vec::new(), |corpus| corpus.files);
        let samples = Split::ALL.map(|split| data.source.n_samples(split).unwrap_or(0));
        n_pairs = samples.iter().sum();
    }
    let middle = |ms: &[f64]| median(&ms[1..]).expect("it was read more than once");
    let (wall_ms, cpu_ms) = (middle(&wall_ms), middle(&cpu_ms));
    let peak_mib = usage::peak_mib(); // before the files are read once more
    let lens = files.iter().map(|file| text_len(Path::new(&file.path)));
    let n_bytes: u64 = files.iter().map(|file| file.n_bytes).sum();
    let timing = Timing {
        n_bytes,
        n_text_bytes: lens.sum::<Result<u64, _>>()?,
        n_pairs,
        wall_ms,
        cpu_ms,
        mb_per_cpu_second: n_bytes as f64 / 1e3 / cpu_ms,
        peak_mib,
    };
    if args.json {
        ui.data(&format!("{}\n", serde_json::to_string(&timing)?))?;
        return Ok(0);
    }
    let megabytes = |n: u64| format!("{:.1} MB", n as f64 / 1e6);
    let n_text_bytes = timing.n_text_bytes;
    let times_text = |mib: f64| match n_text_bytes {
        ..MIN_COMPARED => String::new(), // it is that of the program
        n => format!(", {:.2} times the text", 1024.0 * 1024.0 * mib / n as f64),
    };
    let rows = [
        ("files", megabytes(n_bytes)),
        ("text", megabytes(n_text_bytes)),
        ("pairs", n_pairs.to_string()),
        ("wall time", format!("{wall_ms:.0} ms")),
        ("CPU time", format!("{cpu_ms:.0} ms")),
        (
            "speed",
            format!("{:.0} MB per second of CPU time", timing.mb_per_cpu_second),
        ),
        (
            "peak memory",
            peak_mib.map_or_else(
                || "-".to_owned(),
                |mib| format!("{mib:.0} MiB{}", times_text(mib)),
            ),
        ),
    ];
    let table = Table::new()
        .column("text", rows.iter().map(|(name, _)| name))
        .column("", rows.iter().map(|(_, value)| value));
    ui.data(&table.text())?;
    Ok(0)
}
