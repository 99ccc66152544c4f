//! Rows whose trials are tests of the workspace: disturbances that are not possible from outside a
//! process.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, bail};
use s2s_lab::process::{command, output};

use super::Outcome;

/// R2.
pub(super) fn resuming() -> Result<Outcome> {
    test(&["--test", "training"], "resuming::")
}

/// R3.
pub(super) fn power_loss() -> Result<Outcome> {
    test(&["--package", "s2s-runlog", "--lib"], "power_loss::")
}

/// R9.
pub(super) fn diverging() -> Result<Outcome> {
    test(&["--test", "training"], "diverging::")
}

/// The tests of kernels and models with the address sanitizer, which checks every access of the
/// workspace's crates.
pub(super) fn sanitized() -> Result<Outcome> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Ok(Outcome::skipped("the sanitizer is used on Linux only"));
    }
    let wrapper = Path::new("xtask/sanitize.sh").canonicalize()?;
    // s2s-cli is included for its features of candle, which would be built again without them.
    let packages = ["-p", "s2s-kernels", "-p", "s2s-model", "-p", "s2s-cli"];
    let tests = ["--lib", "--test", "parity", "--test", "model"];
    let output = output(
        command("cargo")
            .arg("test")
            .args(packages)
            .args(tests)
            .env("RUSTC_WORKSPACE_WRAPPER", wrapper)
            .env("ASAN_OPTIONS", "detect_leaks=0") // a leak is not a wrong access
            .stderr(Stdio::inherit()),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = outcome(&text);
    outcome.trials = n_passed(&text) + outcome.failures.len();
    if !output.status.success() && outcome.failures.is_empty() {
        outcome
            .failures
            .push(format!("cargo test: {}", output.status));
    }
    outcome.note = "tests of kernels and models, with each instruction set of the CPU".to_owned();
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

/// Runs the tests whose names contain `name`. Tests with more than one trial print their number.
///
/// Most targets are run with the whole workspace, because a part of it has other features of candle,
/// which would be built again.
pub(super) fn test(target: &[&str], name: &str) -> Result<Outcome> {
    let arguments = match target {
        ["--package", ..] => target.to_vec(),
        _ => [&["--workspace"], target].concat(),
    };
    let output = output(
        command("cargo")
            .arg("test")
            .args(&arguments)
            .args([name, "--", "--nocapture"])
            .stderr(Stdio::inherit()),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = outcome(&text);
    let typed = format!("cargo test {} {name}", arguments.join(" "));
    if !output.status.success() && outcome.failures.is_empty() {
        bail!("`{typed}` failed: {}", output.status);
    }
    outcome.note = format!("`{typed}`");
    Ok(outcome)
}

/// The trials and failures in the output of tests: `torture: 12 trials`, `test a::b ... FAILED`.
fn outcome(text: &str) -> Outcome {
    let mut outcome = Outcome::default();
    for line in text.lines() {
        // The first line that a test prints follows the name of the test.
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
