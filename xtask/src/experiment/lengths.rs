//! Evaluations by length, as an experiment file asks for them.

use std::collections::BTreeSet;
use std::path::Path;

use s2s_runlog::{DecodingMode, Lengths, LengthsRequest, Protocol};
use serde::Deserialize;

use super::plan::{Cell, Experiment, is_plain};

/// A `[[lengths]]` table: lengths that are evaluated alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// Its name, in tables and files.
    pub(crate) name: String,
    /// The protocol that says which lengths, or ...
    protocol: Option<Protocol>,
    /// ... the lengths: `40,80,100..500`.
    lengths: Option<String>,
    /// Every so many of each range.
    step: Option<usize>,
    /// Sequences of each length.
    samples: u64,
    /// Ways of decoding.
    mode: Mode,
    /// The cells whose runs are evaluated; all if not given.
    cells: Option<Vec<String>>,
}

/// Ways of decoding, as `s2s eval --mode` takes them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Eos,
    Oracle,
    Both,
}

/// A `[[published]]` table: means over the lengths of a group, of others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    /// What was measured.
    pub(crate) name: String,
    /// Where it is published.
    pub(crate) source: String,
    /// Name of the group of lengths.
    pub(crate) group: String,
    /// Share of sequences right.
    pub(crate) exact_match: Option<f64>,
    /// Share of tokens right.
    pub(crate) token_accuracy: Option<f64>,
    /// Share of tokens before the first error.
    pub(crate) fine_accuracy: Option<f64>,
}

impl Group {
    /// What `s2s` is asked for, or why it cannot be.
    pub(crate) fn request(&self) -> Result<LengthsRequest, String> {
        let lengths = match (self.protocol, &self.lengths) {
            (Some(protocol), None) if self.step.is_none() => protocol.lengths(),
            (None, Some(text)) => Lengths::parse(text, self.step.unwrap_or(1))
                .map_err(|error| format!("lengths {:?}: {error}", self.name))?,
            _ => {
                return Err(format!(
                    "lengths {:?} must have one of `protocol` and `lengths`, and `step` only with \
                     the latter",
                    self.name
                ));
            }
        };
        Ok(LengthsRequest {
            protocol: self.protocol,
            lengths,
            samples: self.samples,
            modes: match self.mode {
                Mode::Eos => vec![DecodingMode::Eos],
                Mode::Oracle => vec![DecodingMode::Oracle],
                Mode::Both => vec![DecodingMode::Eos, DecodingMode::Oracle],
            },
            split: "test".to_owned(),
            checkpoint: "best".to_owned(),
        })
    }

    /// Arguments of `s2s` that evaluate a run.
    pub(crate) fn evaluate(&self, folder: &Path) -> Vec<String> {
        let mut words = vec!["eval".to_owned(), folder.display().to_string()];
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        if let Some(protocol) = self.protocol {
            add("--protocol", protocol.name().to_owned());
        }
        if let Some(lengths) = &self.lengths {
            add("--lengths", lengths.clone());
        }
        if let Some(step) = self.step {
            add("--step", step.to_string());
        }
        add("--samples", self.samples.to_string());
        let mode = match self.mode {
            Mode::Eos => "eos",
            Mode::Oracle => "oracle",
            Mode::Both => "both",
        };
        add("--mode", mode.to_owned());
        add("--name", self.name.clone());
        words
    }

    /// Whether the runs of a cell are evaluated.
    pub(crate) fn has(&self, cell: &str) -> bool {
        let cells = self.cells.as_ref();
        cells.is_none_or(|cells| cells.iter().any(|name| name == cell))
    }
}

/// The first thing about the lengths that makes no sense.
pub(crate) fn problem(experiment: &Experiment) -> Option<String> {
    let mut names = BTreeSet::new();
    for group in &experiment.lengths {
        let name = &group.name;
        if !names.insert(name) {
            return Some(format!("two [[lengths]] have the name {name:?}"));
        }
        if !is_plain(name) {
            return Some(format!(
                "a name of lengths is part of file names, and made of a-z, 0-9 and `-`; got {name:?}"
            ));
        }
        if group.samples == 0 {
            return Some(format!(
                "lengths {name:?} must have at least one of `samples`"
            ));
        }
        if let Err(problem) = group.request() {
            return Some(problem);
        }
        let is_unknown = |name: &&String| {
            !experiment
                .cells
                .iter()
                .any(|Cell { name: cell, .. }| cell == *name)
        };
        if let Some(cell) = group.cells.iter().flatten().find(is_unknown) {
            return Some(format!(
                "lengths {name:?} are for {cell:?}, which is no cell"
            ));
        }
    }
    let is_lost = |row: &&Published| !names.contains(&row.group);
    let lost = experiment.published.iter().find(is_lost)?;
    Some(format!(
        "published {:?} is of {:?}, which no [[lengths]] have as name",
        lost.name, lost.group
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        title = "Far"
        question = "How far?"
        config = "configs/tiny.toml"
        seeds = [0]
        plots = []
        table = []
        [[cell]]
        name = "base"
        [[lengths]]
        name = "near"
        lengths = "1..9,20"
        step = 4
        samples = 50
        mode = "both"
        [[lengths]]
        name = "protocol"
        protocol = "deepmind"
        samples = 10
        mode = "oracle"
        cells = ["base"]
        [[published]]
        name = "Others"
        source = "a paper"
        group = "protocol"
        token_accuracy = 0.5
    "#;

    fn found(text: &str) -> Option<String> {
        problem(&toml::from_str(text).unwrap())
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        let problem = found(text).expect("a problem");
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn a_group_asks_s2s_for_what_is_compared_with_its_answer() {
        let experiment: Experiment = toml::from_str(GOOD).unwrap();
        assert_eq!(problem(&experiment), None);
        let [near, protocol] = &experiment.lengths[..] else {
            panic!("two groups");
        };
        assert_eq!(
            near.evaluate(Path::new("run")).join(" "),
            "eval run --lengths 1..9,20 --step 4 --samples 50 --mode both --name near"
        );
        assert_eq!(near.request().unwrap().lengths.to_string(), "1,5,9,20");
        assert_eq!(
            protocol.evaluate(Path::new("run")).join(" "),
            "eval run --protocol deepmind --samples 10 --mode oracle --name protocol"
        );
        assert_eq!(protocol.request().unwrap().lengths.to_string(), "41..500");
        assert!(near.has("other") && !protocol.has("other"));
    }

    #[test]
    fn what_makes_no_evaluation_is_refused() {
        check_refused(&GOOD.replace("1..9", "9..1"), "range 9..1 is empty");
        check_refused(&GOOD.replace("\"near\"", "\"../near\""), "got \"../near\"");
        check_refused(&GOOD.replace("\"near\"", "\"protocol\""), "two [[lengths]]");
        check_refused(
            &GOOD.replace("samples = 50", "samples = 0"),
            "at least one of",
        );
        check_refused(
            &GOOD.replace("lengths = \"1..9,20\"", "protocol = \"deepmind\""),
            "must have one of",
        );
        check_refused(
            &GOOD.replace("[\"base\"]", "[\"bass\"]"),
            "\"bass\", which is no cell",
        );
        check_refused(
            &GOOD.replace("group = \"protocol\"", "group = \"none\""),
            "\"none\", which no [[lengths]]",
        );
    }
}
