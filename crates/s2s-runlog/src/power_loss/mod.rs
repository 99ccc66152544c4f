//! Tests of power loss. A model of a [`disk`] follows every operation of a run; after each one, every
//! state that a power loss may leave is written to a real disk and read.

#![expect(clippy::unwrap_used, reason = "tests")]

mod disk;

use self::disk::{Disk, Tree};
use crate::atomic::candidates;
use crate::fs::Op;
use crate::fs::fault::{NO_PLAN, Plan, during, observed};
use crate::read::is_valid;
use crate::{CheckpointName, Error, JsonLines, RunDir, read_checkpoint};
use crate::{write_checkpoint, write_file};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tempfile::TempDir;

/// The disk, and every state that a power loss may have left so far, each with the last checkpoint
/// reported as saved.
#[derive(Default)]
struct Recorder {
    disk: Disk,
    saved: u64,
    states: BTreeMap<Tree, u64>,
}

impl Recorder {
    fn note(&mut self) {
        for state in self.disk.states(0) {
            self.states.insert(state, self.saved); // `saved` never decreases
        }
    }
}

/// A folder in memory, for speed.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Writes a tree to an empty path.
fn put(tree: &Tree, path: &Path) {
    match tree {
        Tree::File(bytes) => fs::write(path, bytes).unwrap(),
        Tree::Folder(entries) => {
            if !path.is_dir() {
                fs::create_dir(path).unwrap();
            }
            for (name, tree) in entries {
                put(tree, &path.join(name));
            }
        }
    }
}

/// All states that a power loss may leave of a process that starts with `tree`. The process reports
/// each saved checkpoint.
fn states_of(
    tree: &Tree,
    saved: u64,
    plan: Plan,
    process: impl FnOnce(&Path, &dyn Fn(u64)),
) -> BTreeMap<Tree, u64> {
    let folder = in_memory();
    let root = folder.path().canonicalize().unwrap();
    put(tree, &root);
    let recorder = Rc::new(RefCell::new(Recorder {
        disk: Disk::holding(tree),
        saved,
        ..Recorder::default()
    }));
    let observer = {
        let (recorder, root) = (Rc::clone(&recorder), root.clone());
        move |op: Op<'_>| {
            let mut recorder = recorder.borrow_mut();
            recorder.disk.apply(&op, &root);
            recorder.note();
        }
    };
    let report = |step| {
        let mut recorder = recorder.borrow_mut();
        recorder.saved = step;
        recorder.note();
    };
    during(plan, || {
        observed(Box::new(observer), || process(&root, &report))
    });
    recorder.take().states
}

fn checkpoint(step: u64) -> [(&'static str, Vec<u8>); 3] {
    [
        ("params", format!("parameters of {step}").into_bytes()),
        ("moments", format!("moments {step}").into_bytes()),
        ("state", step.to_string().into_bytes()),
    ]
}

fn save(path: &Path, step: u64) {
    let files = checkpoint(step);
    let files = files
        .each_ref()
        .map(|(name, bytes)| (*name, bytes.as_slice()));
    write_checkpoint(path, &files).unwrap();
}

/// The step of a valid checkpoint; `None` if there is none.
fn step_of(path: &Path) -> Option<u64> {
    match read_checkpoint(path) {
        Ok(found) => {
            let step = str::from_utf8(found.file("state").unwrap()).unwrap();
            let step = step.parse().unwrap();
            for (name, bytes) in checkpoint(step) {
                assert_eq!(found.file(name).unwrap(), bytes);
            }
            Some(step)
        }
        Err(Error::NoCheckpoint { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A training run: at each step, it syncs its lines before it saves the checkpoint.
fn train(root: &Path, steps: std::ops::RangeInclusive<u64>, report: &dyn Fn(u64)) {
    let run = RunDir::create(root.join("run")).or_else(|_| RunDir::open(root.join("run")));
    let run = run.unwrap();
    let _lock = run.lock().unwrap();
    if !run.resolved_config().exists() {
        write_file(run.config(), b"given").unwrap();
        write_file(run.resolved_config(), b"resolved").unwrap();
    }
    let first = *steps.start();
    let mut lines = JsonLines::<u64>::resume(run.metrics(), |&line| line < first).unwrap();
    for step in steps {
        lines.append(&step).unwrap();
        lines.sync().unwrap();
        save(&run.checkpoint(CheckpointName::Last), step);
        report(step);
    }
    write_file(run.run(), b"finished").unwrap();
}

/// Which of `last`, `last.new` and `last.old` exist, and which of them are valid. States of the same
/// class are settled in the same way.
type Class = Vec<(bool, bool)>;

/// Resumes from a state that a power loss left. Returns the step and the class of the state.
#[track_caller]
fn check_resumes(state: &Tree, saved: u64) -> (u64, Class) {
    let folder = in_memory();
    put(state, folder.path());
    let run = folder.path().join("run");
    let last = run.join("checkpoints/last");
    let step = step_of(&last).unwrap_or(0);
    assert!(
        step >= saved,
        "checkpoint {saved} was saved, {step} is left of {state:?}"
    );
    for file in ["config.toml", "config.resolved.toml", "run.json"] {
        let bytes = fs::read(run.join(file)).unwrap_or_default();
        let is_valid =
            ["", "given", "resolved", "finished"].contains(&str::from_utf8(&bytes).unwrap());
        assert!(is_valid, "{file} in {state:?}");
    }
    let look = |path: &PathBuf| (path.exists(), is_valid(path));
    let class = candidates(&last).iter().map(look).collect();

    train(folder.path(), step + 1..=step + 1, &|_| ());
    assert_eq!(step_of(&last), Some(step + 1), "{state:?}");
    assert_eq!(
        fs::read_dir(last.parent().unwrap()).unwrap().count(),
        1,
        "leftovers in {state:?}"
    );
    let lines: String = (1..=step + 1).map(|line| format!("{line}\n")).collect();
    let found = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(found, lines, "{state:?}");
    (step, class)
}

#[test]
fn a_power_loss_preserves_every_saved_checkpoint() {
    let mut n_states = 0;
    for can_exchange in [true, false] {
        let plan = Plan {
            can_exchange,
            ..NO_PLAN
        };
        let empty = Tree::Folder(BTreeMap::new());
        let states = states_of(&empty, 0, plan, |root, report| train(root, 1..=3, report));
        // Also test a second power loss while the run resumes from the first one.
        let mut classes = BTreeSet::new();
        for (state, saved) in &states {
            n_states += 1;
            let (step, class) = check_resumes(state, *saved);
            if step > 0 && classes.insert(class) {
                let process = |root: &Path, report: &dyn Fn(u64)| {
                    train(root, step + 1..=step + 1, report);
                };
                for (state, saved) in states_of(state, step, plan, process) {
                    n_states += 1;
                    check_resumes(&state, saved);
                }
            }
        }
        assert!(classes.len() > 3, "{classes:?}");
    }
    println!("torture: {n_states} trials");
}

#[test]
fn the_model_detects_a_missing_fsync() {
    // Without an fsync before the rename, the name can be durable without the content.
    let empty = Tree::Folder(BTreeMap::new());
    let careless = |root: &Path, report: &dyn Fn(u64)| {
        let (new, path) = (root.join("new"), root.join("file"));
        let file = crate::fs::create_new(&new).unwrap();
        crate::fs::write(&file, b"bytes").unwrap();
        crate::fs::rename(&new, &path).unwrap();
        crate::fs::sync_dir(root).unwrap();
        report(1);
    };
    let states = states_of(&empty, 0, NO_PLAN, careless);
    let with = |bytes: &[u8]| {
        let file = Tree::File(bytes.to_vec());
        Tree::Folder(BTreeMap::from([("file".to_owned(), file)]))
    };
    for lost in [&b""[..], b"by", b"\0\0\0\0\0", b"\0\0tes"] {
        assert_eq!(states.get(&with(lost)), Some(&1), "{lost:?}");
    }
}
