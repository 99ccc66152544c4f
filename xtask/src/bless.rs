//! Golden files are what the program wrote when somebody last looked and approved.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// Record golden files anew, by running the tests
///
/// Snapshots of insta are overwritten; tests that keep golden files of their own do so when BLESS=1
/// is set. Read `git diff` before you commit what has changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bless
  cargo xtask bless -p s2s-viz            # one crate's
  cargo xtask bless -p s2s-viz -- plots   # of the tests whose names contain it")]
pub(crate) struct Args {
    /// Passed on to `cargo test`; without any, the tests of the whole workspace run
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let status = command(&args.arguments)
        .status()
        .context("starting cargo test")?;
    if status.success() {
        eprintln!("\ngolden files are up to date; `git diff` shows what has changed");
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!("\nthe tests above fail for another reason than their golden files");
        Ok(ExitCode::FAILURE)
    }
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new("cargo");
    // All tests run, whatever fails, so that one call records everything.
    command.args(["test", "--no-fail-fast"]);
    match arguments {
        [] => command.arg("--workspace"),
        given => command.args(given),
    };
    command.env("INSTA_UPDATE", "always").env("BLESS", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &[&str], expected: &str) {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let command = command(&arguments);
        let words: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn the_whole_workspace_is_blessed_unless_told_otherwise() {
        check(&[], "test --no-fail-fast --workspace");
        check(&["-p", "s2s-viz"], "test --no-fail-fast -p s2s-viz");
    }
}
