//! An experiment as a job of HyperQueue.
//!
//! Each task is one run: the command `s2s experiment FILE --index NUMBER`. HyperQueue starts the task of
//! a lost worker again on another one.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::plan::Plan;
use crate::{Result, emit, process, started, state};

/// What to ask of HyperQueue.
#[derive(Clone, Debug, Default)]
pub struct HyperQueue {
    /// CPUs of a run; 1 if absent.
    pub cpus: Option<usize>,
    /// Time limit of a run, such as `2h`; HyperQueue stops a run that exceeds it.
    pub time: Option<String>,
}

impl HyperQueue {
    /// The job file, and the command that submits it; `None` if every run is done.
    ///
    /// # Errors
    /// [`Error::Changed`](crate::Error::Changed) if the experiment is not the one that was started.
    pub fn plan(
        &self,
        plan: &Plan,
        s2s: &Path,
        accepts_changes: bool,
    ) -> Result<Option<(String, Vec<String>)>> {
        plan.check_independent()?;
        started::check(plan, accepts_changes)?;
        let numbers = started::numbers(plan)?;
        let jobs = plan.jobs();
        let open = jobs.iter().zip(numbers);
        let open = open.filter(|(job, _)| !state::is_done(plan, job));
        let tasks = open.map(|(_, number)| Value::Table(self.task(plan, s2s, number)));
        let tasks: Vec<Value> = tasks.collect();
        if tasks.is_empty() {
            return Ok(None);
        }
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

    /// Writes the job file and submits it. Returns the number of the job; `None` if every run is done.
    ///
    /// # Errors
    /// Those of [`HyperQueue::plan`]; [`Error::Start`](crate::Error::Start) without `hq`;
    /// [`Error::Exit`](crate::Error::Exit) with HyperQueue's message if it rejects the job.
    pub fn submit(&self, plan: &Plan, s2s: &Path, accepts_changes: bool) -> Result<Option<String>> {
        let Some((file, command)) = self.plan(plan, s2s, accepts_changes)? else {
            return Ok(None);
        };
        s2s_runlog::create_folder(plan.folder.join("logs"))?;
        s2s_runlog::write_file(path(plan), file.as_bytes())?;
        process::stdout(process::command(&command[0]).args(&command[1..])).map(Some)
    }

    fn task(&self, plan: &Plan, s2s: &Path, number: usize) -> Table {
        let log = plan.folder.join("logs").join(format!("hq-{number}.log"));
        let cpus = self.cpus.unwrap_or(1);
        let threads = ["--threads".to_owned(), cpus.to_string()];
        let words = emit::words(plan, s2s, number).into_iter().chain(threads);
        let words: Vec<String> = words.collect();
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

fn path(plan: &Plan) -> PathBuf {
    plan.folder.join("hq.toml")
}
