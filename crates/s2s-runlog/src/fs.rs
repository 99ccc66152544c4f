//! Every touch of the disk, a function an operation: the one place where faults can happen, and
//! where tests make them happen, or take note of what was asked of the disk and in which order.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why a file's bytes cannot be had.
pub(crate) enum Refusal {
    Io(io::Error),
    NotRegular(&'static str),
    TooLarge { size: u64, max: u64 },
}

/// What is about to be asked of the disk.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests look at it"))]
pub(crate) enum Op<'a> {
    Read,
    Create(&'a Path),
    Open,
    Write(&'a File, &'a [u8]),
    SetLen(&'a File, u64),
    Sync(&'a File),
    SyncDir(&'a Path),
    CreateDir(&'a Path),
    Rename(&'a Path, &'a Path),
    Exchange(&'a Path, &'a Path),
    RemoveFile(&'a Path),
    RemoveDir(&'a Path),
}

/// Name of a thing that is not a regular file, as a message has it.
pub(crate) fn kind(file_type: fs::FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if file_type.is_fifo() {
            return "FIFO";
        } else if file_type.is_socket() {
            return "socket";
        } else if file_type.is_block_device() || file_type.is_char_device() {
            return "device";
        }
    }
    if file_type.is_dir() {
        "folder"
    } else if file_type.is_symlink() {
        "symbolic link"
    } else if file_type.is_file() {
        "regular file"
    } else {
        "special file"
    }
}

/// What stands at the path itself, links not followed; `None` if nothing does.
pub(crate) fn look(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether the path leads to a folder, through links if need be.
pub(crate) fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// The bytes of a regular file that has at most `max` of them. Never waits, follows no link.
pub(crate) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Refusal> {
    fault::before(Op::Read)?;
    let mut options = OpenOptions::new();
    options.read(true);
    let file = open_regular(path, &mut options)?;
    let size = file.metadata()?.len();
    if size > max {
        return Err(Refusal::TooLarge { size, max });
    }
    let mut bytes = Vec::new();
    let fits = usize::try_from(size).is_ok_and(|size| bytes.try_reserve_exact(size).is_ok());
    if !fits {
        return Err(Refusal::Io(io::ErrorKind::OutOfMemory.into()));
    }
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whatever stands there, to be read; links are followed.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    fault::before(Op::Read)?;
    File::open(path)
}

/// The path without links.
pub(crate) fn canonical(path: &Path) -> io::Result<PathBuf> {
    fault::before(Op::Read)?;
    fs::canonicalize(path)
}

/// What the system tells of itself in a file of `/proc`, which has no size.
pub(crate) fn told(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Names of what stands in a folder.
pub(crate) fn names(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// A file that did not exist before.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    fault::before(Op::Create(path))?;
    OpenOptions::new().append(true).create_new(true).open(path)
}

/// A file that exists, each write going to its end.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    fault::before(Op::Open)?;
    OpenOptions::new().append(true).open(path)
}

/// The lock file, created if it is not there, its content untouched.
pub(crate) fn open_lock(path: &Path) -> Result<File, Refusal> {
    fault::before(match look(path)? {
        None => Op::Create(path),
        Some(_) => Op::Open,
    })?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_regular(path, &mut options)
}

/// What stands at the beginning of the lock file.
pub(crate) fn first_bytes(mut file: &File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Replaces the first bytes of the lock file by these, and cuts it after them.
pub(crate) fn overwrite(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault::before(Op::Open)?;
    file.rewind()?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

/// Writes all bytes, in one call if the system takes them in one.
pub(crate) fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault::before(Op::Write(file, bytes))?;
    file.write_all(bytes)
}

pub(crate) fn set_len(file: &File, len: u64) -> io::Result<()> {
    fault::before(Op::SetLen(file, len))?;
    file.set_len(len)
}

/// Makes a file's bytes survive a loss of power.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    fault::before(Op::Sync(file))?;
    if fault::HAS_POWER {
        Ok(())
    } else {
        file.sync_all()
    }
}

/// Makes the names in a folder survive a loss of power, where the system lets a program ask for it.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    fault::before(Op::SyncDir(path))?;
    if cfg!(not(unix)) || fault::HAS_POWER {
        Ok(())
    } else {
        File::open(path)?.sync_all()
    }
}

/// A folder that did not exist before; its parent must.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    fault::before(Op::CreateDir(path))?;
    fs::create_dir(path)
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::before(Op::Rename(from, to))?;
    fs::rename(from, to)
}

/// Swaps two names in one step. `Ok(false)`, with nothing done, where the system has no such step.
pub(crate) fn exchange(a: &Path, b: &Path) -> io::Result<bool> {
    if !fault::can_exchange() {
        return Ok(false);
    }
    fault::before(Op::Exchange(a, b))?;
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    {
        let _ = (a, b);
        Ok(false)
    }
}

pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    fault::before(Op::RemoveFile(path))?;
    fs::remove_file(path)
}

pub(crate) fn remove_dir(path: &Path) -> io::Result<()> {
    fault::before(Op::RemoveDir(path))?;
    fs::remove_dir_all(path)
}

/// Opens what is a regular file both before and after it is opened, without waiting on a FIFO and
/// without following a link that is put there in between.
fn open_regular(path: &Path, options: &mut OpenOptions) -> Result<File, Refusal> {
    if let Some(metadata) = look(path)?
        && !metadata.is_file()
    {
        return Err(Refusal::NotRegular(kind(metadata.file_type())));
    }
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed());
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(Refusal::NotRegular(kind(metadata.file_type())))
    }
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

#[cfg(not(test))]
mod fault {
    use super::Op;
    use std::io;

    pub(super) const HAS_POWER: bool = false;

    pub(super) const fn before(_: Op<'_>) -> io::Result<()> {
        Ok(())
    }

    pub(super) const fn can_exchange() -> bool {
        true
    }
}

/// Makes the n-th operation of a thread fail: alone, or with all that follow, as when the process is
/// killed. A write that fails leaves half its bytes.
#[cfg(test)]
pub(crate) mod fault {
    use super::Op;
    use std::cell::{Cell, RefCell};
    use std::io::{self, Write};

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Plan {
        /// Operations that still succeed.
        pub(crate) successes: usize,
        /// Whether all that follow fail too.
        pub(crate) is_final: bool,
        pub(crate) can_exchange: bool,
    }

    /// Power is never lost in a test, and its thousands of saves need not wait for the disk.
    pub(super) const HAS_POWER: bool = true;

    pub(crate) const NO_PLAN: Plan = Plan {
        successes: usize::MAX,
        is_final: false,
        can_exchange: true,
    };

    thread_local! {
        static PLAN: Cell<Plan> = const { Cell::new(NO_PLAN) };
        static WITNESS: RefCell<Option<Witness>> = const { RefCell::new(None) };
    }

    /// Is shown every operation before it is done.
    pub(crate) type Witness = Box<dyn FnMut(Op<'_>)>;

    pub(crate) fn during<T>(plan: Plan, operations: impl FnOnce() -> T) -> T {
        PLAN.set(plan);
        let result = operations();
        PLAN.set(NO_PLAN);
        result
    }

    pub(crate) fn witnessed<T>(witness: Witness, operations: impl FnOnce() -> T) -> T {
        WITNESS.set(Some(witness));
        let result = operations();
        WITNESS.set(None);
        result
    }

    pub(super) fn before(op: Op<'_>) -> io::Result<()> {
        let plan = PLAN.get();
        if plan.successes == 0 {
            if !plan.is_final {
                PLAN.set(Plan {
                    successes: usize::MAX,
                    ..plan
                });
            }
            if let Op::Write(mut file, bytes) = op {
                file.write_all(&bytes[..bytes.len() / 2]).unwrap();
            }
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        PLAN.set(Plan {
            successes: plan.successes - 1,
            ..plan
        });
        WITNESS.with_borrow_mut(|witness| {
            if let Some(witness) = witness {
                witness(op);
            }
        });
        Ok(())
    }

    pub(super) fn can_exchange() -> bool {
        PLAN.get().can_exchange
    }
}
