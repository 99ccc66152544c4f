//! Parallel text: pairs of lines, read from pairs of files.
//!
//! ```text
//! train.src  train.trg     line i of one is the source of line i of the other
//! dev.src    dev.trg       tokens stand between white space
//! test.src   test.trg
//! ```
//!
//! Source and target share one vocabulary, which is what tasks that rearrange their input want: the
//! tokens of both training files, the most frequent first, those of the same frequency in the order
//! of their bytes; or the lines of a file of its own. What is not in it is read as `<unk>`.
//!
//! Nothing here touches a disk: files come as their bytes.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::order::Order;
use crate::report::Samples;
use crate::vocab::{UNKNOWN, is_mark};
use crate::{
    BatchSource, Batching, DataConfig, Error, Example, LineProblem, MAX_LEN, PaddedBatch, Split,
    SplitReport, Token, Vocabulary,
};

/// The most lines of a file.
pub const MAX_LINES: usize = 10_000_000;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The files of a split in a corpus folder: its sources and its targets.
pub fn corpus_paths(folder: &Path, split: Split) -> [PathBuf; 2] {
    let stem = match split {
        Split::Train => "train",
        Split::Val => "dev",
        Split::Test => "test",
    };
    ["src", "trg"].map(|side| folder.join(format!("{stem}.{side}")))
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Where it stands, for messages.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A [`BatchSource`] of pairs of lines.
///
/// Which split a pair is in is said by its file, not by its hash: [`BatchSource::report`] tells
/// what leaks.
#[derive(Clone, Debug)]
pub struct Corpus {
    splits: Arc<[Pairs; 3]>,
    vocabulary: Vocabulary,
    order: Order,
    source_markers: bool,
}

/// The samples of a split.
#[derive(Debug)]
struct Pairs {
    sources: Lines,
    targets: Lines,
}

/// Lines of tokens, one after the other.
#[derive(Debug, Default)]
struct Lines {
    tokens: Vec<Token>,
    ends: Vec<usize>,
    n_unknown: u64,
}

impl Corpus {
    /// Reads the sources and targets of each split, in the order of [`Split::ALL`].
    ///
    /// # Errors
    /// If a file has no lines or too many, a line is empty, too long, not UTF-8 or has a token
    /// that is the name of a mark, or if two files of a pair differ in their number of lines.
    pub fn parse(
        files: &[[TextFile; 2]; 3],
        vocab_file: Option<&TextFile>,
        config: &DataConfig,
        seed: u64,
        batch_size: NonZeroUsize,
    ) -> Result<Self, Error> {
        let vocabulary = match vocab_file {
            Some(file) => listed(file)?,
            None => counted(&files[0])?,
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

    /// Tokens of the longest line.
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
        let worth = |index: &u64| match sources.line(*index).len() {
            len if len <= max_len => (true, len, Reverse(*index)),
            len => (false, usize::MAX - len, Reverse(*index)),
        };
        let best = (0..sources.ends.len() as u64).max_by_key(worth);
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
            let of = sources.ends.len() as u64;
            Samples {
                sources: (0..of).map(|index| sources.line(index).to_vec()),
                of: Some(of),
                unknown: sources.n_unknown + targets.n_unknown,
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
        for line in words(file)? {
            for word in line? {
                let token = vocabulary.parse(word)?;
                lines.n_unknown += u64::from(vocabulary.unknown() == Some(token));
                lines.tokens.push(token);
            }
            lines.ends.push(lines.tokens.len());
        }
        Ok(lines)
    }

    fn line(&self, index: u64) -> &[Token] {
        let index = index as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.tokens[start..self.ends[index]]
    }

    fn longest(&self) -> usize {
        let starts = [0].iter().chain(&self.ends);
        let lens = self.ends.iter().zip(starts).map(|(end, start)| end - start);
        lens.max().unwrap_or(0)
    }
}

/// The tokens of these files, the most frequent first.
fn counted(files: &[TextFile; 2]) -> Result<Vocabulary, Error> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for file in files {
        for line in words(file)? {
            for word in line? {
                *counts.entry(word).or_default() += 1;
            }
        }
    }
    counts.remove(UNKNOWN);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(word, count)| (Reverse(*count), *word));
    Vocabulary::of_words(counts.into_iter().map(|(word, _)| word.to_owned()))
}

/// The tokens of a file of its own, in its order; names of special tokens may stand among them, and
/// are passed over.
fn listed(file: &TextFile) -> Result<Vocabulary, Error> {
    let mut numbers: HashMap<String, u64> = HashMap::new();
    let mut listed = Vec::new();
    for (number, text) in (1..).zip(texts(file)?) {
        let text = text?.trim();
        if is_mark(text) || text == UNKNOWN {
            continue;
        }
        let refuse = |problem| Err(file.error(number, problem));
        if text.is_empty() {
            return refuse(LineProblem::Empty);
        }
        if text.contains(char::is_whitespace) {
            return refuse(LineProblem::NotOneToken);
        }
        if let Some(first) = numbers.insert(text.to_owned(), number) {
            return refuse(LineProblem::Repeated { first });
        }
        listed.push(text.to_owned());
    }
    Vocabulary::of_words(listed)
}

/// The tokens of every line.
fn words(file: &TextFile) -> Result<impl Iterator<Item = Result<Vec<&str>, Error>>, Error> {
    let lines = (1..).zip(texts(file)?);
    Ok(lines.map(|(number, text)| {
        let words: Vec<&str> = text?.split_whitespace().collect();
        let mark = words.iter().find(|word| is_mark(word));
        let problem = match (words.len(), mark) {
            (0, _) => LineProblem::Empty,
            (len, _) if len > MAX_LEN => LineProblem::TooLong { len },
            (_, Some(mark)) => LineProblem::Mark {
                text: (*mark).to_owned(),
            },
            _ => return Ok(words),
        };
        Err(file.error(number, problem))
    }))
}

/// The text of every line.
fn texts(file: &TextFile) -> Result<impl Iterator<Item = Result<&str, Error>>, Error> {
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

    /// A corpus whose training files are these; the others have one line.
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
    fn check_refused(source: &[u8], target: &[u8], message: &str) {
        assert_eq!(
            parse(source, target, None).unwrap_err().to_string(),
            message
        );
    }

    #[test]
    fn the_most_frequent_token_comes_first_and_ties_are_in_order() {
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
    fn unknown_tokens_are_read_as_such_and_counted() {
        let corpus = parse(b"a b <unk>\n", b"b\n", None).unwrap();
        let unknown = corpus.vocabulary.unknown().unwrap();
        assert_eq!(corpus.example(Split::Val, 0).source[1], unknown);
        let report = corpus.report();
        assert_eq!(
            (
                report.train.unknown,
                report.val.unknown,
                report.test.unknown
            ),
            (1, 1, 1)
        );
        assert_eq!(report.leaks.val_test, 1);
    }

    #[test]
    fn a_vocabulary_file_sets_the_order_and_what_is_known() {
        let corpus = parse(b"a b c\n", b"b\n", Some("<unk>\n<pad>\n<s>\n</s>\nb\na\n")).unwrap();
        assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(corpus.report().train.unknown, 1);
        for (text, message) in [
            (
                "a\nb\na\n",
                "vocab.txt, line 3: the same token stands on line 1",
            ),
            ("a b\n", "vocab.txt, line 1: more than one token"),
            ("a\n\nb", "vocab.txt, line 2: no token"),
        ] {
            let error = parse(b"a\n", b"a\n", Some(text)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        check_refused(b"a\n\nb\n", b"a\na\na\n", "train.src, line 2: no token");
        check_refused(b"a\n \n", b"a\na\n", "train.src, line 2: no token");
        check_refused(b"a\nb\n\n", b"a\nb\n", "train.src, line 3: no token");
        check_refused(
            b"a\nok \xff\n",
            b"a\nb\n",
            "train.src, line 2: byte 4 of the line is not UTF-8",
        );
        check_refused(
            b"a\n",
            b"a </s>\n",
            "train.trg, line 1: the token \"</s>\" is the name of a mark; rename it",
        );
        check_refused(
            b"a\nb\n",
            b"a\n",
            "train.src has 2 lines, but train.trg has 1: line i of one belongs to line i of the \
             other",
        );
        check_refused(b"", b"a\n", "train.src has 0 lines, expected 1 to 10000000");
        let long = "a ".repeat(MAX_LEN + 1);
        check_refused(
            long.as_bytes(),
            b"a\n",
            "train.src, line 1: 100001 tokens, at most 100000 are read",
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_token() {
        let corpus = parse("\u{feff}a b\n".as_bytes(), b"a\n", None).unwrap();
        assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), ["a", "b"]);
    }
}
