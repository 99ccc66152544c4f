//! What a finished run says at its end.

use std::path::Path;

use console::style;
use s2s_runlog::{AttentionRecord, RunDir, RunRecord, RunStatus};

use crate::eval;
use crate::picture::{drawn, records};
use crate::shell::{program, quote};

/// The end token, as records write it.
const END: &str = "</s>";

/// Tokens of a sequence at most: more of them are no line to be read.
const MAX_SHOWN: usize = 40;

/// The mark before a source, where it has one.
const START: &str = "<s>";

/// How the run ended, its figures on the test split, predictions, plots, and what to try next.
pub(crate) fn of(dir: &RunDir, record: &RunRecord) -> anyhow::Result<String> {
    let samples: Vec<AttentionRecord> = records(dir.samples())?;
    let ending = match record.status {
        RunStatus::TargetReached => "reached its target",
        RunStatus::StoppedEarly => "stopped early",
        _ => "finished",
    };
    let test = record.test.as_ref();
    let figures = test.map_or_else(String::new, |test| eval::table(test).text());
    let (program, run) = (program(), quote(dir.path()));
    Ok(format!(
        "\n{ending} at step {} after {}; the parameters with the lowest validation loss:\n\n\
         {figures}\n\
         predictions:\n{}\n\
         plots:\n{}\n\
         try next:\n  {program} predict {run} {}\n  tensorboard --logdir {run}\n",
        record.step,
        duration(record.elapsed_secs),
        predictions(&samples),
        drawn(dir)
            .iter()
            .map(|path| format!("  {}\n", quote(path)))
            .collect::<String>(),
        example(&samples),
    ))
}

fn duration(secs: f64) -> String {
    match secs as u64 {
        0..60 => format!("{secs:.1} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// A line each: source, prediction with what is wrong in brackets, and what was expected if so.
fn predictions(samples: &[AttentionRecord]) -> String {
    let sources: Vec<String> = samples
        .iter()
        .map(|sample| shortened(&sample.source))
        .collect();
    let width = sources.iter().map(String::len).max().unwrap_or(0);
    let line = |(sample, source): (&AttentionRecord, &String)| {
        let (verdict, expected) = if sample.is_exact {
            (style("right").green(), String::new())
        } else {
            (
                style("wrong").red(),
                format!("  expected {}", shortened(&sample.target)),
            )
        };
        format!(
            "  {verdict}  {source:<width$}  ->  {}{expected}\n",
            marked(sample)
        )
    };
    samples.iter().zip(&sources).map(line).collect()
}

/// The predicted tokens, those in brackets that are not what stands there in the reference. The
/// end is left out where it is right, and dots stand for one that never came.
fn marked(sample: &AttentionRecord) -> String {
    let mut expected = sample.target.iter().map(String::as_str).chain([END]);
    let mut words = Vec::new();
    for token in &sample.prediction {
        match expected.next() {
            Some(END) if token == END => {}
            Some(right) if token == right => words.push(token.clone()),
            _ => words.push(style(format!("[{token}]")).red().to_string()),
        }
    }
    if sample.prediction.last().is_none_or(|last| last != END) {
        words.push(style("[...]").red().to_string());
    }
    shortened(&words)
}

/// The beginning of a sequence, and how much more there is.
fn shortened(words: &[String]) -> String {
    match words.get(..MAX_SHOWN) {
        Some(shown) if words.len() > MAX_SHOWN => {
            format!("{} ... ({} more)", shown.join(" "), words.len() - MAX_SHOWN)
        }
        _ => words.join(" "),
    }
}

/// The longest of the sources that the model got right, or else of all, to be typed: its beginning, if
/// it is long.
fn example(samples: &[AttentionRecord]) -> String {
    let longest = samples
        .iter()
        .max_by_key(|sample| (sample.is_exact, sample.target.len()));
    let source = longest.map_or(&[][..], |sample| &sample.source);
    let symbols = source
        .iter()
        .filter(|token| ![START, END].contains(&token.as_str()));
    let words = symbols.map(|token| quote(Path::new(token)));
    let words: Vec<String> = words.take(MAX_SHOWN).collect();
    let is_option = words.iter().any(|word| word.starts_with('-'));
    format!("{}{}", if is_option { "-- " } else { "" }, words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(prediction: &str) -> AttentionRecord {
        let tokens = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        AttentionRecord {
            step: 1,
            source: tokens("<s> 3 1 4 </s>"),
            target: tokens("4 1 3"),
            prediction: tokens(prediction),
            weights: Vec::new(),
            is_exact: prediction == "4 1 3 </s>",
        }
    }

    #[test]
    fn what_differs_from_the_reference_is_marked() {
        console::set_colors_enabled(false);
        for (prediction, shown) in [
            ("4 1 3 </s>", "4 1 3"),
            ("4 9 3 </s>", "4 [9] 3"),
            ("4 </s>", "4 [</s>]"),
            ("4 1 3 3 </s>", "4 1 3 [3] [</s>]"),
            ("4 1 3", "4 1 3 [...]"),
        ] {
            assert_eq!(marked(&sample(prediction)), shown);
        }
    }

    #[test]
    fn long_sequences_are_shown_and_typed_by_their_beginning() {
        let long = AttentionRecord {
            source: vec!["7".to_owned(); 500],
            ..sample("")
        };
        let shown = predictions(std::slice::from_ref(&long));
        assert!(shown.contains("7 ... (460 more)  ->"), "{shown}");
        assert_eq!(example(&[long]).split(' ').count(), MAX_SHOWN);
    }

    #[test]
    fn markers_are_not_typed() {
        assert_eq!(example(&[sample("")]), "3 1 4");
        assert_eq!(example(&[]), "");
    }

    #[test]
    fn durations_of_a_minute_or_more_have_minutes() {
        assert_eq!(duration(59.94), "59.9 s");
        assert_eq!(duration(61.0), "1 min 1 s");
    }
}
