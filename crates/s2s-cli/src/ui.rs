//! The only module that writes to the standard streams.
//!
//! Data go to standard output, messages to standard error, above the progress bar if there is one and
//! after the dashboard if there is one. Failures to write to standard error are ignored.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use console::{StyledObject, Term, style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use s2s_viz::{Ink, clean};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Line width without a terminal.
const DEFAULT_WIDTH: usize = 100;

/// The streams, and a progress bar that is hidden until [`Ui::show_bar`].
#[derive(Clone)]
pub(crate) struct Ui {
    bar: ProgressBar,
    held: Arc<Mutex<Option<String>>>, // messages while a dashboard is on the screen
}

impl Ui {
    /// Also sets up logging to standard error: warnings by default, more with `verbosity`.
    pub(crate) fn start(verbosity: u8) -> Self {
        let ui = Self {
            bar: ProgressBar::hidden(),
            held: Arc::default(),
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

    /// Writes data and flushes. On a terminal, control characters in the data have no effect.
    pub(crate) fn data(&self, text: &str) -> anyhow::Result<()> {
        match io::stdout().is_terminal() {
            true => self.report(&clean_lines(text)),
            false => self.report(text),
        }
    }

    /// Writes a report, which may be styled: the data in it are [cleaned](clean) already.
    pub(crate) fn report(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .context("cannot write to standard output")
    }

    /// Writes a message of one or more lines to standard error. Control characters have no effect.
    pub(crate) fn message(&self, text: impl Display) {
        self.styled(clean_lines(&text.to_string()));
    }

    /// Writes a warning to standard error.
    pub(crate) fn warning(&self, text: impl Display) {
        self.labeled(style("warning").yellow(), text);
    }

    /// Writes an error to standard error.
    pub(crate) fn error(&self, text: impl Display) {
        self.labeled(style("error").red(), text);
    }

    fn labeled(&self, label: StyledObject<&str>, text: impl Display) {
        let text = clean_lines(&text.to_string());
        self.styled(format!("{}: {text}", label.bold().for_stderr()));
    }

    /// Writes a message that may be styled: the data in it are [cleaned](clean) already.
    pub(crate) fn styled(&self, text: impl Display) {
        self.write_message(&format!("{text}\n")).unwrap_or_default();
    }

    fn write_message(&self, text: &str) -> io::Result<()> {
        match &mut *self.held() {
            Some(held) => held.push_str(text),
            None => return self.bar.suspend(|| io::stderr().write_all(text.as_bytes())),
        }
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds messages back until [`Ui::release`], while a dashboard is on the screen.
    pub(crate) fn hold(&self) {
        self.held().get_or_insert_default();
    }

    /// Writes the messages that were held back.
    pub(crate) fn release(&self) {
        if let Some(held) = self.held().take() {
            io::stderr().write_all(held.as_bytes()).unwrap_or_default();
        }
    }

    /// The last line of the messages that are held back.
    pub(crate) fn last_held(&self) -> Option<String> {
        let held = self.held();
        let line = held.as_ref()?.lines().next_back()?;
        Some(console::strip_ansi_codes(line).into_owned())
    }

    /// Writes a part of a dashboard's frame to standard error.
    pub(crate) fn frame(&self, bytes: &[u8]) -> io::Result<()> {
        io::stderr().write_all(bytes)
    }

    /// Replaces the last lines of standard error, which is a terminal, with others.
    pub(crate) fn replace_lines(&self, n_lines: usize, lines: &[String]) {
        let term = Term::stderr();
        // A terminal that is gone shows nothing.
        let _ = term.clear_last_lines(n_lines);
        for line in lines {
            let _ = term.write_line(line);
        }
    }

    /// Whether standard error is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Whether a dashboard can be shown: all three streams are a terminal that moves its cursor and shows
    /// Unicode.
    pub(crate) fn is_screen(&self) -> bool {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        is_terminal && self.is_terminal() && !is_dumb() && is_unicode()
    }

    /// What pictures on standard error consist of.
    pub(crate) fn ink(&self) -> Ink {
        match self.is_terminal() && (is_dumb() || !is_unicode()) {
            true => Ink::Ascii,
            false if !console::colors_enabled_stderr() => Ink::Plain,
            false if console::true_colors_enabled_stderr() => Ink::Color,
            false => Ink::Indexed,
        }
    }

    /// Width of standard error in columns.
    pub(crate) fn width(&self) -> usize {
        let size = Term::stderr().size_checked();
        size.map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns))
    }

    /// Shows the progress bar on a terminal at `done` of `total` steps.
    pub(crate) fn show_bar(&self, done: u64, total: u64) {
        self.show("{pos}/{len}", done, total);
    }

    /// Shows the progress bar on a terminal in percent of `total` units.
    pub(crate) fn show_percent_bar(&self, total: u64) {
        self.show("{percent} %", 0, total);
    }

    fn show(&self, counter: &str, done: u64, total: u64) {
        let style = ProgressStyle::with_template(&format!(
            "{{bar:24.cyan/black.bright}} {counter}  {{msg}}  {{eta}} left"
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

    /// Updates the progress bar if it is visible.
    pub(crate) fn move_bar(&self, done: u64, message: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message());
            self.bar.set_position(done);
        }
    }

    /// Removes the progress bar.
    pub(crate) fn hide_bar(&self) {
        self.bar.finish_and_clear();
    }
}

/// Whether the terminal only writes lines.
fn is_dumb() -> bool {
    std::env::var("TERM").map_or(true, |term| term.is_empty() || term == "dumb")
}

/// Whether the locale has Unicode; true if no locale is set.
fn is_unicode() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| std::env::var(name).unwrap_or_default());
    let locale = set.into_iter().find(|locale| !locale.is_empty());
    locale.is_none_or(|locale| locale.to_lowercase().replace('-', "").contains("utf8"))
}

/// Replaces all control characters but line ends and tabs, for a terminal.
fn clean_lines(text: &str) -> String {
    let parts = text.split_inclusive(['\n', '\t']);
    parts
        .map(|part| match part.strip_suffix(['\n', '\t']) {
            Some(line) => clean(line) + &part[line.len()..],
            None => clean(part),
        })
        .collect()
}

/// Log lines are messages.
impl MakeWriter<'_> for Ui {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Ui {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_message(&String::from_utf8_lossy(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
