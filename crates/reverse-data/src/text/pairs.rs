//! Pairs of source and target lines, as text.

use super::counts::TokenCounts;
use super::hash::{LANES, hash_bytewise, hash_tokens};
use super::{TextFile, Tokenization};
use crate::vocab::is_special;
use crate::{DataConfig, Error, LineProblem, MAX_LEN, Split};

/// The sources and targets of a split, as text.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    pub(super) sources: Lines,
    pub(super) targets: Lines,
    /// A hash of the tokens of each source.
    pub(super) hashes: Vec<u64>,
    pub(super) counts: TokenCounts,
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
    /// The pairs of a split in two files: line i of `source` belongs to line i of `target`. Training
    /// pairs that are longer than configured are dropped.
    ///
    /// # Errors
    /// If a file has no lines or too many; if a line is empty, too long, not UTF-8, or contains the text
    /// of a special token; or if the files differ in their number of lines.
    pub fn parallel(
        source: &TextFile,
        target: &TextFile,
        config: &DataConfig,
        split: Split,
    ) -> Result<Self, Error> {
        let mut splits = Splits::new([source, target], config, |_| split);
        let lines = source.lines()?.zip(target.lines()?);
        splits.extend(lines.map(|(source, target)| {
            let ((line, source), (_, target)) = (source?, target?);
            let sides = [source, target];
            Ok(Row { line, sides })
        }))?;
        let [n_sources, n_targets] = [source.n_lines()?, target.n_lines()?];
        if n_sources == n_targets {
            return Ok(splits.into_split(split));
        }
        // An empty line at the end of a file explains the difference.
        for file in [source, target] {
            for line in file.lines()?.skip(n_sources.min(n_targets)) {
                let (line, text) = line?;
                let found = scan(text, config.tokens, &mut Vec::new());
                found.map_err(|problem| file.error(line, problem))?;
            }
        }
        Err(Error::LineCounts {
            source_path: source.path.clone(),
            n_sources,
            target_path: target.path.clone(),
            n_targets,
        })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.sources.ends.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of training pairs that were dropped because one side is longer than configured.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped
    }

    /// Number of tokens of the longest source and of the longest target.
    pub fn longest(&self) -> [usize; 2] {
        [&self.sources, &self.targets].map(Lines::longest)
    }
}

/// A pair, and the number of its line.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) line: u64,
    pub(super) sides: [&'a str; 2],
}

/// The splits of one or two files while they are read.
pub(super) struct Splits<'f, F> {
    files: [&'f TextFile; 2],
    config: &'f DataConfig,
    split_of: F,
    pub(super) splits: [Pairs; 3],
}

impl<'f, F: Fn(u64) -> Split> Splits<'f, F> {
    /// No pairs. `files` are those of sources and targets; `split_of` is the split of the pairs whose
    /// source has a hash.
    pub(super) fn new(files: [&'f TextFile; 2], config: &'f DataConfig, split_of: F) -> Self {
        Self {
            files,
            config,
            split_of,
            splits: Default::default(),
        }
    }

    /// One of the splits.
    pub(super) fn into_split(self, split: Split) -> Pairs {
        let mut splits = self.splits;
        std::mem::take(&mut splits[split as usize])
    }

    /// Adds rows, up to the first error.
    pub(super) fn extend<'a>(
        &mut self,
        rows: impl IntoIterator<Item = Result<Row<'a>, Error>>,
    ) -> Result<(), Error> {
        let mut group = Vec::with_capacity(LANES);
        for row in rows {
            match row {
                Ok(row) => group.push(row),
                Err(error) => {
                    self.push(&group)?; // its errors are in earlier lines
                    return Err(error);
                }
            }
            if group.len() == LANES {
                self.push(&group)?;
                group.clear();
            }
        }
        self.push(&group)
    }

    /// Adds at most [`LANES`] rows.
    pub(super) fn push(&mut self, rows: &[Row<'_>]) -> Result<(), Error> {
        let (tokenization, seed) = (self.config.tokens, self.config.split_seed);
        let hashes = hash_together(rows, tokenization, seed);
        let mut tokens = [const { Vec::new() }; 2];
        for (index, Row { line, sides }) in rows.iter().enumerate() {
            let mut n_tokens = [0; 2];
            for (side, text) in sides.iter().enumerate() {
                let found = scan(text, tokenization, &mut tokens[side]);
                n_tokens[side] = found.map_err(|problem| self.files[side].error(*line, problem))?;
            }
            let hash = match hashes {
                Some(hashes) => hashes[index],
                None if tokens[0].is_empty() => hash_tokens(tokenization.tokens(sides[0]), seed),
                None => hash_tokens(tokens[0].iter().copied(), seed),
            };
            let split = (self.split_of)(hash);
            let pairs = &mut self.splits[split as usize];
            if split == Split::Train && self.config.is_too_long(n_tokens) {
                pairs.n_dropped += 1;
                continue;
            }
            pairs.hashes.push(hash);
            for (side, lines) in [&mut pairs.sources, &mut pairs.targets]
                .into_iter()
                .enumerate()
            {
                if lines.text.is_empty() {
                    lines.text.reserve(self.files[side].bytes.len()); // untouched memory costs nothing
                }
                lines.push(sides[side], n_tokens[side]);
                match tokens[side].is_empty() {
                    true => pairs.counts.add_bytes(side, sides[side].as_bytes()),
                    false => tokens[side]
                        .iter()
                        .for_each(|token| pairs.counts.add(side, token)),
                }
            }
        }
        Ok(())
    }
}

/// The hashes of all sources, if every byte of them is a token.
fn hash_together(rows: &[Row<'_>], tokenization: Tokenization, seed: u64) -> Option<[u64; LANES]> {
    let bytewise = |row: &Row<'_>| tokenization.bytewise(row.sides[0]);
    let tokens = rows
        .iter()
        .try_fold(bytewise(rows.first()?)?, |_, row| bytewise(row))?;
    let mut lines = [&[][..]; LANES];
    for (line, row) in lines.iter_mut().zip(rows) {
        *line = row.sides[0].as_bytes();
    }
    Some(hash_bytewise(&lines[..rows.len()], tokens, seed))
}

/// Number of tokens of a line that can be a source or a target. Stores the tokens unless every byte is
/// one.
fn scan<'a>(
    text: &'a str,
    tokenization: Tokenization,
    tokens: &mut Vec<&'a str>,
) -> Result<u32, LineProblem> {
    tokens.clear();
    let n_tokens = match tokenization.bytewise(text) {
        Some(_) => text.len(),
        None => {
            tokens.extend(tokenization.tokens(text));
            let special = tokens
                .iter()
                .find(|token| token.starts_with('<') && is_special(token));
            if let Some(token) = special {
                let text = (*token).to_owned();
                return Err(LineProblem::Reserved { text });
            }
            tokens.len()
        }
    };
    match n_tokens {
        0 => Err(LineProblem::Empty),
        1..=MAX_LEN => Ok(n_tokens as u32),
        len => Err(LineProblem::TooLong { len }),
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

    fn longest(&self) -> usize {
        let n_tokens = self.ends.iter().map(|end| end.n_tokens);
        n_tokens.max().unwrap_or(0) as usize
    }
}
