//! The attention of one sequence as a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use s2s_runlog::AttentionRecord;

use super::{STYLE, escape_html, fill, hash};
use crate::Figure;

const TEMPLATE: &str = include_str!("../../viewer/sequence.html");

/// A decoded sequence as an HTML page without scripts, which loads nothing else.
#[derive(Clone, Copy, Debug)]
pub struct SequencePage<'a> {
    /// The page's title.
    pub title: &'a str,
    /// A line below the sequence.
    pub subtitle: &'a str,
    /// The sequence.
    pub record: &'a AttentionRecord,
    /// `[T]`: the probability of each token of [`AttentionRecord::prediction`].
    pub probabilities: &'a [f32],
    /// The heatmap of the sequence.
    pub heatmap: &'a Figure,
}

impl SequencePage<'_> {
    /// The page as an HTML document. No token can become markup.
    pub fn html(&self) -> String {
        let record = self.record;
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; \
             form-action 'none'",
            hash(STYLE)
        );
        let steps = record.prediction.iter().zip(&record.weights);
        let row = |((token, weights), probability): ((&String, &Vec<f32>), &f32)| {
            let greatest = weights.iter().zip(&record.source).enumerate();
            let greatest = greatest.max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b));
            let (place, weight) = match greatest {
                Some((i, (weight, source))) => (
                    format!("{}: {}", i + 1, escape_html(source)),
                    format!("{weight:.3}"),
                ),
                None => (String::new(), String::new()),
            };
            format!(
                "<tr><td>{}</td><td>{probability:.4}</td><td>{place}</td><td>{weight}</td></tr>\n",
                escape_html(token)
            )
        };
        let rows: String = steps.zip(self.probabilities).map(row).collect();
        fill(
            TEMPLATE,
            &[
                ("policy", &policy),
                ("title", &escape_html(self.title)),
                ("style", STYLE),
                ("source", &escape_html(&record.source.join(" "))),
                ("output", &escape_html(&record.prediction.join(" "))),
                ("subtitle", &escape_html(self.subtitle)),
                ("picture", &STANDARD.encode(self.heatmap.svg())),
                ("rows", &rows),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Heatmap;

    #[test]
    fn tokens_do_not_become_markup() {
        let hostile = "</td><script>x</script>{{rows}}";
        let record = AttentionRecord {
            step: 1,
            source: vec![hostile.to_owned(); 2],
            target: Vec::new(),
            prediction: vec![hostile.to_owned()],
            weights: vec![vec![0.25, 0.75]],
            is_exact: false,
        };
        let page = SequencePage {
            title: hostile,
            subtitle: hostile,
            record: &record,
            probabilities: &[0.5],
            heatmap: &Heatmap::from_record(&record).unwrap().draw().unwrap(),
        };
        let html = page.html();
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("<tr>").count(), 2);
        assert!(html.contains("<td>2: &lt;/td&gt;"), "{html}");
        assert_eq!(html, page.html());
    }
}
