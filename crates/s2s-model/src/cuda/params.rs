//! A model's parameters and gradients in the device's memory, by name.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor, bail};
use s2s_kernels::cuda::{RecurrentViews, View};

use crate::Params;

/// The memory of every parameter, or of every gradient.
pub(super) struct ParamViews<'a> {
    all: HashMap<&'a str, View<'a, f32>>,
}

impl<'a> ParamViews<'a> {
    pub(super) fn of(params: &'a Params) -> Result<Self> {
        let view = |(name, var): (&'a str, &'a candle_core::Var)| Ok((name, View::of(var)?));
        let all = params.iter().map(view).collect::<Result<_>>()?;
        Ok(Self { all })
    }

    /// The gradients, in the parameters' order.
    pub(super) fn of_gradients(params: &'a Params, gradients: &'a [Tensor]) -> Result<Self> {
        let names = params.iter().map(|(name, _)| name);
        let view = |(name, gradient): (&'a str, &'a Tensor)| Ok((name, View::of(gradient)?));
        let all = names.zip(gradients).map(view).collect::<Result<_>>()?;
        Ok(Self { all })
    }

    pub(super) fn get(&self, name: &str) -> Result<View<'a, f32>> {
        match self.all.get(name) {
            Some(view) => Ok(*view),
            None => bail!("the model has no parameter {name}"),
        }
    }

    pub(super) fn recurrent(&self, rnn: &str, suffix: &str) -> Result<RecurrentViews<'a>> {
        Ok(RecurrentViews {
            weight_ih: self.get(&format!("{rnn}.weight_ih{suffix}"))?,
            weight_hh: self.get(&format!("{rnn}.weight_hh{suffix}"))?,
            bias_ih: self.get(&format!("{rnn}.bias_ih{suffix}"))?,
            bias_hh: self.get(&format!("{rnn}.bias_hh{suffix}"))?,
        })
    }
}

/// The memory of all gradients, in the parameters' order, reused from step to step.
#[derive(Debug, Default)]
pub(super) struct GradBuffer(Option<Tensor>);

/// A clone starts without memory.
impl Clone for GradBuffer {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl GradBuffer {
    /// One tensor for each parameter. The next call returns the same memory.
    pub(super) fn tensors(&mut self, params: &Params) -> Result<Vec<Tensor>> {
        let all = match &self.0 {
            Some(all) => all.clone(),
            None => {
                // NaN, so that a gradient that is never written is noticed.
                let unwritten = vec![f32::NAN; params.n_elements()];
                let all = Tensor::from_vec(unwritten, params.n_elements(), params.device())?;
                debug_assert_eq!(all.dtype(), DType::F32, "the kernels are in f32");
                self.0.insert(all).clone()
            }
        };
        let mut start = 0;
        let gradient = |(_, var): (&str, &candle_core::Var)| {
            let gradient = all.narrow(0, start, var.elem_count())?;
            start += var.elem_count();
            gradient.reshape(var.shape())
        };
        params.iter().map(gradient).collect()
    }
}
