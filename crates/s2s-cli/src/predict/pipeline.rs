//! Work shared among threads whose results are taken in order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// Works on jobs in rayon's pool, and gives the results to `take` on the caller's thread, in the
/// order of the jobs and as soon as they are there.
///
/// At most `ahead` jobs are begun of which no result has been taken, so that a job that takes long
/// does not let the results of all later ones pile up. What `take` fails with ends it. The caller's
/// thread is none of the pool's: it waits.
pub(super) fn in_order<J: Send, R: Send, E>(
    jobs: &Receiver<J>,
    ahead: usize,
    work: impl Fn(J) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let work = &work;
    rayon::in_place_scope_fifo(|scope| {
        let mut pending = VecDeque::new();
        loop {
            while pending.len() < ahead {
                let job = match pending.is_empty() {
                    true => jobs.recv().map_err(|_| TryRecvError::Disconnected),
                    false => jobs.try_recv(),
                };
                let Ok(job) = job else { break };
                let (sender, result) = sync_channel(1);
                // Nobody waits for it any more if `take` has failed.
                scope.spawn_fifo(move |_| sender.send(work(job)).unwrap_or_default());
                pending.push_back(result);
            }
            let Some(oldest) = pending.pop_front() else {
                return Ok(());
            };
            // It has no result if the work panicked: the scope then passes the panic on.
            let Ok(result) = oldest.recv() else {
                return Ok(());
            };
            take(result)?;
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
    fn results_come_in_the_order_of_the_jobs() {
        for ahead in [1, 2, 12] {
            let mut taken = Vec::new();
            let take = |job| -> Result<(), ()> {
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
    fn a_slow_job_does_not_let_the_others_run_away() {
        let (begun, mut taken) = (AtomicUsize::new(0), 0);
        let work = |job| {
            begun.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_millis(if job == 0 { 30 } else { 0 }));
        };
        let take = |()| {
            let begun = begun.load(Ordering::SeqCst);
            assert!(begun <= taken + 4, "{begun} begun, {taken} taken");
            taken += 1;
            Ok::<_, ()>(())
        };
        in_order(&jobs(40), 4, work, take).unwrap();
        assert_eq!(taken, 40);
    }

    #[test]
    fn a_failure_ends_it() {
        let mut taken = 0;
        let take = |job| {
            taken += 1;
            if job == 2 { Err(job) } else { Ok(()) }
        };
        assert_eq!(in_order(&jobs(40), 4, |job| job, take), Err(2));
        assert_eq!(taken, 3);
    }
}
