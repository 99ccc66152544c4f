//! The model against PyTorch's numbers, on the ragged batches of `tests/golden`.
//!
//! `scripts/torch_peer.py golden` made them; each file says in its metadata with which versions.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Error, Result, Tensor, bail, safetensors};
use s2s_kernels::Ragged;
use s2s_model::{
    AttentionConfig, Batch, CellKind, DecoderConfig, Forcing, Kernels, LoadOptions, Mode,
    ModelConfig, Noise, Probability, Seq2Seq, Source, Tokens, load_weights,
};
use serde::Deserialize;

use crate::architectures::{all_kernels, device, on_device, size};
use crate::closeness::{assert_close, distance, largest};

/// The model's sizes, from the metadata.
#[derive(Deserialize)]
struct Sizes {
    vocab: usize,
    #[serde(default)]
    cell: CellKind,
    layers: usize,
    embedding: usize,
    hidden: usize,
    decoder: DecoderConfig,
    #[serde(default)]
    attention: AttentionConfig,
    #[serde(default)]
    residual: bool,
    #[serde(default)]
    layer_norm: bool,
    #[serde(default)]
    input_feeding: bool,
}

/// A golden file, and the model with its weights.
struct Golden {
    name: String,
    tensors: HashMap<String, Tensor>,
    model: Seq2Seq,
    batch: Batch,
    forcing: Forcing,
}

impl Golden {
    fn read(path: &Path, kernels: Kernels) -> Result<Self> {
        let bytes = fs::read(path)?;
        let tensors = safetensors::load_buffer(&bytes, &Device::Cpu)?;
        let (_, header) = ::safetensors::SafeTensors::read_metadata(&bytes).map_err(Error::wrap)?;
        let Some(sizes) = header.metadata().as_ref().and_then(|m| m.get("golden")) else {
            bail!("{} does not say what it is", path.display());
        };
        let sizes: Sizes = serde_json::from_str(sizes).map_err(Error::wrap)?;
        let config = ModelConfig {
            embedding: size(sizes.embedding),
            hidden: size(sizes.hidden),
            decoder: sizes.decoder,
            cell: sizes.cell,
            layers: size(sizes.layers),
            attention: sizes.attention,
            residual: sizes.residual,
            layer_norm: sizes.layer_norm,
            input_feeding: sizes.input_feeding,
            kernels,
            embedding_dropout: Probability::ZERO,
            ..ModelConfig::default()
        };
        let tokens = Tokens {
            size: sizes.vocab + 2,
            bos: sizes.vocab as u32,
            eos: sizes.vocab as u32 + 1,
        };
        let dtype = tensors["logits"].dtype();
        let model = Seq2Seq::new(&config, tokens, 0, dtype, device())?;
        let weights: HashMap<&str, &Tensor> = tensors
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("weight.")?, tensor)))
            .collect();
        let weights = ::safetensors::serialize(weights, None).map_err(Error::wrap)?;
        load_weights(model.params(), &weights, &LoadOptions::default()).map_err(Error::wrap)?;

        let integers = |name: &str| tensors[name].to_dtype(DType::U32)?.flatten_all()?.to_vec1();
        let lengths = |name: &str| -> Result<Vec<usize>> {
            Ok(integers(name)?
                .into_iter()
                .map(|n: u32| n as usize)
                .collect())
        };
        let (_, steps) = tensors["target_out"].dims2()?;
        let source = Source::from_padded(integers("source")?, lengths("source_lengths")?, tokens)?;
        let target_lengths = lengths("target_lengths")?;
        let target_out = integers("target_out")?;
        let batch = Batch::with_target(source, target_out, target_lengths, tokens)?;
        let coins = integers("forced")?
            .into_iter()
            .map(|coin| coin == 1)
            .collect();
        Ok(Self {
            name: format!("{} ({kernels:?})", path.display()),
            tensors,
            model,
            batch,
            forcing: Forcing::Coins { coins, steps },
        })
    }

    /// Logits of the real positions, 0 elsewhere: logits after EOS are not defined.
    fn real(&self, logits: &Tensor) -> Result<Tensor> {
        let logits = logits.to_device(&Device::Cpu)?;
        let lengths = self.batch.target_lengths().to_vec();
        let steps = self.batch.target_len();
        let rows = Ragged::new(lengths, steps, logits.dtype(), &Device::Cpu)?;
        logits.broadcast_mul(&rows.mask().unsqueeze(2)?)
    }

    fn logits(&mut self, forcing: &Forcing) -> Result<Tensor> {
        self.model.logits(&self.batch, forcing, Mode::Evaluate)
    }

    /// `single` for files in single precision. In double precision nothing but the equations is
    /// left to differ.
    fn tolerance(&self, single: f64) -> f64 {
        match self.model.params().dtype() {
            DType::F64 => 1e-10,
            _ => on_device(single),
        }
    }
}

/// Every file of the folder, on both paths.
fn goldens() -> Result<Vec<Golden>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    assert!(paths.len() >= 30, "golden files are missing: {paths:?}");
    paths
        .iter()
        .flat_map(|path| {
            all_kernels()
                .into_iter()
                .map(move |kernels| Golden::read(path, kernels))
        })
        .collect()
}

#[test]
fn logits_are_those_of_pytorch() -> Result<()> {
    for mut golden in goldens()? {
        let logits = golden.logits(&golden.forcing.clone())?;
        let got = golden.real(&logits)?;
        let expected = golden.real(&golden.tensors["logits"])?;
        assert_close(&got, &expected, golden.tolerance(1e-5), &golden.name)?;
    }
    Ok(())
}

#[test]
fn loss_and_gradient_of_every_parameter_are_those_of_pytorch() -> Result<()> {
    for mut golden in goldens()? {
        let noise = Noise::new(0, 0); // without dropout there is none
        let (batch, forcing) = (&golden.batch, &golden.forcing);
        let (loss, gradients) = golden.model.gradients(batch, forcing, &noise)?;
        let loss = loss.loss_sum / batch.n_tokens() as f64;
        let expected = largest(&golden.tensors["loss"])?;
        let apart = (loss - expected).abs();
        assert!(
            apart <= golden.tolerance(1e-6) * expected.max(1.0),
            "{}: {apart:e}",
            golden.name
        );
        for ((name, _), gradient) in golden.model.params().iter().zip(gradients) {
            let expected = &golden.tensors[&format!("gradient.{name}")];
            let (scale, what) = (largest(expected)?, format!("{}: {name}", golden.name));
            assert!(scale > 0.0, "{what} has no gradient to compare");
            assert_close(&gradient, expected, golden.tolerance(1e-4) * scale, &what)?;
        }
    }
    Ok(())
}

#[test]
fn coins_of_the_golden_files_select_what_the_decoder_reads() -> Result<()> {
    for mut golden in goldens()? {
        let Forcing::Coins { coins, .. } = golden.forcing.clone() else {
            unreachable!("a golden file has coins");
        };
        let logits = golden.logits(&Forcing::Always)?;
        let forced = golden.real(&logits)?;
        let apart = distance(&forced, &golden.real(&golden.tensors["logits"])?)?;
        let all_forced = coins.iter().all(|coin| *coin);
        assert_eq!(
            all_forced,
            apart < on_device(1e-5),
            "{}: {apart:e}",
            golden.name
        );
    }
    Ok(())
}
