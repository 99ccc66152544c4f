//! `cells.csv` and `runs.csv`: tidy tables for other programs.

use super::metrics;
use crate::measure::Metric;
use crate::report::Report;
use crate::settings::differing;

/// A header line and rows.
pub(super) type Rows = Vec<Vec<String>>;

/// A row for each cell and metric.
pub(super) fn cells(report: &Report) -> Rows {
    let names = [
        "cell", "metric", "runs", "mean", "sd", "low", "high", "interval", "median", "iqm", "min",
        "max",
    ];
    let mut all = vec![names.map(str::to_owned).to_vec()];
    for cell in &report.plan.experiment.cells {
        for metric in Metric::ALL {
            let Some(summary) = report.metric(cell, metric) else {
                continue;
            };
            let [low, high] =
                metrics::interval(metric, &summary).map_or([None; 2], |i| i.map(Some));
            let method = summary
                .interval
                .map(|interval| interval.method.name().to_owned());
            let number =
                |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
            all.push(vec![
                cell.name.clone(),
                metric.key().to_owned(),
                summary.count.to_string(),
                number(Some(summary.mean)),
                number(summary.sd),
                number(low),
                number(high),
                method.unwrap_or_default(),
                number(Some(summary.median)),
                number(Some(summary.iqm)),
                number(Some(summary.min)),
                number(Some(summary.max)),
            ]);
        }
    }
    all
}

/// A row for each run: its results, and every setting that differs between runs.
pub(super) fn runs(report: &Report) -> Rows {
    let settings: Vec<_> = report.outcomes.iter().map(|run| &run.settings).collect();
    let mut keys = differing(&settings);
    keys.retain(|key| key != "seed");
    let names = [
        "run",
        "cell",
        "seed",
        "status",
        "steps",
        "best_step",
        "parameters",
    ];
    let names = names.into_iter().chain(Metric::ALL.map(Metric::key));
    let header = names.map(str::to_owned).chain(keys.iter().cloned());
    let mut all = vec![header.collect::<Vec<_>>()];
    for run in &report.outcomes {
        let record = &run.record;
        let best = record
            .best_step
            .map_or(String::new(), |step| step.to_string());
        let mut row = vec![
            run.job.name(),
            run.job.cell.clone(),
            run.job.seed.to_string(),
            record.status.name().to_owned(),
            record.step.to_string(),
            best,
            record.n_parameters.to_string(),
        ];
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        row.extend(Metric::ALL.map(|metric| number(run.metric(metric))));
        row.extend(keys.iter().map(|key| match run.settings.get(key) {
            Some(toml::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }));
        all.push(row);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn every_row_has_the_columns_of_the_header() {
        let report = fixtures::report();
        let (cells, runs) = (cells(&report), runs(&report));
        for rows in [&cells, &runs] {
            assert!(
                rows.iter().all(|row| row.len() == rows[0].len()),
                "{rows:?}"
            );
        }
        assert_eq!(cells.len(), 1 + 2 * 6);
        assert_eq!(cells[1][..4], ["additive", "exact_match", "2", "0.99975"]);
        assert_eq!(runs.len(), 1 + 4);
        assert_eq!(runs[0].last().unwrap(), "model.attention.units");
        assert_eq!(runs[4][..4], ["none-seed1", "none", "1", "finished"]);
        assert_eq!(runs[4][13..], ["none", ""]);
    }
}
