//! The terminal as a screen: entering and leaving it, its size, keys.

use std::io::{self, BufWriter, Write};
use std::os::unix::net::UnixStream;
use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use rustix::process::getpgrp;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};

use crate::signals;
use crate::ui::Ui;

/// The modes of the terminal before it was a screen; `None` while it is none.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// Held while a frame is written, so that a panic of another thread does not restore the terminal in the
/// middle of it.
static DRAWING: Mutex<()> = Mutex::new(());

/// Bytes of a frame that are written at once.
const FRAME_BYTES: usize = 1 << 16;

/// Columns and lines of a terminal that does not report its size.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// A terminal whose alternate screen shows frames.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Frames>>>,
    area: Rect,
}

impl Screen {
    /// Makes the terminal a screen. Keys are read one by one and are not echoed; those that send signals
    /// still do.
    pub(super) fn enter(ui: &Ui) -> io::Result<Self> {
        leave_after_panic(ui);
        let original = tcgetattr(io::stdin())?;
        let mut modes = original.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        modes.input_modes -= InputModes::IXON; // Ctrl-S would block the next frame
        signals::enter_screen()?;
        ui.hold();
        *lock(&ORIGINAL) = Some(original);
        Self::open(ui, &modes).inspect_err(|_| {
            leave(ui);
            ui.release();
        })
    }

    fn open(ui: &Ui, modes: &Termios) -> io::Result<Self> {
        tcsetattr(io::stdin(), OptionalActions::Now, modes)?;
        let mut output = BufWriter::with_capacity(FRAME_BYTES, Frames(ui.clone()));
        // `Terminal::clear` would ask the terminal for the cursor's position and wait for the answer.
        queue!(output, EnterAlternateScreen, Hide, Clear(ClearType::All))?;
        let area = area();
        let viewport = Viewport::Fixed(area);
        let backend = CrosstermBackend::new(output);
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
        Ok(Self { terminal, area })
    }

    /// Adapts to the size of the terminal. Returns whether it has changed.
    pub(super) fn resize(&mut self) -> io::Result<bool> {
        let area = area();
        if area == self.area {
            return Ok(false);
        }
        self.area = area;
        self.terminal.resize(area)?;
        Ok(true)
    }

    /// Writes the changes since the last frame.
    pub(super) fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        let _drawing = lock(&DRAWING);
        if lock(&ORIGINAL).is_none() {
            return Ok(()); // another thread has panicked
        }
        let area = self.area;
        self.terminal
            .draw(|frame| draw(area, frame.buffer_mut()))
            .map(|_| ())
    }
}

/// Makes the terminal what it was before [`Screen::enter`], if it is a screen.
pub(super) fn leave(ui: &Ui) {
    let Some(original) = lock(&ORIGINAL).take() else {
        return;
    };
    // The terminal may be gone.
    let _ = queue!(Frames(ui.clone()), LeaveAlternateScreen, Show);
    if is_foreground() {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &original);
    }
    signals::leave_screen();
}

/// Restores the terminal before the message of a panic, in any thread.
fn leave_after_panic(ui: &Ui) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let (ui, previous) = (ui.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |panic| {
            for _ in 0..100 {
                match DRAWING.try_lock() {
                    Ok(_) => break,
                    Err(_) => sleep(Duration::from_millis(1)), // or this thread holds it
                }
            }
            leave(&ui);
            ui.release();
            previous(panic);
        }));
    });
}

/// Whether this process may read from the terminal and change its modes: it does not run in the
/// background of a shell.
pub(super) fn is_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}

/// The area of the terminal.
pub(super) fn area() -> Rect {
    let size = tcgetwinsize(io::stderr()).map(|size| (size.ws_col, size.ws_row));
    let (width, height) = match size {
        Ok((width @ 1.., height @ 1..)) => (width, height),
        _ => DEFAULT_SIZE,
    };
    Rect::new(0, 0, width, height)
}

/// What [`wait`] has found.
pub(super) enum Waited {
    /// Keys, maybe none.
    Keys(Vec<u8>),
    /// The other end of the stream was closed.
    Ended,
}

/// Waits until the other end of `end` is closed, or for `timeout`. Returns whether it is closed.
pub(super) fn wait_for_end(end: &UnixStream, timeout: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::new(end, PollFlags::IN)];
    wait(&mut fds, timeout)?;
    Ok(!fds[0].revents().is_empty())
}

/// Waits for keys, until the other end of `end` is closed, or for `timeout`.
///
/// # Errors
/// If the terminal is gone.
pub(super) fn wait_for_keys(end: &UnixStream, timeout: Duration) -> io::Result<Waited> {
    let stdin = io::stdin();
    let mut fds = [
        PollFd::new(end, PollFlags::IN),
        PollFd::new(&stdin, PollFlags::IN),
    ];
    wait(&mut fds, timeout)?;
    let [has_ended, has_keys] = fds.map(|fd| !fd.revents().is_empty());
    if has_ended {
        return Ok(Waited::Ended);
    }
    if !has_keys {
        return Ok(Waited::Keys(Vec::new()));
    }
    let mut keys = [0; 16];
    let n = match read(&stdin, &mut keys) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(Errno::INTR) => 0,
        n => n?,
    };
    Ok(Waited::Keys(without_sequences(&keys[..n])))
}

/// Waits until one of the files can be read, for `timeout` or until a signal.
fn wait(fds: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(fds, Some(&timeout)) {
        Err(Errno::INTR) => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

/// Removes escape sequences, such as those of arrow keys: ESC `[`, then bytes up to a letter or `~`; or
/// ESC `O` and a letter.
fn without_sequences(mut bytes: &[u8]) -> Vec<u8> {
    let mut keys = Vec::new();
    loop {
        bytes = match bytes {
            [] => return keys,
            [0x1b, b'[', rest @ ..] => {
                let is_last = |byte: &u8| (0x40..0x7f).contains(byte);
                let n = rest
                    .iter()
                    .position(is_last)
                    .map_or(rest.len(), |at| at + 1);
                &rest[n..]
            }
            [0x1b, b'O', _, rest @ ..] => rest,
            [key, rest @ ..] => {
                keys.push(*key);
                rest
            }
        };
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to the terminal.
struct Frames(Ui);

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.frame(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_no_keys() {
        let keys = |bytes: &[u8]| String::from_utf8(without_sequences(bytes)).unwrap();
        assert_eq!(keys(b"\x1b[Aq"), "q");
        assert_eq!(keys(b"1\x1b[1;5C\x1bOP\x1b[3~2"), "12");
        assert_eq!(keys(b"\x1b"), "\x1b");
        assert_eq!(keys(b"\x1b["), "");
    }
}
