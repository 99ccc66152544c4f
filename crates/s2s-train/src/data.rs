//! The data of an experiment: synthetic, or read from a corpus.

use std::path::Path;
use std::sync::Arc;

use reverse_data::{
    BatchSource, Corpus, DataConfig, Split, Synthetic, TextFile, Vocabulary, corpus_paths,
};
use s2s_runlog::{CorpusFile, CorpusRecord, RunDir, read_input, read_json};
use sha2::{Digest, Sha256};

use crate::{Error, ExperimentConfig, Result};

/// Maximum size of a corpus file, which is read into memory as a whole: 256 MiB.
const MAX_CORPUS_BYTES: u64 = 256 << 20;

/// A source of batches, and the record that a run keeps of it.
#[derive(Clone, Debug)]
pub struct Data {
    /// The samples.
    pub source: Arc<dyn BatchSource>,
    /// The vocabulary and file hashes of a corpus; `None` for synthetic data.
    pub corpus: Option<CorpusRecord>,
}

impl Data {
    /// Data from any source of batches.
    pub fn new(source: impl BatchSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
            corpus: None,
        }
    }
}

/// Opens the data of a configuration, in batches for training.
///
/// # Errors
/// If the samples cannot be generated, a corpus file cannot be read, one of its lines is invalid,
/// or the model and batches for the corpus would exceed the memory limits.
pub fn open_data(config: &ExperimentConfig) -> Result<Data> {
    config.validate()?;
    let batch_size = config.train.batch_size;
    if !config.data.is_text() {
        return Ok(Data {
            source: Arc::new(Synthetic::new(&config.data, config.seed, batch_size)?),
            corpus: None,
        });
    }
    let [train, val, test] = Split::ALL.map(|split| corpus_paths(&config.data.folder, split));
    let pair = |[source, target]: [std::path::PathBuf; 2]| -> Result<[TextFile; 2]> {
        Ok([read(&source)?, read(&target)?])
    };
    let files = [pair(train)?, pair(val)?, pair(test)?];
    let vocab_file = match config.data.vocab_file.as_path() {
        path if path.as_os_str().is_empty() => None,
        path => Some(read(path)?),
    };
    let corpus = Corpus::parse(
        &files,
        vocab_file.as_ref(),
        &config.data,
        config.seed,
        batch_size,
    )?;
    config.check_memory(corpus.vocabulary().size(), corpus.longest())?;
    let record = CorpusRecord {
        files: files
            .iter()
            .flatten()
            .chain(&vocab_file)
            .map(hashed)
            .collect(),
        vocabulary: corpus.vocabulary().words().map(str::to_owned).collect(),
    };
    Ok(Data {
        source: Arc::new(corpus),
        corpus: Some(record),
    })
}

/// Opens the data that a run was trained on.
///
/// # Errors
/// Those of [`open_data`]; [`Error::CorpusChanged`] if a corpus file has changed since.
pub fn reopen_data(dir: &RunDir, config: &ExperimentConfig) -> Result<Data> {
    let data = open_data(config)?;
    if let Some(current) = &data.corpus {
        let recorded: CorpusRecord = read_json(dir.corpus())?;
        let mut pairs = current.files.iter().zip(&recorded.files);
        let changed = pairs.find(|(current, recorded)| current.sha256 != recorded.sha256);
        if let Some((file, _)) = changed {
            return Err(Error::CorpusChanged {
                path: file.path.clone().into(),
                run: dir.path().to_owned(),
            });
        }
    }
    Ok(data)
}

/// SHA-256 of a source's vocabulary and of the first samples of each split, in hexadecimal. Sources
/// with the same hash are treated as the same data.
pub(crate) fn data_identity(source: &dyn BatchSource) -> String {
    const N_SAMPLES: u64 = 16;
    let vocabulary = source.vocabulary();
    let mut digest = Sha256::new();
    let mut add = |number: u64| digest.update(number.to_le_bytes());
    for id in [
        vocabulary.size() as u64,
        vocabulary.bos().into(),
        vocabulary.eos().into(),
    ] {
        add(id);
    }
    for split in Split::ALL {
        let n = source.n_samples(split).unwrap_or(N_SAMPLES).min(N_SAMPLES);
        add(n);
        for example in (0..n).map(|index| source.example(split, index)) {
            for tokens in [&example.source, &example.target] {
                add(tokens.len() as u64);
                tokens.iter().for_each(|token| add((*token).into()));
            }
        }
    }
    hex(&digest.finalize())
}

/// The vocabulary of a run and its corpus record, if any, from the run directory alone.
pub(crate) fn recorded_vocabulary(
    dir: &RunDir,
    config: &DataConfig,
) -> Result<(Vocabulary, Option<CorpusRecord>)> {
    if !config.is_text() {
        return Ok((Vocabulary::new(config.vocab)?, None));
    }
    let record: CorpusRecord = read_json(dir.corpus())?;
    let vocabulary = Vocabulary::from_words(record.vocabulary.iter().cloned())?;
    Ok((vocabulary, Some(record)))
}

/// Reads a file of any kind: a corpus may be stored anywhere.
fn read(path: &Path) -> Result<TextFile> {
    let bytes = read_input(path, MAX_CORPUS_BYTES).map_err(Error::Corpus)?;
    Ok(TextFile {
        path: path.to_owned(),
        bytes,
    })
}

fn hashed(file: &TextFile) -> CorpusFile {
    CorpusFile {
        path: file.path.display().to_string(),
        n_bytes: file.bytes.len() as u64,
        sha256: hex(&Sha256::digest(&file.bytes)),
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
