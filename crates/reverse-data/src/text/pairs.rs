//! Pairs of source and target lines, as text.

use super::{TextFile, Tokenization};
use crate::vocab::is_special;
use crate::{Error, LineProblem, MAX_LEN};

/// The sources and targets of a split, as text.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    pub(super) sources: Lines,
    pub(super) targets: Lines,
    /// Number of pairs that were dropped because one side is too long.
    n_dropped: u64,
}

/// Lines of text, stored consecutively.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    text: String,
    ends: Vec<LineEnd>,
}

/// Where a line ends in the text, and its number of tokens. A file has less than 4 GiB.
#[derive(Clone, Copy, Debug)]
struct LineEnd {
    byte: u32,
    n_tokens: u32,
}

impl Pairs {
    /// The pairs of two files: line i of `source` belongs to line i of `target`.
    ///
    /// # Errors
    /// If a file has no lines or too many; if a line is empty, too long, not UTF-8, or contains the text
    /// of a special token; or if the files differ in their number of lines.
    pub fn parallel(
        source: &TextFile,
        target: &TextFile,
        tokenization: Tokenization,
    ) -> Result<Self, Error> {
        let pairs = Self {
            sources: Lines::parse(source, tokenization)?,
            targets: Lines::parse(target, tokenization)?,
            n_dropped: 0,
        };
        let (n_sources, n_targets) = (pairs.sources.ends.len(), pairs.targets.ends.len());
        if n_sources == n_targets {
            return Ok(pairs);
        }
        Err(Error::LineCounts {
            source_path: source.path.clone(),
            n_sources,
            target_path: target.path.clone(),
            n_targets,
        })
    }

    /// Adds the pair in a line of `file`.
    pub(super) fn push(
        &mut self,
        file: &TextFile,
        line: u64,
        [source, target]: [&str; 2],
        tokenization: Tokenization,
    ) -> Result<(), Error> {
        for (lines, text) in [(&mut self.sources, source), (&mut self.targets, target)] {
            if lines.text.is_empty() {
                lines.text.reserve(file.bytes.len()); // memory that is not touched costs nothing
            }
            let n_tokens = n_tokens(text, tokenization);
            let n_tokens = n_tokens.map_err(|problem| file.error(line, problem))?;
            lines.push(text, n_tokens);
        }
        Ok(())
    }

    /// Drops the pairs with more source or target tokens than `max_lens`; 0 is no limit.
    #[must_use]
    pub fn at_most(self, max_lens: [usize; 2]) -> Self {
        let [max_source, max_target] = max_lens.map(|max| if max == 0 { usize::MAX } else { max });
        if self.sources.longest() <= max_source && self.targets.longest() <= max_target {
            return self;
        }
        let mut short = Self::default();
        for index in 0..self.len() {
            let [source, target] = [&self.sources, &self.targets].map(|lines| lines.line(index));
            if source.n_tokens() <= max_source && target.n_tokens() <= max_target {
                short.sources.push(source.text, source.n_tokens);
                short.targets.push(target.text, target.n_tokens);
            }
        }
        short.n_dropped = self.n_dropped + (self.len() - short.len()) as u64;
        short
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.sources.ends.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of pairs that [`at_most`](Self::at_most) dropped.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped
    }

    /// Number of tokens of the longest source and of the longest target.
    pub fn longest(&self) -> [usize; 2] {
        [&self.sources, &self.targets].map(Lines::longest)
    }
}

/// A line and its number of tokens.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) text: &'a str,
    n_tokens: u32,
}

impl Line<'_> {
    pub(super) fn n_tokens(&self) -> usize {
        self.n_tokens as usize
    }
}

impl Lines {
    fn parse(file: &TextFile, tokenization: Tokenization) -> Result<Self, Error> {
        let mut lines = Self::default();
        lines.text.reserve(file.bytes.len());
        for line in file.lines()? {
            let (number, text) = line?;
            let n_tokens = n_tokens(text, tokenization);
            lines.push(
                text,
                n_tokens.map_err(|problem| file.error(number, problem))?,
            );
        }
        Ok(lines)
    }

    fn push(&mut self, text: &str, n_tokens: u32) {
        self.text.push_str(text);
        self.ends.push(LineEnd {
            byte: u32::try_from(self.text.len()).expect("a file has less than 4 GiB"),
            n_tokens,
        });
    }

    pub(super) fn line(&self, index: usize) -> Line<'_> {
        let start = match index.checked_sub(1) {
            Some(previous) => self.ends[previous].byte as usize,
            None => 0,
        };
        let LineEnd { byte, n_tokens } = self.ends[index];
        Line {
            text: &self.text[start..byte as usize],
            n_tokens,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|index| self.line(index).text)
    }

    fn longest(&self) -> usize {
        let n_tokens = self.ends.iter().map(|end| end.n_tokens);
        n_tokens.max().unwrap_or(0) as usize
    }
}

/// Number of tokens of a line that can be a source or a target.
fn n_tokens(text: &str, tokenization: Tokenization) -> Result<u32, LineProblem> {
    let mut n_tokens = 0;
    for token in tokenization.tokens(text) {
        n_tokens += 1;
        if token.starts_with('<') && is_special(token) {
            return Err(LineProblem::Reserved {
                text: token.to_owned(),
            });
        }
    }
    match n_tokens {
        0 => Err(LineProblem::Empty),
        1..=MAX_LEN => Ok(n_tokens as u32),
        len => Err(LineProblem::TooLong { len }),
    }
}
