//! `s2s man`, for packagers.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::Cli;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Example:
  s2s man > s2s.1 && man ./s2s.1";

/// Print the manual pages: s2s, then each command
#[derive(clap::Args)]
#[command(hide = true, after_help = EXAMPLES)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let mut command = Cli::command();
    command.build();
    let visible = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let pages = [command.clone()].into_iter().chain(visible.cloned());
    let mut manual = Vec::new();
    for page in pages {
        Man::new(page).render(&mut manual)?;
    }
    ui.data(&String::from_utf8(manual)?)?;
    Ok(0)
}
