//! Planning, status and report of a large experiment whose runs are simulated.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use s2s_lab::process::{command, command_line, spawn, stdout};
use s2s_lab::utc_date;
use s2s_runlog::system_file;
use serde_json::{Value, json};

use crate::bench::setting::cpu_name;
use crate::docs::{self, Table};
use crate::{Usage, release};

/// Measure planning, status and report on simulated runs
///
/// Trains one small run, copies its records into the folders of all others, with other results, and
/// times the commands of `s2s experiment`. Writes docs/measurements/scale.json with --publish.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of runs, a multiple of 100; each is a cell
    #[arg(long, value_name = "N", default_value = "10000")]
    runs: usize,
    /// Use this `s2s` instead of building one; relative to the top of the repository
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Also write the table of the documentation
    #[arg(long)]
    publish: bool,
}

const FOLDER: &str = "target/scale";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if args.runs == 0 || !args.runs.is_multiple_of(100) {
        return Err(Usage("--runs must be a multiple of 100, at least 100".to_owned()).into());
    }
    let s2s = match &args.binary {
        Some(path) => path.clone(),
        None => release::build()?,
    };
    measure(&s2s, args.runs, args.publish)?;
    Ok(ExitCode::SUCCESS)
}

/// Measures, prints the table and, if it is to be published, writes it.
pub(crate) fn measure(s2s: &Path, n_runs: usize, publishes: bool) -> Result<()> {
    let folder = Path::new(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {FOLDER}"))?;
    }
    fs::create_dir_all(folder)?;
    let file = folder.join("grid.toml");
    fs::write(&file, grid(n_runs))?;
    let study = Study {
        s2s: s2s.to_owned(),
        file,
    };
    let emitted = folder.join("cells.txt").display().to_string();
    let mut rows = vec![study.measure("planning", &["--emit", &emitted])?];
    study.simulate(n_runs)?;
    let middle = (n_runs / 2).to_string();
    for (what, options) in [
        ("one task of an array", &["--index", &middle][..]),
        ("status", &["--dry-run"]),
        (
            "script and arrays for SLURM",
            &["--launcher", "slurm", "--dry-run", "--accept-changes"],
        ),
        ("report", &["--collect"]),
    ] {
        rows.push(study.measure(what, options)?);
    }
    let table = Table {
        command: "cargo xtask scale --publish".to_owned(),
        machine: format!("{}, shared with other work", cpu_name()),
        date: utc_date(SystemTime::now()),
        stamps: Vec::new(),
        header: [
            "work",
            "command",
            "CPU time, s",
            "wall time, s",
            "peak memory, MB",
        ]
        .map(str::to_owned)
        .into(),
        align: "llrrr".to_owned(),
        rows,
    };
    println!("{}", docs::render(&table, &[])?);
    if publishes {
        docs::write("scale", &table)?;
    }
    Ok(())
}

/// An experiment file with so many cells and one seed.
fn grid(n_runs: usize) -> String {
    let rates = (1..=n_runs / 100).map(|i| format!("{:?}", i as f64 * 1e-5));
    let rates: Vec<String> = rates.collect();
    let widths: Vec<String> = (1..=100).map(|width: usize| width.to_string()).collect();
    format!(
        "title = \"{n_runs} simulated runs\"\nquestion = \"How long does a large experiment take to plan?\"\n\
         config = \"configs/tiny.toml\"\nset = [\"train.max_steps=20\"]\nseeds = 1\n\
         [matrix]\ntrain.learning_rate = [{}]\nmodel.hidden = [{}]\n",
        rates.join(", "),
        widths.join(", ")
    )
}

struct Study {
    s2s: PathBuf,
    file: PathBuf,
}

impl Study {
    /// A row of the table: CPU time, wall time and peak memory of `s2s experiment`.
    fn measure(&self, what: &str, options: &[&str]) -> Result<Vec<String>> {
        let mut process = command(&self.s2s);
        process
            .arg("experiment")
            .arg(&self.file)
            .args(["--out", FOLDER])
            .args(options);
        process.stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let mut child = spawn(&mut process)?;
        // The last values that the system shows before the process ends.
        let (mut cpu_secs, mut peak_mb) = (0.0, 0.0);
        let status = loop {
            cpu_secs = cpu_time(child.id()).unwrap_or(cpu_secs);
            peak_mb = peak_memory(child.id()).unwrap_or(peak_mb);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let secs = begun.elapsed().as_secs_f64();
        ensure!(
            status.success(),
            "`{}` failed ({status})",
            command_line(&process)
        );
        eprintln!("{what}: {cpu_secs:.1} s of CPU time, {secs:.1} s, {peak_mb:.0} MB");
        Ok(vec![
            what.to_owned(),
            format!("`{}`", options[0].trim_end_matches(FOLDER)),
            format!("{cpu_secs:.1}"),
            format!("{secs:.1}"),
            format!("{peak_mb:.0}"),
        ])
    }

    /// Trains the first run and gives its records to all others.
    fn simulate(&self, n_runs: usize) -> Result<()> {
        let mut train = command(&self.s2s);
        train
            .arg("experiment")
            .arg(&self.file)
            .args(["--out", FOLDER, "--index", "0"]);
        stdout(train.stderr(Stdio::null()))?;
        let folder = Path::new(FOLDER);
        let known: Value = serde_json::from_slice(&fs::read(folder.join("runs.json"))?)?;
        let runs = known["runs"].as_array().context("runs.json has no runs")?;
        ensure!(runs.len() == n_runs, "runs.json has {} runs", runs.len());
        let names: Vec<&str> = runs
            .iter()
            .filter_map(|run| run["folder"].as_str())
            .collect();
        let first = folder.join(names[0]);
        let config = fs::read_to_string(first.join("config.resolved.toml"))?;
        let record: Value = serde_json::from_slice(&fs::read(first.join("run.json"))?)?;
        let copied = [
            "metrics.jsonl",
            "timing.jsonl",
            "environment.json",
            "identity.json",
        ];
        let copied = copied.map(|name| (name, fs::read(first.join(name))));
        let rates = n_runs / 100;
        for (index, name) in names.iter().enumerate().skip(1) {
            let to = folder.join(name);
            fs::create_dir(&to).with_context(|| to.display().to_string())?;
            // The last axis of the file, sorted by key, changes fastest.
            let (width, rate) = (index / rates + 1, (index % rates + 1) as f64 * 1e-5);
            let line = |line: &str| match line.split(" = ").next() {
                Some("hidden") => format!("hidden = {width}\n"),
                Some("learning_rate") => format!("learning_rate = {rate:?}\n"),
                _ => format!("{line}\n"),
            };
            fs::write(
                to.join("config.resolved.toml"),
                config.lines().map(line).collect::<String>(),
            )?;
            let mut record = record.clone();
            record["test"]["exact_match"] = json!(index as f64 / n_runs as f64);
            fs::write(to.join("run.json"), record.to_string())?;
            for (name, content) in &copied {
                let content = content
                    .as_ref()
                    .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
                fs::write(to.join(name), content)?;
            }
        }
        Ok(())
    }
}

/// Seconds that a process has spent on all its threads (proc_pid_stat(5), fields 14 and 15).
fn cpu_time(pid: u32) -> Option<f64> {
    const TICKS: f64 = 100.0; // sysconf(_SC_CLK_TCK) on Linux
    let text = system_file(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let total = ticks(11)? + ticks(12)?;
    (total > 0.0).then_some(total / TICKS)
}

/// The most memory that a process has had, in MB.
fn peak_memory(pid: u32) -> Option<f64> {
    let text = system_file(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmHWM"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_a_cell_for_each_run() {
        let table: toml::Table = grid(300).parse().unwrap();
        let axis = |name: &str, key: &str| table["matrix"][name][key].as_array().unwrap().len();
        assert_eq!(
            axis("train", "learning_rate") * axis("model", "hidden"),
            300
        );
    }

    #[test]
    fn the_memory_of_this_process_is_known() {
        let pid = std::process::id();
        assert!(peak_memory(pid).is_some_and(|mb| mb > 1.0));
        assert!(cpu_time(u32::MAX).is_none());
    }
}
