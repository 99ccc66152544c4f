//! A model as two ONNX graphs: the encoder, and one step of the decoder.
//!
//! ```text
//! encoder       source [B, S], lengths [B]    ->  hidden [L, B, D], weights, values, mask
//! decoder_step  token [B], and these outputs  ->  logits [B, V], hidden, weights [B, S]
//! ```
//!
//! An LSTM also has `cell` beside `hidden`; with input feeding there is `vector` `[B, D]`; a mechanism that
//! compares the state with projected values has `keys`. Recurrent layers are ONNX's GRU and LSTM, whose gates
//! have another order; everything else has the layout and the names of PyTorch.
//!
//! The outputs of a step are called `next_hidden`, `next_cell`, `next_vector` and `next_weights`: in ONNX,
//! an output cannot have the name of an input.

mod attention;
mod graph;
mod recurrent;
mod schema;

use std::collections::BTreeMap;

use s2s_model::{BridgeKind, CellKind, ModelConfig, Params};

use self::attention::{first_weights, keys, keys_width, weigh};
use self::graph::{Attribute, Axis, Graph, Value};
use self::schema::{FLOAT, INT32, INT64};
use crate::{Error, Result};

/// The two graphs, as files.
pub(crate) struct OnnxModel {
    /// `encoder.onnx`: runs once per batch.
    pub(crate) encoder: Vec<u8>,
    /// `decoder_step.onnx`: runs once per output token.
    pub(crate) decoder_step: Vec<u8>,
}

/// The graphs of a model with these parameters, which are those that the configuration describes.
pub(crate) fn onnx(config: &ModelConfig, params: &Params) -> Result<OnnxModel> {
    let (weights, sizes) = (Weights::new(params)?, Sizes::of(config));
    Ok(OnnxModel {
        encoder: encoder(config, &sizes, &weights)?,
        decoder_step: decoder_step(config, &sizes, &weights)?,
    })
}

/// The parameters on the CPU: shapes and numbers.
struct Weights(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Weights {
    fn new(params: &Params) -> Result<Self> {
        let numbers = |(name, var): (&str, &candle_core::Var)| -> Result<_> {
            let numbers = var.flatten_all()?.to_dtype(candle_core::DType::F32)?;
            Ok((name.to_owned(), (var.dims().to_vec(), numbers.to_vec1()?)))
        };
        Ok(Self(params.iter().map(numbers).collect::<Result<_>>()?))
    }

    /// The shape and the numbers of a parameter.
    fn get(&self, name: &str) -> Result<(&[usize], &[f32])> {
        match self.0.get(name) {
            Some((shape, numbers)) => Ok((shape, numbers)),
            None => Err(Error::Inexpressible {
                reason: format!("the model has no parameter {name}"),
            }),
        }
    }

    /// A parameter as a constant of the graph, in PyTorch's layout.
    fn constant(&self, graph: &mut Graph, name: &str) -> Result<Value> {
        let (shape, numbers) = self.get(name)?;
        Ok(graph.floats(name, shape, numbers))
    }

    /// `x Wᵀ + b` of `x` `[B, in]`, with the parameters `name.weight` and `name.bias`.
    fn linear(&self, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
        let weight = self.constant(graph, &format!("{name}.weight"))?;
        let bias = self.constant(graph, &format!("{name}.bias"))?;
        let transposed = [("transB", Attribute::Int(1))];
        Ok(graph.op_with("Gemm", &[x, &weight, &bias], &transposed))
    }

    /// `x Wᵀ` of `x` `[.., in]`, with the parameter `name`.
    fn product(&self, graph: &mut Graph, name: &str, x: &Value) -> Result<Value> {
        let weight = self.constant(graph, name)?;
        let weight = graph.transpose(&weight, &[1, 0]);
        Ok(graph.op("MatMul", &[x, &weight]))
    }
}

/// Widths.
struct Sizes {
    layers: usize,
    hidden: usize,
    decoder: usize,
}

impl Sizes {
    fn of(config: &ModelConfig) -> Self {
        Self {
            layers: config.layers.get(),
            hidden: config.hidden.get(),
            decoder: config.decoder.width().get(),
        }
    }

    fn state(&self) -> [Axis; 3] {
        [Axis::Size(self.layers), BATCH, Axis::Size(self.decoder)]
    }

    fn vector(&self) -> [Axis; 2] {
        [BATCH, Axis::Size(self.decoder)]
    }

    fn values(&self) -> [Axis; 3] {
        [BATCH, SOURCE, Axis::Size(2 * self.hidden)]
    }
}

const BATCH: Axis = Axis::Named("B");
const SOURCE: Axis = Axis::Named("S");

/// The vectors in a layer's state.
fn state_names(cell: CellKind) -> &'static [&'static str] {
    match cell {
        CellKind::Gru => &["hidden"],
        CellKind::Lstm => &["hidden", "cell"],
    }
}

fn encoder(config: &ModelConfig, sizes: &Sizes, weights: &Weights) -> Result<Vec<u8>> {
    let graph = &mut Graph::default();
    let source = graph.input("source", INT64, &[BATCH, SOURCE]);
    let lengths = graph.input("lengths", INT64, &[BATCH]);

    let table = weights.constant(graph, "encoder.embedding.weight")?;
    let embedded = graph.op("Gather", &[&table, &source]); // [B, S, E]
    let to_int32 = [("to", Attribute::Int(i64::from(INT32)))];
    let row_lengths = graph.op_with("Cast", &[&lengths], &to_int32);
    let mut x = graph.transpose(&embedded, &[1, 0, 2]); // [S, B, E]
    let mut last = Vec::new(); // of each layer, [B, 2H] of each vector
    for layer in 0..sizes.layers {
        let (states, vectors) =
            recurrent::bidirectional(graph, config, weights, layer, &x, &row_lengths)?;
        x = connected(graph, config, weights, "encoder", layer, &states, &x)?;
        last.push(vectors);
    }

    let (positions, mask) = mask(graph, &source, &lengths);
    let values = graph.transpose(&x, &[1, 0, 2]); // [B, S, 2H]
    let column = graph.unsqueeze(&mask, 2);
    let values = graph.op("Mul", &[&values, &column]); // 0 where padded
    for (vector, name) in state_names(config.cell).iter().enumerate() {
        let states = (0..sizes.layers)
            .map(|layer| {
                let state = bridged(graph, config, weights, layer, vector, &last[layer][vector])?;
                Ok(graph.unsqueeze(&state, 0))
            })
            .collect::<Result<Vec<_>>>()?;
        let stacked = graph.concat(&states.iter().collect::<Vec<_>>(), 0);
        graph.output(name, &stacked, &sizes.state());
    }
    if config.input_feeding {
        let shape = [2 * sizes.hidden, sizes.decoder];
        let zeros = graph.floats("vector.zero", &shape, &vec![0.0; shape[0] * shape[1]]);
        let vector = graph.op("MatMul", &[&last[0][0], &zeros]);
        graph.output("vector", &vector, &sizes.vector());
    }
    let first = first_weights(graph, &config.attention, &positions, &mask, &lengths);
    graph.output("weights", &first, &[BATCH, SOURCE]);
    graph.output("values", &values, &sizes.values());
    if let Some(keys) = keys(graph, &config.attention, weights, &values)? {
        let width = Axis::Size(keys_width(&config.attention, sizes.decoder));
        graph.output("keys", &keys, &[BATCH, SOURCE, width]);
    }
    graph.output("mask", &mask, &[BATCH, SOURCE]);
    Ok(std::mem::take(graph).into_file("encoder", "The source, encoded once per batch."))
}

/// The positions `[S]`, and the mask `[B, S]`: 1 where a source token is, 0 where padded.
fn mask(graph: &mut Graph, source: &Value, lengths: &Value) -> (Value, Value) {
    let shape = graph.op("Shape", &[source]);
    let source_len = graph.select(&shape, 0, 1);
    let (zero, one) = (graph.int(0), graph.int(1));
    let positions = graph.op("Range", &[&zero, &source_len, &one]); // [S]
    let lengths = graph.unsqueeze(lengths, 1); // [B, 1]
    let is_real = graph.op("Less", &[&positions, &lengths]); // [B, S]
    (positions, as_float(graph, &is_real))
}

/// 1 where true, 0 where false.
fn as_float(graph: &mut Graph, value: &Value) -> Value {
    let to_float = [("to", Attribute::Int(i64::from(FLOAT)))];
    graph.op_with("Cast", &[value], &to_float)
}

/// A vector `[B, D]` of the decoder's first state, from the encoder's last `[B, 2H]`.
fn bridged(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    layer: usize,
    vector: usize,
    last: &Value,
) -> Result<Value> {
    match config.bridge {
        BridgeKind::Tanh => {
            let name = match vector {
                0 => format!("bridge.{layer}"),
                _ => format!("bridge.{layer}.cell"),
            };
            let mapped = weights.linear(graph, &name, last)?;
            Ok(graph.op("Tanh", &[&mapped]))
        }
        BridgeKind::Concat => Ok(last.clone()),
        BridgeKind::Last => {
            let units = config.decoder.width().get() as i64;
            let (start, end, axis) = (graph.ints(&[0]), graph.ints(&[units]), graph.ints(&[1]));
            Ok(graph.op("Slice", &[last, &start, &end, &axis]))
        }
        BridgeKind::Zero => {
            let shape = [2 * config.hidden.get(), config.decoder.width().get()];
            let zeros = vec![0.0; shape[0] * shape[1]];
            let zeros = graph.floats("bridge.zero", &shape, &zeros);
            Ok(graph.op("MatMul", &[last, &zeros]))
        }
    }
}

/// What a layer passes on, from its states and from what it reads; padding is not 0 after a normalization.
fn connected(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    part: &str,
    layer: usize,
    states: &Value,
    below: &Value,
) -> Result<Value> {
    let sum = match config.residual && layer > 0 {
        true => graph.op("Add", &[states, below]),
        false => states.clone(),
    };
    if !config.layer_norm || layer + 1 == config.layers.get() {
        return Ok(sum);
    }
    let gain = weights.constant(graph, &format!("{part}.norm.{layer}.weight"))?;
    let bias = weights.constant(graph, &format!("{part}.norm.{layer}.bias"))?;
    Ok(graph.op("LayerNormalization", &[&sum, &gain, &bias])) // by default, epsilon is 1e-5
}

fn decoder_step(config: &ModelConfig, sizes: &Sizes, weights: &Weights) -> Result<Vec<u8>> {
    let graph = &mut Graph::default();
    let token = graph.input("token", INT64, &[BATCH]);
    let names = state_names(config.cell);
    let state: Vec<Value> = names
        .iter()
        .map(|name| graph.input(name, FLOAT, &sizes.state()))
        .collect();
    let vector = (config.input_feeding).then(|| graph.input("vector", FLOAT, &sizes.vector()));
    let previous = graph.input("weights", FLOAT, &[BATCH, SOURCE]);
    let values = graph.input("values", FLOAT, &sizes.values());
    let keys = match keys_width(&config.attention, sizes.decoder) {
        0 => values.clone(),
        width => graph.input("keys", FLOAT, &[BATCH, SOURCE, Axis::Size(width)]),
    };
    let mask = graph.input("mask", FLOAT, &[BATCH, SOURCE]);

    let attend = |graph: &mut Graph, query: &Value| -> Result<(Value, Value)> {
        let attended = weigh(graph, config, weights, query, &keys, &previous, &mask)?; // [B, S]
        let row = graph.unsqueeze(&attended, 1);
        let context = graph.op("MatMul", &[&row, &values]);
        Ok((attended, graph.squeeze(&context, 1))) // [B, 2H]
    };
    let (fed, before) = match vector {
        Some(vector) => (vector, None),
        None => {
            let query = graph.select(&state[0], 0, sizes.layers - 1); // [B, D]
            let (attended, context) = attend(graph, &query)?;
            (context.clone(), Some((attended, context)))
        }
    };
    let table = weights.constant(graph, "decoder.embedding.weight")?;
    let embedded = graph.op("Gather", &[&table, &token]); // [B, E]
    let mut x = graph.concat(&[&embedded, &fed], 1);
    let mut after = vec![Vec::new(); names.len()];
    for layer in 0..sizes.layers {
        let before: Vec<Value> = state
            .iter()
            .map(|vector| {
                let vector = graph.select(vector, 0, layer);
                graph.unsqueeze(&vector, 0) // [1, B, D]
            })
            .collect();
        let vectors = recurrent::step(graph, config, weights, layer, &x, &before)?;
        let states = graph.squeeze(&vectors[0], 0); // [B, D]
        x = connected(graph, config, weights, "decoder", layer, &states, &x)?;
        for (all, vector) in after.iter_mut().zip(vectors) {
            all.push(vector);
        }
    }
    let (attended, context) = match before {
        Some(before) => before,
        None => {
            let query = graph.squeeze(&after[0][sizes.layers - 1], 0); // [B, D]
            attend(graph, &query)?
        }
    };
    let mut read = graph.concat(&[&x, &context], 1);
    if config.input_feeding {
        let vector = weights.linear(graph, "decoder.attentional", &read)?;
        read = graph.op("Tanh", &[&vector]); // [B, D]
    }
    let logits = weights.linear(graph, "decoder.output", &read)?; // [B, V]
    let n_tokens = weights.get("decoder.output.bias")?.0[0];
    graph.output("logits", &logits, &[BATCH, Axis::Size(n_tokens)]);
    for (name, vectors) in names.iter().zip(&after) {
        let stacked = graph.concat(&vectors.iter().collect::<Vec<_>>(), 0);
        graph.output(&format!("next_{name}"), &stacked, &sizes.state());
    }
    if config.input_feeding {
        graph.output("next_vector", &read, &sizes.vector());
    }
    graph.output("next_weights", &attended, &[BATCH, SOURCE]);
    Ok(std::mem::take(graph).into_file("decoder_step", "One output token for each row."))
}
