//! `s2s automaton`.

use std::collections::{BTreeMap, BTreeSet};

use reverse_data::{Split, Token, Vocabulary};
use s2s_model::{
    Automaton, AutomatonStep, Condition, Generator, MAX_REFERENCE_LEN, Reading, Rule, Source,
    automaton_steps, mixture_name,
};
use s2s_train::{Codec, OpenSplit, Predictor, open_split};
use s2s_viz::{Heatmap, HeatmapRow, Table};
use serde::Serialize;

use crate::checkpoint::CheckpointArgs;
use crate::failure::{Hinted, Usage};
use crate::picture;
use crate::shell::{program, quote};
use crate::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  s2s automaton runs/transducer-seed0
  s2s automaton runs/transducer-seed0 1 2 2 1";

/// Sources that the program is read from.
const READ: u64 = 100;

/// Sources of a batch when the program is checked.
const BATCH: usize = 100;

/// Print what a trained transducer does, as a program
///
/// Reads the program from 100 validation sequences, with the most probable position of the head at each
/// step taken as certain. Its states are the modes, mixtures of modes that recur (`5/1`), and modes whose
/// head is at a second place with a probability of at least 0.3 (`5&last`). Then runs it without the model
/// on test sequences, and reports how many outputs match the model's. With a sequence, prints each step of
/// the model instead, and draws the head into the run's plots.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// A sequence to follow step by step
    #[arg(value_name = "SEQUENCE")]
    sequence: Vec<String>,
    /// Number of test sequences on which the program is compared with the model
    #[arg(long, value_name = "N", default_value_t = 1000)]
    samples: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The output with --json.
#[derive(Serialize)]
struct Record<'a> {
    rules: Vec<RuleRecord>,
    /// Rules that depend on the token under the head, too.
    exceptions: Vec<RuleRecord>,
    outputs: Vec<OutputRecord>,
    checked: u64,
    equal: u64,
    /// A source for which the program and the model differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<&'a str>,
}

#[derive(Serialize)]
struct RuleRecord {
    state: String,
    from_first: Option<usize>,
    to_last: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads: Option<String>,
    next_state: String,
    #[serde(rename = "move")]
    step: String,
}

#[derive(Serialize)]
struct OutputRecord {
    state: String,
    reads: String,
    /// At the second position of the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<String>,
    outputs: String,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> anyhow::Result<u8> {
    let loaded = args.checkpoint.load(ui)?;
    let (model, codec) = (&loaded.trained.model, &loaded.trained.codec);
    if model.transducer().is_none() {
        return Err(Hinted {
            what: format!(
                "the decoder of {} is recurrent; only a transducer is an automaton",
                loaded.dir.path().display()
            ),
            hint: format!(
                "`{} train --config configs/transducer.toml` trains one; `{} predict {} --attention` shows \
                 where this model looks",
                program(),
                program(),
                quote(loaded.dir.path())
            ),
        }
        .into());
    }
    if !args.sequence.is_empty() {
        let predictor = Predictor::new(codec, &[model])?;
        let line = args.sequence.join(" ");
        let parsed = predictor.parse(&line);
        let source = parsed.map_err(|problem| Usage(format!("{line:?}: {problem}")))?;
        let source = codec.model_input(&source.tokens);
        if source.len() > MAX_REFERENCE_LEN {
            return Err(Hinted {
                what: format!(
                    "the sequence has {} tokens with its markers; steps are followed up to {MAX_REFERENCE_LEN}",
                    source.len()
                ),
                hint: format!(
                    "`{} predict {} --file FILE` answers sequences of any length",
                    program(),
                    quote(loaded.dir.path())
                ),
            }
            .into());
        }
        let steps = automaton_steps(model, &source, codec.limit)?;
        ui.data(&steps_table(&steps, &source, codec).text())?;
        if let Some([_, png]) = picture::write_head(&loaded.dir, &heatmap(&steps, &source, codec))?
        {
            ui.message(format!("wrote {}", png.display()));
        }
        return Ok(0);
    }

    let sources = |split, n| -> anyhow::Result<Vec<Vec<u32>>> {
        let config = &loaded.trained.config;
        let OpenSplit { source, split, .. } = open_split(&loaded.dir, config, Some(split), None)?;
        let n = source.n_samples(split).unwrap_or(n).min(n);
        let input = |index| codec.model_input(&source.example(split, index).source);
        Ok((0..n).map(input).collect())
    };
    let mut read = sources(Split::Val, READ)?;
    read.retain(|source| source.len() <= MAX_REFERENCE_LEN);
    let automaton = Automaton::of(model, &read, codec.limit)?;
    let (mut n_equal, mut differs) = (0, None);
    let tests = sources(Split::Test, args.samples)?;
    let mut generator = Generator::new(model)?;
    for batch in tests.chunks(BATCH) {
        let decoded = generator.greedy(&Source::new(batch, model.tokens())?, codec.stop())?;
        for (source, decoded) in batch.iter().zip(decoded) {
            let said = decoded.stopped.then_some(decoded.tokens);
            let limit = codec.limit.tokens(source.len());
            match said.is_some() && automaton.run(source, limit) == said {
                true => n_equal += 1,
                false => differs = differs.or_else(|| Some(codec.vocabulary.line(source))),
            }
        }
    }

    let vocabulary = &codec.vocabulary;
    if args.json {
        let names = automaton.state_names();
        let rule_record = |condition: Condition, reads, rule: Rule| RuleRecord {
            state: names[condition.state].clone(),
            from_first: condition.from_first,
            to_last: condition.to_last,
            reads,
            next_state: names[rule.state].clone(),
            step: rule.step.to_string(),
        };
        let output_record = |((state, reads), outputs): ((usize, Reading), u32)| OutputRecord {
            state: names[state].clone(),
            reads: vocabulary.text(reads.token),
            second: reads.second.map(|token| vocabulary.text(token)),
            outputs: vocabulary.text(outputs),
        };
        let record = Record {
            rules: automaton
                .rules()
                .map(|(condition, rule)| rule_record(condition, None, rule))
                .collect(),
            exceptions: automaton
                .exceptions()
                .map(|((condition, token), rule)| {
                    rule_record(condition, Some(vocabulary.text(token)), rule)
                })
                .collect(),
            outputs: automaton.outputs().map(output_record).collect(),
            checked: tests.len() as u64,
            equal: n_equal,
            differs: differs.as_deref(),
        };
        ui.data(&format!("{}\n", serde_json::to_string(&record)?))?;
        return Ok(0);
    }
    ui.data(&rules_table(&automaton, vocabulary).text())?;
    let n = tests.len();
    ui.message(match differs {
        None => format!("the program gives the model's output for all of {n} test sequences"),
        Some(source) => format!(
            "the program gives the model's output for {n_equal} of {n} test sequences, but not for: {source}"
        ),
    });
    Ok(0)
}

/// The steps of one decoding.
fn steps_table(steps: &[AutomatonStep], source: &[Token], codec: &Codec) -> Table {
    let text = |token| codec.vocabulary.text(token);
    Table::new()
        .column("step", 1..=steps.len())
        .column("mode", steps.iter().map(|step| mixture_name(&step.modes)))
        .column("move", steps.iter().map(|step| step.step))
        .column(
            "position",
            steps.iter().map(|step| both(step, &|at| at.to_string())),
        )
        .column(
            "reads",
            steps.iter().map(|step| both(step, &|at| text(source[at]))),
        )
        .column("output", steps.iter().map(|step| text(step.token)))
        .column(
            "certainty",
            steps.iter().map(|step| format!("{:.2}", step.certainty)),
        )
}

/// A text for the position of the head, and one for its second position if it has one.
fn both(step: &AutomatonStep, of: &dyn Fn(usize) -> String) -> String {
    let second = step.second.map(|second| format!("&{}", of(second)));
    of(step.position) + &second.unwrap_or_default()
}

/// The head over time; each output has its mode and move.
fn heatmap(steps: &[AutomatonStep], source: &[Token], codec: &Codec) -> Heatmap {
    let text = |token| codec.vocabulary.text(token);
    let row = |step: &AutomatonStep| HeatmapRow {
        token: format!(
            "{}:{}:{}",
            mixture_name(&step.modes),
            step.step,
            text(step.token)
        ),
        is_wrong: false,
        weights: step.head.iter().copied().map(Some).collect(),
    };
    Heatmap {
        title: "The head of a transducer".to_owned(),
        subtitle: "rows: mode:move:output".to_owned(),
        columns: source.iter().map(|token| text(*token)).collect(),
        rows: steps.iter().map(row).collect(),
        ..Heatmap::default()
    }
}

/// The rules, with the places of the head where the same is done on one line.
fn rules_table(automaton: &Automaton, vocabulary: &Vocabulary) -> Table {
    let mut lines: Vec<(usize, Rule, Vec<String>)> = Vec::new();
    let mut by_state: BTreeMap<usize, BTreeMap<Condition, Rule>> = BTreeMap::new();
    for (condition, rule) in automaton.rules() {
        by_state
            .entry(condition.state)
            .or_default()
            .insert(condition, rule);
    }
    for (state, rules) in by_state {
        let mut places: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
        for (place, rule) in places_of(&rules) {
            places.entry(rule).or_default().push(place);
        }
        lines.extend(
            places
                .into_iter()
                .map(|(rule, places)| (state, rule, places)),
        );
    }
    for ((condition, token), rule) in automaton.exceptions() {
        let name = format!("{} at {}", name(condition), vocabulary.text(token));
        match lines
            .iter_mut()
            .find(|(state, other, _)| (*state, *other) == (condition.state, rule))
        {
            Some((.., places)) => places.push(name),
            None => lines.push((condition.state, rule, vec![name])),
        }
    }
    lines.sort_by_key(|(state, ..)| *state);
    let names = automaton.state_names();
    Table::new()
        .column("state", lines.iter().map(|(state, ..)| &names[*state]))
        .column(
            "where the head is",
            lines.iter().map(|(.., places)| places.join(", ")),
        )
        .column(
            "next state",
            lines.iter().map(|(_, rule, _)| &names[rule.state]),
        )
        .column("move", lines.iter().map(|(_, rule, _)| rule.step))
        .column(
            "then outputs",
            lines
                .iter()
                .map(|(_, rule, _)| outputs_of(automaton, rule.state, vocabulary)),
        )
}

/// Names of the places of one state with their rules. Where the distance to the last position decides alone,
/// or that from the first, the other is left out.
fn places_of(rules: &BTreeMap<Condition, Rule>) -> Vec<(String, Rule)> {
    let of = |same: &dyn Fn(&Condition) -> bool| -> BTreeSet<Rule> {
        let rules = rules.iter().filter(|(condition, _)| same(condition));
        rules.map(|(_, rule)| *rule).collect()
    };
    let mut names: Vec<(String, Rule)> = Vec::new();
    for (condition, rule) in rules {
        let by_last = of(&|other| other.to_last == condition.to_last).len() == 1;
        let by_first = of(&|other| other.from_first == condition.from_first).len() == 1;
        let first = condition.from_first.map(|n| place("first", '+', n));
        let last = condition.to_last.map(|n| place("last", '-', n));
        let name = match (first, last) {
            _ if of(&|_| true).len() == 1 => "anywhere".to_owned(),
            (_, Some(last)) if by_last => last,
            (_, None) if by_last => "elsewhere".to_owned(),
            (Some(first), _) if by_first => first,
            (None, _) if by_first => "elsewhere".to_owned(),
            _ => self::name(*condition),
        };
        if !names.contains(&(name.clone(), *rule)) {
            names.push((name, *rule));
        }
    }
    names
}

/// The name of one place.
fn name(condition: Condition) -> String {
    let first = condition.from_first.map(|n| place("first", '+', n));
    let last = condition.to_last.map(|n| place("last", '-', n));
    match (first, last) {
        (Some(first), Some(last)) => format!("{first} = {last}"),
        (Some(first), None) => format!("{first}, far from last"),
        (None, Some(last)) => format!("{last}, far from first"),
        (None, None) => "far from both".to_owned(),
    }
}

fn place(end: &str, sign: char, distance: usize) -> String {
    match distance {
        0 => end.to_owned(),
        _ => format!("{end}{sign}{distance}"),
    }
}

/// What a state outputs: what the head reads, apart from exceptions.
fn outputs_of(automaton: &Automaton, state: usize, vocabulary: &Vocabulary) -> String {
    let own = automaton.outputs().filter(|((of, _), _)| *of == state);
    let others: Vec<String> = own
        .filter(|((_, reads), outputs)| reads.token != *outputs)
        .map(|((_, reads), outputs)| {
            let second = reads
                .second
                .map(|token| format!("&{}", vocabulary.text(token)));
            format!(
                "{} for {}{}",
                vocabulary.text(outputs),
                vocabulary.text(reads.token),
                second.unwrap_or_default()
            )
        })
        .collect();
    match others.is_empty() {
        true => "what it reads".to_owned(),
        false => format!("what it reads, but {}", others.join(", ")),
    }
}
