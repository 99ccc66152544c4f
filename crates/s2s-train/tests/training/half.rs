//! Gradients in half precision. candle multiplies f16 on the CPU, so f16 is tested here in full; bf16
//! differs in its type alone.

use candle_core::Device;
use s2s_train::{Error, Result, Run, Trainer, load_config};

use crate::{StopAt, finished, reproducible_files, runtime, tiny, trained, trainer};

const F16: &str = "train.precision=f16";

#[test]
fn f16_learns_what_f32_learns() -> Result<()> {
    for cell in ["model.cell=gru", "model.cell=lstm"] {
        let keys = ["train.learning_rate=0.01", "train.epochs=6", cell];
        let [single, half] = [
            trained(&tiny(&keys))?,
            trained(&tiny(&[&keys[..], &[F16]].concat()))?,
        ];
        for (single, half) in single.metrics.iter().zip(&half.metrics) {
            let difference = (single.train_loss - half.train_loss).abs();
            assert!(
                difference > 0.0 && difference < 0.01,
                "{cell}, step {}: {} and {}",
                single.step,
                single.train_loss,
                half.train_loss
            );
        }
    }
    Ok(())
}

#[test]
fn a_resumed_run_in_f16_equals_the_uninterrupted_one() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = tiny(&[F16]);
    let (whole, _) = finished(&folder.path().join("whole"), &config)?;
    let path = folder.path().join("parts");
    Run::create(&path, config, "", &runtime())?.train(&mut [&mut StopAt(7)], |_| None)?;
    let mut resumed = Run::resume(&path, &runtime())?;
    let scale = resumed
        .trainer()
        .state()
        .loss_scale
        .expect("f16 has a scale");
    assert_eq!(scale.n_steps, 7);
    resumed.train(&mut [], |_| None)?;
    assert_eq!(
        reproducible_files(&whole),
        reproducible_files(resumed.dir())
    );
    Ok(())
}

#[test]
fn every_attention_that_f16_suffices_for_trains_in_it() -> Result<()> {
    for kind in [
        "additive",
        "dot",
        "general",
        "location",
        "dynamic-convolution",
        "none",
    ] {
        let attention = format!("model.attention={{kind=\"{kind}\"}}");
        // "dot" compares vectors of one width.
        let mut trainer = trainer(&tiny(&[
            "model.hidden=4",
            "model.decoder=8",
            &attention,
            F16,
        ]));
        for _ in 0..3 {
            assert!(trainer.step()?.grad_norm.is_finite(), "{kind}");
        }
    }
    for kind in ["ntm", "location-relative"] {
        let sets = [
            format!("model.attention={{kind=\"{kind}\"}}"),
            F16.to_owned(),
        ];
        let error = load_config(None, &sets).unwrap_err().to_string();
        assert!(
            error.contains("train.precision: \"f16\" cannot represent"),
            "{error}"
        );
    }
    Ok(())
}

#[test]
fn bf16_needs_another_device_than_the_cpu() {
    let config = tiny(&["train.precision=bf16"]);
    let error = Trainer::new(config, 1, &Device::Cpu).unwrap_err();
    assert!(matches!(&error, Error::Device(_)), "{error}");
}
