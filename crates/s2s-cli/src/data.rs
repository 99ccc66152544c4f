//! `s2s data`.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Subcommand, ValueHint};
use reverse_data::{BatchSource, Split, corpus_paths};
use s2s_runlog::{Draft, exists};
use s2s_train::open_data;

use crate::config::ConfigArgs;
use crate::failure::Usage;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s data show --set data.task=sort
  s2s data export corpora/reverse --config configs/tiny.toml
  s2s train --set data.folder=corpora/reverse";

const EXPORT_EXAMPLES: &str = "\
Examples:
  s2s data export corpora/reverse
  s2s data export corpora/reverse --split test --force --set data.test_samples=500";

const SHOW_EXAMPLES: &str = "\
Example:
  s2s data show --split val -n 3 --set data.task=odds-first";

/// Print the samples of a configuration, or export them to files
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

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    match &args.action {
        Action::Export(args) => export(args, ui),
        Action::Show(args) => show(args, ui),
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
