//! The values of one origin: the file, or a key set on the command line.
//!
//! Each key is deserialized alone on top of the default configuration, which also defines the known keys.

use std::ops::Range;

use serde::de::Error as _;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::{ConfigProblem, ExperimentConfig, Origin};

/// The key that selects the variant of a table.
const TAG: &str = "kind";

/// Maximum number of problems reported; a file with more is not a configuration.
pub(super) const MAX_PROBLEMS: usize = 100;

/// The values of one origin with their byte ranges.
#[derive(Debug)]
pub(super) struct Layer {
    origin: Origin,
    pub(super) text: String,
    table: Table,
    spans: Vec<(Vec<String>, Range<usize>)>,
}

impl Layer {
    pub(super) fn parse(origin: Origin, text: String, problems: &mut Vec<ConfigProblem>) -> Self {
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
    pub(super) fn parse_set(set: &str, default: &Table, problems: &mut Vec<ConfigProblem>) -> Self {
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
    pub(super) fn add_to(
        &self,
        merged: &mut Table,
        default: &Table,
        problems: &mut Vec<ConfigProblem>,
    ) {
        let mut clean = self.table.clone();
        check_table(self, default, merged, &mut clean, &mut Vec::new(), problems);
        merge(merged, &clean);
    }

    pub(super) fn span_of(&self, path: &[String]) -> Option<Range<usize>> {
        self.spans
            .iter()
            .find(|(other, _)| other == path)
            .map(|(_, span)| span.clone())
    }

    pub(super) fn problem(
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
