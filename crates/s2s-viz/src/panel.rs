//! Drawing of heatmaps.
//!
//! ```text
//! title
//! subtitle
//!        source
//!         3 1 4 </s>
//! o   4   ░ ░ █ ░     █ 1
//! u   1   ░ █ ░ ░     ▒
//! t   3   █ ░ ░ ░     ░ 0
//! ```

use crate::Error;
use crate::color::{self, MASKED, MUTED, WARNING};
use crate::figure::Figure;
use crate::header::Header;
use crate::heatmap::{Heatmap, HeatmapGrid, HeatmapRow};
use crate::mark::{Anchor, TextStyle};
use crate::text;
use crate::ticks::{self, Tick};

const MARGIN: f64 = 20.0;
/// Maximum width of a token; longer ones are abbreviated.
const TOKEN_WIDTH: f64 = 84.0;
/// Distance from tokens to cells.
const TOKEN_GAP: f64 = 9.0;
/// Space for an axis label.
const AXIS_NAME: f64 = 18.0;
/// Distance between panels, and from cells to the color bar.
const GUTTER: f64 = 24.0;
const BAR_WIDTH: f64 = 10.0;
/// Distance from the color bar to its tick labels.
const BAR_GAP: f64 = 6.0;
/// Width of the color bar with its tick labels, at least.
const BAR_ROOM: f64 = 46.0;
const BAR_STYLE: TextStyle = TextStyle::new(10.5, MUTED);
/// Minimum width of the title, even for few cells.
const TITLE_WIDTH: f64 = 300.0;

/// Up to this many tokens per side, every token is written, besides the markers of a source and the end of an
/// output.
const ALL_WRITTEN: usize = 48;
const MARKERS: usize = 2;
const END: usize = 1;
/// Minimum size of a cell whose token is written.
const WRITTEN_CELL: f64 = 8.0;
/// Font sizes of tokens, in pixels: the largest, the smallest in cells with enough room, and the smallest.
const TOKEN_SIZES: [f64; 3] = [12.0, 8.5, 6.5];
/// Height of a line of tokens, in ems.
const TOKEN_LINE: f64 = 1.15;

/// Limits of the cell size, in pixels.
#[derive(Clone, Copy)]
struct CellSize {
    /// Target length of the longer side of all cells; `min` takes precedence.
    side: f64,
    /// For so many tokens that not all are written.
    min: f64,
    max: f64,
}

const SINGLE: CellSize = CellSize {
    side: 480.0,
    min: 7.0,
    max: 30.0,
};
const IN_GRID: CellSize = CellSize {
    side: 230.0,
    min: 4.0,
    max: 20.0,
};
/// Size of the cells in a picture for lists, and of the whole picture in height.
const SMALL: CellSize = CellSize {
    side: 200.0,
    min: 1.0,
    max: 18.0,
};
const SMALL_HEIGHT: f64 = 256.0;

impl Heatmap {
    /// Draws the heatmap with title, axis labels and a color bar. Cells are square. Up to 48 tokens per
    /// side are all written; of more, every second, third, ... where they would overlap.
    ///
    /// # Errors
    /// [`Error::NoWeights`] without rows or columns; [`Error::RowLength`] if a row does not have one value
    /// per column; [`Error::OutOfRange`] if a value is not finite, or outside [`Heatmap::range`] by more than
    /// rounding.
    pub fn draw(&self) -> Result<Figure, Error> {
        self.draw_rows(self.rows.len())
    }

    /// The same picture with its first `n_shown` output tokens only.
    pub(crate) fn draw_rows(&self, n_shown: usize) -> Result<Figure, Error> {
        self.check()?;
        let panel = Panel::new(self, SINGLE.cell(self));
        let (cells_width, cells_height) = panel.cells();
        let cells_left = MARGIN + AXIS_NAME + panel.row_tokens;
        let bar_left = cells_left + cells_width + GUTTER;
        let bar = Bar::new(self, self.range, cells_height, self.has_masked());
        let width = (bar_left + bar.room() + MARGIN).max(TITLE_WIDTH + 2.0 * MARGIN);
        let header = Header::wrap(&self.title, &self.subtitle, width - 2.0 * MARGIN);
        let below_header = if header.height() > 0.0 { 14.0 } else { 0.0 };
        let top = MARGIN + header.height() + below_header;
        let cells_top = top + AXIS_NAME + panel.column_tokens;

        let mut figure = Figure::new(
            width,
            cells_top + cells_height.max(bar.height()) + MARGIN,
            &self.title,
        );
        header.draw(&mut figure, MARGIN, MARGIN);
        let name = TextStyle::new(11.0, MUTED);
        figure.text((cells_left, top + 9.0), &self.x_label, name);
        let rightward = name.upward().anchored(Anchor::End);
        figure.text((MARGIN + 9.0, cells_top), &self.y_label, rightward);
        panel.draw(&mut figure, self.range, cells_left, cells_top);
        let hidden = cells_height - n_shown as f64 * panel.cell;
        if hidden > 0.0 {
            // From the gap above the first hidden row, whose edge may lie within a pixel.
            let hidden = hidden + 1.0;
            let from = (
                cells_left - panel.row_tokens,
                cells_top + cells_height - hidden,
            );
            figure.rect(from, (panel.row_tokens + cells_width, hidden), color::WHITE);
        }
        bar.draw(&mut figure, bar_left, cells_top);
        Ok(figure)
    }

    /// Draws only tokens and cells, in a picture of constant height, for lists of many pictures.
    ///
    /// # Errors
    /// As [`Heatmap::draw`].
    pub fn draw_small(&self) -> Result<Figure, Error> {
        const MARGIN: f64 = 6.0;
        self.check()?;
        let longer = self.rows.len().max(self.columns.len()) as f64;
        let room = |panel: &Panel| SMALL_HEIGHT - 2.0 * MARGIN - panel.column_tokens;
        let mut panel = Panel::new(self, (SMALL.side / longer).clamp(SMALL.min, SMALL.max));
        if room(&panel) < panel.cells().1 {
            panel = Panel::new(self, room(&panel) / self.rows.len() as f64);
        }
        let width = panel.row_tokens + panel.cells().0;
        let mut figure = Figure::new(width + 2.0 * MARGIN, SMALL_HEIGHT, &self.title);
        panel.draw(
            &mut figure,
            self.range,
            MARGIN + panel.row_tokens,
            MARGIN + panel.column_tokens,
        );
        Ok(figure)
    }
}

impl HeatmapGrid {
    /// Draws the panels with equal cell sizes and a common color bar.
    ///
    /// # Errors
    /// [`Error::NoPanels`], and those of [`Heatmap::draw`] for each panel.
    pub fn draw(&self) -> Result<Figure, Error> {
        self.panels.iter().try_for_each(Heatmap::check)?;
        let per_row = self.panels_per_row.clamp(1, self.panels.len().max(1));
        let cells = self.panels.iter().map(|panel| IN_GRID.cell(panel));
        let cell = cells.reduce(f64::min).ok_or(Error::NoPanels)?;
        let panels: Vec<Panel> = self
            .panels
            .iter()
            .map(|panel| Panel::new(panel, cell))
            .collect();

        let max = |length: &dyn Fn(&Panel) -> f64| panels.iter().map(length).fold(0.0, f64::max);
        let row_tokens = max(&|panel| panel.row_tokens);
        let column_tokens = max(&|panel| panel.column_tokens);
        let panel_width = row_tokens + max(&|panel| panel.cells().0).max(90.0);
        let small_header = |panel: &Panel| {
            Header::of_panel(&panel.map.title, &panel.map.subtitle, panel_width - 4.0)
        };
        let header_height = max(&|panel| small_header(panel).height()) + 8.0;

        let bar_left = MARGIN + per_row as f64 * (panel_width + GUTTER);
        let range = self.range();
        let has_masked = self.panels.iter().any(Heatmap::has_masked);
        let bar = Bar::new(panels[0].map, range, panels[0].cells().1, has_masked);
        let width = bar_left + bar.room() + MARGIN;
        let header = Header::wrap(&self.title, &self.subtitle, width - 2.0 * MARGIN);
        let below_header = if header.height() > 0.0 { 18.0 } else { 0.0 };
        let top = MARGIN + header.height() + below_header;

        let mut tops = vec![top];
        for row in panels.chunks(per_row) {
            let cells = row.iter().map(|panel| panel.cells().1).fold(0.0, f64::max);
            let last = tops[tops.len() - 1];
            tops.push(last + header_height + column_tokens + cells + GUTTER);
        }
        let bar_top = top + header_height + column_tokens;
        let bottom = (tops[tops.len() - 1] - GUTTER).max(bar_top + bar.height());

        let mut figure = Figure::new(width, bottom + MARGIN, &self.title);
        header.draw(&mut figure, MARGIN, MARGIN);
        for (row, top) in panels.chunks(per_row).zip(tops) {
            for (column, panel) in row.iter().enumerate() {
                let left = MARGIN + column as f64 * (panel_width + GUTTER);
                small_header(panel).draw(&mut figure, left, top);
                let cells_top = top + header_height + column_tokens;
                panel.draw(&mut figure, range, left + row_tokens, cells_top);
            }
        }
        bar.draw(&mut figure, bar_left, bar_top);
        Ok(figure)
    }

    /// The range of all panels.
    fn range(&self) -> (f32, f32) {
        let wider = |a: (f32, f32), b: (f32, f32)| (a.0.min(b.0), a.1.max(b.1));
        let ranges = self.panels.iter().map(|panel| panel.range);
        ranges.reduce(wider).unwrap_or((0.0, 1.0))
    }
}

impl CellSize {
    /// Side of a cell in whole pixels.
    fn cell(self, map: &Heatmap) -> f64 {
        let longer = map.rows.len().max(map.columns.len());
        let are_written =
            map.columns.len() <= ALL_WRITTEN + MARKERS && map.rows.len() <= ALL_WRITTEN + END;
        let min = match are_written {
            true => self.min.max(WRITTEN_CELL),
            false => self.min,
        };
        (self.side / longer as f64).floor().clamp(min, self.max)
    }
}

/// The cells of a heatmap with their tokens.
struct Panel<'a> {
    map: &'a Heatmap,
    /// The tokens as they are written.
    columns: Vec<String>,
    rows: Vec<String>,
    cell: f64,
    /// Every how many tokens a token is written.
    label_step: usize,
    /// Whether source tokens are written upward, because they would overlap otherwise.
    is_upward: bool,
    style: TextStyle,
    /// Width of the output tokens, including the gap.
    row_tokens: f64,
    /// Height of the source tokens, including the gap.
    column_tokens: f64,
}

impl Panel<'_> {
    fn new(map: &Heatmap, cell: f64) -> Panel<'_> {
        let [largest, small, smallest] = TOKEN_SIZES;
        let roomy = (cell * 0.62).clamp(small, largest);
        let size = roomy.min(cell / TOKEN_LINE).max(smallest);
        let style = TextStyle::new(size, color::TEXT);
        let label_step = (size * TOKEN_LINE / cell - 1e-9).ceil().max(1.0) as usize;
        let written = |token: &String, style: TextStyle| {
            style
                .face
                .abbreviate(&text::visible(token), size, TOKEN_WIDTH)
        };
        let columns: Vec<String> = map.columns.iter().map(|c| written(c, style)).collect();
        let row = |row: &HeatmapRow| match row.is_wrong {
            true => written(&row.token, style.semi_bold()),
            false => written(&row.token, style),
        };
        let rows: Vec<String> = map.rows.iter().map(row).collect();

        let widths: Vec<f64> = columns
            .iter()
            .step_by(label_step)
            .map(|token| style.width(token))
            .collect();
        let pitch = cell * label_step as f64;
        // Single characters may touch; between words there is a space.
        let space = match columns.iter().all(|token| token.chars().count() == 1) {
            true => 0.0,
            false => size * 0.25,
        };
        let is_upward = widths
            .windows(2)
            .any(|two| (two[0] + two[1]) / 2.0 + space > pitch);
        let across = widths.into_iter().fold(0.0, f64::max);
        let bold = style.semi_bold();
        let down = rows
            .iter()
            .map(|token| bold.width(token))
            .fold(0.0, f64::max);
        Panel {
            map,
            columns,
            rows,
            cell,
            label_step,
            is_upward,
            style,
            row_tokens: down + TOKEN_GAP,
            column_tokens: if is_upward { across } else { size * 0.8 } + TOKEN_GAP,
        }
    }

    /// Width and height of all cells.
    fn cells(&self) -> (f64, f64) {
        (
            self.map.columns.len() as f64 * self.cell,
            self.map.rows.len() as f64 * self.cell,
        )
    }

    /// Draws the cells with their upper left corner at (`left`, `top`), and the tokens around them.
    fn draw(&self, figure: &mut Figure, range: (f32, f32), left: f64, top: f64) {
        let (left, top) = (left.round(), top.round()); // sharp edges
        let gap = if self.cell >= 15.0 { 1.0 } else { 0.0 };
        let middle = |index: usize| (index as f64 + 0.5) * self.cell;
        let is_written = |index: usize| index.is_multiple_of(self.label_step);
        // Distance from the middle of a digit to the baseline.
        let drop = self.style.size * 0.36;

        let columns = self.columns.iter().enumerate();
        for (i, token) in columns.filter(|(i, _)| is_written(*i)) {
            let (x, y) = (left + middle(i), top - TOKEN_GAP);
            if self.is_upward {
                figure.text((x + drop, y), token, self.style.upward());
            } else {
                figure.text((x, y), token, self.style.anchored(Anchor::Middle));
            }
        }
        for (i, row) in self.map.rows.iter().enumerate() {
            let y = top + middle(i);
            if row.is_wrong {
                let radius = (self.cell * 0.18).clamp(1.0, 2.0);
                figure.dot((left - TOKEN_GAP / 2.0, y), radius, WARNING);
            }
            if is_written(i) {
                let style = match row.is_wrong {
                    true => TextStyle {
                        color: WARNING,
                        ..self.style
                    }
                    .semi_bold(),
                    false => self.style,
                };
                let style = style.anchored(Anchor::End);
                figure.text((left - TOKEN_GAP, y + drop), &self.rows[i], style);
            }
            for (j, weight) in row.weights.iter().enumerate() {
                let corner = (left + j as f64 * self.cell, top + i as f64 * self.cell);
                let share = weight.map(|weight| f64::from(Heatmap::share(weight, range)));
                let fill = share.map_or(MASKED, color::viridis);
                figure.rect(corner, (self.cell - gap, self.cell - gap), fill);
            }
        }
    }
}

/// The color bar.
struct Bar<'a> {
    /// What the values are.
    label: &'a str,
    /// The values at the lower and at the upper end.
    range: (f64, f64),
    ticks: Vec<Tick>,
    /// Length in pixels.
    length: f64,
    has_masked: bool,
}

impl Bar<'_> {
    fn new(map: &Heatmap, range: (f32, f32), cells: f64, has_masked: bool) -> Bar<'_> {
        let (low, high) = (f64::from(range.0), f64::from(range.1));
        Bar {
            label: &map.value_label,
            range: (low, high),
            ticks: ticks::linear(low, high, ticks::step(high - low, 3)),
            length: cells.clamp(60.0, 160.0).round(),
            has_masked,
        }
    }

    /// Width with the labels.
    fn room(&self) -> f64 {
        let labels = self.ticks.iter().map(|tick| BAR_STYLE.width(&tick.label));
        let ticks = BAR_WIDTH + BAR_GAP + labels.fold(0.0, f64::max);
        BAR_ROOM.max(ticks).max(BAR_STYLE.width(self.label))
    }

    fn height(&self) -> f64 {
        self.length + if self.has_masked { 30.0 } else { 4.0 }
    }

    fn draw(&self, figure: &mut Figure, left: f64, top: f64) {
        let (left, top) = (left.round(), top.round());
        let style = BAR_STYLE;
        figure.text((left, top - TOKEN_GAP), self.label, style);
        for i in 0..self.length as usize {
            let weight = 1.0 - (i as f64 + 0.5) / self.length;
            figure.rect(
                (left, top + i as f64),
                (BAR_WIDTH, 1.0),
                color::viridis(weight),
            );
        }
        let (low, high) = self.range;
        for tick in &self.ticks {
            let y = top + (high - tick.value) / (high - low) * self.length;
            let y = y.clamp(top + 4.0, top + self.length - 4.0) + 3.8;
            figure.text((left + BAR_WIDTH + BAR_GAP, y), &tick.label, style);
        }
        if self.has_masked {
            let y = top + self.length + 14.0;
            figure.rect((left, y), (BAR_WIDTH, BAR_WIDTH), MASKED);
            figure.text((left + BAR_WIDTH + BAR_GAP, y + 8.8), "none", style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(rows: usize, columns: usize, token: &str) -> Heatmap {
        let row = |_| HeatmapRow {
            token: token.into(),
            is_wrong: true,
            weights: vec![Some(0.5); columns],
        };
        Heatmap {
            columns: vec![token.into(); columns],
            rows: (0..rows).map(row).collect(),
            ..Heatmap::default()
        }
    }

    #[test]
    fn heatmaps_of_every_shape_have_a_bounded_size() {
        for (rows, columns) in [(1, 1), (1, 60), (60, 1), (13, 12), (60, 60), (200, 150)] {
            for token in ["7", "</s>", "internationalization", ""] {
                let map = map(rows, columns, token);
                let (width, height) = map.draw().unwrap().size();
                let cell = SINGLE.cell(&map);
                assert!(f64::from(width) >= columns as f64 * cell + BAR_ROOM);
                assert!(f64::from(height) >= rows as f64 * cell);
                assert!(width < 1700 && height < 1700, "{width} x {height}");
                map.draw_small().unwrap();
                let panels = vec![map; 4];
                let panels_per_row = 0; // treated as 1
                HeatmapGrid {
                    panels,
                    panels_per_row,
                    ..HeatmapGrid::default()
                }
                .draw()
                .unwrap();
            }
        }
        assert_eq!(HeatmapGrid::default().draw(), Err(Error::NoPanels));
    }

    #[test]
    fn tokens_are_written_upward_before_they_overlap() {
        let is_upward = |token, cell| Panel::new(&map(3, 3, token), cell).is_upward;
        assert!(!is_upward("11", 20.0));
        assert!(is_upward("11000", 20.0));
        assert!(!is_upward("11000", 60.0));
    }

    #[test]
    fn every_token_is_written_up_to_48_and_the_end() {
        for n in 1..=ALL_WRITTEN {
            let map = map(n + END, n + MARKERS, "7");
            for size in [SINGLE, IN_GRID] {
                assert_eq!(Panel::new(&map, size.cell(&map)).label_step, 1, "{n}");
            }
        }
        let longer = map(60, 60, "7");
        assert!(Panel::new(&longer, IN_GRID.cell(&longer)).label_step > 1);
    }

    #[test]
    fn small_pictures_have_one_height() {
        for (rows, columns) in [(1, 1), (1, 60), (60, 1), (128, 12), (128, 128)] {
            for token in ["7", "internationalization"] {
                let (width, height) = map(rows, columns, token).draw_small().unwrap().size();
                assert_eq!(f64::from(height), SMALL_HEIGHT);
                assert!(width < 400, "{rows} x {columns}: {width}");
            }
        }
    }

    #[test]
    fn tokens_are_skipped_only_in_cells_smaller_than_the_smallest_text() {
        let label_step = |cell| Panel::new(&map(3, 3, "7"), cell).label_step;
        assert_eq!([30.0, 12.0, 8.0, 7.0, 4.0].map(label_step), [1, 1, 1, 2, 2]);
    }
}
