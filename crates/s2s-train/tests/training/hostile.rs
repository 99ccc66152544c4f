//! Corrupted and forged checkpoints are rejected, and the model is unchanged then.

use std::fs;
use std::path::Path;

use s2s_model::Seq2Seq;
use s2s_runlog::{CheckpointName, Damage, Error as RunLogError, read_checkpoint, write_checkpoint};
use s2s_train::{Collector, Error, ExperimentConfig, Observer, Trainer};
use tempfile::TempDir;

use crate::{StopAt, tiny, trainer};

/// A minimal model, whose checkpoint has ten thousand bytes.
fn smallest() -> ExperimentConfig {
    tiny(&[
        "model.embedding=2",
        "model.hidden=2",
        "model.decoder=2",
        "model.attention.units=2",
    ])
}

/// The files of its checkpoint after three steps.
fn files(config: &ExperimentConfig) -> Vec<(&'static str, Vec<u8>)> {
    let mut seen = Collector::default();
    let mut observers: [&mut dyn Observer; 2] = [&mut seen, &mut StopAt(3)];
    trainer(config).run(&mut observers).expect("three steps");
    let last = seen.last.expect("the state after them");
    let files = last.files(CheckpointName::Last).into_iter();
    files.map(|(name, bytes)| (name, bytes.to_vec())).collect()
}

/// A folder in memory where possible: thousands of saves need not be durable.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}

fn save(path: &Path, files: &[(&'static str, Vec<u8>)]) {
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (*name, &bytes[..]))
        .collect();
    write_checkpoint(path, &files).expect("there is room");
}

/// The bits of all parameters and moments.
fn bits(trainer: &Trainer<Seq2Seq>) -> Vec<Vec<u32>> {
    let params = trainer.model().params().iter();
    params
        .map(|(_, var)| {
            let values: Vec<f32> = var
                .flatten_all()
                .and_then(|flat| flat.to_vec1())
                .expect("f32");
            values.into_iter().map(f32::to_bits).collect()
        })
        .collect()
}

#[test]
fn a_truncated_or_modified_checkpoint_is_rejected() {
    let folder = folder();
    let path = folder.path().join("last");
    save(&path, &files(&smallest()));
    let mut n_trials = 0;
    let mut check = |file: &Path, bytes: &[u8], what: &str| {
        fs::write(file, bytes).expect("there is room");
        let error = read_checkpoint(&path).expect_err("it was modified");
        assert!(
            matches!(error, RunLogError::Damaged { .. }),
            "{what}: {error}"
        );
        n_trials += 1;
    };
    for name in [
        "params.safetensors",
        "moments.safetensors",
        "state.json",
        "manifest.json",
    ] {
        let file = path.join(name);
        let whole = fs::read(&file).expect("a file of a checkpoint");
        for index in 0..whole.len() {
            check(
                &file,
                &whole[..index],
                &format!("{name}, truncated at {index}"),
            );
            let mut changed = whole.clone();
            changed[index] ^= 1 << (index % 8);
            check(&file, &changed, &format!("{name}, modified at {index}"));
        }
        fs::write(&file, whole).expect("there is room");
    }
    read_checkpoint(&path).expect("it is restored");
    println!("torture: {n_trials} trials");
}

/// Truncates and modifies each file at every byte and adjusts the manifest, as an attacker could.
/// Numbers may change, but nothing else may go wrong.
#[test]
fn a_forged_checkpoint_is_rejected_or_finite() {
    let config = smallest();
    let (folder, whole) = (folder(), files(&config));
    let path = folder.path().join("last");
    let mut trainer = trainer(&config);
    let (mut n_trials, mut n_taken) = (0, 0);
    for (index, (name, bytes)) in whole.iter().enumerate() {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            for bytes in [bytes[..at].to_vec(), changed] {
                let mut files = whole.clone();
                files[index].1 = bytes;
                save(&path, &files);
                let checkpoint = read_checkpoint(&path).expect("its manifest is consistent");
                let before = bits(&trainer);
                match trainer.restore(&checkpoint) {
                    Ok(()) => n_taken += 1,
                    Err(Error::Checkpoint { .. }) => {
                        assert!(
                            bits(&trainer) == before,
                            "{name} at {at}: the model changed"
                        );
                    }
                    Err(error) => panic!("{name} at {at}: {error}"),
                }
                let is_finite = |bits: &u32| f32::from_bits(*bits).is_finite();
                assert!(
                    bits(&trainer).iter().flatten().all(is_finite),
                    "{name} at {at}"
                );
                n_trials += 1;
            }
        }
    }
    assert!(n_taken < n_trials, "none was rejected");
    println!("torture: {n_trials} trials");
}

/// The first bytes of files of other formats.
const FOREIGN: [(&str, &[u8]); 10] = [
    ("nothing", b""),
    (
        "a pickle",
        b"\x80\x02}q\x00(X\x07\x00\x00\x00weightsq\x01cnumpy.core.multiarray\n.",
    ),
    (
        "a zip, as PyTorch writes",
        b"PK\x03\x04\x00\x00\x08\x08\x00\x00archive/data.pkl",
    ),
    ("ONNX", b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:\x80\x01"),
    (
        "GGUF",
        b"GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ),
    ("HDF5", b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00"),
    ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"),
    (
        "HTML",
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    ),
    ("a program", b"\x7fELF\x02\x01\x01\x00"),
    ("JSON", b"{\"weights\": [1, 2, 3]}\n"),
];

#[test]
fn files_of_other_formats_are_rejected() {
    let config = smallest();
    let (folder, whole) = (folder(), files(&config));
    let path = folder.path().join("last");
    let mut trainer = trainer(&config);
    let before = bits(&trainer);
    for (kind, foreign) in FOREIGN {
        for (index, (name, bytes)) in whole.iter().enumerate() {
            // As is, and padded to the length of the file that it replaces.
            for len in [foreign.len(), bytes.len().max(foreign.len())] {
                let mut files = whole.clone();
                files[index].1 = foreign.to_vec();
                files[index].1.resize(len, 0);
                save(&path, &files);
                let checkpoint = read_checkpoint(&path).expect("its manifest is consistent");
                let error = trainer.restore(&checkpoint).expect_err(kind);
                let Error::Checkpoint { reason, .. } = error else {
                    panic!("{kind} as {name}: {error}");
                };
                assert!(reason.starts_with(name), "{kind} as {name}: {reason}");
                assert!(
                    bits(&trainer) == before,
                    "{kind} as {name}: the model changed"
                );
            }
        }
        save(&path, &whole);
        fs::write(path.join("manifest.json"), foreign).expect("there is room");
        let error = read_checkpoint(&path).expect_err(kind);
        let RunLogError::Damaged { damage, .. } = error else {
            panic!("{kind} as a manifest: {error}");
        };
        assert!(
            matches!(damage, Damage::Manifest { .. }),
            "{kind}: {damage}"
        );
    }
}

#[test]
fn impossible_states_are_rejected() {
    let config = smallest();
    let (folder, whole) = (folder(), files(&config));
    let path = folder.path().join("last");
    let state = String::from_utf8(whole[2].1.clone()).expect("JSON");
    let mut trainer = trainer(&config);
    for (from, to, part) in [
        ("\"step\": 3", "\"step\": 18446744073709551615", "step"),
        ("\"step\": 3", "\"step\": 99", "step"),
        (
            "\"n_steps\": 3",
            "\"n_steps\": 18446744073709551615",
            "n_steps",
        ),
        (
            "\"n_stale\": 0,\n  \"data",
            "\"n_stale\": 18446744073709551615,\n  \"data",
            "n_stale",
        ),
        ("\"scale\": 1.0", "\"scale\": 1e300", "plateau"),
        (
            "\"n_sequences\": 24",
            "\"n_sequences\": 18446744073709551615",
            "train",
        ),
        (
            "\"best\": null",
            "\"best\": {\"step\": 9, \"val_loss\": 1.0}",
            "best",
        ),
        (
            "\"scale\": 1.0",
            "\"scale\": 1.0, \"more\": 1",
            "unknown field `more`",
        ),
    ] {
        assert!(state.contains(from), "no {from} in {state}");
        let mut files = whole.clone();
        files[2].1 = state.replace(from, to).into_bytes();
        save(&path, &files);
        let checkpoint = read_checkpoint(&path).expect("its manifest is consistent");
        match trainer.restore(&checkpoint) {
            Err(Error::Checkpoint { reason, .. }) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{to}: {other:?}"),
        }
        assert_eq!(trainer.state().step, 0);
    }
}
