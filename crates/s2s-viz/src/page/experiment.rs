//! The page of an experiment.

use std::path::Path;

use serde_json::{Value, json};

use super::{bundle, page};

/// An experiment as an HTML page that loads nothing else: its cells as a table to sort and filter, a
/// heatmap over two axes, parallel coordinates over more, and learning curves.
///
/// Equal experiments give equal bytes. No text of an experiment can become markup.
#[derive(Clone, Debug, Default)]
pub struct ExperimentPage {
    /// The headline.
    pub title: String,
    /// The question that the experiment answers.
    pub question: String,
    /// Statements above the cells, such as what is missing.
    pub notes: Vec<String>,
    /// The configuration keys in which the cells differ.
    pub axes: Vec<String>,
    /// The metrics, in the order of the columns.
    pub metrics: Vec<PageMetric>,
    /// The cells: one for each configuration.
    pub cells: Vec<PageCell>,
    /// Learning curves, one plot for each.
    pub curves: Vec<PageCurve>,
}

/// A metric of an [`ExperimentPage`].
#[derive(Clone, Debug)]
pub struct PageMetric {
    /// Its name in filters.
    pub key: String,
    /// Its name in tables.
    pub title: String,
    /// Its unit, as an axis label.
    pub unit: String,
    /// Whether it is a share in `[0, 1]`.
    pub is_share: bool,
}

/// A cell of an [`ExperimentPage`]: a configuration and the results of its runs.
#[derive(Clone, Debug)]
pub struct PageCell {
    /// Its name.
    pub name: String,
    /// Its value for each of [`ExperimentPage::axes`]; null where it has none.
    pub settings: Vec<Value>,
    /// Its mean of each of [`ExperimentPage::metrics`]; `None` without a result.
    pub means: Vec<Option<f64>>,
    /// The 95 % confidence interval of each mean, `[low, high]`; `None` if there is none.
    pub intervals: Vec<Option<[f64; 2]>>,
    /// The runs that have a result.
    pub runs: Vec<PageCellRun>,
}

/// A run of a [`PageCell`].
#[derive(Clone, Debug)]
pub struct PageCellRun {
    /// Its name, such as its seed.
    pub name: String,
    /// How it ended, as in `run.json`, such as `finished`.
    pub status: String,
    /// Path of its own page to link to, relative to this one or absolute; `None` if it has none.
    pub page: Option<std::path::PathBuf>,
}

/// A plot of an [`ExperimentPage`]: one quantity over training, with a curve for each cell.
#[derive(Clone, Debug)]
pub struct PageCurve {
    /// Its title.
    pub title: String,
    /// What x is, such as `step`.
    pub x_label: String,
    /// Whether y is a share in `[0, 1]`, not a loss.
    pub is_share: bool,
    /// The curve of each cell: its name, and points of x, y, lower y and upper y.
    pub of_cell: Vec<(String, Vec<[f64; 4]>)>,
}

impl ExperimentPage {
    /// The page as an HTML document.
    pub fn html(&self) -> String {
        page(&self.title, &self.data(), bundle::EXPERIMENT, "'none'")
    }

    fn data(&self) -> Value {
        let metric = |metric: &PageMetric| {
            json!({
                "key": metric.key, "title": metric.title, "unit": metric.unit,
                "is_share": metric.is_share,
            })
        };
        let run = |run: &PageCellRun| {
            let page = run.page.as_deref().map(reference);
            json!({ "name": run.name, "status": run.status, "page": page })
        };
        let cell = |cell: &PageCell| {
            json!({
                "name": cell.name, "settings": cell.settings, "means": cell.means,
                "intervals": cell.intervals,
                "runs": cell.runs.iter().map(run).collect::<Vec<_>>(),
            })
        };
        let curve = |curve: &PageCurve| {
            let of_cell = curve.of_cell.iter();
            let of_cell: serde_json::Map<String, Value> = of_cell
                .map(|(name, points)| (name.clone(), json!(points)))
                .collect();
            json!({
                "title": curve.title, "x_label": curve.x_label, "is_share": curve.is_share,
                "of_cell": of_cell,
            })
        };
        json!({
            "title": self.title,
            "question": self.question,
            "notes": self.notes,
            "axes": self.axes,
            "metrics": self.metrics.iter().map(metric).collect::<Vec<_>>(),
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
            "curves": self.curves.iter().map(curve).collect::<Vec<_>>(),
        })
    }
}

/// A path as a link, which cannot be anything else than a path.
fn reference(path: &Path) -> String {
    let start = if path.is_absolute() { "" } else { "./" };
    let bytes = path.as_os_str().as_encoded_bytes();
    let written = bytes.iter().map(|&byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    });
    start.to_owned() + &written.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_an_experiment_becomes_markup() {
        let page = ExperimentPage {
            title: "</script><script>alert(1)</script>".to_owned(),
            notes: vec!["<img src=x>".to_owned()],
            ..ExperimentPage::default()
        };
        let html = page.html();
        assert_eq!(html.matches("<script").count(), 2);
        assert!(!html.contains("<img"));
        assert_eq!(html, page.html(), "equal experiments give equal bytes");
        assert!(html.contains("connect-src 'none'") && !html.contains("unsafe-inline"));
    }

    #[test]
    fn a_link_is_a_path() {
        assert_eq!(
            reference(Path::new("javascript:alert(1)/report.html")),
            "./javascript%3Aalert%281%29/report.html"
        );
        assert_eq!(reference(Path::new("/a b/é")), "/a%20b/%C3%A9");
    }
}
