//! Every disk access of this workspace's libraries, one function per operation. Tests inject faults
//! here, and record which operations run in which order.

pub(crate) use std::fs::File;
use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, BufRead, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Why a file was not opened or read.
pub(crate) enum Refusal {
    Io(io::Error),
    NotRegular(&'static str),
    TooLarge { size: u64, max: u64 },
}

/// A disk operation about to run.
#[cfg_attr(not(test), expect(dead_code, reason = "only tests read the fields"))]
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

/// What [`kind_at`] calls a folder.
pub(crate) const FOLDER: &str = "folder";
pub(crate) const REGULAR: &str = "regular file";

/// The kind of a file as error messages name it.
fn kind(file_type: fs::FileType) -> &'static str {
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
        FOLDER
    } else if file_type.is_symlink() {
        "symbolic link"
    } else if file_type.is_file() {
        REGULAR
    } else {
        "special file"
    }
}

/// The kind of the file at `path`, without following links; `None` if there is none.
pub(crate) fn kind_at(path: &Path) -> io::Result<Option<&'static str>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(kind(metadata.file_type()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether `path` is a folder or a link to one.
pub(crate) fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// Reads a regular file of at most `max` bytes. Never blocks and follows no link.
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

/// Reads a file of any kind but a folder, of at most `max` bytes. Follows links; may block.
pub(crate) fn read_any(path: &Path, max: u64) -> Result<Vec<u8>, Refusal> {
    let file = open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Refusal::NotRegular(FOLDER));
    }
    let mut bytes = Vec::with_capacity(metadata.len().min(max) as usize); // growing would copy
    file.take(max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        size if size <= max => Ok(bytes),
        // A device has no size, and a pipe is not read to its end.
        size => Err(Refusal::TooLarge {
            size: size.max(metadata.len()),
            max,
        }),
    }
}

/// Opens a file of any kind for reading; follows links.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    fault::before(Op::Read)?;
    File::open(path)
}

/// Bytes of a file; links are not followed.
pub(crate) fn len(path: &Path) -> io::Result<u64> {
    Ok(fs::symlink_metadata(path)?.len())
}

/// When a file was last written; links are followed.
pub(crate) fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// Reads a file of `/proc`, which has no size.
pub(crate) fn read_proc(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

/// Names of the entries of a folder.
pub(crate) fn names(path: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(path)?
        .map(|entry| Ok(entry?.file_name()))
        .collect()
}

/// Creates a file that must not exist.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    fault::before(Op::Create(path))?;
    OpenOptions::new().append(true).create_new(true).open(path)
}

/// Opens an existing file for appending.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    fault::before(Op::Open)?;
    OpenOptions::new().append(true).open(path)
}

/// Opens a regular file for reading and appending.
pub(crate) fn open_to_extend(path: &Path) -> Result<File, Refusal> {
    fault::before(Op::Open)?;
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    open_regular(path, &mut options)
}

/// The lines of a file, which was opened for reading.
#[derive(Default)]
pub(crate) struct LinesFound {
    /// Number of complete lines.
    pub(crate) n: u64,
    /// Where the last complete line begins.
    pub(crate) last: u64,
    /// Where it ends, with its line end: the bytes of all complete lines.
    pub(crate) end: u64,
    /// The bytes of the file.
    pub(crate) len: u64,
}

/// Finds the lines of an open file.
pub(crate) fn find_lines(file: &File) -> io::Result<LinesFound> {
    fault::before(Op::Read)?;
    let mut found = LinesFound::default();
    let mut reader = io::BufReader::with_capacity(1 << 18, file);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            found.n += 1;
            (found.last, found.end) = (found.end, found.len + at as u64 + 1);
        }
        let n_bytes = bytes.len();
        found.len += n_bytes as u64;
        reader.consume(n_bytes);
    }
    Ok(found)
}

/// Some bytes of an open file.
pub(crate) fn read_range(mut file: &File, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    fault::before(Op::Read)?;
    file.seek(io::SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    file.take(range.end - range.start).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that other processes append to; created if it does not exist.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Opens the lock file, or creates it; does not change its content.
pub(crate) fn open_lock(path: &Path) -> Result<File, Refusal> {
    fault::before(match kind_at(path)? {
        None => Op::Create(path),
        Some(_) => Op::Open,
    })?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    open_regular(path, &mut options)
}

/// Takes the lock of an open file; waits while another process holds it.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    file.lock()
}

/// Takes the lock of an open file; `Ok(false)` if another process holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether another process holds the lock of the file at `path`. A missing file has no lock.
pub(crate) fn is_locked(path: &Path) -> Result<bool, Refusal> {
    fault::before(Op::Read)?;
    let file = match open_regular(path, OpenOptions::new().read(true)) {
        Err(Refusal::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Whether two paths lead to the same file, following links; false if one does not exist.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(a).is_some_and(|a| real(b) == Some(a))
}

/// Whether this open file is the one at `path`. Always true on systems without file numbers.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let number = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match fs::symlink_metadata(path) {
            Ok(there) => Ok(number(there) == number(file.metadata()?)),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        Ok(true)
    }
}

/// Whether no name of this open file is left.
pub(crate) fn is_deleted(file: &File) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        Ok(file.metadata()?.nlink() == 0)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(false)
    }
}

/// The present path of an open file, on Linux.
pub(crate) fn path_of(file: &File) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        None
    }
}

/// The first bytes of the lock file, at most `max`.
pub(crate) fn first_bytes(file: &File, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; max];
    #[cfg(unix)]
    let n_read = std::os::unix::fs::FileExt::read_at(file, &mut bytes, 0)?;
    #[cfg(not(unix))]
    let n_read = { file }.rewind().and_then(|()| { file }.read(&mut bytes))?;
    bytes.truncate(n_read);
    Ok(bytes)
}

/// Replaces the content of the lock file.
pub(crate) fn overwrite(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault::before(Op::Open)?;
    file.rewind()?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

/// Appends all bytes, in one system call if the system accepts that.
pub(crate) fn write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    fault::before(Op::Write(file, bytes))?;
    file.write_all(bytes)
}

pub(crate) fn set_len(file: &File, len: u64) -> io::Result<()> {
    fault::before(Op::SetLen(file, len))?;
    file.set_len(len)
}

/// Makes a file's content survive a power loss.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    fault::before(Op::Sync(file))?;
    if fault::SKIPS_SYNC {
        Ok(())
    } else {
        file.sync_all()
    }
}

/// Makes the names in a folder survive a power loss, on systems that can sync a folder.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    fault::before(Op::SyncDir(path))?;
    if cfg!(not(unix)) || fault::SKIPS_SYNC {
        Ok(())
    } else {
        File::open(path)?.sync_all()
    }
}

/// Creates a folder that must not exist; its parent must.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    fault::before(Op::CreateDir(path))?;
    fs::create_dir(path)
}

pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::before(Op::Rename(from, to))?;
    fs::rename(from, to)
}

/// Swaps two names atomically. `Ok(false)`, and nothing is changed, if the system cannot do that.
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

/// Opens a regular file. Checks the kind before and after opening, so that a FIFO never blocks and a
/// link created in between is not followed.
fn open_regular(path: &Path, options: &mut OpenOptions) -> Result<File, Refusal> {
    if let Some(kind) = kind_at(path)?
        && kind != REGULAR
    {
        return Err(Refusal::NotRegular(kind));
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

    pub(super) const SKIPS_SYNC: bool = false;

    pub(super) const fn before(_: Op<'_>) -> io::Result<()> {
        Ok(())
    }

    pub(super) const fn can_exchange() -> bool {
        true
    }
}

/// Makes the n-th operation of a thread fail: alone, or with all that follow, as if the process were
/// killed. A failed write leaves half of its bytes.
#[cfg(test)]
pub(crate) mod fault {
    use super::Op;
    use std::cell::{Cell, RefCell};
    use std::io::{self, Write};

    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Plan {
        /// Number of operations that succeed first.
        pub(crate) successes: usize,
        /// Whether all later operations fail too.
        pub(crate) is_final: bool,
        pub(crate) can_exchange: bool,
    }

    /// Tests save thousands of times and never lose power, so they do not wait for the disk.
    pub(super) const SKIPS_SYNC: bool = true;

    pub(crate) const NO_PLAN: Plan = Plan {
        successes: usize::MAX,
        is_final: false,
        can_exchange: true,
    };

    thread_local! {
        static PLAN: Cell<Plan> = const { Cell::new(NO_PLAN) };
        static OBSERVER: RefCell<Option<Observer>> = const { RefCell::new(None) };
    }

    /// Receives every operation before it runs.
    pub(crate) type Observer = Box<dyn FnMut(Op<'_>)>;

    pub(crate) fn during<T>(plan: Plan, operations: impl FnOnce() -> T) -> T {
        PLAN.set(plan);
        let result = operations();
        PLAN.set(NO_PLAN);
        result
    }

    pub(crate) fn observed<T>(observer: Observer, operations: impl FnOnce() -> T) -> T {
        OBSERVER.set(Some(observer));
        let result = operations();
        OBSERVER.set(None);
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
        OBSERVER.with_borrow_mut(|observer| {
            if let Some(observer) = observer {
                observer(op);
            }
        });
        Ok(())
    }

    pub(super) fn can_exchange() -> bool {
        PLAN.get().can_exchange
    }
}
