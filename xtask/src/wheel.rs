//! The Python package: the program with a module, as a wheel.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use s2s_lab::process::{command, output, status, stdout};

use crate::Usage;

/// Build the Python package, a wheel, in target/wheels
///
/// It contains the program and the module of python/. maturin builds it, and is installed into
/// target/tools if it is missing. Needs Python 3.10 or later with pip and venv.
///
/// With --test, installs the wheel into a new virtual environment and runs python/tests there: the tests
/// train, evaluate and query a small model.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask wheel && pip install target/wheels/s2s-*.whl
  cargo xtask wheel --features cuda           # in the environment of scripts/cuda_env.sh
  cargo xtask wheel --profile dev --test      # with the program that the tests use")]
pub(crate) struct Args {
    /// Cargo's profile
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    profile: String,
    /// Features of s2s-cli
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,
    /// Test the wheel in a new virtual environment
    #[arg(long)]
    test: bool,
    /// Python to use
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
}

const MATURIN: &str = "maturin==1.16.0";

/// The virtual environments of maturin and of the test.
const TOOLS: &str = "target/tools/maturin";
const INSTALLED: &str = "target/tools/wheel-test";

const WHEELS: &str = "target/wheels";
const TESTS: &str = "python/tests/test_s2s.py";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    check_python(&args.python)?;
    let wheel = build(args)?;
    println!("{}", wheel.display());
    if !args.test {
        return Ok(ExitCode::SUCCESS);
    }
    remove(INSTALLED)?;
    create_environment(&args.python, INSTALLED)?;
    let python = program(INSTALLED, "python");
    let install = ["-m", "pip", "install", "--quiet", "--no-index"];
    stdout(command(&python).args(install).arg(&wheel))?;
    // Isolated: only what is installed can be imported.
    let mut tests = command(&python);
    tests.arg("-I").arg(TESTS);
    match status(&mut tests)?.success() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// Builds the wheel. Returns its path.
fn build(args: &Args) -> Result<PathBuf> {
    let maturin = program(TOOLS, "maturin");
    if !maturin.exists() {
        eprintln!("installing {MATURIN} into {TOOLS}");
        remove(TOOLS)?;
        create_environment(&args.python, TOOLS)?;
        let install = ["-m", "pip", "install", "--quiet", MATURIN];
        stdout(command(program(TOOLS, "python")).args(install)).with_context(|| {
            format!("{MATURIN} is missing and could not be installed; it needs access to PyPI once")
        })?;
    }
    remove(WHEELS)?;
    let full = |path: &str| env::current_dir().map(|top| top.join(path));
    let mut maturin = command(full(&maturin.to_string_lossy())?);
    maturin
        .args(["build", "--locked", "--profile", &args.profile])
        .args(
            args.features
                .iter()
                .flat_map(|features| ["--features", features]),
        )
        // Cargo builds again what is stripped, so a test uses the program as it is.
        .args(["--strip", if args.test { "false" } else { "true" }])
        .arg("--out")
        .arg(full(WHEELS)?)
        .current_dir("python")
        .stderr(Stdio::inherit());
    stdout(&mut maturin)?;
    let mut wheels = fs::read_dir(WHEELS).with_context(|| format!("reading {WHEELS}"))?;
    let wheel = wheels.next().context("maturin wrote no wheel")??;
    Ok(wheel.path())
}

/// Checks that Python can create environments with pip.
fn check_python(python: &Path) -> Result<()> {
    let code = "import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))";
    let found = output(command(python).args(["-c", code]));
    match found.is_ok_and(|output| output.status.success()) {
        true => Ok(()),
        false => Err(Usage(format!(
            "{} is missing, older than 3.10, or has no venv and pip; try: apt-get install python3-venv \
             python3-pip, or --python FILE",
            python.display()
        ))
        .into()),
    }
}

fn create_environment(python: &Path, folder: &str) -> Result<()> {
    stdout(command(python).args(["-m", "venv", folder]))?;
    Ok(())
}

/// A program of a virtual environment.
fn program(folder: &str, name: &str) -> PathBuf {
    let (scripts, suffix) = match cfg!(windows) {
        true => ("Scripts", ".exe"),
        false => ("bin", ""),
    };
    Path::new(folder)
        .join(scripts)
        .join(format!("{name}{suffix}"))
}

fn remove(folder: &str) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {folder}"))
        }
        _ => Ok(()),
    }
}
