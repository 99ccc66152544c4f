//! `s2s completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Cli;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Example:
  s2s completions bash > ~/.local/share/bash-completion/completions/s2s";

/// Print a shell completion script
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "s2s", &mut script);
    ui.data(&String::from_utf8(script)?)?;
    Ok(0)
}
