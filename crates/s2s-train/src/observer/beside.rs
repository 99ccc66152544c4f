//! An observer beside the loop: what it does on disk takes no time from training.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Builder};

use candle_core::Error as TensorError;
use s2s_model::REFERENCE_STACK_BYTES;
use s2s_runlog::{AttentionRecord, MetricsRecord, TimingRecord};

use super::{EvalEvent, Observer, StepRecord};
use crate::{Result, Snapshot};

/// Does `work` on a thread of its own, and tells `observer` on the caller's what happens, in the same
/// order. The work goes on meanwhile, and waits with a checkpoint only where the one before is still
/// being saved: no more than two are ever held. All has been told on return.
///
/// Where the observer fails or breaks, the work's own observer breaks at the next event.
///
/// # Errors
/// If the observer fails, whatever came of the work; or if no thread is to be had.
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
            .map_err(TensorError::wrap)?;
        let told = retell(inbox, &saved, observer);
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

/// Tells of all events until there are no more, or the observer breaks.
fn retell(
    inbox: Receiver<Vec<Event>>,
    saved: &Sender<()>,
    observer: &mut dyn Observer,
) -> Result<()> {
    for event in inbox.into_iter().flatten() {
        let flow = match event {
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
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// Events that are sent together, if no checkpoint comes before: to wake another thread takes longer
/// than to tell it something.
const N_TOGETHER: usize = 50;

/// Sends all events to where they are told.
struct Messenger {
    unsent: Vec<Event>,
    events: Sender<Vec<Event>>,
    is_saved: Receiver<()>,
    is_saving: bool,
}

impl Messenger {
    fn send(&mut self) -> ControlFlow<()> {
        let events = std::mem::take(&mut self.unsent);
        flow(self.events.send(events))
    }
}

/// `Break` if nobody listens any more.
fn flow<T, E>(told: Result<T, E>) -> ControlFlow<()> {
    match told {
        Ok(_) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

impl Drop for Messenger {
    fn drop(&mut self) {
        let _ = self.send(); // what was before an error
    }
}

impl Observer for Messenger {
    fn on_step(&mut self, record: &StepRecord) -> Result<ControlFlow<()>> {
        self.unsent.push(Event::Step(*record));
        Ok(match self.unsent.len() < N_TOGETHER {
            true => ControlFlow::Continue(()),
            false => self.send(),
        })
    }

    fn on_eval(&mut self, event: &EvalEvent<'_>) -> Result<ControlFlow<()>> {
        let records = (
            event.metrics.clone(),
            event.timing.clone(),
            event.probe.clone(),
        );
        self.unsent.push(Event::Eval(Box::new(records)));
        Ok(ControlFlow::Continue(())) // its checkpoint comes next
    }

    fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<ControlFlow<()>> {
        if self.is_saving && flow(self.is_saved.recv()).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.is_saving = true;
        self.unsent.push(Event::Checkpoint(Arc::clone(snapshot)));
        Ok(self.send())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::SyncSender;

    use super::*;
    use crate::{Error, Tally};

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

    /// Keeps what it is told; a checkpoint waits until it may go on, and fails where it should.
    #[derive(Default)]
    struct Witness {
        told: Vec<(&'static str, u64)>,
        gate: Option<Receiver<()>>,
        fails_at: Option<u64>,
    }

    impl Observer for Witness {
        fn on_step(&mut self, record: &StepRecord) -> Result<ControlFlow<()>> {
            self.told.push(("step", record.step));
            Ok(ControlFlow::Continue(()))
        }

        fn on_checkpoint(&mut self, snapshot: &Arc<Snapshot>) -> Result<ControlFlow<()>> {
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
            self.told.push(("checkpoint", snapshot.step));
            match self.fails_at == Some(snapshot.step) {
                true => Err(Error::Tensor(TensorError::Msg("no room".to_owned()))),
                false => Ok(ControlFlow::Continue(())),
            }
        }
    }

    #[test]
    fn everything_is_told_in_order_before_it_returns() -> Result<()> {
        let mut witness = Witness::default();
        let n = 3 * N_TOGETHER as u64 + 7;
        let done = beside(&mut witness, |observer| -> Result<&str> {
            for at in 1..=n {
                assert!(observer.on_step(&step(at))?.is_continue());
                if at.is_multiple_of(20) {
                    assert!(observer.on_checkpoint(&snapshot(at))?.is_continue());
                }
            }
            Ok("done")
        })?;
        assert_eq!(done?, "done");
        let expected = (1..=n).flat_map(|at| {
            let saved = at.is_multiple_of(20).then_some(("checkpoint", at));
            [Some(("step", at)), saved].into_iter().flatten()
        });
        assert_eq!(witness.told, expected.collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn work_goes_on_while_a_checkpoint_is_saved_and_waits_before_the_next() -> Result<()> {
        let (open, gate): (SyncSender<()>, _) = std::sync::mpsc::sync_channel(2);
        let mut witness = Witness {
            gate: Some(gate),
            ..Witness::default()
        };
        let first = snapshot(1);
        beside(&mut witness, |observer| -> Result<()> {
            let _ = observer.on_checkpoint(&first)?;
            let _ = observer.on_step(&step(2))?; // or this would never come
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
        let mut witness = Witness {
            fails_at: Some(1),
            ..Witness::default()
        };
        let mut last = 0;
        let result = beside(&mut witness, |observer| -> Result<()> {
            let _ = observer.on_checkpoint(&snapshot(1))?;
            assert!(observer.on_checkpoint(&snapshot(2))?.is_break());
            for at in 3.. {
                last = at;
                if observer.on_step(&step(at))?.is_break() {
                    break;
                }
            }
            Ok(())
        });
        let error = result.expect_err("nothing was saved").to_string();
        assert!(error.contains("no room"), "{error}");
        assert_eq!(witness.told, [("checkpoint", 1)]);
        assert!(last < 3 + N_TOGETHER as u64);
    }

    #[test]
    fn a_panic_of_the_work_comes_after_what_it_told() {
        let mut witness = Witness::default();
        let work = |observer: &mut dyn Observer| -> Result<()> {
            let _ = observer.on_step(&step(1))?;
            panic!("as it should");
        };
        let caught = catch_unwind(AssertUnwindSafe(|| beside(&mut witness, work)));
        let panic = caught.expect_err("the panic goes on");
        assert_eq!(panic.downcast_ref(), Some(&"as it should"));
        assert_eq!(witness.told, [("step", 1)]);
    }
}
