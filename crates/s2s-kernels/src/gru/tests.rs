use std::num::NonZeroUsize;

use super::kernel::{Columns, GruInput, GruLayer, last};
use super::{Direction, GruGrads, GruParams};
use crate::gradcheck::{assert_gradient, dot, numbers};
use crate::real::Output;
use crate::team::Team;

const UNITS: usize = 3;
const INPUTS: usize = 2;
const WORDS: usize = 4;
const COLUMNS: Columns = Columns {
    first: 1,
    stride: 5,
};

/// A layer on a ragged batch, its loss a weighted sum of everything that it returns.
struct Case {
    direction: Direction,
    lengths: Vec<usize>,
    len: usize,
    ids: Option<Vec<u32>>,
    threads: usize,
}

impl Case {
    fn sizes(&self) -> [usize; 5] {
        let inputs = match self.ids {
            Some(_) => WORDS * INPUTS,
            None => self.len * self.lengths.len() * INPUTS,
        };
        [
            3 * UNITS * INPUTS,
            3 * UNITS * UNITS,
            3 * UNITS,
            3 * UNITS,
            inputs,
        ]
    }

    fn batch(&self) -> (&[usize], usize) {
        (&self.lengths, self.len)
    }

    fn input<'a>(&'a self, x: &'a [f64]) -> GruInput<'a, f64> {
        match &self.ids {
            Some(ids) => GruInput::Embedded { ids, embedding: x },
            None => GruInput::Dense(x),
        }
    }

    fn loss_weights(&self) -> (Vec<f64>, Vec<f64>) {
        let rows = self.lengths.len();
        (
            numbers(7, self.len * rows * COLUMNS.stride),
            numbers(8, rows * UNITS),
        )
    }

    fn run(&self, layer: &mut GruLayer<f64>, point: &[f64]) -> (Vec<f64>, f64) {
        let parts = split(point, &self.sizes());
        let params = params(&parts);
        let mut states = vec![0.0; self.len * self.lengths.len() * COLUMNS.stride];
        let mut ends = vec![0.0; self.lengths.len() * UNITS];
        layer.pack(params);
        let input = self.input(parts[4]);
        layer.forward(
            input,
            self.batch(),
            (&mut states, COLUMNS),
            &mut self.team(),
        );
        last(&mut ends, self.direction, self.batch(), (&states, COLUMNS));
        let (d_states, d_last) = self.loss_weights();
        let loss = dot(&states, &d_states) + dot(&ends, &d_last);
        (states, loss)
    }

    fn gradient(&self, point: &[f64]) -> Vec<f64> {
        let mut layer = GruLayer::new(self.direction);
        let (states, _) = self.run(&mut layer, point);
        let parts = split(point, &self.sizes());
        let (d_states, d_last) = self.loss_weights();
        let mut gradient = vec![f64::NAN; point.len()];
        let mut rest = gradient.as_mut_slice();
        let [weight_ih, weight_hh, bias_ih, bias_hh, d_input] = self.sizes().map(|n| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(n);
            rest = after;
            part
        });
        layer.backward(
            self.input(parts[4]),
            self.batch(),
            (&states, &d_states, COLUMNS),
            &d_last,
            (d_input, Output::Replace),
            &mut GruGrads {
                weight_ih,
                weight_hh,
                bias_ih,
                bias_hh,
            },
            &mut self.team(),
        );
        gradient
    }

    fn team(&self) -> Team<f64> {
        Team::new(NonZeroUsize::new(self.threads).unwrap())
    }

    #[track_caller]
    fn check(&self) {
        let point = numbers(3, self.sizes().iter().sum());
        let gradient = self.gradient(&point);
        let mut layer = GruLayer::new(self.direction);
        assert_gradient("gru", &point, &gradient, |point| {
            self.run(&mut layer, point).1
        });
    }
}

fn split<'a>(all: &'a [f64], sizes: &[usize]) -> Vec<&'a [f64]> {
    let mut rest = all;
    sizes
        .iter()
        .map(|&n| {
            let (part, after) = rest.split_at(n);
            rest = after;
            part
        })
        .collect()
}

fn params<'a>(parts: &[&'a [f64]]) -> GruParams<'a, f64> {
    GruParams {
        weight_ih: parts[0],
        weight_hh: parts[1],
        bias_ih: parts[2],
        bias_hh: parts[3],
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let ids = vec![1, 2, 1, 0, 3, 3, 3, 1, 0, 0, 2, 0];
    [(Direction::Forward, 1), (Direction::Backward, 2)]
        .into_iter()
        .flat_map(move |direction| {
            let (direction, threads) = direction;
            [None, Some(ids.clone())].map(|ids| Case {
                direction,
                lengths: vec![1, 3, 0, 2],
                len: 3,
                ids,
                threads,
            })
        })
}

#[test]
fn derivatives_are_those_of_the_forward_pass() {
    cases().for_each(|case| case.check());
}

#[test]
fn a_batch_of_one_position_has_no_recurrent_gradient() {
    for case in cases() {
        let case = Case {
            lengths: vec![1, 1],
            len: 1,
            ids: None,
            ..case
        };
        case.check();
        let sizes = case.sizes();
        let gradient = case.gradient(&numbers(3, sizes.iter().sum()));
        assert!(
            gradient[sizes[0]..sizes[0] + sizes[1]]
                .iter()
                .all(|&d| d == 0.0)
        );
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for case in cases() {
        let point = numbers(5, case.sizes().iter().sum());
        let expected = case.gradient(&point);
        for threads in 1..6 {
            let case = Case {
                threads,
                ids: case.ids.clone(),
                lengths: case.lengths.clone(),
                ..case
            };
            assert_eq!(case.gradient(&point), expected);
        }
    }
}
