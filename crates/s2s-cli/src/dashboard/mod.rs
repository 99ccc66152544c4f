//! A display of a run on a terminal: curves, attention, wrong outputs.
//!
//! ```text
//! training thread, or `watch` ── events ──> thread of the dashboard ──> Shown ──> draw ──> Screen
//! ```
//!
//! Training never waits for the dashboard: events go through a channel, and the terminal is written on a
//! thread of its own. Once a signal arrives, the dashboard ends, so that the rest is as without it.

mod attention;
mod draw;
mod lines;
mod screen;
mod shown;
mod style;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use s2s_runlog::{AttentionRecord, MetricsRecord, WrongOutput, WrongRecord};
use s2s_train::{EvalEvent, Flow, Observer, Result, StartEvent, StepRecord};

use self::draw::{View, draw, draw_last};
use self::screen::{Screen, Waited, is_foreground, leave, wait_for_end, wait_for_keys};
pub(crate) use self::shown::Shown;
use crate::signals;
use crate::ui::Ui;

/// Time between two frames at least, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(250);

/// Time between two looks at the events and signals.
const TICK: Duration = Duration::from_millis(100);

/// Lines of the last frame at most, so that the report below it is on the same screen.
const LAST_LINES: u16 = 24;

/// Seconds of training over which the throughput is averaged.
const RATE_SECS: f64 = 2.0;

/// Whether a dashboard can be shown: on a terminal, in the foreground.
pub(crate) fn is_possible(ui: &Ui) -> bool {
    ui.is_screen() && is_foreground()
}

/// What `q` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quit {
    /// The same as Ctrl-C.
    Interrupt,
    /// It ends the dashboard.
    Leave,
}

/// A dashboard on the screen. Dropping it leaves the last frame on the terminal.
#[derive(Debug)]
pub(crate) struct Dashboard {
    events: Sender<Event>,
    end: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// A change of what is shown.
enum Event {
    Start(f64, f64), // loss, accuracy
    Step(StepRecord),
    Evaluation(Box<MetricsRecord>),
    Probes(Vec<AttentionRecord>),
    Wrong(WrongRecord),
    Whole(Box<Shown>),
}

impl Dashboard {
    /// Shows a run.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub(crate) fn start(ui: &Ui, shown: Shown, quit: Quit) -> io::Result<Self> {
        let (events, receiver) = channel();
        let (end, is_ended) = UnixStream::pair()?;
        let screen = Some(Screen::enter(ui)?);
        let show = DashboardThread {
            ui: ui.clone(),
            view: view(ui, quit),
            shown,
            frozen: None,
            quit,
            events: receiver,
            is_ended,
            screen,
            started: None,
            rate: (0.0, 0.0),
        };
        let thread = Builder::new().name("dashboard".to_owned());
        let thread = thread.spawn(move || show.run()).inspect_err(|_| {
            leave(ui);
            ui.release();
        })?;
        Ok(Self {
            events,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Shows another state of the run.
    pub(crate) fn replace(&self, shown: Shown) {
        self.send(Event::Whole(Box::new(shown)));
    }

    /// Whether it has ended, by a key or a signal.
    pub(crate) fn is_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn send(&self, event: Event) {
        let _ = self.events.send(event); // nobody receives it after a signal
    }

    fn send_evaluation(&self, step: u64, probes: &[AttentionRecord], wrong: &[WrongOutput]) {
        self.send(Event::Probes(probes.to_vec()));
        let outputs = wrong.to_vec();
        self.send(Event::Wrong(WrongRecord { step, outputs }));
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic has been reported
        }
    }
}

impl Observer for Dashboard {
    fn on_start(&mut self, event: &StartEvent<'_>) -> Result<Flow> {
        self.send(Event::Start(
            event.metrics.loss,
            event.metrics.token_accuracy,
        ));
        self.send_evaluation(0, event.probes, event.wrong);
        Ok(Flow::Continue)
    }

    fn on_probes(&mut self, probes: &[AttentionRecord]) -> Result<Flow> {
        self.send(Event::Probes(probes.to_vec()));
        Ok(Flow::Continue)
    }

    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        self.send(Event::Step(*record));
        Ok(Flow::Continue)
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        self.send(Event::Evaluation(Box::new(event.metrics.clone())));
        self.send_evaluation(event.metrics.step, event.probes, event.wrong);
        Ok(Flow::Continue)
    }
}

/// Prints the frame of a run that has ended.
pub(crate) fn print(ui: &Ui, shown: &Shown) {
    print_frame(ui, shown, &view(ui, Quit::Leave));
}

fn print_frame(ui: &Ui, shown: &Shown, view: &View) {
    let Rect { width, height, .. } = screen::area();
    let area = Rect::new(0, 0, width, height.saturating_sub(1).min(LAST_LINES));
    let mut buffer = Buffer::empty(area);
    draw_last(shown, view, area, &mut buffer);
    ui.styled(lines::lines(&buffer));
}

fn view(ui: &Ui, quit: Quit) -> View {
    View {
        ink: ui.ink(),
        quits: match quit {
            Quit::Interrupt => "save and stop",
            Quit::Leave => "stop watching",
        },
        sample: 0,
        has_help: false,
        is_frozen: false,
        note: None,
    }
}

/// The thread of a dashboard.
struct DashboardThread {
    ui: Ui,
    view: View,
    shown: Shown,
    frozen: Option<Box<Shown>>,
    quit: Quit,
    events: Receiver<Event>,
    is_ended: UnixStream,
    screen: Option<Screen>,          // `None` in the background
    started: Option<(Instant, u64)>, // when the first event of a step arrived
    rate: (f64, f64),                // tokens and seconds of the last steps
}

impl DashboardThread {
    fn run(mut self) {
        // The terminal may be gone, which ends the display but not the run.
        let _ = self.show();
        self.receive();
        let was_screen = self.screen.take().is_some();
        leave(&self.ui);
        if was_screen {
            print_frame(&self.ui, &self.shown, &self.view);
        }
        self.ui.release();
    }

    /// Shows the run until it ends, a signal arrives or the user quits.
    fn show(&mut self) -> io::Result<()> {
        let (mut is_changed, mut drawn) = (true, None::<Instant>);
        loop {
            is_changed |= self.receive();
            let Some(screen) = &mut self.screen else {
                if is_foreground() {
                    self.screen = Some(Screen::enter(&self.ui)?);
                    (is_changed, drawn) = (true, None);
                } else if wait_for_end(&self.is_ended, TICK)? {
                    return Ok(());
                }
                continue;
            };
            let is_resized = screen.resize()?;
            if is_resized || is_changed && drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
                self.view.note = self.ui.last_held();
                let shown = self.frozen.as_deref().unwrap_or(&self.shown);
                screen.draw(|area, buffer| draw(shown, &self.view, area, buffer))?;
                (is_changed, drawn) = (false, Some(Instant::now()));
            }
            let keys = match wait_for_keys(&self.is_ended, TICK)? {
                Waited::Ended => return Ok(()),
                Waited::Keys(keys) => keys,
            };
            for key in keys {
                if key == b'q' && self.quit == Quit::Leave {
                    return Ok(());
                }
                self.press(key)?;
                (is_changed, drawn) = (true, None);
            }
            if signals::is_received() {
                return Ok(());
            }
            if signals::is_suspended() || !is_foreground() {
                self.screen = None;
                leave(&self.ui);
                self.ui.release();
                if signals::is_suspended() {
                    signals::suspend()?;
                    self.started = None; // the time left is estimated anew
                }
            }
        }
    }

    fn press(&mut self, key: u8) -> io::Result<()> {
        match key {
            b'q' => signals::interrupt()?,
            b' ' => {
                self.frozen = match self.frozen.take() {
                    Some(_) => None,
                    None => Some(Box::new(self.shown.clone())),
                };
                self.view.is_frozen = self.frozen.is_some();
            }
            b'1'..=b'4' => self.view.sample = usize::from(key - b'1'),
            b'?' => self.view.has_help ^= true,
            _ => self.view.has_help = false,
        }
        Ok(())
    }

    /// Applies the events that have arrived. Returns whether there was one.
    fn receive(&mut self) -> bool {
        let mut is_changed = false;
        while let Ok(event) = self.events.try_recv() {
            self.apply(event);
            is_changed = true;
        }
        is_changed
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Start(loss, accuracy) => self.shown.add_start(loss, accuracy),
            Event::Step(record) => self.add_step(&record),
            Event::Evaluation(metrics) => self.shown.add_evaluation(&metrics),
            Event::Probes(probes) => self.shown.probes = probes,
            Event::Wrong(wrong) => self.shown.wrong = Some(wrong),
            Event::Whole(shown) => self.shown = *shown,
        }
    }

    fn add_step(&mut self, record: &StepRecord) {
        let tally = &record.tally;
        self.shown
            .add_step(record.step, tally.loss(), tally.token_accuracy());
        let keeps = (-record.secs / RATE_SECS).exp();
        self.rate.0 = self.rate.0 * keeps + tally.n_tokens as f64;
        self.rate.1 = self.rate.1 * keeps + record.secs;
        self.shown.tokens_per_second = Some(self.rate.0 / self.rate.1.max(f64::MIN_POSITIVE));
        let (at, first) = *self.started.get_or_insert((Instant::now(), record.step));
        let n_steps = record.step.saturating_sub(first);
        if n_steps > 0 {
            self.shown.secs_per_step = Some(at.elapsed().as_secs_f64() / n_steps as f64);
        }
    }
}
