//! Parallel work with results in order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// How a job arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// While earlier ones were in work, or at once.
    InTime,
    /// After all earlier ones were done and their results taken.
    AfterPause,
}

/// Runs jobs in rayon's pool and passes the results to `take` on the calling thread, in the order
/// of the jobs and as soon as they are available.
///
/// At most `ahead` jobs are started whose results have not been taken, so the results of later jobs
/// cannot accumulate behind a slow one. An error of `take` ends the function. The calling thread
/// must not belong to the pool, since it blocks.
pub(super) fn in_order<J: Send, R: Send, E>(
    jobs: &Receiver<J>,
    ahead: usize,
    work: impl Fn(J) -> R + Sync,
    mut take: impl FnMut(R, Arrival) -> Result<(), E>,
) -> Result<(), E> {
    let work = &work;
    rayon::in_place_scope_fifo(|scope| {
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < ahead {
                let (job, arrival) = match jobs.try_recv() {
                    Err(TryRecvError::Empty) if pending.is_empty() => match jobs.recv() {
                        Ok(job) => (job, Arrival::AfterPause),
                        Err(_) => break,
                    },
                    Ok(job) => (job, Arrival::InTime),
                    Err(_) => break,
                };
                let (sender, result) = sync_channel(1);
                // The receiver is gone if `take` has failed.
                scope.spawn_fifo(move |_| sender.send(work(job)).unwrap_or_default());
                pending.push_back((result, arrival));
            }
            let Some((oldest, arrival)) = pending.pop_front() else {
                return Ok(());
            };
            // There is no result if the work panicked; the scope then propagates the panic.
            let Ok(result) = oldest.recv() else {
                return Ok(());
            };
            take(result, arrival)?;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    fn jobs(n: u64) -> Receiver<u64> {
        let (sender, jobs) = sync_channel(n as usize);
        (0..n).for_each(|job| sender.send(job).unwrap());
        jobs
    }

    #[test]
    fn results_are_in_the_order_of_the_jobs() {
        for ahead in [1, 2, 12] {
            let mut taken = Vec::new();
            let take = |job, _| -> Result<(), ()> {
                taken.push(job);
                Ok(())
            };
            let work = |job| {
                sleep(Duration::from_micros(500 * (job * 7 % 5)));
                job
            };
            in_order(&jobs(40), ahead, work, take).unwrap();
            assert_eq!(taken, (0..40).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_slow_job_limits_the_jobs_in_flight() {
        let (begun, mut taken) = (AtomicUsize::new(0), 0);
        let work = |job| {
            begun.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(if job == 0 { 30 } else { 0 }));
        };
        let take = |(), _| {
            let begun = begun.load(Ordering::SeqCst);
            assert!(begun <= taken + 4, "{begun} started, {taken} taken");
            taken += 1;
            Ok::<_, ()>(())
        };
        in_order(&jobs(40), 4, work, take).unwrap();
        assert_eq!(taken, 40);
    }

    #[test]
    fn a_job_that_was_waited_for_arrives_after_a_pause() {
        let (sender, jobs) = sync_channel(3);
        (0..2).for_each(|job| sender.send(job).unwrap());
        let mut sender = Some(sender);
        let mut taken = Vec::new();
        let take = |job, arrival| {
            taken.push((job, arrival));
            if let Some(sender) = sender.take_if(|_| job == 1) {
                std::thread::spawn(move || {
                    sleep(Duration::from_millis(30));
                    sender.send(2).unwrap();
                });
            }
            Ok::<_, ()>(())
        };
        in_order(&jobs, 4, |job| job, take).unwrap();
        let arrivals = [Arrival::InTime, Arrival::InTime, Arrival::AfterPause];
        assert_eq!(taken, Vec::from_iter((0..).zip(arrivals)));
    }

    #[test]
    fn an_error_ends_the_work() {
        let mut taken = 0;
        let take = |job, _| {
            taken += 1;
            if job == 2 { Err(job) } else { Ok(()) }
        };
        assert_eq!(in_order(&jobs(40), 4, |job| job, take), Err(2));
        assert_eq!(taken, 3);
    }
}
