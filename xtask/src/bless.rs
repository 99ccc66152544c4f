//! Golden files: output of the program that somebody has approved.

use std::process::{Command, ExitCode};

use anyhow::Result;
use s2s_lab::process;

/// Update golden files by running the tests
///
/// Overwrites the snapshots of insta, and sets BLESS=1 for tests with other golden files. Read
/// `git diff` before you commit the changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bless
  cargo xtask bless -p s2s-viz            # one crate
  cargo xtask bless -p s2s-viz -- plots   # the tests with plots in their names")]
pub(crate) struct Args {
    /// Arguments for `cargo test` [default: --workspace]
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if process::status(&mut cargo(&args.arguments))?.success() {
        eprintln!("\ngolden files are up to date; `git diff` shows the changes");
        Ok(ExitCode::SUCCESS)
    } else {
        eprintln!("\nthe tests above fail for other reasons than golden files");
        Ok(ExitCode::FAILURE)
    }
}

fn cargo(arguments: &[String]) -> Command {
    let mut command = process::command("cargo");
    // All tests run after a failure too, so that one call updates everything.
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
        let command = cargo(&arguments);
        let words: Vec<&str> = command.get_args().filter_map(|arg| arg.to_str()).collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn the_default_is_the_whole_workspace() {
        check(&[], "test --no-fail-fast --workspace");
        check(&["-p", "s2s-viz"], "test --no-fail-fast -p s2s-viz");
    }
}
