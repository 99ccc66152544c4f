//! Recurrent layers as ONNX's GRU and LSTM.

use s2s_model::{CellKind, ModelConfig};

use super::graph::{Attribute, Graph, Value};
use super::{Weights, state_names};
use crate::Result;

/// The place in PyTorch's order of each gate of ONNX: z, r, n instead of r, z, n; and i, o, f, g instead
/// of i, f, g, o.
fn gate_order(cell: CellKind) -> &'static [usize] {
    match cell {
        CellKind::Gru => &[1, 0, 2],
        CellKind::Lstm => &[0, 3, 1, 2],
    }
}

/// Layer `layer` of the encoder on `x` `[S, B, I]`: its states `[S, B, 2H]`, and the last ones `[B, 2H]`,
/// one per vector of the state.
pub(super) fn bidirectional(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    layer: usize,
    x: &Value,
    lengths: &Value,
) -> Result<(Value, Vec<Value>)> {
    let hidden = config.hidden.get();
    let suffixes = [format!("_l{layer}"), format!("_l{layer}_reverse")];
    let [w, r, b] = packed(
        graph,
        config.cell,
        weights,
        "encoder.rnn",
        &suffixes,
        hidden,
    )?;
    let (states, last) = run(graph, config.cell, hidden, &[x, &w, &r, &b, lengths]);
    let states = graph.transpose(&states, &[0, 2, 1, 3]); // [S, 2, B, H] to [S, B, 2, H]
    let states = graph.reshape(&states, &[0, 0, -1]);
    let last = last.iter().map(|vector| {
        let vector = graph.transpose(vector, &[1, 0, 2]); // [2, B, H] to [B, 2, H]
        graph.reshape(&vector, &[0, -1])
    });
    let last = last.collect();
    Ok((states, last))
}

/// Layer `layer` of the decoder on `x` `[B, I]`, after the state `before`: the state, `[1, B, D]` per
/// vector.
pub(super) fn step(
    graph: &mut Graph,
    config: &ModelConfig,
    weights: &Weights,
    layer: usize,
    x: &Value,
    before: &[Value],
) -> Result<Vec<Value>> {
    let units = config.decoder.width().get();
    let suffixes = [format!("_l{layer}")];
    let [w, r, b] = packed(graph, config.cell, weights, "decoder.rnn", &suffixes, units)?;
    let x = graph.unsqueeze(x, 0); // [1, B, I]
    let no_lengths = Value(String::new());
    let mut inputs = vec![&x, &w, &r, &b, &no_lengths];
    inputs.extend(before);
    Ok(run(graph, config.cell, units, &inputs).1)
}

/// The node of a layer: its states, and the last state, `[directions, B, H]` per vector.
fn run(graph: &mut Graph, cell: CellKind, units: usize, inputs: &[&Value]) -> (Value, Vec<Value>) {
    let is_encoder = inputs.len() == 5; // the encoder has no state before
    let mut outputs = vec![graph.fresh("states")];
    outputs.extend(state_names(cell).iter().map(|name| graph.fresh(name)));
    let mut attributes = vec![
        ("hidden_size", Attribute::Int(units as i64)),
        (
            "direction",
            Attribute::Text(match is_encoder {
                true => "bidirectional",
                false => "forward",
            }),
        ),
    ];
    let op_type = match cell {
        CellKind::Gru => {
            // As in PyTorch, the reset gate applies after the product with the state.
            attributes.push(("linear_before_reset", Attribute::Int(1)));
            "GRU"
        }
        CellKind::Lstm => "LSTM",
    };
    graph.add(op_type, inputs, &attributes, outputs.clone());
    let mut values = outputs.into_iter().map(Value);
    let states = values.next().expect("the first output is the states");
    (states, values.collect())
}

/// The weights of a layer in ONNX's order: `W` `[directions, G·H, I]`, `R` `[directions, G·H, H]` and
/// both biases `B` `[directions, 2·G·H]`.
fn packed(
    graph: &mut Graph,
    cell: CellKind,
    weights: &Weights,
    scope: &str,
    suffixes: &[String],
    units: usize,
) -> Result<[Value; 3]> {
    let gates = |name: &str, into: &mut Vec<f32>| -> Result<usize> {
        let (shape, numbers) = weights.get(name)?;
        let width: usize = shape.iter().skip(1).product();
        for gate in gate_order(cell) {
            into.extend(&numbers[gate * units * width..][..units * width]);
        }
        Ok(width)
    };
    let (mut w, mut r, mut b) = (Vec::new(), Vec::new(), Vec::new());
    let mut inputs = 0;
    for suffix in suffixes {
        inputs = gates(&format!("{scope}.weight_ih{suffix}"), &mut w)?;
        gates(&format!("{scope}.weight_hh{suffix}"), &mut r)?;
        gates(&format!("{scope}.bias_ih{suffix}"), &mut b)?;
        gates(&format!("{scope}.bias_hh{suffix}"), &mut b)?;
    }
    let (n, rows) = (suffixes.len(), cell.gates() * units);
    let layer = format!("{scope}{}", suffixes[0]);
    Ok([
        graph.floats(&format!("{layer}.W"), &[n, rows, inputs], &w),
        graph.floats(&format!("{layer}.R"), &[n, rows, units], &r),
        graph.floats(&format!("{layer}.B"), &[n, 2 * rows], &b),
    ])
}
