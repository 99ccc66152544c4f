//! The programs to measure, one process each.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use s2s_lab::process::{command, command_line, stdout};
use serde::Deserialize;

use super::contest::{Clock, Contestant, Program};

/// For the peers. Without these, PyTorch returns memory to the system after each step and allocates it
/// again in the next, which makes it 8 to 15 % slower.
const MALLOC: [(&str, &str); 2] = [
    ("MALLOC_MMAP_THRESHOLD_", "2000000000"),
    ("MALLOC_TRIM_THRESHOLD_", "2000000000"),
];

/// Without this, candle's operators start a thread for each core of the machine. On the one core to
/// which they are pinned, these wait for each other, and the reference takes three times as long.
const CANDLE_THREADS: (&str, &str) = ("RAYON_NUM_THREADS", "1");

/// The programs, and whether they can be pinned to a core.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) s2s: PathBuf,
    pub(super) torch: Option<PathBuf>,
    pub(super) jax: Option<PathBuf>,
    pub(super) can_pin: bool,
}

/// The last line of a program's output. All programs use the same names.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Line {
    pub(super) median_ms: f64,
    pub(super) cpu_ms: f64,
    pub(super) peak_mib: Option<f64>,
    pub(super) gflop: Option<f64>,
    pub(super) peak_gflops: Option<f64>,
    pub(super) share_of_peak: Option<f64>,
}

impl Programs {
    pub(super) fn find(s2s: PathBuf, torch: Option<PathBuf>, jax: Option<PathBuf>) -> Self {
        let can_pin = stdout(command("taskset").arg("--version")).is_ok();
        Self {
            s2s,
            torch,
            jax,
            can_pin,
        }
    }

    pub(super) fn has(&self, contestant: &Contestant) -> bool {
        contestant.program == Program::S2s || self.peer(contestant.program).is_some()
    }

    /// The Python of a peer, if there is one, and its script.
    fn peer(&self, program: Program) -> Option<(&Path, &'static str)> {
        let (python, script) = match program {
            Program::S2s => return None,
            Program::Torch => (&self.torch, "scripts/torch_peer.py"),
            Program::Jax => (&self.jax, "scripts/jax_peer.py"),
        };
        python.as_deref().map(|python| (python, script))
    }

    /// Measures `n` iterations of a contestant.
    pub(super) fn measure(&self, contestant: &Contestant, clock: Clock, n: usize) -> Result<Line> {
        let args = [contestant.args, contestant.sizes].concat();
        match contestant.program {
            Program::S2s => self.bench(&args, clock, n),
            peer => line_of(self.script(peer, &args, clock, n)?),
        }
    }

    /// `s2s bench` with these arguments.
    pub(super) fn bench<A: AsRef<str>>(&self, args: &[A], clock: Clock, n: usize) -> Result<Line> {
        line_of(self.s2s(args, clock, n))
    }

    fn s2s<A: AsRef<str>>(&self, args: &[A], clock: Clock, n: usize) -> Command {
        let mut command = self.start(&self.s2s, clock);
        command.arg("bench").args(args.iter().map(AsRef::as_ref));
        command.arg(format!("--n={n}")).arg("--json");
        command
    }

    fn script(&self, peer: Program, args: &[&str], clock: Clock, n: usize) -> Result<Command> {
        let (python, script) = self.peer(peer).context("no Python was given for it")?;
        let mut command = self.start(python, clock);
        command.arg(script).envs(MALLOC).args(args);
        command.arg(format!("--n={n}"));
        Ok(command)
    }

    fn start(&self, program: &Path, clock: Clock) -> Command {
        match self.can_pin && clock == Clock::Cpu {
            true => {
                let mut pinned = command("taskset");
                pinned.args(["-c", "0"]).arg(program);
                pinned.env(CANDLE_THREADS.0, CANDLE_THREADS.1);
                pinned
            }
            false => command(program),
        }
    }
}

impl Line {
    fn last_of(text: &str) -> Result<Self> {
        let line = text.lines().last().context("it printed nothing")?;
        serde_json::from_str(line).with_context(|| format!("in {line:?}"))
    }
}

fn line_of(mut command: Command) -> Result<Line> {
    let text = stdout(command.stderr(Stdio::inherit()))?;
    Line::last_of(&text)
        .with_context(|| format!("reading the output of `{}`", command_line(&command)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::contest::CONTESTS;
    use super::*;

    pub(in super::super) fn line(ms: f64) -> Line {
        Line {
            median_ms: 2.0 * ms,
            cpu_ms: ms,
            peak_mib: Some(ms),
            gflop: None,
            peak_gflops: None,
            share_of_peak: None,
        }
    }

    #[test]
    fn lines_of_all_programs_are_parsed() {
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
    fn one_thread_is_pinned_and_peers_reuse_their_memory() {
        let programs = Programs {
            s2s: "s2s".into(),
            torch: Some("python".into()),
            jax: None,
            can_pin: true,
        };
        let words = |command: &Command| {
            let words = command.get_args().map(|arg| arg.to_string_lossy());
            words.collect::<Vec<_>>().join(" ")
        };
        let contest = CONTESTS[0];
        let ours = programs.s2s(contest.ours.args, contest.clock, 3);
        assert_eq!(
            words(&ours),
            "-c 0 s2s bench step --config=configs/notebook.toml --threads=1 --n=3 --json"
        );
        let literal = contest.rivals[1];
        let theirs = programs
            .script(literal.program, literal.args, contest.clock, 3)
            .unwrap();
        assert_eq!(
            words(&theirs),
            "-c 0 python scripts/torch_peer.py step --variant=literal --n=3"
        );
        assert_eq!(theirs.get_envs().count(), MALLOC.len() + 1);
        assert!(programs.has(&literal) && !programs.has(&contest.rivals[3]));
        assert_eq!(ours.get_envs().count(), 1);
        let on_all_cores = programs.s2s(contest.ours.args, Clock::Wall, 3);
        assert!(words(&on_all_cores).starts_with("bench step"));
    }
}
