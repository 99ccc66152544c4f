//! The attention mechanisms as ONNX nodes. The equations are in `s2s_model`'s modules of the same names.

use s2s_kernels::Start;
use s2s_model::{AttentionConfig, ModelConfig};

use super::graph::{Attribute, Graph, Value};
use super::{Weights, as_float};
use crate::Result;

/// Added to the scores of padded positions: their exponential is exactly 0.
const MASKED: f32 = 1e30;

/// Added to a shifted weight before the logarithm.
const FLOOR: f32 = 1e-8;

/// The width of the keys; 0 if the mechanism compares the state with the values themselves, or with
/// nothing.
pub(super) fn keys_width(attention: &AttentionConfig, state: usize) -> usize {
    match attention {
        AttentionConfig::General {} => state,
        AttentionConfig::Additive(_)
        | AttentionConfig::Location(_)
        | AttentionConfig::Ntm(_)
        | AttentionConfig::LocationRelative(_) => attention.sizes().units,
        AttentionConfig::Dot(_)
        | AttentionConfig::DynamicConvolution(_)
        | AttentionConfig::None {} => 0,
    }
}

/// What a mechanism computes once per sequence, from `values` `[B, S, 2H]`.
pub(super) fn keys(
    graph: &mut Graph,
    attention: &AttentionConfig,
    weights: &Weights,
    values: &Value,
) -> Result<Option<Value>> {
    match keys_width(attention, 1) {
        0 => Ok(None),
        _ => Ok(Some(weights.product(
            graph,
            "attention.key.weight",
            values,
        )?)),
    }
}

/// The weights before the first step.
pub(super) fn first_weights(
    graph: &mut Graph,
    attention: &AttentionConfig,
    positions: &Value,
    mask: &Value,
    lengths: &Value,
) -> Value {
    let start = match attention {
        AttentionConfig::Location(config) => config.start,
        AttentionConfig::DynamicConvolution(config) => config.start,
        AttentionConfig::Ntm(config) => config.start,
        AttentionConfig::LocationRelative(config) => config.start,
        AttentionConfig::Additive(_)
        | AttentionConfig::Dot(_)
        | AttentionConfig::General {}
        | AttentionConfig::None {} => Start::Zeros,
    };
    let at = match start {
        Start::Zeros => return graph.op("Sub", &[mask, mask]),
        Start::First => graph.ints(&[0]), // [1]
        Start::Last => {
            let one = graph.int(1);
            let last = graph.op("Sub", &[lengths, &one]);
            graph.unsqueeze(&last, 1) // [B, 1]
        }
    };
    let is_start = graph.op("Equal", &[positions, &at]);
    let is_start = as_float(graph, &is_start);
    graph.op("Mul", &[mask, &is_start])
}

/// The weights `[B, S]` of a step, from the state `query` `[B, D]`, the keys and the weights before.
pub(super) fn weigh(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    query: &Value,
    keys: &Value,
    previous: &Value,
    mask: &Value,
) -> Result<Value> {
    let scores = match &config.attention {
        AttentionConfig::None {} => return Ok(graph.op("Identity", &[previous])), // all 0
        AttentionConfig::Additive(_) => additive(graph, weights, query, keys, None)?,
        AttentionConfig::Dot(dot) => {
            let width = config.decoder.width().get() as f32;
            let scale = if dot.scaled {
                width.sqrt().recip()
            } else {
                1.0
            };
            let scale = graph.float(scale);
            let query = graph.op("Mul", &[query, &scale]);
            product_with_state(graph, keys, &query)
        }
        AttentionConfig::General {} => product_with_state(graph, keys, query),
        AttentionConfig::Location(location) => {
            let around = windows(graph, previous, location.width.get());
            let features = filtered(graph, weights, &around)?;
            let located = weights.product(graph, "attention.location.weight", &features)?;
            additive(graph, weights, query, keys, Some(&located))?
        }
        AttentionConfig::DynamicConvolution(dynamic) => {
            let (filters, width) = (dynamic.filters.get(), dynamic.width.get());
            let around = windows(graph, previous, width);
            let fixed = filtered(graph, weights, &around)?; // [B, S, N]
            let chosen = weights.linear(graph, "attention.query", query)?;
            let chosen = graph.op("Tanh", &[&chosen]);
            let chosen = weights.product(graph, "attention.dynamic.weight", &chosen)?;
            let chosen = graph.reshape(&chosen, &[0, filters as i64, width as i64]);
            let chosen = graph.transpose(&chosen, &[0, 2, 1]);
            let chosen = graph.op("MatMul", &[&around, &chosen]); // [B, S, N]
            let features = graph.concat(&[&fixed, &chosen], 2);
            let located = weights.product(graph, "attention.location.weight", &features)?;
            let bias = weights.constant(graph, "attention.location.bias")?;
            let sum = graph.op("Add", &[&located, &bias]);
            energies(graph, weights, &sum)?
        }
        AttentionConfig::Ntm(_) => {
            let content = additive(graph, weights, query, keys, None)?;
            let content = softmax(graph, &content, mask);
            let gate = weights.linear(graph, "attention.gate", query)?;
            let gate = graph.op("Sigmoid", &[&gate]); // [B, 1]
            let difference = graph.op("Sub", &[&content, previous]);
            let difference = graph.op("Mul", &[&difference, &gate]);
            let gated = graph.op("Add", &[previous, &difference]);
            moved(graph, weights, query, &gated)?
        }
        AttentionConfig::LocationRelative(_) => {
            let content = additive(graph, weights, query, keys, None)?;
            let prior = moved(graph, weights, query, previous)?;
            graph.op("Add", &[&prior, &content])
        }
    };
    Ok(softmax(graph, &scores, mask))
}

/// Masked softmax of `scores` `[B, S]`.
fn softmax(graph: &mut Graph, scores: &Value, mask: &Value) -> Value {
    let (one, masked) = (graph.float(1.0), graph.float(MASKED));
    let bias = graph.op("Sub", &[mask, &one]);
    let bias = graph.op("Mul", &[&bias, &masked]);
    let scores = graph.op("Add", &[scores, &bias]);
    graph.op_with("Softmax", &[&scores], &[("axis", Attribute::Int(-1))])
}

/// `v · tanh(W query + w + key[s] + more[s])`.
fn additive(
    graph: &mut Graph,
    weights: &Weights,
    query: &Value,
    keys: &Value,
    more: Option<&Value>,
) -> Result<Value> {
    let query = weights.linear(graph, "attention.query", query)?;
    let query = graph.unsqueeze(&query, 1); // [B, 1, A]
    let mut sum = graph.op("Add", &[&query, keys]);
    if let Some(more) = more {
        sum = graph.op("Add", &[&sum, more]);
    }
    energies(graph, weights, &sum)
}

/// `v · tanh(x)` of `x` `[B, S, A]`.
fn energies(graph: &mut Graph, weights: &Weights, x: &Value) -> Result<Value> {
    let energy = weights.constant(graph, "attention.energy")?;
    let x = graph.op("Tanh", &[x]);
    Ok(graph.op("MatMul", &[&x, &energy]))
}

/// The products of `keys` `[B, S, D]` with the state `[B, D]`.
fn product_with_state(graph: &mut Graph, keys: &Value, state: &Value) -> Value {
    let column = graph.unsqueeze(state, 2);
    let products = graph.op("MatMul", &[keys, &column]);
    graph.squeeze(&products, 2)
}

/// The weights around each position, `[B, S, width]`, 0 beyond both ends: a convolution with the
/// identity matrix.
fn windows(graph: &mut Graph, weights: &Value, width: usize) -> Value {
    let is_diagonal = |i: usize| i / width == i % width;
    let identity = (0..width * width).map(|i| f32::from(u8::from(is_diagonal(i))));
    let identity: Vec<f32> = identity.collect();
    convolved(graph, weights, "identity", width, &identity)
}

/// `weights` `[B, S]` through `width` filters of that width, `[B, S, width]`; tap `width / 2` is the
/// position itself.
fn convolved(
    graph: &mut Graph,
    weights: &Value,
    name: &str,
    width: usize,
    filters: &[f32],
) -> Value {
    let filters = graph.floats(name, &[width, 1, width], filters);
    let (before, after) = ((width / 2) as i64, (width - 1 - width / 2) as i64);
    let channel = graph.unsqueeze(weights, 1); // [B, 1, S]
    let pads = [("pads", Attribute::Ints(&[before, after]))];
    let around = graph.op_with("Conv", &[&channel, &filters], &pads); // [B, width, S]
    graph.transpose(&around, &[0, 2, 1])
}

/// The mechanism's filters on windows `[B, S, width]`.
fn filtered(graph: &mut Graph, weights: &Weights, windows: &Value) -> Result<Value> {
    weights.product(graph, "attention.filters", windows)
}

/// The logarithm of `weights` `[B, S]` after the shift and the sharpening that the state chooses.
fn moved(graph: &mut Graph, weights: &Weights, query: &Value, from: &Value) -> Result<Value> {
    let kernel = weights.linear(graph, "attention.shift", query)?;
    let kernel = graph.op_with("Softmax", &[&kernel], &[("axis", Attribute::Int(-1))]);
    // Offset -1 takes a weight from the position after, so the taps are in reverse.
    let reverse = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0];
    let around = convolved(graph, from, "reverse", 3, &reverse); // [B, S, 3]
    let shifted = product_with_state(graph, &around, &kernel);
    let floor = graph.float(FLOOR);
    let shifted = graph.op("Add", &[&shifted, &floor]);
    let log = graph.op("Log", &[&shifted]);
    let sharpness = weights.linear(graph, "attention.sharpen", query)?;
    let sharpness = graph.op("Softplus", &[&sharpness]);
    let one = graph.float(1.0);
    let sharpness = graph.op("Add", &[&sharpness, &one]); // [B, 1]
    Ok(graph.op("Mul", &[&log, &sharpness]))
}
