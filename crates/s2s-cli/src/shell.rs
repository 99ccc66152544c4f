//! Command lines that can be pasted into a shell.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use s2s_viz::clean;

/// The name under which this program was called.
pub(crate) fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_else(|| "s2s".into());
    quote_word(&name)
}

/// The command line of this process.
pub(crate) fn command_line() -> String {
    words().join(" ")
}

/// The quoted words of the command line of this process.
fn words() -> Vec<String> {
    std::env::args_os().map(|word| quote_word(&word)).collect()
}

/// The command line of this process with a flag.
pub(crate) fn command_line_with_flag(flag: &str) -> String {
    let mut words = words();
    let end = words.iter().position(|word| word == "--");
    words.insert(end.unwrap_or(words.len()), flag.to_owned());
    words.join(" ")
}

/// The command line of this process with an option set to a value, in place of the one that it has.
pub(crate) fn command_line_with(option: &str, value: &str) -> String {
    with_option(std::env::args_os(), option, value)
}

/// Whether the command line of this process has an option.
pub(crate) fn is_given(option: &str) -> bool {
    place_of(option, &words()).is_some()
}

/// The command line of this process with another path in place of one that it has.
pub(crate) fn command_line_with_path(old: &Path, new: &Path) -> String {
    let words = std::env::args_os().map(|word| match Path::new(&word) {
        word if word == old => quote(new),
        word => quote_word(word.as_os_str()),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Where an option is among the words before `--`.
fn place_of(option: &str, words: &[String]) -> Option<usize> {
    let assigned = format!("{option}=");
    let mut options = words.iter().take_while(|word| *word != "--");
    options.position(|word| word == option || word.starts_with(&assigned))
}

fn with_option(words: impl Iterator<Item = OsString>, option: &str, value: &str) -> String {
    let mut words: Vec<String> = words.map(|word| quote_word(&word)).collect();
    let end = words.iter().position(|word| word == "--");
    let end = end.unwrap_or(words.len()); // of the options
    let new = format!("{option} {value}");
    match place_of(option, &words) {
        Some(at) if words[at] == option => drop(words.splice(at..end.min(at + 2), [new])),
        Some(at) => words[at] = new,
        None => words.insert(end, new),
    }
    words.join(" ")
}

/// Quotes a path for the shell, so that no program takes it for an option.
pub(crate) fn quote(path: &Path) -> String {
    match path.as_os_str().as_encoded_bytes().starts_with(b"-") {
        true => quote_word(Path::new(".").join(path).as_os_str()),
        false => quote_word(path.as_os_str()),
    }
}

/// Quotes a word for the shell.
pub(crate) fn quote_text(text: &str) -> String {
    quote_word(OsStr::new(text))
}

/// Quotes a word for the shell; words that are not UTF-8, or contain control characters, need bash.
fn quote_word(word: &OsStr) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-+./,:=@".contains(c);
    match word.to_str().filter(|text| clean(text) == **text) {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', r"'\''")),
        None => format!("$'{}'", word.as_encoded_bytes().escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_quoted() {
        for (path, word) in [
            ("runs/default-seed0", "runs/default-seed0"),
            ("-run", "./-run"),
            ("-my run", "'./-my run'"),
            ("my runs/a", "'my runs/a'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quote(Path::new(path)), word);
        }
    }

    #[test]
    fn an_option_replaces_the_one_that_is_there() {
        for (words, expected) in [
            ("s2s eval run", "s2s eval run --device cpu"),
            ("s2s eval --device cuda run", "s2s eval --device cpu run"),
            ("s2s eval run --device=cuda:1", "s2s eval run --device cpu"),
            ("s2s predict run -- a", "s2s predict run --device cpu -- a"),
        ] {
            let words = words.split(' ').map(OsString::from);
            assert_eq!(with_option(words, "--device", "cpu"), expected);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_path_that_is_not_utf8_is_escaped() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(OsStr::from_bytes(b"a\xff'b"));
        assert_eq!(quote(path), r"$'a\xff\'b'");
        assert_eq!(quote(Path::new("a\x1b[2J")), r"$'a\x1b[2J'");
    }
}
