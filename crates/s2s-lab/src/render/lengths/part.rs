//! A cell's runs, evaluated on one group of lengths in one decoding mode.

use s2s_runlog::{DecodingMode, LengthRecord};

use crate::cell::Cell;
use crate::lengths::LengthGroup;
use crate::outcome::LengthOutcome;
use crate::report::Report;

#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    report: &'a Report,
    pub(super) group: &'a LengthGroup,
    pub(super) cell: &'a Cell,
    pub(super) mode: DecodingMode,
}

/// Every group with each of its cells and decoding modes.
pub(super) fn parts(report: &Report) -> impl Iterator<Item = Part<'_>> {
    let experiment = &report.plan.experiment;
    experiment.lengths.iter().flat_map(move |group| {
        let cells = experiment.cells.iter();
        let cells = cells.filter(|cell| group.includes(&cell.name));
        let modes = group.request().map_or(Vec::new(), |request| request.modes);
        cells.flat_map(move |cell| {
            let part = move |mode| Part {
                report,
                group,
                cell,
                mode,
            };
            modes.clone().into_iter().map(part)
        })
    })
}

impl<'a> Part<'a> {
    /// The evaluations of the cell's runs, which contain other modes as well.
    pub(super) fn evaluations(&self) -> impl Iterator<Item = &'a LengthOutcome> {
        let runs = self.report.outcomes_of(self.cell);
        let group = &self.group.name;
        runs.flat_map(|run| &run.lengths)
            .filter(move |evaluation| evaluation.group == *group)
    }

    /// The rows of one evaluation in the part's mode.
    pub(super) fn rows_of(
        &self,
        evaluation: &'a LengthOutcome,
    ) -> impl Iterator<Item = &'a LengthRecord> {
        let mode = self.mode;
        let rows = evaluation.record.rows.iter();
        rows.filter(move |row| row.mode == mode)
    }

    /// The rows of all evaluations at one length.
    pub(super) fn at(&self, length: usize) -> Vec<&'a LengthRecord> {
        let rows = self.evaluations().flat_map(|found| self.rows_of(found));
        rows.filter(|row| row.length == length).collect()
    }
}

/// Whether every output is an exact match.
pub(super) fn is_exact(row: &LengthRecord) -> bool {
    row.n_exact == row.n_sequences
}
