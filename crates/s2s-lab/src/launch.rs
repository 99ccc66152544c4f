//! Runs of `s2s`, one process each.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use s2s_runlog::{Part, RunDir, RunRecord, RunStatus, modified, open_log, read_json, write_file};
use toml::Table;

use crate::event::{Event, Task};
use crate::experiment::{Options, Select};
use crate::lengths::LengthGroup;
use crate::plan::{Job, Plan};
use crate::status::failure_file;
use crate::{Error, Result, process};

/// A run and what is left to do for it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) job: Job,
    /// Whether training is not finished.
    pub(crate) trains: bool,
    /// Whether training has begun.
    pub(crate) is_resumed: bool,
    /// The number of steps to which an existing run is extended, with halving.
    pub(crate) extends_to: Option<u64>,
    /// Evaluations by length, after training.
    pub(crate) evaluations: Vec<LengthGroup>,
}

/// What runs have cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    n_runs: usize,
    secs: f64,
}

impl Spent {
    /// Adds a run of so many seconds.
    pub(crate) fn add(&mut self, secs: f64) {
        self.n_runs += 1;
        self.secs += secs;
    }
}

/// Resolves configurations with the command `s2s config`.
pub fn resolve_with(s2s: &Path) -> impl Fn(Option<&Path>, &[String]) -> Result<Table, String> {
    let s2s = s2s.to_owned();
    move |config, sets| {
        let mut command = process::command(&s2s);
        command.arg("config");
        if let Some(config) = config {
            command.arg("--config").arg(config);
        }
        for set in sets {
            command.args(["--set", set]);
        }
        let output = process::output(&mut command).map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let table = text.parse();
        table.map_err(|error| format!("`s2s config` printed no TOML: {error}"))
    }
}

/// Whether the binary was built after the run ended.
pub(crate) fn is_newer(s2s: &Path, job: &Job) -> bool {
    let ended = modified(job.folder.join("run.json"));
    matches!((modified(s2s), ended), (Some(built), Some(ended)) if built > ended)
}

/// Exit code of `s2s` if another process is using the run folder.
const BUSY: i32 = 5;

/// The time between attempts to take over a run that is in use.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// Does all work, several runs at a time. After a failure no further run starts, unless the others are
/// to continue; nor does one when the budget is spent.
pub(crate) fn run_all(
    plan: &Plan,
    options: &Options<'_>,
    all: &[Work],
    spent: Spent,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let progress = Mutex::new(Progress {
        next: 0,
        spent,
        failures: Vec::new(),
        n_done: 0,
    });
    let begun = Instant::now();
    let launcher = Launcher {
        s2s: options.s2s,
        parallel: options.parallel,
        threads: options.threads,
        waits: matches!(options.select, Select::Index(_)),
        is_lean: options.is_lean,
        on_event,
    };
    let lock = || {
        progress
            .lock()
            .expect("no thread panics while it holds the lock")
    };
    let take = || {
        let mut progress = lock();
        let is_stopped = !progress.failures.is_empty() && !options.keeps_going;
        let work = all.get(progress.next).filter(|_| !is_stopped)?;
        let Spent { n_runs, secs } = progress.spent;
        if work.trains && plan.experiment.budget.is_spent(n_runs, secs) {
            let n_left = all.len() - progress.next;
            progress.next = all.len();
            drop(progress);
            on_event(Event::BudgetSpent { n_left });
            return None;
        }
        progress.spent.n_runs += usize::from(work.trains);
        progress.next += 1;
        Some((progress.next, work))
    };
    let left_secs = || {
        let n_done = lock().n_done + 1;
        let per_run = begun.elapsed().as_secs_f64() / n_done as f64;
        let n_left = all.len() - n_done;
        (n_left > 0).then_some(per_run * n_left as f64)
    };
    let run_next = || {
        while let Some((number, work)) = take() {
            let task = Task {
                run: work.job.name(),
                number,
                total: all.len(),
            };
            let started = Instant::now();
            let result = launcher.run(work, &task, &left_secs);
            let mut progress = lock();
            progress.n_done += 1;
            progress.spent.secs += started.elapsed().as_secs_f64();
            if let Err(error) = result {
                let reason = error.to_string();
                // The failure is reported in any case; the file is for `--dry-run`.
                let _ = write_file(failure_file(&work.job), reason.as_bytes());
                progress.failures.push(error);
                drop(progress);
                if options.keeps_going {
                    on_event(Event::Failed { task, reason });
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.parallel.get().min(all.len()) {
            scope.spawn(run_next);
        }
    });
    let failures = std::mem::take(&mut lock().failures);
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Error::Runs(failures)),
    }
}

/// What the threads of the launcher share.
struct Progress {
    next: usize,
    spent: Spent,
    failures: Vec<Error>,
    n_done: usize,
}

struct Launcher<'a> {
    s2s: &'a Path,
    parallel: NonZeroUsize,
    threads: Option<NonZeroUsize>,
    /// Whether to wait for another process that is working on the run. A task of a cluster may have been
    /// started again while the processes of its lost predecessor still work.
    waits: bool,
    is_lean: bool,
    on_event: &'a (dyn Fn(Event) + Sync),
}

/// How a process ended, and the file with its messages if they were redirected.
struct Ended {
    status: ExitStatus,
    log: Option<PathBuf>,
}

impl Launcher<'_> {
    /// Trains and evaluates a run as far as necessary.
    fn run(&self, work: &Work, task: &Task, left_secs: &dyn Fn() -> Option<f64>) -> Result<()> {
        let job = &work.job;
        let failed = |what: String, ended: Ended| Error::Run {
            task: what,
            status: ended.status,
            log: ended.log,
        };
        if work.trains {
            (self.on_event)(match work.is_resumed {
                true => Event::Resuming(task.clone()),
                false => Event::Training(task.clone()),
            });
            let args = match work.extends_to {
                Some(steps) => job.extend_args(steps),
                None => job.train_args(),
            };
            let mut ended = self.s2s(job, &args)?;
            if ended.status.code() == Some(BUSY) {
                (self.on_event)(Event::Elsewhere(task.clone()));
                if !self.waits {
                    return Ok(());
                }
                while ended.status.code() == Some(BUSY) {
                    thread::sleep(BETWEEN_ATTEMPTS);
                    ended = self.s2s(job, &args)?;
                }
            }
            let Some(result) = TrainingResult::read(job, ended.status) else {
                return Err(failed(job.name(), ended));
            };
            (self.on_event)(Event::Trained {
                task: task.clone(),
                ending: result.ending,
                left_secs: left_secs(),
            });
            if result.is_diverged {
                return Ok(()); // there is nothing to evaluate
            }
        }
        for group in &work.evaluations {
            (self.on_event)(Event::Evaluating {
                task: task.clone(),
                group: group.name.clone(),
            });
            let ended = self.s2s(job, &group.eval_args(&job.folder))?;
            if !ended.status.success() {
                let what = format!("evaluating {} by length ({})", job.name(), group.name);
                return Err(failed(what, ended));
            }
        }
        match self.is_lean {
            true => make_lean(job),
            false => Ok(()),
        }
    }

    /// Runs `s2s` to its end. Its results go to a log file, and so do its messages if other runs
    /// share the terminal.
    fn s2s(&self, job: &Job, args: &[String]) -> Result<Ended> {
        let path = job.folder.with_file_name("logs");
        let path = path.join(format!("{}.log", job.name()));
        let log = open_log(&path)?;
        write_file(failure_file(job), b"")?;
        let mut command = process::command(self.s2s);
        command.args(args);
        let is_shared = self.parallel.get() > 1;
        if is_shared {
            let log = log.try_clone().map_err(|source| Error::Start {
                command: process::command_line(&command),
                source,
            })?;
            command.stderr(log);
        }
        let threads = self.threads.or(is_shared.then_some(NonZeroUsize::MIN));
        if let Some(threads) = threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let status = process::status(command.stdout(log))?;
        let log = is_shared.then_some(path);
        Ok(Ended { status, log })
    }
}

/// Removes what the report does not need.
fn make_lean(job: &Job) -> Result<()> {
    let run = RunDir::open(&job.folder)?;
    let lock = run.lock()?;
    for part in [Part::Plots, Part::Page, Part::Events, Part::Last] {
        run.remove(part, &lock)?;
    }
    Ok(())
}

/// The result of a training, which may be that it diverged.
struct TrainingResult {
    is_diverged: bool,
    ending: String,
}

impl TrainingResult {
    /// `None` if training came to no result.
    fn read(job: &Job, status: ExitStatus) -> Option<Self> {
        let run = RunDir::open(&job.folder).ok()?;
        let record: RunRecord = read_json(run.run()).ok()?;
        if record.status == RunStatus::Diverged {
            return Some(Self {
                is_diverged: true,
                ending: format!("diverged at step {}", record.step),
            });
        }
        let test = record.test.filter(|_| status.success())?;
        Some(Self {
            is_diverged: false,
            ending: format!(
                "test exact match {:.4}, {:.0} s",
                test.exact_match, record.elapsed_secs
            ),
        })
    }
}
