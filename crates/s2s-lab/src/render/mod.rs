//! A report as Markdown, JSON, CSV and plots.

mod comparisons;
mod csv;
mod json;
mod lengths;
mod markdown;
mod metrics;
pub(crate) mod page;
mod picture;
mod plots;
mod rows;

use std::path::{Path, PathBuf};

use s2s_runlog::{create_folder, write_csv, write_file};
use s2s_viz::{Figure, Table};

use crate::report::Report;
use crate::{Error, Result};

/// Stands for an absent value in tables.
const ABSENT: &str = "–";

/// More cells have no plots, and more rows are not shown in a terminal and in `report.md`: nobody could
/// read them. `report.html` and the CSV files have all.
const MAX_SHOWN: usize = 100;

/// Whether plots can show every cell.
fn is_plotted(report: &Report) -> bool {
    report.plan.experiment.cells.len() <= MAX_SHOWN
}

/// The first rows of a table of `n_rows`, and where the others are.
fn head(table: &Table, n_rows: usize, write: impl Fn(&Table) -> String, others: &str) -> String {
    match n_rows > MAX_SHOWN {
        true => format!(
            "{}\nThese are the first {MAX_SHOWN} of {n_rows} rows; {others}.\n",
            write(&table.head(MAX_SHOWN))
        ),
        false => write(table),
    }
}

/// Writes the plots (SVG and PNG), `cells.csv`, `runs.csv`, `lengths.csv` (if there are evaluations by
/// length), `report.json`, `report.html` and, last, `report.md` into the experiment's folder. Returns the
/// path of `report.md`.
///
/// # Errors
/// [`Error::Plot`] if a plot cannot be drawn; [`Error::RunLog`] if a file cannot be written.
pub fn write_report(report: &Report) -> Result<PathBuf> {
    let folder = &report.plan.folder;
    create_folder(folder.join("plots"))?;
    for (name, figure) in figures(report)? {
        let path = folder.join("plots").join(name);
        write_file(path.with_extension("svg"), figure.svg().as_bytes())?;
        write_file(path.with_extension("png"), &figure.png().bytes)?;
    }
    write_csv(folder.join("cells.csv"), &csv::cells(report))?;
    write_csv(folder.join("runs.csv"), &csv::runs(report))?;
    let rows = lengths::rows(report);
    if !rows.is_empty() {
        write_csv(folder.join("lengths.csv"), &rows)?;
    }
    let json = format!("{:#}\n", json::render(report));
    write_file(folder.join("report.json"), json.as_bytes())?;
    write_file(
        folder.join("report.html"),
        page::page(report).html().as_bytes(),
    )?;
    write_markdown(report, folder)
}

/// Writes only `report.md` and its plots (SVG) into another folder, for example to keep them under version
/// control. Returns the path of `report.md`.
///
/// # Errors
/// [`Error::Plot`] if a plot cannot be drawn; [`Error::RunLog`] if a file cannot be written.
pub fn publish_report(report: &Report, folder: &Path) -> Result<PathBuf> {
    create_folder(folder.join("plots"))?;
    for (name, figure) in figures(report)? {
        let path = folder.join("plots").join(name).with_extension("svg");
        write_file(path, figure.svg().as_bytes())?;
    }
    write_markdown(report, folder)
}

/// The main results as text for a terminal.
pub fn summary(report: &Report) -> String {
    let mut parts = metrics::constants(report);
    parts.extend(metrics::too_few_seeds(report));
    let n_rows = metrics::n_rows(report);
    let others = "report.html has all";
    parts.extend(metrics::table(report).map(|table| head(&table, n_rows, Table::text, others)));
    for (title, table) in lengths::summaries(report) {
        parts.push(format!("{title}\n{}", table.text()));
    }
    parts.join("\n")
}

fn write_markdown(report: &Report, folder: &Path) -> Result<PathBuf> {
    let path = folder.join("report.md");
    write_file(&path, markdown::render(report).as_bytes())?;
    Ok(path)
}

fn figures(report: &Report) -> Result<Vec<(String, Figure)>> {
    let lines = plots::pictures(report)
        .into_iter()
        .chain(lengths::plots(report));
    let lines = lines.map(|(name, picture)| (name, picture.draw()));
    let dots = plots::dots(report).into_iter();
    let dots = dots.map(|(name, plot)| (name, plot.draw()));
    lines
        .chain(dots)
        .map(|(name, figure)| match figure {
            Ok(figure) => Ok((name, figure)),
            Err(source) => Err(Error::Plot { name, source }),
        })
        .collect()
}
