//! `s2s config`, and the options that make a configuration.

use std::path::PathBuf;

use s2s_runlog::read_file;
use s2s_train::{ConfigError, ExperimentConfig, load_config};

use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s config > mine.toml                           every key, with its default
  s2s config --config mine.toml --set train.epochs=5";

/// The largest file that is kept as it was given; larger ones are refused when they are read.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Print the resolved configuration
///
/// That is the defaults, the file over them, and each --set over both, as TOML.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(clap::Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file; it needs to hold only what differs from the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key over the file, such as train.epochs=5; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The same as --set seed=N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    seed: Option<u64>,
}

impl ConfigArgs {
    pub(crate) fn load(&self) -> Result<ExperimentConfig, ConfigError> {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        let sets: Vec<String> = self.set.iter().cloned().chain(seed).collect();
        load_config(self.config.as_deref(), &sets)
    }

    /// The text of the file, empty without one.
    pub(crate) fn given(&self) -> s2s_runlog::Result<String> {
        match &self.config {
            Some(path) => {
                let bytes = read_file(path, MAX_CONFIG_BYTES)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            None => Ok(String::new()),
        }
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    ui.data(&args.config.load()?.to_toml()?)?;
    Ok(0)
}
