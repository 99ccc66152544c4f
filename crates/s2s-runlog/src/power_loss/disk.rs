//! A model of a disk: the content that is durable, and the content that a power loss may leave.
//!
//! It assumes no more than POSIX guarantees:
//!
//! * A name is durable once *its folder* has been fsynced. Until then, any subset of the changes of
//!   names in a folder may be present; each rename and each exchange is present entirely or not at all.
//! * Content is durable once *its file* has been fsynced. Until then, a file may have its old content,
//!   all or half of the new content, the new size with zeros, or zeros followed by new content.
//! * There is no order between two folders, between two files, or between content and names.

use crate::fs::Op;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

/// The content of the disk after a power loss.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tree {
    File(Vec<u8>),
    Folder(BTreeMap<String, Tree>),
}

/// The durable content of a file or folder, and the changes since. Nodes are identified by index.
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
pub(super) struct Disk {
    nodes: Vec<Node>, // the first one is the root
}

impl Disk {
    /// A disk with this content and no pending changes.
    pub(super) fn holding(tree: &Tree) -> Self {
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

    /// Applies an operation.
    pub(super) fn apply(&mut self, op: &Op<'_>, root: &Path) {
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

    /// Adds an atomic change of names in the parent folder of `path`.
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

    /// The names in a folder, including pending changes.
    fn names(&self, id: usize) -> Names {
        let Node::Folder { durable, pending } = &self.nodes[id] else {
            panic!()
        };
        let mut names = durable.clone();
        pending.iter().for_each(|change| rename(&mut names, change));
        names
    }

    /// Every state of this node that a power loss may leave.
    pub(super) fn states(&self, id: usize) -> BTreeSet<Tree> {
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

    /// Every state of a folder with these names.
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

/// Every content that a power loss may leave of a file with these pending changes.
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
