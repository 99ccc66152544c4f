//! Heatmaps as text.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::Error;
use crate::color::{self, MASKED, Rgb, WARNING};
use crate::heatmap::{Heatmap, HeatmapRow};
use crate::text;

/// Maximum width of an output token, in terminal columns.
const TOKEN_COLUMNS: usize = 12;
/// Maximum number of lines of source tokens written downward.
const TOKEN_LINES: usize = 6;
/// Columns of a colored cell at most, unless its token is wider.
const WIDE_CELL: usize = 4;
/// Minimum weight of each shade; smaller weights are drawn as a dot.
const SHADES: [(f32, char); 4] = [(0.05, '░'), (0.25, '▒'), (0.5, '▓'), (0.75, '█')];
/// The same in ASCII.
const ASCII_SHADES: [(f32, char); 4] = [(0.05, '-'), (0.25, '+'), (0.5, '#'), (0.75, '@')];

/// How cells are drawn in a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// ASCII characters only, apart from the tokens.
    Ascii,
    /// Characters only, for a terminal without colors or a file.
    Plain,
    /// The 256 colors of most terminals, by escape codes.
    Indexed,
    /// 24-bit colors, by escape codes.
    Color,
}

impl Heatmap {
    /// The heatmap as lines of at most `width` terminal columns. Wrong tokens are marked with `*`.
    ///
    /// If the source tokens are too wide, they are written downward and cells become narrower.
    ///
    /// # Errors
    /// Those of [`Heatmap::draw`], and [`Error::TooNarrow`] if not even the narrowest cells fit.
    pub fn terminal(&self, width: usize, ink: Ink) -> Result<String, Error> {
        self.check()?;
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|token| text::visible(token))
            .collect();
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| fit(&text::visible(&row.token), TOKEN_COLUMNS))
            .collect();
        let side = rows.iter().map(|token| token.width()).max().unwrap_or(0);
        let widest = columns.iter().map(|token| token.width()).max().unwrap_or(0);
        let room = width.saturating_sub(side + 2) / columns.len();
        let needed = side + 2 + columns.len();
        let cell = match room {
            0 => return Err(Error::TooNarrow { needed, width }),
            room if room > widest.max(1) && widest < TOKEN_COLUMNS => match ink {
                Ink::Ascii | Ink::Plain => widest.max(1) + 1,
                Ink::Indexed | Ink::Color => room.min(WIDE_CELL.max(widest + 1)),
            },
            room => room.min(2),
        };

        let mut lines = if cell > widest {
            vec![columns.iter().map(|token| pad_left(token, cell)).collect()]
        } else {
            downward(&columns, cell)
        };
        for line in &mut lines {
            *line = format!("{:side$}  {line}", "");
        }
        for (row, token) in self.rows.iter().zip(&rows) {
            let mark = if row.is_wrong { '*' } else { ' ' };
            let token = pad_left(token, side);
            let cells = cells(row, self.range, cell, ink);
            lines.push(match (ink, row.is_wrong) {
                (Ink::Indexed | Ink::Color, true) => {
                    let start = code(38, WARNING, ink);
                    format!("\x1b[1m{start}{token}{mark}\x1b[0m {cells}")
                }
                _ => format!("{token}{mark} {cells}"),
            });
        }
        let drawn: String = lines
            .iter()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect();
        Ok(match ink {
            Ink::Ascii => drawn.replace('…', "~").replace('␣', "_"),
            _ => drawn,
        })
    }
}

fn cells(row: &HeatmapRow, range: (f32, f32), width: usize, ink: Ink) -> String {
    // Wide cells are separated by a blank column, as their tokens are.
    let (space, width) = if width > 2 {
        (1, width - 1)
    } else {
        (0, width)
    };
    let cell = |weight: &Option<f32>| match (ink, weight) {
        (Ink::Ascii, None) => " ".repeat(width),
        (Ink::Plain, None) => "-".repeat(width),
        (Ink::Ascii | Ink::Plain, Some(weight)) => match shade(*weight, ink) {
            None => format!("{:>width$}", if ink == Ink::Ascii { '.' } else { '·' }),
            Some(shade) => shade.to_string().repeat(width),
        },
        (Ink::Indexed | Ink::Color, weight) => {
            let color = weight.map_or(MASKED, |weight| color::viridis(f64::from(weight)));
            format!("{}{:width$}\x1b[0m", code(48, color, ink), "")
        }
    };
    row.weights
        .iter()
        .map(|value| value.map(|value| Heatmap::share(value, range)))
        .map(|share| format!("{:space$}{}", "", cell(&share)))
        .collect()
}

/// The character that stands for a weight in `[0, 1]` without colors; `None` below 0.05, for which
/// [`Heatmap::terminal`] draws a dot. [`Ink::Ascii`] gives an ASCII character, any other ink a shaded block.
pub fn shade(weight: f32, ink: Ink) -> Option<char> {
    let shades = match ink {
        Ink::Ascii => ASCII_SHADES,
        _ => SHADES,
    };
    let reached = shades.iter().rev().find(|(min, _)| weight >= *min);
    reached.map(|&(_, shade)| shade)
}

/// The escape code of a color: of characters with `kind` 38, of the background with 48.
fn code(kind: u8, color: Rgb, ink: Ink) -> String {
    let Rgb(red, green, blue) = color;
    match ink {
        Ink::Indexed => format!("\x1b[{kind};5;{}m", color.indexed()),
        _ => format!("\x1b[{kind};2;{red};{green};{blue}m"),
    }
}

/// Tokens written from top to bottom, aligned at the last line.
fn downward(tokens: &[String], cell: usize) -> Vec<String> {
    let tokens: Vec<Vec<char>> = tokens
        .iter()
        .map(|token| {
            fit(token, TOKEN_LINES)
                .chars()
                .filter(|c| c.width().is_some_and(|width| width <= cell))
                .collect()
        })
        .collect();
    let lines = tokens.iter().map(Vec::len).max().unwrap_or(0);
    (0..lines)
        .map(|line| {
            let letter = |token: &Vec<char>| {
                let above = lines - token.len();
                line.checked_sub(above).map_or(' ', |i| token[i])
            };
            tokens
                .iter()
                .map(|token| pad_left(&letter(token).to_string(), cell))
                .collect()
        })
        .collect()
}

fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// `text`, truncated with an ellipsis to at most `width` columns.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut start = String::new();
    for c in text.chars() {
        if start.width() + c.width().unwrap_or(0) + 1 > width {
            break;
        }
        start.push(c);
    }
    start + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heatmap(columns: &[&str], rows: &[(&str, bool)]) -> Heatmap {
        let count = columns.len();
        let row = |(i, &(token, is_wrong)): (usize, &(&str, bool))| HeatmapRow {
            token: token.into(),
            is_wrong,
            weights: (0..count)
                .map(|j| Some(if i + j + 1 == count { 0.9 } else { 0.02 }))
                .collect(),
        };
        Heatmap {
            columns: columns.iter().map(|token| (*token).into()).collect(),
            rows: rows.iter().enumerate().map(row).collect(),
            ..Heatmap::default()
        }
    }

    #[test]
    fn tokens_label_both_axes_and_wrong_ones_are_marked() {
        let map = heatmap(
            &["3", "14", "9"],
            &[("9", false), ("15", true), ("3", false)],
        );
        let expected = [
            "      3 14  9",
            " 9    ·  · ██",
            "15*   · ██  ·",
            " 3   ██  ·  ·",
            "",
        ];
        assert_eq!(map.terminal(80, Ink::Plain).unwrap(), expected.join("\n"));
    }

    #[test]
    fn tokens_are_written_downward_in_narrow_terminals() {
        let map = heatmap(
            &["3", "14", "9"],
            &[("9", false), ("15", true), ("3", false)],
        );
        let expected = ["     1", "    349", " 9  ··█", "15* ·█·", " 3  █··", ""];
        assert_eq!(map.terminal(8, Ink::Plain).unwrap(), expected.join("\n"));
    }

    #[test]
    fn lines_fit_or_the_error_names_the_width_needed() {
        let tokens: Vec<String> = (0..60).map(|i| format!("word{}", i % 50)).collect();
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let map = heatmap(&tokens, &[("a token longer than twelve", false)]);
        let needed = match map.terminal(40, Ink::Plain) {
            Err(Error::TooNarrow { needed, width: 40 }) => needed,
            other => panic!("{other:?}"),
        };
        for width in needed..400 {
            let drawn = map.terminal(width, Ink::Plain).unwrap();
            assert!(
                drawn.lines().all(|line| line.width() <= width),
                "{width}:\n{drawn}"
            );
        }
    }

    #[test]
    fn colors_do_not_change_the_layout_and_plain_text_has_no_escape_codes() {
        let mut map = heatmap(&["3", "14", "\u{1b}[2J"], &[("9", false), ("15", true)]);
        map.rows[0].weights[2] = None;
        let plain = map.terminal(80, Ink::Plain).unwrap();
        assert!(!plain.contains('\u{1b}'));
        assert!(plain.contains('-'));
        let widths =
            |text: &str| -> Vec<usize> { text.lines().map(UnicodeWidthStr::width).collect() };
        for ink in [Ink::Color, Ink::Indexed] {
            let color = map.terminal(80, ink).unwrap();
            let mut bare = String::new();
            for part in color.split('\u{1b}') {
                bare.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
            }
            assert_eq!(widths(&bare)[1..], widths(&plain)[1..]);
        }
    }

    #[test]
    fn ascii_has_no_other_characters_and_the_layout_of_plain_text() {
        let map = heatmap(
            &["3", "14", "9"],
            &[("9", false), ("a long token, cut", true)],
        );
        let [plain, ascii] = [Ink::Plain, Ink::Ascii].map(|ink| map.terminal(80, ink).unwrap());
        assert!(ascii.is_ascii(), "{ascii}");
        assert_eq!(ascii.chars().count(), plain.chars().count());
        assert!(ascii.contains('@') && ascii.contains('.') && ascii.contains('~'));
    }

    #[test]
    fn colored_cells_use_a_wide_terminal() {
        let map = heatmap(&["3", "4"], &[("9", false)]);
        let widest = |ink| map.terminal(80, ink).unwrap().lines().next().map(str::len);
        assert!(widest(Ink::Color) > widest(Ink::Plain));
    }
}
