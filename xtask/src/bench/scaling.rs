//! How the time of a training step grows with each size, against what the cost model predicts.
//!
//! ```text
//! AXES ─> s2s bench step at each value ─> Point: measured ms, necessary operations / peak
//!      ─> slopes between the two largest values ─> verdict, table, plot
//! ```
//!
//! On logarithmic axes a term of another order is a steeper line: the slope between the two largest
//! values may not exceed the model's.

use anyhow::{Context, Result};
use s2s_lab::statistics::percentage;
use s2s_viz::{Hue, LineGrid, LinePlot, Series, Table, XAxis, YAxis};
use serde::Serialize;

use super::contest::{Clock, NOTEBOOK};
use super::process::{Line, Programs};
use super::setting::{digits, optional};

/// How much steeper than the model's a measured slope may be: where the larger value of two is twice
/// the smaller, an error of 15 % in one of the times.
const TOLERANCE: f64 = 0.2;

/// A size that is varied while the others are as in the notebook.
#[derive(Clone, Copy, Debug)]
struct Axis {
    name: &'static str,
    values: &'static [usize],
    /// Arguments of `s2s bench`, with what the value is multiplied by.
    args: &'static [(&'static str, usize)],
}

const AXES: [Axis; 5] = [
    Axis {
        name: "batch",
        values: &[16, 32, 64, 128, 256],
        args: &[("--batch=", 1)],
    },
    Axis {
        name: "length",
        values: &[3, 6, 12, 24, 48],
        args: &[("--set=data.min_len=", 1), ("--set=data.max_len=", 1)],
    },
    Axis {
        name: "width",
        values: &[16, 32, 64, 128, 256],
        args: &[
            ("--set=model.embedding=", 1),
            ("--set=model.hidden=", 2),
            ("--set=model.decoder=", 4),
            ("--set=model.attention.units=", 4),
        ],
    },
    Axis {
        name: "vocabulary",
        values: &[50, 200, 800, 3200],
        args: &[("--set=data.vocab=", 1)],
    },
    Axis {
        name: "layers",
        values: &[1, 2, 4],
        // Nothing lies between the layers of one.
        args: &[("--set=model.layers=", 1), ("--set=model.dropout=", 0)],
    },
];

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Point {
    value: usize,
    /// Processor time of a step, the median.
    measured_ms: f64,
    /// The necessary operations at the peak of the core, measured in the same process.
    predicted_ms: f64,
    peak_mib: Option<f64>,
}

/// The measurements along an axis, in ascending order of the values.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Curve {
    name: &'static str,
    points: Vec<Point>,
}

/// Measures all axes, `n` steps at each value.
pub(super) fn measure(programs: &Programs, n: usize) -> Result<Vec<Curve>> {
    AXES.iter()
        .map(|axis| {
            eprintln!("scaling: {}", axis.name);
            let point = |&value: &usize| {
                let line = programs.bench(&axis.args(value), Clock::Cpu, n)?;
                Point::new(value, &line)
            };
            Ok(Curve {
                name: axis.name,
                points: axis.values.iter().map(point).collect::<Result<_>>()?,
            })
        })
        .collect()
}

impl Axis {
    /// The notebook's training step with this value.
    fn args(&self, value: usize) -> Vec<String> {
        let fixed = ["step", NOTEBOOK, "--threads=1"].map(str::to_owned);
        let varied = self
            .args
            .iter()
            .map(|(arg, factor)| format!("{arg}{}", factor * value));
        fixed.into_iter().chain(varied).collect()
    }
}

impl Point {
    fn new(value: usize, line: &Line) -> Result<Self> {
        let (gflop, peak) = line
            .gflop
            .zip(line.peak_gflops)
            .context("s2s bench does not say how much work a step is")?;
        Ok(Self {
            value,
            measured_ms: line.cpu_ms,
            predicted_ms: 1e3 * gflop / peak,
            peak_mib: line.peak_mib,
        })
    }
}

impl Curve {
    /// Exponents of growth between the two largest values: measured and predicted.
    fn slopes(&self) -> Option<(f64, f64)> {
        let [.., a, b] = self.points.as_slice() else {
            return None;
        };
        let step = (b.value as f64 / a.value as f64).ln();
        let slope = |of: fn(&Point) -> f64| (of(b) / of(a)).ln() / step;
        Some((slope(|p| p.measured_ms), slope(|p| p.predicted_ms)))
    }

    /// Whether the time grows no faster than the model's.
    pub(super) fn is_as_predicted(&self) -> bool {
        self.slopes()
            .is_none_or(|(measured, predicted)| measured <= predicted + TOLERANCE)
    }
}

fn table(curves: &[Curve]) -> Table {
    let rows: Vec<(&str, &Point)> = curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|point| (curve.name, point)))
        .collect();
    let column = |cell: &dyn Fn(&Point) -> String| -> Vec<String> {
        rows.iter().map(|(_, point)| cell(point)).collect()
    };
    Table::new()
        .column("varied", rows.iter().map(|(name, _)| name))
        .column("value", column(&|point| point.value.to_string()))
        .column("measured, ms", column(&|point| digits(point.measured_ms)))
        .column("predicted, ms", column(&|point| digits(point.predicted_ms)))
        .column(
            "share of peak",
            column(&|point| {
                let share = point.predicted_ms / point.measured_ms;
                format!("{} %", percentage(share, 0))
            }),
        )
        .column(
            "MiB",
            column(&|point| optional(point.peak_mib, |mib| format!("{mib:.0}"))),
        )
}

fn verdicts(curves: &[Curve]) -> Table {
    let slope = |of: fn((f64, f64)) -> f64| -> Vec<String> {
        let exponent = |curve: &Curve| curve.slopes().map(of);
        curves
            .iter()
            .map(|curve| optional(exponent(curve), |slope| format!("{slope:.2}")))
            .collect()
    };
    let verdict = |curve: &Curve| match curve.is_as_predicted() {
        true => "as predicted",
        false => "too fast",
    };
    Table::new()
        .column("varied", curves.iter().map(|curve| curve.name))
        .column("exponent, measured", slope(|slopes| slopes.0))
        .column("exponent, predicted", slope(|slopes| slopes.1))
        .column("grows", curves.iter().map(verdict))
}

/// Measured and predicted time along each axis.
pub(super) fn plot(curves: &[Curve]) -> LineGrid {
    let panel = |curve: &Curve| {
        let line = |of: fn(&Point) -> f64| -> Vec<(f64, f64)> {
            let points = curve.points.iter();
            points
                .map(|point| (point.value as f64, of(point)))
                .collect()
        };
        LinePlot {
            title: curve.name.to_owned(),
            x_axis: XAxis::Log,
            y_label: "ms a step".to_owned(),
            y_axis: YAxis::Log,
            series: vec![
                Series::new("predicted", Hue::Gray, line(|point| point.predicted_ms)),
                Series::new("measured", Hue::Blue, line(|point| point.measured_ms)),
            ],
            ..LinePlot::default()
        }
    };
    LineGrid {
        title: "Time of a training step".to_owned(),
        subtitle:
            "each size varied alone, the others as in the notebook; predicted: the necessary \
                   operations at the peak of the core"
                .to_owned(),
        panels: curves.iter().map(panel).collect(),
        panels_per_row: 2,
    }
}

pub(super) fn page(curves: &[Curve], setting: &str) -> String {
    format!(
        "## Scaling\n\n{}\n{}\n\
         Milliseconds of processor time a training step on one thread, medians; each size varied alone, \
         the others as in configs/notebook.toml. The width is that of an embedding; encoder units are \
         twice, decoder and attention units four times as many. Predicted are the necessary \
         operations at the peak of the core, measured in the same process. The exponents are those \
         between the two largest values; a measured one may exceed the predicted by {TOLERANCE}.\n\n\
         {setting}",
        verdicts(curves).markdown(),
        table(curves).markdown(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(measured: [f64; 3]) -> Curve {
        let point = |(value, measured_ms)| Point {
            value,
            measured_ms,
            predicted_ms: value as f64,
            peak_mib: None,
        };
        Curve {
            name: "length",
            points: [2, 4, 8].into_iter().zip(measured).map(point).collect(),
        }
    }

    #[test]
    fn a_term_of_another_order_grows_too_fast() {
        let linear = curve([9.0, 10.0, 20.0]);
        assert_eq!(linear.slopes(), Some((1.0, 1.0)));
        assert!(linear.is_as_predicted());
        assert!(curve([9.0, 10.0, 11.0]).is_as_predicted());
        assert!(!curve([2.0, 10.0, 40.0]).is_as_predicted());
        assert!(page(&[curve([2.0, 10.0, 40.0])], "").contains("too fast"));
    }

    #[test]
    fn one_value_alone_is_varied() {
        let args = AXES.map(|axis| axis.args(7).join(" "));
        assert_eq!(args[0], format!("step {NOTEBOOK} --threads=1 --batch=7"));
        assert!(
            args[2].ends_with("hidden=14 --set=model.decoder=28 --set=model.attention.units=28")
        );
    }

    #[test]
    fn every_axis_has_a_panel() {
        let grid = plot(&[curve([1.0, 2.0, 4.0]), curve([1.0, 2.0, 3.0])]);
        assert_eq!(grid.panels.len(), 2);
        assert!(grid.draw().unwrap().svg().contains("predicted"));
    }
}
