//! What the loop needs of a model.

use candle_core::{DType, Result, Tensor};
use s2s_kernels::Kernels;
use s2s_model::{
    Batch, Decoded, Forcing, Mode, Noise, Output, Params, Seq2Seq, Source, Stop, Tokens, greedy,
};

/// A model that can be trained: its parameters, what it says to a batch, and free-running decoding.
pub trait Model {
    /// The parameters, named and ordered.
    fn params(&self) -> &Params;

    /// The tokens that it knows.
    fn tokens(&self) -> Tokens;

    /// Which operators it runs, the optimizer's included.
    fn kernels(&self) -> Kernels;

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
        Ok(scored(self.kernels(), &output, batch)?.0)
    }

    /// Loss and predictions with dropout, and the gradient of the mean loss of a token for each
    /// parameter, in their order.
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
        let (score, mean_loss) = scored(self.kernels(), &output, batch)?;
        Ok((score, self.params().gradients(&mean_loss)?))
    }
}

/// What a model made of a batch, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Negative log-likelihood of the real target tokens, in nats, summed.
    pub loss_sum: f64,
    /// The likeliest token at each position, `[B, T]`, row by row.
    pub predictions: Vec<u32>,
}

fn scored(kernels: Kernels, output: &Output, batch: &Batch) -> Result<(Score, Tensor)> {
    let loss = kernels.token_loss(&output.logits, &batch.target_out, &batch.target_rows)?;
    let score = Score {
        loss_sum: loss.sum.detach().to_dtype(DType::F64)?.to_scalar()?,
        predictions: output.predictions.flatten_all()?.to_vec1()?,
    };
    Ok((score, loss.mean()?))
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

    fn forward(&self, batch: &Batch, forcing: &Forcing, mode: Mode<'_>) -> Result<Output> {
        self.forward(batch, forcing, mode)
    }

    fn decode(&self, source: &Source, stop: Stop, with_weights: bool) -> Result<Vec<Decoded>> {
        greedy(self, source, stop, with_weights)
    }
}
