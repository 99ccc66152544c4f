//! Contests between s2s and its rivals.

use anyhow::Result;
use s2s_lab::statistics::{median, percentage};
use s2s_viz::Table;
use serde::Serialize;

use super::contest::{Clock, Contest, Contestant};
use super::process::{Line, Programs};
use super::setting::{digits, optional};

/// The measurements of one contestant over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Measured {
    /// Median of the medians of all rounds, by the clock of the contest.
    ms: f64,
    /// Median.
    share_of_peak: Option<f64>,
    /// Maximum.
    peak_mib: Option<f64>,
}

/// s2s and one rival.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    contest: &'static str,
    work: &'static str,
    ours: Measured,
    rival: &'static str,
    theirs: Measured,
}

/// Runs all rounds of a contest, `n` iterations per process. Returns a result for each available rival.
///
/// Every second round is in reverse order, so that no contestant always follows the same one.
pub(super) fn run(
    contest: &Contest,
    programs: &Programs,
    rounds: usize,
    n: usize,
) -> Result<Vec<Outcome>> {
    let is_available = |rival: &&Contestant| programs.has(rival);
    let rivals: Vec<&Contestant> = contest.rivals.iter().filter(is_available).collect();
    if rivals.is_empty() {
        return Ok(Vec::new());
    }
    let all: Vec<&Contestant> = [&contest.ours].into_iter().chain(rivals.clone()).collect();
    let mut lines: Vec<Vec<Line>> = vec![Vec::new(); all.len()];
    for round in 0..rounds {
        eprintln!("{}: round {} of {rounds}", contest.name, round + 1);
        for turn in order(all.len(), round) {
            lines[turn].push(programs.measure(all[turn], contest.clock, n * contest.scale)?);
        }
    }
    let measured: Vec<Measured> = lines
        .iter()
        .map(|lines| Measured::of(lines, contest.clock))
        .collect();
    let outcome = |(rival, theirs): (&&Contestant, &Measured)| Outcome {
        contest: contest.name,
        work: contest.work,
        ours: measured[0],
        rival: rival.name,
        theirs: *theirs,
    };
    Ok(rivals.iter().zip(&measured[1..]).map(outcome).collect())
}

/// The order of the contestants in a round.
fn order(n: usize, round: usize) -> Vec<usize> {
    match round % 2 {
        0 => (0..n).collect(),
        _ => (0..n).rev().collect(),
    }
}

impl Measured {
    fn of(lines: &[Line], clock: Clock) -> Self {
        let ms = lines.iter().map(|line| match clock {
            Clock::Cpu => line.cpu_ms,
            Clock::Wall => line.median_ms,
        });
        let shares = lines.iter().filter_map(|line| line.share_of_peak);
        Self {
            ms: median(&ms.collect::<Vec<_>>()).unwrap_or(f64::NAN),
            share_of_peak: median(&shares.collect::<Vec<_>>()),
            peak_mib: lines
                .iter()
                .filter_map(|line| line.peak_mib)
                .reduce(f64::max),
        }
    }
}

impl Outcome {
    /// The rival's time, divided by ours.
    fn ratio(&self) -> f64 {
        self.theirs.ms / self.ours.ms
    }

    /// The rival's memory, divided by ours.
    fn memory_ratio(&self) -> Option<f64> {
        Some(self.theirs.peak_mib? / self.ours.peak_mib?)
    }
}

pub(super) fn table(results: &[Outcome]) -> Table {
    let mib = |measured: &Measured| optional(measured.peak_mib, |mib| format!("{mib:.0}"));
    let times = |ratio: f64| format!("{ratio:.2}");
    let column =
        |cell: &dyn Fn(&Outcome) -> String| -> Vec<String> { results.iter().map(cell).collect() };
    Table::new()
        .column("work", column(&|outcome| outcome.work.to_owned()))
        .column("ours, ms", column(&|outcome| digits(outcome.ours.ms)))
        .column(
            "share of peak",
            column(&|outcome| {
                optional(outcome.ours.share_of_peak, |share| {
                    format!("{} %", percentage(share, 0))
                })
            }),
        )
        .column("rival", column(&|outcome| outcome.rival.to_owned()))
        .column("rival, ms", column(&|outcome| digits(outcome.theirs.ms)))
        .column("ratio", column(&|outcome| times(outcome.ratio())))
        .column("ours, MiB", column(&|outcome| mib(&outcome.ours)))
        .column("rival, MiB", column(&|outcome| mib(&outcome.theirs)))
        .column(
            "ratio of memory",
            column(&|outcome| optional(outcome.memory_ratio(), times)),
        )
}

/// The page of a race.
pub(super) fn page(results: &[Outcome], setting: &str) -> String {
    format!(
        "## Speed\n\n{}\n\
         Median milliseconds of processor time per iteration on one thread, or of wall time where \
         stated. Ratio: the rival's time divided by ours. Share of peak: the necessary operations per \
         second of processor time, divided by the peak rate of multiply-adds on one core, measured \
         in the same process. Memory: the peak of the process.\n\n{setting}",
        table(results).markdown(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::process::tests::line;
    use super::*;

    fn outcome(ours: f64, theirs: f64) -> Outcome {
        Outcome {
            contest: "step",
            work: "a step",
            ours: Measured {
                share_of_peak: Some(0.851),
                ..Measured::of(&[line(ours)], Clock::Cpu)
            },
            rival: "reference",
            theirs: Measured::of(&[line(theirs)], Clock::Cpu),
        }
    }

    #[test]
    fn rounds_are_summarized_by_the_clock_of_the_contest() {
        let lines = [line(3.0), line(1.0), line(2.0), line(10.0)];
        assert_eq!(Measured::of(&lines, Clock::Cpu).ms, 2.5);
        assert_eq!(Measured::of(&lines, Clock::Wall).ms, 5.0);
        assert_eq!(Measured::of(&lines, Clock::Cpu).peak_mib, Some(10.0));
        assert_eq!(Measured::of(&lines, Clock::Cpu).share_of_peak, None);
    }

    #[test]
    fn every_second_round_is_reversed() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [2, 1, 0]);
    }

    #[test]
    fn a_rival_that_takes_longer_has_a_ratio_above_one() {
        assert_eq!(outcome(2.0, 5.0).ratio(), 2.5);
        let table = table(&[outcome(250.0, 1000.0)]).markdown();
        let row = table.lines().last().unwrap_or_default();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let expected = ["a step", "250", "85 %", "reference", "1000", "4.00"];
        assert_eq!(cells[1..7], expected);
        assert_eq!(cells[7..10], ["250", "1000", "4.00"]);
    }
}
