//! `config.json` and `vocab.json` of an export: everything beside the weights.

use reverse_data::{Token, Tokenization, Vocabulary};
use s2s_model::OutputLimit;
use s2s_train::{ExperimentConfig, Trained};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// The version of this format.
const VERSION: u32 = 1;

/// What a program must know to use the weights of a model: the content of `config.json` of an export.
/// `model.safetensors` contains it, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Version of this format. [`Found::description`](crate::Found::description) returns only the one that
    /// this version of the crate writes.
    pub format: u32,
    /// Optimizer steps of the exported weights.
    pub step: u64,
    /// The tokens.
    pub tokens: TokenDescription,
    /// Whether a source has BOS in front and EOS at the end.
    pub source_markers: bool,
    /// Maximum length of an output, in tokens, as a function of the source's length.
    pub output_limit: OutputLimit,
    /// The configuration of the run, which describes the architecture in `model`.
    pub experiment: ExperimentConfig,
}

/// The token IDs. `vocab.json` has the text of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenDescription {
    /// How a line is divided into tokens.
    pub kind: TokenKind,
    /// The ID of padding.
    pub pad: Token,
    /// The ID of BOS, the first input of the decoder.
    pub bos: Token,
    /// The ID of EOS, the end of an output.
    pub eos: Token,
    /// The ID that replaces tokens outside the vocabulary; `None` for synthetic data.
    pub unknown: Option<Token>,
}

/// How a line is divided into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenKind {
    /// Synthetic data: numbers, separated by white space or commas.
    Numbers,
    /// Text, divided at white space.
    Words,
    /// Text, divided into extended grapheme clusters.
    Chars,
    /// Text, divided into the bytes of UTF-8.
    Bytes,
}

impl Description {
    /// The description of a trained model.
    pub fn of(trained: &Trained) -> Self {
        let codec = &trained.codec;
        let vocabulary = &codec.vocabulary;
        Self {
            format: VERSION,
            step: trained.step,
            tokens: TokenDescription {
                kind: match vocabulary.tokenization() {
                    None => TokenKind::Numbers,
                    Some(Tokenization::Words) => TokenKind::Words,
                    Some(Tokenization::Chars) => TokenKind::Chars,
                    Some(Tokenization::Bytes) => TokenKind::Bytes,
                },
                pad: reverse_data::PAD,
                bos: vocabulary.bos(),
                eos: vocabulary.eos(),
                unknown: vocabulary.unknown(),
            },
            source_markers: codec.source_markers,
            output_limit: codec.limit,
            experiment: trained.config.clone(),
        }
    }

    /// Whether this version of the crate knows the format.
    pub(crate) fn is_supported(&self) -> bool {
        self.format == VERSION
    }
}

/// The format of a description in JSON, which may be another one than [`VERSION`]; `None` for other JSON, such
/// as the configuration of another program.
pub(crate) fn format_of(json: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Marks {
        format: u32,
        #[serde(rename = "output_limit")]
        _output_limit: IgnoredAny,
    }
    let marks: Marks = serde_json::from_slice(json).ok()?;
    Some(marks.format)
}

/// The text of every token, by its ID.
pub(crate) fn texts(vocabulary: &Vocabulary) -> Vec<String> {
    let tokens = 0..vocabulary.size() as Token;
    tokens.map(|token| vocabulary.text(token)).collect()
}
