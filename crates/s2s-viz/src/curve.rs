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
use crate::look::{Look, Stroke};
use crate::mark::{Anchor, TextStyle};
use crate::series::Series;
use crate::text::FALLBACK_SLACK;
use crate::ticks;

const WIDTH: f64 = 720.0;
const PLOT_HEIGHT: f64 = 280.0;
const MARGIN: f64 = 20.0;
/// The style of an end label, apart from its color.
const LABEL: TextStyle = TextStyle::new(12.0, TEXT).semi_bold();
/// Height of an end label.
const LABEL_PITCH: f64 = 16.0;
/// Maximum width of an end label; longer ones end in an ellipsis.
const LABEL_WIDTH: f64 = 200.0;
/// Distance from the plot to the end labels.
const LABEL_GAP: f64 = 22.0;
/// Lines with at most this many points show each point as a marker.
const MARKED: usize = 15;
/// Number of markers of a longer line that is not solid.
const MARKERS: usize = 8;
/// Length of the line in front of a label where hues alone do not tell lines apart.
const SAMPLE: f64 = 34.0;
/// Lines closer than this many pixels hide each other.
const HIDDEN: f64 = 1.5;
/// A line is drawn with dashes if it hides another one over this share of its points.
const OVERLAP: f64 = 0.25;

/// Plots with more lines have no bands, which would hide the lines.
const MAX_BANDS: usize = 7;

/// Lines with common axes. Each line has its label and its last value at its right end.
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
    /// A highlighted range of the horizontal axis, if any.
    pub shade: Option<Shade>,
    /// Label of the vertical axis, written above it.
    pub y_label: String,
    /// Scale of the vertical axis.
    pub y_axis: YAxis,
    /// The lines; later ones are drawn on top. A line that would hide an earlier one is drawn with
    /// dashes. The bands of more than seven lines are not drawn.
    pub series: Vec<Series>,
}

/// A range of the horizontal axis with a gray background and a label.
#[derive(Clone, Debug, PartialEq)]
pub struct Shade {
    /// Label of the range.
    pub label: String,
    /// Start of the range, as a value of x.
    pub from: f64,
    /// End of the range, as a value of x.
    pub to: f64,
}

impl LinePlot {
    /// Draws the plot. Long titles are wrapped.
    ///
    /// # Errors
    /// [`Error::NoSeries`] without series; [`Error::NoPoints`] if a series has no points;
    /// [`Error::NotFinite`] if a value is not finite; [`Error::NotPositive`] if a value on a logarithmic axis
    /// is not positive.
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
        if self.series.len() > MAX_BANDS && self.series.iter().any(|series| !series.band.is_empty())
        {
            let mut bare = self.clone();
            bare.series
                .iter_mut()
                .for_each(|series| series.band.clear());
            return bare.draw_sized(header, width, plot_height);
        }
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
        let label_width = self
            .series
            .iter()
            .map(|series| LABEL.width(&self.end_label(series)))
            .fold(0.0, f64::max);

        let sample = if self.has_strokes() { SAMPLE } else { 0.0 };

        let named = !self.y_label.is_empty();
        let plot = Frame {
            left: MARGIN + widest + 10.0,
            right: width - MARGIN - label_width * FALLBACK_SLACK - LABEL_GAP - sample,
            top: MARGIN + header.height() + if named { 40.0 } else { 18.0 },
            height: plot_height.max(LABEL_PITCH * self.series.len() as f64),
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
        let looks = self.looks(at);
        self.draw_labels(&mut figure, &plot, &looks, sample, at);
        self.draw_lines(&mut figure, &looks, at);
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
        let width = LABEL_WIDTH - LABEL.width(&value) - 10.0;
        let name = LABEL.face.abbreviate(&series.label, LABEL.size, width);
        format!("{name}\u{a0} {value}") // SVG makes one space of two
    }

    /// Whether strokes tell lines apart, since there are more lines than hues.
    fn has_strokes(&self) -> bool {
        let mut looks = self.series.iter().map(|series| series.look);
        looks.any(|look| look.stroke != Stroke::Solid)
    }

    /// The looks of the lines. If all are solid, one that would hide earlier lines has another stroke than
    /// they.
    fn looks(&self, at: impl Fn(&(f64, f64)) -> (f64, f64)) -> Vec<Look> {
        let pixels = |series: &Series| series.points.iter().map(&at).collect();
        let lines: Vec<Vec<(f64, f64)>> = self.series.iter().map(pixels).collect();
        let mut looks: Vec<Look> = Vec::new();
        for (i, series) in self.series.iter().enumerate() {
            let hidden = (0..i).filter(|&below| hides(&lines[i], &lines[below]));
            let taken: Vec<Stroke> = hidden.map(|below| looks[below].stroke).collect();
            let mut free = Stroke::ALL
                .into_iter()
                .filter(|stroke| !taken.contains(stroke));
            let hue = series.look.hue;
            looks.push(match (self.has_strokes(), free.next()) {
                (false, Some(stroke)) => Look { hue, stroke },
                _ => series.look,
            });
        }
        looks
    }

    fn draw_lines(
        &self,
        figure: &mut Figure,
        looks: &[Look],
        at: impl Fn(&(f64, f64)) -> (f64, f64),
    ) {
        for series in &self.series {
            let upper = series.band.iter().map(|&(x, _, high)| at(&(x, high)));
            let lower = series.band.iter().rev().map(|&(x, low, _)| at(&(x, low)));
            if series.band.len() > 1 {
                figure.area(upper.chain(lower).collect(), series.look.hue.line(), 0.16);
            }
        }
        for series in &self.series {
            for trace in &series.traces {
                figure.line(
                    trace.iter().map(&at).collect(),
                    series.look.hue.trace(),
                    1.0,
                );
            }
        }
        for (series, look) in self.series.iter().zip(looks) {
            let line: Vec<(f64, f64)> = series.points.iter().map(&at).collect();
            let color = look.hue.line();
            let every = match (line.len(), series.look.stroke) {
                (..=MARKED, _) => 1,
                (_, Stroke::Solid) => line.len(),
                (n, _) => n.div_ceil(MARKERS),
            };
            if let Some(&end) = line.last() {
                series.look.stroke.mark(figure, end, 3.5, color);
            }
            let marked = line.len().saturating_sub(1) % every;
            for &point in line.iter().skip(marked).step_by(every) {
                series.look.stroke.mark(figure, point, 2.6, color);
            }
            for piece in look.stroke.pieces(&line) {
                figure.line(piece, color, 2.0);
            }
        }
    }

    /// Writes the labels next to the line ends, without overlap. A label that had to move is connected
    /// to its line. A sample of the line, `sample` pixels long, is in front of the label.
    fn draw_labels(
        &self,
        figure: &mut Figure,
        plot: &Frame,
        looks: &[Look],
        sample: f64,
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
        for (i, (end, y)) in ends.into_iter().zip(positions).enumerate() {
            let hue = self.series[i].look.hue;
            let x = plot.right + LABEL_GAP;
            if (y - end.1).abs() > 3.0 || plot.right - end.0 > 1.0 {
                let path = vec![end, (plot.right + 6.0, end.1), (x - 4.0, y)];
                figure.line(path, hue.trace(), 1.0);
            }
            if sample > 0.0 {
                let right = x + sample - 6.0;
                for piece in looks[i].stroke.pieces(&[(x, y), (right, y)]) {
                    figure.line(piece, hue.line(), 2.0);
                }
                let middle = ((x + right) / 2.0, y);
                self.series[i]
                    .look
                    .stroke
                    .mark(figure, middle, 2.8, hue.line());
            }
            let style = TextStyle {
                color: hue.text(),
                ..LABEL
            };
            let label = self.end_label(&self.series[i]);
            figure.text((x + sample, y + 4.3), &label, style);
        }
    }
}

/// Whether a line hides another one below it over a part of its points.
fn hides(line: &[(f64, f64)], below: &[(f64, f64)]) -> bool {
    let covered = |&&(x, y): &&(f64, f64)| {
        let right = below.partition_point(|point| point.0 < x);
        let height = match (
            right.checked_sub(1).map(|left| below[left]),
            below.get(right),
        ) {
            (_, Some(point)) if point.0 == x => point.1,
            (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (x - a.0) / (b.0 - a.0),
            _ => return false,
        };
        (height - y).abs() < HIDDEN
    };
    let count = line.iter().filter(covered).count();
    count >= 2 && count as f64 >= OVERLAP * line.len() as f64
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
    fn more_than_seven_lines_have_no_bands() {
        let svg = |n: usize, has_bands: bool| {
            let series = |index: usize| {
                let y = index as f64;
                let mut series = Series::new("loss", Hue::Blue, vec![(0.0, y), (1.0, y)]);
                if has_bands {
                    series.band = vec![(0.0, y - 0.5, y + 0.5), (1.0, y - 0.5, y + 0.5)];
                }
                series
            };
            let series = (0..n).map(series).collect();
            let plot = LinePlot {
                series,
                ..LinePlot::default()
            };
            plot.draw().unwrap().svg()
        };
        assert_ne!(svg(MAX_BANDS, true), svg(MAX_BANDS, false));
        assert_eq!(svg(MAX_BANDS + 1, true), svg(MAX_BANDS + 1, false));
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
    fn a_line_that_would_hide_another_one_has_another_stroke() {
        let strokes = |offsets: &[f64]| -> Vec<Stroke> {
            let mut plot = plot(YAxis::Share, &[]);
            let line = |offset: &f64| {
                let points = (0..9).map(|x| (f64::from(x), 0.5 + offset)).collect();
                Series::new("loss", Hue::Blue, points)
            };
            plot.series = offsets.iter().map(line).collect();
            let looks = plot.looks(|&(x, y)| (100.0 * x, 300.0 * y));
            looks.into_iter().map(|look| look.stroke).collect()
        };
        let [solid, dashed, dotted] = [Stroke::Solid, Stroke::Dashed, Stroke::Dotted];
        assert_eq!(strokes(&[0.0, 0.1]), [solid, solid]);
        assert_eq!(strokes(&[0.0, 0.001, 0.1]), [solid, dashed, solid]);
        assert_eq!(strokes(&[0.0, 0.0, 0.0]), [solid, dashed, dotted]);
    }

    #[test]
    fn lines_that_only_cross_do_not_hide_each_other() {
        let rising: Vec<(f64, f64)> = (0..20)
            .map(|x| (10.0 * f64::from(x), f64::from(x)))
            .collect();
        let falling: Vec<(f64, f64)> = rising.iter().map(|&(x, y)| (x, 19.0 - y)).collect();
        assert!(!hides(&falling, &rising));
        assert!(hides(&rising, &rising));
        assert!(hides(&rising[3..], &rising));
        assert!(!hides(&rising[..1], &rising));
    }

    #[test]
    fn the_same_data_give_the_same_bytes() {
        let draw = || plot(YAxis::Log, &[(0.0, 1.0), (1.0, 2.0)]).draw().unwrap();
        assert_eq!(draw().svg(), draw().svg());
        assert_eq!(draw().png(), draw().png());
    }
}
