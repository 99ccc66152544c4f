//! Optional logs: training continues if they cannot be written.

use std::error::Error;
use std::iter::successors;

use s2s_runlog::LogFailure;

/// An optional log. A record that cannot be written is dropped; the first failure is logged and
/// kept for `run.json`. Later records are still attempted.
#[derive(Debug)]
pub(crate) struct Log<W> {
    name: &'static str,
    writer: Option<W>,
    failure: Option<LogFailure>,
}

impl<W> Log<W> {
    /// Wraps the result of opening a log at `step`.
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
            Err(error) => log.fail(step, &error),
        }
        log
    }

    /// Writes the records of a step if the log is open.
    pub(crate) fn write<E: Error + 'static>(
        &mut self,
        step: u64,
        write: impl FnOnce(&mut W) -> Result<(), E>,
    ) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = write(writer)
        {
            self.fail(step, &error);
        }
    }

    /// The first failure, if any.
    pub(crate) fn failure(&self) -> Option<&LogFailure> {
        self.failure.as_ref()
    }

    fn fail(&mut self, step: u64, error: &(dyn Error + 'static)) {
        if self.failure.is_some() {
            return;
        }
        let causes = successors(Some(error), |error| (*error).source());
        let reason = causes
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        tracing::warn!(
            "cannot write to {}; training continues: {reason}",
            self.name
        );
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
    fn the_first_failure_is_kept_and_later_records_are_attempted() {
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
    fn a_log_that_cannot_be_opened_ignores_records() {
        let opened: Result<Vec<u64>, _> = Err(io::Error::other("no room"));
        let mut log = Log::open("timing.jsonl", 7, opened);
        log.write(8, |_| -> io::Result<()> { panic!("the log is not open") });
        assert_eq!(log.failure().map(|failure| failure.step), Some(7));
    }
}
