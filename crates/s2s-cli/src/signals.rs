//! Ctrl-C and SIGTERM: the first signal saves and stops, the second one quits at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use s2s_train::{Flow, Observer, Result, StepRecord};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::ui::Ui;

/// Interrupts the run after the current step or evaluation batch once a signal has arrived.
pub(crate) struct Signals<'a> {
    received: Arc<AtomicUsize>,
    ui: &'a Ui,
    is_announced: bool,
}

impl<'a> Signals<'a> {
    /// Installs the handlers: the first signal is recorded, the second one ends the process.
    pub(crate) fn catch(ui: &'a Ui) -> io::Result<Self> {
        let is_second = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the first signal must find the flag unset.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_second))?;
            flag::register(signal, Arc::clone(&is_second))?;
            flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
        }
        Ok(Self {
            received,
            ui,
            is_announced: false,
        })
    }

    /// Whether a signal has arrived.
    pub(crate) fn is_received(&self) -> bool {
        self.received.load(Ordering::SeqCst) != 0
    }

    /// The exit code for the received signal.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.received.load(Ordering::SeqCst) as u8
    }

    fn flow(&mut self) -> Flow {
        if !self.is_received() {
            return Flow::Continue;
        }
        if !self.is_announced {
            self.ui
                .message("Saving and stopping. Press Ctrl-C again to quit now.");
            self.is_announced = true;
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
