//! Contests: ours and its rivals in turns, and how they compare.

use anyhow::Result;
use s2s_lab::statistics::{median, percentage};
use s2s_viz::Table;
use serde::Serialize;

use super::contest::{Clock, Contest, Contestant};
use super::process::{Line, Programs};
use super::setting::{digits, optional};

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

/// Us and one rival.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    contest: &'static str,
    work: &'static str,
    ours: Figures,
    rival: &'static str,
    theirs: Figures,
}

/// All rounds of a contest, `n` iterations each: a result for each rival that there is.
///
/// Every second round goes backwards, so that nobody always follows the same other.
pub(super) fn hold(
    contest: &Contest,
    programs: &Programs,
    rounds: usize,
    n: usize,
) -> Result<Vec<Outcome>> {
    let is_here = |rival: &&Contestant| programs.has(rival);
    let rivals: Vec<&Contestant> = contest.rivals.iter().filter(is_here).collect();
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
    let figures: Vec<Figures> = lines
        .iter()
        .map(|lines| Figures::of(lines, contest.clock))
        .collect();
    let outcome = |(rival, theirs): (&&Contestant, &Figures)| Outcome {
        contest: contest.name,
        work: contest.work,
        ours: figures[0],
        rival: rival.name,
        theirs: *theirs,
    };
    Ok(rivals.iter().zip(&figures[1..]).map(outcome).collect())
}

/// Who comes when in a round.
fn order(n: usize, round: usize) -> Vec<usize> {
    match round % 2 {
        0 => (0..n).collect(),
        _ => (0..n).rev().collect(),
    }
}

impl Figures {
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
    /// How many times as long the rival takes.
    fn ratio(&self) -> f64 {
        self.theirs.ms / self.ours.ms
    }

    /// How many times as much memory the rival holds.
    fn memory_ratio(&self) -> Option<f64> {
        Some(self.theirs.peak_mib? / self.ours.peak_mib?)
    }
}

pub(super) fn table(results: &[Outcome]) -> Table {
    let mib = |figures: &Figures| optional(figures.peak_mib, |mib| format!("{mib:.0}"));
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

/// The page of a race, to be pasted.
pub(super) fn page(results: &[Outcome], setting: &str) -> String {
    format!(
        "## Speed\n\n{}\n\
         Milliseconds of processor time an iteration on one thread, medians, except where wall time \
         is named; the ratio is the rival's time by ours. The share of the peak is that of the \
         necessary operations by the processor time, of what a core's multiply-adds could do in the \
         same process. Memory is the most that the process held.\n\n{setting}",
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
            ours: Figures {
                share_of_peak: Some(0.851),
                ..Figures::of(&[line(ours)], Clock::Cpu)
            },
            rival: "reference",
            theirs: Figures::of(&[line(theirs)], Clock::Cpu),
        }
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
    fn every_second_round_goes_backwards() {
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
