//! Gradient accumulation.

use candle_core::Tensor;
use s2s_train::{Change, Error, Result, Run};

use crate::{StopAt, finished, reproducible_files, runtime, tiny, trainer};

/// Without draws that depend on the batch. Plain gradient descent does not amplify rounding, as Adam does
/// where gradients are small.
const DETERMINED: [&str; 5] = [
    "model.embedding_dropout=0",
    "train.teacher_forcing.ratio=1",
    "train.label_smoothing=0.1",
    "train.optimizer={kind=\"sgd\", momentum=0.9}",
    "train.learning_rate=0.1",
];

#[test]
fn batches_that_are_accumulated_are_one_large_batch() -> Result<()> {
    for kernels in ["model.kernels=fused", "model.kernels=reference"] {
        // 40 samples: the last step of an epoch has fewer.
        let sets = |size, accumulated| [&DETERMINED[..], &[kernels, size, accumulated]].concat();
        let large = sets("train.batch_size=12", "train.accumulation_steps=1");
        let small = sets("train.batch_size=3", "train.accumulation_steps=4");
        let (mut large, mut small) = (trainer(&tiny(&large)), trainer(&tiny(&small)));
        assert_eq!(large.total_steps(), small.total_steps());
        for _ in 0..large.total_steps() {
            let (large, small) = (large.step()?, small.step()?);
            assert_eq!(
                (large.tally.n_tokens, large.tally.n_right),
                (small.tally.n_tokens, small.tally.n_right)
            );
            let difference = (large.grad_norm - small.grad_norm).abs();
            assert!(difference < 1e-4 * large.grad_norm, "{difference:e}");
        }
        let pairs = large
            .model()
            .params()
            .iter()
            .zip(small.model().params().iter());
        for ((name, large), (_, small)) in pairs {
            let difference: Tensor = (large.as_tensor() - small.as_tensor())?.abs()?;
            let largest: f32 = difference.flatten_all()?.max(0)?.to_scalar()?;
            assert!(largest < 2e-5, "{name}: {largest:e}");
        }
    }
    Ok(())
}

#[test]
fn a_resumed_run_that_accumulates_equals_the_uninterrupted_one() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let config = tiny(&["train.batch_size=3", "train.accumulation_steps=4"]);
    let (whole, _) = finished(&folder.path().join("whole"), &config)?;
    let path = folder.path().join("parts");
    Run::create(&path, config, "", &runtime())?.train(&mut [&mut StopAt(6)], |_| None)?;
    let change = Change {
        sets: &["train.accumulation_steps=2".to_owned()],
        keeps_schedule: true,
    };
    let refused = Run::resume_changed(&path, &change, None, &runtime());
    assert!(matches!(refused, Err(Error::Unchangeable { .. })));
    let mut resumed = Run::resume(&path, &runtime())?;
    resumed.train(&mut [], |_| None)?;
    assert_eq!(
        reproducible_files(&whole),
        reproducible_files(resumed.dir())
    );
    Ok(())
}
