//! The jobs that an engine has accepted, so that no run is queued twice.

use std::collections::BTreeSet;

use s2s_runlog::{create_folder, read_json, write_json};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::{Result, started, state};

/// The file with the accepted jobs, in the folder of the experiment.
const FILE: &str = "submitted.json";

/// The jobs of an experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Submitted {
    jobs: Vec<Accepted>,
}

/// A job and its runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accepted {
    /// `slurm` or `hq`.
    engine: String,
    /// The number that the engine gave it.
    pub(crate) job: String,
    /// The numbers of its runs.
    pub(crate) runs: Vec<usize>,
}

/// Records a job.
pub(crate) fn add(plan: &Plan, engine: &str, job: &str, runs: Vec<usize>) -> Result<()> {
    let mut known = read(plan);
    known.jobs.push(Accepted {
        engine: engine.to_owned(),
        job: job.to_owned(),
        runs,
    });
    create_folder(&plan.folder)?;
    write_json(plan.folder.join(FILE), &known)?;
    Ok(())
}

/// The numbers of the runs that are neither done nor in the queue of an engine. `left` asks the engine which
/// runs of a job wait or run; `None` if it does not know the job any more.
pub(crate) fn open_runs(
    plan: &Plan,
    engine: &str,
    left: impl Fn(&Accepted) -> Option<Vec<usize>>,
) -> Result<Vec<usize>> {
    let queued = queued(plan, engine, left);
    let open = plan.jobs().into_iter().zip(started::numbers(plan)?);
    let open = open.filter(|(job, number)| !queued.contains(number) && !state::is_done(plan, job));
    Ok(open.map(|(_, number)| number).collect())
}

/// The runs that are in the queue of an engine.
pub(crate) fn queued(
    plan: &Plan,
    engine: &str,
    left: impl Fn(&Accepted) -> Option<Vec<usize>>,
) -> BTreeSet<usize> {
    let known = read(plan).jobs.into_iter();
    let known = known.filter(|accepted| accepted.engine == engine);
    known.filter_map(|job| left(&job)).flatten().collect()
}

/// A file that cannot be read has no jobs: then a run may be queued twice, and its second task finds it
/// finished.
fn read(plan: &Plan) -> Submitted {
    read_json(plan.folder.join(FILE)).unwrap_or_default()
}
