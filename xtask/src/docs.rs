//! The measured tables of the documentation.
//!
//! ```text
//! docs/measurements/NAME.json ─> <!-- table: NAME --> ... <!-- end --> in README.md and docs/*.md
//! ```
//!
//! A marker may select rows, counted from 1: `<!-- table: NAME rows 1 3 -->`. The rows of a table may
//! have been measured by several commands; each row has the stamp of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) date: String,
    /// How rows were measured that another command measured.
    #[serde(default)]
    pub(crate) stamps: Vec<Stamp>,
    pub(crate) header: Vec<String>,
    /// `l` or `r` for each column.
    pub(crate) align: String,
    pub(crate) rows: Vec<Vec<String>>,
}

/// How some of the rows of a table were measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stamp {
    /// Counted from 1.
    pub(crate) rows: Vec<usize>,
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) date: String,
}

impl Table {
    /// Replaces the rows from `first` on, counted from 1, and says how they were measured. The other rows
    /// keep what they have.
    pub(crate) fn measured(
        mut self,
        first: usize,
        rows: Vec<Vec<String>>,
        by: &Self,
    ) -> Result<Self> {
        let numbers: Vec<usize> = (first..first + rows.len()).collect();
        let old = self.rows.get_mut(first - 1..first - 1 + rows.len());
        old.context("the table has too few rows")?
            .clone_from_slice(&rows);
        for stamp in &mut self.stamps {
            stamp.rows.retain(|row| !numbers.contains(row));
        }
        self.stamps.retain(|stamp| !stamp.rows.is_empty());
        self.stamps.push(Stamp {
            rows: numbers,
            command: by.command.clone(),
            machine: by.machine.clone(),
            date: by.date.clone(),
        });
        self.stamps.sort_by_key(|stamp| stamp.rows.first().copied());
        Ok(self)
    }

    /// How these rows were measured, in Markdown. With several commands, the rows of each are named by
    /// their position.
    fn origin(&self, rows: &[usize]) -> String {
        let text =
            |command: &str, machine: &str, date: &str| format!("`{command}`; {machine}, {date}.");
        let of_row = |row: &usize| match self.stamps.iter().find(|stamp| stamp.rows.contains(row)) {
            Some(stamp) => text(&stamp.command, &stamp.machine, &stamp.date),
            None => text(&self.command, &self.machine, &self.date),
        };
        let all: Vec<String> = rows.iter().map(of_row).collect();
        let mut parts: Vec<(String, Vec<String>)> = Vec::new();
        for (index, text) in all.into_iter().enumerate() {
            let position = (index + 1).to_string();
            match parts.iter_mut().find(|(known, _)| *known == text) {
                Some((_, positions)) => positions.push(position),
                None => parts.push((text, vec![position])),
            }
        }
        if let [(text, _)] = &parts[..] {
            return text.clone();
        }
        let lines = parts.iter().map(|(text, positions)| match &positions[..] {
            [one] => format!("Row {one}: {text}"),
            some => format!("Rows {}: {text}", some.join(", ")),
        });
        lines.collect::<Vec<_>>().join(" ")
    }
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
    let stamps: Result<Vec<String>, _> = table.stamps.iter().map(serde_json::to_string).collect();
    let stamps = match stamps?.join(",\n    ") {
        none if none.is_empty() => String::new(),
        lines => format!("  \"stamps\": [\n    {lines}\n  ],\n"),
    };
    Ok(format!(
        "{{\n  \"command\": {},\n  \"machine\": {},\n  \"date\": {},\n{stamps}  \"header\": {},\n  \"align\": {},\n  \
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
    Ok(format!("{text}\n{}", table.origin(rows)))
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
    fn measured_rows_alone_get_the_stamp_of_their_command() {
        let by = Table {
            command: "s2s eval".to_owned(),
            ..read("").unwrap()
        };
        let row = vec![vec!["1".to_owned(), "0.3".to_owned()]];
        let table = read("").unwrap().measured(2, row.clone(), &by).unwrap();
        assert_eq!(table.command, "s2s train", "row 1 keeps its own");
        let text = render(&table, &[]).unwrap();
        assert!(
            text.ends_with(
                "| 0 | 0.1 |\n| 1 | 0.3 |\n\nRow 1: `s2s train`; a CPU, 2026-11-25. \
                 Row 2: `s2s eval`; a CPU, 2026-11-25."
            ),
            "{text}"
        );
        let one = render(&table, &[2]).unwrap();
        assert!(one.ends_with("\n\n`s2s eval`; a CPU, 2026-11-25."), "{one}");
        let json = json_text(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&json).unwrap(), table);
        let again = table.clone().measured(2, row, &by).unwrap();
        assert_eq!(again, table, "a row has one stamp");
        assert!(
            read("")
                .unwrap()
                .measured(2, vec![Vec::new(); 2], &by)
                .is_err()
        );
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
