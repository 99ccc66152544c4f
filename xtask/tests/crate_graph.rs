//! The rules of the architecture: which crate uses which, and what a crate must not do.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate and the crates that it may use, directly or through those. Everything else is forbidden.
///
/// ```text
/// reverse-data ────────────────────────┐
/// s2s-kernels ──> s2s-model ───────────┼──> s2s-train ──> s2s-weights ──┬──> s2s-cli
/// s2s-runlog ──┬───────────────────────┘                                │
///              └──> s2s-viz ───> s2s-lab ───────────────────────────────┴──> xtask
/// ```
const USES: [(&str, &[&str]); 10] = [
    ("reverse-data", &[]),
    ("s2s-kernels", &[]),
    ("s2s-model", &["s2s-kernels"]),
    ("s2s-runlog", &[]),
    ("s2s-train", &["reverse-data", "s2s-model", "s2s-runlog"]),
    ("s2s-viz", &["s2s-runlog"]),
    ("s2s-lab", &["s2s-viz"]),
    ("s2s-weights", &["s2s-train"]),
    ("s2s-cli", &["s2s-weights", "s2s-lab"]),
    ("xtask", &["s2s-lab"]),
];

/// These build in seconds, and are useful without tensors.
const WITHOUT_CANDLE: [&str; 5] = ["reverse-data", "s2s-runlog", "s2s-viz", "s2s-lab", "xtask"];

/// All files and folders at the top of the repository, apart from those whose names start with a dot.
const TOP: [&str; 18] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "configs",
    "crates",
    "docs",
    "examples",
    "python",
    "scripts",
    "xtask",
];

#[test]
fn crates_use_only_what_the_table_allows() {
    let found = dependencies();
    let in_table: BTreeSet<&str> = USES.iter().map(|(name, _)| *name).collect();
    let in_workspace: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(in_workspace, in_table, "the table has every crate");

    for (name, used) in &found {
        let allowed = reachable(name);
        let ours = used.iter().filter(|used| in_table.contains(used.as_str()));
        for used in ours {
            assert!(
                allowed.contains(used.as_str()),
                "{name} must not use {used}: it may use {allowed:?}"
            );
        }
    }
}

#[test]
fn light_crates_do_not_depend_on_candle() {
    for name in WITHOUT_CANDLE {
        let tree = cargo(&[
            "tree",
            "--package",
            name,
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ]);
        assert!(tree.starts_with(name), "{tree}");
        let candle = tree.lines().find(|line| line.starts_with("candle"));
        assert_eq!(candle, None, "in the dependencies of {name}");
    }
}

#[test]
fn the_program_and_the_tests_share_their_dependencies() {
    // Otherwise `cargo build` after `cargo test --workspace` would build candle again.
    let packages = |selected: &[&str], edges: &str| -> BTreeSet<String> {
        let format = "{p} {f}";
        let options = [
            "--prefix=none",
            "--no-dedupe",
            "--format",
            format,
            "--edges",
            edges,
        ];
        let tree = cargo(&[&["tree"], selected, &options].concat());
        tree.lines().map(str::to_owned).collect()
    };
    let program = packages(&["--package=s2s-cli"], "normal,build");
    let tests = packages(&["--workspace"], "normal,build,dev");
    let others: Vec<_> = program.difference(&tests).collect();
    assert!(
        others.is_empty(),
        "other features than in tests: {others:?}"
    );
}

#[test]
fn every_crate_has_the_lints_of_the_workspace() {
    for (name, _) in USES {
        let path = folder(name).join("Cargo.toml");
        let manifest: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let inherits = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        assert_eq!(
            inherits,
            Some(true),
            "{} lacks [lints] workspace = true",
            path.display()
        );
    }
}

#[test]
fn only_the_kernels_and_the_start_of_the_program_have_unsafe_code() {
    let allowed = ["crates/s2s-kernels", "crates/s2s-cli/src/main.rs"];
    let excused = sources_with("unsafe_code");
    let elsewhere = excused
        .iter()
        .find(|path| !allowed.iter().any(|allowed| path.starts_with(allowed)));
    assert_eq!(elsewhere, None);
}

#[test]
fn only_the_command_line_and_xtask_print() {
    let printers = sources_with("clippy::print_std");
    let allowed = ["crates/s2s-cli/src/ui.rs", "xtask/src/main.rs"].map(PathBuf::from);
    let elsewhere = printers.iter().find(|path| !allowed.contains(path));
    assert_eq!(elsewhere, None);
}

#[test]
fn only_the_run_log_touches_the_disk() {
    // One module of the run log accesses the disk. Test modules may, and so may xtask, which writes
    // no runs.
    let exempt = ["crates/s2s-runlog/src/fs.rs", "xtask"];
    let test_module = "crates/s2s-runlog/src/power_loss";
    for path in sources_with("") {
        let is_test = path.starts_with(test_module) || path.ends_with("tests.rs");
        if is_test || exempt.iter().any(|exempt| path.starts_with(exempt)) {
            continue;
        }
        let text = fs::read_to_string(top().join(&path)).unwrap();
        let accesses = disk_accesses(&text);
        assert!(
            accesses.is_empty(),
            "{accesses:?} in {}: use s2s_runlog",
            path.display()
        );
    }
}

#[test]
fn every_kind_of_disk_access_is_recognized() {
    let check = |code: &str, expected: &[&str]| assert_eq!(disk_accesses(code), expected, "{code}");
    check("if path.exists() {", &[".exists("]);
    check("path.try_exists()?", &[".try_exists("]);
    check("path\n    .is_file()", &[".is_file("]);
    check(
        "path.is_dir() && link.is_symlink()",
        &[".is_dir(", ".is_symlink("],
    );
    check("path.metadata()?.len()", &[".metadata("]);
    check("path.symlink_metadata()", &[".symlink_metadata("]);
    check("path.canonicalize()", &[".canonicalize("]);
    check(
        "path.read_dir()?; path.read_link()",
        &[".read_dir(", ".read_link("],
    );
    check("use std::fs::{self, File};", &["std::fs"]);
    check("use std::{fs, io};", &["std::{"]);
    check("File::open(path)", &["File::"]);
    check("OpenOptions::new()", &["OpenOptions"]);
    check("rustix::fs::stat(path)", &["rustix::fs"]);
    check("#[cfg(test)]\nmod tests { std::fs::read(path) }", &[]);
    check("GrowingFile::create(path); s2s_runlog::exists(path)", &[]);
    check("// path.exists()\n/// std::fs", &[]);
}

/// The ways in which code, without its comments and its tests, accesses the disk.
fn disk_accesses(text: &str) -> Vec<&'static str> {
    let names = [
        "std::fs",
        "std::{", // hides what it imports
        "rustix::fs",
        "File::",
        "OpenOptions",
        ".exists(",
        ".try_exists(",
        ".is_file(",
        ".is_dir(",
        ".is_symlink(",
        ".metadata(",
        ".symlink_metadata(",
        ".canonicalize(",
        ".read_dir(",
        ".read_link(",
    ];
    let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code: String = shipped
        .lines()
        .flat_map(|line| [line.split("//").next().unwrap(), "\n"])
        .collect();
    let is_used = |name: &&str| {
        let mut places = code.match_indices(*name);
        // `File::` must not match `GrowingFile::`.
        places.any(|(at, _)| name.starts_with('.') || !code[..at].ends_with(char::is_alphanumeric))
    };
    names.into_iter().filter(is_used).collect()
}

#[test]
fn no_public_item_is_reachable_by_two_paths() {
    // lib.rs re-exports items of private modules, but not those of a public module, which have a path
    // already, and not those of another crate.
    for entry in fs::read_dir(top().join("crates")).unwrap() {
        let front = entry.unwrap().path().join("src/lib.rs");
        let Ok(text) = fs::read_to_string(&front) else {
            continue; // a binary exports nothing
        };
        let named = |start: &str, end: char| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(start));
            lines
                .filter_map(|rest| Some(rest.split_once(end)?.0.to_owned()))
                .collect()
        };
        let private = named("mod ", ';');
        for module in named("pub use ", ':') {
            assert!(
                private.contains(&module),
                "{}: pub use {module}",
                front.display()
            );
        }
    }
}

#[test]
fn the_top_has_only_known_files_and_folders() {
    // Only files in the git index count. Without git or outside a repository, nothing is checked.
    let git = Command::new("git")
        .arg("ls-files")
        .current_dir(top())
        .output();
    let Ok(listed) = git else { return };
    let files = String::from_utf8(listed.stdout).unwrap();
    let entries: BTreeSet<&str> = files
        .lines()
        .filter_map(|path| path.split('/').next())
        .collect();
    let strange = entries
        .iter()
        .find(|name| !name.starts_with('.') && !TOP.contains(*name));
    assert_eq!(strange, None);
}

/// Every crate of the workspace with its dependencies, including those of builds and tests.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let used = package["dependencies"].as_array().unwrap();
            (name(package), used.iter().map(name).collect())
        })
        .collect()
}

/// All crates that the table allows for this one.
fn reachable(name: &str) -> BTreeSet<&'static str> {
    let direct = USES.iter().find(|(other, _)| *other == name).unwrap().1;
    let further = direct.iter().flat_map(|used| reachable(used));
    further.chain(direct.iter().copied()).collect()
}

/// Library and program sources that contain `text`, relative to the top.
fn sources_with(text: &str) -> BTreeSet<PathBuf> {
    let mut folders: Vec<PathBuf> = USES
        .iter()
        .map(|(name, _)| folder(name).join("src"))
        .collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs")
                && fs::read_to_string(&path).unwrap().contains(text)
            {
                found.insert(path.strip_prefix(top()).unwrap().to_owned());
            }
        }
    }
    found
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn folder(name: &str) -> PathBuf {
    match name {
        "xtask" => top().join(name),
        _ => top().join("crates").join(name),
    }
}

/// The output of cargo. Offline, because these tests have just been built.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(top())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {message}");
    String::from_utf8(output.stdout).unwrap()
}
