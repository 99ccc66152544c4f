//! Gradients against central differences, and decoding against the forward pass.

use std::num::NonZeroUsize;
use std::ops::Range;

use super::*;
use crate::gradcheck::{assert_gradient, dot, numbers};
use crate::team::Team;

const SIZES: TransducerSizes = TransducerSizes {
    modes: 3,
    reach: 2,
    vocab: 4,
    values: 5,
};
const LEN: usize = 7;
const STEPS: usize = 6;
const LENGTHS: [usize; 4] = [7, 1, 0, 4];
const REAL_STEPS: [usize; 4] = [6, 3, 0, 5];

/// Names, sizes and values of the parameters, in the order of their struct.
fn parameters() -> Vec<(&'static str, Vec<f64>)> {
    let TransducerSizes {
        modes,
        vocab,
        values,
        ..
    } = SIZES;
    let moves = SIZES.moves();
    let of = |seed, n| numbers(seed, n);
    vec![
        ("transition_weight", of(1, modes * modes * values)),
        ("transition_bias", of(2, modes * modes)),
        ("kernel_weight", of(3, modes * moves * values)),
        ("kernel_bias", of(4, modes * moves)),
        ("sharpness", of(5, modes)),
        ("output_weight", of(6, vocab * values)),
        ("output_bias", of(7, vocab)),
        ("mode_output", of(8, vocab * modes)),
    ]
}

fn params<P>(all: Vec<P>) -> TransducerParams<P> {
    let [
        transition_weight,
        transition_bias,
        kernel_weight,
        kernel_bias,
        sharpness,
        output_weight,
        output_bias,
        mode_output,
    ] = <[P; 8]>::try_from(all).unwrap_or_else(|_| panic!("eight parameters"));
    TransducerParams {
        transition_weight,
        transition_bias,
        kernel_weight,
        kernel_bias,
        sharpness,
        output_weight,
        output_bias,
        mode_output,
    }
}

fn inputs(values: &[f64], progress: f64) -> TransducerInputs<'_, f64> {
    TransducerInputs {
        values,
        lengths: &LENGTHS,
        len: LEN,
        progress,
    }
}

fn packed(all: &[Vec<f64>]) -> Transducer<f64> {
    let mut transducer = Transducer::new();
    transducer.pack(SIZES, params(all.iter().map(Vec::as_slice).collect()));
    transducer
}

/// The factors of the logits in the loss, `[T, B, V]`; 0 beyond the real steps.
fn factors() -> Vec<f64> {
    let batch = LENGTHS.len();
    let mut factors = numbers(9, STEPS * batch * SIZES.vocab);
    for (index, factors) in factors.chunks_exact_mut(SIZES.vocab).enumerate() {
        if index / batch >= REAL_STEPS[index % batch] {
            factors.fill(0.0);
        }
    }
    factors
}

/// A linear loss of the logits, less the bonus on the entropy of the moves.
fn loss(all: &[Vec<f64>], values: &[f64], progress: f64, factor: f64) -> f64 {
    let mut transducer = packed(all);
    transducer.forward(inputs(values, progress), STEPS, &mut Team::single());
    let moves = SIZES.moves();
    let entropy: f64 = transducer
        .kernels()
        .chunks_exact(moves)
        .enumerate()
        .filter(|(index, _)| index % STEPS < REAL_STEPS[index / STEPS])
        .flat_map(|(_, kernel)| kernel)
        .map(|p| -p * (p + 1e-8).ln())
        .sum();
    dot(transducer.logits(), &factors()) - factor * entropy
}

#[test]
fn gradients_match_finite_differences() {
    for (progress, factor) in [(0.0, 0.3), (0.4, 0.1), (1.0, 0.0)] {
        let (names, all): (Vec<_>, Vec<_>) = parameters().into_iter().unzip();
        let values = numbers(10, LENGTHS.len() * LEN * SIZES.values);
        let mut transducer = packed(&all);
        let mut team = Team::new(NonZeroUsize::new(3).unwrap());
        transducer.forward(inputs(&values, progress), STEPS, &mut team);
        transducer.logits_mut().copy_from_slice(&factors());
        let mut gradients: Vec<Vec<f64>> = all.iter().map(|p| vec![f64::NAN; p.len()]).collect();
        let mut d_values = vec![f64::NAN; values.len()];
        let bonus = EntropyBonus {
            factor,
            steps: &REAL_STEPS,
        };
        let grads = params(gradients.iter_mut().map(Vec::as_mut_slice).collect());
        transducer.backward(
            inputs(&values, progress),
            bonus,
            &mut d_values,
            grads,
            &mut team,
        );

        assert_gradient("values", &values, &d_values, |values| {
            loss(&all, values, progress, factor)
        });
        for (index, name) in names.into_iter().enumerate() {
            assert_gradient(name, &all[index], &gradients[index], |moved| {
                let mut all = all.clone();
                all[index] = moved.to_vec();
                loss(&all, &values, progress, factor)
            });
        }
    }
}

#[test]
fn decoding_has_the_logits_of_the_forward_pass() {
    let all: Vec<_> = parameters().into_iter().map(|(_, p)| p).collect();
    let values = numbers(10, LENGTHS.len() * LEN * SIZES.values);
    let mut transducer = packed(&all);
    let mut team = Team::single();
    transducer.forward(inputs(&values, 1.0), STEPS, &mut team);
    let expected = transducer.logits().to_vec();
    let mut decoding = TransducerDecoding::new();
    decoding.start(&transducer, &values, &LENGTHS, &mut team);
    for expected in expected.chunks_exact(LENGTHS.len() * SIZES.vocab) {
        decoding.step(&transducer);
        for (got, expected) in decoding.logits().iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{got}, not {expected}");
        }
    }
}

#[test]
fn rows_are_kept_in_any_order_and_number() {
    let all: Vec<_> = parameters().into_iter().map(|(_, p)| p).collect();
    let values = numbers(10, LENGTHS.len() * LEN * SIZES.values);
    let (transducer, mut team) = (packed(&all), Team::single());
    let mut whole = TransducerDecoding::new();
    whole.start(&transducer, &values, &LENGTHS, &mut team);
    whole.step(&transducer);
    let mut kept = whole.clone();
    for from in [vec![3, 0, 0], vec![1, 0, 2, 0], vec![2]] {
        kept.keep(&from);
    }
    whole.step(&transducer);
    kept.step(&transducer);
    assert_eq!(kept.logits(), &whole.logits()[..SIZES.vocab]);
    assert_eq!(kept.heads(), &whole.heads()[..LEN]);
    kept.keep(&[]);
    kept.step(&transducer);
    assert!(kept.logits().is_empty());
}

/// A transducer whose head walks away from the first position, and is there, too, with a small probability. Its
/// sharpening grows with `sharpness`.
fn walking(sharpness: f32) -> Transducer<f32> {
    let single = |all: &[f64]| -> Vec<f32> { all.iter().map(|x| *x as f32).collect() };
    let all: Vec<Vec<f32>> = parameters()
        .into_iter()
        .map(|(name, p)| match name {
            "sharpness" => vec![sharpness; p.len()],
            "kernel_bias" => {
                let bias = |tap| match tap % SIZES.moves() {
                    3 => 25.0,
                    7 => 17.0,
                    _ => 0.0,
                };
                (0..p.len()).map(bias).collect()
            }
            _ => single(&p),
        })
        .collect();
    let mut transducer = Transducer::new();
    transducer.pack(SIZES, params(all.iter().map(Vec::as_slice).collect()));
    transducer
}

/// Steps of a decoding near the head, and of one over all positions, of a long source.
struct Pair {
    transducer: Transducer<f32>,
    values: Vec<f32>,
    near: TransducerDecoding<f32>,
    whole: TransducerDecoding<f32>,
}

const LONG: usize = 3000;

impl Pair {
    fn new(transducer: Transducer<f32>) -> Self {
        let values = numbers(10, LONG * SIZES.values);
        let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
        let mut near = TransducerDecoding::new();
        near.start(&transducer, &values, &[LONG], &mut Team::single());
        Self {
            transducer,
            values,
            whole: near.clone(),
            near,
        }
    }

    fn step(&mut self) {
        self.near.step(&self.transducer);
        self.whole.look_everywhere();
        self.whole.step(&self.transducer);
    }

    /// Compares the logits with those of the forward pass.
    fn check_last(&mut self, n_steps: usize) {
        let inputs = TransducerInputs {
            values: &self.values,
            lengths: &[LONG],
            len: LONG,
            progress: 1.0,
        };
        self.transducer
            .forward(inputs, n_steps, &mut Team::single());
        let last = &self.transducer.logits()[(n_steps - 1) * SIZES.vocab..];
        for (got, expected) in self.near.logits().iter().zip(last) {
            assert!((got - expected).abs() < 1e-4, "{got}, not {expected}");
        }
    }

    /// The positions that the last step read one by one.
    fn n_read(&self) -> usize {
        self.near.support(0).iter().map(Range::len).sum()
    }
}

#[test]
fn a_step_near_the_head_has_the_bits_of_one_over_all_positions() {
    let mut pair = Pair::new(walking(0.0));
    for _ in 0..200 {
        pair.step();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(pair.near.logits()), bits(pair.whole.logits()));
        assert_eq!(bits(pair.near.heads()), bits(pair.whole.heads()));
    }
    assert_eq!(pair.near.support(0)[0].start, 0);
    assert!(pair.n_read() < 20, "{} positions", pair.n_read());
    pair.check_last(200);
}

#[test]
fn companions_do_not_change_a_row_with_a_background() {
    const SHORT: usize = 700;
    let transducer = walking(-4.0);
    let values = numbers(10, 2 * LONG * SIZES.values);
    let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
    let mut team = Team::single();
    let mut both = TransducerDecoding::new();
    both.start(&transducer, &values, &[LONG, SHORT], &mut team);
    let mut alone = TransducerDecoding::new();
    let short = &values[LONG * SIZES.values..][..SHORT * SIZES.values];
    alone.start(&transducer, short, &[SHORT], &mut team);
    for step in 0..60 {
        if step == 30 {
            both.keep(&[1, 0, 1]);
        }
        both.step(&transducer);
        alone.step(&transducer);
        for row in if step < 30 { vec![1] } else { vec![0, 2] } {
            let logits = &both.logits()[row * SIZES.vocab..][..SIZES.vocab];
            assert_eq!(logits, alone.logits(), "row {row} at step {step}");
            assert_eq!(both.background(row), alone.background(0));
            assert_eq!(both.support(row), alone.support(0));
        }
    }
    assert!(alone.background(0) > 0.0);
}

#[test]
fn positions_that_the_head_cannot_reach_have_one_probability_in_common() {
    // The greatest weight is 1; rounding of the logarithm is up to 20 times larger than that of its result.
    const TOLERANCE: f32 = 1e-5;
    // Without sharpening, a part of the head stays behind at all positions that it passes.
    for (sharpness, max_read) in [(-2.0, 100), (-4.0, 100), (-20.0, 220)] {
        let mut pair = Pair::new(walking(sharpness));
        for _ in 0..200 {
            pair.step();
            let mut heads = pair.near.heads().to_vec();
            pair.near.fill_background(0, &mut heads);
            let mut expected = pair.whole.heads().to_vec();
            pair.whole.fill_background(0, &mut expected);
            for (got, expected) in heads.iter().zip(&expected) {
                assert!((got - expected).abs() < TOLERANCE, "{got}, not {expected}");
            }
            for (got, expected) in pair.near.logits().iter().zip(pair.whole.logits()) {
                assert!((got - expected).abs() < TOLERANCE, "{got}, not {expected}");
            }
            let sum: f64 = heads.iter().copied().map(f64::from).sum();
            assert!((sum - 1.0).abs() < f64::from(TOLERANCE), "{sum}");
        }
        assert!(pair.near.background(0) > 0.0, "a background at {sharpness}");
        assert!(
            pair.n_read() < max_read,
            "{} positions at {sharpness}",
            pair.n_read()
        );
        pair.check_last(200);
    }
}
