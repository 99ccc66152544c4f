//! Loads a configuration: the defaults, a file, and keys set on the command line.
//!
//! All problems are reported at once. To that end each key is first deserialized alone on top of
//! the default configuration, which also defines the known keys; then the merged configuration is
//! checked.

use std::path::{Path, PathBuf};

use toml::Table;

use super::layer::{Layer, MAX_PROBLEMS};
use super::problems::Problem;
use super::{ConfigError, ConfigProblem, ExperimentConfig, Origin};

/// Maximum size of a configuration file.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Loads a configuration: the defaults, overridden by `file`, then by `sets` (each `key=value`).
///
/// # Errors
/// If the file cannot be read, or with all problems in it and in `sets`.
pub fn load_config(file: Option<&Path>, sets: &[String]) -> Result<ExperimentConfig, ConfigError> {
    let read_strictly = |path| text_of(path, s2s_runlog::read_file(path, MAX_CONFIG_BYTES));
    let text = file.map(read_strictly).transpose()?;
    BaseConfig::new(file.zip(text))?.with(sets)
}

/// As [`load_config`], for a file that the user names, which may be a link, a pipe or a descriptor.
/// Also returns the text of the file; it is empty without a file.
///
/// # Errors
/// Those of [`load_config`].
pub fn load_given_config(
    file: Option<&Path>,
    sets: &[String],
) -> Result<(ExperimentConfig, String), ConfigError> {
    let base = BaseConfig::read(file)?;
    let config = base.with(sets)?;
    Ok((config, base.file.map_or(String::new(), |file| file.text)))
}

/// As [`load_config`], for the text of a file that has been read.
///
/// # Errors
/// With all problems in the text and in `sets`.
pub fn parse_config(
    file: &Path,
    text: String,
    sets: &[String],
) -> Result<ExperimentConfig, ConfigError> {
    BaseConfig::new(Some((file, text)))?.with(sets)
}

/// The defaults overridden by a file that the user names, to load many variations of it.
#[derive(Debug)]
pub struct BaseConfig {
    default: Table,
    path: Option<PathBuf>,
    file: Option<Layer>,
    /// The defaults with the valid keys of the file.
    merged: Table,
    /// Problems of the file.
    problems: Vec<ConfigProblem>,
}

impl BaseConfig {
    /// Reads the file, which may be a link, a pipe or a descriptor.
    ///
    /// # Errors
    /// If it cannot be read. [`BaseConfig::with`] reports its other problems.
    pub fn read(file: Option<&Path>) -> Result<Self, ConfigError> {
        let read = |path| text_of(path, s2s_runlog::read_input(path, MAX_CONFIG_BYTES));
        let text = file.map(read).transpose()?;
        Self::new(file.zip(text))
    }

    fn new(file: Option<(&Path, String)>) -> Result<Self, ConfigError> {
        let default = Table::try_from(ExperimentConfig::default())
            .map_err(|error| ConfigError::of(&error))?;
        let mut merged = default.clone();
        let mut problems = Vec::new();
        let path = file.as_ref().map(|(path, _)| path.to_path_buf());
        let file = file.map(|(path, text)| {
            let layer = Layer::parse(Origin::File(path.to_owned()), text, &mut problems);
            layer.add_to(&mut merged, &default, &mut problems);
            layer
        });
        Ok(Self {
            default,
            path,
            file,
            merged,
            problems,
        })
    }

    /// The configuration with these changes, each `key=value`.
    ///
    /// # Errors
    /// With all problems of the file and of the changes.
    pub fn with(&self, sets: &[String]) -> Result<ExperimentConfig, ConfigError> {
        let mut problems = self.problems.clone();
        let mut merged = self.merged.clone();
        let layers = sets
            .iter()
            .map(|set| Layer::parse_set(set, &self.default, &mut problems));
        let layers: Vec<Layer> = layers.collect();
        for layer in &layers {
            layer.add_to(&mut merged, &self.default, &mut problems);
        }
        // The remaining keys are individually valid, so rules across keys can be checked even if other
        // keys were rejected.
        let mut config = merged
            .try_into::<ExperimentConfig>()
            .map_err(|error| ConfigError::of(&error))?;
        if !config.data.is_text() {
            config.resolve(None, None); // the size of text is not known yet
        }
        let has_rejected = !problems.is_empty();
        let layers: Vec<&Layer> = self.file.iter().chain(&layers).collect();
        problems.extend(cross_check(&config, &layers));
        if !has_rejected && problems.is_empty() {
            return Ok(config);
        }
        let has_more = problems.len() >= MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS);
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        if has_more {
            let message = format!("only the first {MAX_PROBLEMS} problems are shown");
            problems.push(ConfigProblem::general(message, None));
        }
        Err(ConfigError::Invalid {
            file: self.path.clone(),
            text: self
                .file
                .as_ref()
                .map_or(String::new(), |file| file.text.clone()),
            problems,
        })
    }
}

impl ExperimentConfig {
    /// Checks every rule that involves more than one value, as [`load_config`] does.
    /// [`Trainer`](crate::Trainer) and [`open_data`](crate::open_data) call it, so configurations
    /// built in code are checked too.
    ///
    /// # Errors
    /// With all problems.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = cross_check(self, &[]);
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            file: None,
            text: String::new(),
            problems,
        })
    }
}

fn text_of(path: &Path, read: s2s_runlog::Result<Vec<u8>>) -> Result<String, ConfigError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = read.map_err(|error| failed(error.into()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.into()))
}

/// Checks rules across keys; each value is individually valid.
fn cross_check(config: &ExperimentConfig, layers: &[&Layer]) -> Vec<ConfigProblem> {
    let problem = |Problem { key, message, help }| {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let written = layers
            .iter()
            .rev()
            .find_map(|layer| Some((layer, layer.span_of(&path)?)));
        let message = format!("{key}: {message}");
        match written {
            Some((layer, span)) => layer.problem(Some(span), message, help),
            None => ConfigProblem::general(message, help),
        }
    };
    config.problems().into_iter().map(problem).collect()
}
