//! How far training is: a bar on a terminal, and a line for each evaluation.

use std::ops::ControlFlow;
use std::time::Instant;

use s2s_train::{EvalEvent, Observer, Result, StepRecord, Tally};

use crate::report::percent;
use crate::ui::Ui;

/// Tells the user about steps and evaluations.
pub(crate) struct Progress<'a> {
    ui: &'a Ui,
    total_steps: u64,
    tally: Tally, // since the last evaluation
    since: Instant,
}

impl<'a> Progress<'a> {
    /// For a run of `total_steps`, of which some are done.
    pub(crate) fn start(ui: &'a Ui, steps_done: u64, total_steps: u64) -> Self {
        ui.show_bar(steps_done, total_steps);
        Self {
            ui,
            total_steps,
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
    fn on_step(&mut self, record: &StepRecord) -> Result<ControlFlow<()>> {
        self.tally += record.tally;
        let message = format!(
            "loss {:.4}  accuracy {}  {:.0} tokens/s",
            self.tally.loss(),
            percent(self.tally.token_accuracy()),
            self.tally.n_tokens as f64 / self.since.elapsed().as_secs_f64(),
        );
        self.ui.move_bar(record.step, message);
        Ok(ControlFlow::Continue(()))
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<ControlFlow<()>> {
        let metrics = event.metrics;
        let width = self.total_steps.to_string().len();
        let epoch = metrics
            .epoch
            .map_or_else(String::new, |epoch| format!("  epoch {epoch:.1}"));
        self.ui.talk(format!(
            "step {:>width$}/{}{epoch}  train: loss {:.4} accuracy {:>7}  \
             validation: loss {:.4} accuracy {:>7} exact {:>7}  {:.0} tokens/s{}",
            metrics.step,
            self.total_steps,
            metrics.train_loss,
            percent(metrics.train_token_accuracy),
            metrics.val_loss,
            percent(metrics.val_token_accuracy),
            percent(metrics.val_exact_match),
            event.timing.tokens_per_second,
            if metrics.is_best { "  best" } else { "" },
        ));
        (self.tally, self.since) = (Tally::default(), Instant::now());
        Ok(ControlFlow::Continue(()))
    }
}
