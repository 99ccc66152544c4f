//! Prints an evaluation by length as tables.

use s2s_lab::statistics::percent;
use s2s_runlog::{DecodingMode, LengthRecord, LengthTiming, LengthsMean, LengthsRecord, Protocol};
use s2s_viz::Table;

/// Placeholder for a missing value.
const MISSING: &str = "-";

/// A table for each decoding mode, the means over lengths, and the score of the protocol.
pub(super) fn of(record: &LengthsRecord, times: &[LengthTiming]) -> String {
    let mut parts = Vec::new();
    for mode in &record.request.modes {
        let title = match mode {
            DecodingMode::Eos => "until EOS",
            DecodingMode::Oracle => "oracle length, EOS disabled",
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
        rows().map(move |row| value(row).map_or(MISSING.to_owned(), |value| format!("{value:.3}")))
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
        let timing = times.iter().find(|timing| timing.is_of(row));
        timing.map_or(MISSING.to_owned(), |timing| format!("{:.2}", timing.secs))
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

/// The metrics that the publication of the protocol reports.
fn score(record: &LengthsRecord) -> Option<String> {
    let protocol = record.request.protocol?;
    let rows = |mode| record.rows.iter().filter(move |row| row.mode == mode);
    let mean = |mode, value: fn(&LengthRecord) -> f64| {
        let n = rows(mode).count();
        let sum: f64 = rows(mode).map(value).sum();
        (n > 0).then(|| percent(sum / n as f64))
    };
    let shown = |mode, value| mean(mode, value).unwrap_or_else(|| MISSING.to_owned());
    let score = match protocol {
        Protocol::Deepmind => format!(
            "mean token accuracy over lengths {}: {} with oracle length, {} until EOS",
            record.request.lengths,
            shown(DecodingMode::Oracle, |row| row.token_accuracy),
            shown(DecodingMode::Eos, |row| row.token_accuracy),
        ),
        Protocol::Grefenstette => format!(
            "over lengths {}: coarse {}, fine {}",
            record.request.lengths,
            shown(DecodingMode::Eos, |row| row.exact_match),
            shown(DecodingMode::Eos, |row| row.fine_accuracy),
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
