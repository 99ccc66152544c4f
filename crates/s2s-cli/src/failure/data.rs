//! Hints for data that cannot be read.

use std::path::{Path, PathBuf};

use reverse_data::{Error, LineProblem};

use super::{prefixed, start, unused};
use crate::shell::quote;

/// Below this number of pairs, no shares of the splits are likely to leave a pair in each.
const FEW_PAIRS: usize = 20;

/// Hint for invalid data, if the message does not say what to do.
pub(super) fn hint(error: &Error) -> Option<String> {
    let hint = match error {
        Error::Line {
            path,
            problem: LineProblem::Encoding { name },
            ..
        } => {
            let utf8 = quote(&renamed(path, "utf8-", None));
            format!(
                "`{}iconv -f {name} -t UTF-8 > {utf8}` converts it",
                piped(path)
            )
        }
        Error::Line {
            path,
            problem: LineProblem::Semicolons,
            ..
        } => {
            let table = quote(&renamed(path, "", Some("tsv")));
            let tabs = format!("{}tail -n +2 | tr ';' '\\t' > {table}", piped(path));
            format!(
                "`{tabs}` makes a table with tabs, without the header, of fields without quotes"
            )
        }
        Error::Line { path, line, .. } => match is_compressed(path) {
            true => format!("`{}sed -n {line}p` shows the line", piped(path)),
            false => format!("`sed -n {line}p {}` shows the line", quote(path)),
        },
        Error::NumberOfLines { path, .. } => match is_compressed(path) {
            true => format!("`{}wc -l` counts the lines", piped(path)),
            false => format!("`wc -l {}` counts the lines", quote(path)),
        },
        Error::OnlyHeader { .. } => "a table with pairs below the header".to_owned(),
        Error::LineCounts {
            source_path,
            target_path,
            ..
        } => format!(
            "`paste {} {}` shows where the files differ",
            quote(source_path),
            quote(target_path)
        ),
        Error::EmptySplit { n_rows, .. } if *n_rows < FEW_PAIRS => {
            "a table with more pairs".to_owned()
        }
        Error::EmptySplit { .. } => {
            "--set data.split=[0.6,0.2,0.2], or a table with more pairs".to_owned()
        }
        Error::NoColumn { path, .. } => match is_compressed(path) {
            true => format!("`{}head -n 1` shows the header", piped(path)),
            false => format!("`head -n 1 {}` shows the header", quote(path)),
        },
        Error::TooManyWords { .. } => "--set data.max_tokens=50000 for the most frequent ones, \
             --set data.min_count=2 for those that occur more than once, or \
             --set data.tokens=chars for characters; or a shorter data.vocab_file"
            .to_owned(),
        Error::Config { .. } => start(),
        _ => return None,
    };
    Some(hint)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "gz")
}

/// The start of a pipeline that reads the file.
fn piped(path: &Path) -> String {
    let program = if is_compressed(path) {
        "gzip -dc"
    } else {
        "cat"
    };
    format!("{program} {} | ", quote(path))
}

/// A path for a converted file, at which there is none: without `.gz`, in the same folder.
fn renamed(path: &Path, prefix: &str, ending: Option<&str>) -> PathBuf {
    let mut path = match is_compressed(path) {
        true => path.with_extension(""),
        false => path.to_owned(),
    };
    if let Some(ending) = ending {
        path.set_extension(ending);
    }
    unused(&prefixed(&path, prefix))
}
