//! What a loop tells an observer, told on another thread: what that does on disk takes no time from
//! training.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, Builder};

use s2s_model::REFERENCE_STACK_BYTES;
use s2s_runlog::{AttentionRecord, MetricsRecord, TimingRecord};

use super::{EvalEvent, Flow, Observer, Snapshot, StepRecord};
use crate::{Error, Result};

/// Does `work` on a thread of its own, and tells `observer` on the caller's what happens, in the same
/// order. The work goes on meanwhile, and waits with a checkpoint only where the one before is still
/// being saved: no more than two are ever held. All has been told on return.
///
/// The observer listens only: what it would break goes on. Where it fails, the work's own observer
/// breaks at the next event.
///
/// # Errors
/// If the observer fails, whatever the work returns; or if no thread is to be had.
///
/// # Panics
/// If the work does, once the observer was told what had happened by then; or if the observer does.
pub(crate) fn beside<T: Send>(
    observer: &mut dyn Observer,
    work: impl FnOnce(&mut dyn Observer) -> T + Send,
) -> Result<T> {
    let (events, inbox) = channel();
    let (saved, is_saved) = channel();
    let mut messenger = Messenger {
        unsent: Vec::new(),
        events,
        is_saved,
        is_saving: false,
    };
    thread::scope(|scope| {
        let worker = Builder::new()
            .name("training".to_owned())
            .stack_size(REFERENCE_STACK_BYTES)
            .spawn_scoped(scope, move || work(&mut messenger))
            .map_err(Error::Thread)?;
        let told = tell_all(inbox, &saved, observer);
        drop(saved); // or the work would wait for it
        match worker.join() {
            Ok(done) => told.map(|()| done),
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// What an observer is told, to be kept.
enum Event {
    Step(StepRecord),
    Eval(Box<(MetricsRecord, TimingRecord, AttentionRecord)>),
    Checkpoint(Arc<Snapshot>),
}

/// Tells of all events until there are no more, or the observer fails.
fn tell_all(
    inbox: Receiver<Vec<Event>>,
    saved: &Sender<()>,
    observer: &mut dyn Observer,
) -> Result<()> {
    for event in inbox.into_iter().flatten() {
        let _only_listens = match event {
            Event::Step(record) => observer.on_step(&record)?,
            Event::Eval(records) => {
                let (metrics, timing, probe) = &*records;
                observer.on_eval(&EvalEvent {
                    metrics,
                    timing,
                    probe,
                })?
            }
            Event::Checkpoint(snapshot) => {
                let flow = observer.on_checkpoint(&snapshot)?;
                drop(snapshot);
                let _ = saved.send(()); // nobody waits after the last
                flow
            }
        };
    }
    Ok(())
}

/// Events that are sent together, if no checkpoint comes before: to wake another thread takes longer
/// than to tell it something.
const N_TOGETHER: usize = 50;

/// Sends all events to where they are told. It breaks where nobody listens any more.
struct Messenger {
    unsent: Vec<Event>,
    events: Sender<Vec<Event>>,
    is_saved: Receiver<()>,
    is_saving: bool,
}

impl Messenger {
    fn add(&mut self, event: Event) -> Flow {
        self.unsent.push(event);
        match self.unsent.len() < N_TOGETHER {
            true => self.hear(),
            false => self.send(),
        }
    }

    fn send(&mut self) -> Flow {
        match self.events.send(std::mem::take(&mut self.unsent)) {
            Ok(()) => Flow::Continue,
            Err(_) => Flow::Interrupt,
        }
    }

    /// Whether a checkpoint has been saved, without waiting for it.
    fn hear(&mut self) -> Flow {
        match self.is_saved.try_recv() {
            Ok(()) => self.is_saving = false,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Flow::Interrupt,
        }
        Flow::Continue
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        let _ = self.send(); // what was told before an error, and not yet sent
    }
}

impl Observer for Messenger {
    fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
        Ok(self.add(Event::Step(*record)))
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
        let records = (
            event.metrics.clone(),
            event.timing.clone(),
            event.probe.clone(),
        );
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
        }
    }

    fn snapshot(step: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            step,
            ..Snapshot::default()
        })
    }

    fn tell_eval(observer: &mut dyn Observer, step: u64) -> Result<Flow> {
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
            },
            timing: &TimingRecord {
                step,
                elapsed_secs: 0.0,
                train_secs: 0.0,
                eval_secs: 0.0,
                tokens_per_second: 0.0,
            },
            probe: &AttentionRecord {
                step,
                source: Vec::new(),
                target: Vec::new(),
                prediction: Vec::new(),
                is_exact: false,
                weights: Vec::new(),
            },
        })
    }

    /// Keeps what it is told, and breaks each time; a checkpoint waits until it may go on, and fails
    /// where it should.
    #[derive(Default)]
    struct Witness {
        told: Vec<(&'static str, u64)>,
        gate: Option<Receiver<()>>,
        fails_at: Option<u64>,
    }

    impl Observer for Witness {
        fn on_step(&mut self, record: &StepRecord) -> Result<Flow> {
            self.told.push(("step", record.step));
            Ok(Flow::Interrupt)
        }

        fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<Flow> {
            let steps = [event.metrics.step, event.timing.step, event.probe.step];
            assert_eq!(steps, [steps[0]; 3]);
            self.told.push(("eval", steps[0]));
            Ok(Flow::Interrupt)
        }

        fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<Flow> {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            self.told.push(("checkpoint", snapshot.step));
            match self.fails_at == Some(snapshot.step) {
                true => Err(TensorError::Msg("no room".to_owned()).into()),
                false => Ok(Flow::Interrupt),
            }
        }
    }

    #[test]
    fn everything_is_told_in_order_before_it_returns() -> Result<()> {
        let mut witness = Witness::default();
        let n = 3 * N_TOGETHER as u64 + 7;
        let done = beside(&mut witness, |observer| -> Result<&str> {
            for at in 1..=n {
                assert_eq!(observer.on_step(&step(at))?, Flow::Continue);
                if at.is_multiple_of(70) {
                    assert!(tell_eval(observer, at)? == Flow::Continue);
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
        assert_eq!(witness.told, expected.collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn work_goes_on_while_a_checkpoint_is_saved_and_waits_before_the_next() -> Result<()> {
        let (open, gate) = sync_channel(2);
        let mut witness = Witness {
            gate: Some(gate),
            ..Witness::default()
        };
        beside(&mut witness, move |observer| -> Result<()> {
            let first = snapshot(1);
            let _ = observer.on_checkpoint(&first)?; // returns, though the gate is shut
            let _ = observer.on_step(&step(2))?;
            assert_eq!(Arc::strong_count(&first), 2, "it is still held");
            let _ = open.send(());
            let _ = observer.on_checkpoint(&snapshot(3))?;
            assert_eq!(Arc::strong_count(&first), 1, "it has been dealt with");
            let _ = open.send(());
            Ok(())
        })??;
        assert_eq!(
            witness.told,
            [("checkpoint", 1), ("step", 2), ("checkpoint", 3)]
        );
        Ok(())
    }

    #[test]
    fn a_failure_ends_the_work_and_is_what_comes_of_it() {
        for has_second in [false, true] {
            let mut witness = Witness {
                fails_at: Some(1),
                ..Witness::default()
            };
            let result = beside(&mut witness, |observer| -> Result<()> {
                let _ = observer.on_checkpoint(&snapshot(1))?;
                if has_second {
                    assert!(observer.on_checkpoint(&snapshot(2))? == Flow::Interrupt);
                }
                // It breaks as soon as the failure is known, which this would wait for without end.
                while observer.on_step(&step(3))? == Flow::Continue {
                    thread::yield_now();
                }
                Ok(())
            });
            let error = result.expect_err("nothing was saved").to_string();
            assert!(error.contains("no room"), "{error}");
            assert_eq!(witness.told, [("checkpoint", 1)]);
        }
    }

    #[test]
    fn an_error_or_a_panic_of_the_work_comes_after_what_it_told() -> Result<()> {
        let mut witness = Witness::default();
        let result = beside(&mut witness, |observer| -> Result<()> {
            let _ = observer.on_step(&step(1))?;
            Err(TensorError::Msg("diverged".to_owned()).into())
        })?;
        assert!(result.is_err());
        let work = |observer: &mut dyn Observer| -> Result<()> {
            let _ = observer.on_step(&step(2))?;
            panic!("as it should");
        };
        let caught = catch_unwind(AssertUnwindSafe(|| beside(&mut witness, work)));
        let panic = caught.expect_err("the panic goes on");
        assert_eq!(panic.downcast_ref(), Some(&"as it should"));
        assert_eq!(witness.told, [("step", 1), ("step", 2)]);
        Ok(())
    }
}
