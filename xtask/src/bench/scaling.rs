//! The time of a training step as a function of each size, compared with the cost model.
//!
//! ```text
//! AXES ─> s2s bench step at each value ─> Point: measured ms, necessary operations / peak
//!      ─> slopes between the two largest values ─> verdict, table, plot
//! ```
//!
//! On logarithmic axes, a term of higher order is a steeper line. The slope between the two largest
//! values must not exceed that of the cost model.

use anyhow::{Context, Result};
use s2s_lab::statistics::percentage;
use s2s_viz::{Hue, LineGrid, LinePlot, Series, Table, XAxis, YAxis};
use serde::Serialize;

use super::contest::{Clock, NOTEBOOK};
use super::process::{Line, Programs};
use super::setting::{digits, optional};

/// The maximum difference between a measured slope and that of the cost model. For two values that
/// differ by a factor of 2, it is an error of 15 % in one of the times.
const TOLERANCE: f64 = 0.2;

/// A size that varies; the others are those of the notebook.
#[derive(Clone, Copy, Debug)]
struct Axis {
    name: &'static str,
    values: &'static [usize],
    args: &'static [ScaledArg],
}

/// An argument of `s2s bench` that ends in a multiple of the value.
#[derive(Clone, Copy, Debug)]
struct ScaledArg {
    arg: &'static str,
    factor: usize,
}

const fn times(factor: usize, arg: &'static str) -> ScaledArg {
    ScaledArg { arg, factor }
}

#[rustfmt::skip] // two lines per axis
const AXES: [Axis; 5] = [
    Axis { name: "batch", values: &[16, 32, 64, 128, 256],
        args: &[times(1, "--batch=")] },
    Axis { name: "length", values: &[3, 6, 12, 24, 48],
        args: &[times(1, "--set=data.min_len="), times(1, "--set=data.max_len=")] },
    Axis { name: "width", values: &[16, 32, 64, 128, 256],
        args: &[times(1, "--set=model.embedding="), times(2, "--set=model.hidden="),
            times(4, "--set=model.decoder="), times(4, "--set=model.attention.units=")] },
    Axis { name: "vocabulary", values: &[50, 200, 800, 3200],
        args: &[times(1, "--set=data.vocab=")] },
    // Dropout between layers is not valid with one layer.
    Axis { name: "layers", values: &[1, 2, 4],
        args: &[times(1, "--set=model.layers="), times(0, "--set=model.dropout=")] },
];

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Point {
    value: usize,
    /// Median processor time of a step.
    measured_ms: f64,
    /// Time of the necessary operations at the peak rate of the core, measured in the same process.
    predicted_ms: f64,
    peak_mib: Option<f64>,
}

/// The measurements of an axis, in ascending order of the values.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Curve {
    name: &'static str,
    points: Vec<Point>,
}

/// Measures all axes with `n` steps per value.
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

/// Exponents of growth: the slopes on logarithmic axes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slopes {
    measured: f64,
    predicted: f64,
}

impl Axis {
    /// Arguments for the notebook's training step with this value.
    fn args(&self, value: usize) -> Vec<String> {
        let fixed = ["step", NOTEBOOK, "--threads=1"].map(str::to_owned);
        let varied = self
            .args
            .iter()
            .map(|ScaledArg { arg, factor }| format!("{arg}{}", factor * value));
        fixed.into_iter().chain(varied).collect()
    }
}

impl Point {
    fn new(value: usize, line: &Line) -> Result<Self> {
        let (gflop, peak) = line
            .gflop
            .zip(line.peak_gflops)
            .context("s2s bench does not report the operations of a step")?;
        Ok(Self {
            value,
            measured_ms: line.cpu_ms,
            predicted_ms: 1e3 * gflop / peak,
            peak_mib: line.peak_mib,
        })
    }
}

impl Curve {
    /// The exponents between the two largest values.
    fn slopes(&self) -> Option<Slopes> {
        let [.., a, b] = self.points.as_slice() else {
            return None;
        };
        let step = (b.value as f64 / a.value as f64).ln();
        let slope = |of: fn(&Point) -> f64| (of(b) / of(a)).ln() / step;
        Some(Slopes {
            measured: slope(|p| p.measured_ms),
            predicted: slope(|p| p.predicted_ms),
        })
    }

    /// Whether the time grows no faster than predicted.
    pub(super) fn is_as_predicted(&self) -> bool {
        self.slopes()
            .is_none_or(|slopes| slopes.measured <= slopes.predicted + TOLERANCE)
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
    let slope = |of: fn(Slopes) -> f64| -> Vec<String> {
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
        .column("exponent, measured", slope(|slopes| slopes.measured))
        .column("exponent, predicted", slope(|slopes| slopes.predicted))
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
            y_label: "ms per step".to_owned(),
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
            "one size varies, the others are those of the notebook; predicted: the necessary \
                   operations at the peak rate of the core"
                .to_owned(),
        panels: curves.iter().map(panel).collect(),
        panels_per_row: 2,
    }
}

pub(super) fn page(curves: &[Curve], setting: &str) -> String {
    format!(
        "## Scaling\n\n{}\n{}\n\
         Median milliseconds of processor time per training step on one thread. One size varies, the \
         others are those of configs/notebook.toml. Width is that of the embedding; encoder units \
         are twice, decoder and attention units four times as many. Predicted: the time of the \
         necessary operations at the peak rate of the core, measured in the same process. Exponents \
         are between the two largest values; a measured one may exceed the predicted one by \
         {TOLERANCE}.\n\n\
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
    fn a_term_of_higher_order_grows_too_fast() {
        let linear = curve([9.0, 10.0, 20.0]);
        let slopes = linear.slopes().unwrap();
        assert_eq!((slopes.measured, slopes.predicted), (1.0, 1.0));
        assert!(linear.is_as_predicted());
        assert!(curve([9.0, 10.0, 11.0]).is_as_predicted());
        assert!(!curve([2.0, 10.0, 40.0]).is_as_predicted());
        assert!(page(&[curve([2.0, 10.0, 40.0])], "").contains("too fast"));
    }

    #[test]
    fn only_one_size_varies() {
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
