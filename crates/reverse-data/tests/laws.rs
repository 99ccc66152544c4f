//! Properties of every configuration, seed, split and step.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroUsize;

use proptest::prelude::*;
use reverse_data::{
    BatchSource, Batching, DataConfig, Error, Leaks, PaddedBatch, Split, SymbolsConfig, Synthetic,
    TaskConfig, Token,
};

fn data(config: &DataConfig, seed: u64, batch_size: usize) -> Synthetic {
    let batch_size = NonZeroUsize::new(batch_size).expect("tests use at least one row");
    Synthetic::new(config, seed, batch_size).expect("tests use valid configurations")
}

/// A configuration with few samples, for small sets of sequences.
fn small() -> DataConfig {
    DataConfig {
        train_samples: 0,
        val_samples: 1,
        test_samples: 1,
        ..DataConfig::default()
    }
}

fn sources(batch: &PaddedBatch) -> Vec<Vec<Token>> {
    let rows = (0..batch.n_rows()).map(|row| row * batch.source_len());
    let lengths = &batch.source_lengths;
    rows.zip(lengths)
        .map(|(start, len)| batch.source[start..start + len].to_vec())
        .collect()
}

fn epoch(data: &Synthetic, number: u64) -> Vec<Vec<Token>> {
    let n_batches = data.n_batches(Split::Train).expect("the set is finite");
    let steps = number * n_batches..(number + 1) * n_batches;
    steps
        .flat_map(|step| sources(&data.batch(Split::Train, step)))
        .collect()
}

fn sorted(mut sources: Vec<Vec<Token>>) -> Vec<Vec<Token>> {
    sources.sort();
    sources
}

fn splits() -> impl Strategy<Value = Split> {
    prop::sample::select(Split::ALL.to_vec())
}

fn batchings() -> impl Strategy<Value = Batching> {
    prop::sample::select(vec![Batching::Mixed, Batching::Bucketed])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_epoch_contains_every_sample_once(
        train_samples in 1u64..600, batch_size in 1usize..40, number in 0u64..9, seed: u64,
        batching in batchings(),
    ) {
        let config = DataConfig { train_samples, batching, ..DataConfig::default() };
        let data = data(&config, seed, batch_size);
        let all = (0..train_samples).map(|index| data.example(Split::Train, index).source);
        prop_assert_eq!(sorted(epoch(&data, number)), sorted(all.collect()));
    }

    #[test]
    fn a_sample_depends_on_seed_split_and_index_only(
        index: u64, seed: u64, split in splits(), batch_size in 1usize..99, others: [u64; 3],
    ) {
        let config = DataConfig::default();
        let example = data(&config, seed, 64).example(split, index);
        let again = data(&config, seed, batch_size);
        for other in others {
            again.example(split, other);
            again.batch(split, other);
        }
        prop_assert_eq!(again.example(split, index), example);
    }

    #[test]
    fn batches_of_any_size_contain_the_same_samples_in_order(
        batch_size in 1usize..99, split in splits(), seed: u64,
    ) {
        let config = DataConfig { train_samples: 0, ..DataConfig::default() };
        let data = data(&config, seed, batch_size);
        let batches = (0..3).flat_map(|step| sources(&data.batch(split, step)));
        let samples = (0..3 * batch_size as u64).map(|index| data.example(split, index).source);
        prop_assert!(batches.eq(samples));
    }

    #[test]
    fn samples_belong_to_their_split_and_are_within_bounds(
        vocab in 10u32..100, min_len in 3usize..9, more in 0usize..9, seed: u64, index: u64,
        split in splits(),
    ) {
        let max_len = min_len + more;
        let config = DataConfig { vocab, min_len, max_len, ..small() };
        let data = data(&config, seed, 8);
        let source = data.example(split, index).source;
        prop_assert_eq!(Split::of(&source), split);
        prop_assert!((min_len..=max_len).contains(&source.len()));
        prop_assert!(source.iter().all(|&token| data.vocabulary().is_symbol(token)));
    }

    #[test]
    fn small_sets_of_sequences_are_sampled_or_rejected_with_the_numbers(
        vocab in 2u32..6, min_len in 1usize..4, more in 0usize..4, seed: u64,
        train_samples in 0u64..20, val_samples in 1u64..9, test_samples in 1u64..9,
        symbols in prop::sample::select(vec![SymbolsConfig::Uniform, SymbolsConfig::Zipf]),
    ) {
        let max_len = min_len + more;
        let rare = DataConfig { symbols, zipf_exponent: 2.0, ..DataConfig::default() };
        let sizes = DataConfig { vocab, min_len, max_len, ..rare };
        let config = DataConfig { train_samples, val_samples, test_samples, ..sizes };
        match Synthetic::new(&config, seed, NonZeroUsize::MIN) {
            Ok(data) => for split in Split::ALL {
                for index in 0..20 {
                    prop_assert_eq!(Split::of(&data.example(split, index).source), split);
                }
            },
            Err(Error::Config { problems }) => for problem in problems {
                prop_assert!(problem.message.contains("distinct sequences"), "{}", problem);
            },
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }

    #[test]
    fn samples_of_a_length_are_distinct_and_a_smaller_number_is_a_prefix(
        len in 1usize..60, n in 1usize..50, fewer in 0usize..50, vocab in 2u32..60, seed: u64,
        split in splits(),
    ) {
        let data = data(&DataConfig { vocab, max_len: 30, ..small() }, seed, 1);
        let examples = data.of_length(split, len, n);
        let distinct: HashSet<_> = examples.iter().map(|example| &example.source).collect();
        prop_assert_eq!(distinct.len(), examples.len());
        for example in &examples {
            prop_assert_eq!((example.source.len(), Split::of(&example.source)), (len, split));
            prop_assert!(example.target.iter().eq(example.source.iter().rev()));
        }
        let space = u64::from(vocab - 1).saturating_pow(len as u32);
        prop_assert!(examples.len() == n || space < 20 * n as u64 + 1000, "{} of {}", examples.len(), n);
        let few = fewer.min(examples.len());
        prop_assert_eq!(&data.of_length(split, len, few), &examples[..few]);
    }

    #[test]
    fn equal_length_batches_have_one_length_and_belong_to_their_split(
        vocab in 3u32..6, max_len in 8usize..50, batch_size in 1usize..9, step: u64, seed: u64,
    ) {
        let data = data(&equal_length(vocab, max_len), seed, batch_size);
        let batch = data.batch(Split::Train, step % (1 << 50));
        let sources = sources(&batch);
        prop_assert_eq!(sources.len(), batch_size);
        prop_assert!(batch.source_lengths.iter().all(|len| *len == batch.source_len()));
        prop_assert!(sources.iter().all(|source| Split::of(source) == Split::Train));
        let again = self::data(&equal_length(vocab, max_len), seed, batch_size);
        prop_assert_eq!(again.batch(Split::Train, step % (1 << 50)), batch);
    }

    #[test]
    fn no_step_and_no_batch_size_panics(
        step: u64, split in splits(), train_samples in 0u64..3, batching in batchings(),
    ) {
        let config = DataConfig { train_samples, batching, ..DataConfig::default() };
        let all = data(&config, 0, 3).batch(split, step);
        prop_assert!(all.n_rows() <= 3);
        if train_samples > 0 {
            let data = data(&config, 0, usize::MAX);
            prop_assert_eq!(data.batch(Split::Train, step).n_rows() as u64, train_samples);
        }
    }
}

#[test]
fn test_sequences_are_not_in_the_training_set_of_any_seed() {
    let config = DataConfig {
        vocab: 4,
        max_len: 6,
        ..small()
    };
    let drawn = |split, seed| -> HashSet<Vec<Token>> {
        let data = data(&config, seed, 1);
        (0..2000)
            .map(|index| data.example(split, index).source)
            .collect()
    };
    for (split, other) in [
        (Split::Train, Split::Val),
        (Split::Train, Split::Test),
        (Split::Val, Split::Test),
    ] {
        for (seed, other_seed) in [(0, 0), (0, 1), (1, 0)] {
            assert!(
                drawn(split, seed).is_disjoint(&drawn(other, other_seed)),
                "{split} {other}"
            );
        }
    }
}

#[test]
fn lengths_are_uniform_in_every_split() {
    let data = data(&DataConfig::default(), 0, 1);
    for split in Split::ALL {
        let mut counts = BTreeMap::new();
        for index in 0..12_000 {
            *counts
                .entry(data.example(split, index).source.len())
                .or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 12);
        // 1000 expected, standard deviation 30.
        assert!(
            counts.values().all(|count| (850..1150).contains(count)),
            "{split}: {counts:?}"
        );
    }
}

/// A configuration of equal-length batches.
fn equal_length(vocab: u32, max_len: usize) -> DataConfig {
    DataConfig {
        vocab,
        max_len,
        batching: Batching::EqualLength,
        ..small()
    }
}

#[test]
fn lengths_of_batches_are_uniform_over_lengths_with_sequences() {
    // With two symbols, both sequences of length 1 are in the training split.
    let data = data(&equal_length(3, 40), 0, 4);
    let mut counts = BTreeMap::new();
    for step in 0..40_000 {
        let len = data.batch(Split::Train, step).source_len();
        *counts.entry(len).or_insert(0) += 1;
    }
    assert!(counts.keys().copied().eq(1..=40));
    // 1000 expected, standard deviation 31.
    assert!(
        counts.values().all(|count| (840..1160).contains(count)),
        "{counts:?}"
    );
    for split in [Split::Val, Split::Test] {
        let lens: HashSet<usize> = (0..4000)
            .map(|index| data.example(split, index).source.len())
            .collect();
        assert!(!lens.contains(&1) && lens.len() > 35, "{split}: {lens:?}");
    }
}

#[test]
fn shorter_batches_are_those_of_shorter_sources_and_leave_the_other_splits_alone() {
    for batching in [Batching::EqualLength, Batching::Mixed] {
        let config = DataConfig {
            batching,
            ..equal_length(3, 40)
        };
        let data = data(&config, 0, 4);
        let short = data.with_max_len(7).expect("there are short sequences");
        let lens: HashSet<usize> = (0..500)
            .flat_map(|step| short.batch(Split::Train, step).source_lengths)
            .collect();
        assert_eq!(lens, (1..=7).collect(), "{batching:?}");
        assert_eq!(short.batch(Split::Val, 0), data.batch(Split::Val, 0));
        let all = data.with_max_len(40).expect("every length");
        assert_eq!(all.batch(Split::Train, 9), data.batch(Split::Train, 9));
        assert!(data.with_max_len(0).is_none());
    }
}

#[test]
fn symbols_follow_zipf_in_every_split() {
    let config = DataConfig {
        symbols: SymbolsConfig::Zipf,
        ..DataConfig::default()
    };
    let data = data(&config, 0, 1);
    for split in Split::ALL {
        let mut counts = [0; 51];
        for index in 0..4000 {
            for token in data.example(split, index).source {
                counts[token as usize] += 1;
            }
        }
        let total: u32 = counts.iter().sum();
        let harmonic: f64 = (1..=50).map(|k| 1.0 / f64::from(k)).sum();
        for k in [1, 2, 5, 10] {
            let share = f64::from(counts[k]) / f64::from(total);
            let expected = 1.0 / (k as f64 * harmonic);
            // The few sequences of length 1 are not distributed evenly over the splits.
            assert!(
                (share / expected - 1.0).abs() < 0.15,
                "{split} {k}: {share}, {expected}"
            );
        }
    }
    let lens = data.of_length(Split::Test, 3, 50);
    assert_eq!(lens.len(), 50);
}

#[test]
fn epochs_have_different_orders_and_seeds_different_samples() {
    let config = DataConfig {
        train_samples: 100,
        ..DataConfig::default()
    };
    let first = data(&config, 0, 8);
    assert_ne!(epoch(&first, 0), epoch(&first, 1));
    assert_ne!(
        sorted(epoch(&first, 0)),
        sorted(epoch(&data(&config, 1, 8), 0))
    );
}

#[test]
fn bucketed_batches_pad_less() {
    let padding = |batching| {
        let config = DataConfig {
            batching,
            ..DataConfig::default()
        };
        let data = data(&config, 0, 64);
        let batches = (0..313).map(|step| data.batch(Split::Train, step).source);
        batches
            .map(|source| source.iter().filter(|&&token| token == 0).count())
            .sum::<usize>()
    };
    assert!(padding(Batching::Bucketed) * 5 < padding(Batching::Mixed));
}

#[test]
fn val_and_test_have_one_pass() {
    let config = DataConfig {
        val_samples: 10,
        test_samples: 8,
        ..DataConfig::default()
    };
    let data = data(&config, 0, 4);
    for (split, rows) in [(Split::Val, [4, 4, 2, 0]), (Split::Test, [4, 4, 0, 0])] {
        assert_eq!(
            [0, 1, 2, 3].map(|step| data.batch(split, step).n_rows()),
            rows
        );
        assert_eq!(
            data.n_batches(split),
            Some(rows.iter().filter(|&&n| n > 0).count() as u64)
        );
    }
    let fresh = Synthetic::new(
        &DataConfig {
            train_samples: 0,
            ..config
        },
        0,
        NonZeroUsize::MIN,
    );
    assert_eq!(fresh.map(|data| data.n_batches(Split::Train)), Ok(None));
}

/// All sequences of `len` symbols from 1 to `n_symbols`.
fn all_of_length(n_symbols: Token, len: usize) -> Vec<Vec<Token>> {
    let longer = |sources: Vec<Vec<Token>>, _| {
        let extended = |source: &Vec<Token>| {
            let with = |symbol| [&source[..], &[symbol]].concat();
            (1..=n_symbols).map(with).collect::<Vec<_>>()
        };
        sources.iter().flat_map(extended).collect()
    };
    (0..len).fold(vec![Vec::new()], longer)
}

#[test]
fn all_sequences_of_a_short_length_can_be_sampled() {
    let config = DataConfig {
        vocab: 3,
        max_len: 40,
        ..small()
    };
    let data = data(&config, 0, 1);
    for (len, split) in (1..=9).flat_map(|len| Split::ALL.map(|split| (len, split))) {
        let mut expected = all_of_length(2, len);
        expected.retain(|source| Split::of(source) == split);
        let found = data.of_length(split, len, 1 << len);
        let found = found.into_iter().map(|example| example.source);
        assert_eq!(sorted(found.collect()), expected, "{split} {len}");
    }
    let lens = |len| Split::ALL.map(|split| data.of_length(split, len, 9).len());
    assert_eq!((lens(1), lens(0)), ([2, 0, 0], [0; 3]));
    assert_eq!(lens(reverse_data::MAX_LEN + 1), [0; 3]);
}

#[test]
fn the_report_counts_duplicates_and_no_leaks() {
    let config = DataConfig {
        vocab: 5,
        min_len: 4,
        max_len: 4,
        train_samples: 150,
        ..small()
    };
    let data = data(&config, 0, 1);
    let distinct = HashSet::<Vec<Token>>::from_iter(epoch(&data, 0)).len() as u64;

    let report = data.report();
    assert_eq!(
        (report.train.counted, report.train.distinct),
        (150, distinct)
    );
    assert!(report.train.duplicates() > 0);
    assert_eq!(
        report.leaks,
        Leaks {
            train_val: 0,
            train_test: 0,
            val_test: 0
        }
    );
}

#[test]
fn the_first_samples_of_seed_0_never_change() {
    // Golden: a change changes the data of every run. It is breaking and belongs in the changelog.
    let data = data(
        &DataConfig {
            max_len: 5,
            train_samples: 20_000, // the order of an epoch depends on it
            ..DataConfig::default()
        },
        0,
        1,
    );
    let first = |split| [0, 1, 2].map(|index| data.example(split, index).source);
    assert_eq!(
        first(Split::Train),
        [vec![18], vec![11, 48, 32, 48, 47], vec![38, 46, 42, 43, 32]]
    );
    assert_eq!(first(Split::Val), [vec![3, 14], vec![12], vec![34, 1]]);
    assert_eq!(first(Split::Test), [vec![17], vec![7, 28, 15], vec![1, 43]]);
    assert_eq!(
        epoch(&data, 0)[..3],
        [vec![38], vec![21, 32, 15], vec![8, 44]]
    );
}

#[test]
fn the_task_is_the_configured_one() {
    let config = DataConfig {
        task: TaskConfig::Copy,
        ..DataConfig::default()
    };
    let example = data(&config, 0, 1).example(Split::Train, 3);
    assert_eq!(example.source, example.target);
}
