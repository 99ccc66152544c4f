//! Parses a line of input.

use reverse_data::{Token, Vocabulary};

/// Maximum length of an error message, which may quote the input.
const MAX_MESSAGE: usize = 200;

/// The sequence of a line.
pub(crate) struct Parsed {
    /// The texts of the tokens, as given.
    pub(crate) texts: Vec<String>,
    /// The tokens.
    pub(crate) tokens: Vec<Token>,
}

impl Parsed {
    /// The texts that are not in the vocabulary.
    pub(crate) fn unknown(&self, vocabulary: &Vocabulary) -> Vec<&str> {
        let pairs = self.texts.iter().zip(&self.tokens);
        let unknown = pairs.filter(|(_, token)| vocabulary.unknown() == Some(**token));
        unknown.map(|(text, _)| text.as_str()).collect()
    }
}

/// Parses the sequence of a line. If it has more than `max` tokens, the error contains `advice`.
pub(crate) fn parse(
    line: Result<Vec<u8>, u64>,
    vocabulary: &Vocabulary,
    max: usize,
    advice: &str,
) -> Result<Parsed, String> {
    let too_long =
        |len: String| format!("too long: {len}, but the limit is {max} tokens; {advice}");
    let line = line.map_err(|n_bytes| too_long(format!("{n_bytes} bytes")))?;
    let text = str::from_utf8(&line).map_err(|_| "not valid UTF-8")?;
    let texts = vocabulary.split(text);
    let tokens: Vec<Token> = texts
        .iter()
        .map(|text| vocabulary.parse(text))
        .collect::<Result<_, _>>()
        .map_err(|error| {
            error
                .to_string()
                .chars()
                .take(MAX_MESSAGE)
                .collect::<String>()
        })?;
    match tokens.len() {
        0 => Err("no tokens".to_owned()),
        len if len > max => Err(too_long(format!("{len} tokens"))),
        _ => Ok(Parsed {
            texts: texts.into_iter().map(str::to_owned).collect(),
            tokens,
        }),
    }
}
