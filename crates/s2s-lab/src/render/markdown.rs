//! The report as a page: question, results, and how to reproduce them.

use std::iter;

use s2s_runlog::{Environment, RunStatus};
use s2s_viz::Table;

use super::picture::Picture;
use super::{ABSENT, MAX_SHOWN, comparisons, head, is_plotted, lengths, metrics, plots};
use crate::cell::Job;
use crate::event::count;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::process::shell_words;
use crate::report::Report;
use crate::settings::{Settings, differing};

pub(super) fn render(report: &Report) -> String {
    let experiment = &report.plan.experiment;
    let sections = [
        format!("# {}", experiment.title),
        experiment.question.clone(),
        "## Results".to_owned(),
        pending(report),
        metrics::constants(report).join(" "),
        metrics::too_few_seeds(report).unwrap_or_default(),
        results(report),
        explanation(report),
        dots(report),
        compared(report),
        by_length(report),
        curves(report),
        "## Runs".to_owned(),
        runs(report),
        "## Configuration".to_owned(),
        configuration(report),
        "## Commands".to_owned(),
        commands(report),
        "## Environment".to_owned(),
        environments(&report.outcomes).markdown(),
        moved(&report.outcomes),
    ];
    let sections = sections.iter().map(|section| section.trim_end());
    let written: Vec<&str> = sections.filter(|section| !section.is_empty()).collect();
    written.join("\n\n") + "\n"
}

fn results(report: &Report) -> String {
    let others = "`report.html` and `cells.csv` have all";
    let n_rows = metrics::n_rows(report);
    metrics::table(report).map_or(String::new(), |table| {
        head(&table, n_rows, Table::markdown, others)
    })
}

fn curves(report: &Report) -> String {
    match is_plotted(report) {
        true => format!("## Curves\n\n{}", titled_pictures(&plots::pictures(report))),
        false => String::new(),
    }
}

/// A statement if runs are missing.
fn pending(report: &Report) -> String {
    const MAX_SHOWN: usize = 10;
    let n_pending = report.pending.len();
    if n_pending == 0 {
        return String::new();
    }
    let names = report.pending.iter().map(Job::name);
    let names: Vec<String> = names.take(MAX_SHOWN).collect();
    let more = if n_pending > MAX_SHOWN { ", ..." } else { "" };
    format!(
        "**Incomplete**: {} of {} runs are finished; missing: {}{more}.",
        report.outcomes.len(),
        report.outcomes.len() + n_pending,
        names.join(", ")
    )
}

fn explanation(report: &Report) -> String {
    let tests = report.outcomes.iter().flat_map(|run| &run.record.test);
    let sizes: Vec<u64> = tests.map(|test| test.n_sequences).collect();
    let size = match (sizes.iter().min(), sizes.iter().max()) {
        (Some(min), Some(max)) if min == max => format!("{max} sequences"),
        (Some(min), Some(max)) => format!("{min} to {max} sequences"),
        _ => "never evaluated".to_owned(),
    };
    format!(
        "Metrics of the test split ({size}), with the parameters of the lowest validation loss. The \
         model is free-running, except for the teacher-forced loss. An output is an exact match if \
         all its tokens and its end are correct. Losses are in nats per token; time is the wall time \
         of training and validation. Mean, sample standard deviation (sd), {}minimum and maximum are \
         over {}.",
        estimators(report),
        match metrics::n_runs(report) {
            Some(n) => format!("the {} of each cell", count(n, "run")),
            None => "seeds".to_owned(),
        }
    )
}

/// The names of the further estimators that the table has.
fn estimators(report: &Report) -> &'static str {
    let experiment = &report.plan.experiment;
    let counts = experiment
        .cells
        .iter()
        .map(|cell| report.outcomes_of(cell).count());
    match counts.max().unwrap_or(0) {
        0 | 1 => "",
        2 => "95 % interval of the mean (Student's t), ",
        3 => "95 % interval of the mean (Student's t), median, ",
        4..=9 => {
            "95 % interval of the mean (Student's t), median, interquartile mean (IQM: of the middle \
             half of the runs), "
        }
        _ => {
            "95 % interval of the mean (BCa bootstrap; Student's t for fewer than ten runs), median, \
             interquartile mean (IQM: of the middle half of the runs), "
        }
    }
}

fn dots(report: &Report) -> String {
    let plots = plots::dots(report);
    let titles = plots.iter().map(|(name, plot)| (name, plot.title.as_str()));
    pictures(titles)
}

fn compared(report: &Report) -> String {
    let sections = comparisons::sections(report);
    if sections.is_empty() {
        return String::new();
    }
    let heading = ["## Comparisons".to_owned()];
    let explanation = [comparisons::EXPLANATION.to_owned()];
    let all = heading.into_iter().chain(sections).chain(explanation);
    all.collect::<Vec<_>>().join("\n\n")
}

/// The evaluations by length; empty if there are none.
fn by_length(report: &Report) -> String {
    let sections = lengths::sections(report);
    if sections.is_empty() {
        return String::new();
    }
    let findings = lengths::findings(report);
    let findings: Vec<String> = findings.iter().map(|text| format!("* {text}")).collect();
    let parts = [
        "## By length".to_owned(),
        findings.join("\n"),
        "All sequences are from the test split. `eos`: decoding stops at the model's EOS, which \
         counts as a token. `oracle`: decoding stops at the length of the reference, and EOS cannot \
         be predicted. Fine accuracy is the share of tokens before the first error. Means over a \
         group give each length the same weight. Brackets are 95 % \
         intervals of the mean over seeds; they are absent where all runs are equal. \
         `lengths.csv`, in the folder of the runs, has every length."
            .to_owned(),
    ];
    let sections = sections
        .iter()
        .map(|section| section.markdown().trim_end().to_owned());
    let pictures = iter::once(titled_pictures(&lengths::plots(report)));
    let all: Vec<String> = parts.into_iter().chain(sections).chain(pictures).collect();
    all.join("\n\n")
}

fn pictures<'a>(plots: impl Iterator<Item = (&'a String, &'a str)>) -> String {
    let pictures = plots.map(|(name, title)| format!("![{title}](plots/{name}.svg)"));
    pictures.collect::<Vec<_>>().join("\n\n")
}

fn titled_pictures(all: &[(String, Picture)]) -> String {
    pictures(all.iter().map(|(name, picture)| (name, picture.title())))
}

/// What is the same in all runs in one sentence, and the rest as a table.
fn runs(report: &Report) -> String {
    let outcomes = || report.outcomes.iter();
    let best = |run: &Outcome| match run.record.best_step {
        Some(step) => step.to_string(),
        None => ABSENT.to_owned(),
    };
    let values = |value: &dyn Fn(&Outcome) -> String| outcomes().map(value).collect::<Vec<_>>();
    let mut columns = vec![
        ("end", values(&|run| end(run.record.status).to_owned())),
        ("steps", values(&|run| run.record.step.to_string())),
        ("best step", values(&best)),
        (
            "parameters",
            values(&|run| run.record.n_parameters.to_string()),
        ),
    ];
    for metric in &report.plan.experiment.table {
        let cells = values(&|run| match run.metric(*metric) {
            Some(value) => format!("{value:.*}", metric.decimals(value)),
            None => ABSENT.to_owned(),
        });
        columns.push((metric.title(), cells));
    }
    let is_constant = |cells: &[String]| cells.len() > 1 && cells.iter().all(|c| *c == cells[0]);
    let mut table = Table::new().column("run", outcomes().map(|run| run.job.name()));
    let mut constants = Vec::new();
    for (name, cells) in &columns {
        match is_constant(cells) {
            true => constants.push(format!("{name} {}", cells[0])),
            false => table = table.column(*name, cells),
        }
    }
    let constants = match constants.is_empty() {
        true => String::new(),
        false => format!("All runs have: {}.\n\n", constants.join(", ")),
    };
    let table = head(
        &table,
        report.outcomes.len(),
        Table::markdown,
        "`runs.csv` has all",
    );
    constants + &table
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

/// Cells that have a column in the table of what differs.
const MAX_COLUMNS: usize = 20;

/// What differs between the cells, then what is common to them.
fn configuration(report: &Report) -> String {
    let cells = report.plan.experiment.cells.iter();
    let firsts = cells.filter_map(|cell| report.outcomes_of(cell).next());
    let firsts: Vec<&Outcome> = firsts.collect();
    let settings: Vec<&Settings> = firsts.iter().map(|run| &run.settings).collect();
    let keys = differing(&settings);
    let mut table = Table::new().column("key", &keys);
    for run in firsts.iter().take(MAX_COLUMNS) {
        let value = |key: &String| match run.settings.get(key) {
            Some(value) => value.to_string(),
            None => ABSENT.to_owned(),
        };
        table = table.column(&run.job.cell, keys.iter().map(value));
    }
    let is_common = |key: &String| key != "seed" && !keys.contains(key);
    let common: Vec<String> = settings
        .first()
        .into_iter()
        .flat_map(|settings| settings.iter())
        .filter(|(key, _)| is_common(key))
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let differences = match (keys.is_empty(), firsts.len() > MAX_COLUMNS) {
        (true, _) => String::new(),
        (false, false) => format!("The cells differ in:\n\n{}\n", table.markdown()),
        (false, true) => {
            let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            format!(
                "The cells differ in {}; `runs.csv` has the values.\n\n",
                keys.join(", ")
            )
        }
    };
    let common = common.join("\n");
    format!("{differences}All cells have, apart from the seed:\n\n```toml\n{common}\n```")
}

fn commands(report: &Report) -> String {
    let plan = &report.plan;
    let mut experiment = vec!["s2s".to_owned(), "experiment".to_owned()];
    experiment.push(plan.path.display().to_string());
    if plan.folder != Plan::default_folder(&plan.path) {
        experiment.extend(["--out".to_owned(), plan.folder.display().to_string()]);
    }
    let runs = report.outcomes.iter().flat_map(|run| {
        let groups = plan.lengths_of(&run.job);
        let evaluations = groups.map(|group| group.eval_args(&run.job.folder));
        let commands = iter::once(run.job.train_args()).chain(evaluations);
        commands.map(|args| format!("s2s {}", shell_words(args)))
    });
    let mut runs: Vec<String> = runs.collect();
    let n_more = runs.len().saturating_sub(MAX_SHOWN);
    runs.truncate(MAX_SHOWN);
    if n_more > 0 {
        runs.push(format!(
            "# and {n_more} more; `--emit FILE` writes a command for each run"
        ));
    }
    format!(
        "```sh\n{}\n```\n\nruns:\n\n```sh\n{}\n```",
        shell_words(experiment),
        runs.join("\n")
    )
}

/// A column for each environment in which runs were made; usually there is one.
fn environments(outcomes: &[Outcome]) -> Table {
    let mut groups: Vec<([String; 8], Vec<String>)> = Vec::new();
    for run in outcomes {
        let absent = || ABSENT.to_owned();
        let found = match &run.environment {
            Some(environment) => rows(environment),
            None => std::array::from_fn(|_| absent()),
        };
        let [version, platform, cpu, cores, threads, device, kernels] = found;
        let date = run.date.clone().unwrap_or_else(absent);
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
        let name = match (is_one, runs.len() > MAX_SHOWN) {
            (true, _) => "all runs".to_owned(),
            (false, true) => format!("{} runs", runs.len()),
            (false, false) => runs.join(", "),
        };
        table = table.column(name, rows);
    }
    table
}

/// The runs that were resumed on another CPU, so that their last bits may differ from those of one CPU.
fn moved(outcomes: &[Outcome]) -> String {
    let moved = outcomes.iter().filter(|run| !run.processors.is_empty());
    let moved: Vec<String> = moved
        .map(|run| {
            let later = run.processors.iter();
            let later = later.map(|p| format!("{} ({})", p.cpu, p.instruction_set));
            format!(
                "{}, then on {}",
                run.job.name(),
                later.collect::<Vec<_>>().join(", ")
            )
        })
        .collect();
    if moved.is_empty() {
        return String::new();
    }
    let n_more = moved.len().saturating_sub(MAX_SHOWN);
    let shown = moved.iter().take(MAX_SHOWN).cloned().collect::<Vec<_>>();
    let more = if n_more > 0 { "; and more" } else { "" };
    format!(
        "Resumed on another CPU than they started on, which can change the last bits of their results: {}{more}.",
        shown.join("; ")
    )
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
    use crate::report::fixtures;

    #[test]
    fn a_report_is_written_as_approved() {
        insta::assert_snapshot!(render(&fixtures::report()));
    }

    #[test]
    fn a_report_by_length_is_written_as_approved() {
        let text = render(&fixtures::report_with_lengths());
        let (_, section) = text.split_once("## By length").unwrap();
        let (section, _) = section.split_once("## Curves").unwrap();
        insta::assert_snapshot!(section);
    }

    #[test]
    fn one_run_of_a_cell_is_too_few_for_an_interval() {
        let mut report = fixtures::report();
        assert!(!render(&report).contains("Too few seeds"));
        report.outcomes.retain(|outcome| outcome.job.seed == 0);
        let text = render(&report);
        let expected = "Too few seeds for an interval: each cell with one run,";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn missing_runs_are_named() {
        let mut report = fixtures::report();
        assert!(!render(&report).contains("Incomplete"));
        report.pending.push(report.outcomes.remove(3).job);
        let text = render(&report);
        assert!(
            text.contains("3 of 4 runs are finished; missing: none-seed1."),
            "{text}"
        );
    }

    #[test]
    fn diverged_runs_are_listed_and_not_averaged() {
        let mut report = fixtures::report();
        let last = report.outcomes.last_mut().unwrap();
        last.record.status = RunStatus::Diverged;
        last.record.test = None;
        last.metrics.clear();
        let table = metrics::table(&report).unwrap().markdown();
        let counts: Vec<&str> = table
            .lines()
            .skip(2)
            .map(|line| line.split('|').nth(3).unwrap().trim())
            .collect();
        assert_eq!(counts, ["2", "1", "2", "1", "2", "1"]);
        assert!(render(&report).contains("diverged"));
        let curves = plots::curves(&report);
        let series = &curves[0].1.series[1];
        assert!(series.band.iter().all(|&(_, low, high)| low == high));
    }

    #[test]
    fn runs_on_different_machines_have_separate_columns() {
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

    #[test]
    fn runs_that_were_resumed_on_another_cpu_are_named() {
        let mut report = fixtures::report();
        assert!(!render(&report).contains("Resumed on another CPU"));
        report.outcomes[2].processors = vec![s2s_runlog::Processor {
            cpu: "another".to_owned(),
            instruction_set: "avx512".to_owned(),
        }];
        let text = render(&report);
        assert!(
            text.contains("none-seed0, then on another (avx512)."),
            "{text}"
        );
    }

    #[test]
    fn the_command_names_the_folder_if_it_is_not_the_default() {
        let mut report = fixtures::report();
        assert!(commands(&report).contains("\ns2s experiment attention.toml\n"));
        report.plan.folder = "elsewhere".into();
        assert!(commands(&report).contains("\ns2s experiment attention.toml --out elsewhere\n"));
    }
}
