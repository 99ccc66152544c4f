//! An experiment as job arrays of SLURM.
//!
//! Each task of an array is one run: the command `s2s experiment FILE --index NUMBER`, which starts the
//! run, resumes it, or finds it finished. SLURM keeps the queue; nothing here waits for it.

use std::path::{Path, PathBuf};

use crate::plan::{Job, Plan};
use crate::process::{self, shell_words};
use crate::{Result, started, state};

/// What to ask of SLURM.
#[derive(Clone, Debug, Default)]
pub struct Slurm {
    /// Partition; SLURM's default if absent.
    pub partition: Option<String>,
    /// Time limit of a run, such as `2:00:00`. The run is saved and requeued a minute before.
    pub time: Option<String>,
    /// Tasks at a time; no limit if absent.
    pub max_parallel: Option<usize>,
    /// Further options of `sbatch`.
    pub options: Vec<String>,
}

/// Array indices must be below SLURM's MaxArraySize, which is 1001 by default. Later runs are further
/// arrays of the same script, with an offset.
const ARRAY_SIZE: usize = 1000;

/// A job array: the numbers of its runs, without the offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Array {
    offset: usize,
    indices: Vec<usize>,
}

impl Slurm {
    /// The script of all arrays and, for each array, the command that submits it. Runs that are done are
    /// not submitted.
    ///
    /// # Errors
    /// [`Error::Changed`](crate::Error::Changed) if the experiment is not the one that was started.
    pub fn plan(
        &self,
        plan: &Plan,
        s2s: &Path,
        accepts_changes: bool,
    ) -> Result<(String, Vec<Vec<String>>)> {
        plan.check_independent()?;
        started::check(plan, accepts_changes)?;
        let numbers = started::numbers(plan)?;
        let open = plan.jobs().into_iter().zip(numbers);
        let open = open.filter(|(job, _): &(Job, usize)| !state::is_done(plan, job));
        let numbers: Vec<usize> = open.map(|(_, number)| number).collect();
        let script = script_path(plan).display().to_string();
        let submit = |array: &Array| {
            let mut args = vec!["sbatch".to_owned(), "--parsable".to_owned()];
            let limit = self.max_parallel.map_or(String::new(), |n| format!("%{n}"));
            args.push(format!("--array={}{limit}", ranges(&array.indices)));
            args.push(format!("--export=ALL,S2S_OFFSET={}", array.offset));
            args.extend(self.options.iter().cloned());
            args.push(script.clone());
            args
        };
        let arrays = arrays(&numbers);
        Ok((self.script(plan, s2s), arrays.iter().map(submit).collect()))
    }

    /// Writes the script and submits the arrays. Returns the numbers of the jobs.
    ///
    /// # Errors
    /// Those of [`Slurm::plan`]; [`Error::Start`](crate::Error::Start) without `sbatch`;
    /// [`Error::Exit`](crate::Error::Exit) with SLURM's message if it rejects an array.
    pub fn submit(&self, plan: &Plan, s2s: &Path, accepts_changes: bool) -> Result<Vec<String>> {
        let (script, commands) = self.plan(plan, s2s, accepts_changes)?;
        s2s_runlog::create_folder(plan.folder.join("logs"))?;
        s2s_runlog::write_file(script_path(plan), script.as_bytes())?;
        let submit =
            |args: &Vec<String>| process::stdout(process::command(&args[0]).args(&args[1..]));
        commands.iter().map(submit).collect()
    }

    fn script(&self, plan: &Plan, s2s: &Path) -> String {
        let name = plan
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let mut options = vec![
            format!("--job-name=s2s-{name}"),
            format!(
                "--output={}",
                plan.folder.join("logs/slurm-%A_%a.log").display()
            ),
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
        let words = [
            s2s.display().to_string(),
            "experiment".to_owned(),
            plan.path.display().to_string(),
            "--out".to_owned(),
            plan.folder.display().to_string(),
            "--index".to_owned(),
        ];
        format!(
            "#!/bin/bash\n{options}\
             # USR1 comes before the time limit and at preemption: save the run, put the task back into the queue.\n\
             set -m # the command gets a process group of its own\n\
             requeue() {{\n    \
                 kill -USR1 -- -\"$command\"\n    \
                 while kill -0 -- -\"$command\" 2>/dev/null; do sleep 0.2; done\n    \
                 scontrol requeue \"${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID\"\n    \
                 exit\n\
             }}\n\
             trap requeue USR1 TERM\n\
             {} $((SLURM_ARRAY_TASK_ID + S2S_OFFSET)) --threads \"${{SLURM_CPUS_PER_TASK:-1}}\" &\n\
             command=$!\n\
             wait \"$command\"\n",
            shell_words(words)
        )
    }
}

fn script_path(plan: &Plan) -> PathBuf {
    plan.folder.join("slurm.sh")
}

fn arrays(numbers: &[usize]) -> Vec<Array> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let chunks = sorted.chunk_by(|a, b| a / ARRAY_SIZE == b / ARRAY_SIZE);
    let array = |chunk: &[usize]| {
        let offset = chunk[0] / ARRAY_SIZE * ARRAY_SIZE;
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
    fn consecutive_numbers_are_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 3, 7, 9, 10]), "0-3,7,9-10");
        assert_eq!(ranges(&[5]), "5");
    }

    #[test]
    fn many_runs_are_several_arrays_with_small_indices() {
        let numbers: Vec<usize> = (0..2500).collect();
        let arrays = arrays(&numbers);
        let offsets: Vec<usize> = arrays.iter().map(|array| array.offset).collect();
        assert_eq!(offsets, [0, 1000, 2000]);
        assert!(
            arrays
                .iter()
                .all(|array| *array.indices.iter().max().unwrap() < ARRAY_SIZE)
        );
        assert_eq!(
            arrays
                .iter()
                .map(|array| array.indices.len())
                .sum::<usize>(),
            2500
        );
        assert_eq!(
            super::arrays(&[1999]),
            [Array {
                offset: 1000,
                indices: vec![999]
            }]
        );
    }
}
