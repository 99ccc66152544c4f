//! The same programs in candle-nn, burn and this project: do they answer, and how long are they?

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use s2s_lab::utc_date;
use s2s_runlog::read_json;
use serde::Deserialize;

use crate::docs::{self, Table};

/// Build and run the programs of examples/side-by-side, and count their lines
///
/// Four jobs, each in candle-nn, burn and this project. Every program must print the right answer: it trains
/// a model and asks it, or loads the weights of a PyTorch model and prints its logits. Lines are counted as
/// rustfmt breaks them, without blank lines and comments. The first build compiles burn, which takes some
/// minutes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask side-by-side
  cargo xtask side-by-side --check     # write nothing; fail if the table differs

Output: docs/measurements/side-by-side.json, and its table in docs/side-by-side.md.")]
pub(crate) struct Args {
    /// Write nothing; fail if a count differs from the table
    #[arg(long)]
    check: bool,
}

const FOLDER: &str = "examples/side-by-side";
const NAME: &str = "side-by-side";

/// The folders of the libraries, and their names in the table.
const LIBRARIES: [(&str, &str); 3] = [
    ("candle", "candle-nn"),
    ("burn", "burn"),
    ("ours", "this project"),
];

/// The programs and what they do.
const JOBS: [(&str, &str); 4] = [
    ("reverse", "train and query"),
    ("attention", "a custom attention"),
    ("data", "custom data"),
    ("weights", "weights from PyTorch"),
];

/// What PyTorch computes with the weights that are loaded.
const LOGITS: &str = "crates/s2s-model/tests/pytorch/logits.json";

#[derive(Deserialize)]
struct Expected {
    logits: Vec<Vec<f64>>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let target = match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => env::current_dir()?.join("target").join(NAME),
    };
    cargo(&["fmt", "--check"], &target)?;
    cargo(&["build", "--release", "--locked"], &target)?;
    let mut rows = Vec::new();
    for (job, what) in JOBS {
        let mut row = vec![what.to_owned()];
        let expected = answer(job)?;
        for (library, _) in LIBRARIES {
            let program = target.join("release").join(format!("{library}-{job}"));
            let found = output(&program)?;
            println!("{library}/{job}: {found}");
            ensure!(
                found == expected,
                "{library}/{job} printed `{found}`, expected `{expected}`"
            );
            let path = Path::new(FOLDER).join(format!("{library}/src/bin/{library}-{job}.rs"));
            let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            row.push(count(&source).to_string());
        }
        rows.push(row);
    }
    let header = LIBRARIES.map(|(_, name)| name.to_owned());
    let table = Table {
        command: format!("cargo xtask {NAME}"),
        machine: versions()?,
        date: utc_date(SystemTime::now()),
        stamps: Vec::new(),
        header: [vec![String::new()], header.to_vec()].concat(),
        align: "lrrr".to_owned(),
        rows,
    };
    if args.check {
        ensure!(
            docs::read(NAME)?.rows == table.rows,
            "docs/measurements/{NAME}.json has other counts; try: cargo xtask {NAME}"
        );
    } else {
        docs::write(NAME, &table)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the programs of a job print.
fn answer(job: &str) -> Result<String> {
    Ok(match job {
        "weights" => {
            let expected: Expected = read_json(Path::new(LOGITS))?;
            format!("{:.4?}", expected.logits[0])
        }
        "data" => "146".to_owned(),
        _ => "5 1 4 1 3".to_owned(),
    })
}

/// The versions of the other libraries.
fn versions() -> Result<String> {
    let path = Path::new(FOLDER).join("Cargo.lock");
    let lock = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let version = |name: &str| -> Result<String> {
        let after = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
        let version = after.and_then(|(_, after)| after.split_once('"'));
        let (version, _) = version.with_context(|| format!("{} lacks {name}", path.display()))?;
        Ok(format!("{name} {version}"))
    };
    let [candle, burn] = ["candle-nn", "burn"].map(version);
    Ok(format!("lines of code, {}, {}", candle?, burn?))
}

/// Lines that are neither blank nor comments.
fn count(source: &str) -> usize {
    let lines = source.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

fn cargo(arguments: &[&str], target: &Path) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(arguments).env("CARGO_TARGET_DIR", target);
    let status = command.current_dir(FOLDER).status();
    let words = format!("cargo {} in {FOLDER}", arguments.join(" "));
    ensure!(
        status.with_context(|| words.clone())?.success(),
        "`{words}` failed"
    );
    Ok(())
}

/// What a program prints.
fn output(program: &Path) -> Result<String> {
    let mut command = Command::new(program);
    // candle counts the cores at every matrix product otherwise.
    command.current_dir(FOLDER).env("RAYON_NUM_THREADS", "1");
    let words = program.display().to_string();
    let output = command.output().with_context(|| words.clone())?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{words} failed: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_and_comments_are_not_counted() {
        let source = "//! Doc.\n\nuse a::b; // what it is\n\n    // why\n    /// Doc.\nfn f() {}\n";
        assert_eq!(count(source), 2);
    }

    #[test]
    fn every_job_has_a_program_in_every_library() {
        for (job, _) in JOBS {
            for (library, _) in LIBRARIES {
                let path = format!("../{FOLDER}/{library}/src/bin/{library}-{job}.rs");
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
                assert!(path.is_file(), "{}", path.display());
            }
        }
    }
}
