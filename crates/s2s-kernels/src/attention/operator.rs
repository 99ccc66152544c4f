//! The fused scores as a candle operator.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::additive::{AdditiveRow, additive_backward, additive_scores};
use super::kernel::Memory;
use crate::storage::{contiguous, output, to_vec};

pub(crate) fn scores(query: &Tensor, keys: &Tensor, energy: &Tensor) -> Result<Tensor> {
    let (batch, source_len, units) = keys.dims3()?;
    if (query.dims2()?, energy.dims1()?) != ((batch, units), units) {
        let (query, energy) = (query.dims(), energy.dims());
        bail!(
            "keys are [{batch}, {source_len}, {units}], but the query {query:?}, the energy {energy:?}"
        );
    }
    let scores = Scores {
        source_len,
        lengths: vec![source_len; batch],
    };
    query
        .contiguous()?
        .apply_op3(&keys.contiguous()?, &energy.contiguous()?, scores)
}

/// `(query [B, A], keys [B, S, A], energy [A]) -> scores [B, S]`
struct Scores {
    source_len: usize,
    /// `S` for each row: which positions are real is not its business.
    lengths: Vec<usize>,
}

impl Scores {
    fn memory<'a>(&'a self, keys: &'a [f32]) -> Memory<'a, f32> {
        Memory {
            values: &[],
            keys,
            lengths: &self.lengths,
            len: self.source_len,
        }
    }
}

impl CustomOp3 for Scores {
    fn name(&self) -> &'static str {
        "additive-scores"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
        energy: &CpuStorage,
        energy_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let query: &[f32] = contiguous(query, query_layout)?;
        let keys = contiguous(keys, keys_layout)?;
        let energy: &[f32] = contiguous(energy, energy_layout)?;
        let batch = self.lengths.len();
        let rows: Vec<usize> = (0..batch).collect();
        let mut scores = vec![0.0; batch * self.source_len];
        let stride = energy.len();
        additive_scores(self.memory(keys), &rows, query, stride, energy, &mut scores);
        output(scores, (batch, self.source_len))
    }

    fn bwd(
        &self,
        query: &Tensor,
        keys: &Tensor,
        energy: &Tensor,
        _scores: &Tensor,
        d_scores: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let d_scores = to_vec(d_scores)?;
        let queries = to_vec(query)?;
        let mut d_query = vec![0.0; queries.len()];
        let (all_keys, energies) = (to_vec(keys)?, to_vec(energy)?);
        let units = energies.len();
        let mut d_keys = vec![0.0; all_keys.len()];
        let mut d_energy = vec![0.0; units];
        let width = self.source_len * units;
        for (row, d_scores) in d_scores.chunks_exact(self.source_len).enumerate() {
            let mut grads = AdditiveRow {
                query: &mut d_query[row * units..][..units],
                energy: &mut d_energy,
                keys: &mut d_keys[row * width..][..width],
            };
            let (memory, query) = (self.memory(&all_keys), &queries[row * units..][..units]);
            additive_backward(memory, row, query, &energies, d_scores, &mut grads);
        }
        Ok((
            Some(Tensor::from_vec(d_query, query.shape(), query.device())?),
            Some(Tensor::from_vec(d_keys, keys.shape(), keys.device())?),
            Some(Tensor::from_vec(d_energy, energy.shape(), energy.device())?),
        ))
    }
}
