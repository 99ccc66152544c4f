//! The fused loss as a candle operator.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::TokenLoss;
use super::kernel::token_loss as fused;
use crate::Ragged;
use crate::storage::{contiguous, output, to_vec};
use crate::team::Team;

pub(crate) fn token_loss(logits: &Tensor, targets: &Tensor, rows: &Ragged) -> Result<TokenLoss> {
    let (batch, len, vocab) = logits.dims3()?;
    let n_tokens = rows.n_tokens();
    if n_tokens == 0 {
        bail!("the loss of a batch without a single real token is undefined");
    }
    if (targets.dims2()?, rows.n_rows(), rows.max_len()) != ((batch, len), batch, len) {
        let (targets, rows) = (targets.dims(), rows.mask().dims());
        bail!("logits are [{batch}, {len}, ..], but targets {targets:?} and lengths of {rows:?}");
    }
    let targets: Vec<u32> = targets.flatten_all()?.to_vec1()?;
    if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
        bail!("target {target} is not a word of a vocabulary of {vocab}");
    }
    // Each token is a row of its own: batch first and position first are then the same.
    let is_real = rows
        .lengths()
        .iter()
        .flat_map(|&n| (0..len).map(move |t| usize::from(t < n)));
    let loss = Loss {
        targets,
        is_real: is_real.collect(),
    };
    Ok(TokenLoss {
        sum: logits.contiguous()?.apply_op1(loss)?,
        n_tokens,
    })
}

/// `logits [B, T, V] -> the sum of the real tokens' losses`
struct Loss {
    targets: Vec<u32>,
    is_real: Vec<usize>,
}

impl CustomOp1 for Loss {
    fn name(&self) -> &'static str {
        "token-loss"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut logits = contiguous(logits, layout)?.to_vec();
        let loss = fused(
            &mut logits,
            &self.targets,
            &self.is_real,
            1.0_f32,
            0.0,
            &mut Team::single(),
        );
        output(vec![loss as f32], ())
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, d_loss: &Tensor) -> Result<Option<Tensor>> {
        let mut values = to_vec(logits)?;
        let scale: f32 = d_loss.to_scalar()?;
        fused(
            &mut values,
            &self.targets,
            &self.is_real,
            scale,
            0.0,
            &mut Team::single(),
        );
        Tensor::from_vec(values, logits.shape(), logits.device()).map(Some)
    }
}
