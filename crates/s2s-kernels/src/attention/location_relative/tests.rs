use super::*;
use crate::attention::additive::additive_scores;
use crate::attention::kernel::{softmax, weigh_within};
use crate::gradcheck::numbers;
use crate::simd::on_every_isa;

const UNITS: usize = 17;
const LEN: usize = 3000;
const PLACE: usize = 1000;

fn single(seed: u64, n: usize, scale: f64) -> Vec<f32> {
    let numbers = numbers(seed, n);
    numbers.iter().map(|x| (x * scale) as f32).collect()
}

fn scorer(sharpness: f32, loudness: f64) -> LocationRelative<f32> {
    let (weight, bias) = (single(3, UNITS, 1.0), single(4, UNITS, 1.0));
    let (shift, shift_bias) = (single(5, 3, 1.0), single(6, 3, 1.0));
    let mut scorer = LocationRelative::new(Start::Last);
    scorer.pack(&[
        &weight,
        &bias,
        &single(2, UNITS, loudness),
        &shift,
        &shift_bias,
        &[0.0],
        &[sharpness],
    ]);
    scorer
}

/// One row that looked at one place before: its scores, and those without any position left out.
/// The greater `sharpness`, the more the place before matters.
fn scores(sharpness: f32, loudness: f64) -> [Vec<f32>; 2] {
    let (keys, energy) = (single(1, LEN * UNITS, 1.0), single(2, UNITS, loudness));
    let scorer = scorer(sharpness, loudness);
    let mut previous = vec![0.0; LEN];
    previous[PLACE] = 1.0;
    let memory = Memory {
        values: &[],
        keys: &keys,
        lengths: &[LEN],
        len: LEN,
    };
    let step = Step {
        state: Matrix::dense(&[0.5], 1, 1),
        previous: &previous,
        memory,
        rows: &[0],
    };
    let stride = scorer.saved_len(LEN);
    let (mut saved, mut scores) = (vec![0.0; stride], vec![0.0; LEN]);
    scorer.scores(step, &mut saved, &mut scores);

    scorer.queries.forward(step, &mut saved, stride);
    let mut all = vec![0.0; LEN];
    additive_scores(memory, &[0], &saved, stride, &energy, &mut all);
    let controls = &mut saved[UNITS..][..CONTROLS];
    shift::normalize(controls);
    shift::forward(controls, &previous, &mut vec![0.0; LEN], &mut all);
    [scores, all]
}

type Read = fn(
    &LocationRelative<f32>,
    Step<'_, f32>,
    &mut [Range<usize>],
    &mut [Vec<f32>],
    &mut [f32],
    &mut [f32],
);

/// Two steps from the weights `before` around a place: the weights and the contexts, as bits; and
/// whether the best key was needed.
fn two_steps(
    scorer: &LocationRelative<f32>,
    memory: Memory<'_, f32>,
    before: &[f32],
    place: usize,
    read: Read,
) -> (Vec<u32>, Range<usize>, bool) {
    let mut previous = vec![0.0; memory.len];
    previous[place..][..before.len()].copy_from_slice(before);
    let near = place..place + before.len();
    let (mut reach, mut found) = ([near], [Vec::new()]);
    let mut saved = vec![0.0; scorer.saved_len(memory.len)];
    let mut bits = Vec::new();
    for state in [[0.5], [-0.8]] {
        let step = Step {
            state: Matrix::dense(&state, 1, 1),
            previous: &previous,
            memory,
            rows: &[0],
        };
        let mut weights = vec![0.0; memory.len];
        let mut context = vec![0.0; UNITS];
        read(
            scorer,
            step,
            &mut reach,
            &mut found,
            &mut saved,
            &mut weights,
        );
        weigh_within(
            memory,
            &[0],
            &mut reach,
            &mut weights,
            &mut context,
            UNITS,
            UNITS,
        );
        bits.extend(weights.iter().chain(&context).map(|x| x.to_bits()));
        previous = weights;
    }
    let [reach] = reach;
    (bits, reach, !found[0].is_empty())
}

#[test]
fn a_step_that_reads_near_positions_has_the_bits_of_one_that_reads_all() {
    const LONGEST: usize = 4000;
    let [wide, alike] = [1.0, 0.01].map(|scale| single(1, LONGEST * UNITS, scale));
    on_every_isa(|isa| {
        let (mut n_near, mut n_all, mut n_bounded) = (0, 0, 0);
        for len in 1..=LONGEST {
            let (sharpness, loudness, keys) = match len % 16 {
                0 => (-3.0, 1.0, &wide), // needs all positions
                8 => (3.0, 9.0, &alike), // needs the best key
                1..8 => (3.0, 1.0, &wide),
                _ => (9.0, 2.0, &wide),
            };
            let scorer = scorer(sharpness, loudness);
            let keys = &keys[..len * UNITS];
            let memory = Memory {
                values: keys,
                keys,
                lengths: &[len],
                len,
            };
            let before: &[f32] = [&[1.0][..], &[0.25, 0.75], &[1e-30, 0.0, 1.0]][len % 5 % 3];
            let before = &before[..before.len().min(len)];
            let place = [0, len / 2, len - before.len()][len % 7 % 3].min(len - before.len());
            let (near, reach, is_bounded) = two_steps(
                &scorer,
                memory,
                before,
                place,
                |scorer, step, reach, found, saved, scores| {
                    scorer.scores_within(step, reach, found, saved, scores);
                },
            );
            let (all, ..) = two_steps(
                &scorer,
                memory,
                before,
                place,
                |scorer, step, reach, _, saved, scores| {
                    scorer.scores(step, saved, scores);
                    reach[0] = 0..step.memory.len;
                },
            );
            assert!(near == all, "length {len}, place {place}, {isa:?}");
            let count = match (reach.len() < len, is_bounded) {
                (true, false) => &mut n_near,
                (true, true) => &mut n_bounded,
                (false, _) => &mut n_all,
            };
            *count += 1;
        }
        assert!(
            n_near > 3300 && n_bounded > 200 && n_all > 200,
            "{n_near} {n_bounded} {n_all}"
        );
    });
}

#[test]
fn what_is_left_out_weighs_nothing() {
    on_every_isa(|isa| {
        for (sharpness, loudness, n_read) in [
            (3.0, 1.0, 3..=3),
            (-3.0, 1.0, LEN..=LEN),
            (3.0, 9.0, 3..=3),
            (3.0, 20.0, 4..=LEN),
        ] {
            let [mut scores, mut all] = scores(sharpness, loudness);
            let read = scores.iter().filter(|&&score| score > f32::NEG_INFINITY);
            let read = read.count();
            assert!(n_read.contains(&read), "{read} positions read on {isa:?}");
            softmax(&mut scores);
            softmax(&mut all);
            for (weight, right) in scores.iter().zip(&all) {
                let error = (weight - right).abs();
                assert!(
                    error < f32::EPSILON * right.max(0.5),
                    "{weight}, not {right}"
                );
            }
        }
    });
}
