//! The viewer in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use s2s_lab::process::{command, status, stdout};

use crate::{Usage, release};

/// Check the viewer in a browser
///
/// Trains small runs of every architecture and compares the page's model with `s2s predict`. Then
/// opens reports and playgrounds in Chromium: at 360 and 1,600 px, light and dark, by keyboard, with
/// damaged runs and while a run trains; axe-core checks the accessibility. Needs Node.js 20 or later,
/// npm and Chromium; installs playwright-core and axe-core into target/browser. Takes some minutes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask browser-test
  cargo xtask browser-test --binary target/debug/s2s --sequences 100")]
pub(crate) struct Args {
    /// The program to test [default: a release build]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Sequences for each architecture
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sequences: u64,
}

/// The scripts, which run in [`FOLDER`], beside the packages that they need.
const SCRIPTS: &str = "xtask/browser";
const FOLDER: &str = "target/browser";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let node = program(&["node"], "nodejs")?;
    let npm = program(&["npm"], "npm")?;
    let chromium = program(
        &["chromium", "chromium-browser", "google-chrome"],
        "chromium",
    )?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => release::build()?,
    };
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).with_context(|| format!("creating {FOLDER}"))?;
    for entry in fs::read_dir(SCRIPTS).with_context(|| format!("reading {SCRIPTS}"))? {
        let entry = entry?;
        let copy = folder.join(entry.file_name());
        fs::copy(entry.path(), &copy).with_context(|| format!("writing {}", copy.display()))?;
    }
    if !folder.join("node_modules/.package-lock.json").exists() {
        stdout(
            command(npm)
                .args(["ci", "--no-audit", "--no-fund"])
                .current_dir(folder),
        )?;
    }
    let full = |path: &Path| {
        path.canonicalize()
            .with_context(|| format!("finding {}", path.display()))
    };
    let mut checks = command(node);
    checks
        .arg(full(&folder.join("main.mjs"))?)
        .arg(full(&binary)?)
        .arg(full(Path::new("crates/s2s-viz/viewer"))?)
        .arg(chromium)
        .arg(full(folder)?)
        .arg(args.sequences.to_string())
        .stderr(Stdio::inherit());
    match status(&mut checks)?.success() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// The path of the first of these programs that is installed.
fn program(names: &[&str], package: &str) -> Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = names.iter().flat_map(|name| {
        std::env::split_paths(&folders)
            .map(move |folder| folder.join(name))
            .collect::<Vec<_>>()
    });
    paths.find(|path| path.is_file()).ok_or_else(|| {
        let name = names[0];
        Usage(format!(
            "{name} is not installed; try: apt-get install {package}"
        ))
        .into()
    })
}
