//! The data of an experiment: synthetic, or read from files of text.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use reverse_data::{
    BatchSource, Corpus, DataConfig, Example, Examples, Pairs, Split, Synthetic, Task, TextFile,
    Tokenization, Vocabulary, corpus_paths,
};
use s2s_runlog::{CorpusFile, CorpusRecord, RunDir, hex, is_folder, read_input, read_json};
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

    /// Synthetic data with your own task, which replaces `config.data.task`. Its targets must consist of
    /// symbols of the vocabulary.
    ///
    /// # Errors
    /// If `config.data` is invalid or describes text.
    pub fn with_task(config: &ExperimentConfig, task: impl Task + 'static) -> Result<Self> {
        let (seed, batch_size) = (config.seed, config.train.batch_size);
        let source = Synthetic::with_task(&config.data, task, seed, batch_size)?;
        Ok(Self::new(source))
    }

    /// Your own pairs of source and target: train, val, test. Their symbols are the numbers 1 to
    /// `config.data.vocab - 1`.
    ///
    /// ```
    /// # use s2s_train::{Data, ExperimentConfig};
    /// let mut config = ExperimentConfig::default();
    /// config.data.vocab = 10;
    /// let pairs = vec![(vec![1, 2], vec![3]), (vec![4, 5], vec![9])];
    /// let data = Data::pairs(&config, [pairs.clone(), pairs.clone(), pairs])?;
    /// # Ok::<(), s2s_train::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a split has no pairs, a source is empty, or a token is not such a number.
    pub fn pairs<E: Into<Example>>(config: &ExperimentConfig, splits: [Vec<E>; 3]) -> Result<Self> {
        let order = config.data.order(config.seed, config.train.batch_size);
        let vocabulary = Vocabulary::new(config.data.vocab)?;
        Ok(Self::new(Examples::new(vocabulary, splits, order)?))
    }

    /// The same text with another number of tokens of the longest source and target in training, if it is known.
    fn with_longest(mut self, longest: Option<[usize; 2]>) -> Self {
        if let Some((corpus, longest)) = self.corpus.as_mut().zip(longest) {
            corpus.longest = longest;
        }
        self
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
        path => {
            let file = read(path).map_err(of_vocabulary)?;
            Some(Vocabulary::from_file(&file, config.data.tokens)?)
        }
    };
    text_data(config, splits, files, vocabulary)
}

/// Opens the data for a model of text whose vocabulary is given, such as one with imported weights; a
/// model of bytes needs none. If the text is not there, the data have no pairs: the model can answer, and be evaluated on other pairs.
/// `longest` replaces the number of tokens of the longest source and target in training.
///
/// # Errors
/// Those of [`open_data`], except for text that does not exist; [`Error::NotText`] for synthetic data.
pub fn open_data_with(
    config: &ExperimentConfig,
    vocabulary: Option<Vocabulary>,
    longest: Option<[usize; 2]>,
) -> Result<Data> {
    config.validate()?;
    if !config.data.is_text() {
        return Err(Error::NotText);
    }
    let mut files = Vec::new();
    let mut read = |path: &Path| -> Result<TextFile> {
        let (file, record) = read(path)?;
        files.push(record);
        Ok(file)
    };
    let splits = match read_splits(&config.data, &mut read) {
        Err(Error::Corpus(s2s_runlog::Error::Read { source, .. }))
            if source.kind() == io::ErrorKind::NotFound =>
        {
            files.clear();
            Default::default()
        }
        splits => splits?,
    };
    Ok(text_data(config, splits, files, vocabulary)?.with_longest(longest))
}

/// Reads the vocabulary of text: a file with one token per line.
///
/// # Errors
/// If it cannot be read, or a line is not one token.
pub fn read_vocabulary(path: &Path, tokens: Tokenization) -> Result<Vocabulary> {
    let (file, _) = read(path).map_err(of_vocabulary)?;
    Ok(Vocabulary::from_file(&file, tokens)?)
}

/// Number of bytes of a file of text, decompressed.
///
/// # Errors
/// If it cannot be read or decompressed.
pub fn text_len(path: &Path) -> Result<u64> {
    let (file, _) = read(path)?;
    Ok(file.n_bytes() as u64)
}

/// The error of reading a file, if the file is a vocabulary.
fn of_vocabulary(error: Error) -> Error {
    match error {
        Error::Corpus(error) => Error::VocabularyFile(error),
        error => error,
    }
}

fn text_data(
    config: &ExperimentConfig,
    splits: [Pairs; 3],
    files: Vec<CorpusFile>,
    vocabulary: Option<Vocabulary>,
) -> Result<Data> {
    let (seed, batch_size) = (config.seed, config.train.batch_size);
    let corpus = Corpus::new(splits, vocabulary, &config.data, seed, batch_size)?;
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
    if config.file.as_os_str().is_empty() {
        let mut splits: [Pairs; 3] = Default::default();
        for split in Split::ALL {
            splits[split as usize] = read_split(config, split, read)?;
        }
        return Ok(splits);
    }
    let splits = Pairs::split_table(&read(&config.file)?, config)?;
    check_dropped(&splits[Split::Train as usize], config)?;
    Ok(splits)
}

/// The pairs of one split; reads no other files.
fn read_split(
    config: &DataConfig,
    split: Split,
    read: &mut impl FnMut(&Path) -> Result<TextFile>,
) -> Result<Pairs> {
    let pairs = if config.file.as_os_str().is_empty() {
        let [source, target] = corpus_paths(&config.folder, split);
        Pairs::parallel(&read(&source)?, &read(&target)?, config, split)?
    } else {
        let splits = Pairs::split_table(&read(&config.file)?, config)?;
        splits.into_iter().nth(split as usize).unwrap_or_default()
    };
    check_dropped(&pairs, config)?;
    Ok(pairs)
}

/// Checks that the limits of lengths leave a pair.
fn check_dropped(pairs: &Pairs, config: &DataConfig) -> Result<()> {
    match (pairs.is_empty(), pairs.n_dropped()) {
        (true, n_train @ 1..) => Err(Error::AllDropped {
            n_train,
            max_lens: [config.max_source_len, config.max_target_len],
        }),
        _ => Ok(()),
    }
}

/// Opens the data that a run was trained on, in batches for training. Text is looked for at `location`,
/// a folder or a table, or else where it was when the run was created; its SHA-256 must be that of the training.
/// If weights were imported without their text, any text is accepted, and the returned record has it.
///
/// # Errors
/// Those of [`open_data`]; [`Error::CorpusMissing`] if a file of text is not there;
/// [`Error::CorpusChanged`] if it has another content; [`Error::NotText`] for a location of synthetic
/// data.
pub fn reopen_data(
    dir: &RunDir,
    config: &ExperimentConfig,
    location: Option<&Path>,
) -> Result<Data> {
    let (vocabulary, record) = recorded_vocabulary(dir, &config.data)?;
    let Some(record) = record else {
        return match location {
            None => open_data(config),
            Some(_) => Err(Error::NotText),
        };
    };
    config.validate()?;
    let recorded = Recorded {
        dir,
        record: &record,
        may_search: location.is_none(),
    };
    let data = recorded.located(&config.data, location);
    let mut files = Vec::new();
    let mut read = |path: &Path| -> Result<TextFile> {
        let (file, record) = recorded.read(path)?;
        files.push(record);
        Ok(file)
    };
    let splits = read_splits(&data, &mut read)?;
    if record.files.is_empty() {
        let longest = record.longest;
        let data = text_data(config, splits, files, Some(vocabulary))?;
        return Ok(data.with_longest(Some(longest).filter(|longest| *longest != [0, 0])));
    }
    let (seed, batch_size) = (config.seed, config.train.batch_size);
    let corpus = Corpus::new(splits, Some(vocabulary), &config.data, seed, batch_size)?;
    Ok(Data {
        source: Arc::new(corpus),
        corpus: Some(record),
    })
}

/// Whether the text of a configuration is that of a run, wherever it is: its files have the same content.
pub fn is_same_text(record: &CorpusRecord, config: &DataConfig) -> bool {
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    let mut paths = match is_set(&config.file) {
        true => vec![config.file.clone()],
        false => {
            let of_split = |split| corpus_paths(&config.folder, split);
            Split::ALL.into_iter().flat_map(of_split).collect()
        }
    };
    paths.extend(Some(config.vocab_file.clone()).filter(|path| is_set(path)));
    let is_same = |(path, known): (&PathBuf, &CorpusFile)| {
        read(path).is_ok_and(|(_, found)| found.sha256 == known.sha256)
    };
    paths.len() == record.files.len() && paths.iter().zip(&record.files).all(is_same)
}

/// A split to evaluate.
#[derive(Clone, Debug)]
pub struct OpenSplit {
    /// The samples, in batches for evaluation.
    pub source: Arc<dyn BatchSource>,
    /// The split of `source` that has them.
    pub split: Split,
    /// What they are: the name of a split of the run, or a path.
    pub name: String,
    /// Sequences per batch: those of the configuration, or fewer if the sequences are much longer than those of
    /// the training.
    pub batch_size: NonZeroUsize,
}

/// Opens a split of a run's data, by default `test`, or of other text at `location`: a folder of
/// parallel text, or a table, all of whose pairs are taken unless a split is given. Reads only the files
/// that it needs, and uses the vocabulary of the run.
///
/// # Errors
/// Those of [`reopen_data`], except that text at `location` may be any; [`Error::EndlessSplit`].
pub fn open_split(
    dir: &RunDir,
    config: &ExperimentConfig,
    split: Option<Split>,
    location: Option<&Path>,
) -> Result<OpenSplit> {
    let wanted = split.unwrap_or(Split::Test);
    let batch_size = config.train.eval_batch_size;
    let (vocabulary, record) = recorded_vocabulary(dir, &config.data)?;
    if record.is_none() && location.is_none() {
        let source = Synthetic::new(&config.data, config.seed, batch_size)?;
        if source.n_samples(wanted).is_none() {
            return Err(Error::EndlessSplit { split: wanted });
        }
        return Ok(OpenSplit {
            source: Arc::new(source),
            split: wanted,
            name: wanted.to_string(),
            batch_size,
        });
    }
    let (pairs, name) = match (location, &record) {
        (Some(location), record) => pairs_at(location, config, split, record.as_ref())?,
        (None, Some(record)) => {
            let recorded = Recorded {
                dir,
                record,
                may_search: true,
            };
            let data = recorded.located(&config.data, None);
            let pairs = read_split(&data, wanted, &mut |path| Ok(recorded.read(path)?.0))?;
            (pairs, wanted.to_string())
        }
        (None, None) => unreachable!("synthetic data were handled above"),
    };
    let longest = pairs.longest().into_iter().max().unwrap_or(0);
    let batch_size = config.eval_batch_size(vocabulary.size(), longest);
    // In the place of the test split, where no token is replaced at random.
    let splits = [Pairs::default(), Pairs::default(), pairs];
    let corpus = Corpus::new(
        splits,
        Some(vocabulary),
        &config.data,
        config.seed,
        batch_size,
    )?;
    Ok(OpenSplit {
        source: Arc::new(corpus),
        split: Split::Test,
        name,
        batch_size,
    })
}

/// The pairs of any text, and what they are.
fn pairs_at(
    location: &Path,
    config: &ExperimentConfig,
    split: Option<Split>,
    record: Option<&CorpusRecord>,
) -> Result<(Pairs, String)> {
    let wanted = split.unwrap_or(Split::Test);
    let mut data = config.data.clone();
    if record.is_none() {
        data.tokens = Tokenization::Words; // as `data export` writes numbers
    }
    let is_recorded = |file: &CorpusFile| {
        let files = record.iter().flat_map(|record| &record.files);
        files.into_iter().any(|known| known.sha256 == file.sha256)
    };
    let mut is_own = true;
    let mut read = |path: &Path| -> Result<TextFile> {
        let (file, record) = read(path)?;
        is_own &= is_recorded(&record);
        Ok(file)
    };
    let pairs = if is_folder(location) {
        (data.folder, data.file) = (location.to_owned(), PathBuf::new());
        read_split(&data, wanted, &mut read)?
    } else {
        (data.folder, data.file) = (PathBuf::new(), location.to_owned());
        let file = read(location)?;
        match split {
            None if !is_own => Pairs::table(&file, &data)?,
            _ => {
                let splits = Pairs::split_table(&file, &data)?;
                splits.into_iter().nth(wanted as usize).unwrap_or_default()
            }
        }
    };
    let path = location.display();
    let name = match (is_own, is_folder(location), split) {
        (true, ..) => wanted.to_string(),
        (false, false, None) => path.to_string(),
        (false, ..) => format!("{wanted} of {path}"),
    };
    Ok((pairs, name))
}

/// The text of a run, which is identified by its content.
#[derive(Clone, Copy)]
struct Recorded<'a> {
    dir: &'a RunDir,
    record: &'a CorpusRecord,
    /// Whether a file that is not in its place is looked for beside the run.
    may_search: bool,
}

impl Recorded<'_> {
    /// The configuration with the place of the text: `location`, or else where it was.
    fn located(&self, config: &DataConfig, location: Option<&Path>) -> DataConfig {
        let mut data = config.clone();
        let first = self.record.files.first().map(|file| Path::new(&file.path));
        let is_table = !config.file.as_os_str().is_empty();
        let place = match is_table {
            true => location.or(first),
            false => location.or(first.and_then(Path::parent)),
        };
        if let Some(place) = place {
            let key = if is_table {
                &mut data.file
            } else {
                &mut data.folder
            };
            *key = place.to_owned();
        }
        data
    }

    /// Reads a file that must have its recorded content, if one is recorded.
    fn read(&self, path: &Path) -> Result<(TextFile, CorpusFile)> {
        let files = &self.record.files;
        // A table may have another name now.
        let same_name =
            |known: &&CorpusFile| Path::new(&known.path).file_name() == path.file_name();
        let known = files.iter().find(same_name).or(files.first());
        let is_known = |found: &CorpusFile| known.is_none_or(|known| known.sha256 == found.sha256);
        let problem = match read(path) {
            Ok((file, found)) if is_known(&found) => return Ok((file, found)),
            Ok(_) => Error::CorpusChanged {
                path: path.to_owned(),
                run: self.dir.path().to_owned(),
            },
            Err(Error::Corpus(source)) => Error::CorpusMissing {
                run: self.dir.path().to_owned(),
                source,
            },
            Err(error) => error,
        };
        let places = known.map_or_else(Vec::new, |_| self.places(path));
        for place in places {
            if let Ok((file, found)) = read(&place)
                && is_known(&found)
            {
                tracing::info!("{} is now {}", path.display(), place.display());
                return Ok((file, found));
            }
        }
        Err(problem)
    }

    /// Where a file may be after it has moved with its run: beside the run or one folder above, there also in
    /// a folder with its old name.
    fn places(&self, path: &Path) -> Vec<PathBuf> {
        let run = absolute(self.dir.path()).unwrap_or_default();
        let name = path.file_name().map(PathBuf::from);
        let with_folder = path
            .parent()
            .and_then(Path::file_name)
            .zip(path.file_name())
            .map(|(folder, name)| Path::new(folder).join(name));
        let names: Vec<PathBuf> = name.into_iter().chain(with_folder).collect();
        let folders = run.ancestors().skip(1).take(2).filter(|_| self.may_search);
        folders
            .flat_map(|folder| names.iter().map(|name| folder.join(name)))
            .filter(|place| place != path)
            .collect()
    }
}

/// SHA-256 of a source's vocabulary and of the first samples of each split, in hexadecimal. Sources
/// with the same hash are treated as the same data. Empty for a source without samples: that of weights whose text
/// is not known yet.
pub(crate) fn data_identity(source: &dyn BatchSource) -> String {
    const N_SAMPLES: u64 = 16;
    if Split::ALL
        .iter()
        .all(|split| source.n_samples(*split) == Some(0))
    {
        return String::new();
    }
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
        path: absolute(path)
            .unwrap_or_else(|_| path.to_owned())
            .display()
            .to_string(),
        n_bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(&bytes)),
    };
    if path.extension().is_some_and(|extension| extension == "gz") {
        bytes = decompress(&bytes).map_err(|source| Error::Compressed {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok((TextFile::new(path, bytes), record))
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
