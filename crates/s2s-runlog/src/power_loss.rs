//! Tests of what a loss of power may leave: a model of a disk is shown every operation of a run, and
//! after each one every state that the disk may be found in is put on a real disk and read.
//!
//! The model promises no more than POSIX does:
//!
//! * A name is on the disk once *its folder* has been fsynced. Until then, any subset of the changes
//!   of names in a folder may be there; but a rename, and an exchange, is there as a whole or not.
//! * Bytes are on the disk once *their file* has been fsynced. Until then, a file may have its old
//!   bytes, all or half of the new ones, the new size with zeros in it, or zeros and then new bytes.
//! * No order between two folders, two files, or bytes and names.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::atomic::candidates;
use crate::fs::Op;
use crate::fs::fault::{NO_PLAN, Plan, during, witnessed};
use crate::read::is_whole;
use crate::{CheckpointName, Error, JsonLines, RunDir, read_checkpoint};
use crate::{write_checkpoint, write_file};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tempfile::TempDir;

/// What is found after the power has come back: a folder with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tree {
    File(Vec<u8>),
    Folder(BTreeMap<String, Tree>),
}

/// What is on the disk for sure, and what has been asked of it since. A number stands for a node.
enum Node {
    File {
        durable: Vec<u8>,
        pending: Vec<Bytes>,
    },
    Folder {
        durable: Names,
        pending: Vec<Vec<(String, Option<usize>)>>,
    },
}

type Names = BTreeMap<String, usize>;

enum Bytes {
    Append(Vec<u8>),
    SetLen(usize),
}

#[derive(Default)]
struct Disk {
    nodes: Vec<Node>, // the first is the root
}

impl Disk {
    /// A disk on which nothing is pending.
    fn holding(tree: &Tree) -> Self {
        let mut disk = Self { nodes: Vec::new() };
        disk.add(tree);
        disk
    }

    fn add(&mut self, tree: &Tree) -> usize {
        let id = self.nodes.len();
        self.nodes.push(match tree {
            Tree::File(bytes) => file(bytes.clone()),
            Tree::Folder(_) => folder(Names::new()),
        });
        if let Tree::Folder(entries) = tree {
            let names = entries.iter();
            let names = names.map(|(name, tree)| (name.clone(), self.add(tree)));
            self.nodes[id] = folder(names.collect());
        }
        id
    }

    /// Does what is asked, as a running system sees it.
    fn apply(&mut self, op: &Op<'_>, root: &Path) {
        let within = |path: &Path| {
            let path = path.strip_prefix(root).unwrap();
            let words = path.iter().map(|word| word.to_str().unwrap().to_owned());
            words.collect::<Vec<_>>()
        };
        let within_open = |file: &File| {
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            within(&fs::read_link(link).unwrap())
        };
        match op {
            Op::Read | Op::Open => {}
            Op::Create(path) => self.create(&within(path), file(Vec::new())),
            Op::CreateDir(path) => self.create(&within(path), folder(Names::new())),
            Op::Write(file, bytes) => {
                self.change_bytes(&within_open(file), Bytes::Append(bytes.to_vec()));
            }
            Op::SetLen(file, len) => {
                self.change_bytes(&within_open(file), Bytes::SetLen(*len as usize));
            }
            Op::Sync(file) => {
                let id = self.find(&within_open(file));
                let Node::File { durable, pending } = &mut self.nodes[id] else {
                    panic!()
                };
                *durable = with(durable, pending);
                pending.clear();
            }
            Op::SyncDir(path) if !path.starts_with(root) => {}
            Op::SyncDir(path) => {
                let id = self.find(&within(path));
                let names = self.names(id);
                self.nodes[id] = folder(names);
            }
            Op::Rename(from, to) => {
                let (from, to) = (within(from), within(to));
                let id = self.find(&from);
                self.change_names(&from, [(last(&from), None), (last(&to), Some(id))].to_vec());
            }
            Op::Exchange(a, b) => {
                let (a, b) = (within(a), within(b));
                let (of_a, of_b) = (self.find(&a), self.find(&b));
                let swap = [(last(&a), Some(of_b)), (last(&b), Some(of_a))];
                self.change_names(&a, swap.to_vec());
            }
            Op::RemoveFile(path) => {
                let path = within(path);
                self.change_names(&path, [(last(&path), None)].to_vec());
            }
            Op::RemoveDir(path) => {
                let path = within(path);
                let id = self.find(&path);
                for name in self.names(id).into_keys() {
                    self.change_names(
                        &[&path[..], std::slice::from_ref(&name)].concat(),
                        vec![(name, None)],
                    );
                }
                self.change_names(&path, [(last(&path), None)].to_vec());
            }
        }
    }

    fn create(&mut self, path: &[String], node: Node) {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.change_names(path, [(last(path), Some(id))].to_vec());
    }

    /// One change of names, as a whole, in the folder that `path` stands in.
    fn change_names(&mut self, path: &[String], change: Vec<(String, Option<usize>)>) {
        let id = self.find(&path[..path.len() - 1]);
        let Node::Folder { pending, .. } = &mut self.nodes[id] else {
            panic!()
        };
        pending.push(change);
    }

    fn change_bytes(&mut self, path: &[String], change: Bytes) {
        let id = self.find(path);
        let Node::File { pending, .. } = &mut self.nodes[id] else {
            panic!()
        };
        pending.push(change);
    }

    fn find(&self, path: &[String]) -> usize {
        path.iter().fold(0, |id, name| self.names(id)[name])
    }

    /// The names in a folder as a running system sees them.
    fn names(&self, id: usize) -> Names {
        let Node::Folder { durable, pending } = &self.nodes[id] else {
            panic!()
        };
        let mut names = durable.clone();
        pending.iter().for_each(|change| rename(&mut names, change));
        names
    }

    /// Every state in which the power may leave this node.
    fn states(&self, id: usize) -> BTreeSet<Tree> {
        match &self.nodes[id] {
            Node::File { durable, pending } => torn(durable, pending),
            Node::Folder { durable, pending } => {
                let subsets = (0..1_u32 << pending.len()).map(|subset| {
                    let mut names = durable.clone();
                    for (i, change) in pending.iter().enumerate() {
                        if subset & (1 << i) != 0 {
                            rename(&mut names, change);
                        }
                    }
                    names
                });
                let folders = subsets.collect::<BTreeSet<Names>>();
                folders.iter().flat_map(|names| self.fill(names)).collect()
            }
        }
    }

    /// Every folder with these names.
    fn fill(&self, names: &Names) -> Vec<Tree> {
        let mut filled = vec![BTreeMap::new()];
        for (name, id) in names {
            let states = self.states(*id);
            let with = |entries: &BTreeMap<String, Tree>, state: &Tree| {
                let mut entries = entries.clone();
                entries.insert(name.clone(), state.clone());
                entries
            };
            filled = filled
                .iter()
                .flat_map(|entries| states.iter().map(|state| with(entries, state)))
                .collect();
        }
        filled.into_iter().map(Tree::Folder).collect()
    }
}

fn file(durable: Vec<u8>) -> Node {
    let pending = Vec::new();
    Node::File { durable, pending }
}

fn folder(durable: Names) -> Node {
    let pending = Vec::new();
    Node::Folder { durable, pending }
}

fn rename(names: &mut Names, change: &[(String, Option<usize>)]) {
    for (name, id) in change {
        match id {
            Some(id) => names.insert(name.clone(), *id),
            None => names.remove(name),
        };
    }
}

fn last(path: &[String]) -> String {
    path[path.len() - 1].clone()
}

fn with(durable: &[u8], pending: &[Bytes]) -> Vec<u8> {
    let mut bytes = durable.to_vec();
    for change in pending {
        match change {
            Bytes::Append(more) => bytes.extend(more),
            Bytes::SetLen(len) => bytes.resize(*len, 0),
        }
    }
    bytes
}

/// What may stand in a file with these changes pending.
fn torn(durable: &[u8], pending: &[Bytes]) -> BTreeSet<Tree> {
    let mut states = BTreeSet::from([durable.to_vec()]);
    for done in 1..=pending.len() {
        let full = with(durable, &pending[..done]);
        let old = durable.len().min(full.len());
        let half = old + (full.len() - old) / 2;
        let zeroed = |zeros: std::ops::Range<usize>| {
            let mut bytes = full.clone();
            bytes[zeros].fill(0);
            bytes
        };
        states.extend([
            full[..half].to_vec(),
            zeroed(old..full.len()),
            zeroed(old..half),
        ]);
        states.insert(full);
    }
    states.into_iter().map(Tree::File).collect()
}

/// The disk while operations go on, and all that a loss of power might have left of it, each with
/// the last checkpoint that had been reported as saved.
#[derive(Default)]
struct Recorder {
    disk: Disk,
    saved: u64,
    states: BTreeMap<Tree, u64>,
}

impl Recorder {
    fn note(&mut self) {
        for state in self.disk.states(0) {
            self.states.insert(state, self.saved); // `saved` never falls
        }
    }
}

/// A folder that is fast to fill: every state is read from a real one.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Puts a tree where there is nothing yet.
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

/// All states that a loss of power may leave of a process that begins with `tree`. The process says
/// when a checkpoint is saved.
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
    let witness = {
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
        witnessed(Box::new(witness), || process(&root, &report))
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

/// The step of a checkpoint whose every byte is right; `None` if there is none.
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

/// A run as it is trained: lines first, then the checkpoint that counts on them.
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

/// What of `last`, `last.new` and `last.old` is there, and what of it is whole: states that agree in
/// it are settled in the same way.
type Class = Vec<(bool, bool)>;

/// Goes on with what a loss of power left, as a resumed process does. Says from which step, and what
/// it found.
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
        let is_whole =
            ["", "given", "resolved", "finished"].contains(&str::from_utf8(&bytes).unwrap());
        assert!(is_whole, "{file} in {state:?}");
    }
    let look = |path: &PathBuf| (path.exists(), is_whole(path));
    let class = candidates(&last).iter().map(look).collect();

    train(folder.path(), step + 1..=step + 1, &|_| ());
    assert_eq!(step_of(&last), Some(step + 1), "{state:?}");
    assert_eq!(
        fs::read_dir(last.parent().unwrap()).unwrap().count(),
        1,
        "litter in {state:?}"
    );
    let lines: String = (1..=step + 1).map(|line| format!("{line}\n")).collect();
    let found = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(found, lines, "{state:?}");
    (step, class)
}

#[test]
fn a_loss_of_power_loses_nothing_that_was_saved() {
    let mut n_states = 0;
    for can_exchange in [true, false] {
        let plan = Plan {
            can_exchange,
            ..NO_PLAN
        };
        let empty = Tree::Folder(BTreeMap::new());
        let states = states_of(&empty, 0, plan, |root, report| train(root, 1..=3, report));
        // And a second loss, while what the first one left is resumed.
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
fn the_model_finds_a_save_that_trusts_in_order() {
    // Without the fsync of the folder before the rename, a checkpoint is there without its files.
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
