//! `s2s config`, and the options that define a configuration.

use std::path::{Path, PathBuf};

use reverse_data::DataConfig;
use s2s_runlog::{CorpusRecord, RunDir, exists, read_json};
use s2s_train::{ConfigError, ExperimentConfig, load_config, load_given_config};

use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s config > mine.toml                           all keys with their defaults
  s2s config --config mine.toml --set train.epochs=5";

/// Print the resolved configuration
///
/// The output is TOML: the defaults, overridden by the file, then by each --set.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file; only needs the keys that differ from the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override one key, such as train.epochs=5; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Same as --set seed=N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    seed: Option<u64>,
}

impl ConfigArgs {
    pub(crate) fn load(&self) -> Result<ExperimentConfig, ConfigError> {
        Ok(self.load_with_text()?.0)
    }

    /// The configuration, and the text of its file, which may be a pipe and is read only once.
    pub(crate) fn load_with_text(&self) -> Result<(ExperimentConfig, String), ConfigError> {
        load_given_config(self.config.as_deref(), &self.sets())
    }

    /// The configuration of a run with these changes, and its text. The place of its data does not depend on
    /// the current folder.
    pub(crate) fn load_over(
        &self,
        run: &RunDir,
    ) -> Result<(ExperimentConfig, String), ConfigError> {
        let path = run.resolved_config();
        let record = read_json::<CorpusRecord>(run.corpus()).ok();
        let places = record.map_or(Ok(Vec::new()), |record| {
            load_config(Some(&path), &[]).map(|config| text_places(&config.data, &record))
        })?;
        load_given_config(Some(&path), &[places, self.sets()].concat())
    }

    /// The keys that --set changes, without their tables, and their values; the last one of each.
    pub(crate) fn changes(&self) -> Vec<(&str, &str)> {
        let mut changes: Vec<(&str, &str)> = Vec::new();
        for (key, value) in self.set.iter().filter_map(|set| set.split_once('=')) {
            let key = key.trim().trim_end_matches(".kind");
            let key = key.rsplit('.').next().unwrap_or(key);
            let value = value.trim().trim_matches('"').trim_end_matches('/');
            let value = value.rsplit('/').next().unwrap_or(value); // of a path
            if key != "seed" {
                changes.retain(|(other, _)| *other != key);
                changes.push((key, value));
            }
        }
        changes
    }

    /// All changes, as `key=value`.
    pub(crate) fn sets(&self) -> Vec<String> {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        self.set.iter().cloned().chain(seed).collect()
    }
}

/// Where the text of a run is, as `key=value`: absolute paths for those that depend on the folder in which the run
/// was started. None for a file that is no longer there.
pub(crate) fn text_places(data: &DataConfig, record: &CorpusRecord) -> Vec<String> {
    let paths = || record.files.iter().map(|file| Path::new(&file.path));
    let first = paths().next();
    // The last one, but not of imported weights: those have their vocabulary from elsewhere.
    let is_vocabulary = |path: &&Path| path.file_name() == data.vocab_file.file_name();
    let vocabulary = paths().next_back().filter(is_vocabulary);
    let places = [
        ("data.file", &data.file, first),
        ("data.folder", &data.folder, first.and_then(Path::parent)),
        ("data.vocab_file", &data.vocab_file, vocabulary),
    ];
    let places = places.into_iter().filter_map(|(key, given, found)| {
        let found = found.filter(|found| exists(found).unwrap_or(false))?;
        let is_relative = !given.as_os_str().is_empty() && given.is_relative();
        is_relative.then(|| format!("{key}={}", found.display()))
    });
    places.collect()
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    ui.data(&args.config.load()?.to_toml()?)?;
    Ok(0)
}
