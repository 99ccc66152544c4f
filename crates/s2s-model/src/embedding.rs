//! A vector for each token.

use candle_core::{Result, Tensor};

use crate::{Init, Scope};

/// A table of token vectors: `weight` is `[V, E]`.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// A table for `vocab_size` tokens.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn new(scope: &mut Scope<'_>, vocab_size: usize, width: usize) -> Result<Self> {
        Ok(Self {
            weight: scope.get("weight", (vocab_size, width), Init::Normal)?,
        })
    }

    /// Tokens `[..]` (u32) to vectors `[.., E]`.
    ///
    /// # Errors
    /// If a token lies outside the table.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let mut dims = tokens.dims().to_vec();
        dims.push(self.weight.dim(1)?);
        self.weight
            .index_select(&tokens.flatten_all()?, 0)?
            .reshape(dims)
    }
}
