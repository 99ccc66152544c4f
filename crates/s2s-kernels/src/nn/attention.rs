//! Additive attention with its parameters.

use candle_core::{D, Result, Tensor};
use candle_nn::{Init, VarBuilder, ops::softmax};

use super::linear::{Linear, linear, linear_no_bias};
use crate::{Ragged, additive_scores};

/// Additive attention (Bahdanau, Cho, Bengio 2015, arXiv:1409.0473, appendix A.1.2).
///
/// ```text
/// score[b,s]  = v · tanh(W query[b] + w + U value[b,s])
/// weight[b,:] = softmax(score[b,:]) over the real positions
/// context[b]  = Σ_s weight[b,s] value[b,s]
/// ```
#[derive(Clone, Debug)]
pub struct AdditiveAttention {
    query: Linear,
    key: Linear,
    energy: Tensor, // v: [A]
}

/// What a query reads.
#[derive(Clone, Debug)]
pub struct Attended {
    /// The weighted sum of the values, `[B, V]`.
    pub context: Tensor,
    /// `[B, S]`; each row sums to 1, and is 0 where padded.
    pub weights: Tensor,
}

/// Attention of queries `query` numbers wide to values `values` wide, compared in `units` dimensions.
/// Its parameters are `query.weight`, `query.bias`, `key.weight` and `energy`.
///
/// # Errors
/// If the builder has no parameters of these names and shapes.
pub fn additive_attention(
    query: usize,
    values: usize,
    units: usize,
    vb: VarBuilder<'_>,
) -> Result<AdditiveAttention> {
    let energy = Init::Uniform { lo: -0.1, up: 0.1 };
    Ok(AdditiveAttention {
        query: linear(query, units, vb.pp("query"))?,
        key: linear_no_bias(values, units, vb.pp("key"))?,
        energy: vb.get_with_hints(units, "energy", energy)?,
    })
}

impl AdditiveAttention {
    /// The keys `[B, S, A]` of values `[B, S, V]`, computed once for all queries.
    ///
    /// # Errors
    /// If the values have another width.
    pub fn keys(&self, values: &Tensor) -> Result<Tensor> {
        self.key.forward(values)
    }

    /// What queries `[B, Q]` read from values `[B, S, V]` with these keys.
    ///
    /// # Errors
    /// If the shapes disagree, or if a row has no real position.
    pub fn forward(
        &self,
        query: &Tensor,
        values: &Tensor,
        keys: &Tensor,
        rows: &Ragged,
    ) -> Result<Attended> {
        rows.check(values)?;
        if let Some(row) = rows.lengths().iter().position(|&len| len == 0) {
            candle_core::bail!("row {row} has no position to attend to");
        }
        let scores = additive_scores(&self.query.forward(query)?, keys, &self.energy)?; // [B, S]
        // exp(-∞) is exactly 0, and 1 / 0 - 1 is ∞: so a padded position has no weight.
        let masked = (&scores - (rows.mask().recip()? - 1.0)?)?;
        let weights = softmax(&masked, D::Minus1)?;
        let context = weights.unsqueeze(1)?.matmul(&values.contiguous()?)?;
        Ok(Attended {
            context: context.squeeze(1)?,
            weights,
        })
    }
}
