//! Checks that a file holds output of the command that continues it, before the file is changed.

use std::path::{Path, PathBuf};

use s2s_runlog::{GrowingFile, Resumed};

use crate::failure::Hinted;

/// What an interrupted command wrote to its file.
pub(super) struct Unfinished {
    path: PathBuf,
    pub(super) n_lines: u64,
    /// The last complete line, until it is checked.
    last: Option<Vec<u8>>,
    /// Part of a line at the end, until it is checked.
    partial: Vec<u8>,
}

impl Unfinished {
    /// Opens the file for further lines.
    pub(super) fn open(path: &Path) -> s2s_runlog::Result<(GrowingFile, Self)> {
        let Resumed {
            file,
            n_lines,
            last,
            partial,
        } = GrowingFile::resume(path)?;
        let unfinished = Self {
            path: path.to_owned(),
            n_lines,
            last: (n_lines > 0).then_some(last),
            partial,
        };
        Ok((file, unfinished))
    }

    /// Checks the next line of this command against the file. Returns whether the file has it already.
    pub(super) fn has(&mut self, line: &str) -> Result<bool, Hinted> {
        if let Some(last) = self.last.take() {
            return match masked(&last) == masked(line.as_bytes()) {
                true => Ok(true),
                false => Err(self.refusal(self.n_lines)),
            };
        }
        match is_start(&std::mem::take(&mut self.partial), line.as_bytes()) {
            true => Ok(false),
            false => Err(self.refusal(self.n_lines + 1)),
        }
    }

    /// Checks that nothing is left that this command did not repeat.
    pub(super) fn finish(&self) -> Result<(), Hinted> {
        match self.partial.is_empty() {
            true => Ok(()),
            false => Err(self.refusal(self.n_lines + 1)),
        }
    }

    fn refusal(&self, line: u64) -> Hinted {
        Hinted {
            what: format!(
                "line {line} of {} is not what this command writes there; nothing was changed",
                self.path.display()
            ),
            hint: "the command that was interrupted, with its run, input and options; or another --output"
                .to_owned(),
        }
    }
}

/// Whether `line` begins with `part`, whose last number may be cut.
fn is_start(part: &[u8], line: &[u8]) -> bool {
    let n_kept = part.iter().rposition(|byte| !is_of_number(*byte));
    let whole = &part[..n_kept.map_or(0, |at| at + 1)];
    line.starts_with(part) || !whole.is_empty() && masked(line).starts_with(&masked(whole))
}

/// A line with `#` in place of each number that has a fraction or an exponent: the last digits of
/// probabilities depend on the CPU.
fn masked(line: &[u8]) -> Vec<u8> {
    let runs = line.chunk_by(|a, b| is_of_number(*a) == is_of_number(*b));
    let is_fraction = |run: &[u8]| {
        let has = |wanted: u8| run.contains(&wanted);
        is_of_number(run[0]) && run.iter().any(u8::is_ascii_digit) && (has(b'.') || has(b'e'))
    };
    runs.flat_map(|run| if is_fraction(run) { &b"#"[..] } else { run })
        .copied()
        .collect()
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || b".-+eE".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digits_of_probabilities_may_differ_and_nothing_else() {
        let is_same = |a: &str, b: &str| masked(a.as_bytes()) == masked(b.as_bytes());
        assert!(is_same("{\"p\":[0.25,1e-7]}", "{\"p\":[0.2500001,2e-7]}"));
        assert!(is_same("-0.5\t1.2\t1", "-0.51\t1.3\t1"));
        assert!(!is_same("3 1 4", "3 1 5"));
        assert!(!is_same("-0.5\t1.2\t1", "-0.5\t1.2\t2"));
        assert!(!is_same("my note", "may note"));
    }

    #[test]
    fn a_line_can_be_cut_anywhere() {
        let line = "{\"prediction\":[3,12],\"log_prob\":-0.125,\"stopped\":true}\n";
        for at in 0..line.len() {
            assert!(is_start(&line.as_bytes()[..at], line.as_bytes()), "{at}");
        }
        assert!(is_start(
            b"{\"prediction\":[3,12],\"log_prob\":-0.1249,\"st",
            line.as_bytes()
        ));
        assert!(!is_start(b"my notes", line.as_bytes()));
        assert!(!is_start(b"7 1", b"5 1 4\n"));
    }
}
