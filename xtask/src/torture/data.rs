//! The data that runs are trained on: generated numbers, or a small text.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use s2s_runlog::{create_folder, write_file};

use super::Draws;

/// Each row trains on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Numbers,
    Text,
}

const TINY: &str = "configs/tiny.toml";

/// Words of several letters, one of which needs more than one byte.
const WORDS: [&str; 10] = [
    "red", "green", "blue", "north", "south", "one", "two", "three,", "Straße", "a",
];

const MAX_TOKENS: usize = 4;

/// Name and number of lines of each split.
const SPLITS: [(&str, usize); 3] = [("train", 320), ("dev", 120), ("test", 120)];

impl Data {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Numbers => "numbers",
            Self::Text => "text",
        }
    }

    /// The configuration that runs start from. That of the text is written by [`write_text`].
    pub(super) fn config(self, folder: &Path) -> PathBuf {
        match self {
            Self::Numbers => PathBuf::from(TINY),
            Self::Text => folder.join("text.toml"),
        }
    }

    /// A source of 1 to `max_tokens` tokens.
    pub(super) fn source(self, max_tokens: usize, draws: &mut Draws) -> String {
        let n_tokens = 1 + draws.below(max_tokens);
        let tokens = (0..n_tokens).map(|_| match self {
            Self::Numbers => (1 + draws.below(10)).to_string(),
            Self::Text => WORDS[draws.below(WORDS.len())].to_owned(),
        });
        tokens.collect::<Vec<_>>().join(" ")
    }
}

/// The folder of the text.
pub(super) fn corpus(folder: &Path) -> PathBuf {
    folder.join("corpus")
}

/// Writes parallel text of words and their reversal, and a configuration with the model of
/// [`TINY`].
pub(super) fn write_text(folder: &Path, draws: &mut Draws) -> Result<()> {
    let corpus = corpus(folder);
    create_folder(&corpus)?;
    for (split, n_lines) in SPLITS {
        let (mut sources, mut targets) = (String::new(), String::new());
        for _ in 0..n_lines {
            let source = Data::Text.source(MAX_TOKENS, draws);
            let target: Vec<&str> = source.split(' ').rev().collect();
            targets += &format!("{}\n", target.join(" "));
            sources += &format!("{source}\n");
        }
        write_file(corpus.join(format!("{split}.src")), sources.as_bytes())?;
        write_file(corpus.join(format!("{split}.trg")), targets.as_bytes())?;
    }
    let tiny = fs::read_to_string(TINY).with_context(|| format!("reading {TINY}"))?;
    let (_, model) = tiny
        .split_once("[model]")
        .with_context(|| format!("{TINY} has no [model]"))?;
    let config = format!("[data]\nfolder = {corpus:?}\n[model]{model}");
    write_file(Data::Text.config(folder), config.as_bytes())?;
    Ok(())
}
