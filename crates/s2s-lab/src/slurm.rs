//! An experiment as job arrays of SLURM.
//!
//! Each task of an array is one run: the command `s2s experiment FILE --index NUMBER`, which starts the
//! run, resumes it, or finds it finished. SLURM keeps the queue; nothing here waits for it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::emit::RunCommand;
use crate::plan::Plan;
use crate::process::{self, shell_words};
use crate::submitted::{self, Accepted};
use crate::{Error, Result, started};

/// The runs of an experiment as job arrays of SLURM, and what to ask of it for each run.
#[derive(Clone, Debug, Default)]
pub struct Slurm {
    /// Partition; SLURM's default if absent.
    pub partition: Option<String>,
    /// Time limit of a run, such as `2:00:00`; SLURM's default if absent. The run is saved and requeued a
    /// minute before.
    pub time: Option<String>,
    /// Number of tasks of an array at a time; no limit if absent.
    pub max_parallel: Option<NonZeroUsize>,
    /// Further options of `sbatch`, such as `--mem=2G`.
    pub options: Vec<String>,
}

/// SLURM's default for `MaxArraySize`.
const MAX_ARRAY_SIZE: usize = 1001;

/// The name of the engine in the record of submitted jobs.
const ENGINE: &str = "slurm";

/// A job array: the numbers of its runs, without the offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Array {
    offset: usize,
    indices: Vec<usize>,
}

impl Slurm {
    /// The script of all arrays and, for each array, the words of the command that submits it. Runs that are
    /// done, or in the queue, are not submitted; without other runs there is no command. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Plan`] for a plan with halving or a budget; [`Error::Changed`] if the experiment is not the
    /// one that was started; [`Error::Damaged`] if its record cannot be read.
    pub fn plan(
        &self,
        plan: &Plan,
        command: &RunCommand<'_>,
    ) -> Result<(String, Vec<Vec<String>>)> {
        command.check(plan)?;
        let arrays = open_arrays(plan)?;
        let commands = arrays.iter().map(|array| self.command(plan, array));
        Ok((self.script(plan, command), commands.collect()))
    }

    /// Writes the script `slurm.sh` into the experiment's folder and submits the arrays. Returns the numbers
    /// of the jobs; none if every run is done or in the queue.
    ///
    /// # Errors
    /// Those of [`Slurm::plan`]; [`Error::Start`] without `sbatch`; [`Error::Exit`] with SLURM's message
    /// if it rejects the first array, [`Error::Submission`] if it rejects a later one.
    pub fn submit(&self, plan: &Plan, command: &RunCommand<'_>) -> Result<Vec<String>> {
        command.check(plan)?;
        started::check(plan, command.accepts_changes)?;
        s2s_runlog::create_folder(plan.folder.join("logs"))?;
        s2s_runlog::write_file(script_path(plan), self.script(plan, command).as_bytes())?;
        let mut accepted = Vec::new();
        for array in open_arrays(plan)? {
            let words = self.command(plan, &array);
            match process::stdout(process::command(&words[0]).args(&words[1..])) {
                Ok(job) => {
                    submitted::add(plan, ENGINE, &job, array.numbers())?;
                    accepted.push(job);
                }
                Err(rejected) if !accepted.is_empty() => {
                    return Err(Error::Submission {
                        accepted,
                        rejected: Box::new(rejected),
                    });
                }
                Err(rejected) => return Err(rejected),
            }
        }
        Ok(accepted)
    }

    /// The command that submits an array.
    fn command(&self, plan: &Plan, array: &Array) -> Vec<String> {
        let mut words = vec!["sbatch".to_owned(), "--parsable".to_owned()];
        let limit = self.max_parallel.map_or(String::new(), |n| format!("%{n}"));
        words.push(format!("--array={}{limit}", ranges(&array.indices)));
        words.push(format!("--export=ALL,S2S_OFFSET={}", array.offset));
        words.extend(self.options.iter().cloned());
        words.push(script_path(plan).display().to_string());
        words
    }

    fn script(&self, plan: &Plan, command: &RunCommand<'_>) -> String {
        let name = plan
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let mut options = vec![
            format!("--job-name={}", quoted(&format!("s2s-{name}"))),
            format!("--output={}", quoted(&log_pattern(plan))),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            "--signal=B:USR1@60".to_owned(),
            "--ntasks=1".to_owned(),
        ];
        options.extend(
            self.partition
                .iter()
                .map(|name| format!("--partition={name}")),
        );
        options.extend(self.time.iter().map(|time| format!("--time={time}")));
        let options: String = options
            .iter()
            .map(|line| format!("#SBATCH {line}\n"))
            .collect();
        format!(
            "#!/bin/bash\n{options}\
             set -m # the command gets a process group of its own\n\
             save() {{\n    \
                 trap '' USR1 TERM\n    \
                 kill -\"$1\" -- -\"$command\"\n    \
                 while kill -0 -- -\"$command\" 2>/dev/null; do sleep 0.2; done\n\
             }}\n\
             # USR1 comes before the time limit: save the run, and put the task back into the queue.\n\
             trap 'save USR1; scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID\"; exit' USR1\n\
             # TERM comes from scancel, and from SLURM when it preempts a task and requeues it itself.\n\
             trap 'save TERM; exit 143' TERM\n\
             {} $((SLURM_ARRAY_TASK_ID + S2S_OFFSET)) --threads \"${{SLURM_CPUS_PER_TASK:-1}}\" &\n\
             command=$!\n\
             wait \"$command\"\n",
            shell_words(command.words(plan))
        )
    }
}

/// The arrays of the runs that are neither done nor in the queue.
fn open_arrays(plan: &Plan) -> Result<Vec<Array>> {
    let numbers = submitted::open_runs(plan, ENGINE, in_queue)?;
    Ok(arrays(&numbers, array_size()))
}

/// The runs of a job that wait or run; `None` if SLURM does not know the job any more, or cannot be asked.
fn in_queue(accepted: &Accepted) -> Option<Vec<usize>> {
    let job = accepted.job.split(';').next()?; // `--parsable` adds the cluster, if there are several
    let mut squeue = process::command("squeue");
    squeue.args(["--noheader", "--array", "--format=%K", "--jobs", job]);
    let listed = process::stdout(&mut squeue).ok()?;
    let indices: Vec<usize> = listed
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    // An array has one offset, which is that of its first run.
    let size = array_size();
    let offset = accepted.runs.first()? / size * size;
    let numbers = indices.into_iter().map(|index| offset + index);
    Some(
        numbers
            .filter(|number| accepted.runs.contains(number))
            .collect(),
    )
}

/// Array indices must be below SLURM's `MaxArraySize`. Later runs are further arrays of the same script,
/// with an offset.
fn array_size() -> usize {
    let config = process::stdout(process::command("scontrol").args(["show", "config"]));
    let found = config.ok().and_then(|text| max_array_size(&text));
    found.unwrap_or(MAX_ARRAY_SIZE).saturating_sub(1).max(1)
}

/// `MaxArraySize` in the output of `scontrol show config`.
fn max_array_size(config: &str) -> Option<usize> {
    let line = config
        .lines()
        .find(|line| line.starts_with("MaxArraySize"))?;
    line.split_once('=')?.1.trim().parse().ok()
}

/// The files with the output of the tasks. A `%` of the path itself is doubled.
fn log_pattern(plan: &Plan) -> String {
    let folder = plan.folder.display().to_string().replace('%', "%%");
    format!("{folder}/logs/slurm-%A_%a.log")
}

/// A value of an `#SBATCH` line, which sbatch splits at white space outside quotes.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./%=:,+".contains(c);
    match value.chars().all(is_plain) {
        true => value.to_owned(),
        false => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

fn script_path(plan: &Plan) -> PathBuf {
    plan.folder.join("slurm.sh")
}

impl Array {
    /// The numbers of its runs.
    fn numbers(&self) -> Vec<usize> {
        let indices = self.indices.iter();
        indices.map(|index| self.offset + index).collect()
    }
}

fn arrays(numbers: &[usize], size: usize) -> Vec<Array> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let chunks = sorted.chunk_by(|a, b| a / size == b / size);
    let array = |chunk: &[usize]| {
        let offset = chunk[0] / size * size;
        Array {
            offset,
            indices: chunk.iter().map(|number| number - offset).collect(),
        }
    };
    chunks.map(array).collect()
}

/// Ascending numbers as SLURM takes them: `0-3,7`.
fn ranges(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let range = |run: &[usize]| match run {
        [only] => only.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    runs.map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_an_array_is_that_of_the_cluster() {
        let config = "MailProg = /bin/mail\nMaxArraySize            = 11\nMaxJobCount = 10000\n";
        assert_eq!(max_array_size(config), Some(11));
        assert_eq!(max_array_size("MaxJobCount = 10000"), None);
        let numbers: Vec<usize> = (0..25).collect();
        let arrays = arrays(&numbers, 10);
        assert_eq!(
            arrays.iter().map(|a| a.offset).collect::<Vec<_>>(),
            [0, 10, 20]
        );
        assert_eq!(arrays[2].numbers(), [20, 21, 22, 23, 24]);
    }

    #[test]
    fn values_of_options_are_quoted_where_sbatch_would_split_them() {
        assert_eq!(
            quoted("runs/a/logs/slurm-%A_%a.log"),
            "runs/a/logs/slurm-%A_%a.log"
        );
        assert_eq!(quoted("my runs/\"a\""), "\"my runs/\\\"a\\\"\"");
    }

    #[test]
    fn consecutive_numbers_are_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 7, 9, 10]), "0-3,7,9-10");
        assert_eq!(ranges(&[5]), "5");
    }

    #[test]
    fn many_runs_are_several_arrays_with_small_indices() {
        let numbers: Vec<usize> = (0..2500).collect();
        let arrays = arrays(&numbers, 1000);
        let offsets: Vec<usize> = arrays.iter().map(|array| array.offset).collect();
        assert_eq!(offsets, [0, 1000, 2000]);
        assert!(
            arrays
                .iter()
                .all(|array| *array.indices.iter().max().unwrap() < 1000)
        );
        assert_eq!(
            arrays
                .iter()
                .map(|array| array.indices.len())
                .sum::<usize>(),
            2500
        );
        assert_eq!(
            super::arrays(&[1999], 1000),
            [Array {
                offset: 1000,
                indices: vec![999]
            }]
        );
    }
}
