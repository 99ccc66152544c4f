//! The attention of a sequence in a part of the screen.

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use s2s_runlog::AttentionRecord;
use s2s_viz::{Ink, clean, shade, viridis};
use unicode_width::UnicodeWidthStr;

use super::style::{color, wrong_style};

/// Columns of a token beside its row at most.
const MAX_TOKEN: usize = 8;

/// Lines of a weight at most.
const MAX_SCALE: usize = 3;

/// Draws output tokens from top to bottom and source tokens from left to right.
///
/// Each weight is a square: two columns of one line or a multiple of it if the output fits, with its
/// tokens beside them, otherwise one column of half a line. What does not fit is cut off. Without colors,
/// weights are shades, and at least one column of one line.
pub(super) fn draw(record: &AttentionRecord, area: Rect, buffer: &mut Buffer, ink: Ink) {
    let (n_rows, n_columns) = (record.weights.len(), record.source.len().max(1));
    let tokens: Vec<String> = record.prediction.iter().map(|token| clean(token)).collect();
    let side = tokens.iter().map(|token| token.width()).max().unwrap_or(0);
    let side = side.min(MAX_TOKEN);
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let across = width.saturating_sub(side + 1) / (2 * n_columns);
    let scale = across.min(height / n_rows.max(1)).min(MAX_SCALE);
    if scale == 0 {
        draw_small(record, area, buffer, ink);
        return;
    }
    for (line, column) in places(n_rows * scale, n_columns * 2 * scale) {
        if let Some(weight) = weight(record, line / scale, column / (2 * scale)) {
            put(buffer, area, (line, side + 1 + column), weight, ink);
        }
    }
    for (row, token) in tokens.iter().enumerate().take(n_rows) {
        let style = match is_right(record, row) {
            true => Style::new(),
            false => wrong_style(ink),
        };
        let indent = side.saturating_sub(token.width());
        let (x, y) = (area.x + indent as u16, area.y + (row * scale) as u16);
        buffer.set_stringn(x, y, token, side - indent, style);
    }
}

/// One column per source token, without tokens; with colors, a line has two output tokens.
fn draw_small(record: &AttentionRecord, area: Rect, buffer: &mut Buffer, ink: Ink) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    for (line, column) in places(height, width) {
        if !has_colors(ink) {
            if let Some(weight) = weight(record, line, column) {
                put(buffer, area, (line, column), weight, ink);
            }
            continue;
        }
        let Some(upper) = weight(record, 2 * line, column) else {
            continue;
        };
        let lower = weight(record, 2 * line + 1, column);
        let lower = lower.map_or(Color::Reset, |weight| of_weight(weight, ink));
        if let Some(cell) = cell(buffer, area, (line, column)) {
            cell.set_char('▀')
                .set_fg(of_weight(upper, ink))
                .set_bg(lower);
        }
    }
}

fn weight(record: &AttentionRecord, row: usize, column: usize) -> Option<f32> {
    record.weights.get(row)?.get(column).copied()
}

fn has_colors(ink: Ink) -> bool {
    matches!(ink, Ink::Indexed | Ink::Color)
}

/// Whether a predicted token is that of the reference.
fn is_right(record: &AttentionRecord, row: usize) -> bool {
    let predicted = record.prediction.get(row).map(String::as_str);
    record.reference().nth(row) == predicted
}

fn places(n_lines: usize, n_columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n_lines).flat_map(move |line| (0..n_columns).map(move |column| (line, column)))
}

/// The cell at a line and column of the area.
fn cell(buffer: &mut Buffer, area: Rect, (line, column): (usize, usize)) -> Option<&mut Cell> {
    buffer.cell_mut((area.x + column as u16, area.y + line as u16))
}

fn put(buffer: &mut Buffer, area: Rect, place: (usize, usize), weight: f32, ink: Ink) {
    if let Some(cell) = cell(buffer, area, place) {
        match has_colors(ink) {
            true => cell.set_char(' ').set_bg(of_weight(weight, ink)),
            false => cell.set_char(shade(weight, ink).unwrap_or('·')),
        };
    }
}

fn of_weight(weight: f32, ink: Ink) -> Color {
    color(viridis(f64::from(weight)), ink)
}
