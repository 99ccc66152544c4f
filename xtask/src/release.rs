//! The release binary of `s2s`.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result};
use s2s_lab::process::{command, stdout};
use serde_json::Value;

/// Builds the release binary. Returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    eprintln!("building s2s (the first time takes a few minutes)");
    let mut cargo = command("cargo");
    cargo
        .args(["build", "--release", "-p", "s2s-cli"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    // Cargo's messages name the binary, whatever CARGO_TARGET_DIR and cargo's configuration are.
    stdout(&mut cargo)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| message["executable"].is_string() && message["target"]["name"] == "s2s")
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo build made no binary s2s")
}
