//! A program on a pseudo-terminal, and what its screen shows.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::TIMEOUT;

/// Lines and columns.
pub(crate) type Size = (u16, u16);

/// A program with a terminal of its own.
pub(crate) struct Terminal {
    master: Option<File>,
    screen: vt100::Parser,
    written: Vec<u8>,
    child: Child,
}

/// A `Command` for a terminal of 256 colors, with these variables on top.
pub(crate) fn s2s(home: &Path, args: &[&str], environment: &[(&str, &str)]) -> Command {
    // setsid makes the terminal the controlling one, as a shell does, and becomes the program.
    let mut command = Command::new("setsid");
    command
        .arg("--ctty")
        .arg(env!("CARGO_BIN_EXE_s2s"))
        .args(args)
        .current_dir(home)
        .env("TERM", "xterm-256color");
    for name in [
        "RUST_LOG",
        "NO_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "COLORTERM",
        "LC_ALL",
        "LC_CTYPE",
        "LANG",
    ] {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
    command
}

impl Terminal {
    /// Starts a program.
    pub(crate) fn start(mut command: Command, (lines, columns): Size) -> Self {
        // A program that inherited the master could not see it close.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = File::from(open(name, flags, Mode::empty()).unwrap());
        tcsetwinsize(&master, size_of((lines, columns))).unwrap();
        let stream = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.spawn().unwrap();
        drop((command, slave)); // only the program has it open
        Self {
            master: Some(master.into()),
            screen: vt100::Parser::new(cells(lines), cells(columns), 1000),
            written: Vec::new(),
            child,
        }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master().write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size.
    pub(crate) fn resize(&mut self, (lines, columns): Size) {
        tcsetwinsize(self.master(), size_of((lines, columns))).unwrap();
        self.screen.set_size(cells(lines), cells(columns));
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether the program is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.starts_with('T')
    }

    /// Reads what arrives until the condition holds.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, is_met: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !is_met(self) {
            assert!(
                started.elapsed() < TIMEOUT,
                "waited for {what}:\n{}",
                self.text()
            );
            self.read(Duration::from_millis(20));
        }
    }

    /// Waits until the screen contains this text.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |terminal| terminal.text().contains(text));
    }

    /// Closes the terminal as a window is closed: the kernel sends SIGHUP. Returns the exit status.
    pub(crate) fn close(mut self) -> ExitStatus {
        self.master = None;
        self.child.wait().unwrap()
    }

    fn master(&self) -> &File {
        self.master.as_ref().unwrap()
    }

    /// Waits for the end of the program and checks that the terminal is as it was.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        let status = loop {
            self.read(Duration::from_millis(20));
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                started.elapsed() < TIMEOUT,
                "it does not end:\n{}",
                self.text()
            );
        };
        while self.read(Duration::from_millis(50)) {}
        self.check_restored();
        status
    }

    /// Checks that keys are echoed, and that the cursor is visible on the normal screen.
    #[track_caller]
    pub(crate) fn check_restored(&self) {
        let modes = tcgetattr(self.master()).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        let screen = self.screen.screen();
        assert!(
            !screen.alternate_screen() && !screen.hide_cursor(),
            "{}",
            self.text()
        );
    }

    /// Reads until nothing arrives for some time.
    pub(crate) fn settle(&mut self) {
        while self.read(Duration::from_millis(400)) {}
    }

    /// Checks that the screen contains all of these texts.
    #[track_caller]
    pub(crate) fn check_contains(&self, parts: &[&str]) {
        let text = self.text();
        for part in parts {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }

    /// Everything that the program wrote.
    pub(crate) fn written_text(&self) -> String {
        String::from_utf8_lossy(&self.written).into_owned()
    }

    /// Whether the program shows a screen of its own.
    pub(crate) fn is_screen(&self) -> bool {
        self.screen.screen().alternate_screen()
    }

    /// The lines on the screen.
    pub(crate) fn text(&self) -> String {
        let screen = self.screen.screen();
        let (_, columns) = screen.size();
        let lines: Vec<String> = screen
            .rows(0, columns.get())
            .map(|line| line.trim_end().to_owned())
            .collect();
        lines.join("\n").trim_end().to_owned()
    }

    /// Processes what arrives within the time. Returns `false` if nothing does.
    fn read(&mut self, time: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: time.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(self.master(), PollFlags::IN)];
        if poll(&mut fds, Some(&timeout)).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 1 << 14];
        match self.master().read(&mut bytes) {
            Ok(n @ 1..) => {
                self.screen.process(&bytes[..n]);
                self.written.extend_from_slice(&bytes[..n]);
                true
            }
            _ => {
                sleep(time); // the program has closed it
                false
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill(); // after a failed test
        let _ = self.child.wait();
    }
}

fn cells(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

fn size_of((lines, columns): Size) -> Winsize {
    Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
