//! The viewer: runs, or an experiment, as one HTML page, with everything that it needs inside.

mod bundle;
mod experiment;
mod run;
mod sequence;
mod weights;

pub use experiment::{ExperimentPage, PageCell, PageCellRun, PageCurve, PageMetric};
pub use run::{PageCommand, PageRun};
pub use sequence::SequencePage;
pub use weights::PageWeights;
use weights::Precision;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const TEMPLATE: &str = include_str!("../../viewer/page.html");
const STYLE: &str = include_str!("../../viewer/style.css");

/// Base64 characters of the weights of all runs of a page. A page with them stays below 3 MB.
const MAX_WEIGHTS: usize = 2_000_000;

/// Where a [`Page`] gets its data from, and what runs the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// The page itself: it contains the weights and runs the model in the browser. Weights that are too
    /// large for a page are left out, or rounded to half precision.
    Embedded,
    /// The server that sent the page. The page has no weights; it sends inputs to the server.
    Server {
        /// The secret with which the page identifies itself to the server.
        token: String,
    },
}

/// Some runs as an HTML page that loads nothing else.
///
/// Equal runs give equal bytes. The content security policy in the page's head allows only the scripts
/// that the page contains, and connections to its own server, if it has one. No text of a run can
/// become markup.
#[derive(Clone, Debug)]
pub struct Page {
    /// The runs; the page opens with the first one.
    pub runs: Vec<PageRun>,
    /// Where the page gets its data from.
    pub source: PageSource,
}

impl Page {
    /// The page as an HTML document.
    pub fn html(&self) -> String {
        let connections = match self.source {
            PageSource::Embedded => "'none'",
            PageSource::Server { .. } => "'self'",
        };
        let names: Vec<&str> = self.runs.iter().map(|run| run.name.as_str()).collect();
        page(&names.join(", "), &self.data(), bundle::RUNS, connections)
    }

    /// The data block.
    fn data(&self) -> Value {
        let mut room = MAX_WEIGHTS;
        let all = self.runs.iter().filter_map(|run| run.weights.as_ref());
        let precision = Precision::of(all, room);
        let mut runs = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let mut value = run.to_json();
            if self.source == PageSource::Embedded
                && let Some(weights) = &run.weights
            {
                value["weights"] = weights.to_json(precision, &mut room);
            }
            runs.push(value);
        }
        match &self.source {
            PageSource::Embedded => json!({ "source": "embedded", "runs": runs }),
            PageSource::Server { token } => {
                json!({ "source": "server", "token": token, "runs": runs })
            }
        }
    }
}

/// A page with this data and this program, which may connect to `connections`.
fn page(
    title: &str,
    data: &Value,
    modules: &[(&'static str, &'static str)],
    connections: &str,
) -> String {
    let script = bundle::script(modules);
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; \
         connect-src {connections}; base-uri 'none'; form-action 'none'",
        hash(&script),
        hash(STYLE)
    );
    fill(
        TEMPLATE,
        &[
            ("policy", &policy),
            ("title", &escape_html(title)),
            ("style", STYLE),
            ("data", &escape_script(&data.to_string())),
            ("script", &script),
        ],
    )
}

/// The SHA-256 of a script or a style, as a policy names it.
fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// Replaces each `{{name}}` of the template, in one pass: inserted text is never searched.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut parts = template.split("{{");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap_or((part, ""));
        let value = values.iter().find(|(other, _)| *other == name);
        page += value.map_or("", |(_, value)| value);
        page += rest;
    }
    page
}

/// JSON that can stand in a `<script>` element: without `<`, `>` and `&`, and without characters that
/// an editor or a terminal might interpret.
fn escape_script(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        let is_plain = matches!(c, ' '..='~') && !matches!(c, '<' | '>' | '&')
            || c > '\u{9f}' && c.is_alphanumeric();
        if is_plain {
            escaped.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped += &format!("\\u{unit:04x}");
            }
        }
    }
    escaped
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(name: &str) -> Page {
        Page {
            runs: vec![PageRun {
                name: name.to_owned(),
                ..PageRun::default()
            }],
            source: PageSource::Embedded,
        }
    }

    #[test]
    fn no_text_of_a_run_becomes_markup() {
        let hostile = "</script><script>alert(1)</script>]]>\u{202e}\u{1b}[31m\u{2028}{{script}}";
        let html = page(hostile).html();
        assert_eq!(
            html.matches("<script").count(),
            2,
            "the data and the program"
        );
        assert_eq!(html.matches("</script").count(), 2);
        assert_eq!(
            html.matches("import ").count(),
            page("a").html().matches("import ").count()
        );
        let (_, rest) = html.split_once("id=\"data\">").unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        assert!(data.is_ascii(), "{data}");
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["runs"][0]["name"], hostile);
    }

    #[test]
    fn equal_runs_give_equal_bytes() {
        assert_eq!(page("a").html(), page("a").html());
        assert_ne!(page("a").html(), page("b").html());
    }

    #[test]
    fn the_policy_allows_the_script_and_the_style_of_the_page_only() {
        let html = page("a").html();
        let inner = |open: &str, close: &str| {
            let (_, rest) = html.split_once(open).unwrap();
            rest.split_once(close).unwrap().0.to_owned()
        };
        let script = inner("<script type=\"module\">", "</script>");
        assert!(html.contains(&format!("script-src 'sha256-{}'", hash(&script))));
        let style = inner("<style>", "</style>");
        assert!(html.contains(&format!("style-src 'sha256-{}'", hash(&style))));
        assert!(html.contains("connect-src 'none'"));
        assert!(!html.contains("unsafe-inline") && !html.contains(" style=\""));
    }

    #[test]
    fn a_page_loads_nothing() {
        let html = page("a").html();
        for reference in ["src=", "@import", "url(", "fetch(\"http", "href=\"http"] {
            assert!(!html.contains(reference), "{reference}");
        }
    }
}
