//! Parallel text: pairs of source and target lines.
//!
//! ```text
//! train.src  train.trg     line i of the source belongs to line i of the target
//! dev.src    dev.trg       tokens are separated by white space
//! test.src   test.trg
//! ```
//!
//! Source and target share one vocabulary. It consists of the tokens of both training files, sorted by
//! descending frequency and then by bytes, or of the lines of a vocabulary file. All other tokens are
//! replaced by `<unk>`.
//!
//! Files are passed as bytes; this module does no I/O.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::order::Order;
use crate::report::Samples;
use crate::vocab::{UNKNOWN, is_special};
use crate::{
    BatchSource, Batching, DataConfig, Error, Example, LineProblem, MAX_LEN, PaddedBatch, Split,
    SplitReport, Token, Vocabulary,
};

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
    /// Its path, for error messages.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A [`BatchSource`] of parallel text.
///
/// The files define the splits, so they may overlap; [`BatchSource::report`] counts the leaks.
#[derive(Clone, Debug)]
pub struct Corpus {
    splits: Arc<[Pairs; 3]>,
    vocabulary: Vocabulary,
    order: Order,
    source_markers: bool,
}

/// The sources and targets of a split.
#[derive(Debug)]
struct Pairs {
    sources: Lines,
    targets: Lines,
}

/// Lines of tokens, stored consecutively.
#[derive(Debug, Default)]
struct Lines {
    tokens: Vec<Token>,
    ends: Vec<usize>, // end of each line in `tokens`
    n_unknown: u64,
}

impl Corpus {
    /// Parses the source file and the target file of each split, in the order of [`Split::ALL`].
    ///
    /// # Errors
    /// If a file has no lines or too many; if a line is empty, too long, not UTF-8, or contains the text
    /// of a special token; or if the files of a pair differ in their number of lines.
    pub fn parse(
        files: &[[TextFile; 2]; 3],
        vocab_file: Option<&TextFile>,
        config: &DataConfig,
        seed: u64,
        batch_size: NonZeroUsize,
    ) -> Result<Self, Error> {
        let vocabulary = match vocab_file {
            Some(file) => vocabulary_from_file(file)?,
            None => vocabulary_by_frequency(&files[0])?,
        };
        let [train, val, test] = files;
        let pairs = |files| Pairs::parse(files, &vocabulary);
        Ok(Self {
            splits: Arc::new([pairs(train)?, pairs(val)?, pairs(test)?]),
            vocabulary,
            order: Order {
                seed,
                batch_size,
                is_bucketed: config.batching == Batching::Bucketed,
            },
            source_markers: config.source_markers,
        })
    }

    /// Number of tokens of the longest line.
    pub fn longest(&self) -> usize {
        let longest = |pairs: &Pairs| pairs.sources.longest().max(pairs.targets.longest());
        self.splits.iter().map(longest).max().unwrap_or(0)
    }

    fn pairs(&self, split: Split) -> &Pairs {
        &self.splits[split as usize]
    }
}

impl BatchSource for Corpus {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn batch(&self, split: Split, step: u64) -> PaddedBatch {
        let sources = &self.pairs(split).sources;
        let len = |index| sources.line(index).len();
        let batch = self.order.batch(split, step, self.n_samples(split), len);
        let examples = batch.into_iter().map(|index| self.example(split, index));
        PaddedBatch::from_examples(examples, &self.vocabulary, self.source_markers)
    }

    fn example(&self, split: Split, index: u64) -> Example {
        let Pairs { sources, targets } = self.pairs(split);
        Example {
            source: sources.line(index).to_vec(),
            target: targets.line(index).to_vec(),
        }
    }

    fn probe(&self, max_len: usize) -> Example {
        let sources = &self.pairs(Split::Val).sources;
        let rank = |index: &u64| match sources.line(*index).len() {
            len if len <= max_len => (true, len, Reverse(*index)),
            len => (false, usize::MAX - len, Reverse(*index)),
        };
        let best = (0..sources.ends.len() as u64).max_by_key(rank);
        self.example(Split::Val, best.unwrap_or(0))
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        Some(self.pairs(split).sources.ends.len() as u64)
    }

    fn n_batches(&self, split: Split) -> Option<u64> {
        self.order.n_batches(self.n_samples(split))
    }

    fn report(&self) -> SplitReport {
        SplitReport::count(Split::ALL.map(|split| {
            let Pairs { sources, targets } = self.pairs(split);
            let n_samples = sources.ends.len() as u64;
            Samples {
                sources: (0..n_samples).map(|index| sources.line(index).to_vec()),
                n_samples: Some(n_samples),
                n_unknown: sources.n_unknown + targets.n_unknown,
            }
        }))
    }

    fn with_batch_size(&self, batch_size: NonZeroUsize) -> Arc<dyn BatchSource> {
        let order = Order {
            batch_size,
            ..self.order
        };
        Arc::new(Self {
            order,
            ..self.clone()
        })
    }
}

impl Pairs {
    fn parse([source, target]: &[TextFile; 2], vocabulary: &Vocabulary) -> Result<Self, Error> {
        let pairs = Self {
            sources: Lines::parse(source, vocabulary)?,
            targets: Lines::parse(target, vocabulary)?,
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
}

impl Lines {
    fn parse(file: &TextFile, vocabulary: &Vocabulary) -> Result<Self, Error> {
        let mut lines = Self::default();
        for line in tokenized_lines(file)? {
            for text in line? {
                let token = vocabulary.parse(text)?;
                lines.n_unknown += u64::from(vocabulary.unknown() == Some(token));
                lines.tokens.push(token);
            }
            lines.ends.push(lines.tokens.len());
        }
        Ok(lines)
    }

    fn line(&self, index: u64) -> &[Token] {
        let index = index as usize;
        let start = index
            .checked_sub(1)
            .map_or(0, |previous| self.ends[previous]);
        &self.tokens[start..self.ends[index]]
    }

    fn longest(&self) -> usize {
        let starts = [0].iter().chain(&self.ends);
        let lens = self.ends.iter().zip(starts).map(|(end, start)| end - start);
        lens.max().unwrap_or(0)
    }
}

/// The tokens of these files, by descending frequency.
fn vocabulary_by_frequency(files: &[TextFile; 2]) -> Result<Vocabulary, Error> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for file in files {
        for line in tokenized_lines(file)? {
            for text in line? {
                *counts.entry(text).or_default() += 1;
            }
        }
    }
    counts.remove(UNKNOWN);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(text, count)| (Reverse(*count), *text));
    Vocabulary::from_words(counts.into_iter().map(|(text, _)| text.to_owned()))
}

/// The tokens of a vocabulary file, in its order. Special tokens are skipped.
fn vocabulary_from_file(file: &TextFile) -> Result<Vocabulary, Error> {
    let mut line_of: HashMap<String, u64> = HashMap::new();
    let mut words = Vec::new();
    for (number, text) in (1..).zip(text_lines(file)?) {
        let text = text?.trim();
        if is_special(text) || text == UNKNOWN {
            continue;
        }
        let reject = |problem| Err(file.error(number, problem));
        if text.is_empty() {
            return reject(LineProblem::Empty);
        }
        if text.contains(char::is_whitespace) {
            return reject(LineProblem::NotOneToken);
        }
        if let Some(first) = line_of.insert(text.to_owned(), number) {
            return reject(LineProblem::Repeated { first });
        }
        words.push(text.to_owned());
    }
    Vocabulary::from_words(words)
}

/// The tokens of every line.
fn tokenized_lines(
    file: &TextFile,
) -> Result<impl Iterator<Item = Result<Vec<&str>, Error>>, Error> {
    let lines = (1..).zip(text_lines(file)?);
    Ok(lines.map(|(number, text)| {
        let tokens: Vec<&str> = text?.split_whitespace().collect();
        let special = tokens.iter().find(|text| is_special(text));
        let problem = match (tokens.len(), special) {
            (0, _) => LineProblem::Empty,
            (len, _) if len > MAX_LEN => LineProblem::TooLong { len },
            (_, Some(text)) => LineProblem::Reserved {
                text: (*text).to_owned(),
            },
            _ => return Ok(tokens),
        };
        Err(file.error(number, problem))
    }))
}

/// The text of every line.
fn text_lines(file: &TextFile) -> Result<impl Iterator<Item = Result<&str, Error>>, Error> {
    let bytes = &file.bytes[..];
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let n_lines = match file.bytes.len() {
        0 => 0,
        _ => 1 + bytes.iter().filter(|byte| **byte == b'\n').count(),
    };
    if !(1..=MAX_LINES).contains(&n_lines) {
        return Err(Error::NumberOfLines {
            path: file.path.clone(),
            n_lines,
        });
    }
    let lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    Ok(lines.map(|(number, line)| {
        str::from_utf8(line).map_err(|error| {
            let byte = error.valid_up_to() + 1;
            file.error(number, LineProblem::NotUtf8 { byte })
        })
    }))
}

impl TextFile {
    fn error(&self, line: u64, problem: LineProblem) -> Error {
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

    fn file(path: &str, text: impl AsRef<[u8]>) -> TextFile {
        TextFile {
            path: path.into(),
            bytes: text.as_ref().to_vec(),
        }
    }

    /// A corpus with these training files; the other files have one line.
    fn parse(source: &[u8], target: &[u8], vocab: Option<&str>) -> Result<Corpus, Error> {
        let one = || [file("dev.src", "b new"), file("dev.trg", "b")];
        let files = [
            [file("train.src", source), file("train.trg", target)],
            one(),
            one(),
        ];
        let vocab = vocab.map(|text| file("vocab.txt", text));
        let config = DataConfig::default();
        Corpus::parse(&files, vocab.as_ref(), &config, 0, NonZeroUsize::MIN)
    }

    #[track_caller]
    fn check_rejected(source: &[u8], target: &[u8], message: &str) {
        assert_eq!(
            parse(source, target, None).unwrap_err().to_string(),
            message
        );
    }

    #[test]
    fn tokens_are_sorted_by_frequency_then_by_bytes() {
        let corpus = parse(b"b c\na b\n", b"c b\r\n b\t a", None).unwrap();
        let words: Vec<_> = corpus.vocabulary.words().collect();
        assert_eq!(words, ["b", "a", "c"]);
        let example = corpus.example(Split::Train, 1);
        let text = |tokens: &[Token]| -> Vec<String> {
            tokens.iter().map(|t| corpus.vocabulary.text(*t)).collect()
        };
        assert_eq!(text(&example.source), ["a", "b"]);
        assert_eq!(text(&example.target), ["b", "a"]);
        assert_eq!(corpus.longest(), 2);
    }

    #[test]
    fn unknown_tokens_are_replaced_and_counted() {
        let corpus = parse(b"a b <unk>\n", b"b\n", None).unwrap();
        let unknown = corpus.vocabulary.unknown().unwrap();
        assert_eq!(corpus.example(Split::Val, 0).source[1], unknown);
        let report = corpus.report();
        assert_eq!(
            (
                report.train.n_unknown,
                report.val.n_unknown,
                report.test.n_unknown
            ),
            (1, 1, 1)
        );
        assert_eq!(report.leaks.val_test, 1);
    }

    #[test]
    fn a_vocabulary_file_defines_the_vocabulary() {
        let corpus = parse(b"a b c\n", b"b\n", Some("<unk>\n<pad>\n<s>\n</s>\nb\na\n")).unwrap();
        assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(corpus.report().train.n_unknown, 1);
        for (text, message) in [
            ("a\nb\na\n", "vocab.txt, line 3: duplicate of line 1"),
            ("a b\n", "vocab.txt, line 1: expected one token"),
            ("a\n\nb", "vocab.txt, line 2: the line is empty"),
        ] {
            let error = parse(b"a\n", b"a\n", Some(text)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        check_rejected(
            b"a\n\nb\n",
            b"a\na\na\n",
            "train.src, line 2: the line is empty",
        );
        check_rejected(b"a\n \n", b"a\na\n", "train.src, line 2: the line is empty");
        check_rejected(
            b"a\nb\n\n",
            b"a\nb\n",
            "train.src, line 3: the line is empty",
        );
        check_rejected(
            b"a\nok \xff\n",
            b"a\nb\n",
            "train.src, line 2: byte 4 of the line is not UTF-8",
        );
        check_rejected(
            b"a\n",
            b"a </s>\n",
            "train.trg, line 1: token \"</s>\" is reserved; rename it",
        );
        check_rejected(
            b"a\nb\n",
            b"a\n",
            "train.src has 2 lines, but train.trg has 1; each source line needs a target line",
        );
        check_rejected(b"", b"a\n", "train.src has 0 lines, expected 1 to 10000000");
        let long = "a ".repeat(MAX_LEN + 1);
        check_rejected(
            long.as_bytes(),
            b"a\n",
            "train.src, line 1: 100001 tokens; the limit is 100000",
        );
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_a_token() {
        let corpus = parse("\u{feff}a b\n".as_bytes(), b"a\n", None).unwrap();
        assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), ["a", "b"]);
    }
}
