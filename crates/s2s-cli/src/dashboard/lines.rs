//! A drawn buffer as lines of text.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

/// The lines of a buffer, with escape codes where its cells have styles. Blank lines at the end are left
/// out.
pub(super) fn lines(buffer: &Buffer) -> String {
    let area = buffer.area;
    let mut text = String::new();
    for y in area.top()..area.bottom() {
        let mut line = String::new();
        let mut styled = String::new(); // the code of the current style
        let mut x = area.left();
        while x < area.right() {
            let cell = &buffer[(x, y)];
            x += cell.symbol().width().max(1) as u16; // a wide character hides the next cell
            let code = code(cell);
            if code != styled {
                line += if styled.is_empty() { "" } else { "\x1b[0m" };
                line += &code;
                styled = code;
            }
            line += cell.symbol();
        }
        line += if styled.is_empty() { "" } else { "\x1b[0m" };
        text += line.trim_end();
        text.push('\n');
    }
    text.trim_end().to_owned()
}

/// The escape code of a cell's style; empty without one.
fn code(cell: &Cell) -> String {
    let mut codes = String::new();
    for (modifier, number) in [
        (Modifier::BOLD, 1),
        (Modifier::DIM, 2),
        (Modifier::UNDERLINED, 4),
    ] {
        if cell.modifier.contains(modifier) {
            let _ = write!(codes, ";{number}");
        }
    }
    for (color, kind) in [(cell.fg, 38), (cell.bg, 48)] {
        let _ = match color {
            Color::Indexed(index) => write!(codes, ";{kind};5;{index}"),
            Color::Rgb(red, green, blue) => write!(codes, ";{kind};2;{red};{green};{blue}"),
            _ => Ok(()),
        };
    }
    match codes.is_empty() {
        true => codes,
        false => format!("\x1b[{}m", &codes[1..]),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn styles_become_escape_codes_and_end_with_their_cells() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 6, 3));
        buffer.set_string(0, 0, "ab", Style::new());
        let style = Style::new().fg(Color::Indexed(7)).bg(Color::Rgb(1, 2, 3));
        buffer.set_string(2, 0, "cd", style.add_modifier(Modifier::BOLD));
        let expected = "ab\x1b[1;38;5;7;48;2;1;2;3mcd\x1b[0m";
        assert_eq!(lines(&buffer), expected);
    }
}
