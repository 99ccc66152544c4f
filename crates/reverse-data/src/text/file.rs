//! Files of text and their lines. Training text, vocabularies and input for prediction are read with
//! the same rules: UTF-8, with or without a byte order mark; lines end with LF or CR LF.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use crate::{Error, LineProblem, Split};

/// Maximum number of lines of a file.
pub const MAX_LINES: usize = 10_000_000;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Paths of the source file and the target file of a split in a corpus folder.
pub fn corpus_paths(folder: &Path, split: Split) -> [PathBuf; 2] {
    let stem = match split {
        Split::Train => "train",
        Split::Val => "dev",
        Split::Test => "test",
    };
    ["src", "trg"].map(|side| folder.join(format!("{stem}.{side}")))
}

/// Path and content of a file.
#[derive(Clone, Debug)]
pub struct TextFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Arc<Vec<u8>>,
}

/// A line without its CR.
pub fn strip_line_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The content of a file, or its first line, without the byte order mark.
pub fn strip_byte_order_mark(content: &[u8]) -> &[u8] {
    content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content)
}

impl TextFile {
    /// A file with this content. The path is for error messages.
    pub fn new(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            bytes: Arc::new(bytes.into()),
        }
    }

    /// Number of bytes.
    pub fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The content without the byte order mark.
    pub(super) fn content(&self) -> &[u8] {
        strip_byte_order_mark(&self.bytes)
    }

    /// The number of every line, its position in the file, and its text.
    pub(super) fn lines(
        &self,
    ) -> Result<impl Iterator<Item = Result<(u64, usize, &str), Error>>, Error> {
        self.check_size()?;
        if self.bytes.is_empty() {
            self.check_n_lines(0)?;
        }
        let content = self.without_last_end();
        // One check of the whole file is faster than one of each line, which finds the line of an error.
        let text = str::from_utf8(content).ok();
        let content_start = self.bytes.len() - self.content().len();
        let mut next = Some(0);
        let lines = std::iter::from_fn(move || {
            let start = next?;
            let end = memchr(b'\n', &content[start..]).map(|len| start + len);
            next = end.map(|end| end + 1);
            Some((start, end.unwrap_or(content.len())))
        });
        Ok((1..).zip(lines).map(move |(number, (start, end))| {
            if number > MAX_LINES as u64 {
                self.n_lines()?; // the error
            }
            let line = strip_line_end(&content[start..end]);
            let line = match text {
                Some(text) => &text[start..start + line.len()],
                None => self.utf8(number, line)?,
            };
            Ok((number, content_start + start, line))
        }))
    }

    /// Number of lines.
    pub(super) fn n_lines(&self) -> Result<usize, Error> {
        self.check_size()?;
        let n_lines = match self.bytes.len() {
            0 => 0,
            _ => 1 + memchr_iter(b'\n', self.without_last_end()).count(),
        };
        self.check_n_lines(n_lines)?;
        Ok(n_lines)
    }

    fn without_last_end(&self) -> &[u8] {
        let bytes = self.content();
        bytes.strip_suffix(b"\n").unwrap_or(bytes)
    }

    /// Checks that positions in the file fit into 32 bits.
    pub(super) fn check_size(&self) -> Result<(), Error> {
        match u32::try_from(self.bytes.len()) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::FileSize {
                path: self.path.clone(),
                n_bytes: self.bytes.len(),
            }),
        }
    }

    pub(super) fn check_n_lines(&self, n_lines: usize) -> Result<(), Error> {
        match n_lines {
            1..=MAX_LINES => Ok(()),
            _ => Err(Error::NumberOfLines {
                path: self.path.clone(),
                n_lines,
            }),
        }
    }

    /// Checks the number of rows of a table.
    pub(super) fn check_n_rows(&self, n_rows: usize) -> Result<(), Error> {
        match n_rows {
            0 if !self.content().is_empty() => Err(Error::OnlyHeader {
                path: self.path.clone(),
            }),
            n_rows => self.check_n_lines(n_rows),
        }
    }

    /// Text of a line.
    pub(super) fn utf8<'a>(&self, line: u64, bytes: &'a [u8]) -> Result<&'a str, Error> {
        str::from_utf8(bytes).map_err(|error| {
            let byte = error.valid_up_to() + 1;
            let problem = match &self.bytes[..] {
                [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => {
                    LineProblem::Encoding { name: "UTF-32" }
                }
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => LineProblem::Encoding { name: "UTF-16" },
                _ => LineProblem::NotUtf8 { byte },
            };
            self.error(line, problem)
        })
    }

    pub(super) fn error(&self, line: u64, problem: LineProblem) -> Error {
        Error::Line {
            path: self.path.clone(),
            line,
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_encodings_are_named() {
        let check = |bytes: &[u8], problem: &str| {
            let file = TextFile::new("f", bytes);
            let error = file.lines().unwrap().find_map(Result::err).unwrap();
            assert_eq!(error.to_string(), format!("f, line 1: {problem}"));
        };
        check(b"\xff\xfea\0\t\0", "the file is UTF-16, expected UTF-8");
        check(b"\xfe\xff\0a\0\t", "the file is UTF-16, expected UTF-8");
        check(b"\xff\xfe\0\0a\0\0\0", "the file is UTF-32, expected UTF-8");
        check(b"\0\0\xfe\xff\0\0\0a", "the file is UTF-32, expected UTF-8");
        check(b"a\xff\xfe", "byte 2 of the line is not UTF-8");
    }

    #[test]
    fn a_line_has_no_end_and_no_mark() {
        let file = TextFile::new("f", "\u{feff}a b\r\n\r\n\u{feff}c\n");
        let lines: Vec<_> = file.lines().unwrap().map(Result::unwrap).collect();
        assert_eq!(lines, [(1, 3, "a b"), (2, 8, ""), (3, 10, "\u{feff}c")]);
        assert_eq!(strip_line_end(b"a\r"), b"a");
        assert_eq!(strip_byte_order_mark("\u{feff}a".as_bytes()), b"a");
    }
}
