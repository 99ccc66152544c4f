//! A source of batches from pairs of text.

use std::num::NonZeroUsize;
use std::sync::Arc;

use rand::Rng;

use super::{Pairs, Tokenization};
use crate::random::{Purpose, generator};
use crate::report::{Samples, TokenReport, VocabularyOrigin};
use crate::{
    BatchSource, DataConfig, Example, Order, PaddedBatch, Sequence, Split, SplitReport, Token,
    Vocabulary,
};

/// A [`BatchSource`] of pairs of text.
///
/// With parallel files the splits may overlap; [`BatchSource::report`] counts the leaks.
#[derive(Clone, Debug)]
pub struct Corpus {
    splits: Arc<[Pairs; 3]>,
    vocabulary: Vocabulary,
    tokenization: Tokenization,
    order: Order,
    unknown_rate: f64,
    is_single: Arc<Vec<bool>>, // for each symbol, whether it is rare in the training split
    token_reports: [TokenReport; 3],
}

impl Corpus {
    /// The pairs of each split, in the order of [`Split::ALL`]. A split that is not needed may be empty.
    ///
    /// Without `vocabulary`, it consists of the tokens of the training split, as configured. With a
    /// vocabulary of numbers, every token must be one of them.
    ///
    /// # Errors
    /// If the training split has too many distinct tokens; [`Error::Sample`](crate::Error::Sample) for the first
    /// pair with a token that is not in a vocabulary of numbers.
    pub fn new(
        mut splits: [Pairs; 3],
        vocabulary: Option<Vocabulary>,
        config: &DataConfig,
        seed: u64,
        batch_size: NonZeroUsize,
    ) -> Result<Self, crate::Error> {
        let tokens = config.tokens;
        let counts = splits
            .each_mut()
            .map(|pairs| std::mem::take(&mut pairs.counts));
        let of_train = &counts[Split::Train as usize];
        let vocabulary = match vocabulary {
            Some(vocabulary) => vocabulary,
            None => of_train.vocabulary(tokens, config.min_count, config.max_tokens)?,
        };
        if vocabulary.unknown().is_none() {
            for split in Split::ALL {
                if !counts[split as usize].are_in(tokens, &vocabulary) {
                    splits[split as usize].check_numbers(split, tokens, &vocabulary)?;
                }
            }
        }
        let origin = match (
            config.vocab_file.as_os_str().is_empty(),
            config.min_count,
            config.max_tokens,
        ) {
            (false, ..) => VocabularyOrigin::File,
            (true, 0 | 1, 0) => VocabularyOrigin::Training,
            (true, ..) => VocabularyOrigin::Limited,
        };
        let is_single = Arc::new(of_train.singletons(tokens, &vocabulary));
        let [longest_source, _] = splits[Split::Train as usize].longest();
        let token_reports = Split::ALL.map(|split| {
            let pairs = &splits[split as usize];
            let report = counts[split as usize].report(tokens, &vocabulary, origin);
            TokenReport {
                n_dropped: pairs.n_dropped(),
                longest_source: pairs.longest()[0],
                n_longer: pairs.n_longer(longest_source),
                n_columns: pairs.n_columns,
                ..report
            }
        });
        Ok(Self {
            is_single,
            token_reports,
            vocabulary,
            tokenization: config.tokens,
            order: config.order(seed, batch_size),
            unknown_rate: config.unknown_rate,
            splits: Arc::new(splits),
        })
    }

    /// Number of tokens of the longest source and of the longest target of a split.
    pub fn longest(&self, split: Split) -> [usize; 2] {
        self.pairs(split).longest()
    }

    /// The text of a pair, as it was given: source and target.
    pub fn text(&self, split: Split, index: u64) -> [&str; 2] {
        let Pairs {
            sources, targets, ..
        } = self.pairs(split);
        [sources, targets].map(|lines| lines.text(index as usize))
    }

    fn pairs(&self, split: Split) -> &Pairs {
        &self.splits[split as usize]
    }

    /// Reads a share of the rare tokens of the training split as `<unk>`, so that the model
    /// learns what to do with an unknown token. Within a pair, equal tokens are treated equally.
    fn with_unknown(&self, mut example: Example, epoch: u64, index: u64) -> Example {
        let (Some(unknown), true) = (self.vocabulary.unknown(), self.unknown_rate > 0.0) else {
            return example;
        };
        let is_single = |token: Token| self.is_single.get(token as usize) == Some(&true);
        let mut rng = None;
        let mut hidden: Vec<(Token, bool)> = Vec::new();
        let Example { source, target } = &mut example;
        for token in source
            .iter_mut()
            .chain(target)
            .filter(|token| is_single(**token))
        {
            let known = hidden.iter().find(|(other, _)| other == token).copied();
            let (_, is_hidden) = known.unwrap_or_else(|| {
                let key = Purpose::Unknown { epoch };
                let rng = rng.get_or_insert_with(|| generator(self.order.seed, key, index));
                hidden.push((*token, rng.random_bool(self.unknown_rate)));
                hidden[hidden.len() - 1]
            });
            if is_hidden {
                *token = unknown;
            }
        }
        example
    }
}

impl BatchSource for Corpus {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn batch(&self, split: Split, step: u64) -> PaddedBatch {
        let len = |index| self.source_len(split, index);
        let n_samples = self.n_samples(split);
        let epoch = self.n_batches(split).map_or(0, |n| step / n.max(1));
        let batch = self.order.batch(split, step, n_samples, len);
        let examples = batch.into_iter().map(|index| {
            let example = self.example(split, index);
            match split {
                Split::Train => self.with_unknown(example, epoch, index),
                Split::Val | Split::Test => example,
            }
        });
        PaddedBatch::from_examples(examples, &self.vocabulary, self.order.source_markers)
    }

    fn example(&self, split: Split, index: u64) -> Example {
        let tokens = |text| {
            let tokens = self.tokenization.tokens(text);
            let symbols = tokens.map(|token| self.vocabulary.parse(token));
            symbols
                .map(|symbol| symbol.expect("`new` has checked the tokens"))
                .collect()
        };
        let [source, target] = self.text(split, index).map(tokens);
        Example { source, target }
    }

    fn sequences(&self, split: Split, index: u64) -> [Sequence; 2] {
        let Example { source, target } = self.example(split, index);
        let [source_line, target_line] = self.text(split, index);
        [(source, source_line), (target, target_line)].map(|(tokens, line)| Sequence {
            texts: self.tokenization.tokens(line).map(str::to_owned).collect(),
            tokens,
        })
    }

    fn n_samples(&self, split: Split) -> Option<u64> {
        Some(self.pairs(split).len() as u64)
    }

    fn order(&self) -> Order {
        self.order
    }

    fn with_order(&self, order: Order) -> Arc<dyn BatchSource> {
        Arc::new(Self {
            order,
            ..self.clone()
        })
    }

    fn source_len(&self, split: Split, index: u64) -> usize {
        self.pairs(split).sources.n_tokens(index as usize)
    }

    fn report(&self) -> SplitReport {
        SplitReport::count(Split::ALL.map(|split| {
            let pairs = self.pairs(split);
            Samples {
                hashes: pairs.hashes.iter().copied(),
                n_samples: self.n_samples(split),
                text: Some(self.token_reports[split as usize]),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextFile;
    use crate::{Error, MAX_LEN};

    fn file(path: &str, text: impl AsRef<[u8]>) -> TextFile {
        TextFile::new(path, text.as_ref())
    }

    /// A corpus with these training files; the other files have one line.
    fn parse(source: &[u8], target: &[u8], vocab: Option<&str>) -> Result<Corpus, Error> {
        parse_with(source, target, vocab, &DataConfig::default())
    }

    fn parse_with(
        source: &[u8],
        target: &[u8],
        vocab: Option<&str>,
        config: &DataConfig,
    ) -> Result<Corpus, Error> {
        let tokens = config.tokens;
        let vocab = vocab.map(|text| Vocabulary::from_file(&file("vocab.txt", text), tokens));
        let train = [file("train.src", source), file("train.trg", target)];
        let train = Pairs::parallel(&train[0], &train[1], config, Split::Train)?;
        let one = [file("dev.src", "b new"), file("dev.trg", "b")];
        let one = Pairs::parallel(&one[0], &one[1], config, Split::Val)?;
        let splits = [train, one.clone(), one];
        Corpus::new(splits, vocab.transpose()?, config, 0, NonZeroUsize::MIN)
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
        assert_eq!(corpus.longest(Split::Train), [2, 2]);
    }

    #[test]
    fn the_vocabulary_can_be_limited() {
        for (min_count, max_tokens, expected) in [
            (2, 0, &["b", "a"][..]),
            (1, 1, &["b"]),
            (4, 0, &[]),
            (1, 9, &["b", "a", "c"]),
        ] {
            let config = DataConfig {
                min_count,
                max_tokens,
                ..DataConfig::default()
            };
            let corpus = parse_with(b"b c\na b\n", b"b\na", None, &config).unwrap();
            assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn characters_include_spaces_and_every_byte_is_known() {
        let with = |tokens| {
            let config = DataConfig {
                tokens,
                ..DataConfig::default()
            };
            parse_with("a b\n".as_bytes(), "é\n".as_bytes(), None, &config).unwrap()
        };
        let corpus = with(Tokenization::Chars);
        assert_eq!(
            corpus.vocabulary.words().collect::<Vec<_>>(),
            [" ", "a", "b", "é"]
        );
        assert_eq!(corpus.longest(Split::Train), [3, 1]);
        let corpus = with(Tokenization::Bytes);
        assert_eq!(corpus.vocabulary.n_symbols(), 257);
        assert_eq!(corpus.longest(Split::Train), [3, 2]);
        assert_eq!(corpus.report().val.text.unwrap().n_unknown, 0);
    }

    #[test]
    fn unknown_tokens_are_replaced_and_counted() {
        let corpus = parse(b"a b <unk>\n", b"b\n", None).unwrap();
        let unknown = corpus.vocabulary.unknown().unwrap();
        assert_eq!(corpus.example(Split::Val, 0).source[1], unknown);
        let report = corpus.report();
        let counts = [report.train, report.val, report.test];
        let counts =
            counts.map(|count| (count.text.unwrap().n_unknown, count.text.unwrap().n_tokens));
        assert_eq!(counts, [(1, 4), (1, 3), (1, 3)]);
        assert_eq!(report.leaks.val_test, 1);
    }

    #[test]
    fn a_share_of_the_single_tokens_is_unknown_in_training_and_equal_tokens_stay_equal() {
        let sources: Vec<String> = (0..400).map(|i| format!("often word{i} often")).collect();
        let targets: Vec<String> = (0..400).map(|_| "often".to_owned()).collect();
        let config = DataConfig {
            unknown_rate: 0.25,
            ..DataConfig::default()
        };
        let (sources, targets) = (sources.join("\n"), targets.join("\n"));
        let corpus = parse_with(sources.as_bytes(), targets.as_bytes(), None, &config).unwrap();
        let unknown = corpus.vocabulary.unknown().unwrap();
        let often = corpus.vocabulary.parse("often").unwrap();
        let epoch = |number: u64| -> Vec<Vec<Token>> {
            let steps = 400 * number..400 * (number + 1);
            steps
                .map(|step| corpus.batch(Split::Train, step).source)
                .collect()
        };
        let n_unknown = |rows: &[Vec<Token>]| rows.iter().filter(|row| row[1] == unknown).count();
        let (first, second) = (epoch(0), epoch(1));
        // Four standard deviations of 400 draws.
        assert!(
            (65..=135).contains(&n_unknown(&first)),
            "{}",
            n_unknown(&first)
        );
        assert!(first.iter().all(|row| row[0] == often && row[2] == often));
        assert_eq!(epoch(0), first);
        assert_ne!(n_unknown(&second), 0);
        assert!((0..400).all(|index| corpus.example(Split::Train, index).source[1] != unknown));

        let twice = Corpus {
            is_single: Arc::new(vec![true; 600]),
            ..corpus.clone()
        };
        let example = Example {
            source: vec![5, 6, 5],
            target: vec![6, 5],
        };
        for index in 0..40 {
            let read = twice.with_unknown(example.clone(), 0, index);
            assert_eq!(read.source[0], read.source[2]);
            assert_eq!([read.source[1], read.source[0]], read.target[..]);
        }
    }

    #[test]
    fn a_vocabulary_file_defines_the_vocabulary() {
        let corpus = parse(b"a b c\n", b"b\n", Some("<unk>\n<pad>\n<s>\n</s>\nb\na\n")).unwrap();
        assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(corpus.report().train.text.unwrap().n_unknown, 1);
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
    fn a_vocabulary_of_numbers_accepts_numbers_only() {
        let pairs = |text: &str| {
            let (file, config) = (file("a", text), DataConfig::default());
            Pairs::parallel(&file, &file, &config, Split::Train).unwrap()
        };
        let corpus = |text: &str| {
            let (splits, config) = ([0; 3].map(|_| pairs(text)), DataConfig::default());
            let numbers = Some(Vocabulary::new(9).unwrap());
            Corpus::new(splits, numbers, &config, 0, NonZeroUsize::MIN)
        };
        let example = corpus("8 1\n").unwrap().example(Split::Test, 0);
        assert_eq!(example.source, [8, 1]);
        let error = corpus("1\n1 12 10\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "train sample 1: source: token 12 is outside the vocabulary, expected 1 to 8"
        );
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
            "train.src, line 1: 1000001 tokens; the limit is 1000000",
        );
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_a_token() {
        let corpus = parse("\u{feff}a b\n".as_bytes(), b"a\n", None).unwrap();
        assert_eq!(corpus.vocabulary.words().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn long_training_pairs_are_dropped_and_counted() {
        let files = [file("a", "1\n1 2\n1 2 3\n"), file("b", "1 2\n1\n1\n")];
        let short = |max_lens: [usize; 2], split| {
            let config = DataConfig {
                max_source_len: max_lens[0],
                max_target_len: max_lens[1],
                ..DataConfig::default()
            };
            Pairs::parallel(&files[0], &files[1], &config, split).unwrap()
        };
        for (max_lens, n_left) in [
            ([0, 0], 3),
            ([2, 0], 2),
            ([0, 1], 2),
            ([1, 1], 0),
            ([2, 2], 2),
        ] {
            let train = short(max_lens, Split::Train);
            let counts = (train.len(), train.n_dropped());
            assert_eq!(counts, (n_left, 3 - n_left as u64));
            assert_eq!(short(max_lens, Split::Val).len(), 3);
        }
        assert_eq!(short([2, 1], Split::Train).sources.text(0), "1 2");
    }
}
