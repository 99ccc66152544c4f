//! Builds an ONNX graph node by node.

use prost::Message;

use super::schema::{
    AttributeProto, Dimension, DimensionProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto,
    OperatorSetIdProto, ShapeProto, TensorProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// The version of the operators: the first with every operator in its present form.
const OPSET: i64 = 17;
/// The version of the format that belongs to it.
const IR_VERSION: i64 = 8;

/// A value in a graph, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(pub(super) String);

/// An attribute of a node.
pub(super) enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Text(&'a str),
}

/// The size of an axis.
#[derive(Clone, Copy)]
pub(super) enum Axis {
    Size(usize),
    /// It varies from call to call.
    Named(&'static str),
}

/// A graph in construction. Nodes are in the order in which they can run.
#[derive(Default)]
pub(super) struct Graph {
    graph: GraphProto,
}

impl Graph {
    /// An input of the graph.
    pub(super) fn input(&mut self, name: &str, elem_type: i32, shape: &[Axis]) -> Value {
        self.graph.input.push(info(name, elem_type, shape));
        Value(name.to_owned())
    }

    /// Makes a value an output of the graph, under this name.
    pub(super) fn output(&mut self, name: &str, value: &Value, shape: &[Axis]) {
        self.add("Identity", &[value], &[], vec![name.to_owned()]);
        self.graph.output.push(info(name, FLOAT, shape));
    }

    /// A constant of the graph, in single precision.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> Value {
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(name, FLOAT, shape, bytes)
    }

    /// A scalar in single precision.
    pub(super) fn float(&mut self, number: f32) -> Value {
        let name = format!("constant.{}", self.graph.initializer.len());
        self.floats(&name, &[], &[number])
    }

    /// A vector of integers, such as axes and shapes.
    pub(super) fn ints(&mut self, numbers: &[i64]) -> Value {
        let name = format!("constant.{}", self.graph.initializer.len());
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.constant(&name, INT64, &[numbers.len()], bytes)
    }

    /// An integer, such as an index.
    pub(super) fn int(&mut self, number: i64) -> Value {
        let name = format!("constant.{}", self.graph.initializer.len());
        self.constant(&name, INT64, &[], number.to_le_bytes().to_vec())
    }

    fn constant(&mut self, name: &str, data_type: i32, shape: &[usize], bytes: Vec<u8>) -> Value {
        let known = self.graph.initializer.iter();
        if !known.clone().any(|tensor| tensor.name == name) {
            self.graph.initializer.push(TensorProto {
                dims: shape.iter().map(|size| *size as i64).collect(),
                data_type,
                name: name.to_owned(),
                raw_data: bytes,
            });
        }
        Value(name.to_owned())
    }

    /// A node with one output.
    pub(super) fn op(&mut self, op_type: &str, inputs: &[&Value]) -> Value {
        self.op_with(op_type, inputs, &[])
    }

    /// A node with attributes and one output.
    pub(super) fn op_with(
        &mut self,
        op_type: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
    ) -> Value {
        let name = format!("{op_type}.{}", self.graph.node.len());
        self.add(op_type, inputs, attributes, vec![name.clone()]);
        Value(name)
    }

    /// A node with these outputs.
    pub(super) fn add(
        &mut self,
        op_type: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute<'_>)],
        output: Vec<String>,
    ) {
        let attribute = |(name, value): &(&str, Attribute<'_>)| {
            let mut proto = AttributeProto {
                name: (*name).to_owned(),
                ..AttributeProto::default()
            };
            match value {
                Attribute::Int(number) => {
                    (proto.kind, proto.i) = (AttributeProto::INT, Some(*number));
                }
                Attribute::Ints(numbers) => {
                    (proto.kind, proto.ints) = (AttributeProto::INTS, numbers.to_vec());
                }
                Attribute::Text(text) => {
                    (proto.kind, proto.s) = (AttributeProto::STRING, Some((*text).into()));
                }
            }
            proto
        };
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            name: format!("node.{}", self.graph.node.len()),
            output,
            op_type: op_type.to_owned(),
            attribute: attributes.iter().map(attribute).collect(),
        });
    }

    /// A name for an output of [`add`](Self::add).
    pub(super) fn fresh(&self, what: &str) -> String {
        format!("{what}.{}", self.graph.node.len())
    }

    /// The value without its axis `axis`, which has size 1.
    pub(super) fn squeeze(&mut self, value: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.op("Squeeze", &[value, &axes])
    }

    /// The value with a new axis `axis` of size 1.
    pub(super) fn unsqueeze(&mut self, value: &Value, axis: i64) -> Value {
        let axes = self.ints(&[axis]);
        self.op("Unsqueeze", &[value, &axes])
    }

    /// The value with its axes in another order.
    pub(super) fn transpose(&mut self, value: &Value, order: &[i64]) -> Value {
        self.op_with("Transpose", &[value], &[("perm", Attribute::Ints(order))])
    }

    /// The value in another shape; 0 keeps an axis.
    pub(super) fn reshape(&mut self, value: &Value, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.op("Reshape", &[value, &shape])
    }

    /// The element `index` of an axis, which disappears.
    pub(super) fn select(&mut self, value: &Value, axis: i64, index: usize) -> Value {
        let index = self.int(index as i64);
        self.op_with(
            "Gather",
            &[value, &index],
            &[("axis", Attribute::Int(axis))],
        )
    }

    /// The values next to each other.
    pub(super) fn concat(&mut self, values: &[&Value], axis: i64) -> Value {
        self.op_with("Concat", values, &[("axis", Attribute::Int(axis))])
    }

    /// The file.
    pub(super) fn into_file(mut self, name: &str, doc: &str) -> Vec<u8> {
        name.clone_into(&mut self.graph.name);
        doc.clone_into(&mut self.graph.doc_string);
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "s2s".to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(), // the standard operators
                version: OPSET,
            }],
        };
        model.encode_to_vec()
    }
}

fn info(name: &str, elem_type: i32, shape: &[Axis]) -> ValueInfoProto {
    let dim = |axis: &Axis| DimensionProto {
        value: Some(match axis {
            Axis::Size(size) => Dimension::Size(*size as i64),
            Axis::Named(name) => Dimension::Name((*name).to_owned()),
        }),
    };
    let shape = Some(ShapeProto {
        dim: shape.iter().map(dim).collect(),
    });
    let tensor_type = Some(TensorTypeProto { elem_type, shape });
    ValueInfoProto {
        name: name.to_owned(),
        kind: Some(TypeProto { tensor_type }),
    }
}
