//! Runs side by side: what their configurations differ in, and what came of it.

use std::path::{Path, PathBuf};

use s2s_runlog::{
    Environment, MetricsRecord, RunDir, RunRecord, TimingRecord, read_json, read_lines,
};
use s2s_viz::{ExperimentPage, PageCell, PageCellRun, PageCurve, Table};
use serde::Serialize;
use serde_json::{Value, json};

use crate::event::count;
use crate::measure::{Curve, Metric};
use crate::render::page::{self, json_of, own_page};
use crate::settings::{Settings, differing};
use crate::state::read_settings;

/// Runs side by side: what their configurations differ in, their results and their times.
#[derive(Clone, Debug, Serialize)]
pub struct SideBySide {
    /// The folders of the runs, which name the columns.
    pub runs: Vec<String>,
    /// The settings that differ between their configurations, then their results and times.
    pub rows: Vec<SideBySideRow>,
    /// The evaluations of each run during training.
    #[serde(skip)]
    metrics: Vec<Vec<MetricsRecord>>,
}

/// A key and its value in each run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideBySideRow {
    /// What the row is about: `configuration`, `result` or `time`.
    pub part: &'static str,
    /// A dotted configuration key, or the name of a value in the records, such as `exact_match`.
    pub key: String,
    /// A value for each run; null where a run has none.
    pub values: Vec<Value>,
}

struct Run {
    settings: Settings,
    record: Option<RunRecord>,
    timing: Vec<TimingRecord>,
    environment: Option<Environment>,
}

impl SideBySide {
    /// Reads runs.
    ///
    /// # Errors
    /// With the reason, if a configuration cannot be read. Other files may be absent.
    pub fn read(dirs: &[RunDir]) -> Result<Self, String> {
        let read = |dir: &RunDir| {
            Ok::<_, String>(Run {
                settings: read_settings(dir)?,
                record: read_json(dir.run()).ok(),
                timing: read_lines(dir.timing()).unwrap_or_default(),
                environment: read_json(dir.environment()).ok(),
            })
        };
        let runs: Vec<Run> = dirs.iter().map(read).collect::<Result<_, _>>()?;
        let settings: Vec<&Settings> = runs.iter().map(|run| &run.settings).collect();
        let mut rows = Vec::new();
        for key in differing(&settings) {
            let value = |settings: &&Settings| settings.get(&key).map_or(Value::Null, json_of);
            rows.push(SideBySideRow {
                part: "configuration",
                values: settings.iter().map(value).collect(),
                key,
            });
        }
        let mut add = |part, key: &str, value: &dyn Fn(&Run) -> Option<Value>| {
            let values = runs.iter().map(|run| value(run).unwrap_or(Value::Null));
            let values: Vec<Value> = values.collect();
            if values.iter().any(|value| !value.is_null()) {
                rows.push(SideBySideRow {
                    part,
                    key: key.to_owned(),
                    values,
                });
            }
        };
        let record = |run: &Run| run.record.clone();
        add("result", "status", &|run| Some(json!(record(run)?.status)));
        add("result", "step", &|run| Some(json!(record(run)?.step)));
        add("result", "best_step", &|run| {
            Some(json!(record(run)?.best_step?))
        });
        add("result", "best_val_loss", &|run| {
            Some(json!(record(run)?.best_val_loss?))
        });
        add("result", "n_parameters", &|run| {
            Some(json!(record(run)?.n_parameters))
        });
        for metric in Metric::ALL {
            if metric != Metric::TrainSecs {
                add("result", metric.key(), &|run| {
                    Some(json!(metric.value(&record(run)?.test?, 0.0)))
                });
            }
        }
        let sum = |run: &Run, value: fn(&TimingRecord) -> f64| {
            let total: f64 = run.timing.iter().map(value).sum();
            (!run.timing.is_empty()).then(|| json!(total))
        };
        add("time", "train_secs", &|run| sum(run, |t| t.train_secs));
        add("time", "eval_secs", &|run| sum(run, |t| t.eval_secs));
        add("time", "threads", &|run| {
            Some(json!(run.environment.as_ref()?.threads))
        });
        add("time", "cpu", &|run| {
            Some(json!(run.environment.as_ref()?.cpu))
        });
        Ok(Self {
            runs: dirs
                .iter()
                .map(|dir| dir.path().display().to_string())
                .collect(),
            rows,
            metrics: dirs
                .iter()
                .map(|dir| read_lines(dir.metrics()).unwrap_or_default())
                .collect(),
        })
    }

    /// A table of plain text for each part, with a column for each run.
    pub fn text(&self) -> String {
        let parts = self.rows.chunk_by(|a, b| a.part == b.part);
        let mut tables: Vec<String> = parts
            .map(|rows| {
                let keys = rows.iter().map(|row| &row.key);
                let mut table = Table::new().column(rows[0].part, keys);
                for (index, run) in self.runs.iter().enumerate() {
                    let cells = rows.iter().map(|row| shown(&row.values[index]));
                    table = table.column(run, cells);
                }
                table.text()
            })
            .collect();
        if self
            .rows
            .first()
            .is_none_or(|row| row.part != "configuration")
        {
            tables.insert(0, "The configurations are equal.\n".to_owned());
        }
        tables.join("\n")
    }

    /// A page on which the runs are sorted, filtered and drawn. `folder` is that of the page's file: the page
    /// links to the pages of runs below it by relative paths, to others by absolute ones.
    pub fn page(&self, folder: &Path) -> ExperimentPage {
        let axes = self.rows.iter().filter(|row| row.part == "configuration");
        let metrics = Metric::ALL.into_iter();
        let metrics = metrics.filter(|metric| self.row(metric.key()).is_some());
        let metrics: Vec<Metric> = metrics.collect();
        let cell = |(index, run): (usize, &String)| {
            let value = |key: &str| self.row(key).map(|row| &row.values[index]);
            let status = value("status").map_or_else(|| "started".to_owned(), plain);
            let path = Path::new(run);
            PageCell {
                name: run.clone(),
                settings: axes.clone().map(|row| row.values[index].clone()).collect(),
                means: metrics
                    .iter()
                    .map(|metric| value(metric.key())?.as_f64())
                    .collect(),
                intervals: vec![None; metrics.len()],
                runs: vec![PageCellRun {
                    name: "report".to_owned(),
                    status,
                    page: own_page(path, &from(folder, path)),
                }],
            }
        };
        ExperimentPage {
            title: format!("Comparison of {}", count(self.runs.len(), "run")),
            question: "The runs differ in these settings and results.".to_owned(),
            notes: Vec::new(),
            axes: axes.clone().map(|row| row.key.clone()).collect(),
            metrics: metrics.iter().copied().map(page::metric).collect(),
            cells: self.runs.iter().enumerate().map(cell).collect(),
            curves: self.curves(),
        }
    }

    fn row(&self, key: &str) -> Option<&SideBySideRow> {
        self.rows
            .iter()
            .find(|row| row.key == key && row.part != "configuration")
    }

    /// Validation loss and exact match of each run, over the steps.
    fn curves(&self) -> Vec<PageCurve> {
        [Curve::ValLoss, Curve::ValExactMatch]
            .map(|curve| PageCurve {
                title: curve.title().to_owned(),
                x_label: "step".to_owned(),
                is_share: curve.is_share(),
                of_cell: self
                    .runs
                    .iter()
                    .zip(&self.metrics)
                    .map(|(run, records)| {
                        let point = |record: &MetricsRecord| {
                            let y = curve.value(record);
                            [record.step as f64, y, y, y]
                        };
                        (run.clone(), records.iter().map(point).collect())
                    })
                    .collect(),
            })
            .into()
    }

    /// All rows as CSV, with a header.
    pub fn csv(&self) -> String {
        let names = ["part", "key"].map(str::to_owned).into_iter();
        let header: Vec<String> = names.chain(self.runs.iter().cloned()).collect();
        let rows = self.rows.iter().map(|row| {
            let names = [row.part.to_owned(), row.key.clone()].into_iter();
            names.chain(row.values.iter().map(plain)).collect()
        });
        let lines = std::iter::once(header).chain(rows).map(|row: Vec<String>| {
            let cells: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
            cells.join(",") + "\n"
        });
        lines.collect()
    }
}

/// `path` as seen from a file in `folder`: relative if it is below the folder.
fn from(folder: &Path, path: &Path) -> PathBuf {
    // Joined, since there is no absolute form of an empty path, the parent of `page.html`.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let (folder, path) = (
        absolute(Path::new(".").join(folder)),
        absolute(path.to_owned()),
    );
    path.strip_prefix(&folder)
        .map_or(path.clone(), Path::to_owned)
}

/// A value as a person reads it: numbers with six significant digits.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            let x = number.as_f64().unwrap_or(f64::NAN);
            let size = x.abs();
            if x == 0.0 || (1e-3..1e9).contains(&size) {
                let decimals = (5.0 - size.max(1e-3).log10().floor()).clamp(0.0, 8.0) as usize;
                let text = format!("{x:.decimals$}");
                match decimals {
                    0 => text,
                    _ => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                }
            } else {
                format!("{x:.5e}").replace(".00000e", "e")
            }
        }
        Value::Null => "–".to_owned(),
        value => plain(value),
    }
}

/// A value without quotes; empty if absent.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// A cell of a CSV file.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_differs_of_the_configurations_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let dirs = [
            ("a", "x = 1\ny = \"p,q\""),
            ("b", "x = 2\ny = \"p,q\"\nz = 0.5"),
        ];
        let dirs = dirs.map(|(name, config)| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("config.resolved.toml"), config).unwrap();
            RunDir::open(path).unwrap()
        });
        let both = SideBySide::read(&dirs).unwrap();
        let keys: Vec<&str> = both.rows.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(keys, ["x", "z"]);
        let csv = both.csv();
        assert!(
            csv.contains("configuration,x,1,2\nconfiguration,z,,0.5\n"),
            "{csv}"
        );
        let same = SideBySide::read(&[dirs[0].clone(), dirs[0].clone()]).unwrap();
        assert!(same.text().contains("The configurations are equal."));
    }

    #[test]
    fn a_page_links_to_the_runs_from_its_own_folder() {
        let home = Path::new("/a/b");
        assert_eq!(from(home, Path::new("/a/b/c")), Path::new("c"));
        assert_eq!(from(home, Path::new("/a/c")), Path::new("/a/c"));
        assert_eq!(from(Path::new(""), Path::new("c")), Path::new("c"));
        assert_eq!(from(Path::new("c"), Path::new("./c/d")), Path::new("d"));
    }

    #[test]
    fn numbers_are_short_and_cells_are_quoted() {
        for (value, text) in [
            (json!(0.5), "0.5"),
            (json!(1e-4), "1e-4"),
            (json!(0.999_995_1), "0.999995"),
            (json!(1_234.567_89), "1234.57"),
            (json!(1_000_000.4), "1000000"),
            (json!(1.234_567_8e-7), "1.23457e-7"),
            (json!(12), "12"),
            (json!(null), "–"),
        ] {
            assert_eq!(shown(&value), text);
        }
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
