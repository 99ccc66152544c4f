//! From a line to the sequence that it holds.

use reverse_data::{Token, Vocabulary};

/// Characters of a message: it may quote what it complains of.
const MAX_MESSAGE: usize = 200;

/// The sequence of a line, of `max` tokens at most.
pub(super) fn parse(
    line: Option<Vec<u8>>,
    vocabulary: &Vocabulary,
    max: usize,
) -> Result<Vec<Token>, String> {
    let too_long = || format!("too long: at most {max} tokens are read");
    let line = line.ok_or_else(too_long)?;
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
        len if len > max => Err(too_long()),
        _ => Ok(tokens),
    }
}
