//! JoeyNMT's tutorial: its own program, this one with the same settings, and this one with its own recipe.

use std::time::Instant;

use anyhow::{Context, Result};
use s2s_lab::process::{command, stdout};
use s2s_lab::statistics::{median, percent};
use s2s_runlog::RunDir;
use serde::Deserialize;

use super::{Lab, rows};
use crate::{Usage, docs};

const SEEDS: [&str; 3] = ["42", "43", "44"];
const CORPUS: &str = "corpora/joeynmt";
const PEER: &str = "scripts/joeynmt_peer.py";

/// One training, as `scripts/joeynmt_peer.py` prints it.
#[derive(Deserialize)]
struct Trained {
    train_secs: f64,
    greedy: Decoded,
    beam: Decoded,
}

/// The test file, decoded in one way.
#[derive(Deserialize)]
struct Decoded {
    bleu: f64,
    exact_match: f64,
    secs: f64,
}

pub(super) fn measure(lab: &Lab<'_>) -> Result<()> {
    let python = lab.args.python.as_ref().context(Usage(format!(
        "give a Python that has JoeyNMT: --python FILE; {PEER} lists its requirements"
    )))?;
    let [mut theirs, mut same, mut own] = [const { Vec::new() }; 3];
    for seed in SEEDS {
        same.push(ours(lab, "joeynmt-tutorial", seed)?);
        own.push(ours(lab, "joeynmt", seed)?);
        let peer = stdout(command(python).args([PEER, CORPUS, "--seed", seed]))?;
        theirs.push(serde_json::from_str(peer.trim())?);
    }
    let header = [
        "program",
        "training, s",
        "BLEU, greedy",
        "exact match",
        "decoding, s",
        "BLEU, beam of 5",
        "exact match",
        "decoding, s",
    ];
    let mut table = lab.table(&header, "lrrrrrrr");
    table.command += " --python FILE";
    table.rows = vec![
        row("JoeyNMT 2.3.0", &theirs)?,
        row("s2s, the same settings", &same)?,
        row("s2s, `configs/joeynmt.toml`", &own)?,
    ];
    docs::write("joeynmt", &table)
}

/// Trains with a configuration, and decodes the test file greedily and with a beam. The seconds of
/// decoding are those of the whole command.
fn ours(lab: &Lab<'_>, config: &str, seed: &str) -> Result<Trained> {
    let path = format!("configs/{config}.toml");
    let options = ["--config", &path, "--seed", seed, "--threads", "1"];
    let run = lab.train(&format!("{config}-seed{seed}"), &options)?;
    Ok(Trained {
        train_secs: rows::train_secs(&run)?,
        greedy: decoded(lab, &run, "1")?,
        beam: decoded(lab, &run, "5")?,
    })
}

fn decoded(lab: &Lab<'_>, run: &RunDir, beam: &str) -> Result<Decoded> {
    let mut eval = command(&lab.s2s);
    eval.arg("eval").arg(run.path());
    let began = Instant::now();
    let evaluated = stdout(eval.args(["--beam", beam, "--threads", "1", "--json"]))?;
    let secs = began.elapsed().as_secs_f64();
    let text = rows::text_scores(&evaluated)?;
    Ok(Decoded {
        bleu: text.bleu,
        exact_match: text.exact_match,
        secs,
    })
}

/// The medians of several trainings.
fn row(program: &str, trained: &[Trained]) -> Result<Vec<String>> {
    let middle = |value: &dyn Fn(&Trained) -> f64| {
        let values: Vec<f64> = trained.iter().map(value).collect();
        median(&values).context("there are no seeds")
    };
    let mut row = vec![
        program.to_owned(),
        format!("{:.1}", middle(&|trained| trained.train_secs)?),
    ];
    let decodings: [fn(&Trained) -> &Decoded; 2] =
        [|trained| &trained.greedy, |trained| &trained.beam];
    for of in decodings {
        row.extend([
            format!("{:.1}", middle(&|trained| of(trained).bleu)?),
            percent(middle(&|trained| of(trained).exact_match)?),
            format!("{:.2}", middle(&|trained| of(trained).secs)?),
        ]);
    }
    Ok(row)
}
