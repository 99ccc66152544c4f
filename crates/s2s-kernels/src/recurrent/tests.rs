use std::num::NonZeroUsize;

use super::batch::{Columns, RecurrentBatch, RecurrentInput, RecurrentStates};
use super::layer::RecurrentLayer;
use super::{Cell, Direction, RecurrentGrads, RecurrentParams, Save, State};
use crate::gradcheck::{assert_gradient, dot, numbers};
use crate::gru::Gru;
use crate::lstm::Lstm;
use crate::matrix::{Epilogue, Matrix};
use crate::team::Team;

const UNITS: usize = 3;
const INPUTS: usize = 2;
const VOCAB: usize = 4;
const COLUMNS: Columns = Columns {
    first: 1,
    stride: 5,
};

/// A layer on a padded batch; the loss is a weighted sum of all its outputs.
struct Case<C> {
    cell: C,
    direction: Direction,
    lengths: Vec<usize>,
    len: usize,
    ids: Option<Vec<u32>>,
    threads: usize,
}

impl<C: Cell> Case<C> {
    fn sizes(&self) -> [usize; 5] {
        let inputs = match self.ids {
            Some(_) => VOCAB * INPUTS,
            None => self.len * self.lengths.len() * INPUTS,
        };
        [
            C::GATES * UNITS * INPUTS,
            C::GATES * UNITS * UNITS,
            C::GATES * UNITS,
            C::GATES * UNITS,
            inputs,
        ]
    }

    fn batch<'a>(&'a self, x: &'a [f64]) -> RecurrentBatch<'a, f64> {
        let input = match &self.ids {
            Some(ids) => RecurrentInput::Embedded { ids, embedding: x },
            None => RecurrentInput::Dense(x),
        };
        RecurrentBatch {
            input,
            lengths: &self.lengths,
            len: self.len,
            initial: None,
        }
    }

    /// The gradients of the loss with respect to all states and to the last states.
    fn loss_weights(&self) -> (Vec<f64>, State<Vec<f64>>) {
        let rows = self.lengths.len();
        let d_last = State {
            hidden: numbers(8, rows * UNITS),
            cell: numbers(9, rows * UNITS * C::CELL_STATES),
        };
        (numbers(7, self.len * rows * COLUMNS.stride), d_last)
    }

    fn run(&self, layer: &mut RecurrentLayer<f64, C>, point: &[f64]) -> (Vec<f64>, f64) {
        self.run_saving(Save::Gates, layer, point)
    }

    fn run_saving(
        &self,
        save: Save,
        layer: &mut RecurrentLayer<f64, C>,
        point: &[f64],
    ) -> (Vec<f64>, f64) {
        let parts = split(point, &self.sizes());
        let params = params(&parts);
        let mut states = vec![0.0; self.len * self.lengths.len() * COLUMNS.stride];
        let (d_states, d_last) = self.loss_weights();
        let mut last = d_last.clone();
        let embedding = self.ids.as_ref().map_or(&[][..], |_| parts[4]);
        layer.pack(params, embedding);
        let batch = self.batch(parts[4]);
        layer.forward(batch, &mut states, COLUMNS, save, &mut self.team());
        let to = last.each_mut().map(Vec::as_mut_slice);
        layer.last(
            self.batch(parts[4]),
            &states,
            COLUMNS,
            to,
            Columns::all(UNITS),
        );
        let loss = dot(&states, &d_states)
            + (dot(&last.hidden, &d_last.hidden) + dot(&last.cell, &d_last.cell));
        (states, loss)
    }

    fn gradient(&self, point: &[f64]) -> Vec<f64> {
        let mut layer = RecurrentLayer::new(self.direction);
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
        let rows = self.lengths.len();
        let states = RecurrentStates {
            states: &states,
            d_states: &d_states,
            columns: COLUMNS,
            d_last: State {
                hidden: Matrix::dense(&d_last.hidden, rows, UNITS),
                cell: Matrix::dense(&d_last.cell, rows, UNITS * C::CELL_STATES),
            },
        };
        layer.backward(
            self.batch(parts[4]),
            states,
            d_input,
            Epilogue::Replace,
            &mut RecurrentGrads {
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
        let mut layer = RecurrentLayer::new(self.direction);
        assert_gradient(&format!("{:?}", self.cell), &point, &gradient, |point| {
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

fn params<'a>(parts: &[&'a [f64]]) -> RecurrentParams<'a, f64> {
    RecurrentParams {
        weight_ih: parts[0],
        weight_hh: parts[1],
        bias_ih: parts[2],
        bias_hh: parts[3],
    }
}

fn cases<C: Cell>() -> impl Iterator<Item = Case<C>> {
    let ids = vec![1, 2, 1, 0, 3, 3, 3, 1, 0, 0, 2, 0];
    [(Direction::Forward, 1), (Direction::Backward, 2)]
        .into_iter()
        .flat_map(move |direction| {
            let (direction, threads) = direction;
            [None, Some(ids.clone())].map(|ids| Case {
                cell: C::default(),
                direction,
                lengths: vec![1, 3, 0, 2],
                len: 3,
                ids,
                threads,
            })
        })
}

#[test]
fn gradients_match_finite_differences() {
    cases::<Gru>().for_each(|case| case.check());
    cases::<Lstm>().for_each(|case| case.check());
}

fn check_saving<C: Cell>() {
    for case in cases::<C>() {
        let point = numbers(2, case.sizes().iter().sum());
        let mut layer = RecurrentLayer::new(case.direction);
        let [saved, unsaved] =
            [Save::Gates, Save::Nothing].map(|save| case.run_saving(save, &mut layer, &point));
        assert_eq!(saved, unsaved, "{:?}", case.direction);
    }
}

#[test]
fn states_do_not_depend_on_what_is_saved() {
    check_saving::<Gru>();
    check_saving::<Lstm>();
}

/// A batch of one row projects 32 positions in one product; this row takes three products.
fn check_many_positions<C: Cell>() {
    for case in cases::<C>() {
        let ids = || (0..70).map(|position| position % VOCAB as u32).collect();
        let case = Case {
            lengths: vec![66],
            len: 70,
            ids: case.ids.is_some().then(ids),
            ..case
        };
        case.check();
    }
}

#[test]
fn gradients_of_a_long_row_match_finite_differences() {
    check_many_positions::<Gru>();
    check_many_positions::<Lstm>();
}

fn check_one_position<C: Cell>() {
    for case in cases::<C>() {
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
fn the_recurrent_gradient_of_a_single_position_is_zero() {
    check_one_position::<Gru>();
    check_one_position::<Lstm>();
}

fn check_threads<C: Cell>() {
    for case in cases::<C>() {
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

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    check_threads::<Gru>();
    check_threads::<Lstm>();
}

fn check_memory<C: Cell>() {
    for case in cases::<C>() {
        let point = numbers(5, case.sizes().iter().sum());
        let mut used = RecurrentLayer::new(case.direction);
        let longer = Case {
            lengths: vec![3; 4],
            ids: case.ids.clone(),
            ..case
        };
        longer.run(&mut used, &point);
        let fresh = case.run(&mut RecurrentLayer::new(case.direction), &point);
        assert_eq!(case.run(&mut used, &point), fresh);
    }
}

#[test]
fn results_do_not_depend_on_an_earlier_batch() {
    check_memory::<Gru>();
    check_memory::<Lstm>();
}
