//! The mean of the weights of several runs.

use std::path::Path;

use candle_core::Tensor;

use crate::{Error, Result, Trained};

/// The mean of the parameters of several models of the same architecture, added one by one.
#[derive(Debug, Default)]
pub struct MeanWeights {
    /// By name, in the order of the first model.
    sums: Vec<(String, Tensor)>,
    n_models: u32,
}

impl MeanWeights {
    /// Adds a model, which comes from `run`.
    ///
    /// # Errors
    /// [`Error::Start`] if a parameter is missing or has another shape than in the first model; nothing is
    /// added then.
    pub fn add(&mut self, trained: &Trained, run: &Path) -> Result<()> {
        let params = trained.model.params();
        if self.n_models == 0 {
            let copied =
                |(name, var): (&str, &candle_core::Var)| Ok((name.to_owned(), var.copy()?));
            self.sums = params.iter().map(copied).collect::<Result<_>>()?;
        } else {
            let added = |(name, sum): &(String, Tensor)| {
                let found = params.get(name).filter(|var| var.dims() == sum.dims());
                let var = found.ok_or_else(|| Error::Start {
                    run: run.to_owned(),
                    reason: format!("parameter {name} is missing or has another shape"),
                })?;
                Ok((name.clone(), (sum + var.as_tensor())?))
            };
            self.sums = self.sums.iter().map(added).collect::<Result<_>>()?;
        }
        self.n_models += 1;
        Ok(())
    }

    /// Replaces the parameters of a model of this architecture by the mean.
    ///
    /// # Errors
    /// If a shape disagrees.
    pub fn write(&self, trained: &Trained) -> Result<()> {
        for (name, sum) in &self.sums {
            if let Some(var) = trained.model.params().get(name) {
                var.set(&(sum / f64::from(self.n_models))?)?;
            }
        }
        Ok(())
    }
}
