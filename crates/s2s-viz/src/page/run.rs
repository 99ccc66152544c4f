//! What a page shows of a run.

use s2s_runlog::{
    AttentionRecord, CorpusFile, Environment, FailuresRecord, LengthsRecord, MetricsRecord,
    RunRecord, WrongRecord, wilson,
};
use serde_json::{Value, json};

use super::PageWeights;

/// Evaluations in the curves.
const MAX_EVALUATIONS: usize = 1000;

/// Evaluations with wrong outputs, and outputs of each.
const MAX_WRONG: (usize, usize) = (100, 4);

/// Cells of all heatmaps of one kind.
const MAX_CELLS: usize = 100_000;

/// Tokens of a sequence.
const MAX_TOKENS: usize = 1024;

/// A run on a [`Page`](crate::Page), as far as its files could be read. What could not be read is empty,
/// `None` or null.
#[derive(Clone, Debug, Default)]
pub struct PageRun {
    /// Its name.
    pub name: String,
    /// The configuration with all defaults filled in, as in `config.resolved.toml`.
    pub config: Value,
    /// The default values of the same keys; the page marks those that differ.
    pub defaults: Value,
    /// For a model of text, the words of symbols 1, 2, ...: `<unk>` and then the vocabulary. Empty if symbols
    /// are numbers.
    pub words: Vec<String>,
    /// Status and results, from `run.json`.
    pub record: Option<RunRecord>,
    /// Machine and program, from `environment.json`.
    pub environment: Option<Environment>,
    /// The files of the training text; empty for synthetic data.
    pub corpus: Vec<CorpusFile>,
    /// Number of tokens of the longest source and of the longest target in training; `None` for synthetic
    /// data.
    pub longest: Option<[usize; 2]>,
    /// The maximum length of outputs, as JSON: `output_limit` in `config.json` of an export.
    pub output_limit: Value,
    /// The evaluations during training.
    pub metrics: Vec<MetricsRecord>,
    /// The attention of a few sequences over training.
    pub attention: Vec<AttentionRecord>,
    /// Wrong outputs at each evaluation.
    pub wrong: Vec<WrongRecord>,
    /// Sequences of the test split.
    pub samples: Vec<AttentionRecord>,
    /// Errors on the test split.
    pub failures: Option<FailuresRecord>,
    /// Evaluations by length, with their names; the empty name for `lengths.json`.
    pub lengths: Vec<(String, LengthsRecord)>,
    /// Whether there is a checkpoint.
    pub has_model: bool,
    /// The parameters, with which a page of [`PageSource::Embedded`](crate::PageSource::Embedded) runs the
    /// model.
    pub weights: Option<PageWeights>,
    /// Commands to reproduce the run and the page.
    pub commands: Vec<PageCommand>,
    /// What the page cannot show, and why.
    pub problems: Vec<String>,
}

/// A command line for the reader of a page to copy, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCommand {
    /// What it does.
    pub purpose: String,
    /// The command line.
    pub line: String,
}

impl PageRun {
    /// The run as the page reads it, without the weights. Long lists of evaluations and heatmaps are thinned;
    /// the `problems` state what was left out.
    pub fn to_json(&self) -> Value {
        let mut problems = self.problems.clone();
        let metrics = thinned(&self.metrics, MAX_EVALUATIONS);
        if metrics.len() < self.metrics.len() {
            let (shown, all) = (metrics.len(), self.metrics.len());
            problems.push(format!("curves show {shown} of {all} evaluations"));
        }
        let attention = self.heatmaps("attention.jsonl", &self.attention, &mut problems);
        let samples = self.heatmaps("samples.jsonl", &self.samples, &mut problems);
        let wrong: Vec<Value> = thinned(&self.wrong, MAX_WRONG.0)
            .into_iter()
            .map(|record| {
                let outputs = record.outputs.iter().take(MAX_WRONG.1);
                json!({ "step": record.step, "outputs": outputs.collect::<Vec<_>>() })
            })
            .collect();
        let intervals = self.record.as_ref().and_then(|record| record.test.as_ref());
        let intervals = intervals.map(|test| {
            json!({
                "exact_match": wilson(test.exact_match, test.n_sequences),
                "token_accuracy": wilson(test.token_accuracy, test.n_sequences),
            })
        });
        let commands: Vec<Value> = self
            .commands
            .iter()
            .map(|command| json!({ "purpose": command.purpose, "line": command.line }))
            .collect();
        let lengths: Vec<Value> = self
            .lengths
            .iter()
            .map(|(name, record)| json!({ "name": name, "record": record }))
            .collect();
        json!({
            "name": self.name,
            "config": self.config,
            "defaults": self.defaults,
            "words": self.words,
            "record": self.record,
            "intervals": intervals,
            "environment": self.environment,
            "corpus": self.corpus,
            "longest": self.longest,
            "output_limit": self.output_limit,
            "metrics": metrics,
            "attention": attention,
            "wrong": wrong,
            "samples": samples,
            "failures": self.failures,
            "lengths": lengths,
            "has_model": self.has_model,
            "weights": null,
            "commands": commands,
            "problems": problems,
        })
    }

    /// Records of attention with weights in thousandths, thinned to fit the page.
    fn heatmaps(
        &self,
        file: &str,
        records: &[AttentionRecord],
        problems: &mut Vec<String>,
    ) -> Vec<Value> {
        let is_short = |record: &&AttentionRecord| {
            record.source.len().max(record.prediction.len()) <= MAX_TOKENS
        };
        let short: Vec<&AttentionRecord> = records.iter().filter(is_short).collect();
        if short.len() < records.len() {
            let n = records.len() - short.len();
            problems.push(format!(
                "{file}: {n} sequences with more than {MAX_TOKENS} tokens"
            ));
        }
        let cells = |record: &&AttentionRecord| record.source.len() * record.weights.len();
        // The records of a step stay together: those of a sequence at all steps are one animation.
        let steps: Vec<&[&AttentionRecord]> = match file {
            "attention.jsonl" => short.chunk_by(|a, b| a.step == b.step).collect(),
            _ => short.chunks(1).collect(),
        };
        let mut most = steps.len();
        let mut shown = thinned(&steps, most);
        while most > 1
            && shown
                .iter()
                .copied()
                .copied()
                .flatten()
                .map(cells)
                .sum::<usize>()
                > MAX_CELLS
        {
            most = most.div_ceil(2);
            shown = thinned(&steps, most);
        }
        if shown.len() < steps.len() {
            let (shown, all) = (shown.len(), steps.len());
            problems.push(format!("{file}: {shown} of {all} heatmaps are shown"));
        }
        let shown = shown.into_iter().copied().flatten();
        let thousandths = |weight: &f32| (f64::from(*weight) * 1000.0).round() as i64;
        let row = |row: &Vec<f32>| row.iter().map(thousandths).collect::<Vec<_>>();
        shown
            .map(|record| {
                json!({
                    "step": record.step,
                    "source": record.source,
                    "target": record.target,
                    "prediction": record.prediction,
                    "is_exact": record.is_exact,
                    "thousandths": record.weights.iter().map(row).collect::<Vec<_>>(),
                })
            })
            .collect()
    }
}

/// At most `most` items, evenly spaced, with the first and the last.
fn thinned<T>(items: &[T], most: usize) -> Vec<&T> {
    if items.len() <= most {
        return items.iter().collect();
    }
    let last = items.len() - 1;
    let places = most.saturating_sub(1).max(1);
    (0..most).map(|i| &items[i * last / places]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_first_and_the_last() {
        assert_eq!(thinned(&[1, 2, 3], 5), [&1, &2, &3]);
        assert_eq!(thinned(&[1, 2, 3, 4, 5], 3), [&1, &3, &5]);
        assert_eq!(thinned(&[1, 2, 3, 4, 5], 1), [&1]);
        assert!(thinned::<u8>(&[], 3).is_empty());
    }

    #[test]
    fn long_and_many_sequences_are_left_out_and_named() {
        let record = |tokens: usize| AttentionRecord {
            step: 1,
            source: vec!["7".to_owned(); tokens],
            target: Vec::new(),
            prediction: vec!["7".to_owned(); tokens],
            weights: vec![vec![0.25; tokens]; tokens],
            is_exact: false,
        };
        let run = PageRun {
            samples: vec![record(MAX_TOKENS + 1), record(4)],
            attention: (0..40)
                .map(|i| AttentionRecord {
                    step: i / 2,
                    ..record(100)
                })
                .collect(),
            ..PageRun::default()
        };
        let value = run.to_json();
        assert_eq!(value["samples"][0]["thousandths"][3][2], 250);
        let attention = value["attention"].as_array().unwrap();
        let cells = attention.len() * 100 * 100;
        let steps = attention.iter().map(|record| record["step"].as_u64());
        let steps: Vec<_> = steps.collect();
        assert!(steps.chunks(2).all(|two| two[0] == two[1]), "{steps:?}");
        assert!((1..=MAX_CELLS).contains(&cells), "{cells}");
        let problems = value["problems"].to_string();
        assert!(problems.contains("more than 1024 tokens"), "{problems}");
        assert!(problems.contains("of 20 heatmaps"), "{problems}");
    }
}
