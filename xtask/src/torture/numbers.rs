//! R5, R6, R9: the numbers that a run computes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use s2s_runlog::{CheckpointName, RunDir, RunRecord, RunStatus, read_checkpoint, read_json};
use serde::Deserialize;
use serde_json::Value;

use super::process::{
    Essence, Setup, captured, check_success, exit_code, messages, run, split_safetensors,
};
use super::{Bench, Outcome};

/// Models that are large enough for threads to share their work, apart from the attention mechanisms.
#[rustfmt::skip] // one line per model
const ARCHITECTURES: [(&str, &str); 6] = [
    ("fused", "model.hidden=64 model.decoder=128 train.batch_size=64"),
    ("fused, two layers", "model.layers=2 model.hidden=48 model.dropout=0.2 data.batching=bucketed"),
    ("fused, concat bridge", "model.bridge=concat"),
    ("reference", "model.kernels=reference model.hidden=64 model.decoder=128 train.batch_size=64"),
    ("LSTM", "model.cell=lstm model.hidden=64"),
    ("LSTM, reference", "model.cell=lstm model.kernels=reference"),
];

/// A model and its changes to the configuration.
struct Architecture {
    name: String,
    sets: Vec<String>,
}

/// The models of [`ARCHITECTURES`], and one for each attention mechanism.
fn architectures(bench: &Bench) -> Result<Vec<Architecture>> {
    let mut all: Vec<Architecture> = ARCHITECTURES
        .iter()
        .map(|(name, sets)| Architecture {
            name: (*name).to_owned(),
            sets: sets.split(' ').map(str::to_owned).collect(),
        })
        .collect();
    all.extend(
        attention_kinds(bench)?
            .into_iter()
            .map(|kind| Architecture {
                name: format!("{kind} attention"),
                sets: vec![format!("model.attention.kind={kind}")],
            }),
    );
    for architecture in &mut all {
        architecture.sets.push("train.max_steps=20".to_owned());
    }
    Ok(all)
}

/// All attention mechanisms: `s2s` lists them when a configuration names an unknown one.
fn attention_kinds(bench: &Bench) -> Result<Vec<String>> {
    let output = run(captured(&bench.s2s).args(["config", "--set=model.attention.kind=?"]))?;
    exit_code(&output, &[2])?;
    let message = messages(&output);
    let kinds = listed_kinds(&message);
    ensure!(!kinds.is_empty(), "no attention mechanisms in {message:?}");
    Ok(kinds)
}

/// `a` and `b` of "expected one of `a`, `b`".
fn listed_kinds(message: &str) -> Vec<String> {
    let (_, list) = message.split_once("expected one of ").unwrap_or_default();
    let list = list.lines().next().unwrap_or_default();
    let kinds = list.split('`').skip(1).step_by(2);
    kinds.map(str::to_owned).collect()
}

const THREADS: [usize; 5] = [1, 2, 3, 4, 8];
const N_PROCESSES: usize = 10;

pub(super) fn same_bytes(bench: &Bench) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let architectures = architectures(bench)?;
    for Architecture { name, sets } in &architectures {
        let mut first = None;
        for trial in 0..THREADS.len() + N_PROCESSES {
            let threads = THREADS.get(trial).copied().unwrap_or(2);
            let dir = bench.fresh("computed")?;
            let mut command = bench.train(&dir, sets);
            check_success(&run(command.arg(format!("--threads={threads}")))?)?;
            let essence = Essence::of(&dir)?;
            let result = match &first {
                Some(first) if *first != essence => {
                    Err(anyhow!("other bytes than with one thread"))
                }
                _ => Ok(()),
            };
            first.get_or_insert(essence);
            let name = format!("{name}, process {trial} with {threads} threads");
            outcome.count(&name, result);
        }
    }
    outcome.note = format!("{} architectures", architectures.len());
    Ok(outcome)
}

const N_SEQUENCES: usize = 5000;
const BATCH_SIZES: [usize; 5] = [1, 2, 7, 64, 256];

/// The longest sequence to predict.
const MAX_TOKENS: usize = 12;

/// A model, and the part of its predictions that does not depend on the batch.
struct Reader {
    setup: Setup,
    read: fn(&Value) -> Value,
}

#[rustfmt::skip] // two lines per reader
const READERS: [Reader; 2] = [
    Reader { read: Value::clone, // every bit
        setup: Setup { sets: &[], for_numbers: &["data.max_len=12"] } },
    Reader { read: tokens,
        setup: Setup { sets: REFERENCE, for_numbers: &["data.max_len=12"] } },
];

const REFERENCE: &[&str] = &["model.kernels=reference", "train.max_steps=40"];

fn tokens(prediction: &Value) -> Value {
    serde_json::json!([prediction["prediction"], prediction["stopped"]])
}

/// The order in which sequences are predicted.
struct Order {
    name: &'static str,
    indices: Vec<usize>,
}

pub(super) fn same_answers(bench: &Bench) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for reader in READERS {
        let dir = bench.fresh("asked")?;
        bench.undisturbed(&dir, reader.setup)?;
        let mut draws = bench.draws("sequences", 0);
        let sequences: Vec<String> = (0..N_SEQUENCES)
            .map(|_| bench.data.source(MAX_TOKENS, &mut draws))
            .collect();
        let order = |name| Order {
            name,
            indices: (0..N_SEQUENCES).collect(),
        };
        let (in_order, mut shuffled) = (order("in order"), order("shuffled"));
        for i in (1..N_SEQUENCES).rev() {
            shuffled.indices.swap(i, draws.below(i + 1));
        }
        let predict = |order: &Order, batch_size| {
            predictions(bench, &dir, &sequences, order, batch_size)
                .map(|predictions| predictions.iter().map(reader.read).collect::<Vec<Value>>())
        };
        let alone = predict(&in_order, BATCH_SIZES[0])?;
        let others = BATCH_SIZES[1..].iter().map(|size| (&in_order, *size));
        for (order, batch_size) in others.chain([(&shuffled, 64)]) {
            let predictions = predict(order, batch_size)?;
            for (i, (prediction, alone)) in predictions.iter().zip(&alone).enumerate() {
                let result = match prediction == alone {
                    true => Ok(()),
                    false => Err(anyhow!("got {prediction}, expected {alone}")),
                };
                let sequence = &sequences[i];
                let name = format!("{sequence:?} in batches of {batch_size}, {}", order.name);
                outcome.count(&name, result);
            }
        }
    }
    outcome.note = "fused: every bit; reference: every token".to_owned();
    Ok(outcome)
}

/// The predictions for all sequences, which are predicted in this order.
fn predictions(
    bench: &Bench,
    dir: &Path,
    sequences: &[String],
    order: &Order,
    batch_size: usize,
) -> Result<Vec<Value>> {
    let file = bench.folder.join("sequences");
    let lines = order.indices.iter().map(|i| format!("{}\n", sequences[*i]));
    fs::write(&file, lines.collect::<String>())?;
    let mut predict = captured(&bench.s2s);
    predict.arg("predict").arg(dir);
    predict.args(["--json", "--file"]).arg(&file);
    let output = run(predict.arg(format!("--batch-size={batch_size}")))?;
    check_success(&output)?;
    let mut predictions = vec![Value::Null; sequences.len()];
    let text = String::from_utf8(output.stdout)?;
    for (line, i) in text.lines().zip(&order.indices) {
        predictions[*i] = serde_json::from_str(line).with_context(|| format!("reading {line}"))?;
    }
    Ok(predictions)
}

/// Learning rates with which parameters overflow f32 sooner or later.
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
            let rate = format!("train.learning_rate={rate}");
            let result = blow_up(&mut bench.train(&dir, [&rate, set]), &dir);
            n_diverged += usize::from(*result.as_ref().unwrap_or(&false));
            outcome.count(&format!("{rate}, {set}"), result.map(|_| ()));
        }
    }
    outcome.note = format!("{n_diverged} diverged, the others did not");
    outcome.require(n_diverged, "run that diverged");
    Ok(outcome)
}

/// Whether the run diverged.
fn blow_up(command: &mut Command, dir: &Path) -> Result<bool> {
    let output = run(command)?;
    let has_diverged = exit_code(&output, &[0, 4])? == 4;
    if has_diverged {
        let message = messages(&output);
        if !message.contains(" became ") || !message.contains(" at step ") {
            bail!("the message does not name the value and the step: {message}");
        }
        let record: RunRecord = read_json(dir.join("run.json"))?;
        if record.status != RunStatus::Diverged {
            bail!("the status in run.json is {:?}", record.status);
        }
    }
    let (params, moments) = ("params.safetensors", "moments.safetensors");
    for (name, files) in [
        (CheckpointName::Best, &[params][..]), // it has no moments
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

/// Checks that all numbers of a safetensors file are finite. They must have type f32.
fn check_finite(bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Tensor {
        dtype: String,
        data_offsets: [usize; 2],
    }
    let (header, data) = split_safetensors(bytes)?;
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
    use super::super::process::join_safetensors;
    use super::*;

    #[test]
    fn attention_mechanisms_are_read_from_the_message_that_lists_them() {
        let message =
            "error: unknown variant `?`, expected one of `additive`, `none`\n  try: `x`\n";
        assert_eq!(listed_kinds(message), ["additive", "none"]);
        assert!(listed_kinds("error: `x`").is_empty());
    }

    #[test]
    fn nan_and_infinity_are_found_in_a_file() {
        let file = |number: f32| {
            let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
            let data = [1.0, number].map(f32::to_le_bytes).concat();
            join_safetensors(header, &data)
        };
        assert!(check_finite(&file(2.0)).is_ok());
        assert!(check_finite(&file(f32::NAN)).is_err());
        assert!(check_finite(&file(f32::INFINITY)).is_err());
        assert!(check_finite(&[0; 4]).is_err());
    }
}
