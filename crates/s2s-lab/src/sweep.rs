//! An experiment file from a command line: keys to vary, and their values.

use std::path::PathBuf;

use toml::{Table, Value};

/// A small experiment without a file of its own, as `s2s sweep` gets it on the command line.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The configuration file that all cells start from; the built-in default if absent.
    pub config: Option<PathBuf>,
    /// Changes that all cells have, as `key=value`.
    pub set: Vec<String>,
    /// Keys and their values, as `key=a,b`. Every combination of values is a cell.
    pub vary: Vec<String>,
    /// Number of seeds.
    pub n_seeds: u64,
}

impl Sweep {
    /// The text of the equivalent experiment file, for [`Plan::parse`](crate::Plan::parse).
    ///
    /// # Errors
    /// With a message for a person, if `vary` is not of the form `key=a,b` or has a key twice.
    pub fn experiment_file(&self) -> Result<String, String> {
        let axes = self.axes()?;
        let keys: Vec<String> = axes.iter().map(|(key, _)| key.clone()).collect();
        let keys = keys.join(" and ");
        let mut file = Table::new();
        let mut add = |key: &str, value: Value| file.insert(key.to_owned(), value);
        add("title", format!("Sweep over {keys}").into());
        add(
            "question",
            format!("How do the results depend on {keys}?").into(),
        );
        if let Some(config) = &self.config {
            add("config", config.display().to_string().into());
        }
        if !self.set.is_empty() {
            add("set", self.set.clone().into());
        }
        let seeds = i64::try_from(self.n_seeds).map_err(|_| "too many seeds".to_owned())?;
        add("seeds", seeds.into());
        let matrix: Table = axes.into_iter().collect();
        Ok(format!("{file}\n[matrix]\n{}", dotted(&matrix)))
    }

    /// A name for the experiment, such as `tiny-attention-hidden`: that of the configuration file, and the
    /// last parts of the keys.
    ///
    /// # Errors
    /// As [`Sweep::experiment_file`].
    pub fn name(&self) -> Result<String, String> {
        let config = self.config.as_deref().and_then(|path| path.file_stem());
        let config = config.map_or("default".into(), |stem| stem.to_string_lossy());
        let axes = self.axes()?;
        let keys = axes.iter().map(|(key, _)| {
            let parts: Vec<&str> = key.rsplit('.').take(2).collect();
            match parts[..] {
                ["kind", table] => table,
                _ => parts[0],
            }
        });
        let names: Vec<&str> = std::iter::once(&*config).chain(keys).collect();
        Ok(names.join("-"))
    }

    fn axes(&self) -> Result<Vec<(String, Value)>, String> {
        let mut axes: Vec<(String, Value)> = Vec::new();
        for text in &self.vary {
            let (key, values) = axis(text)?;
            if axes.iter().any(|(known, _)| *known == key) {
                return Err(format!(
                    "{key} is set twice; give it all values in one --vary"
                ));
            }
            axes.push((key, values));
        }
        Ok(axes)
    }
}

fn axis(text: &str) -> Result<(String, Value), String> {
    let invalid = || format!("expected KEY=VALUE,VALUE,..., got {text:?}");
    let (key, values) = text.split_once('=').ok_or_else(invalid)?;
    let (key, values) = (key.trim(), values.trim());
    if key.is_empty() || values.is_empty() {
        return Err(invalid());
    }
    let value = |text: &str| {
        let parsed = format!("x = {text}").parse::<Table>();
        let parsed = parsed.ok().and_then(|mut table| table.remove("x"));
        parsed.unwrap_or_else(|| Value::from(text))
    };
    // Brackets and quotes may contain commas.
    let list = format!("x = [{values}]").parse::<Table>();
    let list = list.ok().and_then(|mut table| table.remove("x"));
    let list = list.unwrap_or_else(|| {
        let all = values.split(',').map(|text| value(text.trim()));
        Value::Array(all.collect())
    });
    Ok((key.to_owned(), list))
}

/// A table with a line for each dotted key.
fn dotted(table: &Table) -> String {
    let lines = table
        .iter()
        .map(|(key, value)| format!("{key} = {value}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Experiment;

    fn sweep(vary: &[&str]) -> Sweep {
        Sweep {
            config: Some("configs/tiny.toml".into()),
            set: vec!["train.max_steps=5".to_owned()],
            vary: vary.iter().map(|text| (*text).to_owned()).collect(),
            n_seeds: 2,
        }
    }

    #[test]
    fn a_sweep_is_an_experiment_file() {
        let sweep = sweep(&[
            "model.attention.kind=additive,ntm",
            "data.split=[1,2],[3,4]",
        ]);
        let text = sweep.experiment_file().unwrap();
        let experiment: Experiment = toml::from_str(&text).unwrap();
        assert_eq!(experiment.seeds, [0, 1]);
        assert_eq!(experiment.set, ["train.max_steps=5"]);
        assert!(
            text.contains("model.attention.kind = [\"additive\", \"ntm\"]"),
            "{text}"
        );
        assert!(text.contains("data.split = [[1, 2], [3, 4]]"), "{text}");
        assert_eq!(sweep.name().unwrap(), "tiny-attention-split");
    }

    #[test]
    fn a_key_that_varies_twice_is_refused() {
        let problem = sweep(&["x=1,2", "x=3"]).experiment_file().unwrap_err();
        assert!(problem.starts_with("x is set twice"), "{problem}");
    }

    #[test]
    fn invalid_axes_are_refused() {
        for text in ["model.hidden", "=1,2", "model.hidden="] {
            let problem = sweep(&[text]).experiment_file().unwrap_err();
            assert!(
                problem.contains("expected KEY=VALUE,VALUE,..."),
                "{problem}"
            );
        }
    }
}
