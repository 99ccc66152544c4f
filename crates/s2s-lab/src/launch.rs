//! Runs of `s2s`, one process each.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use s2s_runlog::{Part, RunDir, RunRecord, RunStatus, modified, open_log, read_json};
use toml::Table;

use crate::cell::Job;
use crate::cost::run_secs;
use crate::event::{Event, RunPosition};
use crate::lengths::LengthGroup;
use crate::options::Options;
use crate::plan::Plan;
use crate::select::Select;
use crate::state::{self, Evaluation};
use crate::{Error, Result, failure, process};

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

/// What of the budget is spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Runs that are trained.
    pub(crate) n_runs: usize,
    /// Their wall time, and that of interrupted runs.
    pub(crate) secs: f64,
}

/// A [`Resolve`](crate::Resolve) function that calls `s2s config` for each configuration. `s2s` is the path
/// of the program. The function fails with what the command prints to standard error.
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

/// The time between two looks at a process and at the signals of this one.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The environment variable that [`run_experiment`](crate::run_experiment) sets to `1` for each run. Such a
/// run gets the signals of the process that started it, perhaps more than once: a repeated signal must not
/// end it before it is saved.
pub const FORWARDED_SIGNALS: &str = "S2S_FORWARDED_SIGNALS";

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
        is_interrupted: false,
    });
    let begun = Instant::now();
    let launcher = Launcher {
        s2s: options.s2s,
        parallel: options.parallel,
        threads: options.threads,
        waits: matches!(options.select, Select::Index(_)),
        // A run that may be extended needs its last checkpoint.
        is_lean: options.is_lean && plan.experiment.halving.is_none(),
        signal: options.signal,
        on_event,
    };
    let lock = || {
        progress
            .lock()
            .expect("no thread panics while it holds the lock")
    };
    let take = || {
        let mut progress = lock();
        let has_failed = !progress.failures.is_empty() && !options.keeps_going;
        let is_stopped = has_failed || launcher.signal().is_some();
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
            let task = RunPosition {
                run: work.job.name(),
                number,
                total: all.len(),
            };
            // Only what this process adds; an interrupted run has cost something before.
            let cost = || match plan.experiment.budget.is_limited() {
                true => run_secs(plan, &work.job),
                false => 0.0,
            };
            let before = cost();
            let result = launcher.run(work, &task, &left_secs);
            let added = cost() - before;
            let mut progress = lock();
            progress.n_done += 1;
            progress.spent.secs += added;
            if let Err(error) = result {
                if matches!(error, Error::Interrupted { .. }) {
                    progress.is_interrupted = true;
                    return;
                }
                let reason = error.to_string();
                failure::record(&work.job, &error);
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
    let mut progress = lock();
    let is_cut = progress.is_interrupted || progress.next < all.len();
    let failures = std::mem::take(&mut progress.failures);
    match launcher.signal().filter(|_| is_cut) {
        Some(signal) => Err(Error::Interrupted { signal }),
        None if failures.is_empty() => Ok(()),
        None => Err(Error::Runs(failures)),
    }
}

/// What the threads of the launcher share.
struct Progress {
    next: usize,
    spent: Spent,
    failures: Vec<Error>,
    n_done: usize,
    is_interrupted: bool,
}

struct Launcher<'a> {
    s2s: &'a Path,
    parallel: NonZeroUsize,
    threads: Option<NonZeroUsize>,
    /// Whether to wait for another process that is working on the run. A task of a cluster may have been
    /// started again while the processes of its lost predecessor still work.
    waits: bool,
    is_lean: bool,
    /// The last signal that this process got; 0 before the first.
    signal: Option<&'a AtomicUsize>,
    on_event: &'a (dyn Fn(Event) + Sync),
}

/// How a process ended.
struct Ended {
    status: ExitStatus,
    /// The last error that it reported.
    reason: Option<String>,
    /// The file with its messages.
    log: PathBuf,
}

impl Launcher<'_> {
    /// The signal that stops the experiment.
    fn signal(&self) -> Option<usize> {
        let signal = self.signal?.load(Ordering::SeqCst);
        (signal != 0).then_some(signal)
    }

    /// Trains and evaluates a run as far as necessary.
    fn run(
        &self,
        work: &Work,
        task: &RunPosition,
        left_secs: &dyn Fn() -> Option<f64>,
    ) -> Result<()> {
        let job = &work.job;
        if work.trains {
            let Some(ended) = self.train(work, task)? else {
                return Ok(()); // another process is working on it
            };
            let Some(result) = TrainingResult::read(job, ended.status) else {
                return Err(self.failed(job.name(), ended));
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
            if state::evaluation(&job.folder, group)? == Evaluation::Other {
                let run = RunDir::open(&job.folder)?;
                run.set_lengths_aside(&group.name, &run.lock()?)?;
            }
            let ended = self.s2s(job, &group.eval_args(&job.folder))?;
            if !ended.status.success() {
                let what = format!("evaluating {} by length ({})", job.name(), group.name);
                return Err(self.failed(what, ended));
            }
        }
        match self.is_lean {
            true => make_lean(job),
            false => Ok(()),
        }
    }

    /// Trains a run to its end; `None` if it is left to another process.
    fn train(&self, work: &Work, task: &RunPosition) -> Result<Option<Ended>> {
        let args = match work.extends_to {
            Some(steps) => work.job.extend_args(steps),
            None => work.job.train_args(),
        };
        let mut is_announced = false;
        loop {
            // Its own error would be a message about a normal state.
            if !state::is_in_use(&work.job) {
                (self.on_event)(match work.is_resumed {
                    true => Event::Resuming(task.clone()),
                    false => Event::Training(task.clone()),
                });
                let ended = self.s2s(&work.job, &args)?;
                if ended.status.code() != Some(BUSY) {
                    return Ok(Some(ended));
                }
            }
            if !is_announced {
                (self.on_event)(Event::Elsewhere(task.clone()));
                is_announced = true;
            }
            if !self.waits {
                return Ok(None);
            }
            let begun = Instant::now();
            while begun.elapsed() < BETWEEN_ATTEMPTS {
                if let Some(signal) = self.signal() {
                    return Err(Error::Interrupted { signal });
                }
                thread::sleep(BETWEEN_LOOKS);
            }
        }
    }

    /// The error of a process that failed, or that a signal to this process has stopped.
    fn failed(&self, task: String, ended: Ended) -> Error {
        match self.signal() {
            Some(signal) => Error::Interrupted { signal },
            None => Error::Run {
                task,
                status: ended.status,
                reason: ended.reason,
                log: ended.log,
            },
        }
    }

    /// Runs `s2s` to its end. Its results and its messages go to a log file. The messages are also
    /// events, unless other runs share the terminal.
    fn s2s(&self, job: &Job, args: &[String]) -> Result<Ended> {
        let path = job.folder.with_file_name("logs");
        let path = path.join(format!("{}.log", job.name()));
        let log = open_log(&path)?;
        failure::clear(job)?;
        let mut command = process::command(self.s2s);
        command.args(args).env(FORWARDED_SIGNALS, "1");
        let is_shared = self.parallel.get() > 1;
        let threads = self.threads.or(is_shared.then_some(NonZeroUsize::MIN));
        if let Some(threads) = threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let results = log.try_clone().map_err(|source| Error::Start {
            command: process::command_line(&command),
            source,
        })?;
        let mut child = process::spawn(command.stdout(results).stderr(Stdio::piped()))?;
        let messages = child.stderr.take();
        let (status, reason) = thread::scope(|scope| {
            let reader = messages
                .map(|messages| scope.spawn(|| self.read_messages(messages, log, !is_shared)));
            let status = self.wait(&mut child);
            let reason = reader.and_then(|reader| reader.join().unwrap_or_default());
            (status, reason)
        });
        let status = status.map_err(|source| Error::Start {
            command: process::command_line(&command),
            source,
        })?;
        Ok(Ended {
            status,
            reason,
            log: path,
        })
    }

    /// Copies messages to a log, and returns the last error.
    fn read_messages(
        &self,
        messages: ChildStderr,
        mut log: impl Write,
        are_shown: bool,
    ) -> Option<String> {
        let mut reason = None;
        let lines = BufReader::new(messages).split(b'\n');
        for line in lines.map_while(std::result::Result::ok) {
            // A full disk is reported by the run itself.
            let _ = log.write_all(&[&line[..], b"\n"].concat());
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some(error) = line.strip_prefix("error: ") {
                reason = Some(error.to_owned());
            }
            if are_shown {
                (self.on_event)(Event::Message(line));
            }
        }
        reason
    }

    /// Waits for a process, and sends it the first signal that this process gets.
    fn wait(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        if self.signal.is_none() {
            return child.wait();
        }
        let mut is_forwarded = false;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if let Some(signal) = self.signal().filter(|_| !is_forwarded) {
                is_forwarded = true;
                forward(signal, child);
            }
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// Sends a signal to a process, which may have just ended.
#[cfg(unix)]
fn forward(signal: usize, child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};

    let signal = i32::try_from(signal).ok().and_then(Signal::from_named_raw);
    if let Some(signal) = signal {
        let _ = kill_process(Pid::from_child(child), signal);
    }
}

/// Other systems send Ctrl-C to all processes of a terminal themselves.
#[cfg(not(unix))]
fn forward(_: usize, _: &Child) {}

/// Removes what the report does not need.
pub(crate) fn make_lean(job: &Job) -> Result<()> {
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
