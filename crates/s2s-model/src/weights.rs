//! Parameters to and from safetensors, with PyTorch's names.

use std::collections::BTreeSet;

use candle_core::{Device, Result, Tensor, bail, safetensors};

use crate::{CellKind, Params};

/// The named parameters as a safetensors file.
///
/// # Errors
/// If the device fails.
pub fn save_weights(params: &Params) -> Result<Vec<u8>> {
    let named: Vec<(&str, Tensor)> = params
        .iter()
        .map(|(name, var)| Ok((name, var.as_tensor().to_device(&Device::Cpu)?)))
        .collect::<Result<_>>()?;
    ::safetensors::serialize(named, None).map_err(candle_core::Error::wrap)
}

/// Sets all parameters from a safetensors file, or none of them.
///
/// # Errors
/// If the file is malformed, or if its names, shapes or types are not those of the model: the
/// message names the cell, if that is another, or else the first parameter that differs.
pub fn load_weights(params: &Params, bytes: &[u8]) -> Result<()> {
    let mut found = safetensors::load_buffer(bytes, &Device::Cpu)?;
    for (name, var) in params.iter() {
        let own = cell_of(name, var);
        let other = found.get(name).and_then(|tensor| cell_of(name, tensor));
        if let (Some(own), Some(other)) = (own, other.filter(|_| own != other)) {
            bail!(
                "the file has the weights of a model with cell = \"{other}\", the model has cell = \"{own}\""
            );
        }
    }
    let known: BTreeSet<&str> = params.iter().map(|(name, _)| name).collect();
    if let Some(name) = found
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .min()
    {
        bail!("the file has a parameter {name}, which the model has not");
    }
    let mut loaded = Vec::with_capacity(known.len());
    for (name, var) in params.iter() {
        let Some(tensor) = found.remove(name) else {
            bail!("the file has no parameter {name}");
        };
        if tensor.shape() != var.shape() || tensor.dtype() != var.dtype() {
            bail!(
                "parameter {name} is {:?} {:?} in the file, but {:?} {:?} in the model",
                tensor.dtype(),
                tensor.dims(),
                var.dtype(),
                var.dims()
            );
        }
        loaded.push((var, tensor.to_device(params.device())?));
    }
    loaded
        .into_iter()
        .try_for_each(|(var, tensor)| var.set(&tensor))
}

/// The cell whose gates a recurrent layer's `weight_hh [G·H, H]` has.
fn cell_of(name: &str, weight: &Tensor) -> Option<CellKind> {
    let (gates, units) = weight.dims2().ok()?;
    let is_recurrent = name.contains(".weight_hh_l");
    [CellKind::Gru, CellKind::Lstm]
        .into_iter()
        .find(|cell| is_recurrent && cell.gates() * units == gates)
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::Init;

    fn params(seed: u64, width: usize) -> Params {
        let mut params = Params::new(seed, DType::F32, &Device::Cpu);
        let mut root = params.root();
        root.get("a", (2, width), Init::Normal).unwrap();
        root.get("b", 3, Init::Normal).unwrap();
        params
    }

    fn values(params: &Params) -> Vec<Vec<f32>> {
        params
            .iter()
            .map(|(_, var)| var.flatten_all().unwrap().to_vec1().unwrap())
            .collect()
    }

    #[test]
    fn weights_round_trip() -> Result<()> {
        let (from, to) = (params(1, 4), params(2, 4));
        load_weights(&to, &save_weights(&from)?)?;
        assert_eq!(values(&from), values(&to));
        Ok(())
    }

    #[test]
    fn foreign_weights_are_refused_and_the_model_is_untouched() -> Result<()> {
        let model = params(1, 4);
        let before = values(&model);
        let mut extra = params(2, 4);
        extra.root().get("c", 1, Init::Normal)?;
        let mut fewer = Params::new(3, DType::F32, &Device::Cpu);
        fewer.root().get("a", (2, 4), Init::Normal)?;
        for (foreign, says) in [
            (params(2, 5), "[2, 5] in the file, but F32 [2, 4]"),
            (extra, "parameter c, which the model has not"),
            (fewer, "no parameter b"),
        ] {
            let error = load_weights(&model, &save_weights(&foreign)?).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let bytes = save_weights(&model)?;
        for end in 0..bytes.len() {
            assert!(load_weights(&model, &bytes[..end]).is_err(), "cut at {end}");
        }
        assert_eq!(before, values(&model));
        Ok(())
    }
}
