//! The data of an experiment: synthetic, or read from files of text.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use reverse_data::{
    BatchSource, Corpus, DataConfig, Pairs, Split, Synthetic, TextFile, Vocabulary, corpus_paths,
};
use s2s_runlog::{CorpusFile, CorpusRecord, RunDir, read_input, read_json};
use sha2::{Digest, Sha256};

use crate::{Error, ExperimentConfig, Result};

/// Maximum size of a file of text, which is read into memory as a whole: 256 MiB.
const MAX_CORPUS_BYTES: u64 = 256 << 20;

/// A source of batches, and the record that a run keeps of it.
#[derive(Clone, Debug)]
pub struct Data {
    /// The samples.
    pub source: Arc<dyn BatchSource>,
    /// The vocabulary and file hashes of text; `None` for synthetic data.
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
/// If the samples cannot be generated, a file of text cannot be read, one of its lines is invalid,
/// or the model and batches for the text would exceed the memory limits.
pub fn open_data(config: &ExperimentConfig) -> Result<Data> {
    config.validate()?;
    let batch_size = config.train.batch_size;
    if !config.data.is_text() {
        return Ok(Data {
            source: Arc::new(Synthetic::new(&config.data, config.seed, batch_size)?),
            corpus: None,
        });
    }
    let mut files = Vec::new();
    let mut read = |path: &Path| -> Result<TextFile> {
        let (file, record) = read(path)?;
        files.push(record);
        Ok(file)
    };
    let splits = read_splits(&config.data, &mut read)?;
    let vocabulary = match config.data.vocab_file.as_path() {
        path if path.as_os_str().is_empty() => None,
        path => Some(Vocabulary::from_file(&read(path)?, config.data.tokens)?),
    };
    let corpus = Corpus::new(splits, vocabulary, &config.data, config.seed, batch_size)?;
    let longest = Split::ALL.iter().flat_map(|split| corpus.longest(*split));
    config.check_memory(corpus.vocabulary().size(), longest.max().unwrap_or(0))?;
    let record = CorpusRecord {
        files,
        vocabulary: corpus.vocabulary().words().map(str::to_owned).collect(),
        longest: corpus.longest(Split::Train),
    };
    Ok(Data {
        source: Arc::new(corpus),
        corpus: Some(record),
    })
}

/// The pairs of all splits.
fn read_splits(
    config: &DataConfig,
    read: &mut impl FnMut(&Path) -> Result<TextFile>,
) -> Result<[Pairs; 3]> {
    let [train, val, test] = if config.file.as_os_str().is_empty() {
        let mut splits: [Pairs; 3] = Default::default();
        for split in Split::ALL {
            let [source, target] = corpus_paths(&config.folder, split);
            splits[split as usize] =
                Pairs::parallel(&read(&source)?, &read(&target)?, config.tokens)?;
        }
        splits
    } else {
        Pairs::split_table(&read(&config.file)?, config)?
    };
    let n_train = train.len();
    let max_lens = [config.max_source_len, config.max_target_len];
    let train = train.at_most(max_lens);
    if train.is_empty() {
        return Err(Error::AllDropped { n_train, max_lens });
    }
    Ok([train, val, test])
}

/// Opens the data that a run was trained on.
///
/// # Errors
/// Those of [`open_data`]; [`Error::CorpusChanged`] if a file of text has changed since.
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
    Ok((vocabulary.with_tokenization(config.tokens), Some(record)))
}

/// A file of text and the record of it. Accepts any kind of file, since text may be stored anywhere, and
/// decompresses files whose name ends with `.gz`.
fn read(path: &Path) -> Result<(TextFile, CorpusFile)> {
    let mut bytes = read_input(path, MAX_CORPUS_BYTES).map_err(Error::Corpus)?;
    let record = CorpusFile {
        path: path.display().to_string(),
        n_bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(&bytes)),
    };
    if path.extension().is_some_and(|extension| extension == "gz") {
        bytes = decompress(&bytes).map_err(|source| Error::Compressed {
            path: path.to_owned(),
            source,
        })?;
    }
    let path = path.to_owned();
    Ok((TextFile { path, bytes }, record))
}

fn decompress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes).take(MAX_CORPUS_BYTES + 1);
    reader.read_to_end(&mut text)?;
    if text.len() as u64 > MAX_CORPUS_BYTES {
        let message = format!("decompressed, it has more than {MAX_CORPUS_BYTES} bytes");
        return Err(io::Error::other(message));
    }
    Ok(text)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
