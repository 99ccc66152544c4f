//! Runs a model of PyTorch: its weights, under its names, and its first logits.
//!
//! burn's `Gru` has a parameter for each gate, and PyTorch's has one for all: this program has its own.

use burn::module::Param;
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::prelude::*;
use burn::store::{ModuleSnapshot, PytorchStore};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{DType, module::linear};

const WEIGHTS: &str = "../../crates/s2s-model/tests/pytorch/weights.pt";
const VOCAB: usize = 8;
const BOS: i64 = 6;
const EMBEDDING: usize = 3;
const HIDDEN: usize = 4;
const STATE: usize = 5;
const UNITS: usize = 6;

/// One direction of PyTorch's GRU.
#[derive(Module, Debug)]
struct PackedGru {
    weight_ih: Param<Tensor<2>>,
    weight_hh: Param<Tensor<2>>,
    bias_ih: Param<Tensor<1>>,
    bias_hh: Param<Tensor<1>>,
}

impl PackedGru {
    fn new(input: usize, hidden: usize, device: &Device) -> Self {
        Self {
            weight_ih: Initializer::Zeros.init([3 * hidden, input], device),
            weight_hh: Initializer::Zeros.init([3 * hidden, hidden], device),
            bias_ih: Initializer::Zeros.init([3 * hidden], device),
            bias_hh: Initializer::Zeros.init([3 * hidden], device),
        }
    }

    fn step(&self, input: Tensor<2>, state: Tensor<2>) -> Tensor<2> {
        let [weight_ih, weight_hh] =
            [&self.weight_ih, &self.weight_hh].map(|weight| weight.val().transpose());
        let from_input = linear(input, weight_ih, Some(self.bias_ih.val())).chunk(3, 1);
        let from_state = linear(state.clone(), weight_hh, Some(self.bias_hh.val())).chunk(3, 1);
        let gate = |k: usize| sigmoid(from_input[k].clone() + from_state[k].clone());
        let new = (from_input[2].clone() + gate(0) * from_state[2].clone()).tanh();
        new.clone() + gate(1) * (state - new)
    }

    fn states(&self, inputs: impl Iterator<Item = Tensor<3>>, device: &Device) -> Vec<Tensor<2>> {
        let mut state = Tensor::zeros([1, HIDDEN], (device, DType::F64));
        let mut step = |input: Tensor<3>| {
            state = self.step(input.squeeze_dim(1), state.clone());
            state.clone()
        };
        inputs.map(&mut step).collect()
    }
}

#[derive(Module, Debug)]
struct Encoder {
    embedding: Embedding,
    gru: PackedGru,
    gru_reverse: PackedGru,
    fc: Linear,
}

#[derive(Module, Debug)]
struct Attention {
    attn: Linear,
    v: Linear,
}

#[derive(Module, Debug)]
struct Decoder {
    embedding: Embedding,
    attention: Attention,
    gru: PackedGru,
    fc_out: Linear,
}

#[derive(Module, Debug)]
struct Model {
    encoder: Encoder,
    decoder: Decoder,
}

impl Model {
    fn new(device: &Device) -> Self {
        let embedding = EmbeddingConfig::new(VOCAB, EMBEDDING);
        Self {
            encoder: Encoder {
                embedding: embedding.init(device),
                gru: PackedGru::new(EMBEDDING, HIDDEN, device),
                gru_reverse: PackedGru::new(EMBEDDING, HIDDEN, device),
                fc: LinearConfig::new(2 * HIDDEN, STATE).init(device),
            },
            decoder: Decoder {
                embedding: embedding.init(device),
                attention: Attention {
                    attn: LinearConfig::new(STATE + 2 * HIDDEN, UNITS).init(device),
                    v: LinearConfig::new(UNITS, 1).with_bias(false).init(device),
                },
                gru: PackedGru::new(EMBEDDING + 2 * HIDDEN, STATE, device),
                fc_out: LinearConfig::new(STATE + 2 * HIDDEN, VOCAB).init(device),
            },
        }
    }

    fn encode(&self, source: Tensor<2, Int>, device: &Device) -> (Tensor<3>, Tensor<2>) {
        let Encoder {
            embedding,
            gru,
            gru_reverse,
            fc,
        } = &self.encoder;
        let embedded = embedding.forward(source);
        let forward = gru.states(embedded.clone().iter_dim(1), device);
        let backward = gru_reverse.states(embedded.flip([1]).iter_dim(1), device);
        let both = |f: &Tensor<2>, b: &Tensor<2>| Tensor::cat(vec![f.clone(), b.clone()], 1);
        let ends = both(&forward[forward.len() - 1], &backward[backward.len() - 1]);
        let values = forward
            .iter()
            .zip(backward.iter().rev())
            .map(|(f, b)| both(f, b));
        (Tensor::stack(values.collect(), 1), fc.forward(ends).tanh())
    }

    /// The logits of the token after `token`.
    fn step(&self, token: Tensor<2, Int>, state: Tensor<2>, values: Tensor<3>) -> Tensor<2> {
        let Decoder {
            embedding,
            attention,
            gru,
            fc_out,
        } = &self.decoder;
        let states = state
            .clone()
            .unsqueeze_dim::<3>(1)
            .repeat_dim(1, values.dims()[1]);
        let sums = attention
            .attn
            .forward(Tensor::cat(vec![states, values.clone()], 2));
        let weights = softmax(attention.v.forward(sums.tanh()), 1);
        let context = (values * weights).sum_dim(1).squeeze_dim(1);
        let input = Tensor::cat(
            vec![embedding.forward(token).squeeze_dim(1), context.clone()],
            1,
        );
        fc_out.forward(Tensor::cat(vec![gru.step(input, state), context], 1))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let mut model = Model::new(&device);
    let mut store = PytorchStore::from_file(WEIGHTS)
        .with_key_remapping(r"gru\.(.*)_l0_reverse$", "gru_reverse.$1")
        .with_key_remapping("_l0$", "");
    model.load_from(&mut store)?;
    let (values, state) = model.encode(Tensor::from_ints([[1, 2, 3]], &device), &device);
    let logits = model.step(Tensor::from_ints([[BOS]], &device), state, values);
    println!("{:.4?}", logits.into_data().try_to_vec::<f64>()?);
    Ok(())
}
