//! How results depend on the instruction set of the kernels.

use anyhow::{Context, Result, ensure};
use s2s_lab::process::{command, stdout};
use s2s_lab::statistics::percent;
use s2s_runlog::{
    CheckpointName, EvalRecord, MetricsRecord, RunDir, RunRecord, StepMetrics, read_checkpoint,
    read_json, read_lines,
};

use super::Lab;
use crate::docs;

const VARIABLE: &str = "S2S_SIMD";

/// The others are compared with the last one.
const SETS: [&str; 3] = ["portable", "avx2", "avx512"];

/// What one instruction set computes, in the order of the rows.
struct Results {
    first_loss: f64,
    last_loss: f64,
    parameters: Vec<f32>,
    loss_of_checkpoint: f64,
    exact_match: f64,
    outputs: String,
}

pub(super) fn measure(lab: &Lab<'_>) -> Result<()> {
    let train = |set| {
        let options = ["--threads", "1", "--set", "train.epochs=1"];
        lab.train_with(&format!("simd-{set}"), &options, &[(VARIABLE, set)])
    };
    let [portable, avx2, avx512] = SETS.map(train);
    let runs = [portable?, avx2?, avx512?];
    let data = runs[2].path().with_file_name("simd-data");
    let mut export = command(&lab.s2s);
    stdout(export.args(["data", "export", "--force"]).arg(&data))?;
    let results = |index: usize| -> Result<Results> {
        // The same checkpoint for all sets.
        let with = |words: &[&str]| {
            let mut command = command(&lab.s2s);
            command
                .env(VARIABLE, SETS[index])
                .arg(words[0])
                .arg(runs[2].path());
            stdout(command.args(&words[1..]))
        };
        let source = data.join("test.src").display().to_string();
        let evaluated: EvalRecord = serde_json::from_str(&with(&["eval", "--json"])?)?;
        let run = &runs[index];
        let steps: Vec<StepMetrics> = read_lines(run.steps())?;
        let metrics: Vec<MetricsRecord> = read_lines(run.metrics())?;
        let record: RunRecord = read_json(run.run())?;
        Ok(Results {
            first_loss: steps.first().context("the run has no steps")?.loss,
            last_loss: metrics
                .last()
                .context("the run has no evaluation")?
                .train_loss,
            parameters: parameters(run)?,
            loss_of_checkpoint: evaluated.loss,
            exact_match: record
                .test
                .context("the run was not evaluated")?
                .exact_match,
            outputs: with(&["predict", "--file", &source])?,
        })
    };
    let [portable, avx2, avx512] = [results(0)?, results(1)?, results(2)?];

    let mut table = lab.table(
        &[
            "the run on the left, compared with AVX-512",
            "portable",
            "AVX2",
        ],
        "lrr",
    );
    let mut row = |what: &str, cell: &dyn Fn(&Results) -> String| {
        table
            .rows
            .push(vec![what.to_owned(), cell(&portable), cell(&avx2)]);
    };
    row("training loss of step 10", &|set| {
        apart(set.first_loss, avx512.first_loss)
    });
    row("training loss of steps 501 to 625", &|set| {
        instead(set.last_loss, avx512.last_loss, |loss| format!("{loss:.4}"))
    });
    row(
        "largest difference of a parameter after 625 steps",
        &|set| {
            let pairs = set.parameters.iter().zip(&avx512.parameters);
            match pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) {
                0.0 => "0: the same bytes".to_owned(),
                largest => format!("{largest:.2}"),
            }
        },
    );
    row("loss of one checkpoint on the test split", &|set| {
        apart(set.loss_of_checkpoint, avx512.loss_of_checkpoint)
    });
    row("exact match on the test split", &|set| {
        instead(set.exact_match, avx512.exact_match, percent)
    });
    row(
        "2,000 test sequences, decoded with one checkpoint",
        &|set| {
            let pairs = set.outputs.lines().zip(avx512.outputs.lines());
            match pairs.filter(|(a, b)| a != b).count() {
                0 => "the same tokens".to_owned(),
                n => format!("{n} with other tokens"),
            }
        },
    );
    docs::write("instruction-sets", &table)
}

/// All parameters of the last checkpoint: the numbers after the header of a safetensors file.
fn parameters(run: &RunDir) -> Result<Vec<f32>> {
    let checkpoint = read_checkpoint(run.checkpoint(CheckpointName::Last))?;
    let file = checkpoint
        .files()
        .find(|(name, _)| *name == "params.safetensors");
    let (_, bytes) = file.context("the checkpoint has no parameters")?;
    let (length, rest) = bytes.split_first_chunk().context("an empty file")?;
    let numbers = usize::try_from(u64::from_le_bytes(*length))
        .ok()
        .and_then(|length| rest.get(length..));
    let (numbers, rest) = numbers.context("a header without an end")?.as_chunks();
    ensure!(rest.is_empty(), "the parameters are not in f32");
    Ok(numbers.iter().copied().map(f32::from_le_bytes).collect())
}

fn apart(found: f64, expected: f64) -> String {
    match found == expected {
        true => "the same".to_owned(),
        false => format!("{:.0e} apart", (found - expected).abs()),
    }
}

fn instead(found: f64, expected: f64, text: fn(f64) -> String) -> String {
    match found == expected {
        true => "the same".to_owned(),
        false => format!("{}, not {}", text(found), text(expected)),
    }
}
