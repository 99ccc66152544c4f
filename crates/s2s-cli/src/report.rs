//! The report of a finished run.

use console::style;
use reverse_data::Tokenization;
use s2s_runlog::{
    AttentionRecord, EOS, EvalRecord, MetricsRecord, RunDir, RunRecord, RunStatus, read_json,
};
use s2s_train::{Auto, ForcingSchedule, ScheduleConfig, TrainConfig, load_config};
use s2s_viz::clean;
use unicode_width::UnicodeWidthStr;

use crate::eval;
use crate::picture::{drawn, records};
use crate::shell::{program, quote, quote_text};

/// Maximum number of tokens shown of a sequence.
const MAX_SHOWN: usize = 40;

/// How the run ended, its test metrics, predictions, plots and next commands.
pub(crate) fn of(dir: &RunDir, record: &RunRecord) -> anyhow::Result<String> {
    let samples: Vec<AttentionRecord> = records(dir.samples())?;
    let config = load_config(Some(&dir.resolved_config()), &[])?;
    let tokenization = config.data.tokenization();
    let shown: Vec<AttentionRecord> = samples.iter().map(cleaned).collect();
    let ending = match record.status {
        RunStatus::TargetReached => "reached its target",
        RunStatus::StoppedEarly => "stopped early",
        _ => "finished",
    };
    let test = record.test.as_ref();
    let figures = test.map_or_else(String::new, eval::table);
    let (program, run) = (program(), quote(dir.path()));
    let metrics: Vec<MetricsRecord> = records(dir.metrics())?;
    let initial: Option<EvalRecord> = read_json(dir.initial()).ok();
    let is_falling = is_still_falling(initial.map(|start| start.loss), &metrics);
    let longer = match record.status == RunStatus::Finished && is_falling {
        true => format!(
            "the validation loss was still falling; to train twice as long:\n  \
             {program} resume {run} {}\n",
            twice_as_long(&config.train)
        ),
        false => String::new(),
    };
    Ok(format!(
        "\n{ending} at step {} after {}; test results of the best checkpoint:\n\n\
         {figures}{longer}\n\
         predictions:\n{}\n\
         plots:\n{}\n\
         next steps:\n  {program} predict {run} {}\n  tensorboard --logdir {run} --samples_per_plugin images=0\n",
        record.step,
        duration(record.elapsed_secs),
        predictions(&shown, tokenization),
        drawn(dir)
            .iter()
            .map(|path| format!("  {}\n", quote(path)))
            .collect::<String>(),
        example(&samples, tokenization),
    ))
}

/// Whether the last evaluation is the best one, has errors, and the validation loss fell by more than
/// 5 % in the last quarter of the evaluations, of which the one before the first step is the first.
fn is_still_falling(initial: Option<f64>, metrics: &[MetricsRecord]) -> bool {
    const MIN_FALL: f64 = 0.05;
    const NEARLY_ALL: f64 = 0.999;
    let losses = metrics.iter().map(|metrics| metrics.val_loss);
    let losses: Vec<f64> = initial.into_iter().chain(losses).collect();
    let Some(last) = metrics.last().filter(|_| losses.len() > 1) else {
        return false;
    };
    last.is_best
        && last.val_exact_match < NEARLY_ALL
        && last.val_loss < (1.0 - MIN_FALL) * losses[(losses.len() - 1) * 3 / 4]
}

/// The options of `resume` that double the length of a run and stretch its schedules.
fn twice_as_long(train: &TrainConfig) -> String {
    let mut sets = match (train.max_steps, train.epochs) {
        (0, Auto::Value(epochs)) => format!("--set train.epochs={}", 2 * epochs),
        (0, Auto::Auto) => return String::new(), // a resolved configuration has a number
        (steps, Auto::Value(0) | Auto::Auto) => format!("--set train.max_steps={}", 2 * steps),
        (steps, Auto::Value(epochs)) => format!(
            "--set train.max_steps={} --set train.epochs={}",
            2 * steps,
            2 * epochs
        ),
    };
    if matches!(train.schedule, ScheduleConfig::Cosine { .. }) {
        sets += " --set train.schedule.kind=cosine";
    }
    let forcing = &train.teacher_forcing;
    if forcing.schedule == ForcingSchedule::Linear && forcing.steps == 0 {
        sets += " --set train.teacher_forcing.schedule=linear";
    }
    sets
}

/// A sample whose tokens are safe to show.
fn cleaned(sample: &AttentionRecord) -> AttentionRecord {
    let clean = |tokens: &[String]| tokens.iter().map(|token| clean(token)).collect();
    AttentionRecord {
        source: clean(&sample.source),
        target: clean(&sample.target),
        prediction: clean(&sample.prediction),
        ..sample.clone()
    }
}

fn duration(secs: f64) -> String {
    match secs as u64 {
        0..60 => format!("{secs:.1} s"),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// One line per sample: source, prediction with wrong tokens in brackets, and the reference if
/// wrong.
fn predictions(samples: &[AttentionRecord], tokenization: Tokenization) -> String {
    let sources: Vec<String> = samples
        .iter()
        .map(|sample| shortened(&sample.source, tokenization))
        .collect();
    let width = sources
        .iter()
        .map(|source| source.width())
        .max()
        .unwrap_or(0);
    let line = |(sample, source): (&AttentionRecord, &String)| {
        let (verdict, expected) = if sample.is_exact {
            (style("correct").green(), String::new())
        } else {
            (
                style("wrong  ").red(),
                format!("  expected {}", shortened(&sample.target, tokenization)),
            )
        };
        let padding = " ".repeat(width - source.width()); // columns, not characters
        format!(
            "  {verdict}  {source}{padding}  ->  {}{expected}\n",
            marked(sample, tokenization)
        )
    };
    samples.iter().zip(&sources).map(line).collect()
}

/// The predicted tokens, with those that differ from the reference in brackets. A correct end token
/// is omitted; `[...]` marks a missing one.
fn marked(sample: &AttentionRecord, tokenization: Tokenization) -> String {
    let mut expected = sample.reference();
    let mut words = Vec::new();
    for token in &sample.prediction {
        match expected.next() {
            Some(EOS) if token == EOS => {}
            Some(right) if token == right => words.push(token.clone()),
            _ => words.push(style(format!("[{token}]")).red().to_string()),
        }
    }
    if sample.prediction.last().is_none_or(|last| last != EOS) {
        words.push(style("[...]").red().to_string());
    }
    shortened(&words, tokenization)
}

/// The first tokens of a sequence and the number of the remaining ones.
fn shortened(words: &[String], tokenization: Tokenization) -> String {
    let n_shown = words.len().min(MAX_SHOWN);
    let shown = tokenization.join(words[..n_shown].iter().map(String::as_str));
    match words.len() - n_shown {
        0 => shown,
        more => format!("{shown} ... ({more} more)"),
    }
}

/// Arguments for an example of `predict`: the longest correctly predicted source, or else the
/// longest source, truncated.
fn example(samples: &[AttentionRecord], tokenization: Tokenization) -> String {
    let longest = samples
        .iter()
        .max_by_key(|sample| (sample.is_exact, sample.target.len()));
    let symbols = longest.into_iter().flat_map(AttentionRecord::symbols);
    let symbols = symbols.take(MAX_SHOWN);
    let words: Vec<String> = match tokenization {
        Tokenization::Words => symbols.map(str::to_owned).collect(),
        Tokenization::Chars | Tokenization::Bytes => vec![tokenization.join(symbols)],
    };
    let is_option = words.iter().any(|word| word.starts_with('-'));
    let quoted: Vec<String> = words.iter().map(|word| quote_text(word)).collect();
    format!("{}{}", if is_option { "-- " } else { "" }, quoted.join(" "))
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
    fn a_loss_that_still_falls_is_noticed() {
        let metrics = |losses: &[f64], val_exact_match| -> Vec<MetricsRecord> {
            let record = |(step, loss): (u64, &f64)| MetricsRecord {
                step,
                epoch: None,
                train_loss: 0.0,
                train_token_accuracy: 0.0,
                train_exact_match: 0.0,
                val_loss: *loss,
                val_forced_loss: 0.0,
                exposure_gap: 0.0,
                val_token_accuracy: 0.0,
                val_exact_match,
                learning_rate: 0.0,
                grad_norm: 0.0,
                teacher_forcing_ratio: 0.0,
                is_best: losses.iter().all(|other| other >= loss),
                attempt: None,
            };
            (1..).zip(losses).map(record).collect()
        };
        let is_falling =
            |losses: &[f64], exact| is_still_falling(Some(4.0), &metrics(losses, exact));
        for losses in [&[3.0, 2.0, 1.5, 1.0][..], &[3.0, 2.0], &[1.0]] {
            assert!(is_falling(losses, 0.5), "{losses:?}");
        }
        for (losses, exact) in [
            (&[4.0, 3.0, 2.0, 1.0][..], 1.0),
            (&[4.0, 3.0, 1.0, 1.02], 0.5),
            (&[4.0, 3.0, 1.0, 0.99], 0.5),
            (&[3.9], 0.5),
            (&[], 0.5),
        ] {
            assert!(!is_falling(losses, exact), "{losses:?}");
        }
        // Without the evaluation before the first step, one evaluation says nothing.
        assert!(is_still_falling(None, &metrics(&[2.0, 1.0], 0.5)));
        assert!(!is_still_falling(None, &metrics(&[1.0], 0.5)));
        let mut train = TrainConfig {
            epochs: 3.into(),
            ..TrainConfig::default()
        };
        let cosine = "--set train.schedule.kind=cosine";
        assert_eq!(
            twice_as_long(&train),
            format!("--set train.epochs=6 {cosine}")
        );
        (train.epochs, train.max_steps) = (0.into(), 50);
        assert_eq!(
            twice_as_long(&train),
            format!("--set train.max_steps=100 {cosine}")
        );
    }

    #[test]
    fn wrong_tokens_are_marked() {
        console::set_colors_enabled(false);
        for (prediction, shown) in [
            ("4 1 3 </s>", "4 1 3"),
            ("4 9 3 </s>", "4 [9] 3"),
            ("4 </s>", "4 [</s>]"),
            ("4 1 3 3 </s>", "4 1 3 [3] [</s>]"),
            ("4 1 3", "4 1 3 [...]"),
        ] {
            assert_eq!(marked(&sample(prediction), Tokenization::Words), shown);
        }
    }

    #[test]
    fn long_sequences_are_truncated() {
        let long = AttentionRecord {
            source: vec!["7".to_owned(); 500],
            ..sample("")
        };
        let shown = predictions(std::slice::from_ref(&long), Tokenization::Words);
        assert!(shown.contains("7 ... (460 more)  ->"), "{shown}");
        assert_eq!(
            example(&[long], Tokenization::Words).split(' ').count(),
            MAX_SHOWN
        );
    }

    #[test]
    fn markers_are_not_part_of_the_example() {
        assert_eq!(example(&[sample("")], Tokenization::Words), "3 1 4");
        assert_eq!(example(&[], Tokenization::Words), "");
    }

    #[test]
    fn long_durations_are_in_minutes() {
        assert_eq!(duration(59.94), "59.9 s");
        assert_eq!(duration(61.0), "1 min 1 s");
    }
}
