//! The table of an experiment on a terminal, redrawn while its runs train. Elsewhere, events are lines.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use console::{Term, measure_text_width, truncate_str};
use s2s_lab::{CellStatus, Event, Plan, Select, Status, duration, status};

use crate::ui::Ui;

/// The time between two looks at the folders of the runs.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// The time between two looks at whether the experiment has ended.
const BETWEEN_CHECKS: Duration = Duration::from_millis(50);

/// Lines of the terminal that the table leaves free for messages.
const FREE_LINES: usize = 6;

/// Shows the progress of an experiment.
pub(super) struct Live<'a> {
    plan: &'a Plan,
    select: Select,
    parallel: NonZeroUsize,
    ui: &'a Ui,
    /// Whether there is a table.
    is_table: bool,
    /// The lines of the table that are on the terminal.
    shown: Mutex<Vec<String>>,
}

impl<'a> Live<'a> {
    pub(super) fn new(plan: &'a Plan, select: Select, parallel: NonZeroUsize, ui: &'a Ui) -> Self {
        let is_one = matches!(select, Select::Index(_));
        Self {
            plan,
            select,
            parallel,
            ui,
            is_table: !is_one && ui.is_screen(),
            shown: Mutex::default(),
        }
    }

    /// Does `work` while the table is on the terminal.
    pub(super) fn while_shown<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.is_table {
            return work();
        }
        let has_ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| self.redraw_until(&has_ended));
            let result = work();
            has_ended.store(true, Ordering::SeqCst);
            result
        })
    }

    fn redraw_until(&self, has_ended: &AtomicBool) {
        while !has_ended.load(Ordering::SeqCst) {
            let look = Instant::now();
            // An error is that of the experiment, which reports it.
            if let Ok(found) = status(self.plan, &self.select, self.parallel) {
                let (height, width) = Term::stderr().size();
                let height = usize::from(height).saturating_sub(FREE_LINES);
                self.draw(lines(&found, height, usize::from(width)));
            }
            while look.elapsed() < BETWEEN_LOOKS && !has_ended.load(Ordering::SeqCst) {
                thread::sleep(BETWEEN_CHECKS);
            }
        }
        self.draw(Vec::new());
    }

    /// Replaces the table.
    fn draw(&self, lines: Vec<String>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        self.ui.replace_lines(shown.len(), &lines);
        *shown = lines;
    }

    /// Shows an event, above the table if there is one. The messages of the runs are in their logs.
    pub(super) fn show(&self, event: Event) {
        if !self.is_table {
            return self.ui.message(event);
        }
        if matches!(event, Event::Message(_)) {
            return;
        }
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        self.ui.replace_lines(shown.len(), &[]);
        self.ui.message(event);
        self.ui.replace_lines(0, &shown);
    }
}

/// A line for each cell, and the summary.
fn lines(found: &Status, height: usize, width: usize) -> Vec<String> {
    let name_width = found
        .cells
        .iter()
        .map(|cell| measure_text_width(&cell.name));
    let name_width = name_width.max().unwrap_or(0).min(width / 2);
    // Cells with runs that are not done come first if there is no room for all.
    let mut cells: Vec<&CellStatus> = found.cells.iter().collect();
    if cells.len() > height {
        cells.sort_by_key(|cell| (cell.n_running == 0, cell.n_done == cell.n_runs));
    }
    let n_more = cells.len().saturating_sub(height);
    let mut lines: Vec<String> = cells
        .iter()
        .take(height)
        .map(|cell| line(cell, name_width))
        .collect();
    if n_more > 0 {
        lines.push(format!("and {n_more} more cells"));
    }
    lines.push(found.summary.clone());
    let cut = |line: String| truncate_str(&line, width, "…").into_owned();
    lines.into_iter().map(cut).collect()
}

/// `additive  ██▒▒░░  2 of 6 done, 2 running; about 5 min`.
fn line(cell: &CellStatus, name_width: usize) -> String {
    const MAX_BLOCKS: usize = 20;
    let n_blocks = cell.n_runs.min(MAX_BLOCKS);
    let blocks = |n: usize| n * n_blocks / cell.n_runs.max(1);
    let (done, begun) = (blocks(cell.n_done), blocks(cell.n_done + cell.n_running));
    let bar = |symbol: &str, n: usize| symbol.repeat(n);
    let mut text = format!(
        "{}  {}{}{}  {} of {} done",
        console::pad_str(&cell.name, name_width, console::Alignment::Left, Some("…")),
        bar("█", done),
        bar("▒", begun - done),
        bar("░", n_blocks - begun),
        cell.n_done,
        cell.n_runs
    );
    for (n, what) in [(cell.n_running, "running"), (cell.n_failed, "failed")] {
        if n > 0 {
            text += &format!(", {n} {what}");
        }
    }
    match cell.left_secs.filter(|secs| *secs > 0.0) {
        Some(secs) => text + &format!("; about {}", duration(secs)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(n_done: usize, n_running: usize, n_failed: usize) -> CellStatus {
        CellStatus {
            name: "wide".to_owned(),
            n_done,
            n_running,
            n_failed,
            n_runs: 5,
            left_secs: Some(90.0 * (5 - n_done) as f64),
        }
    }

    #[test]
    fn a_cell_is_a_bar_of_its_runs() {
        assert_eq!(
            line(&cell(2, 1, 1), 6),
            "wide    ██▒░░  2 of 5 done, 1 running, 1 failed; about 4 min"
        );
        assert_eq!(line(&cell(5, 0, 0), 4), "wide  █████  5 of 5 done");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let found = Status {
            table: s2s_viz::Table::new(),
            summary: "20 runs: 12 done, 1 running".to_owned(),
            states: Vec::new(),
            cells: vec![cell(5, 0, 0), cell(5, 0, 0), cell(2, 1, 0), cell(0, 0, 0)],
            is_settled: false,
        };
        let lines = lines(&found, 2, 30);
        assert_eq!(lines.len(), 4, "two cells, the rest, and the summary");
        assert!(
            lines[0].contains("2 of 5 done, 1"),
            "running cells come first: {lines:?}"
        );
        assert_eq!(
            lines[2..],
            ["and 2 more cells", "20 runs: 12 done, 1 running"]
        );
        assert!(
            lines.iter().all(|line| measure_text_width(line) <= 30),
            "{lines:?}"
        );
    }
}
