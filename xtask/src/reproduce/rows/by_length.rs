//! The table of results by length: each experiment has some of its rows.

use anyhow::{Context, Result, ensure};
use s2s_lab::{Metric, Outcome, Report};
use s2s_runlog::LengthRecord;

use super::{Row, evaluated, exact, exact_runs, of_group, runs, secs, share};
use crate::docs::Table;

/// Keeps the first two columns, which say what was trained and tested.
fn titled(table: &Table, row: usize, rest: [String; 4]) -> Result<Row> {
    let titles = table
        .rows
        .get(row)
        .context("a row is missing")?
        .iter()
        .take(2);
    Ok(titles.cloned().chain(rest).collect())
}

pub(in crate::reproduce) fn deepmind(report: &Report, table: &Table) -> Result<Vec<Row>> {
    let (best, additive) = (
        runs(report, "location-relative")?,
        runs(report, "additive")?,
    );
    let at = |group: &str| of_group(&best, group, exact);
    let near = at("protocol");
    let far: Vec<f64> = at("far-1000")
        .into_iter()
        .zip(at("far-4000"))
        .map(|(a, b)| a.min(b))
        .collect();
    let farther: Vec<f64> = at("far-40000")
        .into_iter()
        .zip(at("far-100000"))
        .map(|(a, b)| a.min(b))
        .collect();
    let n_of = |group: &str| {
        let rows = best.iter().flat_map(|run| evaluated(run, group));
        let worst = rows.min_by_key(|row| row.n_exact);
        worst.map_or(String::new(), |row| {
            format!("{} of {}", row.n_exact, row.n_sequences)
        })
    };
    let far_additive = of_group(&additive, "far-1000", exact);
    let rows = vec![
        titled(
            table,
            0,
            [
                share(&near),
                exact_runs(&near),
                secs(&best),
                share(&of_group(&additive, "protocol", exact)),
            ],
        )?,
        titled(
            table,
            1,
            [
                format!("{} · {}", n_of("far-1000"), n_of("far-4000")),
                exact_runs(&far),
                secs(&best),
                format!("{} at 1,000", share(&far_additive)),
            ],
        )?,
        titled(
            table,
            2,
            [
                format!("{} · {}", n_of("far-40000"), n_of("far-100000")),
                exact_runs(&farther),
                secs(&best),
                String::new(),
            ],
        )?,
    ];
    Ok(rows)
}

pub(in crate::reproduce) fn grefenstette(report: &Report, table: &Table) -> Result<Vec<Row>> {
    let (best, additive) = (
        runs(report, "location-relative")?,
        runs(report, "additive")?,
    );
    let fine = |row: &LengthRecord| row.fine_accuracy;
    let both = |runs: &[&Outcome]| {
        let values = [
            of_group(runs, "protocol", exact),
            of_group(runs, "protocol", fine),
        ];
        values.map(|values| share(&values)).join(" · ")
    };
    let far = of_group(&best, "far-640", exact);
    let near = of_group(&best, "protocol", exact);
    let rows = vec![
        titled(
            table,
            3,
            [both(&best), exact_runs(&near), secs(&best), both(&additive)],
        )?,
        titled(
            table,
            4,
            [
                share(&far),
                exact_runs(&far),
                secs(&best),
                share(&of_group(&additive, "far-640", exact)),
            ],
        )?,
    ];
    Ok(rows)
}

pub(in crate::reproduce) fn joeynmt(report: &Report, table: &Table) -> Result<Vec<Row>> {
    let (best, additive) = (
        runs(report, "location-relative")?,
        runs(report, "additive")?,
    );
    let exact = |runs: &[&Outcome]| -> Vec<f64> {
        let values = runs.iter().filter_map(|run| run.metric(Metric::ExactMatch));
        values.collect()
    };
    let found = exact(&best);
    let rest = [
        share(&found),
        exact_runs(&found),
        secs(&best),
        share(&exact(&additive)),
    ];
    Ok(vec![titled(table, 5, rest)?])
}

/// All tasks together, for the table of results by length.
pub(in crate::reproduce) fn transducer_by_length(
    report: &Report,
    table: &Table,
) -> Result<Vec<Row>> {
    let cells = &report.plan.experiment.cells;
    let runs: Vec<&Outcome> = report.outcomes.iter().collect();
    ensure!(!runs.is_empty(), "the experiment has no run");
    let far = of_group(&runs, "far", exact);
    let sequences = runs.iter().flat_map(|run| evaluated(run, "far"));
    let n_sequences: u64 = sequences.map(|row| row.n_sequences).sum();
    let rest = [
        format!(
            "{} of {} each",
            share(&far),
            n_sequences / cells.len() as u64
        ),
        exact_runs(&far),
        secs(&runs),
        String::new(),
    ];
    Ok(vec![titled(table, 6, rest)?])
}

/// The longest sequence of location-relative attention, for the table of results by length.
pub(in crate::reproduce) fn million_by_length(report: &Report, table: &Table) -> Result<Vec<Row>> {
    let runs = runs(report, "location-relative")?;
    let longest = of_longest(&runs, "million");
    let rest = [
        share(&longest),
        exact_runs(&longest),
        secs(&runs),
        String::new(),
    ];
    Ok(vec![titled(table, 7, rest)?])
}

/// Exact match of each run at the longest length of a group.
fn of_longest(runs: &[&Outcome], group: &str) -> Vec<f64> {
    let of_run = |run: &&Outcome| {
        let rows = evaluated(run, group).into_iter();
        rows.max_by_key(|row| row.length).map(exact)
    };
    runs.iter().filter_map(of_run).collect()
}
