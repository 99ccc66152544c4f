//! What the documentation claims about the tree.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// One mechanism, under the names that code and configurations give it.
const NAMES: [&str; 2] = ["LocationRelative", "\"location-relative"];

/// The files that declare mechanisms, and the tests and examples that list them.
const MAY_NAME_A_MECHANISM: [&str; 10] = [
    "crates/s2s-model/src/attention/",
    "crates/s2s-kernels/src/attention/",
    "crates/s2s-kernels/src/cuda/attention.rs",
    "crates/s2s-kernels/src/slices.rs",
    "crates/s2s-model/src/lib.rs",
    "crates/s2s-weights/src/onnx/attention.rs",
    "crates/s2s-model/tests/",
    "crates/s2s-train/tests/",
    "xtask/src/reproduce/rows/by_length.rs",
    "xtask/tests/docs.rs",
];

#[test]
fn a_mechanism_is_named_only_where_extending_says() {
    let mut strange = Vec::new();
    for file in tracked(&["crates", "xtask"], "rs") {
        let text = fs::read_to_string(top().join(&file)).unwrap();
        // Unit tests at the end of a file may list mechanisms.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_listed = MAY_NAME_A_MECHANISM.iter().any(|may| file.starts_with(may));
        if !is_listed && NAMES.iter().any(|name| code.contains(name)) {
            strange.push(file);
        }
    }
    assert_eq!(strange, Vec::<String>::new());

    let page = fs::read_to_string(top().join("docs/extending.md")).unwrap();
    for file in &MAY_NAME_A_MECHANISM[..6] {
        assert!(page.contains(file), "docs/extending.md: {file}");
    }
}

/// Every excerpt is in one of the programs that it is said to be from, apart from its indentation.
#[test]
fn side_by_side_shows_the_programs_that_are_run() {
    let page = fs::read_to_string(top().join("docs/side-by-side.md")).unwrap();
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    let mut n_excerpts = 0;
    for part in page.split("(../examples/side-by-side/").skip(1) {
        let (path, text) = part.split_once(')').unwrap();
        let source = fs::read_to_string(top().join("examples/side-by-side").join(path)).unwrap();
        let program = lines(&source);
        for excerpt in text.split("```rust\n").skip(1) {
            let excerpt = lines(excerpt.split("```").next().unwrap());
            let is_shown = program.windows(excerpt.len()).any(|part| part == excerpt);
            assert!(is_shown, "{path} lacks:\n{}", excerpt.join("\n"));
            n_excerpts += 1;
        }
    }
    assert!(n_excerpts >= 12);
}

#[test]
fn the_code_map_has_every_file_of_a_library() {
    let page = fs::read_to_string(top().join("ARCHITECTURE.md")).unwrap();
    let map = page.split("## Code map").nth(1).unwrap();
    let map = map.split("\n## ").next().unwrap();
    let words: Vec<&str> = map
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    let mut missing = Vec::new();
    for krate in fs::read_dir(top().join("crates")).unwrap() {
        let krate = krate.unwrap().path();
        if krate.ends_with("s2s-cli") {
            continue; // one file per subcommand
        }
        for entry in fs::read_dir(krate.join("src")).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if !["lib", "error"].contains(&stem) && !words.contains(&stem) {
                missing.push(path);
            }
        }
    }
    assert_eq!(missing, Vec::<PathBuf>::new());
}

#[test]
fn relative_links_lead_to_files() {
    for page in tracked(&["."], "md") {
        if page.starts_with("configs/") {
            continue; // reports: s2s-lab's tests
        }
        let text = fs::read_to_string(top().join(&page)).unwrap();
        let folder = Path::new(&page).parent().unwrap();
        let inline = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in inline.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let path = folder.join(target.split('#').next().unwrap());
            assert!(top().join(&path).exists(), "{page}: {target}");
        }
    }
}

#[test]
fn front_pages_are_short() {
    for (page, most) in [("README.md", 120), ("ARCHITECTURE.md", 150)] {
        let lines = fs::read_to_string(top().join(page))
            .unwrap()
            .lines()
            .count();
        assert!(lines <= most, "{page} has {lines} lines, more than {most}");
    }
}

/// Files below these folders with this extension, without target folders and runs.
fn tracked(folders: &[&str], extension: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| top().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "runs" {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let path = path.strip_prefix(top()).unwrap();
                files.push(path.to_string_lossy().trim_start_matches("./").to_owned());
            }
        }
    }
    files
}

fn top() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
