//! The fuzz targets: functions that must return for every input.
//!
//! A test of `s2s-cli` runs them on the inputs in `xtask/fuzz/corpus`.

#[path = "../../../crates/s2s-cli/src/playground/call.rs"]
mod call;
#[path = "../../../crates/s2s-cli/src/stream/lines.rs"]
mod lines;

use std::cell::RefCell;
use std::fs;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use candle_core::{DType, Device};
use reverse_data::{
    BatchSource, Corpus, DataConfig, Pairs, Sequence, Split, TextFile, Tokenization, Vocabulary,
};
use s2s_model::{LoadOptions, OutputLimit, Seq2Seq, trace};
use s2s_runlog::{
    AttentionRecord, CheckpointName, CorpusRecord, Environment, JsonLines, LengthsRecord,
    MetricsRecord, RunDir, RunRecord, TimingRecord, read_checkpoint, read_json, read_lines,
    write_checkpoint,
};
use s2s_train::{
    Codec, Collector, ExperimentConfig, Flow, Observer, Predictor, StepRecord, Trainer,
    load_config, tokens_of,
};
use s2s_viz::{
    Heatmap, HeatmapGrid, Ink, accuracy_plot, exact_match_plot, lengths_plots, loss_plot,
    terminal_heatmap,
};
use s2s_weights::Found;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// A function of an input.
pub(super) type Target = fn(&[u8]);

/// Every target by its name.
pub(super) const ALL: [(&str, Target); 7] = [
    ("config", config),
    ("checkpoint", checkpoint),
    ("corpus", corpus),
    ("predict", predict),
    ("playground", playground),
    ("run", run),
    ("weights", weights),
];

/// A folder for the inputs of a thread.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("there is room for the input");
        path
    }
}

thread_local! {
    static FOLDER: Folder = Folder::new();
    static ORACLES: [Oracle; 2] = [Oracle::of_numbers(), Oracle::of_words()];
    static SAVED: RefCell<Saved> = RefCell::new(Saved::new());
}

fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == 0)
}

/// A configuration file and `--set` arguments, separated by zero bytes. An accepted configuration
/// must
/// survive a round trip through TOML; a small one also trains a step.
fn config(input: &[u8]) {
    FOLDER.with(|folder| {
        let mut parts = parts(input);
        let file = folder.write("config.toml", parts.next().unwrap_or_default());
        let sets: Vec<String> = parts
            .map(|set| String::from_utf8_lossy(set).into_owned())
            .collect();
        let Ok(config) = load_config(Some(&file), &sets) else {
            return;
        };
        let text = config
            .to_toml()
            .expect("an accepted configuration can be written");
        let again = load_config(Some(&folder.write("config.toml", text.as_bytes())), &[]);
        assert_eq!(again.expect("a written configuration can be read"), config);
        if is_small(&config) {
            step(config);
        }
    });
}

/// Whether a step takes about a millisecond.
fn is_small(config: &ExperimentConfig) -> bool {
    let ExperimentConfig {
        data, model, train, ..
    } = config;
    let attention = model.attention.sizes();
    let widths = [
        model.embedding.get(),
        model.hidden.get(),
        model.decoder.width().get(),
        attention.units,
        attention.filters,
        attention.width,
    ];
    let n_samples = data.val_samples.saturating_add(data.test_samples);
    !data.is_text()
        && data.vocab <= 32
        && data.max_len <= 8
        && n_samples <= 16
        && train.batch_size.get() <= 4
        && train.eval_batch_size.get() <= 4
        && widths.iter().all(|width| *width <= 8)
        && model.layers.get() <= 2
}

fn step(config: ExperimentConfig) {
    if let Ok(mut trainer) = Trainer::new(config, 1, &Device::Cpu) {
        let _ = trainer.run(&mut [&mut Once]); // it may diverge
    }
}

/// Stops a run after its next step.
struct Once;

impl Observer for Once {
    fn on_step(&mut self, _: &StepRecord) -> s2s_train::Result<Flow> {
        Ok(Flow::Interrupt)
    }
}

/// A checkpoint in which the input replaces one file (with a matching manifest) or the manifest. If
/// the
/// trainer rejects it, its parameters must not change; if it accepts it, it trains a step.
fn checkpoint(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    SAVED.with_borrow_mut(|saved| saved.load(usize::from(*which), bytes));
}

struct Saved {
    folder: Folder,
    config: ExperimentConfig,
    files: Vec<(&'static str, Vec<u8>)>,
    trainer: Trainer<Seq2Seq>,
}

impl Saved {
    fn new() -> Self {
        let config = smallest();
        let open = || Trainer::new(config.clone(), 1, &Device::Cpu).expect("a trainer");
        let mut seen = Collector::default();
        let mut observers: [&mut dyn Observer; 2] = [&mut seen, &mut Once];
        open().run(&mut observers).expect("a step");
        let last = seen.last.expect("the state after it");
        let files = last.files(CheckpointName::Last).into_iter();
        let files = files.map(|(name, bytes)| (name, bytes.to_vec())).collect();
        Self {
            folder: Folder::new(),
            trainer: open(),
            config,
            files,
        }
    }

    fn load(&mut self, which: usize, bytes: &[u8]) {
        let path = self.folder.path("last");
        let mut files: Vec<(&str, &[u8])> = self
            .files
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice()))
            .collect();
        let which = which % (files.len() + 1);
        if let Some(file) = files.get_mut(which) {
            file.1 = bytes;
        }
        write_checkpoint(&path, &files).expect("there is room");
        if which == files.len() {
            fs::write(path.join("manifest.json"), bytes).expect("there is room");
        }
        let Ok(checkpoint) = read_checkpoint(&path) else {
            return;
        };
        let before = self.values();
        match self.trainer.restore(&checkpoint) {
            Err(_) => assert!(
                self.values() == before,
                "a rejected checkpoint changed the trainer"
            ),
            Ok(()) => {
                let _ = self.trainer.run(&mut [&mut Once]);
                let config = self.config.clone();
                self.trainer = Trainer::new(config, 1, &Device::Cpu).expect("a trainer");
            }
        }
    }

    /// The bits of all parameters, and the step.
    fn values(&self) -> (Vec<Vec<u32>>, u64) {
        let params = self.trainer.model().params();
        let bits = |tensor: &candle_core::Tensor| {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            candle_core::Result::Ok(values.into_iter().map(f32::to_bits).collect())
        };
        let tensors = params.iter().map(|(_, var)| bits(var.as_tensor()));
        let values = tensors.collect::<candle_core::Result<_>>();
        (values.expect("the host's"), self.trainer.state().step)
    }
}

fn smallest() -> ExperimentConfig {
    let sets = [
        "data.vocab=8",
        "data.max_len=3",
        "data.train_samples=4",
        "data.val_samples=2",
        "data.test_samples=2",
        "model.embedding=2",
        "model.hidden=2",
        "model.decoder=2",
        "model.attention.units=2",
        "train.batch_size=2",
        "train.eval_batch_size=2",
        "train.max_steps=3",
        "train.epochs=0",
        "train.eval_every=2",
    ];
    load_config(None, &sets.map(str::to_owned)).expect("a configuration")
}

/// The six files of a corpus and an optional vocabulary file, separated by zero bytes.
fn corpus(input: &[u8]) {
    let mut parts = parts(input).map(|bytes| TextFile::new("file", bytes));
    let mut next = || parts.next().unwrap_or(TextFile::new("", []));
    let files = [[next(), next()], [next(), next()], [next(), next()]];
    let vocabulary = parts.next();
    let batch_size = NonZeroUsize::MIN.saturating_add(2);
    let config = DataConfig {
        tokens: match input.len() % 3 {
            0 => Tokenization::Words,
            1 => Tokenization::Chars,
            _ => Tokenization::Bytes,
        },
        max_source_len: 40,
        unknown_rate: 0.5,
        ..DataConfig::default()
    };
    let tokens = config.tokens;
    let [train, val, test] = files;
    let pairs = [
        (train, Split::Train),
        (val, Split::Val),
        (test, Split::Test),
    ];
    let pairs =
        pairs.map(|([source, target], split)| Pairs::parallel(&source, &target, &config, split));
    let [Ok(train), Ok(val), Ok(test)] = pairs else {
        return;
    };
    let vocabulary = vocabulary.map(|file| Vocabulary::from_file(&file, tokens));
    let Ok(vocabulary) = vocabulary.transpose() else {
        return;
    };
    let splits = [train, val, test];
    let Ok(corpus) = Corpus::new(splits, vocabulary, &config, 0, batch_size) else {
        return;
    };
    for split in Split::ALL {
        for step in 0..corpus.n_batches(split).unwrap_or(0).min(3) {
            let batch = corpus.batch(split, step);
            assert!(batch.n_rows() > 0);
        }
    }
    let report = corpus.report();
    let _ = (report.to_string(), report.warnings());
    // The same bytes as a table.
    let name = if input.len().is_multiple_of(2) {
        "t.csv"
    } else {
        "t.tsv"
    };
    let table = TextFile::new(name, input);
    let _ = Pairs::split_table(&table, &config);
}

/// Lines to predict, which arrive in pieces. The first byte selects a model of numbers or of words.
fn predict(input: &[u8]) {
    let Some((which, input)) = input.split_first() else {
        return;
    };
    ORACLES.with(|oracles| oracles[usize::from(which % 2)].answer(input));
}

/// Longer lines are not decoded.
const MAX_TOKENS: usize = 24;

struct Oracle {
    model: Seq2Seq,
    codec: Codec,
}

impl Oracle {
    fn of_numbers() -> Self {
        Self::new(Vocabulary::new(4))
    }

    fn of_words() -> Self {
        let words = ["a", "bc", "1", ","].map(str::to_owned);
        Self::new(Vocabulary::from_words(words))
    }

    fn new(vocabulary: Result<Vocabulary, reverse_data::Error>) -> Self {
        let vocabulary = vocabulary.expect("a small vocabulary");
        let tokens = tokens_of(&vocabulary);
        let model = Seq2Seq::new(&smallest().model, tokens, 0, DType::F32, &Device::Cpu);
        Self {
            model: model.expect("a model"),
            codec: Codec {
                vocabulary,
                source_markers: false,
                limit: OutputLimit::default(),
                longest_source: None,
            },
        }
    }

    fn answer(&self, input: &[u8]) {
        let mut lines = lines::Lines::new(Pieces(input), 200);
        let mut sources = Vec::new();
        loop {
            let batch = lines.next_batch(3, 500).expect("it can be read");
            if batch.is_empty() {
                break;
            }
            for (_, line) in batch {
                let vocabulary = &self.codec.vocabulary;
                let parsed = lines::parse(line, 50, "split it", |text| {
                    Sequence::parse(text, vocabulary, 50)
                });
                sources.extend(parsed.ok().inspect(|source| {
                    assert_eq!(source.texts.len(), source.tokens.len());
                    assert!(source.unknown(vocabulary).len() <= source.tokens.len());
                }));
            }
        }
        sources.retain(|source| source.tokens.len() <= MAX_TOKENS);
        sources.truncate(2);
        let predictor = Predictor::new(&self.codec, &[&self.model]).expect("a small model");
        let predictor = predictor.with_attention();
        let decoded = predictor.decode(&Vec::from_iter((1..).zip(&sources)));
        let decoded = decoded.expect("what was parsed");
        assert_eq!(decoded.len(), sources.len());
        for (source, decoded) in sources.iter().zip(decoded) {
            for output in decoded {
                assert!(predictor.answer(source, output).log_prob <= 0.0);
            }
        }
    }
}

/// A request to the playground: method, URL, host, origin, token and body, separated by zero bytes. A
/// refused request gets an error in JSON; an admitted one is decoded.
fn playground(input: &[u8]) {
    let mut parts = input.splitn(6, |byte| *byte == 0);
    let mut texts = || parts.next().map(String::from_utf8_lossy);
    let [method, url, host, origin, token] = [(); 5].map(|()| texts());
    let body = parts.next().unwrap_or_default();
    let door = call::Door {
        port: 80,
        token: "token".to_owned(),
    };
    let call = call::Call {
        method: method.as_deref().unwrap_or_default(),
        url: url.as_deref().unwrap_or_default(),
        host: host.as_deref(),
        origin: origin.as_deref().filter(|origin| !origin.is_empty()),
        token: token.as_deref(),
        body: &body[..body.len().min(call::MAX_BODY)],
    };
    match door.admit(&call) {
        Err(refusal) => {
            assert!((400..500).contains(&refusal.status));
            assert!(refusal.json().starts_with("{\"error\":"));
        }
        Ok(call::Asked::Page | call::Asked::Events) => {}
        Ok(call::Asked::Decode(request)) => ORACLES.with(|oracles| {
            let source = &request.source[..request.source.len().min(MAX_TOKENS)];
            let limit = OutputLimit::default();
            let _ = trace(
                &oracles[request.run % 2].model,
                source,
                limit,
                &request.changes(),
            );
        }),
    }
}

/// Returns a few bytes per read, like a pipe.
struct Pieces<'a>(&'a [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.len().min(buffer.len()).min(7);
        let (now, later) = self.0.split_at(n);
        buffer[..n].copy_from_slice(now);
        self.0 = later;
        Ok(n)
    }
}

/// A file of a run, selected by the first byte: it is read, continued and plotted.
fn run(input: &[u8]) {
    let Some((which, bytes)) = input.split_first() else {
        return;
    };
    FOLDER.with(|folder| match which % 9 {
        0 => {
            let records = lines_of::<MetricsRecord>(folder, bytes, |record| record.step <= 10);
            for plot in [loss_plot, accuracy_plot, exact_match_plot] {
                draw(plot(&records).draw());
            }
        }
        1 => {
            lines_of::<TimingRecord>(folder, bytes, |record| record.step <= 10);
        }
        2 => {
            let records = lines_of::<AttentionRecord>(folder, bytes, |record| record.step <= 10);
            for record in records.iter().take(2) {
                draw(Heatmap::from_record(record).and_then(|map| map.draw_small()));
                let _ = terminal_heatmap(record, 80, Ink::Plain);
            }
            draw(HeatmapGrid::over_training(&records, 6).and_then(|grid| grid.draw()));
        }
        3 => drop(record_of::<RunRecord>(folder, bytes)),
        4 => drop(record_of::<Environment>(folder, bytes)),
        5 => {
            if let Some(record) = record_of::<CorpusRecord>(folder, bytes) {
                let _ = Vocabulary::from_words(record.vocabulary);
            }
        }
        6 => {
            if let Some(record) = record_of::<LengthsRecord>(folder, bytes) {
                let _ = record.missing();
                let mut whole = record.clone();
                whole.complete();
                for (_, plot) in lengths_plots(&record) {
                    draw(plot.draw());
                }
            }
        }
        7 => {
            // A lock file with foreign content.
            let path = folder.path("locked");
            let _ = fs::create_dir(&path);
            fs::write(path.join("run.lock"), bytes).expect("there is room");
            fs::write(path.join("config.resolved.toml"), b"").expect("there is room");
            drop(RunDir::open(&path).and_then(|dir| dir.lock()));
        }
        _ => {
            let checkpoint = folder.path("best");
            let _ = fs::create_dir(&checkpoint);
            fs::write(checkpoint.join("manifest.json"), bytes).expect("there is room");
            drop(read_checkpoint(&checkpoint));
        }
    });
}

/// Weights of another program: safetensors, or an archive of PyTorch. A pickle stands for the archive
/// that it is in.
fn weights(input: &[u8]) {
    let bytes = match input {
        [0x80, 2, ..] => archive(input),
        _ => input.to_vec(),
    };
    let Ok(found) = Found::parse(&PathBuf::from("file"), bytes) else {
        return;
    };
    let _ = found.vocabulary();
    SAVED.with_borrow(|saved| {
        let params = saved.trainer.model().params();
        let options = LoadOptions {
            cast: true,
            partial: true,
            ..LoadOptions::default()
        };
        if let Ok(loaded) = found.load_into(params, &options) {
            assert_eq!(loaded.n_loaded + loaded.missing.len(), params.iter().len());
        }
    });
}

/// The archive of `torch.save` with this pickle and a storage of zeros.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let zeros = [0; 64];
    let (mut bytes, mut directory, mut n_files) = (Vec::new(), Vec::new(), 0_u16);
    for (name, content) in [("x/data.pkl", pickle), ("x/data/0", &zeros[..])] {
        let size = u32::try_from(content.len())
            .unwrap_or_default()
            .to_le_bytes();
        let sizes = [size, size].concat();
        let name_len = u16::try_from(name.len()).unwrap_or_default().to_le_bytes();
        let offset = u32::try_from(bytes.len()).unwrap_or_default().to_le_bytes();
        // Version, flags, method "stored", time, date, checksum; the reader skips the checksum.
        let common = [&[20, 0][..], &[0; 12], &sizes, &name_len, &[0; 2]].concat();
        bytes.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), content].concat());
        let rest = [&[0; 10][..], &offset, name.as_bytes()].concat();
        directory.extend([&b"PK\x01\x02"[..], &[20, 0], &common, &rest].concat());
        n_files += 1;
    }
    let [count, begin, len] = [
        n_files.to_le_bytes().repeat(2),
        u32::try_from(bytes.len())
            .unwrap_or_default()
            .to_le_bytes()
            .to_vec(),
        u32::try_from(directory.len())
            .unwrap_or_default()
            .to_le_bytes()
            .to_vec(),
    ];
    bytes.extend(directory);
    bytes.extend([&b"PK\x05\x06"[..], &[0; 4], &count, &len, &begin, &[0; 2]].concat());
    bytes
}

fn lines_of<T>(folder: &Folder, bytes: &[u8], keep: impl Fn(&T) -> bool) -> Vec<T>
where
    T: serde::Serialize + DeserializeOwned + PartialEq,
{
    let path = folder.write("records.jsonl", bytes);
    let records = read_lines(&path).unwrap_or_default();
    if let Ok(mut lines) = JsonLines::resume(&path, keep) {
        for record in &records {
            let _ = lines.append(record);
        }
        read_lines::<T>(&path).expect("written records can be read");
    }
    records
}

fn record_of<T>(folder: &Folder, bytes: &[u8]) -> Option<T>
where
    T: serde::Serialize + DeserializeOwned + PartialEq,
{
    let path = folder.write("record.json", bytes);
    let record: T = read_json(&path).ok()?;
    s2s_runlog::write_json(&path, &record).expect("an accepted record can be written");
    let again: T = read_json(&path).expect("a written record can be read");
    assert!(again == record, "the record changed in a round trip");
    Some(record)
}

/// As SVG, because a bitmap takes a hundred times as long.
fn draw(figure: Result<s2s_viz::Figure, s2s_viz::Error>) {
    if let Ok(figure) = figure {
        let _ = figure.svg();
    }
}
