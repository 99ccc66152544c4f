//! What the loop needs of a model.

use std::num::NonZeroUsize;

use candle_core::{Result, Tensor};
use s2s_kernels::Kernels;
use s2s_model::{
    Batch, Decoded, Forcing, Mode, Noise, Output, Params, Score, Seq2Seq, Source, Stop, Tokens,
    greedy,
};

/// A model that can be trained: its parameters, what it says to a batch, and free-running decoding.
pub trait Model {
    /// The parameters, named and ordered.
    fn params(&self) -> &Params;

    /// The tokens that it knows.
    fn tokens(&self) -> Tokens;

    /// Which operators it runs, the optimizer's included.
    fn kernels(&self) -> Kernels;

    /// Threads that its operators may use, the optimizer's included; no result depends on it.
    fn threads(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    /// Logits and predictions for every position of the targets, fed as `forcing` says.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn forward(&self, batch: &Batch, forcing: &Forcing, mode: Mode<'_>) -> Result<Output>;

    /// Greedy decoding, for every row of a batch.
    ///
    /// # Errors
    /// If the device fails.
    fn decode(&self, source: &Source, stop: Stop, with_weights: bool) -> Result<Vec<Decoded>>;

    /// Loss and predictions without dropout.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn score(&mut self, batch: &Batch, forcing: &Forcing) -> Result<Score> {
        let output = self.forward(batch, forcing, Mode::Evaluate)?;
        Ok(Score::of(&output, batch, self.kernels())?.0)
    }

    /// Loss and predictions with dropout, and the gradient of the mean loss of a token for each
    /// parameter, in their order. They may stand in memory that the next call writes over.
    ///
    /// # Errors
    /// If the shapes disagree.
    fn gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(Score, Vec<Tensor>)> {
        let output = self.forward(batch, forcing, Mode::Train(noise))?;
        let (score, mean_loss) = Score::of(&output, batch, self.kernels())?;
        Ok((score, self.params().gradients(&mean_loss)?))
    }
}

impl Model for Seq2Seq {
    fn params(&self) -> &Params {
        self.params()
    }

    fn tokens(&self) -> Tokens {
        self.tokens()
    }

    fn kernels(&self) -> Kernels {
        self.kernels()
    }

    fn threads(&self) -> NonZeroUsize {
        self.threads()
    }

    fn forward(&self, batch: &Batch, forcing: &Forcing, mode: Mode<'_>) -> Result<Output> {
        self.forward(batch, forcing, mode)
    }

    fn decode(&self, source: &Source, stop: Stop, with_weights: bool) -> Result<Vec<Decoded>> {
        greedy(self, source, stop, with_weights)
    }

    fn score(&mut self, batch: &Batch, forcing: &Forcing) -> Result<Score> {
        self.score(batch, forcing)
    }

    fn gradients(
        &mut self,
        batch: &Batch,
        forcing: &Forcing,
        noise: &Noise,
    ) -> Result<(Score, Vec<Tensor>)> {
        self.gradients(batch, forcing, noise)
    }
}
