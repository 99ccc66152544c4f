//! Greedy decoding of one sequence, step by step, with interventions.

use std::collections::BTreeMap;

use candle_core::{D, DType, Result, Tensor, bail};
use candle_nn::ops::softmax;

use super::OutputLimit;
use crate::{Attended, Mode, Seq2Seq, Source};

/// Changes to a decoding, to find out what it depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Interventions {
    /// Source positions that attention cannot see. The encoder still reads them.
    pub excluded: Vec<usize>,
    /// Divides the scores of attention: above 1, the weights are spread more evenly.
    pub temperature: f64,
    /// Tokens that replace the model's own, by step.
    pub forced: BTreeMap<usize, u32>,
}

impl Default for Interventions {
    /// No change.
    fn default() -> Self {
        Self {
            excluded: Vec::new(),
            temperature: 1.0,
            forced: BTreeMap::new(),
        }
    }
}

/// One step of a decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceStep {
    /// The token of the output: a forced one, or the model's choice.
    pub token: u32,
    /// The most likely token.
    pub choice: u32,
    /// The probability of each token, `[V]`.
    pub probabilities: Vec<f32>,
    /// The attention weights, `[S]`; all 0 without attention.
    pub weights: Vec<f32>,
    /// [`Attended::controls`] of the step.
    pub controls: BTreeMap<&'static str, Vec<f32>>,
}

/// Decodes `source` until EOS or the limit, by the definition of the model.
///
/// # Errors
/// If the source is empty or longer than [`MAX_REFERENCE_LEN`](crate::MAX_REFERENCE_LEN), a token
/// lies outside the vocabulary, an excluded position lies outside the source, the temperature is not
/// a positive number, or the device fails.
pub fn trace(
    model: &Seq2Seq,
    source: &[u32],
    limit: OutputLimit,
    changes: &Interventions,
) -> Result<Vec<TraceStep>> {
    let (tokens, length) = (model.tokens(), source.len());
    let mut visible = vec![1_f32; length];
    for &position in &changes.excluded {
        match visible.get_mut(position) {
            Some(is_visible) => *is_visible = 0.0,
            None => bail!("position {position} lies outside a source of {length} tokens"),
        }
    }
    let temperature = changes.temperature;
    if !(temperature > 0.0 && temperature.is_finite()) {
        bail!("a temperature must be a positive number, got {temperature}");
    }
    if let Some(token) = changes
        .forced
        .values()
        .find(|t| **t as usize >= tokens.size)
    {
        bail!(
            "token {token} lies outside the vocabulary of {}",
            tokens.size
        );
    }

    let source = Source::new(&[source.to_vec()], tokens)?;
    let (state, memory) = model.encode(&source, Mode::Evaluate)?;
    let visible = Tensor::from_vec(visible, (1, length), memory.mask().device())?;
    let visible = visible.to_dtype(memory.mask().dtype())?;
    let memory = memory.detached().altered(&visible, temperature)?;
    let (mut state, mut fed) = (state.detached(), tokens.bos);
    let mut steps = Vec::new();
    while steps.len() < limit.tokens(length) && (steps.is_empty() || fed != tokens.eos) {
        let input = Tensor::new(&[fed], memory.mask().device())?;
        let (logits, next) = model.decoder().step(&input, &state, &memory)?; // [1, V]
        state = next.detached();
        let choice = logits.argmax(D::Minus1)?.to_vec1::<u32>()?[0];
        fed = changes.forced.get(&steps.len()).copied().unwrap_or(choice);
        let Some(attended) = &state.attended else {
            bail!("the decoder returned no attention");
        };
        steps.push(step(fed, choice, &logits, attended)?);
    }
    Ok(steps)
}

fn step(token: u32, choice: u32, logits: &Tensor, attended: &Attended) -> Result<TraceStep> {
    let numbers = |tensor: &Tensor| -> Result<Vec<f32>> {
        tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    };
    Ok(TraceStep {
        token,
        choice,
        probabilities: numbers(&softmax(logits, D::Minus1)?)?,
        weights: numbers(&attended.weights)?,
        controls: attended
            .controls
            .iter()
            .map(|(name, tensor)| Ok((*name, numbers(tensor)?)))
            .collect::<Result<_>>()?,
    })
}
