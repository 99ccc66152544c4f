//! The record of an experiment in its folder: the file it was started with, and its runs.

use std::path::Path;

use s2s_runlog::{read_file, read_json};
use serde::{Deserialize, Serialize};

/// The copy of an experiment file in the folder of its runs.
pub(crate) const COPY: &str = "experiment.toml";

/// The file with the numbers of the runs.
pub(crate) const RUNS: &str = "runs.json";

pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The runs of an experiment. The number of a run is its position; it never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runs {
    pub(crate) runs: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The name of its folder.
    pub(crate) folder: String,
    /// Whether the experiment file still has it.
    pub(crate) is_current: bool,
}

/// The folder name of the run with this number, if the experiment was started with the file `text` and
/// still has this run.
pub(crate) fn run_folder(folder: &Path, text: &str, number: usize) -> Option<String> {
    let started = read_file(folder.join(COPY), MAX_BYTES).ok()?;
    let runs: Runs = read_json(folder.join(RUNS)).ok()?;
    let entry = runs.runs.into_iter().nth(number)?;
    (started == text.as_bytes() && entry.is_current).then_some(entry.folder)
}
