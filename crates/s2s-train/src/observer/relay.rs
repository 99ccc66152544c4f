//! Relays the events of the training loop to an observer on another thread, so that writing to disk
//! does not delay training.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, Builder};

use s2s_model::REFERENCE_STACK_BYTES;
use s2s_runlog::{AttentionRecord, EvalRecord, MetricsRecord, TimingRecord, WrongOutput};

use super::{EvalEvent, Flow, Observer, Snapshot, StartEvent, StepRecord};
use crate::{Error, Result};

/// Runs `work` on a new thread and calls `observer` on the calling thread, with the same events in
/// the same order. `work` continues meanwhile; it waits with a checkpoint only while the previous
/// one is being saved, so at most two snapshots exist. All events are delivered on return.
///
/// The `Flow` that the observer returns is ignored. If the observer fails, `work` receives
/// [`Flow::Interrupt`] at its next event.
///
/// # Errors
/// If the observer fails, whatever `work` returns, or if the thread cannot be started.
///
/// # Panics
/// If `work` panics, after its events are delivered, or if the observer panics.
pub(crate) fn train_in_background<T: Send>(
    observer: &mut dyn Observer,
    work: impl FnOnce(&mut dyn Observer) -> T + Send,
) -> Result<T> {
    let (events, receiver) = channel();
    let (saved, is_saved) = channel();
    let mut sender = EventSender {
        unsent: Vec::new(),
        events,
        is_saved,
        is_saving: false,
    };
    thread::scope(|scope| {
        let worker = Builder::new()
            .name("training".to_owned())
            .stack_size(REFERENCE_STACK_BYTES)
            .spawn_scoped(scope, move || work(&mut sender))
            .map_err(Error::Thread)?;
        let delivered = deliver_all(receiver, &saved, observer);
        drop(saved); // otherwise `work` could wait for it forever
        match worker.join() {
            Ok(done) => delivered.map(|()| done),
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// An owned copy of an event.
enum Event {
    Start(Box<Records<EvalRecord>>),
    Probes(Vec<AttentionRecord>),
    Step(StepRecord),
    Eval(Box<Records<MetricsRecord>>),
    Checkpoint(Arc<Snapshot>),
}

/// The records of an evaluation.
struct Records<M> {
    metrics: M,
    timing: TimingRecord,
    probes: Vec<AttentionRecord>,
    wrong: Vec<WrongOutput>,
}

/// Delivers events until the sender is dropped or the observer fails.
fn deliver_all(
    receiver: Receiver<Vec<Event>>,
    saved: &Sender<()>,
    observer: &mut dyn Observer,
) -> Result<()> {
    for event in receiver.into_iter().flatten() {
        let _ignored = match event {
            Event::Start(records) => observer.on_start(&StartEvent {
                metrics: &records.metrics,
                timing: &records.timing,
                probes: &records.probes,
                wrong: &records.wrong,
            })?,
            Event::Probes(probes) => observer.on_probes(&probes)?,
            Event::Step(record) => observer.on_step(&record)?,
            Event::Eval(records) => observer.on_eval(&EvalEvent {
                metrics: &records.metrics,
                timing: &records.timing,
                probes: &records.probes,
                wrong: &records.wrong,
            })?,
            Event::Checkpoint(snapshot) => {
                let flow = observer.on_checkpoint(&snapshot)?;
                drop(snapshot);
                let _ = saved.send(()); // after the last checkpoint, nobody receives it
                flow
            }
        };
    }
    Ok(())
}

/// Events per message, unless a checkpoint comes first: waking the other thread costs more than
/// handling an event.
const EVENTS_PER_MESSAGE: usize = 50;

/// Sends all events to the observer's thread. Returns [`Flow::Interrupt`] once the receiver is
/// gone.
struct EventSender {
    unsent: Vec<Event>,
    events: Sender<Vec<Event>>,
    is_saved: Receiver<()>,
    is_saving: bool,
}

impl EventSender {
    fn add(&mut self, event: Event) -> Flow {
        self.unsent.push(event);
        match self.unsent.len() < EVENTS_PER_MESSAGE {
            true => self.poll_saved(),
            false => self.send(),
        }
    }

    fn send(&mut self) -> Flow {
        match self.events.send(std::mem::take(&mut self.unsent)) {
            Ok(()) => Flow::Continue,
            Err(_) => Flow::Interrupt,
        }
    }

    /// Checks without waiting whether the checkpoint has been saved.
    fn poll_saved(&mut self) -> Flow {
        match self.is_saved.try_recv() {
            Ok(()) => self.is_saving = false,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Flow::Interrupt,
        }
        Flow::Continue
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let _ = self.send(); // events before an error
    }
}

impl Observer for EventSender {
    fn on_start(&mut self, event: &StartEvent<'_>) -> Result<Flow> {
        let records = Records {
            metrics: event.metrics.clone(),
            timing: event.timing.clone(),
            probes: event.probes.to_vec(),
            wrong: event.wrong.to_vec(),
        };
        Ok(self.add(Event::Start(Box::new(records))))
    }

    fn on_probes(&mut self, probes: &[AttentionRecord]) -> Result<Flow> {
        Ok(self.add(Event::Probes(probes.to_vec())))
    }

    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        Ok(self.add(Event::Step(*record)))
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        let records = Records {
            metrics: event.metrics.clone(),
            timing: event.timing.clone(),
            probes: event.probes.to_vec(),
            wrong: event.wrong.to_vec(),
        };
        Ok(self.add(Event::Eval(Box::new(records))))
    }

    fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<Flow> {
        if self.is_saving && self.is_saved.recv().is_err() {
            return Ok(Flow::Interrupt);
        }
        self.is_saving = true;
        self.unsent.push(Event::Checkpoint(Arc::clone(snapshot)));
        Ok(self.send())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::sync_channel;

    use candle_core::Error as TensorError;

    use super::*;
    use crate::Tally;

    fn step(step: u64) -> StepRecord {
        StepRecord {
            step,
            total_steps: 1000,
            tally: Tally::default(),
            learning_rate: 0.0,
            grad_norm: 0.0,
            teacher_forcing_ratio: 0.0,
            secs: 0.0,
        }
    }

    fn snapshot(step: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            step,
            ..Snapshot::default()
        })
    }

    fn send_eval(observer: &mut dyn Observer, step: u64) -> Result<Flow> {
        observer.on_eval(&EvalEvent {
            metrics: &MetricsRecord {
                step,
                epoch: None,
                train_loss: 0.0,
                train_token_accuracy: 0.0,
                train_exact_match: 0.0,
                val_loss: 0.0,
                val_forced_loss: 0.0,
                exposure_gap: 0.0,
                val_token_accuracy: 0.0,
                val_exact_match: 0.0,
                learning_rate: 0.0,
                grad_norm: 0.0,
                teacher_forcing_ratio: 0.0,
                is_best: false,
                attempt: None,
            },
            timing: &TimingRecord {
                step,
                elapsed_secs: 0.0,
                train_secs: 0.0,
                eval_secs: 0.0,
                tokens_per_second: 0.0,
            },
            probes: &[AttentionRecord {
                step,
                source: Vec::new(),
                target: Vec::new(),
                prediction: Vec::new(),
                is_exact: false,
                weights: Vec::new(),
            }],
            wrong: &[],
        })
    }

    /// Records its events and always returns `Interrupt`. A checkpoint waits for the gate, and
    /// fails at step `fails_at`.
    #[derive(Default)]
    struct Recorder {
        events: Vec<(&'static str, u64)>,
        gate: Option<Receiver<()>>,
        fails_at: Option<u64>,
    }

    impl Observer for Recorder {
        fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
            self.events.push(("step", record.step));
            Ok(Flow::Interrupt)
        }

        fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
            let steps = [event.metrics.step, event.timing.step, event.probes[0].step];
            assert_eq!(steps, [steps[0]; 3]);
            self.events.push(("eval", steps[0]));
            Ok(Flow::Interrupt)
        }

        fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<Flow> {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            self.events.push(("checkpoint", snapshot.step));
            match self.fails_at == Some(snapshot.step) {
                true => Err(TensorError::Msg("no room".to_owned()).into()),
                false => Ok(Flow::Interrupt),
            }
        }
    }

    #[test]
    fn all_events_are_delivered_in_order_before_it_returns() -> Result<()> {
        let mut recorder = Recorder::default();
        let n = 3 * EVENTS_PER_MESSAGE as u64 + 7;
        let done = train_in_background(&mut recorder, |observer| -> Result<&str> {
            for at in 1..=n {
                assert_eq!(observer.on_step(&step(at))?, Flow::Continue);
                if at.is_multiple_of(70) {
                    assert!(send_eval(observer, at)? == Flow::Continue);
                    assert!(observer.on_checkpoint(&snapshot(at))? == Flow::Continue);
                }
            }
            Ok("done")
        })?;
        assert_eq!(done?, "done");
        let expected = (1..=n).flat_map(|at| {
            let rest = ["eval", "checkpoint"].map(|what| (what, at));
            let is_eval = at.is_multiple_of(70);
            [("step", at)]
                .into_iter()
                .chain(rest.into_iter().filter(move |_| is_eval))
        });
        assert_eq!(recorder.events, expected.collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn work_continues_while_a_checkpoint_is_saved_and_waits_before_the_next() -> Result<()> {
        let (open, gate) = sync_channel(2);
        let mut recorder = Recorder {
            gate: Some(gate),
            ..Recorder::default()
        };
        train_in_background(&mut recorder, move |observer| -> Result<()> {
            let first = snapshot(1);
            let _ = observer.on_checkpoint(&first)?; // returns although the gate is closed
            let _ = observer.on_step(&step(2))?;
            assert_eq!(Arc::strong_count(&first), 2, "it is still being saved");
            let _ = open.send(());
            let _ = observer.on_checkpoint(&snapshot(3))?;
            assert_eq!(Arc::strong_count(&first), 1, "it has been saved");
            let _ = open.send(());
            Ok(())
        })??;
        assert_eq!(
            recorder.events,
            [("checkpoint", 1), ("step", 2), ("checkpoint", 3)]
        );
        Ok(())
    }

    #[test]
    fn an_observer_failure_ends_the_work_and_is_returned() {
        for has_second in [false, true] {
            let mut recorder = Recorder {
                fails_at: Some(1),
                ..Recorder::default()
            };
            let result = train_in_background(&mut recorder, |observer| -> Result<()> {
                let _ = observer.on_checkpoint(&snapshot(1))?;
                if has_second {
                    assert!(observer.on_checkpoint(&snapshot(2))? == Flow::Interrupt);
                }
                // Without the interrupt this loop would never end.
                while observer.on_step(&step(3))? == Flow::Continue {
                    thread::yield_now();
                }
                Ok(())
            });
            let error = result.expect_err("nothing was saved").to_string();
            assert!(error.contains("no room"), "{error}");
            assert_eq!(recorder.events, [("checkpoint", 1)]);
        }
    }

    #[test]
    fn events_are_delivered_before_an_error_or_a_panic_of_the_work() -> Result<()> {
        let mut recorder = Recorder::default();
        let result = train_in_background(&mut recorder, |observer| -> Result<()> {
            let _ = observer.on_step(&step(1))?;
            Err(TensorError::Msg("diverged".to_owned()).into())
        })?;
        assert!(result.is_err());
        let work = |observer: &mut dyn Observer| -> Result<()> {
            let _ = observer.on_step(&step(2))?;
            panic!("on purpose");
        };
        let caught = catch_unwind(AssertUnwindSafe(|| {
            train_in_background(&mut recorder, work)
        }));
        let panic = caught.expect_err("the panic is propagated");
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        assert_eq!(recorder.events, [("step", 1), ("step", 2)]);
        Ok(())
    }
}
