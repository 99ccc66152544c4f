//! Signals. While a run trains, the first one saves and stops, the second one quits at once. While a
//! dashboard is on the screen, the second one has to wait until the terminal is restored.

use std::io;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use s2s_train::{Flow, Observer, Result, StepRecord};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGUSR1, SIGXFSZ};
use signal_hook::low_level::{emulate_default_handler, raise, unregister};
use signal_hook::{SigId, flag};

use crate::ui::Ui;

/// The signals that stop a run. Batch systems announce the end of a job by SIGTERM or SIGUSR1; a
/// terminal that closes sends SIGHUP.
const STOPPING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGUSR1];

/// Whether the next signal ends the process at once.
static QUITS: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// The last signal that arrived; 0 before the first.
static RECEIVED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// What lets the second signal end the process, by signal.
static ARMING: Mutex<Vec<(i32, SigId)>> = Mutex::new(Vec::new());

/// Whether the terminal asked for the process to stop while a dashboard was on the screen.
static SUSPENDS: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Whether no dashboard is on the screen, so that Ctrl-Z stops the process at once.
static IS_OFF_SCREEN: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

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
        let id = flag::register(signal, Arc::clone(&QUITS))?;
        arming().push((signal, id));
        flag::register_usize(signal, Arc::clone(&RECEIVED), signal as usize)?;
    }
    Ok(())
}

fn arming() -> std::sync::MutexGuard<'static, Vec<(i32, SigId)>> {
    ARMING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last signal that arrived; 0 before the first.
pub(crate) fn received() -> &'static AtomicUsize {
    &RECEIVED
}

/// Whether a signal to stop the run has arrived.
pub(crate) fn is_received() -> bool {
    RECEIVED.load(Ordering::SeqCst) != 0
}

/// Sends the signal of Ctrl-C to this process.
pub(crate) fn interrupt() -> io::Result<()> {
    raise(SIGINT)
}

/// Prepares for a dashboard on the screen: a second signal does not end the process, and Ctrl-Z does not
/// stop it.
pub(crate) fn enter_screen() -> io::Result<()> {
    static REGISTERED: Mutex<bool> = Mutex::new(false);
    let mut is_registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    if !std::mem::replace(&mut *is_registered, true) {
        flag::register_conditional_default(SIGTSTP, Arc::clone(&IS_OFF_SCREEN))?;
        flag::register(SIGTSTP, Arc::clone(&SUSPENDS))?;
    }
    for (_, id) in arming().iter() {
        unregister(*id);
    }
    SUSPENDS.store(false, Ordering::SeqCst);
    IS_OFF_SCREEN.store(false, Ordering::SeqCst);
    Ok(())
}

/// Ends what [`enter_screen`] has begun, after the terminal is restored.
pub(crate) fn leave_screen() {
    IS_OFF_SCREEN.store(true, Ordering::SeqCst);
    for (signal, id) in arming().iter_mut() {
        // It cannot fail: the signal has a handler.
        if let Ok(new) = flag::register(*signal, Arc::clone(&QUITS)) {
            *id = new;
        }
    }
    if is_received() {
        QUITS.store(true, Ordering::SeqCst);
    }
}

/// Whether Ctrl-Z was pressed since [`enter_screen`].
pub(crate) fn is_suspended() -> bool {
    SUSPENDS.load(Ordering::SeqCst)
}

/// Stops the process as Ctrl-Z does, and returns when it continues.
pub(crate) fn suspend() -> io::Result<()> {
    SUSPENDS.store(false, Ordering::SeqCst);
    emulate_default_handler(SIGTSTP)
}

/// Whether an experiment started this process: a signal to both arrives twice.
fn is_forwarded() -> bool {
    std::env::var_os(s2s_lab::FORWARDED_SIGNALS).is_some()
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
    /// Installs the handlers: the first signal is recorded, the second one ends the process, unless the
    /// process that started this one sends its signals on.
    pub(crate) fn catch(ui: &'a Ui) -> io::Result<Self> {
        if std::process::id() != 1 {
            install()?;
        }
        if is_forwarded() {
            for (_, id) in arming().drain(..) {
                unregister(id);
            }
        }
        QUITS.store(false, Ordering::SeqCst);
        Ok(Self {
            ui,
            is_announced: false,
        })
    }

    /// The exit code for the received signal.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + RECEIVED.load(Ordering::SeqCst) as u8
    }

    fn flow(&mut self) -> Flow {
        if !is_received() {
            return Flow::Continue;
        }
        if !self.is_announced {
            self.ui.message(match is_forwarded() {
                true => "Saving and stopping.",
                false => "Saving and stopping. Press Ctrl-C again to quit now.",
            });
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
