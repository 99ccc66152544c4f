//! Exports of small models, for every cell, every attention mechanism and options of the architecture.
//!
//! `tests/golden.json` holds what PyTorch and onnxruntime answered with exactly these files: the SHA-256 of each, and the
//! part of `config.json` that programs read.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use reverse_data::{Tokenization, Vocabulary};
use s2s_model::{CellKind, Generator, LoadOptions, Seq2Seq, Source};
use s2s_train::{Codec, Data, ExperimentConfig, Trained, load_config, open_data, tokens_of};
use s2s_weights::{About, Existing, Files, Format, Found, export, write_export};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const GOLDEN: &str = include_str!("golden.json");

/// What the programs of an export answered.
#[derive(Deserialize)]
struct Verified {
    lines: Vec<String>,
    tokens: Vec<Vec<u32>>,
    log_probs: Vec<Vec<f32>>,
    config: Value,
    sha256: BTreeMap<String, String>,
}

/// A cell, a mechanism, and keys of `[model]`.
type Case = (CellKind, String, &'static [&'static str]);

/// Options of the architecture, with the layers that they need.
const OPTIONS: [(&str, &[&str]); 3] = [
    ("residual", &["layers=2", "residual=true"]),
    ("input-feeding", &["input_feeding=true"]),
    (
        "all-options",
        &[
            "layers=3",
            "residual=true",
            "layer_norm=true",
            "input_feeding=true",
        ],
    ),
];

fn original((cell, mechanism, options): &Case, seed: u64) -> Trained {
    model_with(*cell, mechanism, seed, options)
}

/// The names of all mechanisms, from the message about an unknown one.
fn mechanisms() -> Vec<String> {
    let error = load_config(None, &["model.attention.kind=?".to_owned()]).unwrap_err();
    let message = format!("{error:?}");
    let (_, expected) = message.split_once("expected one of ").unwrap();
    let names = expected.split('`').skip(1).step_by(2);
    let names: Vec<String> = names
        .take_while(|name| !name.contains(' '))
        .map(str::to_owned)
        .collect();
    assert!(names.len() >= 8, "{message}");
    names
}

/// A small model with its initial weights, with one layer.
fn model(cell: CellKind, mechanism: &str, seed: u64) -> Trained {
    model_with(cell, mechanism, seed, &[])
}

/// A small model with its initial weights.
fn model_with(cell: CellKind, mechanism: &str, seed: u64, options: &[&str]) -> Trained {
    let mut sets = vec![
        "data.vocab=12".to_owned(),
        "data.max_len=9".to_owned(),
        "model.embedding=5".to_owned(),
        "model.hidden=4".to_owned(),
        "model.decoder=8".to_owned(),
        format!("model.cell={cell}"),
        format!("model.attention.kind={mechanism}"),
        format!("seed={seed}"),
    ];
    sets.extend(options.iter().map(|option| format!("model.{option}")));
    trained(load_config(None, &sets).unwrap())
}

fn trained(config: ExperimentConfig) -> Trained {
    let data: Data = open_data(&config).unwrap();
    let codec = Codec::new(&config, &data);
    let tokens = tokens_of(&codec.vocabulary);
    let model = Seq2Seq::new(&config.model, tokens, config.seed, DType::F32, &Device::Cpu);
    Trained {
        model: model.unwrap(),
        config,
        codec,
        step: 0,
    }
}

fn about() -> About {
    About {
        name: "golden".to_owned(),
        test: None,
    }
}

fn file<'a>(files: &'a Files, name: &str) -> &'a [u8] {
    &files.iter().find(|(found, _)| *found == name).unwrap().1
}

/// The part of a `config.json` that `model.py` and `generate.py` read.
fn read_by_programs(bytes: &[u8]) -> Value {
    let mut config: Value = serde_json::from_slice(bytes).unwrap();
    config["experiment"] = json!({ "model": config["experiment"]["model"] });
    config
}

/// The bytes of a file; of safetensors only the weights, since its header repeats the configuration.
fn without_header<'a>(name: &str, bytes: &'a [u8]) -> &'a [u8] {
    if !name.ends_with(".safetensors") {
        return bytes;
    }
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    &bytes[8 + n as usize..]
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn exports_are_those_that_pytorch_and_onnxruntime_answered_with() {
    let golden: BTreeMap<String, Verified> = serde_json::from_str(GOLDEN).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exports");
    let _ = fs::remove_dir_all(&folder);
    let mut differing = Vec::new();
    let mut cases: Vec<(String, Case)> = Vec::new();
    for cell in [CellKind::Gru, CellKind::Lstm] {
        for mechanism in mechanisms() {
            cases.push((format!("{cell}-{mechanism}"), (cell, mechanism, &[])));
        }
        for (name, options) in OPTIONS {
            let case = (cell, "additive".to_owned(), options);
            cases.push((format!("{cell}-{name}"), case));
        }
    }
    for (name, case) in cases {
        let original = original(&case, 1);
        let mut weights = Vec::new();
        for (part, format) in [("pytorch", Format::PyTorch), ("onnx", Format::Onnx)] {
            let files = export(&original, &about(), format).unwrap();
            write_export(&folder.join(&name).join(part), &files, Existing::Keep).unwrap();
            for (file, bytes) in &files {
                let key = format!("{part}/{file}");
                let is_verified = golden.get(&name).is_some_and(|golden| match *file {
                    "README.md" => true,
                    "config.json" => golden.config == read_by_programs(bytes),
                    _ => golden.sha256.get(&key) == Some(&hash(without_header(file, bytes))),
                });
                if !is_verified {
                    differing.push(format!("{name}/{key}"));
                }
            }
            if format == Format::PyTorch {
                weights = file(&files, "model.safetensors").to_vec();
            }
        }
        if let Some(golden) = golden.get(&name) {
            check_answers(&name, &case, weights, golden);
        }
    }
    assert!(
        differing.is_empty(),
        "{differing:?} differ from what was verified; `python scripts/check_export.py golden {}` \
         compares them with PyTorch and onnxruntime",
        folder.display()
    );
}

/// Compares the answers of the exported weights, read back into another model.
fn check_answers(name: &str, case: &Case, weights: Vec<u8>, golden: &Verified) {
    let copy = original(case, 2);
    let found = Found::parse(Path::new("model.safetensors"), weights).unwrap();
    let (params, options) = (copy.model.params(), LoadOptions::default());
    let loaded = found.load_into(params, &options).unwrap();
    assert_eq!(loaded.n_loaded, params.iter().len());
    let vocabulary = &copy.codec.vocabulary;
    let ids = |line: &String| -> Vec<u32> {
        let texts = vocabulary.split(line).into_iter();
        texts.map(|text| vocabulary.parse(text).unwrap()).collect()
    };
    let sources: Vec<Vec<u32>> = golden.lines.iter().map(ids).collect();
    let source = Source::new(&sources, copy.model.tokens()).unwrap();
    let answers = Generator::new(&copy.model)
        .unwrap()
        .greedy(&source, copy.codec.stop())
        .unwrap();
    for (row, answer) in answers.iter().enumerate() {
        assert_eq!(answer.tokens, golden.tokens[row], "{name}, row {row}");
        assert_eq!(answer.log_probs.len(), golden.log_probs[row].len());
        for (own, other) in answer.log_probs.iter().zip(&golden.log_probs[row]) {
            let difference = (own.exp() - other.exp()).abs();
            assert!(difference <= 1e-5, "{name}, row {row}: {own} and {other}");
        }
    }
}

#[test]
fn equal_models_give_equal_bytes() {
    for format in [Format::PyTorch, Format::Onnx] {
        let files = || export(&model(CellKind::Lstm, "additive", 3), &about(), format).unwrap();
        assert!(files() == files());
    }
}

#[test]
fn metadata_describe_configuration_and_vocabulary() {
    let mut original = model(CellKind::Gru, "general", 4);
    let words = ["b", "c d", "é"].map(str::to_owned);
    let words = words.into_iter().chain((0..7).map(|i| i.to_string()));
    original.codec.vocabulary = Vocabulary::from_words(words).unwrap();
    let files = export(&original, &about(), Format::PyTorch).unwrap();
    let weights = file(&files, "model.safetensors").to_vec();
    let found = Found::parse(Path::new("x"), weights).unwrap();
    assert_eq!(
        found.vocabulary().unwrap().unwrap(),
        original.codec.vocabulary
    );
    let description = found.description().unwrap();
    assert_eq!(description.experiment, original.config);
    assert_eq!(description.output_limit, original.codec.limit);
}

#[test]
fn a_model_that_its_configuration_does_not_describe_is_not_exported() {
    let mut other = model(CellKind::Gru, "additive", 5);
    other.config.model = model(CellKind::Gru, "general", 5).config.model;
    for format in [Format::PyTorch, Format::Onnx] {
        let error = export(&other, &about(), format).unwrap_err().to_string();
        assert!(error.contains("the parameter attention.energy"), "{error}");
    }
}

/// The card of a model with these tokens.
fn card(tokenization: Tokenization, words: impl IntoIterator<Item = String>) -> String {
    let vocabulary = Vocabulary::from_words(words).unwrap();
    let vocabulary = vocabulary.with_tokenization(tokenization);
    let mut text = model(CellKind::Gru, "none", 9);
    let (config, tokens) = (&text.config, tokens_of(&vocabulary));
    let network = Seq2Seq::new(&config.model, tokens, config.seed, DType::F32, &Device::Cpu);
    text.model = network.unwrap();
    text.codec.vocabulary = vocabulary;
    let files = export(&text, &about(), Format::PyTorch).unwrap();
    String::from_utf8(file(&files, "README.md").to_vec()).unwrap()
}

#[test]
fn the_example_of_a_card_can_be_typed() {
    let of =
        |tokenization, words: &[&str]| card(tokenization, words.iter().map(ToString::to_string));
    let bytes = (0..=u8::MAX).map(|byte| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("<0x{byte:02X}>"),
    });
    let (words, chars) = (Tokenization::Words, Tokenization::Chars);
    for (card, install, example) in [
        (
            of(words, &["--", "it's", "é"]),
            "safetensors",
            r"model.py 'it'\''s é'",
        ),
        (
            of(words, &["--", "!"]),
            "safetensors",
            "model.py < sequences.txt",
        ),
        (
            of(chars, &["\u{7}", "a", "b"]),
            "safetensors",
            "model.py 'ab'",
        ),
        (
            of(chars, &["a", "é", " "]),
            "safetensors regex",
            "model.py 'aé'",
        ),
        (
            card(Tokenization::Bytes, bytes),
            "safetensors",
            "model.py '012'",
        ),
    ] {
        let commands = format!("```sh\npip install torch {install}\npython {example}");
        assert!(card.contains(&commands), "{commands}\n{card}");
    }
}

/// Every file of a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let content = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        (name, fs::read(file.path()).unwrap())
    };
    files.map(content).collect()
}

fn written(files: &Files) -> BTreeMap<String, Vec<u8>> {
    let files = files.iter();
    files
        .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
        .collect()
}

#[test]
fn an_export_replaces_only_an_export() {
    let home = tempfile::tempdir().unwrap();
    let files = export(&model(CellKind::Gru, "none", 6), &about(), Format::PyTorch).unwrap();
    let hugging_face = [
        ("config.json", r#"{"model_type": "t5", "format": 1}"#),
        ("README.md", "theirs"),
        ("model.safetensors", "theirs"),
    ];
    for (name, foreign, says) in [
        (
            "hugging-face",
            &hugging_face[..],
            "it has README.md, but no config.json of s2s",
        ),
        (
            "readme",
            &[("README.md", "mine")],
            "it has README.md, but no config.json of s2s",
        ),
        (
            "program",
            &[("model.py", "mine")],
            "it has model.py, but no config.json of s2s",
        ),
        ("notes", &[("notes.txt", "mine")], "it has notes.txt"),
    ] {
        let folder = home.path().join(name);
        fs::create_dir(&folder).unwrap();
        for (name, text) in foreign {
            fs::write(folder.join(name), text).unwrap();
        }
        let before = contents(&folder);
        for existing in [Existing::Keep, Existing::Replace] {
            let error = write_export(&folder, &files, existing).unwrap_err();
            assert!(error.to_string().contains(says), "{name}: {error}");
            assert_eq!(contents(&folder), before);
        }
    }

    let folder = home.path().join("a/b");
    write_export(&folder, &files, Existing::Keep).unwrap();
    let keep = write_export(&folder, &files, Existing::Keep).unwrap_err();
    assert!(keep.to_string().contains("already has an export"), "{keep}");
    fs::write(folder.join("config.json"), "edited").unwrap(); // the weights mark the export, too
    write_export(&folder, &files, Existing::Replace).unwrap();
    assert!(contents(&folder) == written(&files));
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let foreign = write_export(&folder, &files, Existing::Replace).unwrap_err();
    assert!(foreign.to_string().contains("notes.txt"), "{foreign}");

    let file = home.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = write_export(&file, &files, Existing::Replace).unwrap_err();
    assert!(error.to_string().contains("is not a folder"), "{error}");
    assert_eq!(fs::read(file).unwrap(), b"mine");
}

#[test]
fn a_replaced_export_leaves_no_file_of_its_format() {
    let home = tempfile::tempdir().unwrap();
    let exports = [Format::PyTorch, Format::Onnx, Format::PyTorch]
        .map(|format| export(&model(CellKind::Gru, "additive", 7), &about(), format).unwrap());
    for files in &exports {
        write_export(home.path(), files, Existing::Replace).unwrap();
        assert!(contents(home.path()) == written(files));
    }
}

#[test]
fn an_interrupted_export_is_one_without_weights() {
    let (first, last) = ("config.json", ["model.safetensors", "decoder_step.onnx"]);
    for (format, last) in [Format::PyTorch, Format::Onnx].into_iter().zip(last) {
        let files = export(&model(CellKind::Gru, "additive", 8), &about(), format).unwrap();
        assert_eq!((files[0].0, files[files.len() - 1].0), (first, last));
        for n_written in 0..files.len() {
            let home = tempfile::tempdir().unwrap();
            for (name, bytes) in &files[..n_written] {
                fs::write(home.path().join(name), bytes).unwrap();
            }
            let (next, bytes) = &files[n_written];
            fs::write(home.path().join(format!(".{next}.tmp")), bytes).unwrap();
            write_export(home.path(), &files, Existing::Replace).unwrap();
            assert!(
                contents(home.path()) == written(&files),
                "{n_written} {next}"
            );
        }
    }
}
