//! Draws a dashboard: a function of what is shown, the view and the size.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Clear, Dataset, GraphType, Paragraph, Widget};
use s2s_lab::statistics::percent;
use s2s_runlog::{EOS, WrongOutput};
use s2s_viz::{Hue, Ink, clean};

use super::attention;
use super::shown::{Curve, Shown};
use super::style::{foreground, wrong_style};

/// What the user has chosen.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// How cells are colored.
    pub(super) ink: Ink,
    /// What the `q` key does.
    pub(super) quits: &'static str,
    /// Index of the probe sequence.
    pub(super) sample: usize,
    /// Whether the help is open.
    pub(super) has_help: bool,
    /// Whether the display is frozen.
    pub(super) is_frozen: bool,
    /// A line in place of the keys.
    pub(super) note: Option<String>,
}

/// Lines of wrong outputs at most.
const MAX_WRONG: u16 = 5;

/// Columns from which on curves and attention stand side by side.
const TWO_COLUMNS: u16 = 60;

/// Draws the whole dashboard.
pub(super) fn draw(shown: &Shown, view: &View, area: Rect, buffer: &mut Buffer) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(if area.height < 8 { 1 } else { 2 }),
        Constraint::Min(0),
        Constraint::Length(u16::from(area.height > 2)),
    ])
    .areas(area);
    draw_head(shown, head, buffer);
    draw_body(shown, view, body, buffer);
    footer(view, foot.width).render(foot, buffer);
    if view.has_help {
        draw_help(view, area, buffer);
    }
}

/// Draws everything but the keys, to be printed when the dashboard ends.
pub(super) fn draw_last(shown: &Shown, view: &View, area: Rect, buffer: &mut Buffer) {
    let [head, body] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(area);
    draw_head(shown, head, buffer);
    draw_body(shown, view, body, buffer);
}

/// One line, and a bar below it if there is room.
fn draw_head(shown: &Shown, area: Rect, buffer: &mut Buffer) {
    let step = match shown.total_steps {
        Some(total) => format!("step {} of {}", grouped(shown.step), grouped(total)),
        None => format!("step {}", grouped(shown.step)),
    };
    let rate = shown.tokens_per_second.filter(|rate| rate.is_finite());
    let rate = rate.map(|rate| format!("{} tokens/s", grouped(rate as u64)));
    let time = match (shown.elapsed_secs, shown.secs_left()) {
        (Some(secs), _) => Some(clock(secs)),
        (None, Some(secs)) if shown.status.is_empty() => Some(format!("{} left", clock(secs))),
        _ => None,
    };
    let status = (!shown.status.is_empty()).then(|| shown.status.clone());
    let room = usize::from(area.width);
    let mut facts = vec![status, Some(step), rate, time];
    let mut text = joined(&facts);
    for least in [2, 3, 0] {
        if text.chars().count() > room {
            facts[least] = None;
            text = joined(&facts);
        }
    }
    let [left, right] = Layout::horizontal([
        Constraint::Min(0),
        Constraint::Length(text.chars().count().min(room) as u16),
    ])
    .spacing(1)
    .areas(Rect {
        height: area.height.min(1),
        ..area
    });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Line::styled(clean(&shown.run), bold).render(left, buffer);
    Line::from(text).render(right, buffer);
    if area.height > 1 {
        let share = match shown.total_steps {
            Some(total) if total > 0 => (shown.step as f64 / total as f64).clamp(0.0, 1.0),
            _ => 0.0,
        };
        let done = (share * room as f64).round() as usize;
        let bar = format!(
            "{}{}",
            "━".repeat(done),
            "╌".repeat(room.saturating_sub(done))
        );
        Line::from(bar).render(
            Rect {
                y: area.y + 1,
                height: 1,
                ..area
            },
            buffer,
        );
    }
}

fn joined(facts: &[Option<String>]) -> String {
    let facts: Vec<&str> = facts.iter().flatten().map(String::as_str).collect();
    facts.join("  ")
}

fn draw_body(shown: &Shown, view: &View, area: Rect, buffer: &mut Buffer) {
    let wrong = shown
        .wrong
        .as_ref()
        .map_or(&[][..], |record| &record.outputs[..]);
    let n_wrong = match area.height {
        0..12 => 0,
        12..18 => 2,
        _ => MAX_WRONG,
    };
    let [upper, lower] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(if n_wrong > 0 { n_wrong + 1 } else { 0 }),
    ])
    .areas(area);
    if n_wrong > 0 {
        let block = titled(Line::from(match &shown.wrong {
            None => "wrong predictions".to_owned(),
            Some(record) if record.outputs.is_empty() => {
                format!("no wrong prediction at step {}", grouped(record.step))
            }
            Some(record) => format!("wrong predictions at step {}", grouped(record.step)),
        }));
        let lines: Vec<Line> = wrong
            .iter()
            .take(usize::from(n_wrong))
            .map(|output| wrong_line(output, view.ink))
            .collect();
        Paragraph::new(lines).block(block).render(lower, buffer);
    }
    if area.width < TWO_COLUMNS {
        let [curves, map] =
            Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(upper);
        if upper.height < 12 {
            draw_curves(shown, view, upper, buffer);
        } else {
            draw_curves(shown, view, curves, buffer);
            draw_attention(shown, view, map, buffer);
        }
        return;
    }
    let [curves, map] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(2)
        .areas(upper);
    draw_curves(shown, view, curves, buffer);
    draw_attention(shown, view, map, buffer);
}

/// Loss, and accuracy below it if there is room.
fn draw_curves(shown: &Shown, view: &View, area: Rect, buffer: &mut Buffer) {
    let areas: [Rect; 2] = match area.height {
        0..8 => [area, Rect { height: 0, ..area }],
        _ => Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area),
    };
    let log = |value: f64| value.max(1e-9).log10();
    let loss = [&shown.train.loss, &shown.val.loss];
    let shown_loss = |value: f64| format!("{value:.4}");
    draw_chart("loss", loss, log, shown_loss, view.ink, areas[0], buffer);
    let accuracy = [&shown.train.accuracy, &shown.val.accuracy];
    draw_chart(
        "accuracy",
        accuracy,
        |value| value,
        percent,
        view.ink,
        areas[1],
        buffer,
    );
}

/// The curves of training and validation. The loss has a logarithmic axis, the accuracy one from 0 to 1.
fn draw_chart(
    name: &str,
    curves: [&Curve; 2],
    scale: impl Fn(f64) -> f64,
    text: impl Fn(f64) -> String,
    ink: Ink,
    area: Rect,
    buffer: &mut Buffer,
) {
    if area.height < 2 {
        return;
    }
    let styles = [Hue::Sky, Hue::Orange].map(|hue| foreground(hue.line(), ink));
    let mut title = vec![Span::raw(name.to_owned())];
    for ((curve, style), of) in curves.iter().zip(styles).zip(["train", "val"]) {
        if let Some((_, last)) = curve.points().last() {
            title.push(Span::styled(format!("  {of} {}", text(*last)), style));
        }
    }
    let points = curves.map(|curve| {
        let points = curve.points().into_iter();
        points
            .map(|(step, value)| (step, scale(value)))
            .collect::<Vec<_>>()
    });
    let all = || points.iter().flatten();
    let is_share = name == "accuracy";
    let bounds = |of: &dyn Fn(&(f64, f64)) -> f64| {
        let low = all().map(of).fold(f64::INFINITY, f64::min);
        let high = all().map(of).fold(f64::NEG_INFINITY, f64::max);
        [low, high]
    };
    let block = titled(Line::from(title));
    let [x_low, x_high] = bounds(&|point| point.0);
    if x_high < x_low {
        block.render(area, buffer);
        return;
    }
    let [mut low, mut high] = if is_share {
        [0.0, 1.0]
    } else {
        bounds(&|point| point.1)
    };
    if high - low < 0.1 {
        (low, high) = (low - 0.05, high + 0.05);
    }
    let labels = match is_share {
        true => ["  0 %", " 50 %", "100 %"].map(str::to_owned),
        false => [low, (low + high) / 2.0, high].map(|power| short(10_f64.powf(power))),
    };
    let [train, val] = &points;
    let datasets = [(train, styles[0]), (val, styles[1])].map(|(points, style)| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(style)
            .data(points)
    });
    Chart::new(datasets.to_vec())
        .block(block)
        .legend_position(None)
        .x_axis(Axis::default().bounds([x_low, x_high.max(x_low + 1.0)]))
        .y_axis(Axis::default().bounds([low, high]).labels(labels))
        .render(area, buffer);
}

/// The attention of the selected sequence, with its source and output below.
fn draw_attention(shown: &Shown, view: &View, area: Rect, buffer: &mut Buffer) {
    let n = shown.probes.len();
    let Some(record) = shown.probes.get(view.sample.min(n.saturating_sub(1))) else {
        titled(Line::from("attention")).render(area, buffer);
        return;
    };
    let sample = view.sample.min(n - 1) + 1;
    let verdict = if record.is_exact { "correct" } else { "wrong" };
    let title = format!(
        "sample {sample} of {n}, step {}: {verdict}",
        grouped(record.step)
    );
    let block = titled(Line::from(title));
    let inner = block.inner(area);
    block.render(area, buffer);
    let n_lines = if inner.height >= 6 { 2 } else { 0 };
    let [map, texts] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(n_lines)]).areas(inner);
    match record.weights.is_empty() {
        true => Line::from("none was recorded").render(
            Rect {
                height: map.height.min(1),
                ..map
            },
            buffer,
        ),
        false => attention::draw(record, map, buffer, view.ink),
    }
    let mut source = vec![Span::raw("source ")];
    source.extend(
        record
            .source
            .iter()
            .map(|token| Span::raw(format!(" {}", clean(token)))),
    );
    let mut output = vec![Span::raw("output ")];
    output.extend(marked(&record.prediction, &record.target, view.ink));
    Paragraph::new(vec![Line::from(source), Line::from(output)]).render(texts, buffer);
}

/// `3 1 4 -> 4 9 3 </s>, not 4 1 3`, with the wrong tokens marked.
fn wrong_line(wrong: &WrongOutput, ink: Ink) -> Line<'static> {
    let text = |tokens: &[String]| -> String {
        let tokens: Vec<String> = tokens.iter().map(|token| clean(token)).collect();
        tokens.join(" ")
    };
    let mut spans = vec![Span::raw(format!("{}  →", text(&wrong.source)))];
    spans.extend(marked(&wrong.prediction, &wrong.target, ink));
    spans.push(Span::styled(
        format!("  expected {}", text(&wrong.target)),
        Style::new().add_modifier(Modifier::DIM),
    ));
    Line::from(spans)
}

/// Output tokens, each after a space; those that differ from the reference are marked.
fn marked(prediction: &[String], target: &[String], ink: Ink) -> Vec<Span<'static>> {
    let mut expected = target.iter().map(String::as_str).chain([EOS]);
    let mut spans = Vec::new();
    for token in prediction {
        spans.push(Span::raw(" "));
        spans.push(match expected.next() == Some(token.as_str()) {
            true => Span::raw(clean(token)),
            false => Span::styled(clean(token), wrong_style(ink)),
        });
    }
    spans
}

fn footer(view: &View, width: u16) -> Line<'static> {
    let dim = Style::new().add_modifier(Modifier::DIM);
    if view.is_frozen {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        return Line::styled("frozen; space continues", bold);
    }
    match &view.note {
        Some(note) => Line::from(clean(note)),
        None => {
            let all = format!("q {}   space freeze   1-4 sample   ? help", view.quits);
            let fits = all.chars().count() <= usize::from(width);
            let short = || format!("q {}   ? help", view.quits);
            Line::styled(if fits { all } else { short() }, dim)
        }
    }
}

fn draw_help(view: &View, area: Rect, buffer: &mut Buffer) {
    let lines = [
        format!("q        {}", view.quits),
        "space    freeze the display; training continues".to_owned(),
        "1 to 4   attention of another sample".to_owned(),
        "?        close this help".to_owned(),
        String::new(),
        "Ctrl-Z suspends, `fg` continues.".to_owned(),
        "Loss in nats per token, on a logarithmic axis.".to_owned(),
    ];
    let width = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0) as u16
        + 4;
    let (width, height) = (
        width.min(area.width),
        (lines.len() as u16 + 2).min(area.height),
    );
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(place, buffer);
    let block = Block::bordered().title(" keys ");
    let lines: Vec<Line> = lines
        .into_iter()
        .map(|line| Line::from(format!(" {line}")))
        .collect();
    Paragraph::new(lines).block(block).render(place, buffer);
}

fn titled(mut title: Line<'_>) -> Block<'_> {
    title.push_span(" ");
    Block::new().borders(Borders::TOP).title(title)
}

/// A number with few digits, for an axis.
fn short(value: f64) -> String {
    match value {
        10.0.. => format!("{value:>5.0}"),
        0.01.. => format!("{value:>5.2}"),
        _ => format!("{value:>5.0e}"),
    }
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let n = digits.len();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (n - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1:02:03`, or `2:03`.
fn clock(secs: f64) -> String {
    let secs = secs.clamp(0.0, 1e9).round() as u64;
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    match hours {
        0 => format!("{minutes}:{secs:02}"),
        _ => format!("{hours}:{minutes:02}:{secs:02}"),
    }
}

#[cfg(test)]
mod tests {
    use s2s_runlog::{AttentionRecord, MetricsRecord, WrongRecord};

    use super::*;

    fn shown() -> Shown {
        let tokens = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let probe = AttentionRecord {
            step: 20,
            source: tokens("3 1 4"),
            target: tokens("4 1 3"),
            prediction: tokens("4 9 3 </s>"),
            weights: vec![vec![0.0, 0.2, 0.8]; 4],
            is_exact: false,
        };
        let mut shown = Shown {
            run: "runs/\u{1b}[31mred".to_owned(),
            total_steps: Some(2000),
            probes: vec![probe; 2],
            wrong: Some(WrongRecord {
                step: 20,
                outputs: vec![WrongOutput {
                    source: tokens("3 \u{1b}[2J 4"),
                    target: tokens("4 1 3"),
                    prediction: tokens("4 9 3 </s>"),
                }],
            }),
            ..Shown::default()
        };
        for step in 1..=20 {
            shown.add_step(step, 3.0 / step as f64, step as f64 / 20.0);
        }
        shown
    }

    fn view() -> View {
        View {
            ink: Ink::Color,
            quits: "save and stop",
            sample: 3,
            has_help: false,
            is_frozen: false,
            note: None,
        }
    }

    #[test]
    fn every_size_can_be_drawn_and_no_control_character_reaches_the_screen() {
        let shown = [Shown::default(), shown()];
        for (width, height) in [
            (0, 0),
            (1, 1),
            (5, 3),
            (19, 9),
            (40, 10),
            (59, 40),
            (80, 24),
            (300, 90),
        ] {
            for shown in &shown {
                for ink in [Ink::Plain, Ink::Indexed, Ink::Color] {
                    for has_help in [false, true] {
                        let area = Rect::new(0, 0, width, height);
                        let mut buffer = Buffer::empty(area);
                        let view = View {
                            ink,
                            has_help,
                            ..view()
                        };
                        draw(shown, &view, area, &mut buffer);
                        draw_last(shown, &view, area, &mut buffer);
                        let cells = buffer.content().iter();
                        let all: String = cells.map(|cell| cell.symbol()).collect();
                        assert!(!all.contains(char::is_control), "{width} × {height}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_diverged_value_does_not_break_the_curves() {
        let mut shown = shown();
        shown.add_step(21, f64::NAN, f64::NAN);
        shown.add_evaluation(&MetricsRecord {
            step: 21,
            epoch: None,
            train_loss: f64::NAN,
            train_token_accuracy: 0.0,
            train_exact_match: 0.0,
            val_loss: f64::INFINITY,
            val_forced_loss: 0.0,
            exposure_gap: 0.0,
            val_token_accuracy: f64::NAN,
            val_exact_match: 0.0,
            learning_rate: 0.0,
            grad_norm: 0.0,
            teacher_forcing_ratio: 0.0,
            is_best: false,
            attempt: None,
        });
        let area = Rect::new(0, 0, 80, 24);
        let mut buffer = Buffer::empty(area);
        draw(&shown, &view(), area, &mut buffer);
        assert_eq!(shown.step, 21);
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([0.4, 65.0, 3661.0].map(clock), ["0:00", "1:05", "1:01:01"]);
        assert_eq!([12.3, 1.234, 0.001].map(short), ["   12", " 1.23", " 1e-3"]);
    }
}
