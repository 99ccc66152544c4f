use std::marker::PhantomData;
use std::num::NonZeroUsize;

use super::*;
use crate::attention::additive::Additive;
use crate::attention::kernel::Memory;
use crate::gradcheck::{assert_gradient, dot, numbers};
use crate::gru::Gru;
use crate::lstm::Lstm;
use crate::recurrent::Cell;
use crate::team::Team;

const SIZES: DecoderSizes = DecoderSizes {
    vocab: 5,
    embedding: 2,
    units: 3,
    values: 4,
    layers: 1,
    input_feeding: false,
};
const ATTENTION: usize = 2;
const LENGTHS: [usize; 3] = [2, 1, 3];
const SOURCE_LEN: usize = 3;
const LEN: usize = 3;

/// A decoder on a small padded batch; the loss is a weighted sum of the logits.
#[derive(Clone, Debug)]
struct Case<C> {
    cell: PhantomData<C>,
    layers: usize,
    stack: Stack,
    forced: Vec<bool>,
    has_dropout: bool,
    threads: usize,
}

/// How the layers are connected, and what the lowest reads.
#[derive(Clone, Copy, Debug)]
struct Stack {
    is_residual: bool,
    is_normalized: bool,
    input_feeding: bool,
}

const PLAIN: Stack = Stack {
    is_residual: false,
    is_normalized: false,
    input_feeding: false,
};
const STACKS: [Stack; 6] = [
    PLAIN,
    Stack {
        is_residual: true,
        ..PLAIN
    },
    Stack {
        is_normalized: true,
        ..PLAIN
    },
    Stack {
        is_residual: true,
        is_normalized: true,
        ..PLAIN
    },
    Stack {
        input_feeding: true,
        ..PLAIN
    },
    Stack {
        is_residual: true,
        is_normalized: true,
        input_feeding: true,
    },
];

impl<C: Cell> Case<C> {
    /// The sizes of everything that has a gradient: embedding, output weight and bias, the scorer's
    /// query weight, query bias and energy, values, keys; then the two initial states of each layer;
    /// then the four parameters of each layer; then gain and bias of each normalization; then weight and
    /// bias of the vector.
    fn sizes(&self) -> Vec<usize> {
        let DecoderSizes {
            vocab,
            embedding,
            units,
            values,
            ..
        } = SIZES;
        let batch = LENGTHS.len();
        let (fed, read) = match self.stack.input_feeding {
            true => (units, units),
            false => (values, units + values),
        };
        let mut sizes = vec![
            vocab * embedding,
            vocab * read,
            vocab,
            ATTENTION * units,
            ATTENTION,
            ATTENTION,
            SOURCE_LEN * batch * values,
            SOURCE_LEN * batch * ATTENTION,
        ];
        for _ in 0..self.layers {
            sizes.extend([batch * units, batch * units * C::CELL_STATES]);
        }
        for layer in 0..self.layers {
            let inputs = if layer == 0 { embedding + fed } else { units };
            let gates = C::GATES * units;
            sizes.extend([gates * inputs, gates * units, gates, gates]);
        }
        sizes.extend([units].repeat(2 * self.norms()));
        if self.stack.input_feeding {
            sizes.extend([units * (units + values), units]);
        }
        sizes
    }

    fn norms(&self) -> usize {
        match self.stack.is_normalized {
            true => self.layers - 1,
            false => 0,
        }
    }

    fn masks(&self) -> (Vec<f64>, Vec<Vec<f64>>) {
        let mask = |seed, n| {
            numbers(seed, n)
                .iter()
                .map(|&x| if x < 0.3 { 1.4 } else { 0.0 })
                .collect()
        };
        let rows = LENGTHS.len() * LEN;
        let between = (1..self.layers).map(|layer| mask(20 + layer as u64, rows * SIZES.units));
        (mask(11, rows * SIZES.embedding), between.collect())
    }

    fn team(&self) -> Team<f64> {
        Team::new(NonZeroUsize::new(self.threads).unwrap())
    }

    /// Returns the loss; writes the gradient, if given.
    fn run(
        &self,
        decoder: &mut Decoder<f64, C>,
        point: &[f64],
        gradient: Option<&mut [f64]>,
    ) -> f64 {
        let parts = self.pack(decoder, point);
        let memory = Memory {
            values: parts[6],
            keys: parts[7],
            lengths: &LENGTHS,
            len: SOURCE_LEN,
        };
        let tokens = [0, 3, 1, 0, 2, 4, 0, 1, 3];
        let targets = Targets {
            tokens: &tokens,
            forced: &self.forced,
        };
        let (embedding, between) = self.masks();
        let between: Vec<&[f64]> = between.iter().map(Vec::as_slice).collect();
        let dropout = DecoderDropout {
            embedding: self.has_dropout.then_some(&embedding[..]),
            between: self.has_dropout.then_some(&between[..]),
        };
        let initial = self.initial(&parts);
        let inputs = DecoderInputs {
            memory,
            initial: &initial,
            targets,
            dropout,
        };
        decoder.forward(inputs, &mut self.team());
        let d_logits = numbers(9, decoder.logits().len());
        let loss = dot(decoder.logits(), &d_logits);
        if let Some(gradient) = gradient {
            decoder.logits_mut().copy_from_slice(&d_logits);
            let mut d = split_mut(gradient, &self.sizes()).into_iter();
            let mut next = || d.next().unwrap();
            let [embedding, output_weight, output_bias] = [next(), next(), next()];
            let mut scorer = [next(), next(), next()];
            let (values, keys) = (next(), next());
            let initial = (0..self.layers).map(|_| State {
                hidden: next(),
                cell: next(),
            });
            let initial = initial.collect();
            let layers = (0..self.layers).map(|_| RecurrentGrads {
                weight_ih: next(),
                weight_hh: next(),
                bias_ih: next(),
                bias_hh: next(),
            });
            let layers = layers.collect();
            let norms = (0..self.norms()).map(|_| NormGrads {
                gain: next(),
                bias: next(),
            });
            let norms = norms.collect();
            let attentional = self.stack.input_feeding.then(|| AttentionalGrads {
                weight: next(),
                bias: next(),
            });
            let grads = DecoderGrads {
                layers,
                norms,
                attentional,
                embedding,
                output_weight,
                output_bias,
            };
            let d_memory = MemoryGrads {
                values,
                keys,
                initial,
            };
            decoder.backward(inputs, d_memory, grads, &mut scorer, &mut self.team());
        }
        loss
    }

    fn gradient(&self) -> (Vec<f64>, Vec<f64>) {
        let point = numbers(4, self.sizes().iter().sum());
        let mut gradient = vec![f64::NAN; point.len()];
        self.run(
            &mut Decoder::new(Box::new(Additive::new())),
            &point,
            Some(&mut gradient),
        );
        (point, gradient)
    }
}

impl<C: Cell> Case<C> {
    /// Each layer's initial state.
    fn initial<'a>(&self, parts: &[&'a [f64]]) -> Vec<State<&'a [f64]>> {
        let states = parts[8..][..2 * self.layers].chunks_exact(2);
        states
            .map(|p| State {
                hidden: p[0],
                cell: p[1],
            })
            .collect()
    }

    /// Packs the parameters of `point` and returns its parts.
    fn pack<'a>(&self, decoder: &mut Decoder<f64, C>, point: &'a [f64]) -> Vec<&'a [f64]> {
        let parts = split(point, &self.sizes());
        let (layers, norms) = parts[8 + 2 * self.layers..].split_at(4 * self.layers);
        let layers = layers.chunks_exact(4).map(|p| RecurrentParams {
            weight_ih: p[0],
            weight_hh: p[1],
            bias_ih: p[2],
            bias_hh: p[3],
        });
        let (norms, attentional) = norms.split_at(2 * self.norms());
        let norms = norms.chunks_exact(2).map(|p| {
            let mut norm = LayerNorm::default();
            norm.pack(p[0], p[1]);
            norm
        });
        decoder.pack(&DecoderParams {
            embedding: parts[0],
            layers: layers.collect(),
            connections: Connections {
                residual: self.stack.is_residual,
                norms: norms.collect(),
            },
            attentional: attentional.first().map(|weight| AttentionalParams {
                weight,
                bias: attentional[1],
            }),
            output_weight: parts[1],
            output_bias: parts[2],
        });
        decoder.scorer.pack(&parts[3..6]);
        parts
    }
}

fn split<'a>(all: &'a [f64], sizes: &[usize]) -> Vec<&'a [f64]> {
    let mut rest = all;
    let mut take = |n| {
        let (part, after) = rest.split_at(n);
        rest = after;
        part
    };
    sizes.iter().map(|&n| take(n)).collect()
}

fn split_mut<'a>(all: &'a mut [f64], sizes: &[usize]) -> Vec<&'a mut [f64]> {
    let mut rest = all;
    let mut take = |n| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(n);
        rest = after;
        part
    };
    sizes.iter().map(|&n| take(n)).collect()
}

fn cases<C: Cell>() -> Vec<Case<C>> {
    let mixed = vec![true, false, true, true, true, false, false, false, true];
    let coins = [vec![true; 9], vec![false; 9], mixed];
    let mut cases = Vec::new();
    for layers in 1..4 {
        for stack in STACKS {
            for (index, forced) in coins.iter().cloned().enumerate() {
                let has_dropout = (index + layers) % 2 == 0;
                cases.push(Case {
                    cell: PhantomData,
                    layers,
                    stack,
                    forced,
                    has_dropout,
                    threads: 1 + index,
                });
            }
        }
    }
    cases
}

fn check_derivatives<C: Cell>() {
    for case in cases::<C>() {
        let (point, gradient) = case.gradient();
        let mut decoder = Decoder::new(Box::new(Additive::new()));
        assert_gradient(&format!("{case:?}"), &point, &gradient, |point| {
            case.run(&mut decoder, point, None)
        });
    }
}

#[test]
fn gradients_match_finite_differences() {
    check_derivatives::<Gru>();
    check_derivatives::<Lstm>();
}

fn check_threads<C: Cell>() {
    for case in cases::<C>() {
        let expected = case.gradient().1;
        for threads in 1..5 {
            assert_eq!(
                Case {
                    threads,
                    ..case.clone()
                }
                .gradient()
                .1,
                expected
            );
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    check_threads::<Gru>();
    check_threads::<Lstm>();
}

fn check_memory<C: Cell>() {
    let mut decoder = Decoder::new(Box::new(Additive::new()));
    for case in cases::<C>() {
        let (point, expected) = case.gradient();
        let mut gradient = vec![f64::NAN; point.len()];
        case.run(&mut decoder, &point, Some(&mut gradient));
        assert_eq!(gradient, expected);
    }
}

#[test]
fn results_do_not_depend_on_an_earlier_batch() {
    check_memory::<Gru>();
    check_memory::<Lstm>();
}

fn free_running<C: Cell>(layers: usize, stack: Stack) -> Case<C> {
    Case {
        cell: PhantomData,
        layers,
        stack,
        forced: vec![false; 9],
        has_dropout: false,
        threads: 1,
    }
}

fn check_decoding<C: Cell>() {
    let mut decoding = Decoding::new(); // reused: results must not depend on earlier rows
    for (layers, stack) in (1..4).flat_map(|layers| STACKS.map(|stack| (layers, stack))) {
        let case = free_running::<C>(layers, stack);
        let point = numbers(4, case.sizes().iter().sum());
        let mut decoder = Decoder::new(Box::new(Additive::new()));
        case.run(&mut decoder, &point, None);
        let parts = case.pack(&mut decoder, &point);
        let memory = Memory {
            values: parts[6],
            keys: parts[7],
            lengths: &LENGTHS,
            len: SOURCE_LEN,
        };
        decoding.start(&decoder, memory, &case.initial(&parts));
        for step in 0..LEN {
            let tokens = &decoder.tokens()[step * 3..][..3];
            decoding.step(&decoder, memory, tokens);
            assert_eq!(decoding.logits(), &decoder.logits()[step * 15..][..15]);
            assert_eq!(decoding.attention(), &decoder.attention()[step * 9..][..9]);
        }
    }
}

#[test]
fn decoding_step_by_step_equals_the_free_running_loop() {
    check_decoding::<Gru>();
    check_decoding::<Lstm>();
}

fn check_keep<C: Cell>(stack: Stack) {
    let case = free_running::<C>(2, stack);
    let point = numbers(4, case.sizes().iter().sum());
    let mut decoder = Decoder::new(Box::new(Additive::new()));
    case.run(&mut decoder, &point, None);
    let parts = case.pack(&mut decoder, &point);
    let memory = Memory {
        values: parts[6],
        keys: parts[7],
        lengths: &LENGTHS,
        len: SOURCE_LEN,
    };
    let mut decoding = Decoding::new();
    decoding.start(&decoder, memory, &case.initial(&parts));
    decoding.step(&decoder, memory, &decoder.tokens()[..3]);
    decoding.keep(&[2, 0, 2]);
    assert_eq!(decoding.rows(), [2, 0, 2]);
    let second = &decoder.tokens()[3..6];
    decoding.step(&decoder, memory, &[second[2], second[0], second[2]]);
    decoding.keep(&[1, 2]);
    let third = &decoder.tokens()[6..9];
    decoding.step(&decoder, memory, &[third[0], third[2]]);
    let expected = &decoder.logits()[2 * 15..];
    assert_eq!(decoding.logits()[..5], expected[..5]);
    assert_eq!(decoding.logits()[5..], expected[10..]);
}

#[test]
fn removing_or_repeating_rows_does_not_change_the_others() {
    for stack in STACKS {
        check_keep::<Gru>(stack);
        check_keep::<Lstm>(stack);
    }
}

fn check_branches<C: Cell>(layers: usize, stack: Stack) {
    let case = free_running::<C>(layers, stack);
    let point = numbers(4, case.sizes().iter().sum());
    let mut decoder = Decoder::new(Box::new(Additive::new()));
    let parts = case.pack(&mut decoder, &point);
    let memory = Memory {
        values: parts[6],
        keys: parts[7],
        lengths: &LENGTHS,
        len: SOURCE_LEN,
    };
    let decode = |steps: &[(&[usize], &[u32])]| {
        let mut decoding = Decoding::new();
        decoding.start(&decoder, memory, &case.initial(&parts));
        for (from, tokens) in steps {
            if !from.is_empty() {
                decoding.keep(from);
            }
            decoding.step(&decoder, memory, tokens);
        }
        let support = decoding.support().to_vec();
        let [logits, weights] = [decoding.logits(), decoding.attention()].map(<[f64]>::to_vec);
        (decoding.rows().to_vec(), logits, weights, support)
    };
    let (rows, logits, weights, support) = decode(&[
        (&[0, 1, 1, 2], &[1, 2, 3, 4]),
        (&[1, 1, 2, 0, 0, 0], &[1, 2, 3, 4, 0, 1]),
        (&[5, 0, 2, 2], &[2, 1, 4, 3]),
        (&[], &[0, 1, 2, 3]), // all continue
    ]);
    assert_eq!(rows, [0, 1, 1, 1]);
    let alone: [(usize, [u32; 4]); 4] = [
        (0, [1, 1, 2, 0]),
        (1, [2, 1, 1, 1]),
        (1, [3, 3, 4, 2]),
        (1, [3, 3, 3, 3]),
    ];
    for (row, (source, tokens)) in alone.into_iter().enumerate() {
        let [first, rest @ ..] = tokens.each_ref().map(std::slice::from_ref);
        let mut steps: Vec<(&[usize], &[u32])> = vec![(std::slice::from_ref(&source), first)];
        steps.extend(rest.map(|token| (&[0][..], token)));
        let expected = decode(&steps);
        assert_eq!(logits[row * 5..][..5], expected.1);
        assert_eq!(weights[row * SOURCE_LEN..][..SOURCE_LEN], expected.2);
        assert_eq!(support[row], expected.3[0]);
    }
}

#[test]
fn rows_that_continue_the_same_row_are_decoded_as_each_alone() {
    for (layers, stack) in (1..4).flat_map(|layers| STACKS.map(|stack| (layers, stack))) {
        check_branches::<Gru>(layers, stack);
        check_branches::<Lstm>(layers, stack);
    }
}
