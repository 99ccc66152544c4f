//! The decoder on slices is compared with its equations in plain tensor operations.

use std::num::NonZeroUsize;

use candle_core::{D, Device, Result, Tensor, Var};
use proptest::prelude::*;
use s2s_kernels::slices::{
    Additive, AttentionalGrads, AttentionalParams, Cell, Connections, Decoder, DecoderDropout,
    DecoderGrads, DecoderInputs, DecoderParams, DecoderSizes, Gru, LayerNorm, Lstm, Memory,
    MemoryGrads, NormGrads, RecurrentGrads, RecurrentParams, Targets, Team,
};
use s2s_kernels::{RecurrentWeights, State, reference};

use crate::support::{Draw, assert_close, gradients, numbers, weighted_sum};

/// A cell with a reference for one step.
trait Referenced: Cell {
    fn step(
        input: &Tensor,
        state: &State<Tensor>,
        weights: &RecurrentWeights,
    ) -> Result<State<Tensor>>;
}

impl Referenced for Gru {
    fn step(
        input: &Tensor,
        state: &State<Tensor>,
        weights: &RecurrentWeights,
    ) -> Result<State<Tensor>> {
        Ok(State {
            hidden: reference::gru_cell(input, &state.hidden, weights)?,
            cell: state.cell.clone(),
        })
    }
}

impl Referenced for Lstm {
    fn step(
        input: &Tensor,
        state: &State<Tensor>,
        weights: &RecurrentWeights,
    ) -> Result<State<Tensor>> {
        reference::lstm_cell(input, state, weights)
    }
}

#[derive(Clone, Debug)]
struct Case {
    sizes: DecoderSizes,
    attention: usize,
    lengths: Vec<usize>,
    source_len: usize,
    len: usize,
    /// The probability that a step reads the target token.
    forcing: f64,
    has_dropout: bool,
    /// Factor on the attention energy and the output weight.
    scale: f32,
    is_residual: bool,
    is_normalized: bool,
}

impl Case {
    /// Width of what layer 0 reads beside the embedding, and of what the output layer reads.
    fn fed_and_read(&self) -> (usize, usize) {
        let DecoderSizes { units, values, .. } = self.sizes;
        match self.sizes.input_feeding {
            true => (units, units),
            false => (values, units + values),
        }
    }
}

/// The random parts of a case: the variables in a fixed order, and everything else.
struct Drawn {
    vars: Vec<Var>,
    tokens: Vec<u32>,
    forced: Vec<bool>,
    embedding_mask: Vec<f32>,
    between: Vec<Vec<f32>>,
    d_logits: Vec<f32>,
}

/// The number of variables before the layers': embedding, output weight and bias, query weight, query
/// bias, energy, values, keys. Then come the initial states, `h` and `c` of each layer, the four
/// parameters of each layer, gain and bias of each normalization, and weight and bias of the vector.
const FIXED: usize = 8;

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

impl Case {
    fn draw<C: Cell>(&self) -> Result<Drawn> {
        let DecoderSizes {
            vocab,
            embedding,
            units,
            values,
            layers,
            input_feeding,
        } = self.sizes;
        let (fed, read) = self.fed_and_read();
        let (batch, len) = (self.lengths.len(), self.len);
        let mut draw = Draw::new(6);
        let scaled = |tensor: Tensor| Var::from_tensor(&(tensor * f64::from(self.scale))?);
        let mut vars = vec![
            draw.var((vocab, embedding))?,
            scaled(draw.tensor((vocab, read))?)?,
            draw.var(vocab)?,
            draw.var((self.attention, units))?,
            draw.var(self.attention)?,
            scaled(draw.tensor(self.attention)?)?,
            draw.var((batch, self.source_len, values))?,
            draw.var((batch, self.source_len, self.attention))?,
        ];
        for _ in 0..layers {
            vars.push(draw.var((batch, units))?);
            vars.push(draw.var((batch, units * C::CELL_STATES))?);
        }
        for layer in 0..layers {
            let inputs = if layer == 0 { embedding + fed } else { units };
            let gates = C::GATES * units;
            vars.push(draw.var((gates, inputs))?);
            vars.push(draw.var((gates, units))?);
            vars.push(draw.var(gates)?);
            vars.push(draw.var(gates)?);
        }
        for _ in 1..if self.is_normalized { layers } else { 1 } {
            vars.push(draw.var(units)?);
            vars.push(draw.var(units)?);
        }
        if input_feeding {
            vars.push(draw.var((units, units + values))?);
            vars.push(draw.var(units)?);
        }
        Ok(Drawn {
            vars,
            tokens: draw.words(batch * len, vocab),
            forced: draw.coins(batch * len, self.forcing),
            embedding_mask: draw.mask(batch * len * embedding),
            between: (1..layers)
                .map(|_| draw.mask(batch * len * units))
                .collect(),
            d_logits: draw.numbers(len * batch * vocab),
        })
    }

    /// Logits `[T, B, V]`, weights `[T, B, S]`, then the gradients.
    fn reference<C: Referenced>(&self, drawn: &Drawn) -> Result<Vec<Vec<f32>>> {
        let DecoderSizes {
            vocab,
            embedding,
            units,
            layers,
            input_feeding,
            ..
        } = self.sizes;
        let (batch, len, device) = (self.lengths.len(), self.len, Device::Cpu);
        let vars: Vec<&Tensor> = drawn.vars.iter().map(Var::as_tensor).collect();
        let (values, keys) = (vars[6], vars[7]);
        let is_padded = |&length: &usize| (0..self.source_len).map(move |s| s >= length);
        let padding = self.lengths.iter().flat_map(is_padded);
        let padding = padding
            .map(|is_padded| if is_padded { -1e9 } else { 0_f32 })
            .collect();
        let padding = Tensor::from_vec(padding, (batch, self.source_len), &device)?;
        let mask = |mask: &[f32], width| Tensor::from_slice(mask, (batch, len, width), &device);
        let embedding_mask = mask(&drawn.embedding_mask, embedding)?;
        let mut states: Vec<State<Tensor>> = pairs(&vars[FIXED..][..2 * layers])
            .map(|state| state.map(Tensor::clone))
            .collect();
        let mut vector = Tensor::zeros((batch, units), values.dtype(), &device)?;
        let (mut all_logits, mut all_weights): (Vec<Tensor>, Vec<Tensor>) = (vec![], vec![]);
        for step in 0..len {
            let own = match all_logits.last() {
                Some(logits) => logits.argmax(D::Minus1)?.to_vec1::<u32>()?,
                None => vec![0; batch],
            };
            let token = (0..batch).map(|row| {
                let at = row * len + step;
                if step == 0 || drawn.forced[at] {
                    drawn.tokens[at]
                } else {
                    own[row]
                }
            });
            let token = Tensor::from_vec(token.collect(), batch, &device)?;
            let attend = |states: &[State<Tensor>]| {
                let query = linear(&states[layers - 1].hidden, vars[3], vars[4])?;
                let scores = reference::additive_scores(&query, keys, vars[5])?;
                let weights = candle_nn::ops::softmax(&(scores + &padding)?, D::Minus1)?;
                let context = weights.unsqueeze(1)?.matmul(values)?.squeeze(1)?;
                Result::Ok((weights, context))
            };
            let before = match input_feeding {
                true => None,
                false => Some(attend(&states)?),
            };
            let fed = before.as_ref().map_or(&vector, |(_, context)| context);
            let mut embedded = vars[0].embedding(&token)?;
            if self.has_dropout {
                embedded = (embedded * embedding_mask.narrow(1, step, 1)?.squeeze(1)?)?;
            }
            let mut input = Tensor::cat(&[&embedded, fed], 1)?;
            let mut output: Option<Tensor> = None;
            for layer in 0..layers {
                if let Some(below) = &output {
                    input = below.clone();
                    if self.has_dropout {
                        let between = mask(&drawn.between[layer - 1], units)?;
                        input = (input * between.narrow(1, step, 1)?.squeeze(1)?)?;
                    }
                }
                let w = &vars[FIXED + 2 * layers + 4 * layer..][..4];
                let weights = RecurrentWeights {
                    weight_ih: w[0].clone(),
                    weight_hh: w[1].clone(),
                    bias_ih: w[2].clone(),
                    bias_hh: w[3].clone(),
                };
                states[layer] = C::step(&input, &states[layer], &weights)?;
                let mut sum = states[layer].hidden.clone();
                if let (true, Some(below)) = (self.is_residual, &output) {
                    sum = (sum + below)?;
                }
                output = Some(match self.is_normalized && layer + 1 < layers {
                    true => {
                        let norm = &vars[FIXED + 6 * layers + 2 * layer..];
                        reference::layer_norm(&sum, norm[0], norm[1])?
                    }
                    false => sum,
                });
            }
            let output = output.expect("there is a layer");
            let (weights, context) = match before {
                Some(before) => before,
                None => attend(&states)?,
            };
            let mut read = Tensor::cat(&[&output, &context], 1)?;
            if input_feeding {
                let last = vars.len() - 2;
                read = linear(&read, vars[last], vars[last + 1])?.tanh()?;
                vector = read.clone();
            }
            all_logits.push(linear(&read, vars[1], vars[2])?);
            all_weights.push(weights);
        }
        let logits = Tensor::stack(&all_logits, 0)?;
        let d_logits = Tensor::from_slice(&drawn.d_logits, (len, batch, vocab), &device)?;
        let loss = weighted_sum(&logits, &d_logits)?;
        let mut all = vec![
            numbers(&logits)?,
            numbers(&Tensor::stack(&all_weights, 0)?)?,
        ];
        all.extend(gradients(&loss, &drawn.vars.iter().collect::<Vec<_>>())?);
        Ok(all)
    }

    fn connections(&self, vars: &[Vec<f32>]) -> Connections<f32> {
        let norms = vars[FIXED + 6 * self.sizes.layers..].chunks_exact(2);
        let norms = norms.take(if self.is_normalized {
            self.sizes.layers - 1
        } else {
            0
        });
        let norms = norms.map(|params| {
            let mut norm = LayerNorm::default();
            norm.pack(&params[0], &params[1]);
            norm
        });
        Connections {
            residual: self.is_residual,
            norms: norms.collect(),
        }
    }

    fn fused<C: Cell>(&self, drawn: &Drawn, mut team: Team<f32>) -> Result<Vec<Vec<f32>>> {
        let layers = self.sizes.layers;
        let vars = drawn
            .vars
            .iter()
            .map(|v| numbers(v))
            .collect::<Result<Vec<_>>>()?;
        let mut decoder = Decoder::<f32, C>::new(Box::new(Additive::new()));
        decoder.scorer.pack(&[&vars[3], &vars[4], &vars[5]]);
        let params = DecoderParams {
            embedding: &vars[0],
            layers: vars[FIXED + 2 * layers..][..4 * layers]
                .chunks_exact(4)
                .map(layer_params)
                .collect(),
            connections: self.connections(&vars),
            attentional: self.sizes.input_feeding.then(|| AttentionalParams {
                weight: &vars[vars.len() - 2],
                bias: &vars[vars.len() - 1],
            }),
            output_weight: &vars[1],
            output_bias: &vars[2],
        };
        assert_eq!(params.sizes(), self.sizes);
        decoder.pack(&params);
        let memory = Memory {
            values: &vars[6],
            keys: &vars[7],
            lengths: &self.lengths,
            len: self.source_len,
        };
        let targets = Targets {
            tokens: &drawn.tokens,
            forced: &drawn.forced,
        };
        let between: Vec<&[f32]> = drawn.between.iter().map(Vec::as_slice).collect();
        let dropout = DecoderDropout {
            embedding: self.has_dropout.then_some(&drawn.embedding_mask[..]),
            between: self.has_dropout.then_some(&between[..]),
        };
        let initial: Vec<&[f32]> = vars.iter().map(Vec::as_slice).collect();
        let initial: Vec<State<&[f32]>> = pairs(&initial[FIXED..][..2 * layers]).collect();
        let inputs = DecoderInputs {
            memory,
            initial: &initial,
            targets,
            dropout,
        };
        decoder.forward(inputs, &mut team);
        let mut all = vec![decoder.logits().to_vec(), decoder.attention().to_vec()];
        decoder.logits_mut().copy_from_slice(&drawn.d_logits);
        let mut grads: Vec<Vec<f32>> = vars.iter().map(|v| vec![f32::NAN; v.len()]).collect();
        let mut parts = grads.iter_mut().map(Vec::as_mut_slice);
        let mut next = || parts.next().expect("there is one part per variable");
        let [embedding, output_weight, output_bias] = [next(), next(), next()];
        let mut scorer = [next(), next(), next()];
        let (values, keys) = (next(), next());
        let d_memory = MemoryGrads {
            values,
            keys,
            initial: (0..layers)
                .map(|_| State {
                    hidden: next(),
                    cell: next(),
                })
                .collect(),
        };
        let layers = (0..layers)
            .map(|_| RecurrentGrads {
                weight_ih: next(),
                weight_hh: next(),
                bias_ih: next(),
                bias_hh: next(),
            })
            .collect();
        let norms = (1..if self.is_normalized {
            self.sizes.layers
        } else {
            1
        })
            .map(|_| NormGrads {
                gain: next(),
                bias: next(),
            })
            .collect();
        let attentional = self.sizes.input_feeding.then(|| AttentionalGrads {
            weight: next(),
            bias: next(),
        });
        let d = DecoderGrads {
            embedding,
            layers,
            norms,
            attentional,
            output_weight,
            output_bias,
        };
        decoder.backward(inputs, d_memory, d, &mut scorer, &mut team);
        all.extend(grads);
        Ok(all)
    }

    #[track_caller]
    fn check(&self) -> Result<()> {
        self.check_cell::<Gru>()?;
        self.check_cell::<Lstm>()
    }

    #[track_caller]
    fn check_cell<C: Referenced>(&self) -> Result<()> {
        let drawn = self.draw::<C>()?;
        let fused = self.fused::<C>(&drawn, Team::single())?;
        let names = [
            "logits",
            "weights",
            "embedding",
            "output_weight",
            "output_bias",
            "query_weight",
            "query_bias",
            "energy",
            "values",
            "keys",
        ];
        let names = names
            .into_iter()
            .chain(std::iter::repeat("states and layers"));
        let cell = C::default();
        for ((fused, reference), name) in fused.iter().zip(&self.reference::<C>(&drawn)?).zip(names)
        {
            assert_close(&format!("{name} of {cell:?} in {self:?}"), fused, reference);
        }
        assert!(
            fused == self.fused::<C>(&drawn, Team::new(TWO))?,
            "the number of threads changed {cell:?} in {self:?}"
        );
        Ok(())
    }
}

fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// Pairs of `h` and `c` as states.
fn pairs<X: Copy>(states: &[X]) -> impl Iterator<Item = State<X>> {
    states.chunks_exact(2).map(|state| State {
        hidden: state[0],
        cell: state[1],
    })
}

fn layer_params(weights: &[Vec<f32>]) -> RecurrentParams<'_, f32> {
    RecurrentParams {
        weight_ih: &weights[0],
        weight_hh: &weights[1],
        bias_ih: &weights[2],
        bias_hh: &weights[3],
    }
}

fn small(layers: usize) -> Case {
    Case {
        sizes: DecoderSizes {
            vocab: 7,
            embedding: 3,
            units: 17,
            values: 10,
            layers,
            input_feeding: false,
        },
        attention: 9,
        lengths: vec![4, 1, 2, 4, 3],
        source_len: 4,
        len: 3,
        forcing: 0.5,
        has_dropout: true,
        scale: 1.0,
        is_residual: false,
        is_normalized: false,
    }
}

#[test]
fn decoder_matches_its_reference_with_any_options() -> Result<()> {
    for layers in 1..4 {
        for bits in 1..8 {
            for has_dropout in [false, true] {
                let mut case = Case {
                    has_dropout,
                    is_residual: bits & 1 > 0,
                    is_normalized: bits & 2 > 0,
                    ..small(layers)
                };
                case.sizes.input_feeding = bits & 4 > 0;
                case.check()?;
            }
        }
    }
    Ok(())
}

#[test]
fn decoder_matches_its_reference_with_any_forcing_layers_and_dropout() -> Result<()> {
    for layers in 1..4 {
        for forcing in [0.0, 0.5, 1.0] {
            for has_dropout in [false, true] {
                Case {
                    forcing,
                    has_dropout,
                    ..small(layers)
                }
                .check()?;
            }
        }
    }
    Ok(())
}

#[test]
fn decoder_matches_its_reference_at_size_one() -> Result<()> {
    let sizes = DecoderSizes {
        vocab: 1,
        embedding: 1,
        units: 1,
        values: 1,
        layers: 1,
        input_feeding: false,
    };
    let lengths = vec![1];
    Case {
        sizes,
        attention: 1,
        lengths,
        source_len: 1,
        len: 1,
        ..small(1)
    }
    .check()
}

#[test]
fn decoder_matches_its_reference_with_saturated_scores_and_extreme_logits() -> Result<()> {
    Case {
        scale: 40.0,
        forcing: 1.0,
        has_dropout: false,
        ..small(2)
    }
    .check()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn decoder_matches_its_reference(
        (vocab, embedding, units, values) in (1..20_usize, 1..20_usize, 1..40_usize, 1..40_usize),
        attention in 1..40_usize,
        layers in 1..3_usize,
        lengths in prop::collection::vec(1..6_usize, 1..20),
        len in 1..5_usize,
        has_dropout: bool,
        input_feeding: bool,
    ) {
        let sizes = DecoderSizes { vocab, embedding, units, values, layers, input_feeding };
        let case = Case { sizes, attention, lengths, source_len: 5, len, has_dropout, ..small(1) };
        case.check().unwrap();
    }
}
