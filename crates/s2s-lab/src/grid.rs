//! The cells of an experiment file: a product of axes, with additions and exceptions.
//!
//! ```text
//! [matrix]                                    three axes: 2 · 2 · 2 cells
//! model.hidden = [32, 64]                     an axis: a key and its values
//! attention = [                               an axis on which several keys change together
//!     { name = "dot", model.attention.kind = "dot", model.decoder = 64 },
//!     { name = "additive", model.attention.kind = "additive" },
//! ]
//! config = ["a.toml", "b.toml"]               an axis of configurations, instead of the common one
//! [[exclude]]                                 removes the cells that have all these values
//! model.hidden = 64
//! model.attention.kind = "dot"
//! [[include]]                                 adds a cell
//! name = "tiny"
//! model.hidden = 8
//! ```

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::cell::Cell;
use crate::search::Search;
use crate::settings::{Settings, flatten};

/// More cells are most likely a mistake.
const MAX_CELLS: usize = 100_000;

/// Names of cells are part of file names, whose length is limited.
const MAX_NAME: usize = 80;

/// The key that names a point of an axis or an included cell.
const NAME: &str = "name";

/// The key of a configuration file, which replaces the common one.
const CONFIG: &str = "config";

/// One value of an axis.
#[derive(Clone, Debug)]
struct Point {
    name: String,
    settings: Settings,
    /// The names of the values that were combined, one for each axis.
    values: Vec<String>,
}

/// The cells of these tables: the matrix without what is excluded, then what is included, then what is
/// drawn at random.
///
/// # Errors
/// With the reason, if a table is not valid.
pub(crate) fn cells(
    matrix: &Table,
    include: &[Table],
    exclude: &[Table],
    search: Option<&Search>,
) -> Result<Vec<Cell>, String> {
    let axes = axes(matrix)?;
    let count = axes
        .iter()
        .map(Vec::len)
        .try_fold(1_usize, |n, m| n.checked_mul(m));
    if count.is_none_or(|count| count > MAX_CELLS) {
        let sizes: Vec<String> = axes.iter().map(|axis| axis.len().to_string()).collect();
        return Err(format!(
            "[matrix] has {} cells, more than {MAX_CELLS}",
            sizes.join(" · ")
        ));
    }
    let mut points = match axes.is_empty() {
        true => Vec::new(),
        false => product(&axes)?,
    };
    for table in exclude {
        remove(&mut points, &flatten(table))?;
    }
    for table in include {
        points.push(included(table)?);
    }
    if let Some(search) = search {
        let sampled = search.points(MAX_CELLS)?.into_iter();
        points.extend(sampled.map(|settings| Point::new(None, settings)));
    }
    let mut cells: Vec<Cell> = points.into_iter().map(cell).collect();
    disambiguate(&mut cells);
    Ok(cells)
}

/// The axes of a matrix. A key whose values are tables is only a label: the tables contain the keys.
fn axes(matrix: &Table) -> Result<Vec<Vec<Point>>, String> {
    flatten(matrix)
        .into_iter()
        .map(|(key, value)| axis(&key, value))
        .collect()
}

fn axis(key: &str, value: Value) -> Result<Vec<Point>, String> {
    let Value::Array(values) = value else {
        return Err(format!(
            "[matrix] {key}: expected a list of values, got {value}"
        ));
    };
    if values.is_empty() {
        return Err(format!(
            "[matrix] {key}: the list is empty, so there is no cell"
        ));
    }
    if key == "seed" {
        return Err("[matrix] seed: use `seeds` instead".to_owned());
    }
    let points: Vec<Point> = values
        .into_iter()
        .map(|value| match value {
            Value::Table(table) => point(&table),
            value => {
                let name = slug(key, &value);
                Point::new(Some(name), Settings::from([(key.to_owned(), value)]))
            }
        })
        .collect();
    let twice = points.iter().enumerate().find(|(index, point)| {
        points[..*index]
            .iter()
            .any(|p| p.settings == point.settings)
    });
    let mut configs = points.iter().filter_map(|point| point.settings.get(CONFIG));
    if let Some(value) = configs.find(|value| !is_file(value)) {
        return Err(no_file("[matrix]", value));
    }
    match twice {
        Some((_, point)) => Err(format!("[matrix] {key}: {} is listed twice", point.name)),
        None => Ok(points),
    }
}

/// A table of keys, and `name`.
fn point(table: &Table) -> Point {
    let mut table = table.clone();
    let name = match table.remove(NAME) {
        Some(Value::String(name)) => Some(plain(&name)),
        _ => None,
    };
    Point::new(name, flatten(&table))
}

impl Point {
    /// A point that is named after its values, unless it has a name.
    fn new(name: Option<String>, settings: Settings) -> Self {
        let slugs = settings.iter().map(|(key, value)| slug(key, value));
        let name = name.unwrap_or_else(|| slugs.collect::<Vec<_>>().join("-"));
        Self {
            name,
            settings,
            values: Vec::new(),
        }
    }
}

fn is_file(value: &Value) -> bool {
    value.as_str().is_some_and(|path| !path.is_empty())
}

fn no_file(table: &str, value: &Value) -> String {
    format!("{table} {CONFIG}: expected the path of a configuration file, got {value}")
}

/// Every combination; the last axis changes fastest.
fn product(axes: &[Vec<Point>]) -> Result<Vec<Point>, String> {
    let mut all = vec![Point {
        name: String::new(),
        settings: Settings::new(),
        values: Vec::new(),
    }];
    for axis in axes {
        let combined = all
            .iter()
            .flat_map(|start| axis.iter().map(|point| combine(start, point)));
        all = combined.collect::<Result<_, _>>()?;
    }
    Ok(all)
}

fn combine(a: &Point, b: &Point) -> Result<Point, String> {
    if let Some(key) = b.settings.keys().find(|key| a.settings.contains_key(*key)) {
        return Err(format!("[matrix]: two axes set {key}"));
    }
    let mut settings = a.settings.clone();
    settings.extend(b.settings.clone());
    let names = [a.name.as_str(), b.name.as_str()];
    let names: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let mut values = a.values.clone();
    values.push(b.name.clone());
    Ok(Point {
        name: names.join("-"),
        settings,
        values,
    })
}

fn remove(points: &mut Vec<Point>, wanted: &Settings) -> Result<(), String> {
    let written = || {
        let pairs = wanted.iter().map(|(key, value)| format!("{key} = {value}"));
        pairs.collect::<Vec<_>>().join(", ")
    };
    if wanted.is_empty() {
        return Err("[[exclude]] has no key".to_owned());
    }
    let before = points.len();
    points.retain(|point| {
        let has = |(key, value): (&String, &Value)| point.settings.get(key) == Some(value);
        !wanted.iter().all(has)
    });
    match points.len() < before {
        true => Ok(()),
        false => Err(format!("[[exclude]] matches no cell: {}", written())),
    }
}

fn included(table: &Table) -> Result<Point, String> {
    let point = point(table);
    if let Some(value) = point.settings.get(CONFIG).filter(|value| !is_file(value)) {
        return Err(no_file("[[include]]", value));
    }
    match point.settings.is_empty() {
        true => Err(format!("[[include]] {:?} has no key", point.name)),
        false => Ok(point),
    }
}

fn cell(mut point: Point) -> Cell {
    let config = match point.settings.remove(CONFIG) {
        Some(Value::String(path)) => Some(PathBuf::from(path)),
        _ => None,
    };
    let set = point
        .settings
        .iter()
        .map(|(key, value)| format!("{key}={}", written(value)));
    let set = set.collect();
    let name: String = point.name.chars().take(MAX_NAME).collect();
    Cell {
        values: point.values,
        ..Cell::new(name, config, set)
    }
}

/// A value for `--set`: text without quotes where it cannot be mistaken for another value.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let is_word = |c: char| c.is_ascii_alphabetic() || "-_".contains(c);
            let is_special = ["true", "false", "inf", "nan"].contains(&text.as_str());
            match !text.is_empty() && text.chars().all(is_word) && !is_special {
                true => text.clone(),
                false => value.to_string(),
            }
        }
        value => value.to_string(),
    }
}

/// A readable part of a name: text alone, other values after the last part of their key.
fn slug(key: &str, value: &Value) -> String {
    match value {
        Value::String(path) if key == CONFIG => {
            let stem = Path::new(path).file_stem().unwrap_or_default();
            plain(&stem.to_string_lossy())
        }
        Value::String(text) => plain(text),
        value => {
            let key = key.rsplit('.').next().unwrap_or(key);
            plain(&format!("{key}{}", short(value)))
        }
    }
}

/// A value for a name: numbers with many digits have an exponent.
fn short(value: &Value) -> String {
    const MAX_DIGITS: usize = 10;
    match (value, value.to_string()) {
        (Value::Float(x), text) if text.len() > MAX_DIGITS => format!("{x:e}"),
        (_, text) => text,
    }
}

/// `text` with the characters that names of cells may have.
fn plain(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' | '.' => c,
        _ => '-',
    };
    let text: String = lower.chars().map(plain).collect();
    let parts = text.split('-').filter(|part| !part.is_empty());
    parts
        .collect::<Vec<_>>()
        .join("-")
        .trim_matches(['.', '-'])
        .to_owned()
}

/// Numbers names that would occur twice.
fn disambiguate(cells: &mut [Cell]) {
    let mut seen = std::collections::BTreeMap::new();
    for cell in cells {
        let count = seen.entry(cell.name.clone()).or_insert(0_usize);
        *count += 1;
        if *count > 1 || cell.name.is_empty() {
            cell.name = format!("{}-{count}", cell.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_numbers_are_short() {
        let name = |x: f64| slug("train.learning_rate", &Value::Float(x));
        assert_eq!(name(1e33), "learning-rate1e33");
        assert_eq!(name(2.5e-12), "learning-rate2.5e-12");
        assert_eq!(name(0.001), "learning-rate0.001");
    }

    /// Names and changes of the cells of a file with these tables.
    fn expand(text: &str) -> Result<Vec<String>, String> {
        let table: Table = text.parse().unwrap();
        let tables = |name: &str| match table.get(name) {
            Some(Value::Array(all)) => all.iter().map(|t| t.as_table().unwrap().clone()).collect(),
            _ => Vec::new(),
        };
        let matrix = table
            .get("matrix")
            .map_or(Table::new(), |m| m.as_table().unwrap().clone());
        let cells = cells(&matrix, &tables("include"), &tables("exclude"), None)?;
        let line = |cell: &Cell| format!("{}: {}", cell.name, cell.changes().join(" "));
        Ok(cells.iter().map(line).collect())
    }

    const MATRIX: &str = r#"
        [matrix]
        model.attention.kind = ["additive", "ntm"]
        model.hidden = [32, 64]
    "#;

    #[test]
    fn a_matrix_is_the_product_of_its_axes() {
        assert_eq!(
            expand(MATRIX).unwrap(),
            [
                "additive-hidden32: model.attention.kind=additive model.hidden=32",
                "additive-hidden64: model.attention.kind=additive model.hidden=64",
                "ntm-hidden32: model.attention.kind=ntm model.hidden=32",
                "ntm-hidden64: model.attention.kind=ntm model.hidden=64",
            ]
        );
    }

    #[test]
    fn several_keys_change_together_on_one_axis() {
        let text = r#"
            [matrix]
            attention = [
                { name = "dot", model.attention.kind = "dot", model.decoder = 64 },
                { model.attention.kind = "none" },
            ]
            train.learning_rate = [0.001, 0.01]
        "#;
        assert_eq!(
            expand(text).unwrap(),
            [
                "dot-learning-rate0.001: model.attention.kind=dot model.decoder=64 train.learning_rate=0.001",
                "dot-learning-rate0.01: model.attention.kind=dot model.decoder=64 train.learning_rate=0.01",
                "none-learning-rate0.001: model.attention.kind=none train.learning_rate=0.001",
                "none-learning-rate0.01: model.attention.kind=none train.learning_rate=0.01",
            ]
        );
    }

    #[test]
    fn a_point_can_have_a_configuration_of_its_own() {
        let text = r#"
            [matrix]
            mechanism = [
                { name = "general", model.attention.kind = "general" },
                { name = "transducer", config = "configs/transducer.toml", train.max_steps = 500 },
            ]
        "#;
        assert_eq!(
            expand(text).unwrap(),
            [
                "general: model.attention.kind=general",
                "transducer: config=configs/transducer.toml train.max_steps=500",
            ]
        );
        assert_eq!(
            expand("[matrix]\nconfig = [\"a/tiny.toml\", \"b.toml\"]").unwrap(),
            ["tiny: config=a/tiny.toml", "b: config=b.toml"]
        );
    }

    #[test]
    fn cells_can_be_excluded_and_included() {
        let text = format!(
            "{MATRIX}\n[[exclude]]\nmodel.hidden = 64\nmodel.attention.kind = \"ntm\"\n\
             [[include]]\nmodel.attention.kind = \"none\"\n[[include]]\nname = \"My Cell\"\nseedless = true"
        );
        let found = expand(&text).unwrap();
        assert_eq!(found.len(), 3 + 2);
        assert_eq!(found[3], "none: model.attention.kind=none");
        assert_eq!(found[4], "my-cell: seedless=true");
    }

    #[test]
    fn invalid_tables_are_refused() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let problem = expand(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        check("[matrix]\nx = 1", "x: expected a list of values, got 1");
        check("[matrix]\nx = []", "x: the list is empty");
        check("[matrix]\nx = [1, 2, 1]", "x: x1 is listed twice");
        check("[matrix]\nseed = [1, 2]", "use `seeds` instead");
        check("[matrix]\na = [{ x = 1 }]\nx = [1, 2]", "two axes set x");
        check(
            &format!("{MATRIX}[[exclude]]\nmodel.hidden = 7"),
            "matches no cell: model.hidden = 7",
        );
        check(
            "[matrix]\nconfig = [\"a.toml\", 3]",
            "config: expected the path of a configuration file, got 3",
        );
        check(
            "[[include]]\nconfig = \"\"",
            "[[include]] config: expected the path",
        );
        check(&format!("{MATRIX}[[exclude]]"), "[[exclude]] has no key");
        check("[[include]]\nname = \"a\"", "\"a\" has no key");
        let axis = |key: &str| format!("{key} = {:?}\n", (0..1000).collect::<Vec<_>>());
        check(
            &format!("[matrix]\n{}{}", axis("a"), axis("b")),
            "1000 · 1000 cells, more than 100000",
        );
    }

    #[test]
    fn paths_become_names_without_separators() {
        let found = expand("[matrix]\ndata.file = [\"../a/pairs.tsv\", \"/b/pairs.tsv\"]").unwrap();
        assert_eq!(
            found,
            [
                "a-pairs.tsv: data.file=\"../a/pairs.tsv\"",
                "b-pairs.tsv: data.file=\"/b/pairs.tsv\"",
            ]
        );
    }

    #[test]
    fn equal_names_are_numbered_and_text_that_looks_like_a_value_is_quoted() {
        let found = expand("[matrix]\nx = [\"a b\", \"a-b\", \"true\", \"\"]").unwrap();
        assert_eq!(
            found,
            [
                "a-b: x=\"a b\"",
                "a-b-2: x=a-b",
                "true: x=\"true\"",
                "-1: x=\"\""
            ]
        );
    }
}
