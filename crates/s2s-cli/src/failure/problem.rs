//! Problems of a configuration, with its lines.

use miette::{GraphicalReportHandler, GraphicalTheme, NamedSource, SourceSpan};
use s2s_train::{ConfigProblem, Origin};
use s2s_viz::clean;

use crate::ui::Ui;

/// Prints a configuration problem: with the surrounding lines on a terminal, otherwise on one line.
pub(super) fn report(problem: &ConfigProblem, text: &str, ui: &Ui) {
    let shown = ui
        .is_terminal()
        .then(|| with_lines(problem, text, ui))
        .flatten();
    match shown {
        Some(lines) => ui.styled(lines),
        None => ui.message(format!("error: {problem}")),
    }
}

/// A problem of a file with the surrounding lines.
fn with_lines(problem: &ConfigProblem, text: &str, ui: &Ui) -> Option<String> {
    let Origin::File(path) = &problem.origin else {
        return None;
    };
    let diagnostic = Diagnostic {
        message: clean(&problem.message),
        text: NamedSource::new(clean(&path.display().to_string()), visible(text)),
        span: problem.span.clone()?.into(),
        help: problem.help.as_deref().map(clean),
    };
    let theme = if console::colors_enabled_stderr() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let mut lines = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(ui.width());
    handler.render_report(&mut lines, &diagnostic).ok()?;
    Some(lines)
}

/// The text without control characters other than white space, each byte in its place.
fn visible(text: &str) -> String {
    let shown = |c: char| match clean(c.encode_utf8(&mut [0; 4])) {
        same if c.is_whitespace() || same.starts_with(c) => c.to_string(),
        _ => "?".repeat(c.len_utf8()),
    };
    text.chars().map(shown).collect()
}

/// A configuration problem in the form that miette renders.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("{message}")]
struct Diagnostic {
    message: String,
    #[source_code]
    text: NamedSource<String>,
    #[label("here")]
    span: SourceSpan,
    #[help]
    help: Option<String>,
}
