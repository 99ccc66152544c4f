//! `s2s report`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use s2s_runlog::{Error as RunLogError, RunDir, create_folder, read_file, write_file};
use s2s_train::check_unchanged;
use s2s_viz::{Page, PageSource};

use crate::failure::Usage;
use crate::page;
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s report runs/default-seed0
  s2s report runs/default-seed0 runs/default-seed1 --out comparison.html";

/// The mark of a page that this program wrote.
const MARK: &[u8] = b"<meta name=\"generator\" content=\"s2s report\">";

/// A page is written below 3 MB.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// Write runs as an HTML page
///
/// The page needs no server and no network. It shows attention, learning curves, errors and numbers,
/// and runs the model if its weights fit (2 MB). Several runs are compared. Also works during training.
/// Prints the path of the page.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folders of the runs
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// File to write [default: report.html in the folder of the run]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let dirs: Vec<RunDir> = args
        .dirs
        .iter()
        .map(RunDir::open)
        .collect::<Result<_, _>>()?;
    dirs.iter().try_for_each(check_unchanged)?;
    let path = match (&args.out, &dirs[..]) {
        (Some(path), _) => path.clone(),
        (None, [dir]) => dir.report(),
        (None, _) => bail!(Usage("several runs need --out FILE".to_owned())),
    };
    check_overwrite(&path)?;
    let page = Page {
        runs: dirs
            .iter()
            .map(page::read_with_weights)
            .collect::<anyhow::Result<_>>()?,
        source: PageSource::Embedded,
    };
    let folder = args.out.as_deref().and_then(Path::parent);
    if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
        create_folder(folder)?;
    }
    write_file(&path, page.html().as_bytes())?;
    for problem in page.runs.iter().flat_map(|run| &run.problems) {
        ui.warning(problem);
    }
    ui.data(&format!("{}\n", path.display()))?;
    Ok(0)
}

/// Refuses to overwrite a file that is not a page of this program.
fn check_overwrite(path: &std::path::Path) -> anyhow::Result<()> {
    let is_own = match read_file(path, MAX_PAGE_BYTES) {
        Ok(bytes) => bytes
            .windows(MARK.len())
            .take(4096)
            .any(|part| part == MARK),
        Err(RunLogError::Read { source, .. }) => source.kind() == std::io::ErrorKind::NotFound,
        Err(_) => false,
    };
    if !is_own {
        bail!(Usage(format!(
            "{} exists and is not a report; nothing was changed; choose another --out",
            path.display()
        )));
    }
    Ok(())
}
