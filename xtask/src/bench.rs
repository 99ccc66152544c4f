//! How fast it is: `s2s bench` against its peers, in turns.
//!
//! ```text
//! CONTESTS ─> ours, rivals, ours, rivals, … a process each ─> Line ─> Figures ─> table
//! ```

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use s2s_runlog::write_file;
use s2s_viz::Table;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::experiment::launch;

/// Measure training steps and decoding against their peers, in turns
///
/// The peers are the reference on candle's own operators, one thread against two, and, if told
/// where it is, PyTorch with the same model. One thread is pinned to a core and compared by
/// processor time, the median of all rounds; two against one by wall time, for which the machine
/// has to be idle.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench --torch .venv/bin/python      # scripts/torch_peer.py says what to install
  cargo xtask bench --only notebook-step --n 3

It writes runs/bench/report.md and runs/bench/report.json.")]
pub(crate) struct Args {
    /// A Python that has PyTorch, to measure against
    #[arg(long, value_name = "PYTHON")]
    torch: Option<PathBuf>,

    /// Measure only this; may be given several times
    #[arg(long, value_name = "NAME", value_parser = CONTESTS.map(|contest| contest.name))]
    only: Vec<String>,

    /// Iterations a process; ten times as many of single sequences
    #[arg(long, value_name = "N", default_value = "5")]
    n: NonZeroUsize,

    /// Turns that each contestant gets
    #[arg(long, value_name = "N", default_value = "3")]
    rounds: NonZeroUsize,
}

/// One piece of work, and who does it.
#[derive(Clone, Copy, Debug)]
struct Contest {
    name: &'static str,
    work: &'static str,
    ours: Contestant,
    rivals: &'static [Contestant],
    clock: Clock,
    /// Iterations for each that was asked for.
    scale: usize,
}

/// What a contest is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Processor time, everything pinned to one core.
    Cpu,
    /// Wall time, on all cores.
    Wall,
}

/// A process to measure, without the number of iterations.
#[derive(Clone, Copy, Debug)]
struct Contestant {
    name: &'static str,
    program: Program,
    args: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    S2s,
    Torch,
}

const fn s2s(name: &'static str, args: &'static [&'static str]) -> Contestant {
    Contestant {
        name,
        program: Program::S2s,
        args,
    }
}

const fn torch(name: &'static str, args: &'static [&'static str]) -> Contestant {
    Contestant {
        name,
        program: Program::Torch,
        args,
    }
}

const NOTEBOOK: &str = "--config=configs/notebook.toml";
/// Small sizes, for both programs.
const SMALL: [&str; 6] = [
    "--set=model.embedding=32",
    "--set=model.hidden=64",
    "--set=model.decoder=128",
    "--set=model.layers=1",
    "--set=model.dropout=0",
    "--set=model.attention.units=64",
];
const SMALL_TORCH: &str =
    r#"--config={"embedding":32,"hidden":64,"decoder":128,"layers":1,"attention":64}"#;
/// PyTorch decodes one token more than its sources of 12 have. Ours decodes as many as the source
/// has, so it is given one more, and has that much more to read.
const LEN: &str = "--set=data.max_len=13";

const CONTESTS: [Contest; 6] = [
    Contest {
        name: "notebook-step",
        work: "training step, notebook sizes, batch 128",
        ours: s2s("fused", &["step", NOTEBOOK, "--threads=1"]),
        rivals: &[
            s2s(
                "reference",
                &[
                    "step",
                    NOTEBOOK,
                    "--threads=1",
                    "--set=model.kernels=reference",
                ],
            ),
            torch("PyTorch, literal", &["step", "--variant=literal"]),
            torch("PyTorch, tuned", &["step", "--variant=tuned"]),
        ],
        clock: Clock::Cpu,
        scale: 1,
    },
    Contest {
        name: "small-step",
        work: "training step, small sizes, batch 32",
        ours: s2s(
            "fused",
            &[
                "step",
                NOTEBOOK,
                "--threads=1",
                "--batch=32",
                SMALL[0],
                SMALL[1],
                SMALL[2],
                SMALL[3],
                SMALL[4],
                SMALL[5],
            ],
        ),
        rivals: &[torch(
            "PyTorch, tuned",
            &["step", "--batch=32", SMALL_TORCH],
        )],
        clock: Clock::Cpu,
        scale: 10,
    },
    Contest {
        name: "notebook-decode",
        work: "greedy decoding, notebook sizes, batch 256",
        ours: s2s(
            "fused",
            &["decode", NOTEBOOK, "--threads=1", "--batch=256", LEN],
        ),
        rivals: &[torch("PyTorch, tuned", &["decode", "--batch=256"])],
        clock: Clock::Cpu,
        scale: 1,
    },
    Contest {
        name: "notebook-one",
        work: "greedy decoding, notebook sizes, one sequence",
        ours: s2s(
            "fused",
            &["decode", NOTEBOOK, "--threads=1", "--batch=1", LEN],
        ),
        rivals: &[torch("PyTorch, tuned", &["decode", "--batch=1"])],
        clock: Clock::Cpu,
        scale: 10,
    },
    Contest {
        name: "small-one",
        work: "greedy decoding, small sizes, one sequence",
        ours: s2s(
            "fused",
            &[
                "decode",
                NOTEBOOK,
                "--threads=1",
                "--batch=1",
                LEN,
                SMALL[0],
                SMALL[1],
                SMALL[2],
                SMALL[3],
                SMALL[4],
                SMALL[5],
            ],
        ),
        rivals: &[torch(
            "PyTorch, tuned",
            &["decode", "--batch=1", SMALL_TORCH],
        )],
        clock: Clock::Cpu,
        scale: 10,
    },
    Contest {
        name: "threads",
        work: "training step, notebook sizes, two threads (wall time)",
        ours: s2s("fused, 2 threads", &["step", NOTEBOOK, "--threads=2"]),
        rivals: &[s2s("fused, 1 thread", &["step", NOTEBOOK, "--threads=1"])],
        clock: Clock::Wall,
        scale: 1,
    },
];

/// Without these PyTorch gives memory back after each step and takes it again in the next, and is
/// 8 to 15 % slower.
const MALLOC: [(&str, &str); 2] = [
    ("MALLOC_MMAP_THRESHOLD_", "2000000000"),
    ("MALLOC_TRIM_THRESHOLD_", "2000000000"),
];

const FOLDER: &str = "runs/bench";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let bench = Bench {
        s2s: launch::build()?,
        torch: args.torch.clone(),
        can_pin: says("taskset", &["--version"]).is_ok(),
    };
    let before = load();
    let mut results = Vec::new();
    for contest in &CONTESTS {
        if args.only.is_empty() || args.only.iter().any(|name| name == contest.name) {
            results.extend(bench.hold(contest, args)?);
        }
    }
    if results.is_empty() {
        bail!("every rival is PyTorch: say where it is with --torch");
    }
    let mut setting = bench.setting(args)?;
    setting.push(("load before, after", format!("{before}; {}", load())));

    let table = table(&results);
    let page = report(&table, &setting);
    let record = json!({"setting": setting, "results": results});
    fs::create_dir_all(FOLDER).with_context(|| format!("creating {FOLDER}"))?;
    let folder = Path::new(FOLDER);
    let record = serde_json::to_string_pretty(&record)? + "\n";
    write_file(folder.join("report.json"), record.as_bytes())?;
    write_file(folder.join("report.md"), page.as_bytes())?;
    print!("{page}");
    eprintln!("\nreport: {FOLDER}/report.md");
    Ok(ExitCode::SUCCESS)
}

/// What can be started here, and how.
#[derive(Debug)]
struct Bench {
    s2s: PathBuf,
    torch: Option<PathBuf>,
    can_pin: bool,
}

impl Bench {
    /// All rounds of a contest: a result for each rival that there is.
    fn hold(&self, contest: &Contest, args: &Args) -> Result<Vec<Outcome>> {
        let is_here = |rival: &&Contestant| rival.program == Program::S2s || self.torch.is_some();
        let rivals: Vec<&Contestant> = contest.rivals.iter().filter(is_here).collect();
        if rivals.is_empty() {
            return Ok(Vec::new());
        }
        let n = args.n.get() * contest.scale;
        let mut ours = Vec::new();
        let mut theirs = vec![Vec::new(); rivals.len()];
        for round in 1..=args.rounds.get() {
            eprintln!("{}: round {round} of {}", contest.name, args.rounds);
            ours.push(self.measure(contest, &contest.ours, n)?);
            for (lines, rival) in theirs.iter_mut().zip(&rivals) {
                lines.push(self.measure(contest, rival, n)?);
            }
        }
        let ours = Figures::of(&ours, contest.clock);
        let outcome = |(rival, lines): (&&Contestant, &Vec<Line>)| Outcome {
            contest: contest.name,
            work: contest.work,
            ours,
            rival: rival.name,
            theirs: Figures::of(lines, contest.clock),
        };
        Ok(rivals.iter().zip(&theirs).map(outcome).collect())
    }

    fn measure(&self, contest: &Contest, contestant: &Contestant, n: usize) -> Result<Line> {
        let mut command = self.command(contest, contestant, n)?;
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("starting {command:?}"))?;
        if !output.status.success() {
            bail!("{command:?} failed: {}", output.status);
        }
        let text = String::from_utf8(output.stdout)?;
        Line::last_of(&text).with_context(|| format!("reading what {command:?} said"))
    }

    fn command(&self, contest: &Contest, contestant: &Contestant, n: usize) -> Result<Command> {
        let program = match contestant.program {
            Program::S2s => &self.s2s,
            Program::Torch => self.torch.as_ref().context("there is no PyTorch")?,
        };
        let mut command = match self.can_pin && contest.clock == Clock::Cpu {
            true => {
                let mut command = Command::new("taskset");
                command.args(["-c", "0"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        match contestant.program {
            Program::S2s => command.arg("bench"),
            Program::Torch => command.arg("scripts/torch_peer.py").envs(MALLOC),
        };
        command.args(contestant.args).arg(format!("--n={n}"));
        if contestant.program == Program::S2s {
            command.arg("--json");
        }
        Ok(command)
    }

    /// What the figures hold for.
    fn setting(&self, args: &Args) -> Result<Vec<(&'static str, String)>> {
        let binary = self.s2s.to_string_lossy();
        let mut setting = vec![
            ("date", says("date", &["-u", "+%F"]).unwrap_or_default()),
            ("CPU", cpu_name()),
            ("s2s", says(&binary, &["--version"])?),
            ("rustc", says("rustc", &["--version"])?),
        ];
        if let Some(python) = &self.torch {
            let script = "import torch; print(torch.__version__)";
            let version = says(&python.to_string_lossy(), &["-c", script])?;
            setting.push(("PyTorch", version));
        }
        let pinned = match self.can_pin {
            true => "pinned to one core",
            false => "not pinned",
        };
        let turns = format!(
            "{} rounds of {} iterations and more, {pinned}",
            args.rounds, args.n
        );
        setting.push(("turns", turns));
        Ok(setting)
    }
}

/// What a process says of itself in its last line, in the words that both programs use.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Line {
    median_ms: f64,
    cpu_ms: f64,
    peak_mib: Option<f64>,
    share_of_peak: Option<f64>,
}

impl Line {
    fn last_of(text: &str) -> Result<Self> {
        let line = text.lines().last().context("it said nothing")?;
        serde_json::from_str(line).with_context(|| format!("in {line:?}"))
    }
}

/// One side of a contest over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Figures {
    /// The median of the rounds' medians, by the clock of the contest.
    ms: f64,
    /// The median.
    share_of_peak: Option<f64>,
    /// The most.
    peak_mib: Option<f64>,
}

impl Figures {
    fn of(lines: &[Line], clock: Clock) -> Self {
        let ms = lines.iter().map(|line| match clock {
            Clock::Cpu => line.cpu_ms,
            Clock::Wall => line.median_ms,
        });
        Self {
            ms: median(ms).unwrap_or(f64::NAN),
            share_of_peak: median(lines.iter().filter_map(|line| line.share_of_peak)),
            peak_mib: lines
                .iter()
                .filter_map(|line| line.peak_mib)
                .reduce(f64::max),
        }
    }
}

/// Us and one rival.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    contest: &'static str,
    work: &'static str,
    ours: Figures,
    rival: &'static str,
    theirs: Figures,
}

impl Outcome {
    /// How many times as long the rival takes.
    fn ratio(&self) -> f64 {
        self.theirs.ms / self.ours.ms
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

fn table(results: &[Outcome]) -> Table {
    let mib = |figures: &Figures| optional(figures.peak_mib, |mib| format!("{mib:.0}"));
    let share = |outcome: &Outcome| {
        optional(outcome.ours.share_of_peak, |share| {
            format!("{:.0} %", 100.0 * share)
        })
    };
    let column =
        |cell: &dyn Fn(&Outcome) -> String| -> Vec<String> { results.iter().map(cell).collect() };
    Table::new()
        .column("work", column(&|outcome| outcome.work.to_owned()))
        .column("ours, ms", column(&|outcome| digits(outcome.ours.ms)))
        .column("rival", column(&|outcome| outcome.rival.to_owned()))
        .column("rival, ms", column(&|outcome| digits(outcome.theirs.ms)))
        .column(
            "ratio",
            column(&|outcome| format!("{:.2}", outcome.ratio())),
        )
        .column("share of peak", column(&share))
        .column("ours, MiB", column(&|outcome| mib(&outcome.ours)))
        .column("rival, MiB", column(&|outcome| mib(&outcome.theirs)))
}

fn optional(value: Option<f64>, write: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), write)
}

/// Three digits that count.
fn digits(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{ms:.3}"),
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

fn report(table: &Table, setting: &[(&str, String)]) -> String {
    let setting = Table::new()
        .column("", setting.iter().map(|(name, _)| name))
        .column("this run", setting.iter().map(|(_, value)| value));
    format!(
        "# Speed\n\n{}\n\
         Milliseconds of processor time an iteration on one thread, medians, except where wall time \
         is named; the ratio is the rival's time by ours. The share of the peak is that of the \
         necessary operations by the processor time, of what a core's multiply-adds could do in the \
         same process. Memory is the most that the process held. In decoding PyTorch reads 12 \
         tokens and ours 13; both say 13.\n\n{}",
        table.markdown(),
        setting.markdown(),
    )
}

/// What a program prints, without the end of the line.
pub(crate) fn says(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}", message.trim_end());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// The CPU's name where the system tells it.
pub(crate) fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

/// How many processes wanted a core in the last minute, five and fifteen, where the system tells.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().take(3).collect();
    match words.is_empty() {
        true => "unknown".to_owned(),
        false => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ms: f64) -> Line {
        Line {
            median_ms: 2.0 * ms,
            cpu_ms: ms,
            peak_mib: Some(ms),
            share_of_peak: None,
        }
    }

    fn outcome(ours: f64, theirs: f64) -> Outcome {
        Outcome {
            contest: "step",
            work: "a step",
            ours: Figures {
                share_of_peak: Some(0.851),
                ..Figures::of(&[line(ours)], Clock::Cpu)
            },
            rival: "reference",
            theirs: Figures::of(&[line(theirs)], Clock::Cpu),
        }
    }

    #[test]
    fn lines_of_both_programs_are_read() {
        let ours =
            r#"{"work":"step","median_ms":2.0,"cpu_ms":1.0,"peak_mib":1.0,"share_of_peak":null}"#;
        let theirs = r#"{"command": "step", "median_ms": 2.0, "cpu_ms": 1.0, "peak_mib": 1}"#;
        assert_eq!(Line::last_of(ours).unwrap(), line(1.0));
        assert_eq!(
            Line::last_of(&format!("something else\n{theirs}\n")).unwrap(),
            line(1.0)
        );
        assert!(Line::last_of("").is_err());
        assert!(Line::last_of(r#"{"median_ms": 2.0}"#).is_err());
    }

    #[test]
    fn rounds_are_summed_up_by_the_clock_of_the_contest() {
        let lines = [line(3.0), line(1.0), line(2.0), line(10.0)];
        assert_eq!(Figures::of(&lines, Clock::Cpu).ms, 2.5);
        assert_eq!(Figures::of(&lines, Clock::Wall).ms, 5.0);
        assert_eq!(Figures::of(&lines, Clock::Cpu).peak_mib, Some(10.0));
        assert_eq!(Figures::of(&lines, Clock::Cpu).share_of_peak, None);
    }

    #[test]
    fn a_rival_that_takes_longer_has_a_ratio_above_one() {
        assert_eq!(outcome(2.0, 5.0).ratio(), 2.5);
        let table = table(&[outcome(250.0, 1000.0)]).markdown();
        let row = table.lines().last().unwrap_or_default();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(
            cells[1..9],
            [
                "a step",
                "250",
                "reference",
                "1000",
                "4.00",
                "85 %",
                "250",
                "1000"
            ]
        );
    }

    #[test]
    fn one_thread_is_pinned_and_pytorch_keeps_its_memory() {
        let bench = Bench {
            s2s: "s2s".into(),
            torch: Some("python".into()),
            can_pin: true,
        };
        let words = |command: &Command| {
            let words = command.get_args().map(|arg| arg.to_string_lossy());
            words.collect::<Vec<_>>().join(" ")
        };
        let contest = CONTESTS[0];
        let ours = bench.command(&contest, &contest.ours, 3).unwrap();
        assert_eq!(
            words(&ours),
            "-c 0 s2s bench step --config=configs/notebook.toml --threads=1 --n=3 --json"
        );
        let theirs = bench.command(&contest, &contest.rivals[1], 3).unwrap();
        assert_eq!(
            words(&theirs),
            "-c 0 python scripts/torch_peer.py step --variant=literal --n=3"
        );
        assert_eq!(theirs.get_envs().count(), MALLOC.len());
    }
}
