//! Loads a configuration: the defaults, a file, and keys set on the command line.
//!
//! All problems are reported at once. To that end each key is first deserialized alone on top of
//! the default configuration, which also defines the known keys; then the merged configuration is
//! checked.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::ExperimentConfig;

/// The key that selects the variant of a table.
const TAG: &str = "kind";

/// Maximum number of problems reported; a file with more is not a configuration.
const MAX_PROBLEMS: usize = 100;

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
            problems.push(ConfigProblem {
                origin: Origin::Default,
                span: None,
                position: None,
                message: format!("only the first {MAX_PROBLEMS} problems are shown"),
                help: None,
            });
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

/// Where a value of a configuration was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file.
    File(PathBuf),
    /// On the command line, as `key=value`.
    Set(String),
    /// Not written: the default.
    Default,
}

/// One problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where the value was written.
    pub origin: Origin,
    /// Byte range in the file; absent unless the origin is the file.
    pub span: Option<Range<usize>>,
    /// Line and column of its start, counted from 1.
    pub position: Option<(usize, usize)>,
    /// What is wrong, with the key, the value and the bound.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.position) {
            (Origin::File(path), Some((line, column))) => {
                write!(f, "{}:{line}:{column}: ", path.display())?;
            }
            (Origin::File(path), None) => write!(f, "{}: ", path.display())?,
            (Origin::Set(set), _) => write!(f, "--set {set}: ")?,
            (Origin::Default, _) => {}
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// Why a configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("reading the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration is invalid.
    #[error("{}", listed(problems))]
    Invalid {
        /// The file, if there was one.
        file: Option<PathBuf>,
        /// The text of the file.
        text: String,
        /// All problems, in the order of the file.
        problems: Vec<ConfigProblem>,
    },
}

impl ConfigError {
    pub(crate) fn of(error: &dyn fmt::Display) -> Self {
        Self::Invalid {
            file: None,
            text: String::new(),
            problems: vec![ConfigProblem {
                origin: Origin::Default,
                span: None,
                position: None,
                message: error.to_string().trim().to_owned(),
                help: None,
            }],
        }
    }
}

fn listed(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn text_of(path: &Path, read: s2s_runlog::Result<Vec<u8>>) -> Result<String, ConfigError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = read.map_err(|error| failed(error.into()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.into()))
}

/// The values of one origin with their byte ranges.
#[derive(Debug)]
struct Layer {
    origin: Origin,
    text: String,
    table: Table,
    spans: Vec<(Vec<String>, Range<usize>)>,
}

impl Layer {
    fn parse(origin: Origin, text: String, problems: &mut Vec<ConfigProblem>) -> Self {
        let (document, errors) = DeTable::parse_recoverable(&text);
        let mut spans = Vec::new();
        collect_spans(document.get_ref(), &mut Vec::new(), &mut spans);
        let mut layer = Self {
            origin,
            table: Table::new(),
            spans,
            text: String::new(),
        };
        let parsed = text.parse::<Table>();
        layer.text = text;
        let is_toml = errors.is_empty();
        for error in errors.into_iter().take(MAX_PROBLEMS) {
            problems.push(layer.problem(error.span(), one_line(error.message()), None));
        }
        match parsed {
            Ok(table) => layer.table = table,
            // Valid TOML may contain a value that does not fit our types, such as a large number.
            Err(error) if is_toml => {
                problems.push(layer.problem(error.span(), one_line(error.message()), None));
            }
            Err(_) => {}
        }
        layer
    }

    /// Parses `key=value`; the value is TOML, or a bare string if it is not valid TOML or if the key
    /// expects a string.
    fn parse_set(set: &str, default: &Table, problems: &mut Vec<ConfigProblem>) -> Self {
        let origin = Origin::Set(set.to_owned());
        let Some((key, value)) = set.split_once('=') else {
            let layer = Self::parse(origin, String::new(), problems);
            let help = Some("for example --set train.epochs=3".to_owned());
            problems.push(layer.problem(None, "expected key=value".to_owned(), help));
            return layer;
        };
        let as_toml = format!("{key} = {value}");
        // A number that TOML cannot represent is still parsed as a number, so that the error says
        // so.
        let is_number = value.trim().parse::<f64>().is_ok_and(f64::is_finite);
        let is_one_line = !set.contains('\n');
        let expects_text = value_at(default, key).is_some_and(Value::is_str);
        let path: Vec<String> = key.split('.').map(|part| part.trim().to_owned()).collect();
        let is_accepted = |value: &Value| !expects_text || try_alone(&path, value).is_ok();
        let is_toml = match as_toml.parse::<Table>() {
            Ok(table) => value_at(&table, key).is_none_or(is_accepted),
            Err(_) => is_number && !expects_text,
        };
        if is_one_line && is_toml {
            return Self::parse(origin, as_toml, problems);
        }
        Self::parse(
            origin,
            format!("{key} = {}", Value::String(value.trim().to_owned())),
            problems,
        )
    }

    /// Overrides the values of `merged` by those that are valid on their own.
    fn add_to(&self, merged: &mut Table, default: &Table, problems: &mut Vec<ConfigProblem>) {
        let mut clean = self.table.clone();
        check_table(self, default, merged, &mut clean, &mut Vec::new(), problems);
        merge(merged, &clean);
    }

    fn span_of(&self, path: &[String]) -> Option<Range<usize>> {
        self.spans
            .iter()
            .find(|(other, _)| other == path)
            .map(|(_, span)| span.clone())
    }

    fn problem(
        &self,
        span: Option<Range<usize>>,
        message: String,
        help: Option<String>,
    ) -> ConfigProblem {
        let span = span.filter(|_| matches!(self.origin, Origin::File(_)));
        ConfigProblem {
            origin: self.origin.clone(),
            position: span.as_ref().map(|span| position(&self.text, span.start)),
            span,
            message,
            help,
        }
    }
}

/// The value of a dotted key.
fn value_at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.').map(str::trim);
    let first = table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn collect_spans(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    spans: &mut Vec<(Vec<String>, Range<usize>)>,
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        spans.push((path.clone(), spanned(key, value)));
        if let DeValue::Table(inner) = value.get_ref() {
            collect_spans(inner, path, spans);
        }
        path.pop();
    }
}

/// The range from a key to the end of its value; for a table, the range of the key.
fn spanned<K>(key: &Spanned<K>, value: &Spanned<DeValue<'_>>) -> Range<usize> {
    let (key, end) = (key.span(), value.span().end);
    match value.get_ref() {
        DeValue::Table(_) => key,
        _ => key.start..end.max(key.end),
    }
}

/// Line and column of a byte, counted from 1; the column counts characters.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Checks every key of a layer on its own; keys that fail are reported and removed from `table`.
fn check_table(
    layer: &Layer,
    schema: &Table,
    base: &Table,
    table: &mut Table,
    path: &mut Vec<String>,
    problems: &mut Vec<ConfigProblem>,
) {
    let keys: Vec<String> = table.keys().cloned().collect();
    for key in keys {
        if problems.len() >= MAX_PROBLEMS {
            table.remove(&key);
            continue;
        }
        path.push(key.clone());
        let is_good = match (schema.get(&key), table.get_mut(&key)) {
            (None, _) => {
                let (message, help) = unknown_key(path, schema);
                problems.push(layer.problem(layer.span_of(path), message, help));
                false
            }
            (Some(Value::Table(schema)), Some(Value::Table(inner)))
                if !schema.contains_key(TAG) =>
            {
                let empty = Table::new();
                let base = base.get(&key).and_then(Value::as_table).unwrap_or(&empty);
                check_table(layer, schema, base, inner, path, problems);
                true
            }
            // A table may also replace a number; without a kind it is of none.
            (Some(schema), Some(Value::Table(inner)))
                if schema.is_table() || kind_of(inner, base.get(&key)).is_some() =>
            {
                let kind = kind_of(inner, base.get(&key)).cloned();
                check_tagged(layer, kind, inner, path, problems);
                !inner.is_empty()
            }
            (Some(_), Some(value)) => match try_alone(path, value) {
                Ok(()) => true,
                Err(message) => {
                    problems.push(wrong_value(layer, path, &message));
                    false
                }
            },
            (Some(_), None) => true,
        };
        if !is_good {
            table.remove(&key);
        }
        path.pop();
    }
}

/// The kind of a table, or else that of the value which it changes.
fn kind_of<'a>(table: &'a Table, base: Option<&'a Value>) -> Option<&'a Value> {
    table.get(TAG).or_else(|| base?.get(TAG))
}

/// Checks the kind of a tagged table, then each other key together with that kind.
fn check_tagged(
    layer: &Layer,
    kind: Option<Value>,
    table: &mut Table,
    path: &mut Vec<String>,
    problems: &mut Vec<ConfigProblem>,
) {
    let tag = kind.map(|kind| (TAG.to_owned(), kind));
    let mut try_with_kind = |key: &str, value: &Value| {
        if problems.len() >= MAX_PROBLEMS {
            return false;
        }
        let pair = (key.to_owned(), value.clone());
        let table = Table::from_iter(tag.clone().into_iter().chain([pair]));
        let error = try_alone(path, &Value::Table(table)).err();
        if let Some(message) = &error {
            path.push(key.to_owned());
            problems.push(wrong_value(layer, path, message));
            path.pop();
        }
        error.is_none()
    };
    if let Some(kind) = table.get(TAG).cloned()
        && !try_with_kind(TAG, &kind)
    {
        table.clear();
    }
    table.retain(|key, value| key == TAG || try_with_kind(key, value));
}

/// Deserializes the default configuration with one value changed.
fn try_alone(path: &[String], value: &Value) -> Result<(), String> {
    let alone = path.iter().rev().fold(value.clone(), |inner, key| {
        Value::Table(Table::from_iter([(key.clone(), inner)]))
    });
    let result = match alone {
        Value::Table(table) => table.try_into::<ExperimentConfig>().map(|_| ()),
        _ => Err(toml::de::Error::custom("expected a table")),
    };
    result.map_err(|error| plain(&one_line(error.message())))
}

fn wrong_value(layer: &Layer, path: &[String], message: &str) -> ConfigProblem {
    let mut names = message.split('`').skip(1).step_by(2);
    let rejected = names.next().unwrap_or_default();
    let expected: Vec<&str> = names.collect();
    let help =
        nearest(rejected, expected.into_iter()).map(|name| format!("did you mean {name:?}?"));
    layer.problem(
        layer.span_of(path),
        format!("{}: {message}", path.join(".")),
        help,
    )
}

fn unknown_key(path: &[String], schema: &Table) -> (String, Option<String>) {
    let name = &path[path.len() - 1];
    let table = &path[..path.len() - 1];
    let message = match table {
        [] => format!("unknown key {name:?}"),
        _ => format!("unknown key {name:?} in [{}]", table.join(".")),
    };
    let help = match nearest(name, schema.keys().map(String::as_str)) {
        Some(near) => format!("did you mean {near:?}?"),
        None => {
            let known: Vec<&str> = schema.keys().map(String::as_str).collect();
            format!("known keys: {}", known.join(", "))
        }
    };
    (message, Some(help))
}

/// The candidate most similar to `name`, if it is similar enough.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Below this Jaro-Winkler similarity, words are not plausible misspellings of each other.
    const MIN_SIMILARITY: f64 = 0.75;
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Overrides the values of `base` by those of `over`, key by key.
fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) if base.contains_key(TAG) => {
                merge_tagged(base, over);
            }
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// As [`merge`], but a different kind discards the options of the previous kind.
fn merge_tagged(base: &mut Table, over: &Table) {
    if over
        .get(TAG)
        .is_some_and(|kind| base.get(TAG) != Some(kind))
    {
        base.clear();
    }
    base.extend(over.iter().map(|(key, value)| (key.clone(), value.clone())));
}

/// Checks rules across keys; each value is individually valid.
fn cross_check(config: &ExperimentConfig, layers: &[&Layer]) -> Vec<ConfigProblem> {
    let problem = |(key, message, help): (String, String, Option<String>)| {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let written = layers
            .iter()
            .rev()
            .find_map(|layer| Some((layer, layer.span_of(&path)?)));
        let message = format!("{key}: {message}");
        match written {
            Some((layer, span)) => layer.problem(Some(span), message, help),
            None => ConfigProblem {
                origin: Origin::Default,
                span: None,
                position: None,
                message,
                help,
            },
        }
    };
    config.problems().into_iter().map(problem).collect()
}

/// Rewrites a serde message in terms of the configuration file.
fn plain(message: &str) -> String {
    [
        ("invalid type: ", ""),
        ("invalid value: ", ""),
        ("map, expected", "a table, expected"),
        (
            "internally tagged enum AttentionConfig",
            "a table such as { kind = \"additive\" }",
        ),
        (
            "internally tagged enum ScheduleConfig",
            "a table such as { kind = \"cosine\" }",
        ),
        ("struct DataConfig", "a table"),
        ("struct ModelConfig", "a table"),
        ("struct TrainConfig", "a table"),
        ("struct TeacherForcingConfig", "a table"),
        (
            "a nonzero usize or a table",
            "a whole number above 0, or a table",
        ),
        ("a nonzero usize", "a whole number above 0"),
        ("a nonzero u64", "a whole number above 0"),
        ("expected usize", "expected a whole number"),
        ("expected u64", "expected a whole number, 0 or above"),
        ("expected u32", "expected a whole number, 0 or above"),
        ("expected f64", "expected a number"),
    ]
    .into_iter()
    .fold(message.to_owned(), |text, (from, to)| {
        text.replace(from, to)
    })
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join("; ")
}
