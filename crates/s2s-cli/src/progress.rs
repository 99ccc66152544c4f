//! Training progress: a bar on a terminal, and a line for each evaluation.

use std::time::Instant;

use s2s_lab::statistics::percent;
use s2s_runlog::{EvalRecord, MetricsRecord, TimingRecord};
use s2s_train::{EvalEvent, Flow, Observer, Result, StartEvent, StepRecord, Tally};

use crate::ui::Ui;

/// Shows steps and evaluations to the user.
pub(crate) struct Progress<'a> {
    ui: &'a Ui,
    tally: Tally, // since the last evaluation
    since: Instant,
}

impl<'a> Progress<'a> {
    /// Starts the display for a run of `total_steps` steps, of which `steps_done` are done.
    pub(crate) fn start(ui: &'a Ui, steps_done: u64, total_steps: u64) -> Self {
        ui.message(titles());
        ui.show_bar(steps_done, total_steps);
        Self {
            ui,
            tally: Tally::default(),
            since: Instant::now(),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.ui.hide_bar();
    }
}

impl Observer for Progress<'_> {
    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        self.tally += record.tally;
        self.ui.move_bar(record.step, || {
            format!(
                "loss {:.4}  accuracy {}  {:.0} tokens/s",
                self.tally.loss(),
                percent(self.tally.token_accuracy()),
                self.tally.n_tokens as f64 / self.since.elapsed().as_secs_f64(),
            )
        });
        Ok(Flow::Continue)
    }

    fn on_start(&mut self, event: &StartEvent<'_>) -> Result<Flow> {
        self.ui.message(start_line(event.metrics));
        self.since = Instant::now();
        Ok(Flow::Continue)
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        self.ui
            .message(eval_line(event.metrics, Some(event.timing)));
        (self.tally, self.since) = (Tally::default(), Instant::now());
        Ok(Flow::Continue)
    }
}

/// The titles of the lines.
pub(crate) fn titles() -> String {
    row(COLUMNS.map(|(name, _)| name.to_owned()))
}

/// The line of the evaluation before the first step.
pub(crate) fn start_line(metrics: &EvalRecord) -> String {
    let none = || "-".to_owned();
    row([
        metrics.step.to_string(),
        none(),
        none(),
        none(),
        format!("{:.4}", metrics.loss),
        percent(metrics.token_accuracy),
        percent(metrics.exact_match),
        none(),
        String::new(),
    ])
}

/// The line of an evaluation.
pub(crate) fn eval_line(metrics: &MetricsRecord, timing: Option<&TimingRecord>) -> String {
    let none = || "-".to_owned();
    let epoch = metrics.epoch.map(|epoch| format!("{epoch:.2}"));
    let rate = timing.map(|timing| format!("{:.0}", timing.tokens_per_second));
    row([
        metrics.step.to_string(),
        epoch.unwrap_or_else(none),
        format!("{:.4}", metrics.train_loss),
        percent(metrics.train_token_accuracy),
        format!("{:.4}", metrics.val_loss),
        percent(metrics.val_token_accuracy),
        percent(metrics.val_exact_match),
        rate.unwrap_or_else(none),
        if metrics.is_best { "best" } else { "" }.to_owned(),
    ])
}

/// Titles and widths of the columns of evaluation lines.
const COLUMNS: [(&str, usize); 9] = [
    ("step", 6),
    ("epoch", 6),
    ("train loss", 10),
    ("accuracy", 8),
    ("val loss", 8),
    ("accuracy", 8),
    ("exact", 8),
    ("tokens/s", 8),
    ("", 4),
];

fn row(cells: [String; 9]) -> String {
    let cells = cells.iter().zip(COLUMNS);
    let line = cells.map(|(cell, (_, width))| format!("{cell:>width$}  "));
    line.collect::<String>().trim_end().to_owned()
}
