//! Files of weights: what is loaded, and what is refused.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use s2s_model::{
    DtypeMismatch, Init, LoadOptions, NonFinite, Params, RenameConflict, Renames, ShapeMismatch,
    WeightsError, WeightsFile, WeightsMismatch, load_weights, save_tensors, save_weights,
};
use safetensors::SafeTensors;

/// A state dict of `torch.save`: `{"a": tensor([[0., 1., 2.], [3., 4., 5.]]), "b": the same transposed}`.
const STATE_DICT: &[u8] = include_bytes!("../state_dict.pt");

fn strict() -> LoadOptions {
    LoadOptions::default()
}

fn partial() -> LoadOptions {
    LoadOptions {
        partial: true,
        ..strict()
    }
}

fn params(seed: u64, width: usize) -> Params {
    drawn(seed, &[("a", &[2, width]), ("b", &[3])])
}

fn drawn(seed: u64, shapes: &[(&str, &[usize])]) -> Params {
    let mut params = Params::new(seed, DType::F32, &Device::Cpu);
    for (name, shape) in shapes {
        params.root().get(name, *shape, Init::Normal).unwrap();
    }
    params
}

fn values(params: &Params) -> Vec<Vec<f32>> {
    params
        .iter()
        .map(|(_, var)| var.flatten_all().unwrap().to_vec1().unwrap())
        .collect()
}

/// 0, 1, 2 and so on.
fn numbers(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let numbers: Vec<f32> = (0..n).map(|i| i as f32).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

fn file(tensors: &[(&str, Tensor)]) -> Vec<u8> {
    let mut file = Vec::new();
    let named = tensors.iter().map(|(name, tensor)| (*name, tensor));
    save_tensors(named, &mut file).unwrap();
    file
}

/// A file with this header, and data for it.
fn file_with_header(header: &str, n_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + n_bytes, 0);
    bytes
}

#[track_caller]
fn check_refused(model: &Params, bytes: &[u8], says: &str) {
    let before = values(model);
    let error = load_weights(model, bytes, &strict()).unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    // Both are equal, or not a number.
    assert_eq!(format!("{before:?}"), format!("{:?}", values(model)));
}

#[track_caller]
fn check_mismatch(model: &Params, bytes: &[u8], options: &LoadOptions, expected: WeightsMismatch) {
    let before = values(model);
    match load_weights(model, bytes, options).unwrap_err() {
        WeightsError::WeightsMismatch(mismatch) => assert_eq!(*mismatch, expected),
        error => panic!("{error}"),
    }
    assert_eq!(values(model), before);
}

#[test]
fn weights_round_trip() -> Result<()> {
    let (from, to) = (params(1, 4), params(2, 4));
    load_weights(&to, &save_weights(&from)?, &strict()).unwrap();
    assert_eq!(values(&from), values(&to));
    Ok(())
}

#[test]
fn a_file_is_the_same_whatever_it_was_before() -> Result<()> {
    let saved = |file: &mut Vec<u8>, params: &Params| {
        let named = params.iter().map(|(name, var)| (name, var.as_tensor()));
        save_tensors(named, file)
    };
    let (ours, others) = (params(1, 4), [params(2, 4), params(3, 5), params(4, 3)]);
    let expected = save_weights(&ours)?;
    let mut file = b"no such file".to_vec();
    for other in &others {
        saved(&mut file, &ours)?;
        assert!(file == expected);
        let before = file.as_ptr();
        saved(&mut file, &ours)?;
        assert!(file == expected && file.as_ptr() == before);
        saved(&mut file, other)?;
        assert!(file == save_weights(other)?);
    }
    let fewer = ours.iter().take(1);
    saved(&mut file, &ours)?;
    save_tensors(fewer.map(|(name, var)| (name, var.as_tensor())), &mut file)?;
    assert_ne!(file, expected);
    SafeTensors::deserialize(&file)
        .unwrap()
        .tensor("a")
        .unwrap();
    let renamed = ours.iter().map(|(name, var)| (format!("{name}'"), var));
    saved(&mut file, &ours)?;
    save_tensors(
        renamed.map(|(name, var)| (name, var.as_tensor())),
        &mut file,
    )?;
    let names: BTreeSet<String> = SafeTensors::deserialize(&file)
        .unwrap()
        .names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(names, BTreeSet::from(["a'".to_owned(), "b'".to_owned()]));
    Ok(())
}

#[test]
fn foreign_weights_are_refused_and_the_model_is_untouched() -> Result<()> {
    let model = params(1, 4);
    let mut extra = params(2, 4);
    extra.root().get("c", 1, Init::Normal)?;
    let mut fewer = Params::new(3, DType::F32, &Device::Cpu);
    fewer.root().get("a", (2, 4), Init::Normal)?;
    for (foreign, says) in [
        (params(2, 5), "a has shape [2, 5], expected [2, 4]"),
        (extra, "the model does not have c"),
        (fewer, "it lacks b"),
    ] {
        check_refused(&model, &save_weights(&foreign)?, says);
    }
    let bytes = save_weights(&model)?;
    for end in 0..bytes.len() {
        check_refused(&model, &bytes[..end], "");
    }
    Ok(())
}

#[test]
fn headers_that_nobody_writes_are_refused() {
    let model = params(1, 4);
    let a = r#""a":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]}"#;
    let b = r#""b":{"dtype":"F32","shape":[3],"data_offsets":[32,44]}"#;
    let good = file_with_header(&format!("{{{a},{b}}}"), 44);
    load_weights(&model, &good, &strict()).unwrap();
    let noted = format!(r#"{{"__metadata__":{{"format":"pt"}},{a},{b}}}"#);
    load_weights(&model, &file_with_header(&noted, 44), &strict()).unwrap();

    let deep = format!(r#"{{"a":{}"#, "[".repeat(500));
    let many = format!("{{{a},{b},{}}}", [a; 2000].join(","));
    let wide = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(40_000));
    let huge = a.replace("[2,4]", &format!("[{},{}]", u64::MAX, u64::MAX));
    for (header, says) in [
        (format!("{{{a},{a},{b}}}"), "two tensors a"),
        (format!("{{{a},{}}}", b.replace('b', "a")), "two tensors a"),
        (
            format!("{{{a},{}}}", b.replace("[3]", "[3,1]")),
            "b has shape [3, 1], expected [3]",
        ),
        (
            format!("{{{a},{}}}", b.replace("F32", "I32")),
            "b has type I32, expected F32",
        ),
        (format!("{{{a},{}}}", b.replace("44", "48")), ""),
        (format!("{{{a},{}}}", b.replace("32,44", "0,12")), ""),
        (format!("{{{huge},{b}}}"), ""),
        ("[]".to_owned(), "an object of tensors"),
        ("{".to_owned(), "EOF"),
        (deep, "expected value"),
        (many, "two tensors a"),
        (
            r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(),
            "duplicate field `__metadata__`",
        ),
        (
            format!("{{{a}}}"),
            "44 bytes of data, and its header declares 32",
        ),
        (r#"{"c":{},"a":"#.to_owned(), "missing field `dtype`"),
        (wide, "neither safetensors nor an archive"),
    ] {
        check_refused(&model, &file_with_header(&header, 44), says);
    }
    for len in [0, 1 << 20, 1 << 40, u64::MAX] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&len.to_le_bytes());
        check_refused(&model, &bytes, "");
    }
}

#[test]
fn numbers_that_are_not_finite_are_taken_only_if_asked_for() -> Result<()> {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (model, other) = (params(1, 4), params(2, 4));
        let b = other.get("b").unwrap();
        b.set(&Tensor::new(&[1.0, bad, f32::MAX], &Device::Cpu)?)?;
        let bytes = save_weights(&other)?;
        check_refused(&model, &bytes, "numbers that are not finite in b");
        let accept = LoadOptions {
            non_finite: NonFinite::Accept,
            ..strict()
        };
        load_weights(&model, &bytes, &accept).unwrap();
        assert_eq!(values(&model)[0], values(&other)[0]);
    }
    Ok(())
}

#[test]
fn a_state_dict_is_read_without_pytorch() {
    let params = drawn(0, &[("a", &[2, 3]), ("b", &[3, 2])]);
    let loaded = load_weights(&params, STATE_DICT, &strict()).unwrap();
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
        let error = WeightsFile::parse(&STATE_DICT[..end]).unwrap_err();
        assert!(
            matches!(error, WeightsError::Malformed(_)),
            "{end}: {error}"
        );
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
    let error = WeightsFile::parse(&bytes).unwrap_err().to_string();
    assert!(error.contains("it is compressed"), "{error}");
}

#[test]
fn a_changed_byte_of_an_archive_is_noticed() {
    for (what, expected) in [
        (
            &b"\x00\x00\x80\x3f"[..],
            "state_dict/data/0: it is damaged: its checksum differs",
        ), // 1.0
        (
            b"_rebuild_tensor_v2",
            "state_dict/data.pkl: it is damaged: its checksum differs",
        ),
        (
            b"little",
            "state_dict/byteorder: it is damaged: its checksum differs",
        ),
    ] {
        let mut bytes = STATE_DICT.to_vec();
        let at = bytes
            .windows(what.len())
            .position(|window| window == what)
            .unwrap();
        bytes[at + 2] ^= 1;
        let error = WeightsFile::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn other_files_are_refused() {
    for (bytes, part) in [
        (&b""[..], "neither safetensors nor an archive"),
        (b"hello, world", "neither safetensors nor an archive"),
        (b"\x80\x02}.", "the format of PyTorch before 1.6"),
        (b"PK\x05\x06", "a damaged or incomplete archive"),
    ] {
        let error = WeightsFile::parse(bytes).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn everything_that_does_not_fit_is_named_and_nothing_changes() {
    let model = drawn(0, &[("a", &[2, 3]), ("b", &[4])]);
    let (a, b) = (numbers(&[2, 3]), numbers(&[4]));
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let reshaped = |name: &str, found: &[usize], expected: &[usize]| ShapeMismatch {
        name: name.to_owned(),
        found: found.to_vec(),
        expected: expected.to_vec(),
    };
    let fewer = file(&[("a", a.clone()), ("c", b.clone())]);
    let lacking = WeightsMismatch {
        missing: names(&["b"]),
        unexpected: names(&["c"]),
        ..WeightsMismatch::default()
    };
    check_mismatch(&model, &fewer, &strict(), lacking);
    let nothing = WeightsMismatch {
        missing: names(&["a", "b"]),
        unexpected: names(&["x"]),
        ..WeightsMismatch::default()
    };
    check_mismatch(&model, &file(&[("x", a.clone())]), &partial(), nothing);
    let resized = WeightsMismatch {
        reshaped: vec![reshaped("a", &[3, 2], &[2, 3]), reshaped("b", &[5], &[4])],
        ..WeightsMismatch::default()
    };
    let longer = file(&[("a", numbers(&[3, 2])), ("b", numbers(&[5]))]);
    check_mismatch(&model, &longer, &partial(), resized.clone());
    check_mismatch(&model, &longer, &strict(), resized);
    let infinite = file(&[("a", a.clone()), ("b", (&b / 0.0).unwrap())]);
    let not_finite = WeightsMismatch {
        not_finite: names(&["b"]),
        ..WeightsMismatch::default()
    };
    check_mismatch(&model, &infinite, &strict(), not_finite);
    let loaded = load_weights(&model, &fewer, &partial()).unwrap();
    assert_eq!(
        (loaded.missing, loaded.unused),
        (names(&["b"]), names(&["c"]))
    );
}

#[test]
fn a_message_says_what_to_do_about_everything() {
    let model = drawn(0, &[("a", &[2]), ("b", &[4])]);
    let other = numbers(&[4]).to_dtype(DType::F64).unwrap();
    let error = load_weights(
        &model,
        &file(&[("c", numbers(&[2])), ("b", other)]),
        &strict(),
    );
    let message = error.unwrap_err().to_string();
    assert_eq!(
        message,
        "the weights do not fit the model: it lacks a; the model does not have c; b has type F64, \
         expected F32\n  try: LoadOptions { rename, .. } for other names, or { partial: true, .. } for the \
         others; LoadOptions { cast: true, .. } converts the numbers"
    );
}

#[test]
fn numbers_of_another_type_are_converted_only_if_asked_for() {
    let model = drawn(0, &[("b", &[4])]);
    for (dtype, is_castable) in [
        (DType::F64, true),
        (DType::F16, true),
        (DType::BF16, true),
        (DType::U32, false),
    ] {
        let other = file(&[("b", numbers(&[4]).to_dtype(dtype).unwrap())]);
        let mismatch = WeightsMismatch {
            retyped: vec![DtypeMismatch {
                name: "b".to_owned(),
                found: format!("{dtype:?}"),
                expected: DType::F32,
                is_castable,
            }],
            ..WeightsMismatch::default()
        };
        check_mismatch(&model, &other, &strict(), mismatch);
        let cast = LoadOptions {
            cast: true,
            ..strict()
        };
        assert_eq!(load_weights(&model, &other, &cast).is_ok(), is_castable);
        if is_castable {
            assert_eq!(values(&model), [[0.0, 1.0, 2.0, 3.0]]);
        }
    }
}

#[test]
fn names_are_mapped_by_prefix_by_name_and_by_columns() {
    let model = drawn(
        0,
        &[
            ("new.w", &[2, 3]),
            ("query", &[2, 1]),
            ("key", &[2, 2]),
            ("v", &[3]),
        ],
    );
    let foreign = |columns: usize| {
        file(&[
            ("old.w", numbers(&[2, 3])),
            ("both", numbers(&[2, columns])),
            ("v.weight", numbers(&[1, 3])),
            ("unused", numbers(&[7])),
        ])
    };
    let rename: Renames = toml::from_str(
        "[prefix]\n\"old.\" = \"new.\"\n[name]\n\"both\" = [\"query\", \"key\"]\n\
         \"v.weight\" = \"v\"\n\"unused\" = []",
    )
    .unwrap();
    let built = Renames::default()
        .prefix("old.", "new.")
        .columns("both", ["query", "key"])
        .name("v.weight", "v")
        .unused("unused");
    assert_eq!(rename, built);
    let options = LoadOptions { rename, ..strict() };
    let loaded = load_weights(&model, &foreign(3), &options).unwrap();
    assert_eq!(loaded.n_loaded, 4);
    let expected: [&[f32]; 4] = [
        &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        &[0.0, 3.0],
        &[1.0, 2.0, 4.0, 5.0],
        &[0.0, 1.0, 2.0],
    ];
    assert_eq!(values(&model), expected);
    let wider = WeightsMismatch {
        reshaped: vec![ShapeMismatch {
            name: "query | key".to_owned(),
            found: vec![2, 4],
            expected: vec![2, 3],
        }],
        ..WeightsMismatch::default()
    };
    check_mismatch(&model, &foreign(4), &options, wider);
}

#[test]
fn two_tensors_never_become_one_parameter() {
    let model = drawn(0, &[("a", &[2]), ("b", &[4])]);
    let conflict = |found: [&str; 2]| WeightsMismatch {
        conflicts: vec![RenameConflict {
            name: "a".to_owned(),
            found: found.map(str::to_owned),
        }],
        ..WeightsMismatch::default()
    };
    let foreign = [
        ("a", numbers(&[2])),
        ("b", numbers(&[4])),
        ("old.a", numbers(&[2])),
        ("x", numbers(&[2])),
    ];
    let by_name = Renames::default().name("x", "a");
    let by_prefix = Renames::default().prefix("old.", "");
    for (tensors, rename, found) in [
        (&[0, 1, 3][..], by_name.clone(), ["a", "x"]),
        (&[1, 2, 3], by_name.prefix("old.", ""), ["old.a", "x"]),
        (&[0, 1, 2], by_prefix, ["a", "old.a"]),
    ] {
        let tensors: Vec<(&str, Tensor)> = tensors.iter().map(|i| foreign[*i].clone()).collect();
        for partial in [true, false] {
            let options = LoadOptions {
                rename: rename.clone(),
                partial,
                ..strict()
            };
            check_mismatch(&model, &file(&tensors), &options, conflict(found));
        }
    }
    assert!(
        conflict(["a", "x"])
            .to_string()
            .contains("a and x of the file are both a")
    );
}

#[test]
fn a_rename_that_does_not_fit_is_named() {
    let model = drawn(0, &[("a", &[2]), ("b", &[4])]);
    let foreign = file(&[("old.a", numbers(&[2])), ("x", numbers(&[4]))]);
    let rename = Renames::default()
        .prefix("old.", "")
        .prefix("new.", "")
        .name("x", "bb")
        .unused("y");
    let options = LoadOptions {
        rename: rename.clone(),
        ..strict()
    };
    let error = load_weights(&model, &foreign, &options)
        .unwrap_err()
        .to_string();
    let expected = "it lacks b; the model does not have bb (x in the file); no tensor matches the renames of \
                    new., y";
    assert!(error.contains(expected), "{error}");
    let loaded = load_weights(
        &model,
        &foreign,
        &LoadOptions {
            rename,
            ..partial()
        },
    )
    .unwrap();
    assert_eq!(loaded.unused, ["bb (x in the file)"]);
    assert_eq!(loaded.unmatched, ["new.", "y"]);
}

#[test]
fn the_names_of_the_notebook_fit_a_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/names/notebook.toml");
    let rename: Renames = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let model = drawn(
        0,
        &[
            ("encoder.rnn.weight_ih_l0", &[6, 3]),
            ("bridge.0.weight", &[5, 4]),
            ("attention.query.weight", &[7, 5]),
            ("attention.query.bias", &[7]),
            ("attention.key.weight", &[7, 4]),
            ("attention.energy", &[7]),
            ("decoder.output.bias", &[9]),
        ],
    );
    let foreign = file(&[
        ("encoder.gru.weight_ih_l0", numbers(&[6, 3])),
        ("encoder.fc.weight", numbers(&[5, 4])),
        ("decoder.attention.attn.weight", numbers(&[7, 9])),
        ("decoder.attention.attn.bias", numbers(&[7])),
        ("decoder.attention.v.weight", numbers(&[1, 7])),
        ("decoder.fc_out.bias", numbers(&[9])),
    ]);
    let options = LoadOptions { rename, ..strict() };
    let loaded = load_weights(&model, &foreign, &options).unwrap();
    assert_eq!(loaded.n_loaded, 7);
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
        let loaded = load_weights(&drawn(0, &[("a", &[2])]), &file, &strict());
        assert_eq!(loaded.unwrap().n_loaded, 1);
    }
}
