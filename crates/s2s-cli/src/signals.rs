//! Signals. While a run trains, the first one saves and stops, the second one quits at once.

use std::io;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use s2s_train::{Flow, Observer, Result, StepRecord};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;

use crate::ui::Ui;

/// The signals that stop a run. Batch systems announce the end of a job by SIGTERM or SIGUSR1; a
/// terminal that closes sends SIGHUP.
const STOPPING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGUSR1];

/// Whether the next signal ends the process at once.
static QUITS: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// The last signal that arrived; 0 before the first.
static RECEIVED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Prepares the process. A write beyond the limit of `ulimit -f` fails instead of killing the process.
/// For process 1 of a container, the system ignores every signal without a handler, so that one gets
/// handlers that end it.
pub(crate) fn prepare() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default())?;
    match std::process::id() {
        1 => install(),
        _ => Ok(()),
    }
}

/// Installs the handlers, except for signals that were ignored when the process started, as by
/// `nohup`.
fn install() -> io::Result<()> {
    let ignored = ignored_at_start();
    for signal in STOPPING
        .into_iter()
        .filter(|signal| ignored >> (signal - 1) & 1 == 0)
    {
        // The order matters: the first signal must find the flag unset.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&QUITS))?;
        flag::register(signal, Arc::clone(&QUITS))?;
        flag::register_usize(signal, Arc::clone(&RECEIVED), signal as usize)?;
    }
    Ok(())
}

/// The ignored signals as a bit mask; bit 0 is signal 1. Known on Linux only.
fn ignored_at_start() -> u64 {
    let status = s2s_runlog::system_file("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Interrupts the run after the current step or evaluation batch once a signal has arrived.
pub(crate) struct Signals<'a> {
    ui: &'a Ui,
    is_announced: bool,
}

impl<'a> Signals<'a> {
    /// Installs the handlers: the first signal is recorded, the second one ends the process.
    pub(crate) fn catch(ui: &'a Ui) -> io::Result<Self> {
        if std::process::id() != 1 {
            install()?;
        }
        QUITS.store(false, Ordering::SeqCst);
        Ok(Self {
            ui,
            is_announced: false,
        })
    }

    /// Whether a signal has arrived.
    pub(crate) fn is_received(&self) -> bool {
        RECEIVED.load(Ordering::SeqCst) != 0
    }

    /// The exit code for the received signal.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + RECEIVED.load(Ordering::SeqCst) as u8
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
