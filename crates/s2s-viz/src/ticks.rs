//! Axis ticks and number formats.

/// A value on an axis and its label.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// Maximum number of ticks of an axis.
const MAX_TICKS: usize = 50;

/// The multiples of `step` from `low` to `high`.
pub(crate) fn linear(low: f64, high: f64, step: f64) -> Vec<Tick> {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last)
        .take(MAX_TICKS)
        .map(|i| {
            let value = i as f64 * step;
            let decimals = if i == 0 { 0 } else { decimals };
            Tick {
                value,
                label: number(value, decimals),
            }
        })
        .collect()
}

/// Ticks of a logarithmic axis from `low` to `high`: powers of ten; also their multiples by 2 and 5 for
/// less than three decades; multiples of a round step if that leaves fewer than three ticks.
pub(crate) fn logarithmic(low: f64, high: f64) -> Vec<Tick> {
    let decades = high.log10() - low.log10();
    let digits: &[i32] = if decades < 3.0 { &[1, 2, 5] } else { &[1] };
    let every = (decades / 7.0).ceil().max(1.0) as i32;
    let ticks: Vec<Tick> = (low.log10().floor() as i32..=high.log10().ceil() as i32)
        .filter(|exponent| exponent % every == 0)
        .flat_map(|exponent| digits.iter().map(move |&digit| (digit, exponent)))
        .map(|(digit, exponent)| {
            let value = f64::from(digit) * 10_f64.powi(exponent);
            let label = if (-5..7).contains(&exponent) {
                number(value, (-exponent).max(0) as usize)
            } else {
                format!("{digit}e{exponent}")
            };
            Tick { value, label }
        })
        .filter(|tick| tick.value >= low * (1.0 - 1e-9) && tick.value <= high * (1.0 + 1e-9))
        .collect();
    if ticks.len() < 3 {
        linear(low, high, step(high - low, 4))
    } else {
        ticks
    }
}

/// A tick distance of 1, 2 or 5 times a power of ten, for about `count` ticks over `range`.
pub(crate) fn step(range: f64, count: usize) -> f64 {
    let rough = range / count as f64;
    let power = 10_f64.powi(rough.log10().floor() as i32);
    let digit = match rough / power {
        x if x < 2_f64.sqrt() => 1.0,
        x if x < 10_f64.sqrt() => 2.0,
        x if x < 50_f64.sqrt() => 5.0,
        _ => 10.0,
    };
    digit * power
}

/// A number with fixed decimals, a minus sign (U+2212) and thousands separators; in scientific notation
/// from 10⁷ on.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if value.abs() >= 1e7 {
        return format!("{value:e}");
    }
    let digits = format!("{:.decimals$}", value.abs());
    let whole = digits.find('.').unwrap_or(digits.len());
    let mut label = String::new();
    if value < 0.0 && digits.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        label.push('\u{2212}');
    }
    for (i, c) in digits.char_indices() {
        if i > 0 && i < whole && (whole - i).is_multiple_of(3) {
            label.push(',');
        }
        label.push(c);
    }
    label
}

/// A number with about three significant digits.
pub(crate) fn brief(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e7).contains(&magnitude) {
        return format!("{value:.1e}");
    }
    let decimals = match magnitude {
        m if m == 0.0 || m >= 100.0 => 0,
        m if m >= 1.0 => 2,
        m => (-m.log10().floor()) as usize + 1,
    };
    number(value, decimals)
}

/// An accuracy with four decimals; values just below 1 are not rounded to 1.
pub(crate) fn accuracy(value: f64) -> String {
    if value == value.round() {
        number(value, 0)
    } else if value > 0.9999 && value < 1.0 {
        ">0.9999".to_owned()
    } else {
        number(value, 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ticks: &[Tick], expected: &[&str]) {
        let labels: Vec<&str> = ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, expected);
    }

    #[test]
    fn linear_ticks_are_round() {
        check(
            &linear(0.0, 1.0, step(1.0, 5)),
            &["0", "0.2", "0.4", "0.6", "0.8", "1.0"],
        );
        check(&linear(0.0, 4.1, step(4.1, 5)), &["0", "1", "2", "3", "4"]);
        check(
            &linear(0.0, 200.0, step(200.0, 6)),
            &["0", "50", "100", "150", "200"],
        );
        check(
            &linear(0.0, 1200.0, step(1200.0, 6)),
            &["0", "200", "400", "600", "800", "1,000", "1,200"],
        );
        check(
            &linear(-1.0, 1.0, step(2.0, 4)),
            &["\u{2212}1.0", "\u{2212}0.5", "0", "0.5", "1.0"],
        );
    }

    #[test]
    fn logarithmic_ticks_are_round_whatever_the_range() {
        check(
            &logarithmic(0.009, 4.0),
            &["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"],
        );
        check(&logarithmic(0.0005, 5.0), &["0.001", "0.01", "0.1", "1"]);
        check(&logarithmic(1.2, 1.9), &["1.2", "1.4", "1.6", "1.8"]);
        assert!(logarithmic(1e-30, 1.0).len() <= 8);
    }

    #[test]
    fn numbers_have_thousands_separators_and_a_minus_sign() {
        assert_eq!(number(1234567.0, 0), "1,234,567");
        assert_eq!(number(-1234.5, 1), "\u{2212}1,234.5");
        assert_eq!(number(-0.001, 1), "0.0");
        assert_eq!(number(123.0, 2), "123.00");
    }

    #[test]
    fn accuracies_below_one_are_not_rounded_to_one() {
        assert_eq!(accuracy(1.0), "1");
        assert_eq!(accuracy(0.99996), ">0.9999");
        assert_eq!(accuracy(0.98765), "0.9877");
        assert_eq!(accuracy(0.0), "0");
    }

    #[test]
    fn brief_numbers_have_three_significant_digits() {
        assert_eq!(brief(0.012345), "0.012");
        assert_eq!(brief(3.91), "3.91");
        assert_eq!(brief(1234.5), "1,234");
        assert_eq!(brief(0.0), "0");
        assert_eq!(brief(1.234e-7), "1.2e-7");
    }
}
