//! An experiment as a job of HyperQueue.
//!
//! Each task is one run: the command `s2s experiment FILE --index NUMBER`. HyperQueue starts the task of
//! a lost worker again on another one.

use std::path::PathBuf;

use toml::{Table, Value};

use crate::emit::RunCommand;
use crate::plan::Plan;
use crate::submitted::{self, Accepted};
use crate::{Result, process, started};

/// The name of the engine in the record of submitted jobs.
const ENGINE: &str = "hq";

/// The runs of an experiment as tasks of [HyperQueue](https://it4innovations.github.io/hyperqueue/stable/),
/// and what to ask of it for each run.
#[derive(Clone, Debug, Default)]
pub struct HyperQueue {
    /// CPUs of a run; 1 if absent.
    pub cpus: Option<usize>,
    /// Time limit of a run, such as `2h`; HyperQueue stops a run that exceeds it.
    pub time: Option<String>,
}

impl HyperQueue {
    /// The text of the job file in TOML, and the words of the command that submits it; `None` if every run is
    /// done or in the queue. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Plan`](crate::Error::Plan) for a plan with halving or a budget;
    /// [`Error::Changed`](crate::Error::Changed) if the experiment is not the one that was started;
    /// [`Error::Damaged`](crate::Error::Damaged) if its record cannot be read.
    pub fn plan(
        &self,
        plan: &Plan,
        command: &RunCommand<'_>,
    ) -> Result<Option<(String, Vec<String>)>> {
        command.check(plan)?;
        let numbers = submitted::open_runs(plan, ENGINE, in_queue)?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let tasks = numbers
            .into_iter()
            .map(|number| self.task(plan, command, number));
        let tasks: Vec<Value> = tasks.map(Value::Table).collect();
        let name = plan.folder.file_name().unwrap_or_default();
        let mut file = Table::new();
        file.insert(
            "name".to_owned(),
            format!("s2s-{}", name.to_string_lossy()).into(),
        );
        file.insert("task".to_owned(), Value::Array(tasks));
        let mut submit = ["hq", "--output-mode=quiet", "job", "submit-file"]
            .map(str::to_owned)
            .to_vec();
        submit.push(path(plan).display().to_string());
        Ok(Some((file.to_string(), submit)))
    }

    /// Writes `hq.toml`, the job file, into the experiment's folder and submits it. Returns the number of the
    /// job as HyperQueue prints it; `None` if every run is done or in the queue.
    ///
    /// # Errors
    /// Those of [`HyperQueue::plan`]; [`Error::Start`](crate::Error::Start) without `hq`;
    /// [`Error::Exit`](crate::Error::Exit) with HyperQueue's message if it rejects the job.
    pub fn submit(&self, plan: &Plan, command: &RunCommand<'_>) -> Result<Option<String>> {
        command.check(plan)?;
        started::check(plan, command.accepts_changes)?;
        let runs = submitted::open_runs(plan, ENGINE, in_queue)?;
        let Some((file, submit)) = self.plan(plan, command)? else {
            return Ok(None);
        };
        s2s_runlog::create_folder(plan.folder.join("logs"))?;
        s2s_runlog::write_file(path(plan), file.as_bytes())?;
        let job = process::stdout(process::command(&submit[0]).args(&submit[1..]))?;
        submitted::add(plan, ENGINE, &job, runs)?;
        Ok(Some(job))
    }

    fn task(&self, plan: &Plan, command: &RunCommand<'_>, number: usize) -> Table {
        let log = plan.folder.join("logs").join(format!("hq-{number}.log"));
        let cpus = self.cpus.unwrap_or(1);
        let mut words = command.words(plan);
        words.extend([number.to_string(), "--threads".to_owned(), cpus.to_string()]);
        let mut resources = Table::new();
        resources.insert("cpus".to_owned(), Value::Integer(cpus as i64));
        let mut request = Table::new();
        request.insert("resources".to_owned(), resources.into());
        let mut task = Table::new();
        let mut add = |key: &str, value: Value| task.insert(key.to_owned(), value);
        add("id", Value::Integer(number as i64));
        add("command", words.into());
        add("stdout", "none".into());
        add("stderr", log.display().to_string().into());
        if let Some(time) = &self.time {
            add("time_limit", time.clone().into());
        }
        add("request", Value::Array(vec![request.into()]));
        task
    }
}

/// The runs of a job that wait or run; `None` if HyperQueue does not know the job any more, or cannot be
/// asked. The number of a task is that of its run.
fn in_queue(accepted: &Accepted) -> Option<Vec<usize>> {
    let mut list = process::command("hq");
    list.args(["--output-mode=json", "task", "list", &accepted.job]);
    list.args(["--task-status", "waiting,running"]);
    numbers_of(&process::stdout(&mut list).ok()?)
}

/// The numbers of the tasks that `hq task list` prints: a list of tasks for each job.
fn numbers_of(listed: &str) -> Option<Vec<usize>> {
    let jobs: serde_json::Value = serde_json::from_str(listed).ok()?;
    let jobs = jobs.as_object()?.values();
    let tasks = jobs.filter_map(|tasks| tasks.as_array()).flatten();
    let number = |task: &serde_json::Value| task["id"].as_u64().map(|n| n as usize);
    Some(tasks.filter_map(number).collect())
}

fn path(plan: &Plan) -> PathBuf {
    plan.folder.join("hq.toml")
}
