//! Tables with a row for each run, or for each epoch of one.

use anyhow::{Context, Result};
use s2s_lab::statistics::{percent, percentage};
use s2s_runlog::{EvalRecord, MetricsRecord, RunDir, RunRecord, TextScores, read_json, read_lines};

use super::{Row, train_secs};

pub(in crate::reproduce) fn seed(seed: &str, run: &RunDir) -> Result<Row> {
    let record: RunRecord = read_json(run.run())?;
    let test = record.test.context("the run was not evaluated")?;
    Ok(vec![
        seed.to_owned(),
        percent(test.exact_match),
        percent(test.token_accuracy),
        format!("{:.4}", test.loss),
        format!("{:.0} s", train_secs(run)?),
    ])
}

/// Validation exact match at the end of each epoch, beside what the notebook's plot shows.
pub(in crate::reproduce) fn notebook(run: &RunDir) -> Result<Vec<Row>> {
    const PLOT: [(u64, &str); 4] = [(1, "91.5"), (6, "99.95"), (19, "97.2"), (20, "99.3")];
    let metrics: Vec<MetricsRecord> = read_lines(run.metrics())?;
    let whole = metrics.iter().filter_map(|record| {
        let epoch = record
            .epoch
            .filter(|epoch| epoch.fract() == 0.0 && *epoch > 0.0)?;
        Some((epoch as u64, record.val_exact_match))
    });
    let row = |(epoch, exact): (u64, f64)| {
        let plotted = PLOT.iter().find(|(other, _)| *other == epoch);
        vec![
            epoch.to_string(),
            percentage(exact, 1),
            plotted.map_or(String::new(), |(_, value)| (*value).to_owned()),
        ]
    };
    Ok(whole.map(row).collect())
}

/// What `s2s eval --references --json` prints.
pub(in crate::reproduce) fn text_scores(evaluated: &str) -> Result<TextScores> {
    let test: EvalRecord = serde_json::from_str(evaluated.trim())?;
    test.text.context("the data of the run are not text")
}

/// What a row of [`g2p`] shows.
pub(in crate::reproduce) const G2P_HEADER: [&str; 8] = [
    "model",
    "word errors, greedy",
    "phoneme errors",
    "word errors, beam of 5",
    "phoneme errors",
    "no output of 5 correct",
    "parameters",
    "time",
];

/// Evaluations of a pronunciation model, greedily and with a beam: error rates. `run` adds the size and
/// the time.
pub(in crate::reproduce) fn g2p(
    model: &str,
    evaluated: &[String; 2],
    run: Option<&RunDir>,
) -> Result<Row> {
    let of_run = |run: &RunDir| -> Result<[String; 2]> {
        let record: RunRecord = read_json(run.run())?;
        Ok([
            format!("{:.1} M", record.n_parameters as f64 / 1e6),
            format!("{:.0} min", train_secs(run)? / 60.0),
        ])
    };
    let [greedy, beam] = evaluated;
    let [greedy, beam] = [text_scores(greedy)?, text_scores(beam)?];
    let best = beam.n_best.context("the evaluation has no --n-best")?;
    let [parameters, time] = run.map(of_run).transpose()?.unwrap_or_default();
    let mut row = vec![model.to_owned()];
    row.extend([greedy, beam].iter().flat_map(|text| {
        let words = percent(1.0 - text.exact_match);
        [words, percent(text.token_error_rate)]
    }));
    row.extend([percent(1.0 - best.exact_match), parameters, time]);
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_of_text_are_a_row() {
        let evaluated = |exact_match, n_best| {
            format!(
                r#"{{"split": "test", "step": 9, "n_sequences": 7000, "n_tokens": 50, "loss": 0.5,
                "forced_loss": 0.5, "token_accuracy": 0.9, "exact_match": 0.8, "text": {{"unknown_tokens": 0.0,
                "n_truncated": 0, "exact_match": {exact_match}, "n_sources": 6330, "token_error_rate": 0.0625,
                "char_error_rate": 0.0, "bleu": 0.0, "chrf": 0.0{n_best}}}}}"#
            )
        };
        let n_best = r#", "n_best": {"n": 5, "exact_match": 0.9}"#;
        let both = [evaluated(0.75, ""), evaluated(0.8, n_best)];
        let expected = [
            "one", "25.00 %", "6.25 %", "20.00 %", "6.25 %", "10.00 %", "", "",
        ];
        assert_eq!(g2p("one", &both, None).unwrap(), expected);
        assert_eq!(expected.len(), G2P_HEADER.len());
    }
}
