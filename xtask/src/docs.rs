//! The measured tables of the documentation.
//!
//! ```text
//! docs/measurements/NAME.json ─> <!-- table: NAME --> ... <!-- end --> in README.md and docs/*.md
//! ```
//!
//! A marker may select rows, counted from 1: `<!-- table: NAME rows 1 3 -->`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Write the measured tables of README.md and docs/ from docs/measurements/
///
/// docs/measurements/NAME.json has the rows of the table that stands between the comments
/// `<!-- table: NAME -->` and `<!-- end -->`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if a table and its JSON file disagree
    #[arg(long)]
    check: bool,
}

const MEASUREMENTS: &str = "docs/measurements";
const BEGIN: &str = "<!-- table: ";
const END: &str = "<!-- end -->";

/// A measured table.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) date: String,
    pub(crate) header: Vec<String>,
    /// `l` or `r` for each column.
    pub(crate) align: String,
    pub(crate) rows: Vec<Vec<String>>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut stale = Vec::new();
    for page in pages()? {
        let old = fs::read_to_string(&page)?;
        let new = rewrite(&old, read).with_context(|| page.display().to_string())?;
        if new != old && !args.check {
            fs::write(&page, new)?;
            println!("{}", page.display());
        } else if new != old {
            stale.push(page.display().to_string());
        }
    }
    if stale.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "tables in {} differ from {MEASUREMENTS}; try: cargo xtask docs",
        stale.join(", ")
    )
}

fn pages() -> Result<Vec<PathBuf>> {
    let in_docs: Result<Vec<PathBuf>, _> = fs::read_dir("docs")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut pages = in_docs?;
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(PathBuf::from("README.md"));
    pages.sort();
    Ok(pages)
}

/// Writes docs/measurements/NAME.json, and the table where it stands in a page.
pub(crate) fn write(name: &str, table: &Table) -> Result<()> {
    let path = Path::new(MEASUREMENTS).join(format!("{name}.json"));
    fs::write(&path, json_text(table)?).with_context(|| path.display().to_string())?;
    println!("{}", path.display());
    run(&Args { check: false }).map(drop)
}

/// A table as JSON, with a line for each row.
fn json_text(table: &Table) -> Result<String> {
    let list = |cells: &[String]| -> Result<String> {
        let cells: Result<Vec<String>, _> = cells.iter().map(serde_json::to_string).collect();
        Ok(format!("[{}]", cells?.join(", ")))
    };
    let rows: Result<Vec<String>> = table.rows.iter().map(|row| list(row)).collect();
    Ok(format!(
        "{{\n  \"command\": {},\n  \"machine\": {},\n  \"date\": {},\n  \"header\": {},\n  \"align\": {},\n  \
         \"rows\": [\n    {}\n  ]\n}}\n",
        serde_json::to_string(&table.command)?,
        serde_json::to_string(&table.machine)?,
        serde_json::to_string(&table.date)?,
        list(&table.header)?,
        serde_json::to_string(&table.align)?,
        rows?.join(",\n    ")
    ))
}

pub(crate) fn read(name: &str) -> Result<Table> {
    let path = Path::new(MEASUREMENTS).join(format!("{name}.json"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// The page with every table written anew.
fn rewrite(page: &str, read: impl Fn(&str) -> Result<Table>) -> Result<String> {
    let mut new = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (marker, after) = after
            .split_once(" -->")
            .context("a marker without an end")?;
        let (_, after) = after
            .split_once(END)
            .with_context(|| format!("the table {marker} has no {END}"))?;
        let (name, rows) = marker.split_once(" rows ").unwrap_or((marker, ""));
        let rows: Result<Vec<usize>, _> = rows.split_whitespace().map(str::parse).collect();
        let table = render(&read(name)?, &rows?).with_context(|| format!("table {name}"))?;
        new += &format!("{before}{BEGIN}{marker} -->\n{table}\n{END}");
        rest = after;
    }
    Ok(new + rest)
}

/// The table in Markdown, with the given rows or all, and how it was measured.
pub(crate) fn render(table: &Table, rows: &[usize]) -> Result<String> {
    let all: Vec<usize> = (1..=table.rows.len()).collect();
    let rows = if rows.is_empty() { &all } else { rows };
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = |side| if side == 'r' { "---:" } else { "---" }.to_owned();
    let rules: Vec<String> = table.align.chars().map(rule).collect();
    let mut text = line(&table.header) + &line(&rules);
    for &row in rows {
        let cells = row.checked_sub(1).and_then(|row| table.rows.get(row));
        let cells = cells.with_context(|| format!("there is no row {row}"))?;
        let widths = [cells.len(), rules.len()];
        ensure!(
            widths == [table.header.len(); 2],
            "row {row} has {} cells",
            cells.len()
        );
        text += &line(cells);
    }
    let (command, machine, date) = (&table.command, &table.machine, &table.date);
    Ok(format!("{text}\n`{command}`; {machine}, {date}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(_: &str) -> Result<Table> {
        Ok(serde_json::from_str(
            r#"{"command": "s2s train", "machine": "a CPU", "date": "2026-11-25",
                "header": ["seed", "loss"], "align": "lr", "rows": [["0", "0.1"], ["1", "0.2"]]}"#,
        )?)
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let table = read("").unwrap();
        let text = json_text(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), table);
    }

    #[test]
    fn a_table_replaces_what_is_between_its_markers() {
        let page = "a\n<!-- table: t rows 2 -->\nold\n<!-- end -->\nb\n";
        let new = rewrite(page, read).unwrap();
        let table =
            "| seed | loss |\n| --- | ---: |\n| 1 | 0.2 |\n\n`s2s train`; a CPU, 2026-11-25.";
        assert_eq!(
            new,
            format!("a\n<!-- table: t rows 2 -->\n{table}\n<!-- end -->\nb\n")
        );
        assert_eq!(rewrite(&new, read).unwrap(), new);
        assert!(rewrite("<!-- table: t rows 3 -->\n<!-- end -->", read).is_err());
        assert!(rewrite("<!-- table: t -->\n", read).is_err());
    }
}
