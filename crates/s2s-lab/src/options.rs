//! How an experiment is run.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use crate::select::Select;

/// How [`run_experiment`](crate::run_experiment) trains the runs of a plan.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The program `s2s`.
    pub s2s: &'a Path,
    /// Number of runs at a time.
    pub parallel: NonZeroUsize,
    /// Threads of each run. If absent, a single run at a time chooses its own number, and parallel runs have
    /// one thread each.
    pub threads: Option<NonZeroUsize>,
    /// Which runs are trained.
    pub select: Select,
    /// Whether further runs start after one has failed.
    pub keeps_going: bool,
    /// Whether the experiment file may differ from the one that was started. Otherwise that is an
    /// [`Error::Changed`](crate::Error::Changed).
    pub accepts_changes: bool,
    /// Whether a finished run keeps only what its report needs. Its plots, its page, its TensorBoard events
    /// and its last checkpoint are deleted.
    pub is_lean: bool,
    /// Where the caller stores the number of the last signal it got; 0 before the first. The first signal is
    /// sent on to the runs, and no further run starts. Without it, signals are not handled.
    pub signal: Option<&'a AtomicUsize>,
}
