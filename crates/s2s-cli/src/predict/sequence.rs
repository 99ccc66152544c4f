//! From a line to the sequence that it holds.

use reverse_data::{Token, Vocabulary};

/// Characters of a message: it may quote what it complains of.
const MAX_MESSAGE: usize = 200;

/// The sequence of a line, of `max` tokens at most: if it has more, there is advice what to do.
pub(super) fn parse(
    line: Result<Vec<u8>, u64>,
    vocabulary: &Vocabulary,
    max: usize,
    advice: &str,
) -> Result<Vec<Token>, String> {
    let too_long =
        |len: String| format!("too long: {len}, but at most {max} tokens are read; {advice}");
    let line = line.map_err(|n_bytes| too_long(format!("{n_bytes} bytes")))?;
    let text = str::from_utf8(&line).map_err(|_| "not valid UTF-8")?;
    // A comma may be a word.
    let is_number = vocabulary.unknown().is_none();
    let words = text.split(|c: char| is_number && c == ',' || c.is_whitespace());
    let tokens: Vec<Token> = words
        .filter(|word| !word.is_empty())
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
        _ => Ok(tokens),
    }
}
