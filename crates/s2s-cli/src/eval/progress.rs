//! Progress of an evaluation by length: a bar on a terminal, otherwise a line for each length.

use std::sync::atomic::{AtomicU64, Ordering};

use s2s_lab::statistics::percent;
use s2s_runlog::{DecodingMode, LengthRecord};

use crate::ui::Ui;

/// Updates of the bar over the whole evaluation.
const N_UPDATES: u64 = 1000;

/// Counts attended positions, which dominate the time: every source position at each step of each
/// sequence.
pub(super) struct Progress<'a> {
    ui: &'a Ui,
    n_samples: u64,
    length: u64,
    label: String,
    done: AtomicU64,
    /// Estimated cost of the finished lengths; the actual cost may be lower.
    finished: u64,
    tick: u64,
}

impl<'a> Progress<'a> {
    /// Starts the display for `n_samples` sequences of each length.
    pub(super) fn start(ui: &'a Ui, lengths: impl Iterator<Item = usize>, n_samples: u64) -> Self {
        let total: u64 = lengths.map(|length| cost(length as u64, n_samples)).sum(); // below 2^61
        ui.show_percent_bar(total);
        Self {
            ui,
            n_samples,
            length: 0,
            label: String::new(),
            done: AtomicU64::new(0),
            finished: 0,
            tick: total.div_ceil(N_UPDATES).max(1),
        }
    }

    pub(super) fn begin(&mut self, length: usize, mode: DecodingMode) {
        self.length = length as u64;
        self.label = format!("length {length} {mode}");
        self.ui.move_bar(self.finished, || self.label.clone());
    }

    /// Counts a step of a sequence.
    pub(super) fn advance(&self) {
        let before = self.done.fetch_add(self.length, Ordering::Relaxed);
        let now = before + self.length;
        if before / self.tick != now / self.tick {
            self.ui.move_bar(now, || self.label.clone());
        }
    }

    pub(super) fn end(&mut self, row: &LengthRecord, secs: f64) {
        self.finished += cost(self.length, self.n_samples);
        self.done.store(self.finished, Ordering::Relaxed);
        if !self.ui.is_terminal() {
            self.ui.message(format!(
                "{}: exact match {}, token accuracy {}, {secs:.1} s",
                self.label,
                percent(row.exact_match),
                percent(row.token_accuracy),
            ));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.ui.hide_bar();
    }
}

/// Attended positions for a length.
fn cost(length: u64, n_samples: u64) -> u64 {
    length * length * n_samples
}
