//! `s2s plot`.

use std::path::PathBuf;

use s2s_runlog::RunDir;
use s2s_train::check_unchanged;

use crate::picture;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Example:
  s2s plot runs/default-seed0";

/// Redraw the plots of a run
///
/// Prints the paths of the plots. Also works during training.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let dir = RunDir::open(&args.dir)?;
    check_unchanged(&dir)?;
    picture::draw(&dir)?;
    let paths = picture::drawn(&dir);
    let lines = paths.iter().map(|path| format!("{}\n", path.display()));
    ui.data(&lines.collect::<String>())?;
    Ok(0)
}
