//! Processes with an empty standard input, and errors that name the whole command line.
//!
//! ```
//! use s2s_lab::process::{command, stdout};
//!
//! assert_eq!(stdout(command("printf").arg("hello"))?, "hello");
//! # Ok::<(), s2s_lab::Error>(())
//! ```

use std::ffi::OsStr;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use crate::{Error, Result};

/// A command with an empty standard input.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// Starts a process and returns at once. Its streams go where the command says, by default to those of this
/// process.
///
/// # Errors
/// [`Error::Start`] if it cannot be started, for example because there is no such program.
pub fn spawn(command: &mut Command) -> Result<Child> {
    let result = command.spawn();
    result.map_err(|source| start(command, source))
}

/// Runs a process to its end. Its streams go where the command says, by default to those of this
/// process.
///
/// # Errors
/// [`Error::Start`] if it cannot be started, for example because there is no such program.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    let result = command.status();
    result.map_err(|source| start(command, source))
}

/// Runs a process to its end and captures both streams, except those that the command redirects.
///
/// # Errors
/// [`Error::Start`] if it cannot be started, for example because there is no such program.
pub fn output(command: &mut Command) -> Result<Output> {
    let result = command.output();
    result.map_err(|source| start(command, source))
}

/// What a successful process prints, without trailing white space.
///
/// # Errors
/// [`Error::Start`] if it cannot be started; [`Error::Exit`] if the exit code is not 0; [`Error::NotText`] if
/// it prints bytes that are not UTF-8.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        return Err(Error::Exit {
            command: command_line(command),
            status: output.status,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    match String::from_utf8(output.stdout) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(_) => Err(Error::NotText {
            command: command_line(command),
        }),
    }
}

/// A command as it would be typed in a shell, without environment variables.
pub fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    shell_words(words.map(|word| word.to_string_lossy()))
}

/// Words as a shell reads them.
pub(crate) fn shell_words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    let words = words.into_iter().map(|word| quoted(word.as_ref()));
    words.collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn start(command: &Command, source: std::io::Error) -> Error {
    let command = command_line(command);
    Error::Start { command, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_split_or_change_them() {
        assert_eq!(quoted("train.epochs=3"), "train.epochs=3");
        assert_eq!(quoted(r#"task="copy""#), r#"'task="copy"'"#);
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    #[cfg(unix)]
    fn an_error_names_the_command_its_status_and_its_message() {
        let error = stdout(command("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo no >&2; exit 3'` failed (exit status: 3): no"
        );
        let error = stdout(&mut command("no-such-program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `no-such-program`");
    }
}
