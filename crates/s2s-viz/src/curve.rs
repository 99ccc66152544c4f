//! Line plots.
//!
//! ```text
//! title
//! subtitle
//! y label
//! 1.0 ┄┄┄┄┄┄┄┄┄┄┄┄┄
//!     ╱▔▔▔▔▔▔▔▔▔▔▔▔•  series label, last value
//! 0.5 ┄┄┄┄┄┄┄┄┄┄┄┄┄
//!   0 ─┴────┴────┴──
//!      0    5    10
//!         x label
//! ```

use crate::Error;
use crate::axis::{Axis, XAxis, YAxis};
use crate::color::{AXIS, GRID, MUTED, SHADE, TEXT};
use crate::figure::Figure;
use crate::header::Header;
use crate::labels::push_apart;
use crate::mark::{Anchor, TextStyle};
use crate::series::Series;
use crate::text::FALLBACK_SLACK;
use crate::ticks;

const WIDTH: f64 = 720.0;
const PLOT_HEIGHT: f64 = 280.0;
const MARGIN: f64 = 20.0;
/// Height of an end label.
const LABEL_PITCH: f64 = 16.0;
/// Maximum width of an end label; longer ones end in an ellipsis.
const LABEL_WIDTH: f64 = 200.0;
/// Distance from the plot to the end labels.
const LABEL_GAP: f64 = 22.0;
/// Lines with at most this many points show each point as a dot.
const DOTTED: usize = 15;

/// Lines with common axes, labeled at their ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinePlot {
    /// Title of the picture.
    pub title: String,
    /// Subtitle of the picture.
    pub subtitle: String,
    /// Label of the horizontal axis.
    pub x_label: String,
    /// Scale of the horizontal axis.
    pub x_axis: XAxis,
    /// A highlighted range of the horizontal axis.
    pub shade: Option<Shade>,
    /// Label of the vertical axis, written above it.
    pub y_label: String,
    /// Scale of the vertical axis.
    pub y_axis: YAxis,
    /// The lines; later ones are drawn on top.
    pub series: Vec<Series>,
}

/// A range of the horizontal axis with a gray background and a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Shade {
    /// Label of the range.
    pub label: String,
    /// Start of the range.
    pub from: f64,
    /// End of the range.
    pub to: f64,
}

impl LinePlot {
    /// Draws the plot. Long titles are wrapped.
    ///
    /// # Errors
    /// If there are no series, a series has no points, a value is not finite, or a value on a
    /// logarithmic axis is not positive.
    pub fn draw(&self) -> Result<Figure, Error> {
        let header = Header::wrap(&self.title, &self.subtitle, WIDTH - 2.0 * MARGIN);
        self.draw_sized(&header, WIDTH, PLOT_HEIGHT)
    }

    /// Draws the plot in another size, with another header.
    pub(crate) fn draw_sized(
        &self,
        header: &Header,
        width: f64,
        plot_height: f64,
    ) -> Result<Figure, Error> {
        self.check()?;
        let (mut xs, ys): (Vec<f64>, Vec<f64>) =
            self.series.iter().flat_map(Series::coordinates).unzip();
        xs.extend(self.shade.iter().flat_map(|shade| [shade.from, shade.to]));
        let x_axis = Axis::horizontal(self.x_axis, &xs);
        let y_axis = Axis::vertical(self.y_axis, &ys);

        let number = TextStyle::new(11.0, MUTED);
        let widest = y_axis
            .ticks
            .iter()
            .map(|tick| number.width(&tick.label))
            .fold(0.0, f64::max);
        let label = TextStyle::new(12.0, TEXT).semi_bold();
        let labels: Vec<String> = self
            .series
            .iter()
            .map(|series| self.end_label(series))
            .collect();
        let label_width = labels
            .iter()
            .map(|text| label.width(text))
            .fold(0.0, f64::max);

        let named = !self.y_label.is_empty();
        let plot = Frame {
            left: MARGIN + widest + 10.0,
            right: width - MARGIN - label_width * FALLBACK_SLACK - LABEL_GAP,
            top: MARGIN + header.height() + if named { 40.0 } else { 18.0 },
            height: plot_height.max(LABEL_PITCH * labels.len() as f64),
        };
        let x_named = if self.x_label.is_empty() { 0.0 } else { 20.0 };
        let height = plot.bottom() + 26.0 + x_named + MARGIN - 8.0;

        let mut figure = Figure::new(width, height, &self.title);
        header.draw(&mut figure, MARGIN, MARGIN);
        if let Some(shade) = &self.shade {
            let [from, to] = [shade.from, shade.to].map(|x| plot.x(x_axis.position(x)));
            let size = ((to - from).max(1.0), plot.height);
            figure.rect((from, plot.top), size, SHADE);
            figure.text((from + 4.0, plot.bottom() - 6.0), &shade.label, number);
        }
        if named {
            figure.text((MARGIN, plot.top - 14.0), &self.y_label, number);
        }
        for tick in &y_axis.ticks {
            let y = plot.y(y_axis.position(tick.value));
            figure.line(vec![(plot.left, y), (plot.right, y)], GRID, 1.0);
            let style = number.anchored(Anchor::End);
            figure.text((plot.left - 10.0, y + 4.0), &tick.label, style);
        }
        figure.line(
            vec![(plot.left, plot.bottom()), (plot.right, plot.bottom())],
            AXIS,
            1.0,
        );
        for tick in &x_axis.ticks {
            let x = plot.x(x_axis.position(tick.value));
            figure.line(
                vec![(x, plot.bottom()), (x, plot.bottom() + 5.0)],
                AXIS,
                1.0,
            );
            let style = number.anchored(Anchor::Middle);
            figure.text((x, plot.bottom() + 19.0), &tick.label, style);
        }
        let middle = ((plot.left + plot.right) / 2.0, plot.bottom() + 39.0);
        figure.text(middle, &self.x_label, number.anchored(Anchor::Middle));

        let at = |&(x, y): &(f64, f64)| (plot.x(x_axis.position(x)), plot.y(y_axis.position(y)));
        self.draw_labels(&mut figure, &plot, label, &labels, at);
        self.draw_lines(&mut figure, at);
        Ok(figure)
    }

    fn check(&self) -> Result<(), Error> {
        if self.series.is_empty() {
            return Err(Error::NoSeries);
        }
        for series in &self.series {
            if series.points.is_empty() {
                let label = series.label.clone();
                return Err(Error::NoPoints { label });
            }
            for point in series.coordinates() {
                self.check_point(&series.label, point)?;
            }
        }
        if let Some(shade) = &self.shade {
            for x in [shade.from, shade.to] {
                self.check_point(&shade.label, (x, 1.0))?; // the range covers all values of y
            }
        }
        Ok(())
    }

    fn check_point(&self, label: &str, (x, y): (f64, f64)) -> Result<(), Error> {
        let label = label.to_owned();
        if !x.is_finite() || !y.is_finite() {
            return Err(Error::NotFinite { label, x, y });
        }
        if self.x_axis == XAxis::Log && x <= 0.0 || self.y_axis == YAxis::Log && y <= 0.0 {
            return Err(Error::NotPositive { label, x, y });
        }
        Ok(())
    }

    /// The label of a series and its last value.
    fn end_label(&self, series: &Series) -> String {
        let last = series.points.last().map_or(0.0, |&(_, y)| y);
        let value = match self.y_axis {
            YAxis::Share => ticks::accuracy(last),
            _ => ticks::brief(last),
        };
        let style = TextStyle::new(12.0, TEXT).semi_bold();
        let width = LABEL_WIDTH - style.width(&value) - 10.0;
        let name = style.face.ellipsize(&series.label, style.size, width);
        format!("{name}\u{a0} {value}") // SVG makes one space of two
    }

    fn draw_lines(&self, figure: &mut Figure, at: impl Fn(&(f64, f64)) -> (f64, f64)) {
        for series in &self.series {
            let upper = series.band.iter().map(|&(x, _, high)| at(&(x, high)));
            let lower = series.band.iter().rev().map(|&(x, low, _)| at(&(x, low)));
            if series.band.len() > 1 {
                figure.area(upper.chain(lower).collect(), series.hue.line(), 0.16);
            }
        }
        for series in &self.series {
            for trace in &series.traces {
                figure.line(trace.iter().map(&at).collect(), series.hue.trace(), 1.0);
            }
        }
        for series in &self.series {
            let line: Vec<(f64, f64)> = series.points.iter().map(&at).collect();
            let is_dotted = line.len() <= DOTTED;
            if let Some(&end) = line.last() {
                figure.dot(end, 3.5, series.hue.line());
            }
            for &point in line.iter().filter(|_| is_dotted) {
                figure.dot(point, 2.6, series.hue.line());
            }
            figure.line(line, series.hue.line(), 2.0);
        }
    }

    /// Writes the labels next to the line ends, without overlap. A label that had to move is connected
    /// to its line.
    fn draw_labels(
        &self,
        figure: &mut Figure,
        plot: &Frame,
        style: TextStyle,
        labels: &[String],
        at: impl Fn(&(f64, f64)) -> (f64, f64),
    ) {
        let ends: Vec<(f64, f64)> = self
            .series
            .iter()
            .filter_map(|series| series.points.last().map(&at))
            .collect();
        let wanted: Vec<f64> = ends.iter().map(|end| end.1).collect();
        let half = LABEL_PITCH / 2.0;
        let positions = push_apart(&wanted, LABEL_PITCH, plot.top - half, plot.bottom() + half);
        for (((series, label), end), y) in self.series.iter().zip(labels).zip(ends).zip(positions) {
            let x = plot.right + LABEL_GAP;
            if (y - end.1).abs() > 3.0 || plot.right - end.0 > 1.0 {
                let path = vec![end, (plot.right + 6.0, end.1), (x - 4.0, y)];
                figure.line(path, series.hue.trace(), 1.0);
            }
            let style = TextStyle {
                color: series.hue.text(),
                ..style
            };
            figure.text((x, y + 4.3), label, style);
        }
    }
}

/// The rectangle in which lines are drawn.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    height: f64,
}

impl Frame {
    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// The pixel of a position on the horizontal axis.
    fn x(&self, position: f64) -> f64 {
        self.left + position * (self.right - self.left)
    }

    /// The pixel of a position on the vertical axis.
    fn y(&self, position: f64) -> f64 {
        self.bottom() - position * self.height
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hue;

    fn plot(y_axis: YAxis, points: &[(f64, f64)]) -> LinePlot {
        let series = vec![Series::new("loss", Hue::Blue, points.to_vec())];
        LinePlot {
            series,
            y_axis,
            ..LinePlot::default()
        }
    }

    #[test]
    fn invalid_series_are_rejected_by_name() {
        let error = |plot: LinePlot| plot.draw().unwrap_err().to_string();
        assert_eq!(error(LinePlot::default()), "the plot has no series");
        assert_eq!(error(plot(YAxis::Fit, &[])), "series `loss` has no points");
        assert_eq!(
            error(plot(YAxis::Fit, &[(1.0, 2.0), (2.0, f64::NAN)])),
            "series `loss` has a value that is not finite: y = NaN at x = 2"
        );
        assert_eq!(
            error(plot(YAxis::Log, &[(1.0, 0.0)])),
            "a logarithmic axis needs positive values, got y = 0 at x = 1 in series `loss`"
        );
        let mut shaded = plot(YAxis::Fit, &[(1.0, 2.0)]);
        shaded.x_axis = XAxis::Log;
        shaded.draw().unwrap();
        shaded.shade = Some(Shade {
            label: "trained".to_owned(),
            from: 0.0,
            to: 5.0,
        });
        assert_eq!(
            error(shaded),
            "a logarithmic axis needs positive values, got y = 1 at x = 0 in series `trained`"
        );
        let mut banded = plot(YAxis::Fit, &[(1.0, 2.0)]);
        banded.series[0].band = vec![(1.0, 0.0, f64::INFINITY)];
        assert!(banded.draw().is_err());
    }

    #[test]
    fn finite_data_can_be_drawn_on_every_axis() {
        let flat = |y| vec![(0.0, y), (1.0, y)];
        let shapes = [
            vec![(1.0, 0.5)],
            vec![(0.0, 0.5)],
            flat(1e-12),
            flat(1e12),
            vec![(-3.0, 1e-300), (5.0, 1e300)],
            vec![(1e9, 1.0), (1e9 + 1.0, 1.0 + 1e-12)],
            (1..=2000)
                .map(|i| (f64::from(i), 1.0 / f64::from(i)))
                .collect(),
        ];
        for points in &shapes {
            for y_axis in [
                YAxis::FromZero,
                YAxis::Share,
                YAxis::Fit,
                YAxis::Log,
                YAxis::Loss,
            ] {
                let svg = plot(y_axis, points).draw().unwrap().svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}");
            }
        }
        plot(YAxis::Fit, &[(0.0, 0.0), (1.0, -4.0)]).draw().unwrap();
    }

    #[test]
    fn more_lines_make_a_taller_plot() {
        let mut few = plot(YAxis::Fit, &[(0.0, 1.0), (1.0, 2.0)]);
        let height = few.draw().unwrap().size().1;
        few.series = vec![few.series[0].clone(); 40];
        assert!(few.draw().unwrap().size().1 > height + 200);
    }

    #[test]
    fn the_same_data_give_the_same_bytes() {
        let draw = || plot(YAxis::Log, &[(0.0, 1.0), (1.0, 2.0)]).draw().unwrap();
        assert_eq!(draw().svg(), draw().svg());
        assert_eq!(draw().png(), draw().png());
    }
}
