//! The report as a page that stands by itself: question, figures, and how to get them again.

use std::iter;

use s2s_runlog::{Environment, RunRecord, RunStatus};
use s2s_viz::Table;

use super::by_length;
use super::outcome::Outcome;
use super::report::{NOTHING, Report};
use super::settings::{Settings, differing};

pub(crate) fn render(report: &Report) -> String {
    let experiment = &report.plan.experiment;
    let sections = [
        format!("# {}", experiment.title),
        experiment.question.clone(),
        "## Result".to_owned(),
        report.summary_table().markdown(),
        explanation(report),
        lengths(report),
        "## Curves".to_owned(),
        pictures(report),
        "## Runs".to_owned(),
        runs(report).markdown(),
        "## Configuration".to_owned(),
        configuration(report),
        "## Commands".to_owned(),
        commands(report),
        "## Environment".to_owned(),
        environments(&report.outcomes).markdown(),
    ];
    let sections = sections.iter().map(|section| section.trim_end());
    let written: Vec<&str> = sections.filter(|section| !section.is_empty()).collect();
    written.join("\n\n") + "\n"
}

fn explanation(report: &Report) -> String {
    let tests = report.outcomes.iter().flat_map(|run| &run.record.test);
    let sizes: Vec<u64> = tests.map(|test| test.n_sequences).collect();
    let size = match (sizes.iter().min(), sizes.iter().max()) {
        (Some(least), Some(most)) if least == most => format!("{most} sequences"),
        (Some(least), Some(most)) => format!("{least} to {most} sequences"),
        _ => "never reached".to_owned(),
    };
    format!(
        "Figures of the test split ({size}), under the parameters of the least validation loss. \
         The model is fed its own output, save for the forced loss. A sequence matches exactly if \
         every token and the end are right. Losses are nats a token; the time is that of training \
         and validation. Spread is over seeds; sd is the sample standard deviation."
    )
}

/// What was found by length; nothing if it was not asked for.
fn lengths(report: &Report) -> String {
    let tables = by_length::tables(report);
    if tables.is_empty() {
        return String::new();
    }
    let findings: Vec<String> = by_length::findings(report)
        .iter()
        .map(|finding| format!("* {finding}"))
        .collect();
    let tables: Vec<String> = tables
        .iter()
        .map(|(title, table)| format!("{title}\n\n{}", table.markdown()))
        .collect();
    let pictures: Vec<String> = by_length::plots(report)
        .iter()
        .map(|(name, plot)| format!("![{}](plots/{name}.svg)", plot.title))
        .collect();
    format!(
        "## By length\n\n{}\n\n{}\nSequences of the test split, of each length by itself. The first table \
         of each group has means over its lengths, each length counting the same. `eos`: the output \
         ends when the model says EOS, and EOS counts as a token; `oracle`: it is told the length, \
         EOS is ignored. Fine accuracy is the share of the tokens before the first error. Intervals \
         are Wilson's, over the sequences of all seeds: they speak of these models. All lengths \
         stand in `lengths.csv`, beside the runs. Every step looks at all positions, so that the time of \
         a sequence grows with the square of its length, and memory with its length.\n\n{}",
        findings.join("\n"),
        tables.join("\n"),
        pictures.join("\n\n"),
    )
}

fn pictures(report: &Report) -> String {
    let plots = report.plots();
    let pictures = plots
        .iter()
        .map(|(curve, _)| format!("![{}](plots/{}.svg)", curve.title(), curve.key()));
    pictures.collect::<Vec<_>>().join("\n\n")
}

/// Every run with its own figures.
fn runs(report: &Report) -> Table {
    let outcomes = || report.outcomes.iter();
    let best = |record: &RunRecord| match record.best_step {
        Some(step) => step.to_string(),
        None => NOTHING.to_owned(),
    };
    let mut table = Table::new()
        .column("run", outcomes().map(|run| run.job.name()))
        .column("end", outcomes().map(|run| end(run.record.status)))
        .column("steps", outcomes().map(|run| run.record.step))
        .column("best step", outcomes().map(|run| best(&run.record)))
        .column("parameters", outcomes().map(|run| run.record.n_parameters));
    for figure in &report.plan.experiment.table {
        let cells = outcomes().map(|run| match figure.value(run) {
            Some(value) => format!("{value:.*}", figure.decimals(value)),
            None => NOTHING.to_owned(),
        });
        table = table.column(figure.title(), cells);
    }
    table
}

fn end(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Finished => "all steps",
        RunStatus::StoppedEarly => "stopped early",
        RunStatus::TargetReached => "target reached",
        RunStatus::Diverged => "diverged",
        RunStatus::Running | RunStatus::Interrupted => "unfinished",
    }
}

/// What differs between the cells, and then what does not.
fn configuration(report: &Report) -> String {
    let cells = report.plan.experiment.cells.iter();
    let firsts: Vec<&Outcome> = cells
        .filter_map(|cell| report.outcomes_of(cell).next())
        .collect();
    let settings: Vec<&Settings> = firsts.iter().map(|run| &run.settings).collect();
    let keys = differing(&settings);
    let mut table = Table::new().column("key", &keys);
    for run in &firsts {
        let value = |key: &String| match run.settings.get(key) {
            Some(value) => value.to_string(),
            None => NOTHING.to_owned(),
        };
        table = table.column(&run.job.cell, keys.iter().map(value));
    }
    let is_common = |key: &String| key != "seed" && !keys.contains(key);
    let common: Vec<String> = settings[0]
        .iter()
        .filter(|(key, _)| is_common(key))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let differences = match keys.is_empty() {
        true => String::new(),
        false => format!("What the cells differ in:\n\n{}\n", table.markdown()),
    };
    let common = common.join("\n");
    format!("{differences}What they have in common, but for the seed:\n\n```toml\n{common}\n```")
}

fn commands(report: &Report) -> String {
    let runs = report.outcomes.iter().flat_map(|run| {
        let groups = report.plan.lengths_of(&run.job);
        let evaluations = groups.map(|group| group.evaluate(&run.job.folder));
        let commands = iter::once(run.job.train()).chain(evaluations);
        commands.map(|words| {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            format!("s2s {}", words.join(" "))
        })
    });
    let runs: Vec<String> = runs.collect();
    format!(
        "```sh\ncargo xtask experiment {}\n```\n\nIt starts these, with the release binary of `s2s-cli`:\n\n```sh\n{}\n```",
        report.plan.name,
        runs.join("\n")
    )
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A column for each environment that runs were made in; as a rule there is one.
fn environments(outcomes: &[Outcome]) -> Table {
    let mut groups: Vec<([String; 8], Vec<String>)> = Vec::new();
    for run in outcomes {
        let nothing = || NOTHING.to_owned();
        let found = match &run.environment {
            Some(environment) => rows(environment),
            None => std::array::from_fn(|_| nothing()),
        };
        let [version, platform, cpu, cores, threads, device, kernels] = found;
        let date = run.date.clone().unwrap_or_else(nothing);
        let rows = [
            date, version, platform, cpu, cores, threads, device, kernels,
        ];
        match groups.iter_mut().find(|(other, _)| *other == rows) {
            Some((_, names)) => names.push(run.job.name()),
            None => groups.push((rows, vec![run.job.name()])),
        }
    }
    let is_one = groups.len() == 1;
    let names = [
        "date", "s2s", "platform", "CPU", "cores", "threads", "device", "kernels",
    ];
    let mut table = Table::new().column("", names);
    for (rows, runs) in groups {
        let name = match is_one {
            true => "all runs".to_owned(),
            false => runs.join(", "),
        };
        table = table.column(name, rows);
    }
    table
}

fn rows(environment: &Environment) -> [String; 7] {
    [
        environment.version.clone(),
        environment.platform.clone(),
        environment.cpu.clone(),
        environment.cores.to_string(),
        environment.threads.to_string(),
        environment.device.clone(),
        environment.kernels.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::outcome::fixtures;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_or_change_them() {
        assert_eq!(quoted("train.epochs=3"), "train.epochs=3");
        assert_eq!(quoted(r#"task="copy""#), r#"'task="copy"'"#);
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn runs_of_other_machines_stand_apart() {
        let mut outcomes = fixtures::report().outcomes;
        assert!(environments(&outcomes).markdown().contains("all runs"));
        outcomes[1].environment.as_mut().unwrap().cpu = "another".to_owned();
        let table = environments(&outcomes).markdown();
        assert!(table.contains("| additive-seed1 |"), "{table}");
        assert!(
            table.contains("| additive-seed0, none-seed0, none-seed1 |"),
            "{table}"
        );
    }
}
