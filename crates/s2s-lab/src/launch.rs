//! Runs of `s2s`, one process each.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use s2s_runlog::{RunDir, RunRecord, RunStatus, modified, open_log, read_json};

use crate::event::{Event, Task};
use crate::lengths::LengthGroup;
use crate::plan::Job;
use crate::settings::{Settings, flatten};
use crate::{Error, Result, process};

/// A run and what is left to do for it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) job: Job,
    /// `None` if training is finished.
    pub(crate) start: Option<Start>,
    /// Evaluations by length, after training.
    pub(crate) evaluations: Vec<LengthGroup>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Start {
    Train,
    Resume,
}

/// The configuration of a job, as `s2s` resolves and validates it.
pub(crate) fn resolve(s2s: &Path, job: &Job) -> Result<Settings> {
    let invalid = |message: &str| Error::Config {
        cell: job.cell.clone(),
        message: message.trim_end().to_owned(),
    };
    let output = process::output(process::command(s2s).args(job.config_args()))?;
    if !output.status.success() {
        return Err(invalid(&String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    match text.parse() {
        Ok(table) => Ok(flatten(&table)),
        Err(error) => Err(invalid(&format!("`s2s config` printed no TOML: {error}"))),
    }
}

/// Whether the binary was built after the run ended.
pub(crate) fn is_newer(s2s: &Path, job: &Job) -> bool {
    let ended = modified(job.folder.join("run.json"));
    matches!((modified(s2s), ended), (Some(built), Some(ended)) if built > ended)
}

/// Does all work, `parallel` runs at a time. After a failure no further run starts.
pub(crate) fn run_all(
    s2s: &Path,
    all: &[Work],
    parallel: NonZeroUsize,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let failures = || {
        failures
            .lock()
            .expect("no thread panics while it holds the lock")
    };
    let launcher = Launcher {
        s2s,
        parallel,
        on_event,
    };
    let run_next = || {
        while failures().is_empty() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(work) = all.get(index) else { break };
            let task = Task {
                run: work.job.name(),
                number: index + 1,
                total: all.len(),
            };
            if let Err(error) = launcher.run(work, &task) {
                failures().push(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..parallel.get().min(all.len()) {
            scope.spawn(run_next);
        }
    });
    let failures = std::mem::take(&mut *failures());
    match failures.is_empty() {
        true => Ok(()),
        false => Err(Error::Runs(failures)),
    }
}

struct Launcher<'a> {
    s2s: &'a Path,
    parallel: NonZeroUsize,
    on_event: &'a (dyn Fn(Event) + Sync),
}

/// How a process ended, and the file with its messages if they were redirected.
struct Ended {
    status: ExitStatus,
    log: Option<PathBuf>,
}

impl Launcher<'_> {
    /// Trains and evaluates a run as far as necessary.
    fn run(&self, work: &Work, task: &Task) -> Result<()> {
        let job = &work.job;
        let failed = |what: String, ended: Ended| Error::Run {
            task: what,
            status: ended.status,
            log: ended.log,
        };
        if let Some(start) = work.start {
            let (event, args) = match start {
                Start::Train => (Event::Training(task.clone()), job.train_args()),
                Start::Resume => (Event::Resuming(task.clone()), job.resume_args()),
            };
            (self.on_event)(event);
            let ended = self.s2s(job, &args)?;
            let Some(result) = TrainingResult::read(job, ended.status) else {
                return Err(failed(job.name(), ended));
            };
            let (task, ending) = (task.clone(), result.ending);
            (self.on_event)(Event::Trained { task, ending });
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
        Ok(())
    }

    /// Runs `s2s` to its end. Its results go to a log file, and so do its messages if other runs
    /// share the terminal.
    fn s2s(&self, job: &Job, args: &[String]) -> Result<Ended> {
        let path = job.folder.with_file_name("logs");
        let path = path.join(format!("{}.log", job.name()));
        let log = open_log(&path)?;
        let mut command = process::command(self.s2s);
        command.args(args);
        let is_shared = self.parallel.get() > 1;
        if is_shared {
            let log = log.try_clone().map_err(|source| Error::Start {
                command: process::command_line(&command),
                source,
            })?;
            command.args(["--threads", "1"]).stderr(log);
        }
        let status = process::status(command.stdout(log))?;
        let log = is_shared.then_some(path);
        Ok(Ended { status, log })
    }
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
