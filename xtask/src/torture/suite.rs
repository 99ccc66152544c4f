//! Rows whose trials are tests of the workspace: what cannot be done to a process from outside.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{Bench, Outcome};

/// R2.
pub(super) fn resuming(_: &Bench) -> Result<Outcome> {
    test(&["--test", "training"], "resuming::")
}

/// R3.
pub(super) fn power_loss(_: &Bench) -> Result<Outcome> {
    test(&["--package", "s2s-runlog", "--lib"], "power_loss::")
}

/// R9.
pub(super) fn diverging(_: &Bench) -> Result<Outcome> {
    test(&["--test", "training"], "diverging::")
}

/// The tests of the kernels, and of the models that are made of them, with every access of our crates
/// checked by the address sanitizer.
pub(super) fn sanitized(_: &Bench) -> Result<Outcome> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Ok(Outcome::skipped("the sanitizer is used on Linux only"));
    }
    let wrapper = Path::new("xtask/sanitize.sh").canonicalize()?;
    // s2s-cli is there for the features of what it depends on, or candle would be built anew.
    let packages = ["-p", "s2s-kernels", "-p", "s2s-model", "-p", "s2s-cli"];
    let tests = ["--lib", "--test", "parity", "--test", "model"];
    let output = Command::new("cargo")
        .arg("test")
        .args(packages)
        .args(tests)
        .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
        .env("ASAN_OPTIONS", "detect_leaks=0") // what is never given back is no wrong access
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = outcome(&text);
    outcome.trials = n_passed(&text) + outcome.failures.len();
    if !output.status.success() && outcome.failures.is_empty() {
        outcome
            .failures
            .push(format!("cargo test: {}", output.status));
    }
    outcome.note = "tests of kernels and models, at every instruction set of the CPU".to_owned();
    Ok(outcome)
}

/// `test result: ok. 12 passed; 0 failed`
fn n_passed(text: &str) -> usize {
    let passed = |line: &str| {
        let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
        rest.split_once(" passed")?.0.parse::<usize>().ok()
    };
    text.lines().filter_map(passed).sum()
}

/// Runs the tests with this in their names, of the whole workspace, or cargo would build candle anew
/// for the features of a part of it. Each says how many trials it made of itself, where they are more
/// than one.
pub(super) fn test(target: &[&str], name: &str) -> Result<Outcome> {
    let arguments = match target {
        ["--package", ..] => target.to_vec(),
        _ => [&["--workspace"], target].concat(),
    };
    let output = Command::new("cargo")
        .arg("test")
        .args(&arguments)
        .args([name, "--", "--nocapture"])
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = outcome(&text);
    let typed = format!("cargo test {} {name}", arguments.join(" "));
    if !output.status.success() && outcome.failures.is_empty() {
        bail!("`{typed}` failed: {}", output.status);
    }
    outcome.note = format!("`{typed}`");
    Ok(outcome)
}

/// What the tests said: `torture: 12 trials`, and `test a::b ... FAILED`.
fn outcome(text: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in text.lines() {
        // A test that prints does so behind its own name.
        let counted = line.split_once("torture: ").and_then(|(_, rest)| {
            let n: usize = rest.strip_suffix(" trials")?.parse().ok()?;
            Some(n)
        });
        outcome.trials += counted.unwrap_or(0);
        let failed = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"));
        outcome.failures.extend(failed.map(str::to_owned));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passed_tests_are_counted() {
        let text = "test result: ok. 12 passed; 0 failed; 0 ignored\n\
                    test result: FAILED. 3 passed; 1 failed; 0 ignored\n";
        assert_eq!(n_passed(text), 15);
    }

    #[test]
    fn trials_and_failures_are_counted() {
        let text = "\
running 3 tests
test a::one ... torture: 12 trials
ok
torture: 30 trials
test a::two ... ok
test a::three ... FAILED
";
        let outcome = outcome(text);
        assert_eq!(outcome.trials, 42);
        assert_eq!(outcome.failures, ["a::three"]);
    }
}
