//! An evaluation by length as tables for a person.

use s2s_lab::statistics::percent;
use s2s_runlog::{DecodingMode, LengthRecord, LengthTiming, LengthsMean, LengthsRecord, Protocol};
use s2s_viz::Table;

/// What stands where there is no figure.
const NOTHING: &str = "-";

/// A table for each way of decoding, the means over lengths, and the protocol's score.
pub(super) fn of(record: &LengthsRecord, times: &[LengthTiming]) -> String {
    let mut parts = Vec::new();
    for mode in &record.request.modes {
        let title = match mode {
            DecodingMode::Eos => "until EOS",
            DecodingMode::Oracle => "length told, EOS ignored",
        };
        parts.push(format!(
            "{title}\n{}",
            by_length(record, *mode, times).text()
        ));
    }
    parts.push(format!(
        "means over lengths\n{}",
        means(&record.means).text()
    ));
    parts.extend(score(record));
    parts.join("\n")
}

fn by_length(record: &LengthsRecord, mode: DecodingMode, times: &[LengthTiming]) -> Table {
    let rows = || record.rows.iter().filter(|row| row.mode == mode);
    let figure = |value: fn(&LengthRecord) -> f64| rows().map(move |row| percent(value(row)));
    let share = |value: fn(&LengthRecord) -> Option<f64>| {
        rows().map(move |row| value(row).map_or(NOTHING.to_owned(), |value| format!("{value:.3}")))
    };
    let interval = |row: &LengthRecord| {
        let (low, high) = (row.exact_match_low, row.exact_match_high);
        format!("[{:.1}, {:.1}]", 100.0 * low, 100.0 * high)
    };
    let mut table = Table::new()
        .column("length", rows().map(|row| row.length))
        .column("n", rows().map(|row| row.n_sequences))
        .column("exact match", figure(|row| row.exact_match))
        .column("95 % interval", rows().map(interval))
        .column("token accuracy", figure(|row| row.token_accuracy))
        .column("fine", figure(|row| row.fine_accuracy));
    if mode == DecodingMode::Eos {
        table = table
            .column("early", rows().map(|row| row.n_stopped_early))
            .column("over", rows().map(|row| row.n_ran_over));
    }
    table = table.column("wrong", rows().map(|row| row.n_wrong_token));
    if rows().any(|row| row.n_steps > 0) {
        table = table
            .column("mass", share(|row| row.alignment_mass))
            .column("aligned", share(|row| row.alignment_accuracy))
            .column("entropy", share(|row| row.attention_entropy));
    }
    if times.is_empty() {
        return table;
    }
    let secs = |row: &LengthRecord| {
        let taken = times.iter().find(|taken| taken.is_of(row));
        taken.map_or(NOTHING.to_owned(), |taken| format!("{:.2}", taken.secs))
    };
    table.column("seconds", rows().map(secs))
}

fn means(means: &[LengthsMean]) -> Table {
    let figure =
        |value: fn(&LengthsMean) -> f64| means.iter().map(move |mean| percent(value(mean)));
    Table::new()
        .column("mode", means.iter().map(|mean| mean.mode))
        .column("range", means.iter().map(|mean| mean.range))
        .column("lengths", means.iter().map(|mean| mean.n_lengths))
        .column("exact match", figure(|mean| mean.exact_match))
        .column("token accuracy", figure(|mean| mean.token_accuracy))
        .column("fine", figure(|mean| mean.fine_accuracy))
}

/// The figures that the protocol's publication reports.
fn score(record: &LengthsRecord) -> Option<String> {
    let protocol = record.request.protocol?;
    let rows = |mode| record.rows.iter().filter(move |row| row.mode == mode);
    let mean = |mode, value: fn(&LengthRecord) -> f64| {
        let n = rows(mode).count();
        let sum: f64 = rows(mode).map(value).sum();
        (n > 0).then(|| percent(sum / n as f64))
    };
    let said = |mode, value| mean(mode, value).unwrap_or_else(|| NOTHING.to_owned());
    let score = match protocol {
        Protocol::Deepmind => format!(
            "mean token accuracy over lengths {}: {} with the length told, {} until EOS",
            record.request.lengths,
            said(DecodingMode::Oracle, |row| row.token_accuracy),
            said(DecodingMode::Eos, |row| row.token_accuracy),
        ),
        Protocol::Grefenstette => format!(
            "over lengths {}: coarse {}, fine {}",
            record.request.lengths,
            said(DecodingMode::Eos, |row| row.exact_match),
            said(DecodingMode::Eos, |row| row.fine_accuracy),
        ),
    };
    let differs = match record.deviations.is_empty() {
        true => String::new(),
        false => format!(
            "\nnot comparable with the publication: {}",
            record.deviations.join("; ")
        ),
    };
    Some(format!("{}: {score}{differs}\n", protocol.name()))
}
