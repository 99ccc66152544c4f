//! Logs: what training writes for those who watch it, and goes on without.

use std::error::Error;
use std::iter::successors;

use s2s_runlog::LogFailure;

/// Something to write records to. A record that cannot be written is lost, which is told once, kept
/// for the end, and no reason to stop training; the next one is tried again.
#[derive(Debug)]
pub(crate) struct Log<W> {
    name: &'static str,
    writer: Option<W>,
    failure: Option<LogFailure>,
}

impl<W> Log<W> {
    /// A log that was opened at a step, or that could not be.
    pub(crate) fn open<E: Error + 'static>(
        name: &'static str,
        step: u64,
        opened: Result<W, E>,
    ) -> Self {
        let mut log = Self {
            name,
            writer: None,
            failure: None,
        };
        match opened {
            Ok(writer) => log.writer = Some(writer),
            Err(error) => log.note(step, &error),
        }
        log
    }

    /// Writes what belongs to a step, if the log is open.
    pub(crate) fn write<E: Error + 'static>(
        &mut self,
        step: u64,
        write: impl FnOnce(&mut W) -> Result<(), E>,
    ) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = write(writer)
        {
            self.note(step, &error);
        }
    }

    /// The first record that was lost.
    pub(crate) fn failure(&self) -> Option<&LogFailure> {
        self.failure.as_ref()
    }

    fn note(&mut self, step: u64, error: &(dyn Error + 'static)) {
        if self.failure.is_some() {
            return;
        }
        let causes = successors(Some(error), |error| (*error).source());
        let reason = causes
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        tracing::warn!("{} loses records, training goes on: {reason}", self.name);
        self.failure = Some(LogFailure {
            log: self.name.to_owned(),
            step,
            reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_failure_is_noted_once_and_the_next_record_is_tried() {
        let opened: Result<_, io::Error> = Ok(Vec::new());
        let mut log = Log::open("timing.jsonl", 0, opened);
        for step in 1..=4 {
            log.write(step, |lines| match step {
                2 | 3 => Err(io::Error::other(format!("full at {step}"))),
                _ => {
                    lines.push(step);
                    Ok(())
                }
            });
        }
        assert_eq!(log.writer.as_deref(), Some(&[1, 4][..]));
        let failure = log.failure().expect("one was lost");
        assert_eq!((failure.step, failure.reason.as_str()), (2, "full at 2"));
    }

    #[test]
    fn a_log_that_cannot_be_opened_takes_nothing() {
        let opened: Result<Vec<u64>, _> = Err(io::Error::other("no room"));
        let mut log = Log::open("timing.jsonl", 7, opened);
        log.write(8, |_| -> io::Result<()> {
            panic!("there is nothing to write to")
        });
        assert_eq!(log.failure().map(|failure| failure.step), Some(7));
    }
}
