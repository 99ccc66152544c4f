//! A grid of line plots.

use crate::Error;
use crate::curve::LinePlot;
use crate::figure::Figure;
use crate::header::Header;

const MARGIN: f64 = 20.0;
const PANEL_WIDTH: f64 = 420.0;
const PLOT_HEIGHT: f64 = 170.0;

/// Small line plots in a grid, each with its own axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineGrid {
    /// Title above the grid.
    pub title: String,
    /// Subtitle above the grid.
    pub subtitle: String,
    /// The plots, row by row.
    pub panels: Vec<LinePlot>,
    /// Number of plots per row; 0 counts as 1.
    pub panels_per_row: usize,
}

impl LineGrid {
    /// Draws the plots below a common title.
    ///
    /// # Errors
    /// [`Error::NoPanels`], and those of [`LinePlot::draw`] for each plot.
    pub fn draw(&self) -> Result<Figure, Error> {
        let per_row = self.panels_per_row.clamp(1, self.panels.len().max(1));
        let panel = |plot: &LinePlot| {
            let width = PANEL_WIDTH - 2.0 * MARGIN;
            let header = Header::wrap_small(&plot.title, &plot.subtitle, width);
            plot.draw_sized(&header, PANEL_WIDTH, PLOT_HEIGHT)
        };
        let panels: Vec<Figure> = self.panels.iter().map(panel).collect::<Result<_, _>>()?;
        if panels.is_empty() {
            return Err(Error::NoPanels);
        }
        let width = per_row as f64 * PANEL_WIDTH;
        let header = Header::wrap(&self.title, &self.subtitle, width - 2.0 * MARGIN);
        let mut top = MARGIN + header.height();
        let mut placed = Vec::new();
        for row in panels.chunks(per_row) {
            for (column, panel) in row.iter().enumerate() {
                placed.push((panel.clone(), (column as f64 * PANEL_WIDTH, top)));
            }
            let heights = row.iter().map(|panel| f64::from(panel.size().1));
            top += heights.fold(0.0, f64::max);
        }
        let mut figure = Figure::new(width, top, &self.title);
        header.draw(&mut figure, MARGIN, MARGIN);
        for (panel, corner) in placed {
            figure.insert(panel, corner);
        }
        Ok(figure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hue, Series};

    fn grid(n: usize) -> LineGrid {
        let series = Series::new("time", Hue::Blue, vec![(1.0, 1.0), (2.0, 3.0)]);
        let plot = LinePlot {
            title: "batch".into(),
            series: vec![series],
            ..LinePlot::default()
        };
        LineGrid {
            panels: vec![plot; n],
            panels_per_row: 2,
            ..LineGrid::default()
        }
    }

    #[test]
    fn a_full_row_starts_a_new_row() {
        let size = |n| grid(n).draw().unwrap().size();
        assert_eq!(size(2).0, 2 * size(1).0);
        assert_eq!(size(2).1, size(1).1);
        assert_eq!(size(3).0, size(4).0);
        assert!(size(3).1 > size(2).1 + 170);
        assert_eq!(size(3).1, size(4).1);
    }

    #[test]
    fn every_panel_is_drawn() {
        let svg = grid(2).draw().unwrap().svg();
        assert_eq!(svg.matches("batch").count(), 2);
        assert_eq!(grid(0).draw(), Err(Error::NoPanels));
    }
}
