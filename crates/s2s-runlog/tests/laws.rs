//! Guarantees of a run directory.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use s2s_runlog::{
    AttentionRecord, CheckpointName, Damage, Environment, Error, EvalRecord, JsonLines, LogFailure,
    MetricsRecord, RunDir, RunRecord, RunStatus, TimingRecord, Whereabouts, read_checkpoint,
    read_file, read_json, read_lines, write_checkpoint, write_csv, write_file, write_json,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

const FILES: &[(&str, &[u8])] = &[
    ("params.safetensors", b"\0\x01\x02 parameters"),
    ("moments.safetensors", b""),
    ("state.json", b"{\"step\":7}"),
];

fn checkpoint() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("last");
    write_checkpoint(&path, FILES).unwrap();
    (folder, path)
}

fn parts() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name).chain(["manifest.json"])
}

#[track_caller]
fn damage(path: &Path) -> Damage {
    let error = read_checkpoint(path).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    match error {
        Error::Damaged { damage, .. } => damage,
        other => panic!("{other:?}"),
    }
}

/// Runs an operation that must not block; fails if it does.
fn without_blocking<T: Send + 'static>(operation: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(operation()));
    receiver.recv_timeout(Duration::from_secs(20)).unwrap()
}

#[test]
fn a_checkpoint_round_trips() {
    let (_folder, path) = checkpoint();
    let read = read_checkpoint(&path).unwrap();
    assert_eq!(read.files().collect::<Vec<_>>(), FILES);
    assert_eq!(read.path(), path);
    assert!(read.rejected().is_empty());
    let error = read.file("optimizer.bin").unwrap_err().to_string();
    assert!(
        error.contains("it does not contain optimizer.bin"),
        "{error}"
    );
}

#[test]
fn every_truncation_is_detected() {
    let (_folder, path) = checkpoint();
    for name in parts() {
        let whole = fs::read(path.join(name)).unwrap();
        for len in 0..whole.len() {
            fs::write(path.join(name), &whole[..len]).unwrap();
            damage(&path);
        }
        fs::write(path.join(name), [&whole, "\n".as_bytes()].concat()).unwrap();
        damage(&path);
        fs::write(path.join(name), whole).unwrap();
    }
    read_checkpoint(&path).unwrap();
}

#[test]
fn every_changed_byte_is_detected() {
    let (_folder, path) = checkpoint();
    for name in parts() {
        let whole = fs::read(path.join(name)).unwrap();
        for i in 0..whole.len() {
            // Every bit, and characters that may not change the meaning of JSON.
            let others = (0..8).map(|bit| whole[i] ^ (1 << bit)).chain(*b" \n\t0");
            for byte in others.filter(|&byte| byte != whole[i]) {
                let mut changed = whole.clone();
                changed[i] = byte;
                fs::write(path.join(name), changed).unwrap();
                damage(&path);
            }
        }
        fs::write(path.join(name), whole).unwrap();
    }
    read_checkpoint(&path).unwrap();
}

#[test]
fn the_error_names_a_missing_file() {
    for name in parts() {
        let (_folder, path) = checkpoint();
        fs::remove_file(path.join(name)).unwrap();
        let Damage::Missing { file } = damage(&path) else {
            panic!()
        };
        assert_eq!(file, name);
    }
}

#[test]
fn the_error_of_a_truncated_file_contains_both_sizes() {
    let (_folder, path) = checkpoint();
    fs::write(path.join("params.safetensors"), "cut").unwrap();
    let message = read_checkpoint(&path).unwrap_err().to_string();
    let tail = "last is damaged: params.safetensors has 3 bytes; the manifest lists 14";
    assert!(message.ends_with(tail), "{message}");
}

#[test]
fn hostile_manifests_are_rejected() {
    let (_folder, path) = checkpoint();
    let zeros = "0".repeat(64);
    let manifest = |format: u64, files: &[(&str, u64)]| {
        let entry = |(name, size): &(&str, u64)| {
            format!(
                "    {{\n      \"name\": \"{name}\",\n      \"size\": {size},\n      \"sha256\": \"{zeros}\"\n    }}"
            )
        };
        let files: Vec<_> = files.iter().map(entry).collect();
        format!(
            "{{\n  \"format\": {format},\n  \"files\": [\n{}\n  ]\n}}\n",
            files.join(",\n")
        )
    };
    let check = |manifest: String, is_expected: fn(&Damage) -> bool| {
        fs::write(path.join("manifest.json"), &manifest).unwrap();
        let damage = damage(&path);
        assert!(is_expected(&damage), "{manifest}: {damage:?}");
    };
    check(manifest(2, &[]), |d| {
        matches!(d, Damage::Format { found: 2, known: 1 })
    });
    for name in [
        "../state.json",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a/b",
        "a\\\\b",
        "manifest.json",
        "nul\\u0000",
    ] {
        check(manifest(1, &[(name, 1)]), |d| {
            matches!(d, Damage::FileName { .. })
        });
    }
    check(
        manifest(1, &[("state.json", 10), ("state.json", 10)]),
        |d| matches!(d, Damage::FileName { .. }),
    );
    check(manifest(1, &[("state.json", u64::MAX), ("a", 1)]), |d| {
        matches!(d, Damage::TooLarge { .. })
    });
    check(manifest(1, &[("state.json", 16 << 30)]), |d| {
        matches!(d, Damage::Size { .. })
    });
    check(manifest(1, &[("state.json", 10)]), |d| {
        matches!(d, Damage::Hash { .. })
    });
    check(" ".repeat(1 << 20), |d| {
        matches!(d, Damage::TooLarge { .. })
    });
    check("[".repeat(60_000), |d| matches!(d, Damage::Manifest { .. }));
    check("{\"format\":1,\"files\":[]}".to_owned(), |d| {
        matches!(d, Damage::ManifestChanged)
    });
}

#[test]
fn files_that_are_not_regular_are_rejected_without_blocking() {
    for name in parts() {
        let (_folder, path) = checkpoint();
        let part = path.join(name);
        let aside = path.with_file_name("aside");
        fs::rename(&part, &aside).unwrap();

        fs::create_dir(&part).unwrap();
        assert!(matches!(
            damage(&path),
            Damage::NotRegular { kind: "folder", .. }
        ));
        fs::remove_dir(&part).unwrap();
        #[cfg(unix)]
        {
            let check = |kind| {
                let path = path.clone();
                let found = without_blocking(move || damage(&path));
                assert!(
                    matches!(found, Damage::NotRegular { kind: k, .. } if k == kind),
                    "{found:?}"
                );
            };
            std::os::unix::fs::symlink(&aside, &part).unwrap();
            check("symbolic link");
            fs::remove_file(&part).unwrap();
            std::os::unix::fs::symlink(&part, &part).unwrap();
            check("symbolic link");
            fs::remove_file(&part).unwrap();
            fifo(&part);
            check("FIFO");
        }
    }
}

#[test]
fn a_checkpoint_that_is_not_a_folder_is_rejected() {
    let (folder, path) = checkpoint();
    let elsewhere = folder.path().join("file");
    fs::write(&elsewhere, "").unwrap();
    assert!(matches!(
        damage(&elsewhere),
        Damage::NotAFolder {
            kind: "regular file"
        }
    ));
    #[cfg(unix)]
    {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(
            damage(&link),
            Damage::NotAFolder {
                kind: "symbolic link"
            }
        ));
    }
    let absent = path.with_file_name("best");
    assert!(
        matches!(read_checkpoint(&absent), Err(Error::NoCheckpoint { path }) if path == absent)
    );
}

#[test]
fn unlisted_files_are_ignored() {
    let (_folder, path) = checkpoint();
    fs::write(path.join("note.txt"), "my best one").unwrap();
    assert_eq!(read_checkpoint(&path).unwrap().files().count(), FILES.len());
}

#[test]
fn file_names_of_a_checkpoint_are_plain_and_distinct() {
    let (_folder, path) = checkpoint();
    for names in [
        &["a", "a"][..],
        &["../a"],
        &["manifest.json"],
        &[""],
        &[".hidden"],
    ] {
        let files: Vec<_> = names.iter().map(|name| (*name, &b"x"[..])).collect();
        assert!(matches!(
            write_checkpoint(&path, &files),
            Err(Error::FileName { .. })
        ));
    }
    assert_eq!(read_checkpoint(&path).unwrap().files().count(), FILES.len());
}

#[test]
fn a_checkpoint_can_be_read_while_it_is_replaced() {
    let (_folder, path) = checkpoint();
    let versions: Vec<Vec<u8>> = (0..50).map(|i| vec![i; 1000]).collect();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for bytes in &versions {
                write_checkpoint(&path, &[("a", bytes), ("b", bytes)]).unwrap();
            }
        });
        while !writer.is_finished() {
            let read = read_checkpoint(&path).unwrap();
            if let Ok(a) = read.file("a") {
                assert_eq!(a, read.file("b").unwrap());
            }
        }
    });
}

#[test]
fn a_new_run_needs_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = RunDir::create(&path).unwrap();
    write_file(run.resolved_config(), b"seed = 0").unwrap();
    drop(run.lock().unwrap());

    let error = RunDir::create(&path).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }));
    let message = error.to_string();
    assert!(
        message.contains("is not an empty folder; nothing was changed"),
        "{message}"
    );
    assert_eq!(fs::read(run.resolved_config()).unwrap(), b"seed = 0");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    assert_eq!(RunDir::open(&path).unwrap(), run);

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(RunDir::create(&file), Err(Error::Exists { .. })));
    RunDir::create(folder.path().join("empty")).unwrap();
    RunDir::create(folder.path().join("empty")).unwrap();
}

#[test]
fn only_runs_can_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        RunDir::open(folder.path().join("absent")),
        Err(Error::NoRun { .. })
    ));
    let error = RunDir::open(folder.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not a run folder: it has no config.resolved.toml"),
        "{error}"
    );
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(
        RunDir::open(folder.path().join("file")),
        Err(Error::NotARun { .. })
    ));
}

#[test]
fn the_error_of_a_second_lock_names_the_first_holder() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let lock = run.lock().unwrap();
    let error = run.lock().unwrap_err();
    let me = std::process::id();
    assert!(
        matches!(error, Error::Busy { pid: Some(pid), .. } if pid == me),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(&format!("process {me};")),
        "{error}"
    );
    drop(lock);
    run.lock().unwrap();
}

#[test]
fn a_folder_that_another_process_writes_to_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let lock = run.lock().unwrap();
    write_file(run.resolved_config(), b"seed = 0").unwrap();
    let me = std::process::id();
    assert!(
        matches!(RunDir::create(folder.path()), Err(Error::Busy { pid: Some(pid), .. }) if pid == me)
    );
    drop(lock);
    assert!(matches!(
        RunDir::create(folder.path()),
        Err(Error::Exists { .. })
    ));
}

#[test]
fn only_early_files_next_to_a_lock_count_as_an_interrupted_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let create = || RunDir::create(path);
    fs::write(path.join("config.toml"), "mine").unwrap();
    assert!(matches!(create(), Err(Error::Exists { .. })), "no lock");
    fs::write(path.join("run.lock"), "").unwrap();
    for early in [
        ".config.toml.tmp",
        "corpus.json",
        ".corpus.json.tmp",
        "environment.json",
        ".environment.json.tmp",
        ".config.resolved.toml.tmp",
    ] {
        fs::write(path.join(early), "{").unwrap();
        create().unwrap();
    }
    for other in [
        "notes.txt",
        "config.resolved.toml",
        "metrics.jsonl",
        "corpus.json.tmp",
        ".corpus.json",
        ".run.json.tmp",
    ] {
        fs::write(path.join(other), "").unwrap();
        assert!(matches!(create(), Err(Error::Exists { .. })), "{other}");
        fs::remove_file(path.join(other)).unwrap();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_error_does_not_name_a_process_that_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let _lock = run.lock().unwrap();
    // Left by an earlier holder; the new holder has not written its number yet.
    fs::write(folder.path().join("run.lock"), "4194305\n").unwrap();
    assert!(matches!(run.lock(), Err(Error::Busy { pid: None, .. })));
}

#[test]
fn locking_plots_waits_for_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let _training = run.lock().unwrap();
    let lock = run.lock_plots().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _lock = run.lock_plots().unwrap();
            sender.send(()).unwrap();
        });
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
        drop(lock);
        receiver.recv_timeout(Duration::from_secs(20)).unwrap();
    });
}

/// Started as a process by the next test.
#[test]
fn lock_holding_process() {
    let Some(path) = std::env::var_os("S2S_RUNLOG_TEST_HOLD") else {
        return;
    };
    let _lock = RunDir::create(PathBuf::from(path)).unwrap().lock().unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_process_releases_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lock_holding_process"])
        .env("S2S_RUNLOG_TEST_HOLD", folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let expected = format!("{}\n", holder.id());
    let names_the_holder = || {
        let text = fs::read_to_string(folder.path().join("run.lock"));
        text.is_ok_and(|text| text.starts_with(&expected))
    };
    while !names_the_holder() {
        assert!(holder.try_wait().unwrap().is_none(), "the holder ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(matches!(run.lock(), Err(Error::Busy { pid: Some(pid), .. }) if pid == holder.id()));
    holder.kill().unwrap();
    holder.wait().unwrap();
    run.lock().unwrap();
}

#[test]
fn resuming_removes_later_and_partial_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("timing.jsonl");
    let record = |step| TimingRecord {
        step,
        elapsed_secs: 0.1,
        train_secs: 0.2,
        eval_secs: 1e-9,
        tokens_per_second: 3e5,
    };
    let mut lines = JsonLines::create(&path).unwrap();
    let mut uninterrupted = Vec::new();
    for step in 1..=5 {
        lines.append(&record(step)).unwrap();
        if step == 3 {
            uninterrupted = fs::read(&path).unwrap();
        }
    }
    let whole = fs::read(&path).unwrap();
    for len in uninterrupted.len()..=whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let mut resumed = JsonLines::resume(&path, |r: &TimingRecord| r.step <= 3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), uninterrupted);
        for step in 4..=5 {
            resumed.append(&record(step)).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    assert_eq!(read_lines::<TimingRecord>(&path).unwrap().len(), 5);
    assert!(matches!(
        JsonLines::<TimingRecord>::create(&path),
        Err(Error::Write { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn resuming_creates_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("timing.jsonl");
    JsonLines::<u64>::resume(&path, |_| true)
        .unwrap()
        .append(&1)
        .unwrap();
    assert_eq!(read_lines::<u64>(&path).unwrap(), [1]);
}

#[test]
fn a_run_folder_that_was_removed_is_not_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path().join("run")).unwrap();
    let lock = run.lock().unwrap();
    lock.check().unwrap();
    fs::remove_dir_all(run.path()).unwrap();
    let results = [
        write_file(run.samples(), b""),
        write_json(run.run(), &1),
        write_csv(run.path().join("lengths.csv"), &[1]),
        write_checkpoint(run.checkpoint(CheckpointName::Last), &[]),
        JsonLines::<u64>::create(run.metrics()).map(drop),
        JsonLines::<u64>::resume(run.timing(), |_| true).map(drop),
        run.lock_plots().map(drop),
    ];
    for result in results {
        assert!(matches!(result, Err(Error::Write { .. })), "{result:?}");
    }
    assert!(!run.path().exists());
    let lost = lock.check();
    assert!(
        matches!(
            &lost,
            Err(Error::Lost {
                now: Whereabouts::Deleted,
                ..
            })
        ),
        "{lost:?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_lock_knows_where_its_folder_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let run = RunDir::create(root.join("run")).unwrap();
    let lock = run.lock().unwrap();
    fs::rename(run.path(), root.join("moved")).unwrap();
    // Another run takes its place.
    let other = RunDir::create(run.path()).unwrap();
    let _other = other.lock().unwrap();
    match lock.check() {
        Err(Error::Lost {
            now: Whereabouts::MovedTo(path),
            ..
        }) => {
            assert_eq!(path, root.join("moved"));
        }
        result => panic!("{result:?}"),
    }
    fs::remove_dir_all(run.path()).unwrap();
    fs::rename(root.join("moved"), run.path()).unwrap();
    lock.check().unwrap();
}

#[test]
fn the_error_names_an_invalid_line_and_the_file_is_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    for (text, bad) in [
        ("1\nx\n3\n", 2),
        ("\n1\n", 1),
        ("1\n2\n3 4\n5\n", 3),
        ("1\n\u{fffd}\n\n4\n", 2),
    ] {
        fs::write(&path, text).unwrap();
        assert!(matches!(read_lines::<u64>(&path), Err(Error::Line { line, .. }) if line == bad));
        let error = JsonLines::<u64>::resume(&path, |_| true).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("line {bad} of ")),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::write(&path, "1\n2").unwrap();
    assert_eq!(read_lines::<u64>(&path).unwrap(), [1]);

    // A power loss may damage lines after the last kept one.
    for tail in ["\0\0\0", "\0\0\n", "\0\n3\n", "2\n\0\n2\n3\n"] {
        fs::write(&path, format!("1\n{tail}")).unwrap();
        JsonLines::<u64>::resume(&path, |&line| line < 2).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }
}

#[test]
fn numbers_that_are_not_finite_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    let mut lines = JsonLines::create(&path).unwrap();
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(matches!(
            lines.append(&Some(number)),
            Err(Error::NotFinite { .. })
        ));
        assert!(matches!(
            write_json(folder.path().join("run.json"), &number),
            Err(Error::NotFinite { .. })
        ));
    }
    assert_eq!(fs::read(&path).unwrap(), b"");
    assert!(!folder.path().join("run.json").exists());
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        read_json::<u64>(folder.path()),
        Err(Error::NotRegular { kind: "folder", .. })
    ));
    assert!(matches!(
        read_json::<u64>(folder.path().join("absent")),
        Err(Error::Read { .. })
    ));
    let path = folder.path().join("run.json");
    fs::write(&path, "12x").unwrap();
    assert!(matches!(read_json::<u64>(&path), Err(Error::Json { .. })));
    assert!(matches!(
        read_file(&path, 2),
        Err(Error::TooLarge {
            size: 3,
            max: 2,
            ..
        })
    ));
    #[cfg(unix)]
    {
        let path = folder.path().join("metrics.jsonl");
        fifo(&path);
        let read = without_blocking(move || read_lines::<u64>(path));
        assert!(matches!(read, Err(Error::NotRegular { kind: "FIFO", .. })));
        let path = folder.path().join("run.lock");
        fifo(&path);
        let run = RunDir::create(folder.path().join("run")).unwrap();
        fs::rename(path, folder.path().join("run/run.lock")).unwrap();
        assert!(matches!(
            without_blocking(move || run.lock()),
            Err(Error::NotRegular { .. })
        ));
    }
}

#[test]
fn files_of_a_run_have_the_documented_names() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let names = [
        (run.config(), "config.toml"),
        (run.resolved_config(), "config.resolved.toml"),
        (run.environment(), "environment.json"),
        (run.metrics(), "metrics.jsonl"),
        (run.timing(), "timing.jsonl"),
        (run.attention(), "attention.jsonl"),
        (run.wrong(), "wrong.jsonl"),
        (run.samples(), "samples.jsonl"),
        (run.failures(), "failures.json"),
        (run.report(), "report.html"),
        (run.run(), "run.json"),
        (run.corpus(), "corpus.json"),
        (run.checkpoint(CheckpointName::Best), "checkpoints/best"),
        (run.checkpoint(CheckpointName::Last), "checkpoints/last"),
        (run.lengths(None), "lengths.json"),
        (run.lengths(Some("far")), "lengths-far.json"),
        (run.plots(), "plots"),
    ];
    for (path, name) in names {
        assert_eq!(path, run.path().join(name));
    }
}

#[test]
fn evaluations_by_length_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::create(folder.path()).unwrap();
    let ours = [None, Some("deepmind")].map(|name| run.lengths(name));
    for path in &ours {
        fs::write(path, "").unwrap();
    }
    for stranger in ["lengths.csv", "lengthsome.json", ".lengths.json.tmp"] {
        fs::write(folder.path().join(stranger), "").unwrap();
    }
    let found = run.all_lengths().unwrap();
    assert_eq!(found.len(), 2);
    assert!(ours.iter().all(|path| found.contains(path)));
}

#[test]
fn tables_have_a_header_and_empty_cells_for_none() {
    #[derive(serde::Serialize)]
    struct Row {
        name: &'static str,
        share: Option<f64>,
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.csv");
    let row = |name, share| Row { name, share };
    write_csv(&path, &[row("a,b", Some(0.1)), row("c", None)]).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "name,share\n\"a,b\",0.1\nc,\n"
    );
    #[derive(serde::Serialize)]
    struct Nested {
        inner: Row,
    }
    let nested = Nested {
        inner: row("d", None),
    };
    assert!(matches!(
        write_csv(&path, &[nested]),
        Err(Error::Csv { .. })
    ));
}

fn number() -> impl Strategy<Value = f64> {
    use proptest::num::f64;
    f64::NORMAL | f64::SUBNORMAL | f64::ZERO | f64::POSITIVE | f64::NEGATIVE
}

fn weight() -> impl Strategy<Value = f32> {
    use proptest::num::f32;
    f32::NORMAL | f32::SUBNORMAL | f32::ZERO | f32::POSITIVE | f32::NEGATIVE
}

fn eval_record() -> impl Strategy<Value = EvalRecord> {
    (
        any::<String>(),
        any::<[u64; 3]>(),
        prop::array::uniform4(number()),
    )
        .prop_map(|(split, n, x)| EvalRecord {
            split,
            step: n[0],
            n_sequences: n[1],
            n_tokens: n[2],
            loss: x[0],
            forced_loss: x[1],
            token_accuracy: x[2],
            exact_match: x[3],
            text: None,
        })
}

#[track_caller]
fn check_round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &T) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    let mut lines = JsonLines::create(&path).unwrap();
    lines.append(record).unwrap();
    lines.append(record).unwrap();
    let read = read_lines::<T>(&path).unwrap();
    // Debug distinguishes -0 from 0, and every float from its neighbors.
    assert_eq!(format!("{read:?}"), format!("{:?}", [record, record]));
    write_json(folder.path().join("record.json"), record).unwrap();
    let read: T = read_json(folder.path().join("record.json")).unwrap();
    assert_eq!(format!("{read:?}"), format!("{record:?}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn metrics_round_trip(
        step in any::<u64>(),
        epoch in prop::option::of(number()),
        x in prop::array::uniform10(number()),
        is_best in any::<bool>(),
    ) {
        check_round_trip(&MetricsRecord {
            step,
            epoch,
            train_loss: x[0],
            train_token_accuracy: x[1],
            train_exact_match: x[2],
            val_loss: x[3],
            val_forced_loss: x[4],
            exposure_gap: x[5],
            val_token_accuracy: x[6],
            val_exact_match: x[7],
            learning_rate: x[8],
            grad_norm: x[9],
            teacher_forcing_ratio: x[0],
            is_best,
            attempt: None,
        });
    }

    #[test]
    fn attention_round_trips(
        step in any::<u64>(),
        tokens in prop::array::uniform3(prop::collection::vec(any::<String>(), 0..4)),
        weights in prop::collection::vec(prop::collection::vec(weight(), 0..4), 0..4),
        is_exact in any::<bool>(),
    ) {
        let [source, target, prediction] = tokens;
        check_round_trip(&AttentionRecord { step, source, target, prediction, weights, is_exact });
    }

    #[test]
    fn run_records_round_trip(
        status in prop::sample::select(vec![
            RunStatus::Running, RunStatus::Finished, RunStatus::StoppedEarly,
            RunStatus::TargetReached, RunStatus::Interrupted, RunStatus::Diverged,
        ]),
        best_step in prop::option::of(any::<u64>()),
        best_val_loss in prop::option::of(number()),
        elapsed_secs in number(),
        test in prop::option::of(eval_record()),
        failures in prop::collection::vec((any::<[String; 2]>(), any::<u64>()), 0..3),
    ) {
        let failure = |([log, reason], step): ([String; 2], u64)| LogFailure { log, step, reason };
        let degraded = failures.into_iter().map(failure).collect();
        check_round_trip(&RunRecord { status, step: 3, best_step, best_val_loss, n_parameters: 9, elapsed_secs, test, degraded });
    }

    #[test]
    fn environments_round_trip(
        text in prop::array::uniform11(any::<String>()),
        counts in any::<[usize; 2]>(),
        command in prop::collection::vec(any::<String>(), 0..4),
    ) {
        let [version, platform, cpu, device, device_reason, card, driver_version, driver_cuda_version, ..] = text.clone();
        let [.., kernels, instruction_set, precision] = text;
        let [cores, threads] = counts;
        check_round_trip(&Environment {
            version, platform, cpu, cores, threads, device, device_reason, card, driver_version,
            driver_cuda_version, kernels, instruction_set, precision, command,
        });
    }
}

#[cfg(unix)]
fn fifo(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}
