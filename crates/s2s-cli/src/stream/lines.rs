//! Reads lines of input in batches of those that are available.

use std::io::{self, BufRead, BufReader, Read};

use reverse_data::{Sequence, SequenceError, strip_byte_order_mark, strip_line_end};

/// Size of the read buffer: thousands of short lines.
const BUFFER_BYTES: usize = 1 << 18;

/// A line number (from 1) and the bytes of the line without its end, or their number if the line is
/// too long.
pub(crate) type Line = (u64, Result<Vec<u8>, u64>);

/// Parses a line with `of`. If it is too long, the error contains `advice`.
pub(crate) fn parse(
    line: Result<Vec<u8>, u64>,
    max: usize,
    advice: &str,
    of: impl FnOnce(&str) -> Result<Sequence, SequenceError>,
) -> Result<Sequence, String> {
    let line = line.map_err(|n_bytes| {
        format!("too long: {n_bytes} bytes, but the limit is {max} tokens; {advice}")
    })?;
    let text = str::from_utf8(&line).map_err(|_| "not valid UTF-8")?;
    of(text).map_err(|error| match error {
        SequenceError::TooLong { .. } => format!("{error}; {advice}"),
        _ => error.to_string(),
    })
}

/// Reads lines without waiting for more than one.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    max_bytes: u64,
    number: u64,
}

impl<R: Read> Lines<R> {
    /// Lines of at most `max_bytes`.
    pub(super) fn new(input: R, max_bytes: u64) -> Self {
        Self {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            max_bytes,
            number: 0,
        }
    }

    /// Waits for a line and adds lines that have already arrived, up to `max_lines` in all and none
    /// after `max_bytes`. Empty at the end of the input.
    pub(super) fn next_batch(
        &mut self,
        max_lines: usize,
        max_bytes: usize,
    ) -> io::Result<Vec<Line>> {
        let (mut batch, mut n_bytes) = (Vec::new(), 0);
        while let Some(line) = self.next_line()? {
            n_bytes += line.1.as_ref().map_or(0, Vec::len);
            batch.push(line);
            let is_full = batch.len() == max_lines || n_bytes >= max_bytes;
            if is_full || !self.input.buffer().contains(&b'\n') {
                break;
            }
        }
        Ok(batch)
    }

    /// Skips `n` lines, or all of them if there are fewer; returns how many.
    pub(super) fn skip(&mut self, n: u64) -> io::Result<u64> {
        for n_skipped in 0..n {
            if self.next_line()?.is_none() {
                return Ok(n_skipped);
            }
        }
        Ok(n)
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let limit = self.max_bytes + 1; // for the line end
        let n_bytes = (&mut self.input).take(limit).read_until(b'\n', &mut line)?;
        if n_bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if n_bytes as u64 == limit {
            let n_skipped = self.input.skip_until(b'\n')? as u64;
            return Ok(Some((self.number, Err(limit + n_skipped))));
        }
        let line = match self.number {
            1 => strip_byte_order_mark(&line),
            _ => &line,
        };
        Ok(Some((self.number, Ok(strip_line_end(line).to_vec()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns its pieces one at a time, like a pipe.
    struct Pipe(Vec<&'static str>);

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            self.0.remove(0).as_bytes().read(buffer)
        }
    }

    #[track_caller]
    fn check(pieces: &[&'static str], batches: &[&[(u64, Result<&str, u64>)]]) {
        let mut lines = Lines::new(Pipe(pieces.to_vec()), 5);
        for expected in batches.iter().chain(&[&[][..]]) {
            let expected: Vec<Line> = expected
                .iter()
                .map(|(number, text)| (*number, text.map(|text| text.as_bytes().to_vec())))
                .collect();
            assert_eq!(lines.next_batch(3, 8).unwrap(), expected);
        }
    }

    #[test]
    fn available_lines_are_returned_without_waiting() {
        check(
            &["1\n2\n3", "4\n", "5\n"],
            &[
                &[(1, Ok("1")), (2, Ok("2"))],
                &[(3, Ok("34"))],
                &[(4, Ok("5"))],
            ],
        );
    }

    #[test]
    fn the_lines_of_a_batch_are_limited() {
        check(
            &["1\n2\n3\n4\n"],
            &[&[(1, Ok("1")), (2, Ok("2")), (3, Ok("3"))], &[(4, Ok("4"))]],
        );
    }

    #[test]
    fn the_bytes_of_a_batch_are_limited() {
        check(
            &["12345\n678\n9\n"],
            &[&[(1, Ok("12345")), (2, Ok("678"))], &[(3, Ok("9"))]],
        );
    }

    #[test]
    fn empty_lines_count_and_the_last_line_needs_no_newline() {
        check(&["\n\n7"], &[&[(1, Ok("")), (2, Ok(""))], &[(3, Ok("7"))]]);
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_not_part_of_a_line() {
        check(
            &["\u{feff}1\r\n\r\n2"],
            &[&[(1, Ok("1")), (2, Ok(""))], &[(3, Ok("2"))]],
        );
    }

    #[test]
    fn skipped_lines_count() {
        let mut lines = Lines::new(Pipe(vec!["1\n2\n", "3"]), 5);
        assert_eq!(lines.skip(2).unwrap(), 2);
        assert_eq!(lines.next_batch(3, 8).unwrap(), [(3, Ok(b"3".to_vec()))]);
        assert_eq!(lines.skip(2).unwrap(), 0);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        check(
            &["12345\n123456", "789\n1\n"],
            &[&[(1, Ok("12345"))], &[(2, Err(10)), (3, Ok("1"))]],
        );
    }
}
