//! The embedding of tokens.

use candle_core::{Result, Tensor};

use crate::{Init, Scope};

/// A table with one vector per token: `weight` is `[V, E]`.
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

    /// The vectors `[.., E]` of tokens `[..]` (u32).
    ///
    /// # Errors
    /// If a token lies outside the table.
    pub fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let mut dims = tokens.dims().to_vec();
        dims.push(self.weight.dim(1)?);
        // On CUDA, candle reads the ids as if they were contiguous.
        let ids = tokens.flatten_all()?.contiguous()?;
        self.weight.index_select(&ids, 0)?.reshape(dims)
    }
}
