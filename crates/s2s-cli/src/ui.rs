//! The only module that writes to the standard streams.
//!
//! Data go to standard output, talk to standard error: above the progress bar, where there is one.
//! Standard error may be closed or full, and that is no reason to fail.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How wide lines may be where there is no terminal to ask.
const DEFAULT_WIDTH: usize = 100;

/// The streams, and a progress bar that is hidden until [`Ui::show_bar`].
#[derive(Clone)]
pub(crate) struct Ui {
    bar: ProgressBar,
}

impl Ui {
    /// Sets up logging to standard error as well: warnings, or more if asked for.
    pub(crate) fn start(verbosity: u8) -> Self {
        let ui = Self {
            bar: ProgressBar::hidden(),
        };
        let level = match verbosity {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let filter = EnvFilter::builder()
            .with_default_directive(level.into())
            .from_env_lossy();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(console::colors_enabled_stderr())
            .with_target(false)
            .without_time()
            .with_writer(ui.clone())
            .init();
        ui
    }

    /// Writes data, at once.
    pub(crate) fn data(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .context("cannot write to standard output")
    }

    /// Writes a line, or lines, for a person to read.
    pub(crate) fn talk(&self, text: impl Display) {
        self.bar
            .suspend(|| writeln!(io::stderr(), "{text}"))
            .unwrap_or_default();
    }

    /// Whether somebody sees standard error as it is written.
    pub(crate) fn is_watched(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Columns of standard error.
    pub(crate) fn width(&self) -> usize {
        let size = Term::stderr().size_checked();
        size.map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns))
    }

    /// Shows the progress bar on a terminal, `done` steps of `total` long.
    pub(crate) fn show_bar(&self, done: u64, total: u64) {
        self.show("{pos}/{len}", done, total);
    }

    /// Shows the progress bar on a terminal, for work of `total` parts that say nothing to a user.
    pub(crate) fn show_percent_bar(&self, total: u64) {
        self.show("{percent} %", 0, total);
    }

    fn show(&self, how_far: &str, done: u64, total: u64) {
        let style = ProgressStyle::with_template(&format!(
            "{{bar:24.cyan/black.bright}} {how_far}  {{msg}}  {{eta}} left"
        ));
        self.bar.set_style(
            style
                .expect("the template is well-formed")
                .progress_chars("━╸━"),
        );
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.reset_eta();
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    /// Moves the progress bar, if it is to be seen.
    pub(crate) fn move_bar(&self, done: u64, message: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message());
            self.bar.set_position(done);
        }
    }

    /// Takes the progress bar away.
    pub(crate) fn hide_bar(&self) {
        self.bar.finish_and_clear();
    }
}

/// For log lines.
impl MakeWriter<'_> for Ui {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Ui {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bar.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
