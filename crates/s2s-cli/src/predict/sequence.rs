//! Parses a line of input.

use reverse_data::{Token, Vocabulary};

/// Maximum length of an error message, which may quote the input.
const MAX_MESSAGE: usize = 200;

/// The sequence of a line, and its words that are not in the vocabulary.
pub(super) type Parsed = (Vec<Token>, Vec<String>);

/// Parses the sequence of a line. If it has more than `max` tokens, the error contains `advice`.
pub(super) fn parse(
    line: Result<Vec<u8>, u64>,
    vocabulary: &Vocabulary,
    max: usize,
    advice: &str,
) -> Result<Parsed, String> {
    let too_long =
        |len: String| format!("too long: {len}, but the limit is {max} tokens; {advice}");
    let line = line.map_err(|n_bytes| too_long(format!("{n_bytes} bytes")))?;
    let text = str::from_utf8(&line).map_err(|_| "not valid UTF-8")?;
    // In text, a comma may be a word.
    let is_number = vocabulary.unknown().is_none();
    let words: Vec<&str> = text
        .split(|c: char| is_number && c == ',' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect();
    let tokens: Vec<Token> = words
        .iter()
        .map(|word| vocabulary.parse(word))
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
        _ => {
            let pairs = words.into_iter().zip(&tokens);
            let unknown = pairs
                .filter(|(_, token)| vocabulary.unknown() == Some(**token))
                .map(|(word, _)| word.to_owned())
                .collect();
            Ok((tokens, unknown))
        }
    }
}
