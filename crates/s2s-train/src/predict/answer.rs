//! What a model answers.

use std::fmt;

use reverse_data::Token;

/// What a model answers to a source. It displays as its [`text`](Self::text).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The line with the tokens.
    pub text: String,
    /// The text of each token.
    pub texts: Vec<String>,
    /// The tokens, without EOS.
    pub tokens: Vec<Token>,
    /// The probability of each token, and of EOS if the model produced it.
    pub probabilities: Vec<f32>,
    /// Log-probability of the whole answer in nats.
    pub log_prob: f64,
    /// Whether it ended with EOS. Otherwise it was cut at its maximum length.
    pub stopped: bool,
    /// The attention weights `[S]` for each of the `probabilities`; with
    /// [`source_markers`](crate::Codec::source_markers), S includes BOS and EOS. Empty if the weights were
    /// not requested or the model has no attention.
    pub attention: Vec<Vec<f32>>,
    /// Texts of the source that are not in the vocabulary, which the model read as `<unk>`.
    pub unknown: Vec<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
