use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// The result of every function in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in an experiment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An experiment file is not valid.
    #[error("{}: {problem}", path.display())]
    Plan {
        /// The experiment file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// `s2s config` rejects the configuration of a cell.
    #[error("the configuration of cell {cell:?} is not valid:\n{message}")]
    Config {
        /// The cell's name.
        cell: String,
        /// The message of `s2s config`.
        message: String,
    },
    /// A folder or file in the experiment's folder does not belong to this experiment.
    #[error("{} does not belong to this experiment: {reason}", path.display())]
    Conflict {
        /// The run folder, or the record in it.
        path: PathBuf,
        /// The difference.
        reason: String,
    },
    /// The experiment was started with other runs, another `[halving]` or other `[[lengths]]`.
    #[error("{} is not the experiment that was started in {}; what changed:\n{differences}", path.display(), folder.display())]
    Changed {
        /// The experiment file.
        path: PathBuf,
        /// The folder of its runs.
        folder: PathBuf,
        /// What differs, one item per line.
        differences: String,
    },
    /// No run has a number or a name that was asked for.
    #[error("there is no run {wanted}: {available}")]
    NoSuchRun {
        /// What was asked for.
        wanted: String,
        /// What there is.
        available: String,
    },
    /// No run is finished, so there is nothing to report.
    #[error("no run in {} is finished", folder.display())]
    NoResults {
        /// The folder of the runs.
        folder: PathBuf,
    },
    /// Some runs conflict with the experiment. No run was started.
    #[error("no run was started:\n{}", lines(.0))]
    Conflicts(Vec<Error>),
    /// A run or its evaluation failed.
    #[error("{task} failed ({status}): {}see {}", reason.as_ref().map_or(String::new(), |reason| format!("{reason}; ")), log.display())]
    Run {
        /// The run, or the evaluation of a run.
        task: String,
        /// The exit status of `s2s`.
        status: ExitStatus,
        /// The last error that `s2s` reported.
        reason: Option<String>,
        /// The file with the messages of `s2s`.
        log: PathBuf,
    },
    /// Some runs failed. The others are complete or can be resumed.
    #[error("{}", lines(.0))]
    Runs(Vec<Error>),
    /// A signal stopped the experiment. Its runs are saved.
    #[error("stopped by signal {signal}; the runs are saved")]
    Interrupted {
        /// The number of the signal.
        signal: usize,
    },
    /// A file that describes the experiment cannot be read.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: s2s_runlog::Error,
    },
    /// A cluster's queue accepted some of the jobs, and rejected another.
    #[error("{rejected}\naccepted before that: {}", accepted.join(", "))]
    Submission {
        /// The numbers of the accepted jobs.
        accepted: Vec<String>,
        /// Why the next one was not accepted.
        rejected: Box<Error>,
    },
    /// A process could not be started.
    #[error("cannot start `{command}`")]
    Start {
        /// The command line.
        command: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A process failed.
    #[error("`{command}` failed ({status}){}", after_colon(.stderr))]
    Exit {
        /// The command line.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// What it wrote to standard error; empty if that was not captured.
        stderr: String,
    },
    /// A process printed bytes that are not UTF-8.
    #[error("`{command}` printed bytes that are not UTF-8")]
    NotText {
        /// The command line.
        command: String,
    },
    /// A record could not be read or written.
    #[error(transparent)]
    RunLog(#[from] s2s_runlog::Error),
    /// A plot could not be drawn.
    #[error("cannot draw {name}")]
    Plot {
        /// The plot's name, without a file extension.
        name: String,
        /// The reason.
        source: s2s_viz::Error,
    },
}

impl Error {
    /// Whether the command line or the experiment file must change, as opposed to a run that failed.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Plan { .. } | Self::Config { .. } | Self::NoSuchRun { .. }
        )
    }

    /// What the user can do about it, for a command line. `None` if the message says it all.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Conflict { .. } | Self::Conflicts(_) => {
                Some("move these folders or files away, then run the same command again")
            }
            Self::Changed { .. } => Some(
                "the same command with --accept-changes: runs whose configuration is the same are kept, \
                 the others stay in the folder but are not in the report; or --out with a new folder",
            ),
            Self::Run { .. } | Self::Runs(_) | Self::Interrupted { .. } => {
                Some("the same command again: it keeps finished runs and resumes interrupted ones")
            }
            Self::Damaged { .. } => Some(
                "move this file away, then run the same command again: it numbers the runs in the order \
                 of the experiment file, so cancel tasks in a queue first",
            ),
            Self::Start { command, .. } if command.starts_with("sbatch ") => Some(
                "run the command where SLURM is installed, such as on a login node; --emit FILE writes \
                 commands for any other engine",
            ),
            Self::Start { command, .. } if command.starts_with("hq ") => Some(
                "install HyperQueue, https://it4innovations.github.io/hyperqueue/stable/installation/; \
                 --emit FILE writes commands for any other engine",
            ),
            Self::Exit { command, .. } if command.starts_with("hq ") => {
                Some("`hq server info` shows whether a server runs; `hq server start` starts one")
            }
            Self::Submission { rejected, .. } => rejected.hint().or(Some(
                "the same command again: it submits the runs that are not in the queue yet",
            )),
            _ => None,
        }
    }
}

/// An error with its causes, separated by colons.
pub fn chain(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn lines(errors: &[Error]) -> String {
    errors.iter().map(chain).collect::<Vec<_>>().join("\n")
}

fn after_colon(text: &str) -> String {
    match text.trim_end() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}
