//! Starts a model from the weights of another run, whose vocabulary may differ.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Tensor, Var};
use reverse_data::{Token, Vocabulary};
use s2s_model::{Seq2Seq, TOKEN_PARAMETERS};

use crate::{Difference, Error, RestartConfig, Result, Trained, Trainer};

/// How many tokens of two vocabularies are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Tokens that both have, special tokens included.
    pub n_matched: u64,
    /// Tokens that only the new model has, in its order. They start untrained.
    pub new: Vec<String>,
    /// Tokens that only the other run has, in its order. Their weights are not used.
    pub unused: Vec<String>,
}

impl Trainer<Seq2Seq> {
    /// Copies the parameters of a trained model, which comes from `run`. Parameters with a row per
    /// token are matched by the text of the tokens; a token that the other model does not have keeps
    /// its initial values. The optimizer starts anew.
    ///
    /// # Errors
    /// [`Error::Start`] if a parameter is missing or has another shape, or if a restart could draw the
    /// parameters again; nothing is changed then.
    pub fn start_from(&mut self, parent: &Trained, run: &Path) -> Result<Transfer> {
        if self.config().train.restart != (RestartConfig::None {}) {
            let reason = "train.restart draws the parameters again".to_owned();
            let run = run.to_owned();
            return Err(Error::Start { run, reason });
        }
        let own = self.data().source.vocabulary().clone();
        let rows = matched_rows(&own, &parent.codec.vocabulary);
        let (params, others) = (self.model().params(), parent.model.params());
        let mismatch = |name: &str| -> Result<Error> {
            let (run, reason) = (run.to_owned(), self.mismatch(name, parent)?);
            Ok(Error::Start { run, reason })
        };
        if let Some((name, _)) = others.iter().find(|(name, _)| params.get(name).is_none()) {
            return Err(mismatch(name)?);
        }
        let mut values = Vec::new();
        for (name, var) in params.iter() {
            let found = others.get(name);
            let value = found.map(|found| match TOKEN_PARAMETERS.contains(&name) {
                true => with_rows(var, found, &rows),
                false => Ok((var.dims() == found.dims()).then(|| found.as_tensor().clone())),
            });
            let Some(value) = value.transpose()?.flatten() else {
                return Err(mismatch(name)?);
            };
            values.push(value);
        }
        for ((_, var), value) in params.iter().zip(&values) {
            var.set(value)?;
        }
        let text = |vocabulary: &Vocabulary, token: Token| vocabulary.text(token);
        let is_used = |token: Token| rows.contains(&Some(token));
        Ok(Transfer {
            n_matched: rows.iter().flatten().count() as u64,
            new: (0..)
                .zip(&rows)
                .filter(|(_, row)| row.is_none())
                .map(|(token, _)| text(&own, token))
                .collect(),
            unused: (0..parent.codec.vocabulary.size() as Token)
                .filter(|token| !is_used(*token))
                .map(|token| text(&parent.codec.vocabulary, token))
                .collect(),
        })
    }

    /// Why a parameter does not fit: the keys of `[model]` that differ.
    fn mismatch(&self, name: &str, parent: &Trained) -> Result<String> {
        let differences = Difference::between(self.config(), &parent.config)?;
        let keys: Vec<String> = differences
            .iter()
            .filter(|pair| pair.key.starts_with("model.") && !pair.key.contains("dropout"))
            .map(|pair| {
                let [here, there] = &pair.values;
                format!("{} is {here} here and {there} there", pair.key)
            })
            .collect();
        Ok(match keys.is_empty() {
            true => format!("parameter {name} is missing or has another shape"),
            false => keys.join("; "),
        })
    }
}

/// For each token, the token of the other vocabulary with the same text.
fn matched_rows(own: &Vocabulary, other: &Vocabulary) -> Vec<Option<Token>> {
    let tokens = (0..other.size() as Token).map(|token| (other.text(token), token));
    let by_text: HashMap<String, Token> = tokens.collect();
    (0..own.size() as Token)
        .map(|token| by_text.get(&own.text(token)).copied())
        .collect()
}

/// `own` with the matched rows of `other`; `None` if their rows have different shapes.
fn with_rows(own: &Var, other: &Var, rows: &[Option<Token>]) -> Result<Option<Tensor>> {
    if own.dims().get(1..) != other.dims().get(1..) || own.dims().first() != Some(&rows.len()) {
        return Ok(None);
    }
    let width: usize = own.dims().iter().skip(1).product();
    let numbers = |var: &Var| var.flatten_all()?.to_vec1::<f32>();
    let (mut values, trained) = (numbers(own)?, numbers(other)?);
    for (row, values) in rows.iter().zip(values.chunks_exact_mut(width)) {
        if let Some(row) = row {
            values.copy_from_slice(&trained[*row as usize * width..][..width]);
        }
    }
    Ok(Some(Tensor::from_vec(values, own.shape(), own.device())?))
}
