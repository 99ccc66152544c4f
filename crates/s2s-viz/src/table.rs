//! Tables in plain text and Markdown.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, TableStyle, presets};

use crate::text;

/// A table with named columns, as plain text or Markdown. Columns of numbers are right-aligned. Characters
/// that are invisible or control a terminal become their code points; see [`clean`](crate::clean).
///
/// ```
/// let table = s2s_viz::Table::new()
///     .column("seed", [0, 1])
///     .column("exact match", ["0.9995", "1"]);
/// assert_eq!(table.markdown(), "\
/// | seed | exact match |
/// | ---: | ----------: |
/// |    0 |      0.9995 |
/// |    1 |           1 |
/// ");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Column>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    name: String,
    cells: Vec<String>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Table {
        Table::default()
    }

    /// Adds a column on the right. Short columns are filled with empty cells.
    pub fn column<C: ToString>(
        mut self,
        name: impl Into<String>,
        cells: impl IntoIterator<Item = C>,
    ) -> Table {
        let clean = |cell: C| text::clean(&cell.to_string());
        let cells = cells.into_iter().map(clean).collect();
        self.columns.push(Column {
            name: text::clean(&name.into()),
            cells,
        });
        self
    }

    /// The table with at most its first `n_rows` rows.
    #[must_use]
    pub fn head(&self, n_rows: usize) -> Table {
        let mut table = self.clone();
        for column in &mut table.columns {
            column.cells.truncate(n_rows);
        }
        table
    }

    /// The table as plain text, with a line below the header and a line end after each row.
    pub fn text(&self) -> String {
        let rule = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
        let lines = self.render(rule, |cell| cell.to_owned());
        lines
            .iter()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }

    /// The table in Markdown. `|` in cells is escaped.
    pub fn markdown(&self) -> String {
        let mut lines = self.render(presets::ASCII_MARKDOWN, |cell| cell.replace('|', "\\|"));
        if let Some(rule) = lines.get_mut(1) {
            let mut parts: Vec<String> = rule.split('|').map(str::to_owned).collect();
            for (part, column) in parts.iter_mut().skip(1).zip(&self.columns) {
                let dashes = part.len().saturating_sub(2);
                *part = match column.is_numeric() {
                    true => format!(" {}: ", "-".repeat(dashes.saturating_sub(1))),
                    false => format!(" {} ", "-".repeat(dashes)),
                };
            }
            *rule = parts.join("|");
        }
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn render(&self, style: TableStyle, escape: impl Fn(&str) -> String) -> Vec<String> {
        let mut table = comfy_table::Table::new();
        table
            .load_style(style)
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|column| escape(&column.name)));
        let height = self
            .columns
            .iter()
            .map(|column| column.cells.len())
            .max()
            .unwrap_or(0);
        for row in 0..height {
            let cell = |column: &Column| {
                column
                    .cells
                    .get(row)
                    .map_or_else(String::new, |c| escape(c))
            };
            table.add_row(self.columns.iter().map(cell));
        }
        for (column, drawn) in self.columns.iter().zip(table.column_iter_mut()) {
            if column.is_numeric() {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().collect()
    }
}

impl Column {
    /// Whether all non-empty cells are numbers. A number may have a unit or a spread (`0.5 ± 0.1 s`);
    /// several numbers in a row are a sequence.
    fn is_numeric(&self) -> bool {
        let is_number = |word: &str| {
            let digits = word.trim_start_matches(['+', '-', '\u{2212}', '<', '>', '±', '~']);
            digits.starts_with(|c: char| c.is_ascii_digit())
        };
        let is_empty = |cell: &&String| matches!(cell.trim(), "" | "-" | "\u{2013}" | "\u{2014}");
        let mut filled = self.cells.iter().filter(|cell| !is_empty(cell)).peekable();
        filled.peek().is_some()
            && filled.all(|cell| {
                let words: Vec<&str> = cell.split_whitespace().collect();
                is_number(words[0]) && !words.windows(2).any(|two| two.iter().all(|w| is_number(w)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new()
            .column("run", ["additive", "dot", "none"])
            .column("loss", ["0.012 ± 0.003", "1,234.5", "\u{2013}"])
            .column("output", ["3 1 4", "7", ""])
    }

    #[test]
    fn numbers_are_right_aligned_and_sequences_left_aligned() {
        assert_eq!(
            table().text(),
            [
                " run                 loss   output",
                "───────────────────────────────────",
                " additive   0.012 ± 0.003   3 1 4",
                " dot              1,234.5   7",
                " none                   –",
                "",
            ]
            .join("\n")
        );
    }

    #[test]
    fn markdown_marks_numeric_columns() {
        let markdown = table().column("a|b", ["x|y"]).markdown();
        let lines: Vec<&str> = markdown.lines().collect();
        assert_eq!(lines[1], "| -------- | ------------: | ------ | ---- |");
        assert_eq!(lines[2], "| additive | 0.012 ± 0.003 | 3 1 4  | x\\|y |");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn short_columns_are_filled_with_empty_cells() {
        let table = Table::new().column("a", ["1", "2"]).column("b", ["x"]);
        assert_eq!(table.markdown().lines().last(), Some("| 2 |   |"));
    }
}
