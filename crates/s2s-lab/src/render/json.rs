//! The report as JSON, with unrounded numbers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lengths;
use crate::cell::Cell;
use crate::comparison::Compare;
use crate::measure::Metric;
use crate::outcome::Outcome;
use crate::report::Report;
use crate::statistics::Summary;

pub(super) fn render(report: &Report) -> Value {
    let experiment = &report.plan.experiment;
    let run = |outcome: &Outcome| {
        json!({
            "seed": outcome.job.seed,
            "folder": outcome.job.folder,
            "train_secs": outcome.train_secs,
            "run": outcome.record,
            "environment": outcome.environment,
            "settings": outcome.settings,
        })
    };
    let cell = |cell: &Cell| {
        let metrics = experiment.table.iter();
        let summary: BTreeMap<Metric, Option<Summary>> = metrics
            .map(|&metric| (metric, report.metric(cell, metric)))
            .collect();
        json!({
            "name": cell.name,
            "config": cell.config,
            "set": cell.set,
            "summary": summary,
            "runs": report.outcomes_of(cell).map(run).collect::<Vec<_>>(),
        })
    };
    let compare = |compare: &Compare| {
        json!({
            "metric": compare.metric,
            "baseline": compare.baseline,
            "differences": compare.differences(report),
        })
    };
    json!({
        "title": experiment.title,
        "question": experiment.question,
        "cells": experiment.cells.iter().map(cell).collect::<Vec<_>>(),
        "comparisons": experiment.compare.iter().map(compare).collect::<Vec<_>>(),
        "lengths": lengths::rows(report),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;

    #[test]
    fn numbers_are_not_rounded() {
        let json = render(&fixtures::report());
        let cell = &json["cells"][1];
        assert_eq!(cell["name"], "none");
        assert_eq!(cell["runs"][1]["run"]["test"]["exact_match"], 0.25);
        assert_eq!(cell["summary"]["exact_match"]["mean"], 0.125);
    }
}
