//! Greedy decoding on the device. All rows stay in the batch until the last has finished.

use candle_core::Result;

use super::CudaModel;
use super::params::ParamViews;
use crate::{Decoded, Params, Source, Stop, Tokens, Watch};

impl CudaModel {
    /// The most likely token at each step; the weights must be packed.
    pub(super) fn decode(
        &mut self,
        params: &Params,
        tokens: Tokens,
        source: &Source,
        stop: Stop,
        mut watch: Option<&mut Watch<'_>>,
    ) -> Result<Vec<Decoded>> {
        let (lengths, len) = (source.lengths(), source.max_len());
        let params = ParamViews::of(params)?;
        let forbidden = match stop {
            Stop::AtEos(_) => None,
            Stop::AtSourceLength { .. } => Some(tokens.eos),
        };
        self.resize(source, 1, None)?;
        self.batch.upload_source(&self.queue, source, tokens.bos)?;
        self.encode(&params)?;
        let (views, memory) = (self.decoder_views(&params)?, self.memory());
        self.decoder.start(&self.queue, memory)?;
        let read = self.batch.targets();

        let mut rows = vec![Decoded::default(); lengths.len()];
        let mut is_done: Vec<bool> = lengths.iter().map(|len| stop.limit(*len) == 0).collect();
        let mut is_first = true;
        while is_done.contains(&false) {
            self.decoder
                .decode(&self.queue, &views, memory, (read, is_first), forbidden)?;
            is_first = false;
            let (chosen, log_probs) = self.decoder.results(&self.queue)?;
            let weights = match watch {
                Some(_) => self.decoder.last_weights().download(&self.queue)?,
                None => Vec::new(),
            };
            for (b, (row, is_done)) in rows.iter_mut().zip(&mut is_done).enumerate() {
                if *is_done {
                    continue;
                }
                row.push(chosen[b], log_probs[b], tokens.eos);
                *is_done = row.stopped || row.log_probs.len() >= stop.limit(lengths[b]);
                if let Some(watch) = &mut watch {
                    *is_done |=
                        watch(b, &weights[b * len..][..lengths[b]], 0..lengths[b]).is_break();
                }
            }
        }
        Ok(rows)
    }
}
