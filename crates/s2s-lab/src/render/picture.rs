//! Pictures that can be read however many cells an experiment has.

use s2s_viz::{Figure, HeatmapGrid, LineGrid, LinePlot, Look, Series};

use crate::cell::Cell;
use crate::report::Report;

/// More lines in one plot cannot be told apart.
pub(super) const MAX_LINES: usize = 16;

/// Lines of a panel if the cells have no axes to group them by.
const LINES_PER_PANEL: usize = 7;

const PANELS_PER_ROW: usize = 3;

/// A picture of a report.
pub(super) enum Picture {
    Lines(LinePlot),
    Panels(LineGrid),
    Maps(HeatmapGrid),
}

impl Picture {
    /// A plot with a line for each cell, labeled with its name: as it is, or as several panels if it has too
    /// many lines. A panel has the cells that differ in the last axis of the matrix only.
    pub(super) fn of_cells(report: &Report, plot: LinePlot) -> Self {
        if plot.series.len() <= MAX_LINES {
            return Self::Lines(plot);
        }
        let mut panels: Vec<LinePlot> = Vec::new();
        for series in &plot.series {
            let cells = &report.plan.experiment.cells;
            let cell = cells.iter().find(|cell| cell.name == series.label);
            let (title, label) = match cell.and_then(place) {
                Some((row, column)) => (row, column.to_owned()),
                None => (String::new(), series.label.clone()),
            };
            let is_full = |panel: &LinePlot| {
                panel.title != title || title.is_empty() && panel.series.len() == LINES_PER_PANEL
            };
            if panels.last().is_none_or(is_full) {
                panels.push(LinePlot {
                    title,
                    subtitle: String::new(),
                    series: Vec::new(),
                    ..plot.clone()
                });
            }
            let lines = &mut panels.last_mut().expect("one was added").series;
            lines.push(Series {
                label,
                look: Look::nth(lines.len()),
                ..series.clone()
            });
        }
        Self::Panels(LineGrid {
            title: plot.title,
            subtitle: plot.subtitle,
            panels,
            panels_per_row: PANELS_PER_ROW,
        })
    }

    pub(super) fn title(&self) -> &str {
        match self {
            Self::Lines(plot) => &plot.title,
            Self::Panels(grid) => &grid.title,
            Self::Maps(grid) => &grid.title,
        }
    }

    pub(super) fn draw(&self) -> Result<Figure, s2s_viz::Error> {
        match self {
            Self::Lines(plot) => plot.draw(),
            Self::Panels(grid) => grid.draw(),
            Self::Maps(grid) => grid.draw(),
        }
    }
}

/// The row and the column of a cell in a map: its values on all axes of the matrix but the last, and on the
/// last. `None` without two axes.
pub(super) fn place(cell: &Cell) -> Option<(String, &str)> {
    match &cell.values[..] {
        [rows @ .., column] if !rows.is_empty() => Some((rows.join("-"), column)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    fn plot(n: usize) -> LinePlot {
        let line = |index: usize| {
            let label = format!("cell{index}");
            Series::new(label, Look::nth(index), vec![(1.0, 0.5), (2.0, 0.7)])
        };
        LinePlot {
            title: "Loss".to_owned(),
            series: (0..n).map(line).collect(),
            ..LinePlot::default()
        }
    }

    /// The titles of the panels and the labels of their lines.
    fn panels(report: &Report, n: usize) -> Vec<(String, Vec<String>)> {
        let Picture::Panels(grid) = Picture::of_cells(report, plot(n)) else {
            panic!("{n} lines are in one plot");
        };
        let labels = |plot: &LinePlot| plot.series.iter().map(|line| line.label.clone()).collect();
        let panels = grid.panels.iter();
        panels
            .map(|plot| (plot.title.clone(), labels(plot)))
            .collect()
    }

    #[test]
    fn many_lines_are_divided_into_panels() {
        let mut report = fixtures::report();
        let few = Picture::of_cells(&report, plot(MAX_LINES));
        assert!(matches!(few, Picture::Lines(_)));
        let sizes: Vec<usize> = panels(&report, 17).iter().map(|(_, l)| l.len()).collect();
        assert_eq!(sizes, [7, 7, 3]);

        let cell = |index: usize| Cell {
            values: vec![format!("row{}", index / 9), format!("column{}", index % 9)],
            ..Cell::new(format!("cell{index}"), None, Vec::new())
        };
        report.plan.experiment.cells = (0..18).map(cell).collect();
        let found = panels(&report, 18);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, "row1");
        assert_eq!(found[1].1[8], "column8");
        let picture = Picture::of_cells(&report, plot(18));
        assert!(picture.draw().unwrap().svg().contains("row1"));
    }
}
