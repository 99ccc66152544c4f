//! Pairs of source and target lines, as text.

use std::ops::Range;
use std::sync::Arc;

use memchr::memchr;

use super::counts::{TokenCounter, TokenCounts};
use super::hash::{self, LANES};
use super::span::Span;
use super::tokenization::BytewiseTokens;
use super::{TextFile, Tokenization};
use crate::vocab::is_special;
use crate::{DataConfig, Error, LineProblem, MAX_LEN, Split, Vocabulary};

/// The sources and targets of a split, as text.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    pub(super) sources: Lines,
    pub(super) targets: Lines,
    /// A hash of the tokens of each source.
    pub(super) hashes: Vec<u64>,
    pub(super) counts: TokenCounts,
    /// Number of columns of a table, if no columns are configured.
    pub(super) n_columns: usize,
    n_dropped: u64,
}

/// Lines of text, which are parts of a buffer: a file, or the fields of one without quotes.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    buffer: Arc<Vec<u8>>,
    lines: Vec<Line>,
    /// Number of tokens of the longest line.
    longest: u32,
}

/// Where a line is, and its number of tokens.
#[derive(Clone, Copy, Debug)]
struct Line {
    span: Span,
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
            let [source, target] = [source?, target?];
            let sides = [source, target].map(|(_, start, text)| Field { start, text });
            Ok(Row {
                line: source.0,
                sides,
            })
        }))?;
        let [n_sources, n_targets] = [source.n_lines()?, target.n_lines()?];
        if n_sources == n_targets {
            let mut splits = splits.of_files();
            return Ok(std::mem::take(&mut splits[split as usize]));
        }
        // An empty line at the end of a file explains the difference.
        for file in [source, target] {
            for line in file.lines()?.skip(n_sources.min(n_targets)) {
                let (line, start, text) = line?;
                let found = reject_special(text, config.tokens)
                    .and_then(|()| scan(Field { start, text }, config.tokens, &mut Vec::new()));
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

    /// Checks that all tokens are numbers of a vocabulary.
    pub(super) fn check_numbers(
        &self,
        split: Split,
        tokens: Tokenization,
        vocabulary: &Vocabulary,
    ) -> Result<(), Error> {
        let problem = |index: usize| {
            let sides = [("source", &self.sources), ("target", &self.targets)];
            sides.into_iter().find_map(|(side, lines)| {
                let mut tokens = tokens.tokens(lines.text(index));
                let error = tokens.find_map(|token| vocabulary.parse(token).err())?;
                Some(format!("{side}: {error}"))
            })
        };
        let mut indices = 0..self.len();
        match indices.find_map(|index| Some((index, problem(index)?))) {
            None => Ok(()),
            Some((index, problem)) => Err(Error::Sample {
                split,
                index,
                problem,
            }),
        }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.sources.lines.len()
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of training pairs that were dropped because one side is longer than configured.
    pub fn n_dropped(&self) -> u64 {
        self.n_dropped
    }

    /// Number of sources with more tokens than this.
    pub(super) fn n_longer(&self, longest: usize) -> u64 {
        let lines = self.sources.lines.iter();
        lines
            .filter(|line| line.n_tokens as usize > longest)
            .count() as u64
    }

    /// Number of tokens of the longest source and of the longest target.
    pub fn longest(&self) -> [usize; 2] {
        [&self.sources, &self.targets].map(|lines| lines.longest as usize)
    }
}

/// A pair, and the number of its line.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) line: u64,
    pub(super) sides: [Field<'a>; 2],
}

/// A source or a target, and its position in a buffer.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) start: usize,
    pub(super) text: &'a str,
}

/// The splits of one or two files while they are read.
pub(super) struct Splits<'f, F> {
    files: [&'f TextFile; 2],
    config: &'f DataConfig,
    split_of: F,
    splits: [Pairs; 3],
    counters: [TokenCounter; 3],
    /// The tokens of the rows that are added together, unless every byte is one.
    tokens: Vec<Span>,
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
            counters: Default::default(),
            tokens: Vec::new(),
        }
    }

    /// The pairs, whose sources and targets are parts of the files.
    pub(super) fn of_files(self) -> [Pairs; 3] {
        let buffers = self.files.map(|file| file.bytes.clone());
        self.of(buffers)
    }

    /// The pairs, whose sources and targets are parts of these buffers.
    pub(super) fn of(mut self, buffers: [Arc<Vec<u8>>; 2]) -> [Pairs; 3] {
        let [sources, targets] = buffers;
        for (pairs, counter) in self.splits.iter_mut().zip(self.counters) {
            pairs.counts = counter.finish();
        }
        self.splits.map(|mut pairs| {
            pairs.sources.buffer = sources.clone();
            pairs.targets.buffer = targets.clone();
            pairs
        })
    }

    /// Adds rows of the files, up to the first error.
    pub(super) fn extend<'a>(
        &mut self,
        rows: impl IntoIterator<Item = Result<Row<'a>, Error>>,
    ) -> Result<(), Error> {
        let buffers = self.files.map(|file| &file.bytes[..]);
        let mut group = Vec::with_capacity(LANES);
        for row in rows {
            match row {
                Ok(row) => group.push(row),
                Err(error) => {
                    self.push(buffers, &group)?; // its errors are in earlier lines
                    return Err(error);
                }
            }
            if group.len() == LANES {
                self.push(buffers, &group)?;
                group.clear();
            }
        }
        self.push(buffers, &group)
    }

    /// Adds at most [`LANES`] rows, whose sources and targets are parts of these buffers.
    pub(super) fn push(&mut self, buffers: [&[u8]; 2], rows: &[Row<'_>]) -> Result<(), Error> {
        self.tokens.clear();
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        // One search in the text of all rows is faster than one in each field.
        let may_be_special = [0, 1].map(|side| {
            let Field { start, text } = last.sides[side];
            let text = &buffers[side][first.sides[side].start..start + text.len()];
            self.config.tokens == Tokenization::Words && memchr(b'<', text).is_some()
        });
        let mut scanned = [const { [Scanned::EMPTY; 2] }; LANES];
        for (row, scanned) in rows.iter().zip(&mut scanned) {
            for (side, scanned) in scanned.iter_mut().enumerate() {
                let (field, tokens) = (row.sides[side], self.config.tokens);
                let checked = match may_be_special[side] {
                    true => reject_special(field.text, tokens),
                    false => Ok(()),
                };
                let found = checked.and_then(|()| scan(field, tokens, &mut self.tokens));
                let problem = |problem| self.files[side].error(row.line, problem);
                *scanned = found.map_err(problem)?;
            }
        }
        let hashes = self.hashes(buffers[0], rows, &scanned);
        for ((row, scanned), hash) in rows.iter().zip(scanned).zip(hashes) {
            let split = (self.split_of)(hash);
            let pairs = &mut self.splits[split as usize];
            let counter = &mut self.counters[split as usize];
            let n_tokens = scanned.each_ref().map(|side| side.n_tokens);
            if split == Split::Train && self.config.is_too_long(n_tokens) {
                pairs.n_dropped += 1;
                continue;
            }
            pairs.hashes.push(hash);
            for (side, scanned) in scanned.iter().enumerate() {
                let Field { start, text } = row.sides[side];
                let lines = match side {
                    0 => &mut pairs.sources,
                    _ => &mut pairs.targets,
                };
                lines.longest = lines.longest.max(scanned.n_tokens);
                lines.lines.push(Line {
                    span: Span::new(start, start + text.len()),
                    n_tokens: scanned.n_tokens,
                });
                match scanned.bytewise {
                    Some(_) => counter.add_bytes(side, text.as_bytes()),
                    None => {
                        let tokens = &self.tokens[scanned.tokens.clone()];
                        counter.add(side, buffers[side], tokens);
                    }
                }
            }
        }
        Ok(())
    }

    /// The hashes of the sources of at most [`LANES`] rows.
    fn hashes(
        &self,
        buffer: &[u8],
        rows: &[Row<'_>],
        scanned: &[[Scanned; 2]; LANES],
    ) -> [u64; LANES] {
        let mut spans = [&[][..]; LANES];
        let mut bytes = [&[][..]; LANES];
        let mut bytewise = None;
        for (lane, (row, [source, _])) in rows.iter().zip(scanned).enumerate() {
            spans[lane] = &self.tokens[source.tokens.clone()];
            if source.bytewise.is_some() {
                bytes[lane] = row.sides[0].text.as_bytes();
                bytewise = source.bytewise;
            }
        }
        let mut hashes = [hash::start(self.config.split_seed); LANES];
        hash::add_spans(&mut hashes, buffer, spans);
        if let Some(tokens) = bytewise {
            hash::add_bytes(&mut hashes, tokens, bytes);
        }
        hashes
    }
}

/// What a source or a target consists of.
#[derive(Clone)]
struct Scanned {
    n_tokens: u32,
    /// The tokens, if every byte is one.
    bytewise: Option<&'static BytewiseTokens>,
    /// Else, the places of its tokens among those of its group.
    tokens: Range<usize>,
}

impl Scanned {
    const EMPTY: Self = Self {
        n_tokens: 0,
        bytewise: None,
        tokens: 0..0,
    };
}

/// Checks that no token of a line has the text of a special token.
fn reject_special(line: &str, tokenization: Tokenization) -> Result<(), LineProblem> {
    match tokenization.tokens(line).find(|token| is_special(token)) {
        None => Ok(()),
        Some(token) => Err(LineProblem::Reserved {
            text: token.to_owned(),
        }),
    }
}

/// Checks the length of a line that can be a source or a target. Adds its tokens to `tokens`, unless every byte is one.
fn scan(
    field: Field<'_>,
    tokenization: Tokenization,
    tokens: &mut Vec<Span>,
) -> Result<Scanned, LineProblem> {
    let Field { start, text } = field;
    let n_before = tokens.len();
    let bytewise = tokenization.bytewise(text);
    if bytewise.is_none() {
        tokenization.add_spans(text, start, tokens);
    }
    let tokens = n_before..tokens.len();
    let n_tokens = match bytewise {
        Some(_) => text.len(),
        None => tokens.len(),
    };
    match n_tokens {
        0 => Err(LineProblem::Empty),
        1..=MAX_LEN => Ok(Scanned {
            n_tokens: n_tokens as u32,
            bytewise,
            tokens,
        }),
        len => Err(LineProblem::TooLong { len }),
    }
}

impl Lines {
    pub(super) fn text(&self, index: usize) -> &str {
        let line = self.lines[index].span.bytes(&self.buffer);
        str::from_utf8(line).expect("the text was checked when it was read")
    }

    pub(super) fn n_tokens(&self, index: usize) -> usize {
        self.lines[index].n_tokens as usize
    }
}
