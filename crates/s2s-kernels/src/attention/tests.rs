//! Every mechanism on a small ragged batch: its derivatives, its rows, its positions.

use super::additive::Additive;
use super::dot::Dot;
use super::dynamic::DynamicConvolution;
use super::kernel::{Memory, Scorer, Step, StepGrads, weigh};
use super::location::Location;
use super::location_relative::LocationRelative;
use super::none::NoScores;
use super::ntm::Ntm;
use super::start::Start;
use crate::gradcheck::{assert_gradient, dot, numbers};
use crate::matrix::Matrix;
use crate::real::Real;
use crate::simd::on_every_isa;
use crate::team::Team;

const STATE: usize = 3;
const UNITS: usize = 17; // more than a vector, and not a multiple of one
const FILTERS: usize = 2;
/// A row of one position, one in between, a full one.
const LENGTHS: [usize; 3] = [1, 4, 6];
const SOURCE_LEN: usize = 6;

/// A mechanism, and the sizes of its parameters and of a key.
struct Mechanism<T: Real> {
    name: String,
    scorer: Box<dyn Scorer<T>>,
    params: Vec<usize>,
    key: usize,
}

fn mechanisms<T: Real>() -> Vec<Mechanism<T>> {
    let query = [UNITS * STATE, UNITS];
    let shift = [3 * STATE, 3, STATE, 1];
    let of = |name: &str, scorer: Box<dyn Scorer<T>>, params: &[&[usize]], key: usize| Mechanism {
        name: name.to_owned(),
        scorer,
        params: params.concat(),
        key,
    };
    let mut all = vec![
        of(
            "additive",
            Box::new(Additive::new()),
            &[&query, &[UNITS]],
            UNITS,
        ),
        of("dot", Box::new(Dot::new(0.7)), &[], STATE),
        of(
            "ntm",
            Box::new(Ntm::new(Start::Last)),
            &[&query, &[UNITS, STATE, 1], &shift],
            UNITS,
        ),
        of(
            "location-relative",
            Box::new(LocationRelative::new(Start::Last)),
            &[&query, &[UNITS], &shift],
            UNITS,
        ),
        of("none", Box::new(NoScores), &[], 0),
    ];
    // Narrow, odd, even, and wider than the source on both sides.
    for width in [1, 3, 4, 15] {
        let taps = FILTERS * width;
        all.push(of(
            &format!("location {width}"),
            Box::new(Location::new(width, Start::Zeros)),
            &[&query, &[taps, UNITS * FILTERS, UNITS]],
            UNITS,
        ));
        all.push(of(
            &format!("dynamic-convolution {width}"),
            Box::new(DynamicConvolution::new(width, Start::First)),
            &[
                &query,
                &[taps * UNITS, taps, UNITS * 2 * FILTERS, UNITS, UNITS],
            ],
            0,
        ));
    }
    all
}

impl<T: Real> Mechanism<T> {
    /// Of everything that has a gradient: the parameters, the state, the weights before, the keys.
    fn sizes(&self) -> Vec<usize> {
        let rows = LENGTHS.len();
        let seen = [
            rows * STATE,
            rows * SOURCE_LEN,
            rows * SOURCE_LEN * self.key,
        ];
        [self.params.as_slice(), &seen].concat()
    }

    fn n(&self) -> usize {
        self.sizes().iter().sum()
    }

    /// Numbers for everything; the weights before are positive where real and 0 where padded.
    fn point(&self) -> Vec<f64> {
        let mut point = numbers(3, self.n());
        let after = LENGTHS.len() * SOURCE_LEN * self.key;
        let first = point.len() - after - LENGTHS.len() * SOURCE_LEN;
        for (row, length) in LENGTHS.into_iter().enumerate() {
            for position in 0..SOURCE_LEN {
                let weight = &mut point[first + row * SOURCE_LEN + position];
                *weight = if position < length { weight.abs() } else { 0.0 };
            }
        }
        point
    }

    /// The scores `[B, S]` of some rows, and what was saved.
    fn scores(&mut self, point: &[T], rows: &[usize]) -> (Vec<T>, Vec<T>) {
        let parts = split(point, &self.sizes());
        let (params, seen) = parts.split_at(self.params.len());
        self.scorer.pack(params);
        let pick = |all: &[T], width: usize| -> Vec<T> {
            let rows = rows.iter();
            rows.flat_map(|row| all[row * width..][..width].to_vec())
                .collect()
        };
        let (state, previous) = (pick(seen[0], STATE), pick(seen[1], SOURCE_LEN));
        let mut saved = vec![T::ZERO; rows.len() * self.scorer.saved_len(SOURCE_LEN)];
        let mut scores = vec![T::ZERO; rows.len() * SOURCE_LEN];
        let step = step(&state, &previous, seen[2], rows);
        self.scorer.scores(step, &mut saved, &mut scores);
        for (scores, &row) in scores.chunks_exact_mut(SOURCE_LEN).zip(rows) {
            scores[LENGTHS[row]..].fill(T::ZERO);
        }
        (scores, saved)
    }
}

impl Mechanism<f64> {
    /// The gradients of `Σ d_scores ⊙ scores`.
    fn gradient(&mut self, point: &[f64], d_scores: &[f64]) -> Vec<f64> {
        let rows: Vec<usize> = (0..LENGTHS.len()).collect();
        let (_, mut saved) = self.scores(point, &rows);
        let sizes = self.sizes();
        let parts = split(point, &sizes);
        let (params, seen) = parts.split_at(self.params.len());
        let mut gradient = vec![0.0; point.len()];
        let (d_params, d_seen) = gradient.split_at_mut(params.iter().map(|p| p.len()).sum());
        let (d_state, d_seen) = d_seen.split_at_mut(seen[0].len());
        let (d_previous, d_keys) = d_seen.split_at_mut(seen[1].len());
        let mut summed = vec![0.0; LENGTHS.len() * self.scorer.summed_len()];
        let grads = StepGrads {
            state: d_state,
            previous: d_previous,
            keys: d_keys,
            summed: &mut summed,
        };
        let seen_step = step(seen[0], seen[1], seen[2], &rows);
        self.scorer
            .backward(seen_step, &mut saved, &mut d_scores.to_vec(), grads);
        let mut rest = d_params;
        let mut d_params = Vec::new();
        for &size in &self.params {
            let (part, after) = rest.split_at_mut(size);
            d_params.push(part);
            rest = after;
        }
        self.scorer.gradients(
            Matrix::dense(&saved, LENGTHS.len(), self.scorer.saved_len(SOURCE_LEN)),
            Matrix::dense(seen[0], LENGTHS.len(), STATE),
            Matrix::dense(&summed, LENGTHS.len(), self.scorer.summed_len()),
            &mut d_params,
            &mut Team::single(),
        );
        gradient
    }
}

fn step<'a, T>(state: &'a [T], previous: &'a [T], keys: &'a [T], rows: &'a [usize]) -> Step<'a, T> {
    Step {
        state: Matrix::dense(state, rows.len(), STATE),
        previous,
        memory: Memory {
            values: &[],
            keys,
            lengths: &LENGTHS,
            len: SOURCE_LEN,
        },
        rows,
    }
}

fn split<'a, T>(all: &'a [T], sizes: &[usize]) -> Vec<&'a [T]> {
    let mut rest = all;
    let mut take = |n| {
        let (part, after) = rest.split_at(n);
        rest = after;
        part
    };
    sizes.iter().map(|&n| take(n)).collect()
}

/// Gradients of scores, other ones at every real position.
fn d_scores() -> Vec<f64> {
    let mut d_scores = numbers(5, LENGTHS.len() * SOURCE_LEN);
    for (row, length) in LENGTHS.into_iter().enumerate() {
        d_scores[row * SOURCE_LEN + length..(row + 1) * SOURCE_LEN].fill(0.0);
    }
    d_scores
}

#[test]
fn derivatives_are_those_of_the_scores() {
    let rows: Vec<usize> = (0..LENGTHS.len()).collect();
    for mut mechanism in mechanisms::<f64>() {
        if mechanism.name == "none" {
            continue; // its scores are infinite
        }
        let (point, d_scores) = (mechanism.point(), d_scores());
        let gradient = mechanism.gradient(&point, &d_scores);
        assert_gradient(&mechanism.name.clone(), &point, &gradient, |point| {
            dot(&mechanism.scores(point, &rows).0, &d_scores)
        });
    }
}

#[test]
fn rows_do_not_depend_on_each_other_and_need_no_order() {
    for mut mechanism in mechanisms::<f32>() {
        let point: Vec<f32> = mechanism.point().iter().map(|&x| x as f32).collect();
        let together = mechanism.scores(&point, &[0, 1, 2]).0;
        let row = |scores: &[f32], row: usize| scores[row * SOURCE_LEN..][..SOURCE_LEN].to_vec();
        let turned = mechanism.scores(&point, &[2, 2, 0]).0;
        for (at, from) in [2, 2, 0].into_iter().enumerate() {
            assert_eq!(row(&turned, at), row(&together, from), "{}", mechanism.name);
        }
        for from in 0..LENGTHS.len() {
            let alone = mechanism.scores(&point, &[from]).0;
            assert_eq!(alone, row(&together, from), "{}", mechanism.name);
        }
    }
}

#[test]
fn single_precision_is_double_precision_on_every_instruction_set() {
    for (mut single, mut double) in mechanisms::<f32>().into_iter().zip(mechanisms::<f64>()) {
        let point = double.point();
        let rows = [0, 1, 2];
        let exact = double.scores(&point, &rows).0;
        let point: Vec<f32> = point.iter().map(|&x| x as f32).collect();
        on_every_isa(|isa| {
            for (got, exact) in single.scores(&point, &rows).0.iter().zip(&exact) {
                let close = (f64::from(*got) - exact).abs() < 1e-5 || f64::from(*got) == *exact;
                assert!(close, "{} on {isa:?}: {got} is not {exact}", single.name);
            }
        });
    }
}

#[test]
fn weights_before_the_first_step_are_one_at_the_start() {
    let filled = |start: Start, length| {
        let mut weights = [7.0; 3];
        start.fill(length, &mut weights);
        weights
    };
    assert_eq!(filled(Start::Zeros, 2), [0.0; 3]);
    assert_eq!(filled(Start::First, 2), [1.0, 0.0, 0.0]);
    assert_eq!(filled(Start::Last, 2), [0.0, 1.0, 0.0]);
    assert_eq!(filled(Start::Last, 0), [0.0; 3]);
}

/// Weights and context of one row of scores.
fn weighed(scores: &[f32], values: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let memory = Memory {
        values,
        keys: &[],
        lengths: &[scores.len()],
        len: scores.len(),
    };
    let (mut weights, mut context) = (scores.to_vec(), vec![f32::NAN; width]);
    weigh(memory, &[0], &mut weights, &mut context, width, width);
    (weights, context)
}

#[test]
fn weights_and_context_stay_exact_over_forty_thousand_positions() {
    const LEN: usize = 40_000;
    const WIDTH: usize = 3;
    let values: Vec<f32> = numbers(1, LEN * WIDTH).iter().map(|&x| x as f32).collect();
    // Even, spread over five powers of e, and one position before all others.
    for (spread, peak) in [(0.0, 0.0), (5.0, 0.0), (1.0, 30.0)] {
        let mut scores: Vec<f32> = numbers(2, LEN)
            .iter()
            .map(|x| (spread * x) as f32)
            .collect();
        scores[LEN / 3] += peak;
        let (weights, context) = weighed(&scores, &values, WIDTH);
        let powers: Vec<f64> = scores.iter().map(|&x| f64::from(x).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for (weight, power) in weights.iter().zip(&powers) {
            let exact = power / sum;
            assert!(
                (f64::from(*weight) - exact).abs() < 3e-6 * exact,
                "{weight} is not {exact}"
            );
        }
        for (unit, &got) in context.iter().enumerate() {
            let column = values.iter().skip(unit).step_by(WIDTH);
            let products = powers
                .iter()
                .zip(column)
                .map(|(p, &v)| p / sum * f64::from(v));
            let exact: f64 = products.sum();
            assert!(
                (f64::from(got) - exact).abs() < 1e-6,
                "{got} is not {exact}"
            );
        }
    }
}

#[test]
fn weights_too_small_to_matter_are_nothing_and_broken_scores_stay_broken() {
    let values = [1.0, 10.0, 100.0];
    let (weights, context) = weighed(&[0.0, -75.5, f32::NEG_INFINITY], &values, 1);
    assert_eq!((weights, context), (vec![1.0, 0.0, 0.0], vec![1.0]));
    let (weights, context) = weighed(&[f32::NEG_INFINITY; 3], &values, 1);
    assert_eq!((weights, context), (vec![0.0; 3], vec![0.0]));
    for broken in [[f32::NAN; 3], [0.0, f32::NAN, 0.0]] {
        let (weights, context) = weighed(&broken, &values, 1);
        assert!(weights.iter().any(|w| w.is_nan()) && context[0].is_nan());
    }
}
