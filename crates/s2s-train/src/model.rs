//! The interface between the training loop and a model.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_model::{
    Batch, BatchLoss, Decoded, Forcing, ForwardOutput, Generator, Mode, Noise, Params, PendingLoss,
    Seq2Seq, Source, Stop, Tokens,
};

/// A model that can be trained: its parameters, a forward pass that autograd differentiates, and
/// free-running decoding.
///
/// The provided methods compute losses and gradients through autograd. A model with hand-written
/// gradients overrides them.
///
/// ```
/// use candle_core::{D, DType, Device, Result, Tensor};
/// use s2s_model::{Batch, Decoded, Forcing, ForwardOutput, Init, Mode, Params, Source, Stop, Tokens};
/// use s2s_train::{ExperimentConfig, Model, Trainer, open_data, tokens_of};
///
/// /// Each token from the one before it: a table of logits.
/// struct Bigram {
///     params: Params,
///     tokens: Tokens,
///     table: Tensor, // [V, V]
/// }
///
/// impl Bigram {
///     fn new(tokens: Tokens) -> Result<Self> {
///         let mut params = Params::new(0, DType::F32, &Device::Cpu);
///         let init = Init::Uniform { bound: 0.1 };
///         let table = params.root().get("table", (tokens.size, tokens.size), init)?;
///         Ok(Self { params, tokens, table })
///     }
/// }
///
/// impl Model for Bigram {
///     fn params(&self) -> &Params {
///         &self.params
///     }
///
///     fn tokens(&self) -> Tokens {
///         self.tokens
///     }
///
///     fn forward(&self, batch: &Batch, _: &Forcing, _: Mode<'_>) -> Result<ForwardOutput> {
///         let before = Tensor::new(batch.target_in(), &Device::Cpu)?; // [B·T]
///         let shape = (batch.n_rows(), batch.target_len(), self.tokens.size);
///         let logits = self.table.index_select(&before, 0)?.reshape(shape)?; // [B, T, V]
///         let predictions = logits.argmax(D::Minus1)?;
///         Ok(ForwardOutput { logits, predictions, penalty: None })
///     }
///
///     fn decode(&self, source: &Source, stop: Stop) -> Result<Vec<Decoded>> {
///         let row = |len: &usize| {
///             let (mut token, mut decoded) = (self.tokens.bos, Decoded::default());
///             while !decoded.stopped && decoded.log_probs.len() < stop.limit(*len) {
///                 let logits = self.table.get(token as usize)?;
///                 let log_probs = logits.broadcast_sub(&logits.log_sum_exp(0)?)?;
///                 token = logits.argmax(0)?.to_scalar()?;
///                 decoded.log_probs.push(log_probs.get(token as usize)?.to_scalar()?);
///                 decoded.stopped = token == self.tokens.eos;
///                 decoded.tokens.extend((!decoded.stopped).then_some(token));
///             }
///             Ok(decoded)
///         };
///         source.lengths().iter().map(row).collect()
///     }
/// }
///
/// # fn main() -> s2s_train::Result<()> {
/// let mut config = ExperimentConfig::default();
/// # config.train.max_steps = 2;
/// # (config.data.val_samples, config.data.max_len) = (10, 3);
/// let data = open_data(&config)?;
/// let model = Bigram::new(tokens_of(data.source.vocabulary()))?;
/// Trainer::with_model(config, data, model)?.run(&mut [])?;
/// # Ok(())
/// # }
/// ```
pub trait Model {
    /// The parameters, named and ordered.
    fn params(&self) -> &Params;

    /// The special tokens and the size of the vocabulary.
    fn tokens(&self) -> Tokens;

    /// Logits and predictions for every position of the targets.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn forward(&self, batch: &Batch, forcing: &Forcing, mode: Mode<'_>) -> Result<ForwardOutput>;

    /// Greedy decoding of every row of a batch, without attention weights.
    ///
    /// # Errors
    /// If the device fails.
    fn decode(&self, source: &Source, stop: Stop) -> Result<Vec<Decoded>>;

    /// As [`decode`](Self::decode), with attention weights. A model without attention returns none, as this
    /// default does.
    ///
    /// # Errors
    /// If the device fails.
    fn decode_with_attention(&self, source: &Source, stop: Stop) -> Result<Vec<Decoded>> {
        self.decode(source, stop)
    }

    /// Threads that the model and its optimizer may use. No result may depend on it.
    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    /// The name of the implementation, for the record of a run.
    fn kernels_name(&self) -> &'static str {
        "reference"
    }

    /// Loss and predictions, without dropout.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn loss(&mut self, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss> {
        let output = self.forward(batch, forcing, Mode::Evaluate)?;
        Ok(BatchLoss::of(&output, batch)?.0)
    }

    /// Loss and predictions with dropout, and the gradient of the mean loss per token with respect
    /// to each parameter, in their order. The next call may overwrite these gradients.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(BatchLoss, Vec<Tensor>)> {
        let output = self.forward(batch, forcing, Mode::Train(noise))?;
        let (loss, mean) = BatchLoss::of(&output, batch)?;
        Ok((loss, self.params().gradients(&mean)?))
    }

    /// As [`gradients`](Self::gradients), for a training loop that reads the loss later, so that it need not
    /// wait for a device.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn submit_gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(PendingLoss, Vec<Tensor>)> {
        let (loss, gradients) = self.gradients(batch, forcing, noise)?;
        Ok((loss.into(), gradients))
    }
}

impl Model for Seq2Seq {
    fn params(&self) -> &Params {
        self.params()
    }

    fn tokens(&self) -> Tokens {
        self.tokens()
    }

    fn forward(&self, batch: &Batch, forcing: &Forcing, mode: Mode<'_>) -> Result<ForwardOutput> {
        self.forward(batch, forcing, mode)
    }

    fn decode(&self, source: &Source, stop: Stop) -> Result<Vec<Decoded>> {
        Generator::new(self)?.greedy(source, stop)
    }

    fn decode_with_attention(&self, source: &Source, stop: Stop) -> Result<Vec<Decoded>> {
        Generator::new(self)?.with_attention().greedy(source, stop)
    }

    fn threads(&self) -> NonZeroUsize {
        self.threads()
    }

    fn kernels_name(&self) -> &'static str {
        self.kernels_name()
    }

    fn loss(&mut self, batch: &Batch, forcing: &Forcing) -> Result<BatchLoss> {
        self.loss(batch, forcing)
    }

    fn gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(BatchLoss, Vec<Tensor>)> {
        self.gradients(batch, forcing, noise)
    }

    fn submit_gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(PendingLoss, Vec<Tensor>)> {
        self.submit_gradients(batch, forcing, noise)
    }
}
