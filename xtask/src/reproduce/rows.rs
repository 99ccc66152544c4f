//! Rows of tables from the records of runs.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use s2s_lab::statistics::{Summary, exponent, mean, median, percent, percentage};
use s2s_lab::{LengthOutcome, Metric, Outcome, Report};
use s2s_runlog::{
    DecodingMode, EvalRecord, LengthRecord, MetricsRecord, RunDir, RunRecord, TextScores,
    TimingRecord, read_json, read_lines,
};

use crate::docs::Table;

type Row = Vec<String>;

pub(super) fn seed(seed: &str, run: &RunDir) -> Result<Row> {
    let record: RunRecord = read_json(run.run())?;
    let test = record.test.context("the run was not evaluated")?;
    Ok(vec![
        seed.to_owned(),
        percent(test.exact_match),
        percent(test.token_accuracy),
        format!("{:.4}", test.loss),
        format!("{:.0} s", train_secs(run)?),
    ])
}

/// What `s2s eval --references --json` prints.
pub(super) fn text_scores(evaluated: &str) -> Result<TextScores> {
    let test: EvalRecord = serde_json::from_str(evaluated.trim())?;
    test.text.context("the data of the run are not text")
}

/// What a row of [`g2p`] shows.
pub(super) const G2P_HEADER: [&str; 8] = [
    "model",
    "word errors, greedy",
    "phoneme errors",
    "word errors, beam of 5",
    "phoneme errors",
    "no output of 5 correct",
    "parameters",
    "time",
];

/// Evaluations of a pronunciation model, greedily and with a beam: error rates. `run` adds the size and
/// the time.
pub(super) fn g2p(model: &str, evaluated: &[String; 2], run: Option<&RunDir>) -> Result<Row> {
    let of_run = |run: &RunDir| -> Result<[String; 2]> {
        let record: RunRecord = read_json(run.run())?;
        Ok([
            format!("{:.1} M", record.n_parameters as f64 / 1e6),
            format!("{:.0} min", train_secs(run)? / 60.0),
        ])
    };
    let [greedy, beam] = evaluated;
    let [greedy, beam] = [text_scores(greedy)?, text_scores(beam)?];
    let best = beam.n_best.context("the evaluation has no --n-best")?;
    let [parameters, time] = run.map(of_run).transpose()?.unwrap_or_default();
    let mut row = vec![model.to_owned()];
    row.extend([greedy, beam].iter().flat_map(|text| {
        let words = percent(1.0 - text.exact_match);
        [words, percent(text.token_error_rate)]
    }));
    row.extend([percent(1.0 - best.exact_match), parameters, time]);
    Ok(row)
}

/// A number with commas between its thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// Validation exact match at the end of each epoch, beside what the notebook's plot shows.
pub(super) fn notebook(run: &RunDir) -> Result<Vec<Row>> {
    const PLOT: [(u64, &str); 4] = [(1, "91.5"), (6, "99.95"), (19, "97.2"), (20, "99.3")];
    let metrics: Vec<MetricsRecord> = read_lines(run.metrics())?;
    let whole = metrics.iter().filter_map(|record| {
        let epoch = record
            .epoch
            .filter(|epoch| epoch.fract() == 0.0 && *epoch > 0.0)?;
        Some((epoch as u64, record.val_exact_match))
    });
    let row = |(epoch, exact): (u64, f64)| {
        let plotted = PLOT.iter().find(|(other, _)| *other == epoch);
        vec![
            epoch.to_string(),
            percentage(exact, 1),
            plotted.map_or(String::new(), |(_, value)| (*value).to_owned()),
        ]
    };
    Ok(whole.map(row).collect())
}

pub(super) fn train_secs(run: &RunDir) -> Result<f64> {
    let timing: Vec<TimingRecord> = read_lines(run.timing())?;
    Ok(timing.iter().map(|t| t.train_secs + t.eval_secs).sum())
}

/// The runs of a cell.
fn runs<'a>(report: &'a Report, cell: &str) -> Result<Vec<&'a Outcome>> {
    let runs = report.outcomes.iter().filter(|run| run.job.cell == cell);
    let runs: Vec<&Outcome> = runs.collect();
    ensure!(!runs.is_empty(), "the experiment has no run of {cell}");
    Ok(runs)
}

/// The free-running rows of a group of lengths of a run.
fn evaluated<'a>(run: &'a Outcome, group: &str) -> Vec<&'a LengthRecord> {
    let found = run.lengths.iter().filter(|lengths| lengths.group == group);
    let rows = found.flat_map(|lengths| &lengths.record.rows);
    rows.filter(|row| row.mode == DecodingMode::Eos).collect()
}

/// The mean over the lengths of a group, each with the same weight, of each run.
fn of_group(runs: &[&Outcome], group: &str, value: fn(&LengthRecord) -> f64) -> Vec<f64> {
    let of_run = |run: &&Outcome| {
        let values: Vec<f64> = evaluated(run, group).into_iter().map(value).collect();
        mean(&values)
    };
    runs.iter().filter_map(of_run).collect()
}

fn share(values: &[f64]) -> String {
    mean(values).map_or(String::new(), |share| format!("{} %", percentage(share, 1)))
}

/// How many runs have everything right.
fn exact_runs(values: &[f64]) -> String {
    let n_exact = values.iter().filter(|value| **value == 1.0).count();
    format!("{n_exact} of {}", values.len())
}

fn secs(runs: &[&Outcome]) -> String {
    let secs: Vec<f64> = runs.iter().map(|run| run.train_secs).collect();
    format!("{:.1}", mean(&secs).unwrap_or(0.0))
}

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

fn exact(row: &LengthRecord) -> f64 {
    row.exact_match
}

pub(super) fn deepmind(report: &Report, table: &Table) -> Result<Vec<Row>> {
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

pub(super) fn grefenstette(report: &Report, table: &Table) -> Result<Vec<Row>> {
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

pub(super) fn joeynmt(report: &Report, table: &Table) -> Result<Vec<Row>> {
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

/// Exact match in % at each length, and how many runs have every sequence right.
fn at_lengths(report: &Report, cell: &str, group: &str) -> Result<Vec<(usize, String)>> {
    let runs = runs(report, cell)?;
    let lengths: Vec<usize> = evaluated(runs[0], group)
        .iter()
        .map(|row| row.length)
        .collect();
    let at = |length: usize| {
        let rows = runs.iter().flat_map(|run| evaluated(run, group));
        let rows = rows.filter(|row| row.length == length);
        let values: Vec<f64> = rows.map(|row| row.exact_match).collect();
        let n_exact = values.iter().filter(|value| **value == 1.0).count();
        let text = match mean(&values) {
            Some(0.0) | None => "0".to_owned(),
            Some(mean) => format!("{} ({n_exact})", percentage(mean, 1)),
        };
        (length, text)
    };
    Ok(lengths.into_iter().map(at).collect())
}

pub(super) fn mechanisms(report: &Report, mut table: Table) -> Result<Table> {
    let cells = &report.plan.experiment.cells;
    ensure!(
        table.rows.len() == cells.len(),
        "docs/measurements/mechanisms.json must have a row for each cell"
    );
    for (row, cell) in table.rows.iter_mut().zip(cells) {
        let found = at_lengths(report, &cell.name, "far")?;
        row.truncate(2); // the mechanism and its start
        row.extend(found.into_iter().map(|(_, text)| text));
    }
    Ok(table)
}

/// The share of exact sequences at which a run counts as one that does a task.
const MOSTLY: f64 = 0.95;

/// One row for each mechanism, one column for each task: how many runs do it at the longest length of training,
/// and at 2, 5 and 12.5 times this length.
pub(super) fn tasks(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["mechanism".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let task = cell
            .settings
            .get("data.task")
            .and_then(|task| task.as_str());
        let task = task.context("a cell has no task")?;
        let mechanism = cell
            .name
            .strip_suffix(task)
            .context("a cell is not named after its task")?;
        let mechanism = mechanism.trim_end_matches('-').to_owned();
        if !table.header.iter().any(|title| title == task) {
            table.header.push(task.to_owned());
        }
        let runs = runs(report, &cell.name)?;
        let at = |length: usize| {
            let rows = runs.iter().flat_map(|run| evaluated(run, "range"));
            let rows = rows.filter(|row| row.length == length);
            rows.filter(|row| exact(row) >= MOSTLY).count().to_string()
        };
        let found = [40, 80, 200, 500].map(at).join(" ");
        match table.rows.iter_mut().find(|row| row[0] == mechanism) {
            Some(row) => row.push(found),
            None => table.rows.push(vec![mechanism, found]),
        }
    }
    table.align = format!("l{}", "r".repeat(table.header.len() - 1));
    Ok(table)
}

pub(super) fn teacher_forcing(report: &Report, mut table: Table) -> Result<Table> {
    table.header = ["teacher forcing", "exact match", "loss", "exposure gap"]
        .map(str::to_owned)
        .into();
    table.align = "lrrr".to_owned();
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let runs = runs(report, &cell.name)?;
        let of = |metric: Metric| -> Vec<f64> {
            runs.iter().filter_map(|run| run.metric(metric)).collect()
        };
        let number =
            |metric: Metric| mean(&of(metric)).map_or(String::new(), |x| format!("{x:.5}"));
        table.rows.push(vec![
            cell.name.clone(),
            mean(&of(Metric::ExactMatch)).map_or(String::new(), percent),
            number(Metric::Loss),
            number(Metric::ExposureGap),
        ]);
    }
    Ok(table)
}

/// How many runs needed another attempt than the first.
fn restarted(runs: &[&Outcome]) -> String {
    let is_later = |run: &&&Outcome| {
        let last = run.metrics.last().and_then(|last| last.attempt.as_ref());
        last.is_some_and(|attempt| attempt.index > 0)
    };
    runs.iter().filter(is_later).count().to_string()
}

pub(super) fn transducer(report: &Report, mut table: Table) -> Result<Table> {
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let runs = runs(report, &cell.name)?;
        let [beyond, far] = ["beyond", "far"].map(|group| of_group(&runs, group, exact));
        let worst: Vec<f64> = beyond.iter().zip(&far).map(|(a, b)| a.min(*b)).collect();
        table.rows.push(vec![
            cell.name.clone(),
            share(&beyond),
            share(&far),
            exact_runs(&worst),
            restarted(&runs),
            secs(&runs),
        ]);
    }
    Ok(table)
}

/// All tasks together, for the table of results by length.
pub(super) fn transducer_by_length(report: &Report, table: &Table) -> Result<Vec<Row>> {
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
pub(super) fn million_by_length(report: &Report, table: &Table) -> Result<Vec<Row>> {
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

/// One row for each task, three columns for each number of symbols.
pub(super) fn symbols(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["task".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let (symbols, task) = cell.name.split_once('-').context("a cell has no task")?;
        let column = format!("{symbols} symbols: exact at 40 to 1,000");
        if !table.header.contains(&column) {
            let more = ["exact seeds", "training, s"].map(str::to_owned);
            table.header.extend([column].into_iter().chain(more));
        }
        let runs = runs(report, &cell.name)?;
        let beyond = of_group(&runs, "beyond", exact);
        let found = [share(&beyond), exact_runs(&beyond), secs(&runs)];
        match table.rows.iter_mut().find(|row| row[0] == task) {
            Some(row) => row.extend(found),
            None => {
                let row = [task.to_owned()].into_iter().chain(found);
                table.rows.push(row.collect());
            }
        }
    }
    table.align = format!("l{}", "r".repeat(table.header.len() - 1));
    Ok(table)
}

/// Time and memory of a sequence, over the seeds: the first model at every length, the others at their longest.
pub(super) fn long(report: &Report, mut table: Table) -> Result<Table> {
    table.header = [
        "model",
        "symbols",
        "seconds, median of seeds",
        "slowest seed",
        "peak memory, MiB",
        "exact seeds",
        "exponent of time",
    ]
    .map(str::to_owned)
    .into();
    table.align = "lrrrrrr".to_owned();
    table.rows.clear();
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or(String::new(), |value| format!("{value:.decimals$}"))
    };
    for (index, cell) in report.plan.experiment.cells.iter().enumerate() {
        let runs = runs(report, &cell.name)?;
        let evaluations: Vec<&LengthOutcome> = runs.iter().flat_map(|run| &run.lengths).collect();
        let exponents: Vec<f64> = evaluations
            .iter()
            .filter_map(|found| time_exponent(found))
            .collect();
        let rows = || evaluations.iter().flat_map(|found| &found.record.rows);
        let lengths: BTreeSet<usize> = rows().map(|row| row.length).collect();
        let n_hidden = if index > 0 {
            lengths.len().saturating_sub(1)
        } else {
            0
        };
        for &length in lengths.iter().skip(n_hidden) {
            let timing = || {
                let all = evaluations.iter().flat_map(|found| &found.timing);
                all.filter(|timing| timing.length == length)
            };
            let secs: Vec<f64> = timing().map(|timing| timing.secs).collect();
            let secs = Summary::new(&secs);
            let peak = timing()
                .filter_map(|timing| timing.peak_mib)
                .reduce(f64::max);
            let at = rows().filter(|row| row.length == length);
            let at: Vec<f64> = at.map(|row| row.exact_match).collect();
            let is_last = lengths.last() == Some(&length);
            table.rows.push(vec![
                cell.name.clone(),
                grouped(length as u64),
                number(secs.map(|secs| secs.median), 3),
                number(secs.map(|secs| secs.max), 3),
                number(peak, 0),
                exact_runs(&at),
                number(median(&exponents).filter(|_| is_last), 2),
            ]);
        }
    }
    Ok(table)
}

/// The exponent of time over length within one evaluation of one sequence for each length.
fn time_exponent(evaluation: &LengthOutcome) -> Option<f64> {
    let points = evaluation
        .timing
        .iter()
        .map(|timing| (timing.length as f64, timing.secs));
    exponent(&points.collect::<Vec<_>>())
}

/// One row for each task, one column for each length.
pub(super) fn further(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["task".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let found = at_lengths(report, &cell.name, "beyond")?;
        if table.header.len() == 1 {
            let lengths = found.iter().map(|(length, _)| grouped(*length as u64));
            table.header.extend(lengths);
            table
                .header
                .extend(["restarted", "training, s"].map(str::to_owned));
        }
        let runs = runs(report, &cell.name)?;
        let mut row = vec![cell.name.clone()];
        row.extend(found.into_iter().map(|(_, text)| text));
        row.extend([restarted(&runs), secs(&runs)]);
        table.rows.push(row);
    }
    table.align = format!("l{}", "r".repeat(table.header.len() - 1));
    Ok(table)
}

/// One row for each recipe, one column for each task: how many runs are exact in range and far beyond, and
/// how many restarted.
pub(super) fn ablations(report: &Report, mut table: Table) -> Result<Table> {
    table.header = vec!["recipe".to_owned()];
    table.rows.clear();
    for cell in &report.plan.experiment.cells {
        let [recipe, task] = &cell.values[..] else {
            bail!("{} is not of two axes", cell.name);
        };
        let runs = runs(report, &cell.name)?;
        let exact_at = |length: usize| {
            let rows = runs.iter().flat_map(|run| evaluated(run, "beyond"));
            let rows = rows.filter(|row| row.length == length);
            rows.filter(|row| row.exact_match == 1.0).count()
        };
        let found = [40, 80, 1000].map(|length| exact_at(length).to_string());
        let found = format!("{} ({})", found.join(" · "), restarted(&runs));
        let column = position_of(&mut table.header, task);
        let recipe = recipe.replace('-', " ");
        let row = match table.rows.iter().position(|row| row[0] == recipe) {
            Some(row) => row,
            None => {
                table.rows.push(vec![recipe]);
                table.rows.len() - 1
            }
        };
        let row = &mut table.rows[row];
        row.resize(row.len().max(column + 1), String::new());
        row[column] = found;
    }
    let n_columns = table.header.len();
    for row in &mut table.rows {
        row.resize(n_columns, String::new()); // a recipe without a task
    }
    table.align = format!("l{}", "r".repeat(n_columns - 1));
    Ok(table)
}

/// The position of a title, which is added if it is new.
fn position_of(header: &mut Vec<String>, title: &str) -> usize {
    match header.iter().position(|known| known == title) {
        Some(position) => position,
        None => {
            header.push(title.to_owned());
            header.len() - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_of_text_are_a_row() {
        let evaluated = |exact_match, n_best| {
            format!(
                r#"{{"split": "test", "step": 9, "n_sequences": 7000, "n_tokens": 50, "loss": 0.5,
                "forced_loss": 0.5, "token_accuracy": 0.9, "exact_match": 0.8, "text": {{"unknown_tokens": 0.0,
                "n_truncated": 0, "exact_match": {exact_match}, "n_sources": 6330, "token_error_rate": 0.0625,
                "char_error_rate": 0.0, "bleu": 0.0, "chrf": 0.0{n_best}}}}}"#
            )
        };
        let n_best = r#", "n_best": {"n": 5, "exact_match": 0.9}"#;
        let both = [evaluated(0.75, ""), evaluated(0.8, n_best)];
        let expected = [
            "one", "25.00 %", "6.25 %", "20.00 %", "6.25 %", "10.00 %", "", "",
        ];
        assert_eq!(g2p("one", &both, None).unwrap(), expected);
        assert_eq!(expected.len(), G2P_HEADER.len());
    }

    #[test]
    fn thousands_are_separated() {
        for (n, text) in [
            (7, "7"),
            (640, "640"),
            (6330, "6,330"),
            (1_000_000, "1,000,000"),
        ] {
            assert_eq!(grouped(n), text);
        }
    }
}
