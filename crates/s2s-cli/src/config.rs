//! `s2s config`, and the options that define a configuration.

use std::path::PathBuf;

use s2s_runlog::read_file;
use s2s_train::{ConfigError, ExperimentConfig, load_config};

use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s config > mine.toml                           all keys with their defaults
  s2s config --config mine.toml --set train.epochs=5";

/// Maximum size of a configuration file.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

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
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        let sets: Vec<String> = self.set.iter().cloned().chain(seed).collect();
        load_config(self.config.as_deref(), &sets)
    }

    /// The text of the configuration file; empty without one.
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
