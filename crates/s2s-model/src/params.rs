//! The parameters of a model: named, ordered, each drawn by its own keyed generator.

use std::fmt::Display;

use candle_core::{DType, Device, Result, Shape, Tensor, Var, bail};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::keyed_rng;

/// Named parameters in the order in which the model was built.
///
/// The order is part of the model: sums over parameters are taken in it, so that they have the same
/// bits in every process.
#[derive(Debug)]
pub struct Params {
    seed: u64,
    dtype: DType,
    device: Device,
    named: Vec<(String, Var)>,
    starts: Vec<InitialValue>,
}

/// Where the first values of a parameter come from.
#[derive(Clone, Debug)]
enum InitialValue {
    Drawn(Init),
    Given(Tensor),
}

impl Params {
    /// No parameters yet; those to come are drawn from `seed`.
    pub fn new(seed: u64, dtype: DType, device: &Device) -> Self {
        Self {
            seed,
            dtype,
            device: device.clone(),
            named: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Adds a parameter with these first values, converted to the precision and device of the others, and
    /// returns it.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn insert(&mut self, name: &str, values: &Tensor) -> Result<Tensor> {
        self.root().insert(name, values)
    }

    /// Where a model's constructor begins to ask for parameters.
    pub fn root(&mut self) -> Scope<'_> {
        Scope {
            params: self,
            path: String::new(),
        }
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.named.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Var> {
        self.iter()
            .find(|(other, _)| *other == name)
            .map(|(_, var)| var)
    }

    /// Trainable numbers of all parameters.
    pub fn n_elements(&self) -> usize {
        self.iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// Precision of every parameter.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Device of every parameter.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Replaces all values by other initial ones; `index` 0 gives those from which the parameters started.
    /// Parameters that were [inserted](Self::insert) start from the same values again.
    ///
    /// # Errors
    /// If the device fails.
    pub fn draw_again(&self, index: u64) -> Result<()> {
        for ((name, var), start) in self.named.iter().zip(&self.starts) {
            match start {
                InitialValue::Drawn(init) => {
                    var.set(&self.draw(name, var.shape(), *init, index)?)?
                }
                InitialValue::Given(values) => var.set(values)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, name: String, values: &Tensor, start: InitialValue) -> Result<Tensor> {
        if self.get(&name).is_some() {
            bail!("two parameters are called {name}");
        }
        let var = Var::from_tensor(values)?;
        let tensor = var.as_tensor().clone();
        self.named.push((name, var));
        self.starts.push(start);
        Ok(tensor)
    }

    fn draw(&self, name: &str, shape: &Shape, init: Init, index: u64) -> Result<Tensor> {
        let mut rng = keyed_rng(self.seed, &format!("init/{name}"), index);
        let drawn = init.draw(&mut rng, shape.elem_count());
        Tensor::from_vec(drawn, shape.clone(), &Device::Cpu)?
            .to_dtype(self.dtype)?
            .to_device(&self.device)
    }

    /// The gradients of the scalar `loss`, through autograd, one a parameter and in their order.
    ///
    /// # Errors
    /// If a parameter has no gradient: it has no part in the loss, which is a mistake in the model.
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>> {
        let mut store = loss.backward()?;
        self.iter()
            .map(|(name, var)| match store.remove(var) {
                Some(gradient) => Ok(gradient),
                None => bail!("parameter {name} has no part in the loss"),
            })
            .collect()
    }
}

/// The values that a parameter starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// The same number everywhere.
    Constant {
        /// This number.
        value: f64,
    },
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// Half the width.
        bound: f64,
    },
    /// Normal with mean 0 and standard deviation 1.
    Normal,
}

impl Init {
    /// Uniform within `1 / √fan_in`, as PyTorch starts linear and recurrent layers.
    pub fn fan_in(fan_in: usize) -> Self {
        Self::Uniform {
            bound: 1.0 / (fan_in as f64).sqrt(),
        }
    }

    fn draw(self, rng: &mut impl Rng, n: usize) -> Vec<f64> {
        match self {
            Self::Constant { value } => vec![value; n],
            Self::Uniform { bound } => (0..n)
                .map(|_| bound * (2.0 * rng.random::<f64>() - 1.0))
                .collect(),
            Self::Normal => (0..n).map(|_| StandardNormal.sample(rng)).collect(),
        }
    }
}

/// A place in the tree of parameter names.
#[derive(Debug)]
pub struct Scope<'a> {
    params: &'a mut Params,
    path: String,
}

impl Scope<'_> {
    /// The place `name` below this one: its names start with `name` and a dot.
    pub fn pp(&mut self, name: impl Display) -> Scope<'_> {
        Scope {
            path: format!("{}{name}.", self.path),
            params: self.params,
        }
    }

    /// A parameter of this place, drawn by a generator keyed with its full name.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn get(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let name = format!("{}{name}", self.path);
        let drawn = self.params.draw(&name, &shape.into(), init, 0)?;
        self.params.push(name, &drawn, InitialValue::Drawn(init))
    }

    /// A parameter of this place with these first values; see [`Params::insert`].
    ///
    /// # Errors
    /// If the name is taken.
    pub fn insert(&mut self, name: &str, values: &Tensor) -> Result<Tensor> {
        let name = format!("{}{name}", self.path);
        let values = values
            .to_dtype(self.params.dtype)?
            .to_device(&self.params.device)?
            .copy()?
            .detach();
        let start = InitialValue::Given(values.clone());
        self.params.push(name, &values, start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_depends_on_seed_and_name_but_not_on_its_neighbors() -> Result<()> {
        let draw = |seed: u64, names: &[&str]| -> Result<Vec<f32>> {
            let mut params = Params::new(seed, DType::F32, &Device::Cpu);
            for name in names {
                params.root().pp("layer").get(name, 4, Init::Normal)?;
            }
            params.get("layer.b").map(|var| var.to_vec1()).unwrap()
        };
        assert_eq!(draw(7, &["b"])?, draw(7, &["a", "b", "c"])?);
        assert_ne!(draw(7, &["b"])?, draw(8, &["b"])?);
        Ok(())
    }

    #[test]
    fn values_drawn_again_depend_on_the_index_alone() -> Result<()> {
        let mut params = Params::new(7, DType::F32, &Device::Cpu);
        let tensor = params.root().get("w", 4, Init::Normal)?;
        let draw = |index| -> Result<Vec<f32>> {
            params.draw_again(index)?;
            tensor.to_vec1()
        };
        let (first, second) = (draw(0)?, draw(1)?);
        assert_ne!(first, second);
        assert_eq!((draw(0)?, draw(1)?), (first.clone(), second));
        let other = Params::new(7, DType::F32, &Device::Cpu)
            .root()
            .get("w", 4, Init::Normal)?;
        assert_eq!(first, other.to_vec1::<f32>()?);
        Ok(())
    }

    #[test]
    fn name_that_is_taken_is_refused() -> Result<()> {
        let mut params = Params::new(0, DType::F32, &Device::Cpu);
        params.root().get("w", 1, Init::Normal)?;
        assert!(params.root().get("w", 1, Init::Normal).is_err());
        assert!(
            params
                .insert("w", &Tensor::new(1.0, &Device::Cpu)?)
                .is_err()
        );
        assert_eq!(params.iter().len(), 1);
        Ok(())
    }

    #[test]
    fn given_values_are_where_a_parameter_starts_every_time() -> Result<()> {
        let mut params = Params::new(0, DType::F32, &Device::Cpu);
        let given = Tensor::new(&[1_f64, 2.0], &Device::Cpu)?;
        let inserted = params.root().pp("a").insert("w", &given)?;
        let zero = params.root().get("b", 2, Init::Constant { value: 0.5 })?;
        let values = || -> Result<[Vec<f32>; 2]> { Ok([inserted.to_vec1()?, zero.to_vec1()?]) };
        let first = [vec![1.0, 2.0], vec![0.5, 0.5]];
        assert_eq!(values()?, first);
        let var = params.get("a.w").unwrap();
        var.set(&var.zeros_like()?)?;
        assert_eq!(values()?, [vec![0.0, 0.0], vec![0.5, 0.5]]);
        params.draw_again(1)?;
        assert_eq!(values()?, first);
        Ok(())
    }

    #[test]
    fn fan_in_bounds_every_draw() -> Result<()> {
        let mut params = Params::new(0, DType::F64, &Device::Cpu);
        let drawn = params
            .root()
            .get("w", 10_000, Init::fan_in(25))?
            .to_vec1::<f64>()?;
        assert!(drawn.iter().all(|w| w.abs() <= 0.2));
        let mean = drawn.iter().sum::<f64>() / 1e4;
        assert!(
            mean.abs() < 0.01,
            "four standard errors of the mean, got {mean}"
        );
        Ok(())
    }
}
