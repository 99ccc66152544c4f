//! The fused scores as a candle operator.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::additive::{AdditiveRow, additive_backward, additive_scores};
use super::kernel::{Keys, Memory};
use crate::storage::{contiguous, output, to_vec};
use crate::team::Steps;

pub(crate) fn scores(query: &Tensor, keys: &Tensor, energy: &Tensor) -> Result<Tensor> {
    let (batch, source_len, units) = keys.dims3()?;
    if (query.dims2()?, energy.dims1()?) != ((batch, units), units) {
        let (query, energy) = (query.dims(), energy.dims());
        bail!(
            "keys are [{batch}, {source_len}, {units}], but the query {query:?}, the energy {energy:?}"
        );
    }
    let scores = Scores { batch, source_len };
    query
        .contiguous()?
        .apply_op3(&keys.contiguous()?, &energy.contiguous()?, scores)
}

/// `(query [B, A], keys [B, S, A], energy [A]) -> scores [B, S]`
struct Scores {
    batch: usize,
    source_len: usize,
}

impl Scores {
    /// The keys of one row, which alone are position first as well.
    fn row<'a>(&'a self, keys: &'a [f32], row: usize) -> Memory<'a, f32> {
        let width = keys.len() / self.batch;
        Memory {
            values: &[],
            keys: &keys[row * width..][..width],
            lengths: std::slice::from_ref(&self.source_len),
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
        let mut scores = vec![0.0; self.batch * self.source_len];
        let rows = query
            .chunks_exact(energy.len())
            .zip(scores.chunks_exact_mut(self.source_len));
        for (row, (query, scores)) in rows.enumerate() {
            additive_scores(
                self.row(keys, row),
                &[0],
                query,
                energy.len(),
                energy,
                scores,
            );
        }
        output(scores, (self.batch, self.source_len))
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
        let rows = d_query
            .chunks_exact_mut(units)
            .zip(d_keys.chunks_exact_mut(self.source_len * units))
            .zip(d_scores.chunks_exact(self.source_len));
        for (row, ((d_query, d_keys), d_scores)) in rows.enumerate() {
            let range = std::slice::from_ref(&(0..1));
            for d_keys in Steps::split(d_keys, self.source_len, units, range) {
                let mut grads = AdditiveRow {
                    query: d_query,
                    energy: &mut d_energy,
                    keys: &mut Keys(d_keys),
                    index: 0,
                };
                let (memory, query) = (self.row(&all_keys, row), &queries[row * units..][..units]);
                additive_backward(memory, 0, query, &energies, d_scores, &mut grads);
            }
        }
        Ok((
            Some(Tensor::from_vec(d_query, query.shape(), query.device())?),
            Some(Tensor::from_vec(d_keys, keys.shape(), keys.device())?),
            Some(Tensor::from_vec(d_energy, energy.shape(), energy.device())?),
        ))
    }
}
