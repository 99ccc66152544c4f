//! The data of an experiment: drawn, or read from a corpus.

use std::path::Path;
use std::sync::Arc;

use reverse_data::{
    BatchSource, Corpus, DataConfig, Split, Synthetic, TextFile, Vocabulary, corpus_paths,
};
use s2s_runlog::{CorpusFile, CorpusRecord, RunDir, read_file, read_json, resolve_links};
use sha2::{Digest, Sha256};

use crate::{Error, ExperimentConfig, Result};

/// The largest file of a corpus: 256 MiB, which is held in memory while it is read.
const MAX_CORPUS_BYTES: u64 = 256 << 20;

/// Where batches come from, and what a run needs to remember of it.
#[derive(Clone, Debug)]
pub struct Data {
    /// The samples.
    pub source: Arc<dyn BatchSource>,
    /// Of a corpus, its vocabulary and its files' hashes; none if samples are drawn.
    pub corpus: Option<CorpusRecord>,
}

impl Data {
    /// Data from code: any source of batches.
    pub fn new(source: impl BatchSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
            corpus: None,
        }
    }
}

/// The data that a configuration asks for, in batches for training.
///
/// # Errors
/// If it cannot be drawn; if a file of the corpus cannot be read, or a line of it cannot be used; if
/// the corpus asks for more memory than there is.
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

/// The data that a run was trained on, as it was then.
///
/// # Errors
/// Those of [`open_data`]; [`Error::CorpusChanged`] if a file of the corpus is not the same.
pub fn reopen_data(dir: &RunDir, config: &ExperimentConfig) -> Result<Data> {
    let data = open_data(config)?;
    if let Some(now) = &data.corpus {
        let then: CorpusRecord = read_json(dir.corpus())?;
        let mut pairs = now.files.iter().zip(&then.files);
        let changed = pairs.find(|(now, then)| now.sha256 != then.sha256);
        if let Some((file, _)) = changed {
            return Err(Error::CorpusChanged {
                path: file.path.clone().into(),
                run: dir.path().to_owned(),
            });
        }
    }
    Ok(data)
}

/// SHA-256 of a data source's vocabulary and of its first samples of each split, in hexadecimal: two
/// sources with one identity are taken for the same data.
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

/// What the tokens of a run mean, without its data; and the record of its corpus, if it has one.
pub(crate) fn remembered(
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

/// Links are followed here: a corpus may stand wherever its owner likes.
fn read(path: &Path) -> Result<TextFile> {
    let bytes = read_file(resolve_links(path), MAX_CORPUS_BYTES).map_err(Error::Corpus)?;
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
