//! Weights of other programs: what is loaded, and what is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use s2s_model::{Init, Params, save_tensors};
use s2s_weights::{Error, Found, Misfit, Options, Renames};

/// A state dict of `torch.save`: `{"a": tensor([[0., 1., 2.], [3., 4., 5.]]), "b": the same transposed}`.
const STATE_DICT: &[u8] = include_bytes!("state_dict.pt");

const STRICT: Options = Options {
    cast: false,
    partial: false,
};

fn params(shapes: &[(&str, &[usize])]) -> Params {
    let mut params = Params::new(0, DType::F32, &Device::Cpu);
    for (name, shape) in shapes {
        params.root().get(name, *shape, Init::Normal).unwrap();
    }
    params
}

fn file(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let mut file = Vec::new();
    save_tensors(
        tensors.iter().map(|(name, tensor)| (*name, tensor)),
        &mut file,
    )
    .unwrap();
    file
}

fn numbers(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let numbers: Vec<f32> = (0..n).map(|i| i as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn found(bytes: Vec<u8>) -> Found {
    Found::parse(Path::new("weights.file"), bytes).unwrap()
}

fn renames(text: &str) -> Renames {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Renames::read(file.path()).unwrap()
}

#[track_caller]
fn check_misfit(found: &Found, params: &Params, options: Options, expected: Misfit) {
    let before = values(params);
    let error = found
        .load_into(params, &Renames::default(), options)
        .unwrap_err();
    match error {
        Error::Misfit { misfit, .. } => assert_eq!(misfit, expected),
        error => panic!("{error}"),
    }
    assert_eq!(values(params), before);
}

fn values(params: &Params) -> Vec<Vec<f32>> {
    let flat = |(_, var): (&str, &candle_core::Var)| var.flatten_all().unwrap().to_vec1().unwrap();
    params.iter().map(flat).collect()
}

#[test]
fn a_state_dict_is_read_without_pytorch() {
    let params = params(&[("a", &[2, 3]), ("b", &[3, 2])]);
    let found = found(STATE_DICT.to_vec());
    let loaded = found
        .load_into(&params, &Renames::default(), STRICT)
        .unwrap();
    assert_eq!(loaded.n_loaded, 2);
    let expected = [
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0],
    ];
    assert_eq!(values(&params), expected);
}

#[test]
fn a_state_dict_cut_off_anywhere_is_refused() {
    for end in 0..STATE_DICT.len() {
        let error = Found::parse(Path::new("cut.pt"), STATE_DICT[..end].to_vec()).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{end}: {error}");
    }
}

#[test]
fn a_compressed_archive_is_refused() {
    // The compression method is in the local header and in the central directory.
    let mut bytes = STATE_DICT.to_vec();
    for signature in [&b"PK\x03\x04"[..], b"PK\x01\x02"] {
        let method = if signature[2] == 3 { 8 } else { 10 };
        let places: Vec<usize> = bytes
            .windows(4)
            .enumerate()
            .filter_map(|(at, window)| (window == signature).then_some(at))
            .collect();
        for at in places {
            bytes[at + method] = 8; // deflate
        }
    }
    let error = Found::parse(Path::new("bomb.pt"), bytes)
        .unwrap_err()
        .to_string();
    assert!(error.contains("it is compressed"), "{error}");
}

#[test]
fn other_files_are_refused() {
    for (bytes, part) in [
        (&b""[..], "neither safetensors nor an archive"),
        (b"hello, world", "neither safetensors nor an archive"),
        (b"\x80\x02}.", "the format of PyTorch before 1.6"),
        (b"PK\x05\x06", "a damaged or incomplete archive"),
    ] {
        let error = Found::parse(Path::new("x"), bytes.to_vec())
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_does_not_fit_is_named_and_nothing_changes() {
    let model = params(&[("a", &[2, 3]), ("b", &[4])]);
    let (a, b) = (numbers(&[2, 3]), numbers(&[4]));
    let names = |missing: &[&str], unexpected: &[&str]| Misfit::Names {
        missing: missing.iter().map(ToString::to_string).collect(),
        unexpected: unexpected.iter().map(ToString::to_string).collect(),
    };
    let fewer = found(file(&[("a", a.clone()), ("c", b.clone())]));
    check_misfit(&fewer, &model, STRICT, names(&["b"], &["c"]));
    let none = found(file(&[("x", a.clone())]));
    let partial = Options {
        partial: true,
        ..STRICT
    };
    check_misfit(&none, &model, partial, names(&["a", "b"], &["x"]));
    let reshaped = Misfit::Shape {
        name: "b".to_owned(),
        found: vec![5],
        expected: vec![4],
    };
    let longer = found(file(&[("a", a.clone()), ("b", numbers(&[5]))]));
    check_misfit(&longer, &model, partial, reshaped);
    let infinite = (&b / 0.0).unwrap();
    let infinite = found(file(&[("a", a.clone()), ("b", infinite)]));
    let name = "b".to_owned();
    check_misfit(&infinite, &model, STRICT, Misfit::NotFinite { name });
    for (dtype, is_castable) in [(DType::F64, true), (DType::F16, true), (DType::U32, false)] {
        let other = b.to_dtype(dtype).unwrap();
        let other = found(file(&[("a", a.clone()), ("b", other)]));
        let misfit = Misfit::Type {
            name: "b".to_owned(),
            found: format!("{dtype:?}"),
            is_castable,
        };
        check_misfit(&other, &model, STRICT, misfit);
        let cast = Options {
            cast: true,
            ..STRICT
        };
        let loaded = other.load_into(&model, &Renames::default(), cast);
        assert_eq!(loaded.is_ok(), is_castable);
    }
    let loaded = fewer
        .load_into(&model, &Renames::default(), partial)
        .unwrap();
    assert_eq!(
        (loaded.missing, loaded.unused),
        (vec!["b".to_owned()], vec!["c".to_owned()])
    );
}

#[test]
fn names_are_mapped_by_prefix_by_name_and_by_columns() {
    let model = params(&[
        ("new.w", &[2, 3]),
        ("query", &[2, 1]),
        ("key", &[2, 2]),
        ("v", &[3]),
    ]);
    let foreign = found(file(&[
        ("old.w", numbers(&[2, 3])),
        ("both", numbers(&[2, 3])),
        ("v.weight", numbers(&[1, 3])),
        ("unused", numbers(&[7])),
    ]));
    let renames = renames(
        "[prefix]\n\"old.\" = \"new.\"\n[name]\n\"both\" = [\"query\", \"key\"]\n\
         \"v.weight\" = \"v\"\n\"unused\" = []",
    );
    assert_eq!(
        foreign
            .load_into(&model, &renames, STRICT)
            .unwrap()
            .n_loaded,
        4
    );
    let expected: [&[f32]; 4] = [
        &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        &[0.0, 3.0],
        &[1.0, 2.0, 4.0, 5.0],
        &[0.0, 1.0, 2.0],
    ];
    assert_eq!(values(&model), expected);
}

#[test]
fn the_names_of_the_notebook_fit_a_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/names/notebook.toml");
    let renames = Renames::read(&path).unwrap();
    let model = params(&[
        ("encoder.rnn.weight_ih_l0", &[6, 3]),
        ("bridge.0.weight", &[5, 4]),
        ("attention.query.weight", &[7, 5]),
        ("attention.query.bias", &[7]),
        ("attention.key.weight", &[7, 4]),
        ("attention.energy", &[7]),
        ("decoder.output.bias", &[9]),
    ]);
    let foreign = found(file(&[
        ("encoder.gru.weight_ih_l0", numbers(&[6, 3])),
        ("encoder.fc.weight", numbers(&[5, 4])),
        ("decoder.attention.attn.weight", numbers(&[7, 9])),
        ("decoder.attention.attn.bias", numbers(&[7])),
        ("decoder.attention.v.weight", numbers(&[1, 7])),
        ("decoder.fc_out.bias", numbers(&[9])),
    ]));
    assert_eq!(
        foreign
            .load_into(&model, &renames, STRICT)
            .unwrap()
            .n_loaded,
        7
    );
}

#[test]
fn a_header_of_any_length_is_read() {
    let file = file(&[("a", numbers(&[2]))]);
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let (header, weights) = file[8..].split_at(n);
    // 640 is 0x80, 0x02: the first bytes of a pickle.
    for length in [128, 640, 32_896] {
        let mut header = header.to_vec();
        header.resize(length, b' ');
        let file = [&(length as u64).to_le_bytes(), &header[..], weights].concat();
        let found = Found::parse(Path::new("a.safetensors"), file).unwrap();
        let options = (Renames::default(), STRICT);
        let loaded = found.load_into(&params(&[("a", &[2])]), &options.0, options.1);
        assert_eq!(loaded.unwrap().n_loaded, 1);
    }
}
