//! How sequences enter a model, and when its output ends.

use std::num::NonZeroUsize;

use reverse_data::{Vocabulary, mark_source};
use s2s_model::{OutputLimit, Stop};
use s2s_runlog::CorpusRecord;

use crate::{Data, ExperimentConfig};

/// The vocabulary of a model, the form of its input, and the maximum length of its output.
#[derive(Clone, Debug)]
pub struct Codec {
    /// The vocabulary of sources and targets.
    pub vocabulary: Vocabulary,
    /// Whether a source has BOS in front and EOS at the end.
    pub source_markers: bool,
    /// The maximum length of an output.
    pub limit: OutputLimit,
    /// Number of tokens of the longest source in training; `None` for synthetic data, and for imported
    /// weights if it is not known.
    pub longest_source: Option<usize>,
}

impl Codec {
    /// The codec of a configuration and its data.
    pub fn new(config: &ExperimentConfig, data: &Data) -> Self {
        let vocabulary = data.source.vocabulary().clone();
        let codec = Self::of_record(config, vocabulary, data.corpus.as_ref());
        match data.corpus {
            Some(_) => codec,
            None => Self {
                limit: OutputLimit::of_growth(data.source.growth()),
                ..codec
            },
        }
    }

    /// The codec of a configuration, a vocabulary, and the record of text.
    pub(crate) fn of_record(
        config: &ExperimentConfig,
        vocabulary: Vocabulary,
        corpus: Option<&CorpusRecord>,
    ) -> Self {
        Self {
            vocabulary,
            source_markers: config.data.source_markers,
            limit: output_limit(config, corpus),
            longest_source: corpus
                .map(|corpus| corpus.longest[0])
                .filter(|len| *len > 0),
        }
    }

    /// The source as the model reads it.
    pub fn model_input(&self, source: &[u32]) -> Vec<u32> {
        match self.source_markers {
            true => mark_source(source, &self.vocabulary),
            false => source.to_vec(),
        }
    }

    /// The texts of what the model reads for a source with these texts.
    pub(crate) fn input_texts(&self, source: &[String]) -> Vec<String> {
        let [bos, eos] =
            [self.vocabulary.bos(), self.vocabulary.eos()].map(|t| self.vocabulary.text(t));
        match self.source_markers {
            true => [&[bos][..], source, &[eos]].concat(),
            false => source.to_vec(),
        }
    }

    /// How sources or tokens differ from those of another codec, as "have different ..."; `None` if the
    /// models of both can be combined.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (size, other_size) = (self.vocabulary.size(), other.vocabulary.size());
        if size != other_size {
            Some(format!(
                "have different vocabularies, of {size} and {other_size} tokens"
            ))
        } else if self.vocabulary != other.vocabulary {
            Some("have different vocabularies of the same size".to_owned())
        } else if self.source_markers != other.source_markers {
            Some("differ in data.source_markers".to_owned())
        } else {
            None
        }
    }

    /// Decoding ends at EOS or at the maximum length.
    pub fn stop(&self) -> Stop {
        Stop::AtEos(self.limit)
    }
}

/// The maximum length of an output of a run with this configuration: by the longest source and target in training
/// for text, which has a record, and by the growth of the task for synthetic data.
pub fn output_limit(config: &ExperimentConfig, corpus: Option<&CorpusRecord>) -> OutputLimit {
    let of_text = corpus.and_then(|corpus| {
        let [source, target] = corpus.longest;
        Some(OutputLimit::of_training(NonZeroUsize::new(source)?, target))
    });
    of_text.unwrap_or_else(|| OutputLimit::of_growth(config.data.task().growth()))
}

#[cfg(test)]
mod tests {
    use reverse_data::{Example, Split, Task};

    use super::*;
    use crate::open_data;

    #[derive(Debug)]
    struct FiveTimes;

    impl Task for FiveTimes {
        fn target(&self, source: &[u32]) -> Vec<u32> {
            source.repeat(5)
        }

        fn growth(&self) -> usize {
            5
        }
    }

    #[test]
    fn every_target_fits_in_the_limit_of_outputs() -> crate::Result<()> {
        let mut config = ExperimentConfig::default();
        config.data.min_len = 11;
        config.data.task = reverse_data::TaskConfig::Triple;
        let five_times = |n: u32| (vec![n; 30], vec![n; 150]);
        let pairs = [1, 2, 3].map(|n| vec![five_times(n)]);
        for data in [
            open_data(&config)?,
            Data::with_task(&config, FiveTimes)?,
            Data::pairs(&config, pairs)?,
        ] {
            let limit = Codec::new(&config, &data).limit;
            for split in Split::ALL {
                let Example { source, target } = data.source.example(split, 0);
                assert!(limit.tokens(source.len()) > target.len(), "{data:?}");
            }
        }
        let loaded = Codec::of_record(&config, Vocabulary::new(50)?, None).limit;
        assert!(loaded.tokens(100) > 300);
        Ok(())
    }
}
