//! Evaluations by length, as an experiment file describes them.

use std::path::Path;

use s2s_runlog::{DecodingMode, Lengths, LengthsRequest, Protocol};
use serde::Deserialize;

use crate::pattern;

/// A `[[lengths]]` table: one `s2s eval --lengths` for each run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthGroup {
    /// Its name in tables and files.
    pub name: String,
    /// A published protocol that defines the lengths. Either this or `lengths`.
    pub protocol: Option<Protocol>,
    /// The source lengths in symbols, in the format of [`Lengths::parse`], such as `40,80,100..500`.
    pub lengths: Option<String>,
    /// The distance between the lengths of a range; 1 if absent. Only with `lengths`.
    pub step: Option<usize>,
    /// Number of sequences per length.
    pub samples: u64,
    /// Decoding modes.
    pub mode: DecodingModes,
    /// The cells whose runs are evaluated, by name or pattern (`*` stands for any characters); all if absent.
    pub cells: Option<Vec<String>>,
}

/// Decoding modes, as `s2s eval --mode` takes them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecodingModes {
    /// Until EOS.
    Eos,
    /// Up to the length of the reference.
    Oracle,
    /// Both, one after the other.
    Both,
}

/// A `[[published]]` table: published means over the lengths of a group, for comparison.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What was measured, such as the name of a model.
    pub name: String,
    /// Where it is published, for example a citation.
    pub source: String,
    /// The name of the [`LengthGroup`] whose results it is compared with.
    pub group: String,
    /// Share of sequences predicted correctly, in `[0, 1]`; absent if it is not published.
    pub exact_match: Option<f64>,
    /// Share of tokens predicted correctly, in `[0, 1]`; absent if it is not published.
    pub token_accuracy: Option<f64>,
    /// Share of tokens before the first error, in `[0, 1]`; absent if it is not published.
    pub fine_accuracy: Option<f64>,
}

impl LengthGroup {
    /// The request that `s2s eval` records for this group.
    ///
    /// # Errors
    /// With a message for a person, if the group has neither or both of `protocol` and `lengths`, or its
    /// lengths are not valid.
    pub fn request(&self) -> Result<LengthsRequest, String> {
        let lengths = match (self.protocol, &self.lengths) {
            (Some(protocol), None) if self.step.is_none() => protocol.lengths(),
            (None, Some(text)) => Lengths::parse(text, self.step.unwrap_or(1))
                .map_err(|error| format!("[[lengths]] {:?}: {error}", self.name))?,
            _ => {
                return Err(format!(
                    "[[lengths]] {:?} must have either `protocol` or `lengths`; `step` is valid \
                     only with `lengths`",
                    self.name
                ));
            }
        };
        Ok(LengthsRequest {
            protocol: self.protocol,
            lengths,
            samples: self.samples,
            modes: match self.mode {
                DecodingModes::Eos => vec![DecodingMode::Eos],
                DecodingModes::Oracle => vec![DecodingMode::Oracle],
                DecodingModes::Both => vec![DecodingMode::Eos, DecodingMode::Oracle],
            },
            split: "test".to_owned(),
            checkpoint: "best".to_owned(),
        })
    }

    /// The arguments of `s2s` that evaluate a run.
    pub(crate) fn eval_args(&self, folder: &Path) -> Vec<String> {
        let mut args = vec!["eval".to_owned(), folder.display().to_string()];
        let mut add = |option: &str, value: String| args.extend([option.to_owned(), value]);
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
            DecodingModes::Eos => "eos",
            DecodingModes::Oracle => "oracle",
            DecodingModes::Both => "both",
        };
        add("--mode", mode.to_owned());
        add("--name", self.name.clone());
        args
    }

    /// Whether the runs of a cell are evaluated.
    pub(crate) fn includes(&self, cell: &str) -> bool {
        let cells = self.cells.as_ref();
        cells.is_none_or(|cells| cells.iter().any(|name| pattern::matches(name, cell)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_s2s_and_the_expected_request_agree() {
        let near: LengthGroup = toml::from_str(
            "name = \"near\"\nlengths = \"1..9,20\"\nstep = 4\nsamples = 50\nmode = \"both\"",
        )
        .unwrap();
        assert_eq!(
            near.eval_args(Path::new("run")).join(" "),
            "eval run --lengths 1..9,20 --step 4 --samples 50 --mode both --name near"
        );
        assert_eq!(near.request().unwrap().lengths.to_string(), "1,5,9,20");
        assert!(near.includes("any"));

        let protocol: LengthGroup = toml::from_str(
            "name = \"protocol\"\nprotocol = \"deepmind\"\nsamples = 10\nmode = \"oracle\"\n\
             cells = [\"base\"]",
        )
        .unwrap();
        assert_eq!(
            protocol.eval_args(Path::new("run")).join(" "),
            "eval run --protocol deepmind --samples 10 --mode oracle --name protocol"
        );
        assert_eq!(protocol.request().unwrap().lengths.to_string(), "41..500");
        assert!(protocol.includes("base") && !protocol.includes("other"));
    }
}
