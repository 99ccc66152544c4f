//! Errors of imports: they name the file.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use s2s_model::{Init, LoadOptions, Params, save_weights};
use s2s_weights::{Error, Found, read_renames};

fn params(name: &str) -> Params {
    let mut params = Params::new(0, DType::F32, &Device::Cpu);
    params.root().get(name, 2, Init::Normal).unwrap();
    params
}

#[test]
fn weights_that_do_not_fit_are_reported_with_their_file() {
    let bytes = save_weights(&params("a")).unwrap();
    let found = Found::parse(Path::new("weights.file"), bytes).unwrap();
    let error = found.load_into(&params("b"), &LoadOptions::default());
    let error = error.unwrap_err();
    assert!(matches!(error, Error::WeightsMismatch { .. }));
    assert_eq!(
        error.to_string(),
        "the weights in weights.file do not fit the model: it lacks b; the model does not have a"
    );
    let error = Found::parse(Path::new("page.html"), b"<html>".to_vec()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("page.html is not readable as weights")
    );
}

#[test]
fn a_file_of_names_is_read_or_refused_as_a_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let read = |text: &[u8]| {
        fs::write(file.path(), text).unwrap();
        read_renames(file.path())
    };
    assert!(read(b"[prefix]\n\"old.\" = \"new.\"").is_ok());
    for text in [&b"[names]"[..], b"[name]\na = 1", b"\xff"] {
        let error = read(text).unwrap_err();
        assert!(matches!(error, Error::Renames { .. }), "{error}");
    }
}
