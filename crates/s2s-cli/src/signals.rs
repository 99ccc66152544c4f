//! Ctrl-C and SIGTERM: once to save and stop, twice to stop at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use s2s_train::{Flow, Observer, Result, StepRecord};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::ui::Ui;

/// Stops the run after the step, or within the evaluation, during which a signal comes.
pub(crate) struct Signals<'a> {
    received: Arc<AtomicUsize>,
    ui: &'a Ui,
    is_told: bool,
}

impl<'a> Signals<'a> {
    /// From here on, the first signal is noted and the second ends the process.
    pub(crate) fn catch(ui: &'a Ui) -> io::Result<Self> {
        let is_second = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal arms what the second one finds.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_second))?;
            flag::register(signal, Arc::clone(&is_second))?;
            flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
        }
        Ok(Self {
            received,
            ui,
            is_told: false,
        })
    }

    /// Whether to stop.
    pub(crate) fn is_received(&self) -> bool {
        self.received.load(Ordering::SeqCst) != 0
    }

    /// The exit code of a process that the noted signal ended.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.received.load(Ordering::SeqCst) as u8
    }

    fn flow(&mut self) -> Flow {
        if !self.is_received() {
            return Flow::Continue;
        }
        if !self.is_told {
            self.ui.talk("stopping; once more to stop at once");
            self.is_told = true;
        }
        Flow::Interrupt
    }
}

impl Observer for Signals<'_> {
    fn on_step(&mut self, _: &StepRecord) -> Result<Flow> {
        Ok(self.flow())
    }

    fn on_eval_batch(&mut self) -> Result<Flow> {
        Ok(self.flow())
    }
}
