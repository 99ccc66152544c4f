//! Dot plots: single values in rows, each row with its mean and its interval.
//!
//! ```text
//! title
//! subtitle
//! additive   ·  ·───┃─·──
//! none     ─·────┃────·──
//!          ┴─────┴─────┴
//!         0.0   0.5   1.0
//!         value label
//! ```

use crate::Error;
use crate::axis::{Axis, YAxis};
use crate::color::{AXIS, GRID, Hue, MUTED, TEXT};
use crate::figure::Figure;
use crate::header::Header;
use crate::mark::{Anchor, TextStyle};
use crate::text::FALLBACK_SLACK;

const WIDTH: f64 = 720.0;
const MARGIN: f64 = 20.0;
const ROW: f64 = 30.0;
/// Maximum width of a row's label; longer ones are cut.
const LABEL_WIDTH: f64 = 220.0;
/// Half the height in which the dots of a row are spread, so that equal values stay visible.
const SPREAD: f64 = 7.0;

/// Rows of dots over a common horizontal axis, such as the result of each seed, one row per configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DotPlot {
    /// Title of the picture.
    pub title: String,
    /// Subtitle of the picture.
    pub subtitle: String,
    /// Label of the axis.
    pub label: String,
    /// Scale of the axis.
    pub axis: YAxis,
    /// The rows, from top to bottom.
    pub rows: Vec<DotRow>,
}

/// A row of dots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DotRow {
    /// Label at the left.
    pub label: String,
    /// Color of the row.
    pub hue: Hue,
    /// The values; each is a dot.
    pub values: Vec<f64>,
    /// Drawn as a vertical mark, if given.
    pub mean: Option<f64>,
    /// Drawn as a horizontal line from the first to the second, if given.
    pub interval: Option<(f64, f64)>,
}

impl DotPlot {
    /// Draws the plot.
    ///
    /// # Errors
    /// [`Error::NoSeries`] if there is no value in any row; [`Error::NotFinite`] if a number is not finite;
    /// [`Error::NotPositive`] if a number on a logarithmic axis is not positive.
    pub fn draw(&self) -> Result<Figure, Error> {
        let all: Vec<f64> = self.rows.iter().flat_map(DotRow::numbers).collect();
        if all.is_empty() {
            return Err(Error::NoSeries);
        }
        for row in &self.rows {
            for (x, y) in (1..).map(f64::from).zip(row.numbers()) {
                let label = row.label.clone();
                if !y.is_finite() {
                    return Err(Error::NotFinite { label, x, y });
                }
                if self.axis == YAxis::Log && y <= 0.0 {
                    return Err(Error::NotPositive { label, x, y });
                }
            }
        }
        let axis = Axis::vertical(self.axis, &all);
        let header = Header::wrap(&self.title, &self.subtitle, WIDTH - 2.0 * MARGIN);
        let name = TextStyle::new(12.0, TEXT).semi_bold();
        let labels: Vec<String> = self
            .rows
            .iter()
            .map(|row| name.face.abbreviate(&row.label, name.size, LABEL_WIDTH))
            .collect();
        let widest = labels
            .iter()
            .map(|text| name.width(text))
            .fold(0.0, f64::max);
        let left = MARGIN + widest * FALLBACK_SLACK + 14.0;
        let right = WIDTH - MARGIN - 20.0;
        let top = MARGIN + header.height() + 18.0;
        let bottom = top + ROW * self.rows.len() as f64;
        let x = |value: f64| left + axis.position(value) * (right - left);

        let mut figure = Figure::new(WIDTH, bottom + 58.0, &self.title);
        header.draw(&mut figure, MARGIN, MARGIN);
        let number = TextStyle::new(11.0, MUTED).anchored(Anchor::Middle);
        for tick in &axis.ticks {
            let x = x(tick.value);
            figure.line(vec![(x, top), (x, bottom)], GRID, 1.0);
            figure.text((x, bottom + 19.0), &tick.label, number);
        }
        figure.line(vec![(left, bottom), (right, bottom)], AXIS, 1.0);
        figure.text(((left + right) / 2.0, bottom + 39.0), &self.label, number);
        for (index, (row, label)) in self.rows.iter().zip(&labels).enumerate() {
            let y = top + ROW * (index as f64 + 0.5);
            let style = TextStyle {
                color: row.hue.text(),
                ..name
            };
            let style = style.anchored(Anchor::End);
            figure.text((left - 12.0, y + 4.3), label, style);
            row.draw(&mut figure, y, x);
        }
        Ok(figure)
    }
}

impl DotRow {
    fn numbers(&self) -> impl Iterator<Item = f64> {
        let ends = self
            .interval
            .into_iter()
            .flat_map(|(low, high)| [low, high]);
        self.values.iter().copied().chain(self.mean).chain(ends)
    }

    fn draw(&self, figure: &mut Figure, y: f64, x: impl Fn(f64) -> f64) {
        if let Some((low, high)) = self.interval {
            figure.line(vec![(x(low), y), (x(high), y)], self.hue.trace(), 5.0);
        }
        let last = self.values.len().saturating_sub(1).max(1) as f64;
        for (index, &value) in self.values.iter().enumerate() {
            let offset = (2.0 * index as f64 / last - 1.0) * SPREAD;
            let offset = if self.values.len() == 1 { 0.0 } else { offset };
            figure.dot((x(value), y + offset), 3.0, self.hue.line());
        }
        if let Some(mean) = self.mean {
            let x = x(mean);
            figure.line(vec![(x, y - 11.0), (x, y + 11.0)], self.hue.text(), 2.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: &[f64]) -> DotPlot {
        DotPlot {
            rows: vec![DotRow {
                label: "base".to_owned(),
                values: values.to_vec(),
                ..DotRow::default()
            }],
            ..DotPlot::default()
        }
    }

    #[test]
    fn every_value_is_a_dot() {
        let circles = |values: &[f64]| {
            plot(values)
                .draw()
                .unwrap()
                .svg()
                .matches("<circle")
                .count()
        };
        assert_eq!(circles(&[0.5]), 1);
        assert_eq!(circles(&[0.5, 0.5, 0.75]), 3);
    }

    #[test]
    fn invalid_values_are_rejected() {
        assert!(DotPlot::default().draw().is_err());
        assert!(plot(&[f64::NAN]).draw().is_err());
        let mut log = plot(&[0.0]);
        log.axis = YAxis::Log;
        assert!(log.draw().is_err());
    }
}
