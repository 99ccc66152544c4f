//! The attention of a sequence in a part of the screen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use s2s_runlog::AttentionRecord;
use s2s_viz::{Ink, clean, shade, viridis};
use unicode_width::UnicodeWidthStr;

use super::draw::{color, wrong_style};

/// Columns of a token beside its row at most.
const MAX_TOKEN: usize = 8;

/// Draws output tokens from top to bottom and source tokens from left to right.
///
/// Each weight is a square: two columns of one line if the output fits, with its tokens beside them,
/// otherwise one column of half a line. What does not fit is cut off. Without colors, weights are
/// shades, of two columns or of one.
pub(super) fn draw(record: &AttentionRecord, area: Rect, buffer: &mut Buffer, ink: Ink) {
    let (n_rows, n_columns) = (record.weights.len(), record.source.len());
    let tokens: Vec<String> = record.prediction.iter().map(|token| clean(token)).collect();
    let side = tokens.iter().map(|token| token.width()).max().unwrap_or(0);
    let side = side.min(MAX_TOKEN);
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let is_large = n_rows <= height && side + 1 + 2 * n_columns <= width;
    let has_colors = matches!(ink, Ink::Indexed | Ink::Color);
    let weight = |row: usize, column: usize| {
        let weights = record.weights.get(row)?;
        weights.get(column).copied()
    };
    if !is_large && has_colors {
        for (line, column) in cells(height, n_columns.min(width)) {
            let Some(upper) = weight(2 * line, column) else {
                continue;
            };
            let lower = weight(2 * line + 1, column);
            let lower = lower.map_or(Color::Reset, |weight| of_weight(weight, ink));
            let style = Style::new().fg(of_weight(upper, ink)).bg(lower);
            put(buffer, area, line, column, "▀", style);
        }
        return;
    }
    let (left, cell) = match is_large {
        true => (side + 1, 2),
        false => (0, 1),
    };
    for (line, column) in cells(n_rows.min(height), n_columns.min((width - left) / cell)) {
        let Some(weight) = weight(line, column) else {
            continue;
        };
        for part in 0..cell {
            let x = left + cell * column + part;
            match has_colors {
                true => put(
                    buffer,
                    area,
                    line,
                    x,
                    " ",
                    Style::new().bg(of_weight(weight, ink)),
                ),
                false => {
                    let mut text = [0; 4];
                    let shade = shade(weight, ink).unwrap_or('·');
                    put(
                        buffer,
                        area,
                        line,
                        x,
                        shade.encode_utf8(&mut text),
                        Style::new(),
                    );
                }
            }
        }
    }
    if is_large {
        for (line, token) in tokens.iter().enumerate().take(n_rows) {
            let style = match is_right(record, line) {
                true => Style::new(),
                false => wrong_style(ink),
            };
            let indent = side.saturating_sub(token.width());
            let (x, y) = (area.x + indent as u16, area.y + line as u16);
            buffer.set_stringn(x, y, token, side - indent, style);
        }
    }
}

/// Whether a predicted token is that of the reference.
fn is_right(record: &AttentionRecord, row: usize) -> bool {
    let end = "</s>".to_owned();
    let expected = record.target.iter().chain([&end]).nth(row);
    expected == record.prediction.get(row)
}

fn cells(n_lines: usize, n_columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n_lines).flat_map(move |line| (0..n_columns).map(move |column| (line, column)))
}

fn put(buffer: &mut Buffer, area: Rect, line: usize, column: usize, text: &str, style: Style) {
    let place = (area.x + column as u16, area.y + line as u16);
    if let Some(cell) = buffer.cell_mut(place) {
        cell.set_symbol(text).set_style(style);
    }
}

fn of_weight(weight: f32, ink: Ink) -> Color {
    color(viridis(f64::from(weight)), ink)
}
