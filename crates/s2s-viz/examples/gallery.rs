//! Draws every kind of picture, including difficult cases, into a folder. Look at them after a change.
//!
//! `cargo run -p s2s-viz --example gallery -- FOLDER`

use std::path::{Path, PathBuf};

use s2s_runlog::{AttentionRecord, MetricsRecord};
use s2s_viz::{
    Figure, Heatmap, HeatmapGrid, HeatmapRow, Hue, Ink, LinePlot, Look, Series, Spread, YAxis,
    accuracy_plot, exact_match_plot, heatmap_png, loss_plot, points, terminal_heatmap,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let folder: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("gallery needs a folder")?
        .into();
    std::fs::create_dir_all(&folder)?;
    runs(&folder)?;
    seeds(&folder)?;
    hard_curves(&folder)?;
    crowded_curves(&folder)?;
    heatmaps(&folder)?;
    scripts(&folder)?;
    grids(&folder)
}

fn save(folder: &Path, name: &str, figure: &Figure) -> Outcome {
    std::fs::write(folder.join(format!("{name}.svg")), figure.svg())?;
    std::fs::write(folder.join(format!("{name}.png")), figure.png().bytes)?;
    Ok(())
}

/// Evenly spread pseudo-random numbers in `[-1, 1]`, a pure function of the key.
fn noise(key: u64) -> f64 {
    let mixed = (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed >> 11) as f64 / (1_u64 << 52) as f64) - 1.0
}

/// A run that starts to learn after some time, as sequence models do.
fn run(seed: u64, evaluations: u64, epoch_of: impl Fn(u64) -> Option<f64>) -> Vec<MetricsRecord> {
    let record = |i: u64| {
        let progress = i as f64 / evaluations as f64;
        let jitter = |what: u64| noise(seed * 7919 + i * 31 + what);
        let learned = 1.0 / (1.0 + (-14.0 * (progress - 0.4 - 0.05 * noise(seed))).exp());
        let wrong = (1.0 - learned) * (1.0 + 0.08 * jitter(1));
        let train_loss = 3.9 * wrong + 0.004;
        let val_forced_loss = 3.7 * wrong * (1.0 + 0.04 * jitter(2)) + 0.002;
        let val_loss = val_forced_loss + 1.6 * learned * wrong.max(0.0) * (1.0 + 0.2 * jitter(3));
        MetricsRecord {
            step: i * 50,
            epoch: epoch_of(i),
            train_loss,
            train_token_accuracy: 1.0 - (wrong * 0.95).clamp(0.0, 1.0),
            train_exact_match: (1.0 - (wrong * 6.0)).clamp(0.0, 1.0),
            val_loss,
            val_forced_loss,
            exposure_gap: val_loss - val_forced_loss,
            val_token_accuracy: 1.0 - (wrong * 0.9).clamp(0.0, 1.0),
            val_exact_match: (1.0 - (wrong * 5.0)).clamp(0.0, 1.0),
            learning_rate: 1e-3,
            grad_norm: 0.5,
            teacher_forcing_ratio: 0.5,
            is_best: false,
            attempt: None,
        }
    };
    (1..=evaluations).map(record).collect()
}

fn runs(folder: &Path) -> Outcome {
    let records = run(0, 24, |_| None);
    save(folder, "loss", &loss_plot(&records).draw()?)?;
    save(folder, "accuracy", &accuracy_plot(&records).draw()?)?;
    save(folder, "exact-match", &exact_match_plot(&records).draw()?)?;
    let linear = LinePlot {
        y_axis: YAxis::FromZero,
        ..loss_plot(&records)
    };
    save(folder, "loss-linear", &linear.draw()?)?;
    save(
        folder,
        "loss-one-epoch",
        &loss_plot(&run(0, 1, |_| Some(1.0))).draw()?,
    )?;
    let long = run(3, 200, |i| Some(i as f64));
    save(folder, "loss-200-epochs", &loss_plot(&long).draw()?)?;
    save(folder, "accuracy-200-epochs", &accuracy_plot(&long).draw()?)?;
    save(
        folder,
        "accuracy-5-epochs",
        &accuracy_plot(&run(1, 5, |i| Some(i as f64))).draw()?,
    )
}

fn seeds(folder: &Path) -> Outcome {
    let five = |from: u64, loss: fn(&MetricsRecord) -> f64| -> Vec<Vec<(f64, f64)>> {
        (from..from + 5)
            .map(|seed| points(&run(seed, 40, |_| None), loss))
            .collect()
    };
    let plot = |spread| LinePlot {
        title: "Validation loss by attention mechanism".into(),
        subtitle: "mean of five seeds".into(),
        x_label: "step".into(),
        y_label: "nats per token".into(),
        series: vec![
            Series::over_runs("additive", Look::nth(0), &five(10, |r| r.val_loss), spread),
            Series::over_runs(
                "dot",
                Look::nth(1),
                &five(20, |r| 0.8 * r.val_loss + 0.4),
                spread,
            ),
            Series::over_runs(
                "none",
                Hue::Gray,
                &five(30, |r| 0.3 * r.val_loss + 2.6),
                spread,
            ),
        ],
        ..LinePlot::default()
    };
    save(folder, "seeds-runs", &plot(Spread::Runs).draw()?)?;
    save(folder, "seeds-range", &plot(Spread::Range).draw()?)
}

fn hard_curves(folder: &Path) -> Outcome {
    let noisy: Vec<(f64, f64)> = (1..=1500)
        .map(|i| {
            (
                f64::from(i),
                4.0 * (-f64::from(i) / 400.0).exp() * (1.0 + 0.3 * noise(i as u64)),
            )
        })
        .collect();
    let plot = LinePlot {
        title: "Training loss".into(),
        subtitle: "every step".into(),
        x_label: "step".into(),
        y_label: "nats per token".into(),
        y_axis: YAxis::Log,
        series: vec![Series::new("train", Hue::Blue, noisy)],
        ..LinePlot::default()
    };
    save(folder, "noisy", &plot.draw()?)?;

    let many = (0..12)
        .map(|i| {
            let last = 0.93 + 0.005 * i as f64;
            let line = (0..20).map(|x| (f64::from(x), last * (1.0 - (-f64::from(x) / 3.0).exp())));
            let line = line.take(20 - i / 4).collect();
            Series::new(format!("configuration number {i}"), Look::nth(i), line)
        })
        .collect();
    let plot = LinePlot {
        title: "A title that is much too long for one line, since it names everything that was \
                varied: hidden sizes, attention mechanisms, learning rates and clipping"
            .into(),
        subtitle:
            "and a subtitle that goes on and on about the machine, the number of threads, the \
                   time it took and the version of the program that made all of these numbers"
                .into(),
        x_label: "epoch".into(),
        y_label: "share of sequences".into(),
        y_axis: YAxis::Share,
        series: many,
        ..LinePlot::default()
    };
    save(folder, "many-lines-long-titles", &plot.draw()?)?;

    let constant = vec![(0.0, 0.7), (10.0, 0.7), (20.0, 0.7)];
    for (name, y_axis) in [
        ("fit", YAxis::Fit),
        ("log", YAxis::Log),
        ("zero", YAxis::FromZero),
    ] {
        let plot = LinePlot {
            title: format!("Constant: {name}"),
            y_axis,
            series: vec![Series::new("constant", Hue::Green, constant.clone())],
            ..LinePlot::default()
        };
        save(folder, &format!("constant-{name}"), &plot.draw()?)?;
    }
    let plot = LinePlot {
        title: "Exact match by length".into(),
        subtitle: "trained on lengths 1 to 12".into(),
        x_label: "length".into(),
        y_label: "milliseconds per sequence".into(),
        y_axis: YAxis::Fit,
        series: vec![
            Series::new(
                "fused",
                Hue::Purple,
                (8..=24)
                    .map(|x| (f64::from(x), f64::from(x * x) * 123.4))
                    .collect(),
            ),
            Series::new(
                "reference, on a very slow machine",
                Hue::Orange,
                (8..=24)
                    .map(|x| (f64::from(x), f64::from(x * x) * 300.0 - 40000.0))
                    .collect(),
            ),
        ],
        ..LinePlot::default()
    };
    save(folder, "large-numbers", &plot.draw()?)
}

/// More lines than hues, and lines that lie on each other.
fn crowded_curves(folder: &Path) -> Outcome {
    for (n, points) in [(9, 12), (24, 60)] {
        let series = (0..n).map(|i| {
            let speed = 1.0 + i as f64;
            let line = (0..points).map(|x| {
                let x = f64::from(x);
                (x, 1.0 - (-x / speed / 2.0).exp() * (1.0 - 0.02 * i as f64))
            });
            Series::new(format!("mechanism {i}"), Look::nth(i), line.collect())
        });
        let plot = LinePlot {
            title: format!("{n} lines of {points} points"),
            x_label: "epoch".into(),
            y_axis: YAxis::Share,
            series: series.collect(),
            ..LinePlot::default()
        };
        save(folder, &format!("crowded-{n}"), &plot.draw()?)?;
    }
    let rising = |from: i32| -> Vec<(f64, f64)> {
        let share = |x: i32| 1.0 - 0.8 * (-f64::from(x) / 5.0).exp();
        (from..40).map(|x| (f64::from(x), share(x))).collect()
    };
    let falling = rising(0).iter().map(|&(x, y)| (x, 1.0 - y)).collect();
    let plot = LinePlot {
        title: "Lines that lie on each other".into(),
        y_axis: YAxis::Share,
        series: vec![
            Series::new("train", Hue::Blue, rising(0)),
            Series::new("validation", Hue::Vermilion, rising(0)),
            Series::new("test", Hue::Green, rising(20)),
            Series::new("other", Hue::Purple, falling),
        ],
        ..LinePlot::default()
    };
    save(folder, "overlap", &plot.draw()?)
}

/// The attention of a model that reverses; a higher `sharpness` makes it more concentrated.
fn attention(length: usize, sharpness: f64, wrong: &[usize]) -> AttentionRecord {
    let word = |i: usize| ((i * 37 + 11) % 50).to_string();
    let end = "</s>".to_owned();
    let source: Vec<String> = (0..length).map(word).chain([end.clone()]).collect();
    let target: Vec<String> = (0..length).rev().map(word).collect();
    let mut prediction = target.clone();
    for &i in wrong {
        prediction[i] = "49".into();
    }
    prediction.push(end);
    let weights = (0..=length)
        .map(|t| {
            let due = (length as f64 - 1.0 - t as f64).rem_euclid(length as f64 + 1.0);
            let score = |s: usize| {
                let far = (s as f64 - due).powi(2);
                (-far * sharpness + 0.6 * noise((t * 97 + s) as u64)).exp()
            };
            let sum: f64 = (0..=length).map(score).sum();
            (0..=length).map(|s| (score(s) / sum) as f32).collect()
        })
        .collect();
    AttentionRecord {
        step: 1200,
        source,
        target,
        prediction,
        weights,
        is_exact: wrong.is_empty(),
    }
}

fn heatmaps(folder: &Path) -> Outcome {
    let mut text = String::new();
    for length in [1, 2, 6, 12, 24, 40, 60] {
        let wrong = if length == 12 { &[3, 7][..] } else { &[] };
        let record = attention(length, 1.5, wrong);
        save(
            folder,
            &format!("attention-{length}"),
            &Heatmap::from_record(&record)?.draw()?,
        )?;
        let small = heatmap_png(&record)?;
        std::fs::write(
            folder.join(format!("attention-small-{length}.png")),
            small.bytes,
        )?;
        for ink in [Ink::Plain, Ink::Color] {
            text += &terminal_heatmap(&record, 80, ink)?;
            text.push('\n');
        }
    }
    let words = [
        "Reverse",
        "these",
        "words",
        "internationalization,",
        "a",
        "</s>",
    ];
    let output = [
        "</s>",
        "a",
        "internationalisation,",
        "words",
        "these",
        "Reverse",
        "漢字",
        "et",
        "cetera",
    ];
    let rows = output.iter().enumerate().map(|(t, token)| HeatmapRow {
        token: (*token).into(),
        is_wrong: t == 2,
        weights: (0..words.len())
            .map(|s| (s < 5 || t < 5).then_some(if s + t == 5 { 0.9 } else { 0.02 }))
            .collect(),
    });
    let map = Heatmap {
        title: "Attention of a sentence of words, some of them long".into(),
        subtitle: "1 of 9 tokens wrong".into(),
        columns: words.iter().map(|word| (*word).into()).collect(),
        rows: rows.collect(),
        ..Heatmap::default()
    };
    save(folder, "attention-words-masked", &map.draw()?)?;
    text += &map.terminal(100, Ink::Plain)?;
    text += &map.terminal(40, Ink::Color)?;
    let wide = Heatmap {
        columns: (0..60).map(|i| (i % 50).to_string()).collect(),
        rows: vec![HeatmapRow {
            token: "7".into(),
            is_wrong: false,
            weights: (0..60).map(|i| Some(i as f32 / 59.0)).collect(),
        }],
        title: "One row".into(),
        subtitle: "exact".into(),
        ..Heatmap::default()
    };
    save(folder, "attention-1x60", &wide.draw()?)?;
    let tall = Heatmap {
        columns: vec!["7".into()],
        rows: (0..60)
            .map(|i| HeatmapRow {
                token: (i % 50).to_string(),
                is_wrong: i % 7 == 0,
                weights: vec![Some(1.0)],
            })
            .collect(),
        title: "One column".into(),
        subtitle: "9 of 60 tokens wrong".into(),
        ..Heatmap::default()
    };
    save(folder, "attention-60x1", &tall.draw()?)?;
    std::fs::write(folder.join("terminal.txt"), text)?;
    Ok(())
}

/// Tokens in many scripts, and tokens that would be invisible.
fn scripts(folder: &Path) -> Outcome {
    let sets: [(&str, &[&str]); 4] = [
        (
            "scripts-words",
            &[
                "漢字",
                "学校",
                "汉语",
                "한국어",
                "ひらがな",
                "كتاب",
                "مدرسة",
                "שלום",
                "हिन्दी",
                "ภาษาไทย",
                "Ελληνικά",
                "русский",
                "ქართული",
                "Հայերեն",
                "tiếng",
                "Việt",
                "አማርኛ",
                "ខ្មែរ",
            ],
        ),
        (
            "scripts-characters",
            &[
                "漢", "字", "学", "校", "語", "生", "日", "本", "ب", "ت", "ث", "ɑ", "ɪ", "ə", "ʃ",
                "é",
            ],
        ),
        (
            "scripts-invisible",
            &[
                " ",
                "a b",
                "\t",
                "\n",
                "\u{A0}",
                "\u{3000}",
                "\u{200B}",
                "\u{200D}",
                "\u{301}",
                "e\u{301}",
                "\u{202E}abc",
                "\u{1b}[31mred",
                "<0xE2>",
                "</s>",
                "\u{E000}",
                "😀",
                "👨\u{200D}👩\u{200D}👧",
            ],
        ),
        ("scripts-48", &["日"; 48]),
    ];
    for (name, tokens) in sets {
        let n = tokens.len();
        let row = |(t, token): (usize, &&str)| HeatmapRow {
            token: (*token).into(),
            is_wrong: t % 5 == 2,
            weights: (0..n)
                .map(|s| Some(if s + t + 1 == n { 0.9 } else { 0.02 }))
                .collect(),
        };
        let map = Heatmap {
            title: format!("Attention: {}", tokens.join(" ")),
            subtitle: "every label is legible".into(),
            columns: tokens.iter().map(|token| (*token).into()).collect(),
            rows: tokens.iter().rev().enumerate().map(row).collect(),
            ..Heatmap::default()
        };
        save(folder, name, &map.draw()?)?;
        let grid = HeatmapGrid {
            title: name.into(),
            panels: vec![map; 3],
            panels_per_row: 3,
            ..HeatmapGrid::default()
        };
        save(folder, &format!("{name}-grid"), &grid.draw()?)?;
    }
    Ok(())
}

fn grids(folder: &Path) -> Outcome {
    let records: Vec<AttentionRecord> = (0..40)
        .map(|i| {
            let wrong: Vec<usize> = (0..10).filter(|t| *t > i as usize / 3).collect();
            AttentionRecord {
                step: 50 * i,
                ..attention(10, 0.0005 * 1.24_f64.powi(i as i32), &wrong)
            }
        })
        .collect();
    save(
        folder,
        "grid-over-training",
        &HeatmapGrid::over_training(&records, 9)?.draw()?,
    )?;
    let panels = [(5, vec![]), (12, vec![4]), (9, vec![]), (3, vec![])];
    let panels: Result<Vec<Heatmap>, _> = panels
        .iter()
        .map(|(length, wrong)| Heatmap::from_record(&attention(*length, 2.0, wrong)))
        .collect();
    let mut panels = panels?;
    for (i, panel) in panels.iter_mut().enumerate() {
        panel.title = format!("sample {}", i + 1);
    }
    let grid = HeatmapGrid {
        title: "Attention of samples of the test split".into(),
        subtitle: "source tokens from left to right, output tokens from top to bottom".into(),
        panels,
        panels_per_row: 2,
    };
    save(folder, "grid-samples", &grid.draw()?)
}
