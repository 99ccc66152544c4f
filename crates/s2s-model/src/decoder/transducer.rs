//! A differentiable two-way transducer: a head walks over the encoder's states, and modes steer it.

use std::num::NonZeroUsize;

use candle_core::{D, Result, Tensor, bail};
use candle_nn::ops::softmax;
use s2s_kernels::{Ragged, Start};
use serde::{Deserialize, Serialize};

use crate::attention::softplus;
use crate::draws::dropped;
use crate::{
    Attended, Batch, DecoderState, ForwardOutput, Init, LayerState, Linear, Memory, Mode,
    ModelConfig, Probability, Scope,
};

/// Places that the head can move from: where it is, the first position and the last one of its row.
const PLACES: usize = 3;

/// Added to the diagonal of the transitions: a mode stays what it is until something else is learned.
const STAY: f64 = 2.0;

/// What a mode and a position keep before the logarithm.
const MODE_FLOOR: f64 = 1e-12;
const HEAD_FLOOR: f64 = 1e-8;

/// How much sharper the modes are at the end of the annealing than at its start.
const MODE_SHARPENING: f64 = 0.5;

/// A differentiable two-way transducer.
///
/// The state is the position of a head on the source, `a [B, S]`, and a mode, `m [B, K]`, both as
/// probabilities; `c [B, 2H]` is what the head reads. Outputs are not fed back: teacher forcing and
/// free running are the same computation.
///
/// ```text
/// m' = sharpened(m T(c))                    T(c) = softmax(W c + w + 2 I), row by row, K×K
/// k  = Σ_j m'[j] softmax(A_j c + b_j)       taps: {where it is, first, last} × {-R..R}
/// a' = sharpened(a moved by k)              clamped at both ends of the row
/// c' = Σ_s a'[s] v[s]
/// logits = O c' + o + M m'                  or Σ_j m'[j] (O_j c' + o_j) + M m' with a readout per mode
/// ```
///
/// Probabilities are sharpened by a power: `1 + progress / 2` for modes, and
/// `1 + progress · softplus(m' · γ)` for the head, where `progress` is that of the
/// [annealing](crate::Noise::at), 1 outside of training. In the beginning, the head is at the first
/// position and the mode is 0.
#[derive(Debug)]
pub struct Transducer {
    transition: Linear,  // W, w: 2H -> K·K
    kernel: Linear,      // A, b: 2H -> K·3(2R + 1)
    sharpness: Tensor,   // γ: [K]
    output: Linear,      // O, o: 2H -> V, or K·V with a readout per mode
    mode_output: Linear, // M: K -> V
    config: TransducerConfig,
}

/// Options of a transducer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransducerConfig {
    /// Modes.
    pub modes: NonZeroUsize,
    /// How far the head moves at most in a step, from where it is and from either end.
    pub reach: NonZeroUsize,
    /// Dropout probability on each element of the encoder's states.
    pub dropout: Probability,
    /// Factor on the entropy of the moves, which is subtracted from the loss in training; it falls to 0
    /// with the progress of the annealing.
    pub entropy_bonus: f64,
    /// Whether modes and head are soft in the beginning of training, and sharpen with the progress of the
    /// curriculum.
    pub annealing: bool,
    /// How modes share the map from what the head reads to the logits.
    pub readout: Readout,
}

/// How the modes of a transducer share the map from what the head reads to the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readout {
    /// All modes have one map, so that a mode can read as soon as another has learned to.
    #[default]
    Shared,
    /// Each mode has its own; only with `kernels = "reference"`.
    PerMode,
}

impl Default for TransducerConfig {
    fn default() -> Self {
        let size = |n| NonZeroUsize::new(n).expect("a literal above zero");
        Self {
            modes: size(6),
            reach: size(2),
            dropout: Probability::ZERO,
            entropy_bonus: 0.1,
            annealing: true,
            readout: Readout::Shared,
        }
    }
}

impl TransducerConfig {
    /// Distances that the head can move, `2R + 1`.
    pub fn distances(&self) -> usize {
        2 * self.reach.get() + 1
    }

    /// Progress of the sharpening at some progress of the annealing.
    pub(crate) fn sharpness_at(&self, progress: f64) -> f64 {
        match self.annealing {
            true => progress,
            false => 1.0,
        }
    }

    /// The factor on the entropy at some progress of the annealing.
    pub(crate) fn bonus_at(&self, progress: f64) -> f64 {
        self.entropy_bonus * (1.0 - progress)
    }

    /// Moves that a mode chooses from: each distance from each place.
    pub fn moves(&self) -> usize {
        PLACES * self.distances()
    }
}

impl Transducer {
    /// A transducer on the encoder's states of a configuration.
    ///
    /// # Errors
    /// If the names are taken.
    pub fn new(
        scope: &mut Scope<'_>,
        config: &ModelConfig,
        transducer: &TransducerConfig,
        vocab_size: usize,
    ) -> Result<Self> {
        let (values, modes) = (2 * config.hidden.get(), transducer.modes.get());
        let moves = transducer.moves();
        Ok(Self {
            transition: Linear::new(&mut scope.pp("transition"), values, modes * modes)?,
            kernel: Linear::new(&mut scope.pp("kernel"), values, modes * moves)?,
            sharpness: scope.get("sharpness", modes, Init::fan_in(modes))?,
            output: match transducer.readout {
                Readout::Shared => Linear::new(&mut scope.pp("output"), values, vocab_size)?,
                Readout::PerMode => {
                    Linear::new(&mut scope.pp("readout"), values, modes * vocab_size)?
                }
            },
            mode_output: Linear::without_bias(&mut scope.pp("mode_output"), modes, vocab_size)?,
            config: transducer.clone(),
        })
    }

    /// Its options.
    pub fn config(&self) -> &TransducerConfig {
        &self.config
    }

    /// The state before the first step, and the encoder's states `values [B, S, 2H]` with where the head
    /// arrives from each position by each distance, `[B, S, 2R + 1]` (u32), as keys.
    pub(super) fn start(
        &self,
        values: &Tensor,
        rows: &Ragged,
        mode: Mode<'_>,
    ) -> Result<(DecoderState, Memory)> {
        let (shape, dtype, device) = (values.shape().clone(), values.dtype(), values.device());
        let mask =
            mode.dropout_mask("decoder.values", shape, self.config.dropout, dtype, device)?;
        let values = dropped(values.clone(), mask.as_ref())?;
        let memory = Memory::new(&values, &self.arrivals(rows)?, rows.mask())?;

        let (modes, n_rows) = (self.config.modes.get(), rows.n_rows());
        let first: Vec<f64> = (0..n_rows * modes)
            .map(|index| f64::from(u8::from(index % modes == 0)))
            .collect();
        let mode = Tensor::from_vec(first, (n_rows, modes), device)?.to_dtype(dtype)?;
        let state = DecoderState {
            layers: vec![LayerState {
                hidden: mode,
                cell: None,
            }],
            attended: Some(Attended {
                context: values.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?, // [B, 2H]
                weights: memory.first_weights(Start::First)?,
                controls: Vec::new(),
            }),
            vector: None,
        };
        Ok((state, memory))
    }

    fn arrivals(&self, rows: &Ragged) -> Result<Tensor> {
        let (reach, len) = (self.config.reach.get(), rows.max_len());
        let mut arrivals = Vec::with_capacity(rows.n_rows() * len * self.config.distances());
        for &row_len in rows.lengths() {
            let last = row_len.saturating_sub(1);
            for position in 0..len {
                let to = position..=position + 2 * reach;
                arrivals.extend(to.map(|to| to.saturating_sub(reach).min(last) as u32));
            }
        }
        let shape = (rows.n_rows(), len, self.config.distances());
        Tensor::from_vec(arrivals, shape, rows.mask().device())
    }

    /// One step without dropout: the logits `[B, V]`.
    ///
    /// # Errors
    /// If the shapes disagree.
    pub fn step(&self, state: &DecoderState, memory: &Memory) -> Result<(Tensor, DecoderState)> {
        let step = self.step_at(1.0, state, memory, &Track::of(memory)?)?;
        Ok((step.logits, step.state))
    }

    /// One step at some progress of the annealing.
    fn step_at(
        &self,
        progress: f64,
        state: &DecoderState,
        memory: &Memory,
        track: &Track,
    ) -> Result<Step> {
        let ([LayerState { hidden: mode, .. }], Some(before)) =
            (&state.layers[..], &state.attended)
        else {
            bail!("the state is not of a transducer");
        };
        let (head, read) = (&before.weights, &before.context);
        let (n_rows, modes) = mode.dims2()?;
        let (distances, moves) = (self.config.distances(), self.config.moves());

        let transition = self
            .transition
            .forward(read)?
            .reshape((n_rows, modes, modes))?;
        let stay = Tensor::eye(modes, mode.dtype(), mode.device())?.affine(STAY, 0.0)?;
        let transition = softmax(&transition.broadcast_add(&stay)?, D::Minus1)?; // [B, K, K]
        let mode = mode.unsqueeze(1)?.matmul(&transition)?.squeeze(1)?; // [B, K]
        let power = 1.0 + MODE_SHARPENING * progress;
        let mode = softmax(
            &logarithm(&mode, MODE_FLOOR)?.affine(power, 0.0)?,
            D::Minus1,
        )?;

        let kernels = self.kernel.forward(read)?.reshape((n_rows, modes, moves))?;
        let kernels = softmax(&kernels, D::Minus1)?; // [B, K, 3(2R + 1)]
        let kernel = mode.unsqueeze(1)?.matmul(&kernels)?.squeeze(1)?; // [B, 3(2R + 1)]
        let moved = track.moved(head, &kernel.reshape((n_rows, PLACES, distances))?)?; // [B, S]

        let power = softplus(&mode.matmul(&self.sharpness.unsqueeze(1)?)?)?; // [B, 1]
        // A product of tensors: candle drops a factor of 0 from the graph, and with it the parameter.
        let progress = Tensor::full(progress, (1, 1), power.device())?.to_dtype(power.dtype())?;
        let power = power.broadcast_mul(&progress)?.affine(1.0, 1.0)?;
        let scores = logarithm(&moved, HEAD_FLOOR)?.broadcast_mul(&power)?; // [B, S]
        let mut attended = memory.weigh(&scores)?;
        attended.controls.extend([
            ("mode", mode.clone()),
            ("kernel", kernel.clone()),
            ("sharpness", power),
        ]);
        let logits = self.output.forward(&attended.context)?; // [B, V] or [B, K·V]
        let logits = match self.config.readout {
            Readout::Shared => logits,
            Readout::PerMode => {
                let logits = logits.reshape((n_rows, modes, ()))?; // [B, K, V]
                mode.unsqueeze(1)?.matmul(&logits)?.squeeze(1)?
            }
        };
        let logits = (logits + self.mode_output.forward(&mode)?)?;
        let state = DecoderState {
            layers: vec![LayerState {
                hidden: mode,
                cell: None,
            }],
            attended: Some(attended),
            vector: None,
        };
        Ok(Step {
            logits,
            state,
            kernel,
        })
    }

    /// Logits of all steps; in training, less the entropy bonus.
    pub(super) fn forward(
        &self,
        batch: &Batch,
        mode: Mode<'_>,
        (mut state, memory): (DecoderState, Memory),
    ) -> Result<ForwardOutput> {
        let progress = mode.progress();
        let (bonus, sharpness) = (
            self.config.bonus_at(progress),
            self.config.sharpness_at(progress),
        );
        let track = Track::of(&memory)?;
        let (mut all_logits, mut entropies) = (Vec::new(), Vec::new());
        for _ in 0..batch.target_len() {
            let step = self.step_at(sharpness, &state, &memory, &track)?;
            if bonus > 0.0 {
                entropies.push(entropy(&step.kernel)?); // [B]
            }
            all_logits.push(step.logits);
            state = step.state;
        }
        let logits = Tensor::stack(&all_logits, 1)?; // [B, T, V]
        let penalty = match entropies.is_empty() {
            true => None,
            false => {
                let targets = batch.target_ragged(logits.dtype(), logits.device())?;
                let sum = (Tensor::stack(&entropies, 1)? * targets.mask())?.sum_all()?;
                Some(sum.affine(-bonus / batch.n_tokens() as f64, 0.0)?)
            }
        };
        Ok(ForwardOutput {
            predictions: logits.detach().argmax(D::Minus1)?,
            logits,
            penalty,
        })
    }
}

struct Step {
    logits: Tensor, // [B, V]
    state: DecoderState,
    kernel: Tensor, // [B, 3(2R + 1)]
}

/// Where the head moves from besides where it is, and where it arrives.
struct Track {
    ends: Tensor,     // [B, S, 2], a one at the first and at the last position of each row
    arrivals: Tensor, // [B·S·(2R + 1)], positions in all rows one after the other
}

impl Track {
    fn of(memory: &Memory) -> Result<Self> {
        let (n_rows, len, _) = memory.keys().dims3()?;
        let first = memory.first_weights(Start::First)?;
        let last = memory.first_weights(Start::Last)?;
        let starts = (0..n_rows).map(|row| (row * len) as u32).collect();
        let starts = Tensor::from_vec(starts, (n_rows, 1, 1), memory.mask().device())?;
        Ok(Self {
            ends: Tensor::stack(&[first, last], 2)?,
            arrivals: memory.keys().broadcast_add(&starts)?.flatten_all()?,
        })
    }

    /// The head `[B, S]` after the moves with the probabilities `kernel [B, 3, 2R + 1]`.
    fn moved(&self, head: &Tensor, kernel: &Tensor) -> Result<Tensor> {
        let from = Tensor::cat(&[&head.unsqueeze(2)?, &self.ends], 2)?; // [B, S, 3]
        let leaving = from.matmul(kernel)?.flatten_all()?; // [B·S·(2R + 1)]
        // candle cannot differentiate `scatter_add` with more sources than destinations.
        let nowhere = head.zeros_like()?.flatten_all()?;
        nowhere
            .index_add(&self.arrivals, &leaving, 0)?
            .reshape(head.shape())
    }
}

/// `ln(x + floor)`.
fn logarithm(x: &Tensor, floor: f64) -> Result<Tensor> {
    x.affine(1.0, floor)?.log()
}

/// The entropy `[B]` of the distributions `[B, n]`, in nats.
fn entropy(distribution: &Tensor) -> Result<Tensor> {
    let logarithms = logarithm(distribution, HEAD_FLOOR)?;
    (distribution * logarithms)?.sum(D::Minus1)?.neg()
}
