//! R5, R6, R9: what a run computes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use s2s_runlog::{CheckpointName, RunDir, RunRecord, RunStatus, read_checkpoint, read_json};
use serde::Deserialize;
use serde_json::Value;

use super::process::{Essence, Sets, end_with, quiet, succeed};
use super::{Bench, Outcome};

/// Large enough for work to be shared among threads.
const ARCHITECTURES: [(&str, Sets); 13] = [
    (
        "fused",
        &[
            "model.kernels=fused",
            "train.max_steps=20",
            "model.hidden=64",
            "model.decoder=128",
            "train.batch_size=64",
        ],
    ),
    (
        "fused, two layers",
        &[
            "model.layers=2",
            "train.max_steps=20",
            "model.hidden=48",
            "model.dropout=0.2",
            "data.batching=bucketed",
        ],
    ),
    (
        "fused, concat bridge",
        &["model.bridge=concat", "train.max_steps=20"],
    ),
    (
        "reference",
        &[
            "model.kernels=reference",
            "train.max_steps=20",
            "model.hidden=64",
            "model.decoder=128",
            "train.batch_size=64",
        ],
    ),
    (
        "dot attention",
        &["model.attention.kind=dot", "train.max_steps=20"],
    ),
    (
        "general attention",
        &["model.attention.kind=general", "train.max_steps=20"],
    ),
    (
        "location attention",
        &["model.attention.kind=location", "train.max_steps=20"],
    ),
    (
        "dynamic-convolution attention",
        &[
            "model.attention.kind=dynamic-convolution",
            "train.max_steps=20",
        ],
    ),
    (
        "ntm attention",
        &["model.attention.kind=ntm", "train.max_steps=20"],
    ),
    (
        "location-relative attention",
        &[
            "model.attention.kind=location-relative",
            "train.max_steps=20",
        ],
    ),
    (
        "LSTM",
        &["model.cell=lstm", "train.max_steps=20", "model.hidden=64"],
    ),
    (
        "LSTM, reference",
        &[
            "model.cell=lstm",
            "model.kernels=reference",
            "train.max_steps=20",
        ],
    ),
    (
        "no attention",
        &["model.attention.kind=none", "train.max_steps=20"],
    ),
];

const THREADS: [usize; 5] = [1, 2, 3, 4, 8];
const N_PROCESSES: usize = 10;

pub(super) fn same_bytes(bench: &Bench) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (name, sets) in ARCHITECTURES {
        let mut first = None;
        for trial in 0..THREADS.len() + N_PROCESSES {
            let threads = THREADS.get(trial).copied().unwrap_or(2);
            let dir = bench.fresh("computed")?;
            let mut command = Command::new(&bench.s2s);
            command
                .args(["train", "--config", "configs/tiny.toml", "--run-dir"])
                .arg(&dir)
                .args(sets.iter().map(|set| format!("--set={set}")))
                .arg(format!("--threads={threads}"));
            quiet(&mut command);
            succeed(&command.output()?)?;
            let essence = Essence::of(&dir)?;
            let result = match first.get_or_insert_with(|| Essence::of(&dir)) {
                Ok(first) if *first == essence => Ok(()),
                _ => Err(anyhow::anyhow!("other bytes than with one thread")),
            };
            outcome.count(
                &format!("{name}, process {trial} with {threads} threads"),
                result,
            );
        }
    }
    outcome.note = format!("{} architectures", ARCHITECTURES.len());
    Ok(outcome)
}

const N_SEQUENCES: usize = 10_000;
const BATCH_SIZES: [usize; 5] = [1, 2, 7, 64, 256];

/// What is read of an answer.
type Read = fn(&Value) -> Value;

/// What a model of these kernels says to a sequence: all of it to the bit, or the tokens alone.
const READERS: [(Sets, Read); 2] = [
    (&["data.max_len=12"], Value::clone),
    (
        &[
            "data.max_len=12",
            "model.kernels=reference",
            "train.max_steps=40",
        ],
        tokens,
    ),
];

fn tokens(answer: &Value) -> Value {
    serde_json::json!([answer["prediction"], answer["stopped"]])
}

pub(super) fn same_answers(bench: &Bench) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for (sets, read) in READERS {
        let dir = bench.fresh("asked")?;
        bench.undisturbed(&dir, sets)?;
        let mut draws = bench.draws("sequences", 0);
        let sequences: Vec<String> = (0..N_SEQUENCES)
            .map(|_| {
                let tokens = (0..1 + draws.below(12)).map(|_| (1 + draws.below(10)).to_string());
                tokens.collect::<Vec<_>>().join(" ")
            })
            .collect();
        let order: Vec<usize> = (0..N_SEQUENCES).collect();
        let mut shuffled = order.clone();
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, draws.below(i + 1));
        }
        let alone = ask(bench, &dir, &sequences, &order, BATCH_SIZES[0], read)?;
        let others = BATCH_SIZES[1..].iter().map(|size| (&order, *size));
        for (order, size) in others.chain([(&shuffled, 64)]) {
            let answers = ask(bench, &dir, &sequences, order, size, read)?;
            let is_shuffled = order[0] != 0 || order[1] != 1;
            for (i, (answer, alone)) in answers.iter().zip(&alone).enumerate() {
                let result = match answer == alone {
                    true => Ok(()),
                    false => Err(anyhow::anyhow!("{answer} and not {alone}")),
                };
                let name = format!(
                    "{:?} in batches of {size}, shuffled {is_shuffled}",
                    sequences[i]
                );
                outcome.count(&name, result);
            }
        }
    }
    outcome.note = "fused: every bit; reference: every token".to_owned();
    Ok(outcome)
}

/// The answers to the sequences, which are asked in this order.
fn ask(
    bench: &Bench,
    dir: &Path,
    sequences: &[String],
    order: &[usize],
    batch_size: usize,
    read: Read,
) -> Result<Vec<Value>> {
    let file = bench.folder.join("sequences");
    let lines: String = order
        .iter()
        .map(|i| format!("{}\n", sequences[*i]))
        .collect();
    fs::write(&file, lines)?;
    let mut command = Command::new(&bench.s2s);
    command
        .arg("predict")
        .arg(dir)
        .args(["--json", "--file"])
        .arg(&file);
    command.arg(format!("--batch-size={batch_size}"));
    quiet(&mut command);
    let output = command.output()?;
    succeed(&output)?;
    let mut answers = vec![Value::Null; sequences.len()];
    for (line, i) in String::from_utf8(output.stdout)?.lines().zip(order) {
        answers[*i] = read(&serde_json::from_str(line).with_context(|| format!("reading {line}"))?);
    }
    Ok(answers)
}

/// Rates with which parameters leave what f32 can hold, sooner or later.
const RATES: [&str; 8] = [
    "1e2", "1e10", "1e19", "1e25", "1e30", "1e38", "1e100", "1e300",
];

pub(super) fn blown_up(bench: &Bench) -> Result<Outcome> {
    let (mut outcome, mut n_diverged) = (Outcome::default(), 0);
    for rate in RATES {
        for set in [
            "train.clip_norm=0",
            "train.clip_norm=1",
            "model.kernels=reference",
            "train.eval_every=1",
        ] {
            let dir = bench.fresh("diverging")?;
            let mut command = Command::new(&bench.s2s);
            command
                .args(["train", "--config", "configs/tiny.toml", "--run-dir"])
                .arg(&dir)
                .args([
                    format!("--set=train.learning_rate={rate}"),
                    format!("--set={set}"),
                ]);
            quiet(&mut command);
            let result = blow_up(&mut command, &dir);
            n_diverged += usize::from(*result.as_ref().unwrap_or(&false));
            outcome.count(&format!("rate {rate}, {set}"), result.map(|_| ()));
        }
    }
    outcome.note = format!("{n_diverged} diverged, the others came through");
    Ok(outcome)
}

/// Whether it diverged.
fn blow_up(command: &mut Command, dir: &Path) -> Result<bool> {
    let output = command.output()?;
    let has_diverged = end_with(&output, &[0, 4])? == 4;
    if has_diverged {
        let message = String::from_utf8_lossy(&output.stderr);
        if !message.contains(" became ") || !message.contains(" at step ") {
            bail!("it does not say what became of what: {message}");
        }
        let record: RunRecord = read_json(dir.join("run.json"))?;
        if record.status != RunStatus::Diverged {
            bail!("run.json says {:?}", record.status);
        }
    }
    let (params, moments) = ("params.safetensors", "moments.safetensors");
    for (name, files) in [
        (CheckpointName::Best, &[params][..]), // only what a run goes on from has moments
        (CheckpointName::Last, &[params, moments]),
    ] {
        let path = RunDir::open(dir)?.checkpoint(name);
        if path.exists() {
            let checkpoint = read_checkpoint(&path)?;
            for file in files {
                check_finite(checkpoint.file(file)?)
                    .with_context(|| format!("{file} in {}", path.display()))?;
            }
        }
    }
    Ok(has_diverged)
}

/// That all numbers of a safetensors file are finite; they are of 32 bits.
fn check_finite(bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Tensor {
        dtype: String,
        data_offsets: [usize; 2],
    }
    let (len, rest) = bytes.split_first_chunk::<8>().context("no length")?;
    let (header, data) = rest
        .split_at_checked(u64::from_le_bytes(*len) as usize)
        .context("no header")?;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header)?;
    for (name, value) in header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
    {
        let tensor: Tensor = serde_json::from_value(value)?;
        let [from, to] = tensor.data_offsets;
        let numbers = data.get(from..to).context("no data")?.chunks_exact(4);
        let mut numbers =
            numbers.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        if tensor.dtype != "F32" || !numbers.all(f32::is_finite) {
            bail!("{name} is not finite");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_not_finite_are_found_in_a_file() {
        let file = |number: f32| {
            let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header);
            bytes.extend(1.0_f32.to_le_bytes());
            bytes.extend(number.to_le_bytes());
            bytes
        };
        assert!(check_finite(&file(2.0)).is_ok());
        assert!(check_finite(&file(f32::NAN)).is_err());
        assert!(check_finite(&file(f32::INFINITY)).is_err());
        assert!(check_finite(&[0; 4]).is_err());
    }
}
