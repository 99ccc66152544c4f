//! How an experiment is run.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use crate::select::Select;

/// How to run an experiment.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The program that trains.
    pub s2s: &'a Path,
    /// Runs at a time. A single run gets all cores; parallel runs get one thread each.
    pub parallel: NonZeroUsize,
    /// Threads of each run, instead of that.
    pub threads: Option<NonZeroUsize>,
    /// Which runs.
    pub select: Select,
    /// Whether the other runs continue after one has failed.
    pub keeps_going: bool,
    /// Whether the experiment file may differ from the one that was started.
    pub accepts_changes: bool,
    /// Whether a finished run keeps only what its report needs: no plots, page, events or last
    /// checkpoint.
    pub is_lean: bool,
    /// Where the caller records the last signal it got, 0 before the first. The first one is sent on to
    /// the runs, and no further run starts.
    pub signal: Option<&'a AtomicUsize>,
}
