//! Rules across values, and limits on sizes.

use std::num::NonZeroUsize;

use reverse_data::DataConfig;
use s2s_model::{AttentionSizes, DecoderConfig, Kernels, MAX_REFERENCE_LEN};

use super::{
    Auto, ConfigError, CurriculumConfig, ExperimentConfig, Precision, RestartConfig, TrainConfig,
};

/// Maximum width; larger values are most likely typing errors and would exhaust memory.
const MAX_WIDTH: usize = 1 << 14;

/// Maximum number of modes of a transducer, which learns a transition from each to each, and maximum reach.
const MAX_MODES: usize = 64;
const MAX_REACH: usize = 64;

/// Maximum number of layers and of sequences in a batch, for the same reason.
const MAX_LAYERS: usize = 16;
const MAX_BATCH: usize = 1 << 16;

/// Maximum number of parameters: 1 GiB as f32, and four times that with gradients and moments.
const MAX_PARAMETERS: usize = 1 << 28;

/// Maximum number of activations of a layer for a batch: 4 GiB as f32.
const MAX_ACTIVATIONS: usize = 1 << 30;

/// Activations of a layer that need little memory: 512 MiB as f32.
const FEW_ACTIVATIONS: usize = 1 << 27;

/// A rule that is broken.
#[derive(Debug)]
pub(super) struct Problem {
    /// The key, with its tables.
    pub(super) key: String,
    /// What is wrong, with the value and the bound.
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: Option<String>,
}

impl Problem {
    fn new(
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
            help: help.into(),
        }
    }
}

impl ExperimentConfig {
    /// Checks the memory limits for a vocabulary of `n_tokens` tokens and sequences of up to
    /// `longest`.
    ///
    /// # Errors
    /// If the model or its batches exceed a limit.
    pub(crate) fn check_memory(&self, n_tokens: usize, longest: usize) -> Result<(), ConfigError> {
        let mut problems = self.memory_problems(n_tokens, longest).into_iter();
        match problems.next() {
            None => Ok(()),
            Some(Problem { key, message, help }) => Err(ConfigError::of(&format!(
                "{key}: {message} ({})",
                help.unwrap_or_default()
            ))),
        }
    }

    /// All rules across values that are broken.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for problem in self.data.validate() {
            let key = format!("data.{}", problem.key);
            problems.push(Problem::new(key, problem.message, problem.help));
        }
        for problem in self.model.problems() {
            let key = format!("model.{}", problem.key);
            problems.push(Problem::new(key, problem.message, problem.help));
        }
        let mut bounded = |key: &str, value: usize, max: usize| {
            if value > max {
                let message = format!("must be at most {max}, got {value}");
                problems.push(Problem::new(key, message, None));
            }
        };
        bounded("model.embedding", self.model.embedding.get(), MAX_WIDTH);
        bounded("model.hidden", self.model.hidden.get(), MAX_WIDTH);
        match &self.model.decoder {
            DecoderConfig::Recurrent(units) => bounded("model.decoder", units.get(), MAX_WIDTH),
            DecoderConfig::Transducer(transducer) => {
                bounded("model.decoder.modes", transducer.modes.get(), MAX_MODES);
                bounded("model.decoder.reach", transducer.reach.get(), MAX_REACH);
            }
        }
        bounded("model.layers", self.model.layers.get(), MAX_LAYERS);
        let attention = self.model.attention.sizes();
        bounded("model.attention.units", attention.units, MAX_WIDTH);
        bounded("model.attention.filters", attention.filters, MAX_WIDTH);
        bounded("model.attention.width", attention.width, MAX_WIDTH);
        bounded("train.batch_size", self.train.batch_size.get(), MAX_BATCH);
        bounded(
            "train.accumulation_steps",
            self.train.accumulation_steps.get(),
            MAX_BATCH,
        );
        bounded(
            "train.eval_batch_size",
            self.train.eval_batch_size.get(),
            MAX_BATCH,
        );
        problems.extend(self.train.problems(&self.data));
        problems.extend(self.problems_of_logarithms());
        if self.model.decoder.transducer().is_some() && !self.data.source_markers {
            problems.push(Problem::new(
                "data.source_markers",
                "a transducer needs BOS and EOS in the source, where its head starts and turns",
                "set data.source_markers = true".to_owned(),
            ));
        }
        if problems.is_empty() && !self.data.is_text() {
            // All sizes are bounded here, so the products cannot overflow.
            let longest = self.data.max_len * self.data.task().growth();
            problems = self.memory_problems(self.data.vocab as usize + 2, longest);
        }
        problems
    }

    /// Whether half precision is too coarse for the model.
    fn problems_of_logarithms(&self) -> Option<Problem> {
        let (of, instead) = match &self.model.decoder {
            DecoderConfig::Transducer(_) => ("transducer", "decoder"),
            DecoderConfig::Recurrent(_) if self.model.attention.takes_logarithms() => {
                ("attention", "attention.kind")
            }
            DecoderConfig::Recurrent(_) => return None,
        };
        (self.train.precision == Precision::F16).then(|| {
            Problem::new(
                "train.precision",
                format!(
                    "\"f16\" cannot represent the small weights whose logarithm this {of} takes"
                ),
                format!("set precision = \"bf16\" or \"f32\", or another model.{instead}"),
            )
        })
    }

    /// Limits on the memory that the sizes need together.
    fn memory_problems(&self, vocab: usize, longest: usize) -> Vec<Problem> {
        let mut problems = Vec::new();
        let model = &self.model;
        let (embedding, both) = (model.embedding.get(), 2 * model.hidden.get());
        let decoder = model.decoder.width().get();
        let (fewer_tokens, shorter) = match self.data.is_text() {
            true => (
                "set data.max_tokens",
                "remove the longest lines of the text (data.max_source_len drops training pairs)",
            ),
            false => ("lower data.vocab", "lower data.max_len"),
        };
        let AttentionSizes {
            units,
            filters,
            width,
        } = model.attention.sizes();
        // Upper bounds on all weight matrices.
        let tables = vocab * (2 * embedding + decoder + both);
        let gates = model.cell.gates();
        let first = gates * (both * (embedding + both) + decoder * (embedding + both + decoder));
        let bridge = model.cell.state_vectors() * decoder * both;
        let layer = 2 * gates * (both * both + decoder * decoder) + bridge;
        let attention = units * (decoder + both + 2 + filters * (width + 2)) + decoder * both;
        let chosen = self.transitions();
        let n_parameters =
            tables + first + layer * model.layers.get() + attention + chosen * (both + 1);
        if n_parameters > MAX_PARAMETERS {
            problems.push(Problem::new(
                "model",
                format!(
                    "the model has about {n_parameters} parameters; the limit is {MAX_PARAMETERS}"
                ),
                format!("lower the widths in [model], or {fewer_tokens}"),
            ));
        }
        // Two more for EOS in the target or the markers in the source.
        if model.kernels == Kernels::Reference && longest + 2 > MAX_REFERENCE_LEN {
            problems.push(Problem::new(
                "model.kernels",
                format!(
                    "\"reference\" stores the graph of every step and supports sequences of at most {} tokens, \
                     got {longest}",
                    MAX_REFERENCE_LEN - 2
                ),
                format!("set kernels = \"fused\", or {shorter}"),
            ));
        }
        let widest = self.widest_layer(vocab);
        for (key, rows) in [
            ("train.batch_size", self.train.batch_size.get()),
            ("train.eval_batch_size", self.train.eval_batch_size.get()),
        ] {
            let n = rows.saturating_mul(longest).saturating_mul(widest);
            if n > MAX_ACTIVATIONS {
                problems.push(Problem::new(
                    key,
                    format!(
                        "{rows} sequences of {longest} tokens with {widest} activations each are {n} \
                         activations; the limit is {MAX_ACTIVATIONS}"
                    ),
                    format!("lower {key}, or {shorter}"),
                ));
            }
        }
        problems
    }

    /// Sequences of up to `longest` tokens per batch of an evaluation: `train.eval_batch_size`, unless training
    /// would refuse it for sequences of this length. Then it is a number that needs little memory.
    pub fn eval_batch_size(&self, n_tokens: usize, longest: usize) -> NonZeroUsize {
        let configured = self.train.eval_batch_size;
        let activations = longest.saturating_mul(self.widest_layer(n_tokens)).max(1);
        match configured.get().saturating_mul(activations) <= MAX_ACTIVATIONS {
            true => configured,
            false => NonZeroUsize::new(FEW_ACTIVATIONS / activations).unwrap_or(NonZeroUsize::MIN),
        }
    }

    /// Activations of the widest layer for a token.
    fn widest_layer(&self, vocab: usize) -> usize {
        let model = &self.model;
        let AttentionSizes {
            units,
            filters,
            width,
        } = model.attention.sizes();
        let (both, decoder) = (2 * model.hidden.get(), model.decoder.width().get());
        let features = (2 * filters).max(width);
        let embedding = model.embedding.get();
        let sizes = [
            both,
            4 * decoder,
            units,
            features,
            embedding,
            vocab,
            self.transitions(),
        ];
        sizes.into_iter().max().unwrap_or(0)
    }

    /// What a transducer computes for each position: a transition from each mode. A recurrent decoder has none.
    fn transitions(&self) -> usize {
        let decoder = self.model.decoder.width().get();
        match &self.model.decoder {
            DecoderConfig::Recurrent(_) => 0,
            DecoderConfig::Transducer(transducer) => decoder * (decoder + transducer.moves()),
        }
    }
}

impl TrainConfig {
    /// Rules within the table, and between it and the data.
    fn problems(&self, data: &DataConfig) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |key: &str, message: String, help: &str| {
            problems.push(Problem::new(
                format!("train.{key}"),
                message,
                help.to_owned(),
            ));
        };
        let is_endless = data.train_samples == 0 && !data.is_text();
        if self.max_steps == 0 && (is_endless || self.epochs == Auto::Value(0)) {
            let why = if is_endless {
                "endless samples have no epochs"
            } else {
                "so is epochs"
            };
            report(
                "max_steps",
                format!("the run would never end: max_steps is 0, and {why}"),
                "set max_steps, for example 1000",
            );
        }
        if self.eval_every == Auto::Value(0) && is_endless {
            report(
                "eval_every",
                "eval_every is 0, but endless samples have no epochs".to_owned(),
                "set eval_every, for example 100",
            );
        }
        if let CurriculumConfig::Loss { start, .. } = &self.curriculum {
            let (min, max) = (data.min_len, data.max_len);
            if data.is_text() {
                report(
                    "curriculum",
                    "text has no samples of a chosen length".to_owned(),
                    "remove it; data.max_source_len drops long pairs",
                );
            } else if !(min..=max).contains(&start.get()) {
                report(
                    "curriculum.start",
                    format!(
                        "must lie between data.min_len = {min} and data.max_len = {max}, got {start}"
                    ),
                    "set train.curriculum.start",
                );
            }
        }
        if self.restart != (RestartConfig::None {}) && !self.freeze.is_empty() {
            report(
                "restart",
                "a restart draws all parameters again, those of train.freeze too".to_owned(),
                "remove one of the two",
            );
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_an_evaluation_are_smaller_only_where_training_would_refuse_them() {
        let config = ExperimentConfig::default();
        let configured = config.train.eval_batch_size;
        let mut refused = 0;
        for longest in [1, 10, 1000, 10_000, 100_000, 1_000_000, usize::MAX] {
            let rows = config.eval_batch_size(100, longest);
            let is_refused = config.check_memory(100, longest).is_err();
            assert_eq!(rows < configured, is_refused, "{longest}");
            refused += usize::from(is_refused);
        }
        assert!((1..7).contains(&refused), "{refused}");
    }
}
