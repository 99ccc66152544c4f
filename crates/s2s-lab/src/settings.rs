//! Configurations as flat maps, which can be compared without knowing what the keys mean.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// A configuration as a map from dotted keys, such as `model.hidden`, to TOML values.
pub type Settings = BTreeMap<String, Value>;

/// The values of a table and of the tables in it.
pub(crate) fn flatten(table: &Table) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = flatten(inner).into_iter();
                settings.extend(inner.map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            value => {
                settings.insert(key.clone(), value.clone());
            }
        }
    }
    settings
}

/// Keys whose values differ, or that some of the configurations lack.
pub(crate) fn differing(all: &[&Settings]) -> Vec<String> {
    let keys: BTreeSet<&String> = all.iter().flat_map(|settings| settings.keys()).collect();
    let differs = |key: &&&String| {
        let mut values = all.iter().map(|settings| settings.get(**key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    keys.iter()
        .filter(differs)
        .map(|key| (*key).clone())
        .collect()
}

/// The number, if the value is one.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        flatten(&text.parse().unwrap())
    }

    #[test]
    fn tables_become_dotted_keys() {
        let settings = settings("seed = 3\n[model.attention]\nkind = \"none\"");
        let lines: Vec<String> = settings.iter().map(|(k, v)| format!("{k} = {v}")).collect();
        assert_eq!(lines, ["model.attention.kind = \"none\"", "seed = 3"]);
    }

    #[test]
    fn changed_values_and_absent_keys_are_found() {
        let (a, b) = (settings("x = 1\ny = 2\nz = 1.5"), settings("x = 1\ny = 3"));
        assert_eq!(differing(&[&a, &b]), ["y", "z"]);
        assert!(differing(&[&a, &a]).is_empty());
        assert!(differing(&[&a]).is_empty());
    }
}
