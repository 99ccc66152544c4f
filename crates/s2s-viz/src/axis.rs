//! The range of an axis and the positions of values on it.

use crate::ticks::{self, Tick};

/// The scale of the axis of values: the vertical axis of a [`LinePlot`](crate::LinePlot), the horizontal axis
/// of a [`DotPlot`](crate::DotPlot).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum YAxis {
    /// Linear, includes 0: for example for times.
    #[default]
    FromZero,
    /// Linear, includes 0 and 1: for accuracies and other shares. End labels have four decimals.
    Share,
    /// Linear, from about the minimum to about the maximum.
    Fit,
    /// Logarithmic; all values must be positive.
    Log,
    /// Logarithmic if all values are positive, otherwise [`YAxis::FromZero`]: for losses, which may round
    /// to 0.
    Loss,
}

/// The scale of the horizontal axis of a [`LinePlot`](crate::LinePlot).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XAxis {
    /// Linear.
    #[default]
    Linear,
    /// Logarithmic; all values must be positive.
    Log,
}

/// A range of values and its ticks.
pub(crate) struct Axis {
    low: f64,
    high: f64,
    pub(crate) ticks: Vec<Tick>,
    is_log: bool,
}

impl Axis {
    /// An axis for values of x. If all values are integers, so are the ticks.
    pub(crate) fn horizontal(kind: XAxis, xs: &[f64]) -> Axis {
        let (mut low, mut high) = extent(xs);
        if kind == XAxis::Log {
            if low == high {
                (low, high) = (low / 2.0, high * 2.0);
            }
            return Axis {
                low,
                high,
                ticks: ticks::logarithmic(low, high),
                is_log: true,
            };
        }
        // Training starts at zero, so the axis includes zero if it is about as close as the next point.
        let second = xs
            .iter()
            .copied()
            .filter(|&x| x > low)
            .fold(f64::INFINITY, f64::min);
        if low > 0.0 && low <= (second - low) * 1.5 {
            low = 0.0;
        }
        if low == high {
            (low, high) = (low - 1.0, high + 1.0);
        }
        let mut ticks = ticks::linear(low, high, ticks::step(high - low, 7));
        if xs.iter().all(|x| x.fract() == 0.0) {
            ticks.retain(|tick| tick.value.fract().abs() < 1e-9);
            for tick in &mut ticks {
                tick.label = ticks::number(tick.value, 0);
            }
        }
        Axis {
            low,
            high,
            ticks,
            is_log: false,
        }
    }

    /// An axis for values of y.
    pub(crate) fn vertical(kind: YAxis, ys: &[f64]) -> Axis {
        const COUNT: usize = 5;
        let (low, high) = extent(ys);
        let kind = match kind {
            YAxis::Loss if low > 0.0 => YAxis::Log,
            YAxis::Loss => YAxis::FromZero,
            other => other,
        };
        let (low, high) = match kind {
            YAxis::FromZero | YAxis::Loss => (low.min(0.0), high.max(0.0)),
            YAxis::Share => (low.min(0.0), high.max(1.0)),
            YAxis::Fit => (low, high),
            YAxis::Log if low == high => (low / 2.0, high * 2.0),
            YAxis::Log => (low, high),
        };
        if kind == YAxis::Log {
            let room = ((high.ln() - low.ln()) * 0.04).exp();
            let (low, high) = (
                (low / room).max(f64::MIN_POSITIVE),
                (high * room).min(f64::MAX),
            );
            return Axis {
                low,
                high,
                ticks: ticks::logarithmic(low, high),
                is_log: true,
            };
        }
        let (low, high) = match (low == high, low == 0.0) {
            (true, true) => (0.0, 1.0),
            (true, false) => (low - low.abs() / 10.0, high + high.abs() / 10.0),
            (false, _) => (low, high),
        };
        let step = ticks::step(high - low, COUNT);
        // The axis ends at a tick, or shortly above the greatest value if the next tick is far.
        let low = (low / step + 1e-9).floor() * step;
        let room = if kind == YAxis::Share {
            0.0
        } else {
            step * 0.05
        };
        let top = (high / step - 1e-9).ceil() * step;
        let high = if top - high > step / 2.0 {
            high + room
        } else {
            top
        };
        Axis {
            low,
            high,
            ticks: ticks::linear(low, high, step),
            is_log: false,
        }
    }

    /// Position of a value on the axis: 0 at its start, 1 at its end.
    pub(crate) fn position(&self, value: f64) -> f64 {
        if self.is_log {
            (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

fn extent(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(axis: &Axis, expected: &[&str]) {
        let labels: Vec<&str> = axis.ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, expected);
        let mut positions = axis.ticks.iter().map(|tick| axis.position(tick.value));
        assert!(positions.all(|position| (-1e-9..=1.0 + 1e-9).contains(&position)));
    }

    fn horizontal(xs: &[f64]) -> Axis {
        Axis::horizontal(XAxis::Linear, xs)
    }

    fn vertical(kind: YAxis, ys: &[f64]) -> Axis {
        Axis::vertical(kind, ys)
    }

    #[test]
    fn steps_start_at_zero_and_lengths_at_their_minimum() {
        check(&horizontal(&[1.0, 2.0, 3.0]), &["0", "1", "2", "3"]);
        check(
            &horizontal(&[50.0, 100.0, 200.0]),
            &[
                "0", "20", "40", "60", "80", "100", "120", "140", "160", "180", "200",
            ],
        );
        check(
            &horizontal(&[8.0, 9.0, 10.0, 12.0]),
            &["8", "9", "10", "11", "12"],
        );
    }

    #[test]
    fn integers_have_integer_ticks() {
        check(&horizontal(&[1.0]), &["0", "1"]);
        check(&horizontal(&[0.0, 2.0]), &["0", "1", "2"]);
        check(
            &horizontal(&[0.0, 0.5, 1.0]),
            &["0", "0.2", "0.4", "0.6", "0.8", "1.0"],
        );
    }

    #[test]
    fn accuracies_span_zero_to_one() {
        let expected = ["0", "0.2", "0.4", "0.6", "0.8", "1.0"];
        check(&vertical(YAxis::Share, &[0.97, 0.99]), &expected);
        check(&vertical(YAxis::Share, &[0.0]), &expected);
    }

    #[test]
    fn losses_are_logarithmic_unless_one_is_zero() {
        let decades = ["0.001", "0.01", "0.1", "1"];
        check(&vertical(YAxis::Loss, &[0.0005, 5.0]), &decades);
        check(
            &vertical(YAxis::Loss, &[0.0, 3.9]),
            &["0", "1", "2", "3", "4"],
        );
    }

    #[test]
    fn times_span_from_zero() {
        check(
            &vertical(YAxis::FromZero, &[3.9, 0.1]),
            &["0", "1", "2", "3", "4"],
        );
        check(
            &vertical(YAxis::FromZero, &[0.0, 0.0]),
            &["0", "0.2", "0.4", "0.6", "0.8", "1.0"],
        );
    }

    #[test]
    fn equal_factors_have_equal_distances_on_a_logarithmic_axis() {
        let axis = vertical(YAxis::Log, &[0.001, 10.0]);
        let distance = |a, b| axis.position(b) - axis.position(a);
        assert!((distance(0.01, 0.1) - distance(1.0, 10.0)).abs() < 1e-12);
        check(&axis, &["0.001", "0.01", "0.1", "1", "10"]);
    }
}
