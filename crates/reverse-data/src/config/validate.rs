//! Validation of a configuration: reports all problems at once.

use crate::splits::Capacity;
use crate::symbols::MAX_EXPONENT;
use crate::{Batching, DataConfig, MAX_LEN, Problem, Split, TaskConfig, Tokenization, Vocabulary};

/// The listed keys whose values differ from the default.
macro_rules! changed {
    ($config:expr; $($key:ident)*) => {{
        let default = DataConfig::default();
        let changed = [$((stringify!($key), $config.$key != default.$key)),*];
        changed.into_iter().filter(|(_, is_changed)| *is_changed).map(|(key, _)| key)
    }};
}

impl DataConfig {
    /// All problems: values out of range, keys that have no effect, and more samples than distinct
    /// sequences. Empty if the configuration is valid.
    pub fn validate(&self) -> Vec<Problem> {
        if self.is_text() {
            return self.text_problems();
        }
        let Self {
            vocab,
            min_len,
            max_len,
            ..
        } = *self;
        let mut problems = Vec::new();
        if let Err(error) = Vocabulary::new(vocab) {
            problems.push(problem("vocab", error.to_string()));
        }
        if min_len < 1 {
            problems.push(problem(
                "min_len",
                "min_len must be at least 1, got 0".into(),
            ));
        }
        if max_len > MAX_LEN {
            let message = format!("max_len must be at most {MAX_LEN}, got {max_len}");
            problems.push(problem("max_len", message));
        }
        if min_len > max_len {
            let message = format!("min_len must be at most max_len = {max_len}, got {min_len}");
            problems.push(problem("min_len", message));
        }
        let is_countable = problems.is_empty();
        problems.extend(self.option_problems());
        let capacity = is_countable.then(|| Capacity::new(vocab - 1, self.lens()));
        for split in Split::ALL {
            let key = samples_key(split);
            if self.n_samples(split) == Some(0) {
                problems.push(problem(key, format!("{key} must be at least 1, got 0")));
            } else if let Some(capacity) = &capacity {
                problems.extend(self.capacity_problem(split, capacity.of(split)));
            }
        }
        problems
    }

    /// Problems of keys that depend on other keys.
    fn option_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        match (self.task, self.block) {
            (TaskConfig::BlockReverse, block @ (0 | 1)) => {
                let message = format!("block must be at least 2 for block-reverse, got {block}");
                problems.push(problem("block", message));
            }
            (TaskConfig::BlockReverse, _) | (_, 0) => {}
            (_, block) => problems.push(Problem {
                key: "block",
                message: format!("block has no effect unless task is block-reverse, got {block}"),
                help: Some("remove block, or set task = \"block-reverse\"".into()),
            }),
        }
        let exponent = self.zipf_exponent;
        if !(0.0..=MAX_EXPONENT).contains(&exponent) {
            let message = format!("zipf_exponent must lie in [0, {MAX_EXPONENT}], got {exponent}");
            problems.push(problem("zipf_exponent", message));
        }
        if self.batching == Batching::EqualLength && self.train_samples > 0 {
            let samples = self.train_samples;
            problems.push(Problem {
                key: "batching",
                message: format!(
                    "batching = \"equal-length\" needs train_samples = 0, got {samples}"
                ),
                help: Some(
                    "set train_samples = 0 with max_steps and eval_every in [train], or batching = \
                     \"bucketed\""
                        .into(),
                ),
            });
        }
        let of_text = changed!(self; vocab_file source_column target_column split split_seed tokens
            min_count max_tokens max_source_len max_target_len unknown_rate);
        problems.extend(of_text.map(|key| Problem {
            key,
            message: format!("{key} has no effect without file or folder"),
            help: Some(format!("set data.file or data.folder, or remove {key}")),
        }));
        problems
    }

    /// Problems of the configuration of text.
    fn text_problems(&self) -> Vec<Problem> {
        let source = match self.file.as_os_str().is_empty() {
            true => "folder",
            false => "file",
        };
        let without_effect = |key, reason: &str, other: &str| Problem {
            key,
            message: format!("{key} has no effect {reason}"),
            help: Some(format!("remove {key} or {other}")),
        };
        let of_synthetic = changed!(self; task block vocab symbols zipf_exponent min_len max_len
            train_samples val_samples test_samples);
        let mut problems: Vec<Problem> = of_synthetic
            .map(|key| without_effect(key, &format!("with {source}"), source))
            .collect();
        if source == "folder" {
            let of_file = changed!(self; source_column target_column split split_seed);
            problems.extend(of_file.map(|key| without_effect(key, "with folder", "folder")));
        } else if !self.folder.as_os_str().is_empty() {
            problems.push(without_effect("folder", "with file", "file"));
        }
        let has_vocab_file = !self.vocab_file.as_os_str().is_empty();
        let reason = match (has_vocab_file, self.tokens) {
            (_, Tokenization::Bytes) => Some(("with tokens = \"bytes\"", "set tokens = \"chars\"")),
            (true, _) => Some(("with vocab_file", "remove vocab_file")),
            (false, _) => None,
        };
        if let Some((reason, help)) = reason {
            let mut of_counts: Vec<_> = changed!(self; min_count max_tokens).collect();
            if has_vocab_file && self.tokens == Tokenization::Bytes {
                of_counts.push("vocab_file");
            }
            problems.extend(of_counts.into_iter().map(|key| Problem {
                key,
                message: format!("{key} has no effect {reason}"),
                help: Some(format!("remove {key}, or {help}")),
            }));
        }
        let is_share = |share: &f64| *share > 0.0 && *share < 1.0;
        let sum: f64 = self.split.iter().sum();
        if !self.split.iter().all(is_share) || (sum - 1.0).abs() > 1e-9 {
            let message = format!(
                "split must be three shares above 0 with sum 1, for train, val and test, got {:?}",
                self.split
            );
            problems.push(problem("split", message));
        }
        if !(0.0..=1.0).contains(&self.unknown_rate) {
            let message = format!("unknown_rate must lie in [0, 1], got {}", self.unknown_rate);
            problems.push(problem("unknown_rate", message));
        }
        if self.batching == Batching::EqualLength {
            problems.push(Problem {
                key: "batching",
                message: "batching = \"equal-length\" is not available for text".into(),
                help: Some("set batching = \"bucketed\"".into()),
            });
        }
        problems
    }

    /// The problem of requesting more samples than the split has distinct sequences.
    fn capacity_problem(&self, split: Split, capacity: u64) -> Option<Problem> {
        let samples = self.n_samples(split);
        if samples.unwrap_or(1) <= capacity {
            return None;
        }
        let key = samples_key(split);
        let requested = match samples {
            Some(samples) => samples.to_string(),
            None => "0 (an unlimited number of samples)".into(),
        };
        let lens = match (self.min_len, self.max_len) {
            (min, max) if min == max => format!("length {min}"),
            (min, max) => format!("length {min} to {max}"),
        };
        let max_symbol = self.vocab - 1;
        let lower = match capacity {
            0 => String::new(),
            _ => format!(", or lower {key} to at most {capacity}"),
        };
        Some(Problem {
            key,
            message: format!(
                "{key} is {requested}, but only {capacity} distinct sequences of {lens} with symbols \
                 1 to {max_symbol} fall in the {split} split"
            ),
            help: Some(format!("raise vocab or max_len{lower}")),
        })
    }
}

fn problem(key: &'static str, message: String) -> Problem {
    Problem {
        key,
        message,
        help: None,
    }
}

fn samples_key(split: Split) -> &'static str {
    match split {
        Split::Train => "train_samples",
        Split::Val => "val_samples",
        Split::Test => "test_samples",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_VOCAB;

    fn keys(config: &DataConfig) -> Vec<&'static str> {
        config
            .validate()
            .iter()
            .map(|problem| problem.key)
            .collect()
    }

    #[test]
    fn the_default_is_valid_and_round_trips_through_toml() {
        let config = DataConfig::default();
        assert_eq!(config.validate(), []);
        let text = toml::to_string(&config).unwrap();
        assert!(text.contains("task = \"reverse\"") && text.contains("batching = \"mixed\""));
        assert_eq!(toml::from_str(&text), Ok(config));
        assert_eq!(toml::from_str(""), Ok(DataConfig::default()));
    }

    #[test]
    fn misspelled_keys_and_unknown_names_are_rejected() {
        for (text, part) in [
            ("vocabb = 9", "unknown field `vocabb`"),
            ("task = \"revers\"", "unknown variant `revers`"),
            ("task = { reverse = { size = 3 } }", "expected empty table"),
            ("symbols = \"zip\"", "unknown variant `zip`"),
            ("batching = \"bucket\"", "unknown variant `bucket`"),
            ("max_len = -1", "invalid value"),
        ] {
            let error = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let config = DataConfig {
            vocab: 1,
            min_len: 0,
            max_len: MAX_LEN + 1,
            val_samples: 0,
            test_samples: 0,
            ..DataConfig::default()
        };
        assert_eq!(
            keys(&config),
            ["vocab", "min_len", "max_len", "val_samples", "test_samples"]
        );
        let config = DataConfig {
            min_len: 9,
            max_len: 8,
            ..DataConfig::default()
        };
        assert_eq!(
            config.validate()[0].to_string(),
            "min_len must be at most max_len = 8, got 9"
        );
        let config = DataConfig {
            max_len: 2,
            vocab: 11,
            val_samples: 0,
            ..DataConfig::default()
        };
        assert_eq!(
            keys(&config),
            ["train_samples", "val_samples", "test_samples"]
        );
    }

    #[test]
    fn too_many_samples_are_rejected_with_the_numbers() {
        let config = DataConfig {
            vocab: 32,
            max_len: 2,
            train_samples: 700,
            ..DataConfig::default()
        };
        let problems = config.validate();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(
            problems[1].to_string(),
            "test_samples is 2000, but only 97 distinct sequences of length 1 to 2 with symbols \
             1 to 31 fall in the test split: raise vocab or max_len, or lower test_samples to at \
             most 97"
        );
        let config = DataConfig {
            val_samples: 84,
            test_samples: 97,
            ..config
        };
        assert_eq!(config.validate(), []);
    }

    #[test]
    fn an_empty_split_is_rejected_even_for_unlimited_samples() {
        let config = DataConfig {
            vocab: 2,
            max_len: 1,
            train_samples: 0,
            ..DataConfig::default()
        };
        let problems = config.validate();
        assert_eq!(
            problems.len(),
            2,
            "one sequence is in one split: {problems:?}"
        );
    }

    #[track_caller]
    fn check_rejected(text: &str, expected: &[&str]) {
        let config: DataConfig = toml::from_str(text).unwrap();
        let problems: Vec<_> = config.validate().iter().map(Problem::to_string).collect();
        assert_eq!(problems, expected);
    }

    #[test]
    fn options_without_effect_are_rejected() {
        check_rejected(
            "task = \"block-reverse\"",
            &["block must be at least 2 for block-reverse, got 0"],
        );
        check_rejected("task = \"block-reverse\"\nblock = 4", &[]);
        check_rejected(
            "task = \"sort\"\nblock = 4",
            &[
                "block has no effect unless task is block-reverse, got 4: remove block, or set task = \
                 \"block-reverse\"",
            ],
        );
        for exponent in ["-0.1", "2.1", "nan", "inf"] {
            let message = format!(
                "zipf_exponent must lie in [0, 2], got {}",
                exponent.replace("nan", "NaN")
            );
            check_rejected(&format!("zipf_exponent = {exponent}"), &[&message]);
        }
        check_rejected(
            "batching = \"equal-length\"",
            &[
                "batching = \"equal-length\" needs train_samples = 0, got 40000: set train_samples = 0 \
                 with max_steps and eval_every in [train], or batching = \"bucketed\"",
            ],
        );
        check_rejected(
            "vocab_file = \"v\"",
            &[
                "vocab_file has no effect without file or folder: set data.file or data.folder, or \
                 remove vocab_file",
            ],
        );
    }

    #[test]
    fn keys_of_synthetic_data_are_rejected_with_a_folder() {
        check_rejected(
            "folder = \"f\"\nvocab_file = \"v\"\nbatching = \"bucketed\"\nsource_markers = true",
            &[],
        );
        check_rejected(
            "folder = \"f\"\nbatching = \"equal-length\"",
            &["batching = \"equal-length\" is not available for text: set batching = \"bucketed\""],
        );
        let all = "folder = \"f\"\ntask = \"copy\"\nblock = 2\nvocab = 9\nsymbols = \"zipf\"\n\
                   zipf_exponent = 0.5\nmin_len = 2\nmax_len = 9\ntrain_samples = 1\n\
                   val_samples = 1\ntest_samples = 1";
        let config: DataConfig = toml::from_str(all).unwrap();
        assert_eq!(keys(&config), DataConfig::SYNTHETIC_KEYS);
        assert_eq!(
            config.validate()[0].to_string(),
            "task has no effect with folder: remove task or folder"
        );
        // Every key is of synthetic data, of text, or of both.
        let all = toml::Table::try_from(DataConfig::default()).unwrap();
        let of_both = ["source_markers", "batching", "folder", "file"];
        let known = [
            &DataConfig::SYNTHETIC_KEYS[..],
            &DataConfig::TEXT_KEYS,
            &of_both,
        ]
        .concat();
        assert_eq!(all.len(), known.len());
        assert!(known.iter().all(|key| all.contains_key(*key)));
    }

    #[test]
    fn keys_of_text_without_effect_are_rejected() {
        let all = "vocab_file = \"v\"\nsource_column = \"s\"\ntarget_column = \"t\"\n\
                   split = [0.5, 0.25, 0.25]\nsplit_seed = 1\ntokens = \"chars\"\nmin_count = 2\n\
                   max_tokens = 9\nmax_source_len = 9\nmax_target_len = 9\nunknown_rate = 0.5";
        let config: DataConfig = toml::from_str(all).unwrap();
        assert_eq!(keys(&config), DataConfig::TEXT_KEYS);
        check_rejected(
            "folder = \"f\"\nsplit_seed = 1",
            &["split_seed has no effect with folder: remove split_seed or folder"],
        );
        check_rejected(
            "folder = \"f\"\nfile = \"g\"",
            &["folder has no effect with file: remove folder or file"],
        );
        check_rejected(
            "file = \"f\"\nvocab_file = \"v\"\nmin_count = 2",
            &["min_count has no effect with vocab_file: remove min_count, or remove vocab_file"],
        );
        check_rejected(
            "file = \"f\"\nvocab_file = \"v\"\ntokens = \"bytes\"",
            &[
                "vocab_file has no effect with tokens = \"bytes\": remove vocab_file, or set tokens = \
                 \"chars\"",
            ],
        );
        for split in [
            "[0.9, 0.1, 0.0]",
            "[0.5, 0.2, 0.2]",
            "[1.5, -0.4, -0.1]",
            "[nan, 0.5, 0.5]",
        ] {
            let config: DataConfig =
                toml::from_str(&format!("file = \"f\"\nsplit = {split}")).unwrap();
            assert_eq!(keys(&config), ["split"], "{split}");
        }
        check_rejected(
            "file = \"f\"\nunknown_rate = 1.5",
            &["unknown_rate must lie in [0, 1], got 1.5"],
        );
        check_rejected(
            all.replace("vocab_file = \"v\"\n", "file = \"f\"\n")
                .as_str(),
            &[],
        );
    }

    #[test]
    fn the_extremes_are_valid() {
        for (vocab, max_len) in [(2, MAX_LEN), (MAX_VOCAB, MAX_LEN), (MAX_VOCAB, 1)] {
            let config = DataConfig {
                vocab,
                max_len,
                ..DataConfig::default()
            };
            assert_eq!(config.validate(), []);
        }
    }
}
