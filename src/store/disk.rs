//! Files and their syncing: the one place that calls fsync, counts it, or fails it on purpose. It knows no records.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Whether durability is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// Every sync reaches the disk.
    #[default]
    Real,
    /// Syncs are counted, not done: for tests in virtual time, where a kill is that of a process, not of the power.
    Counted,
}

/// A fault made on purpose, for tests. Commits and syncs count from 1, from the end of the opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The n-th sync fails with an I/O error.
    FailSync(u64),
    /// The n-th commit finds the disk full, before anything is applied.
    FullAtCommit(u64),
    /// The n-th commit finds the disk full after everything is applied, before it is synced.
    FullAtSyncOfCommit(u64),
    /// The n-th commit takes this much longer.
    HangAtCommit(u64, Duration),
    /// The n-th commit panics inside the storage engine.
    PanicAtCommit(u64),
}

/// The disk as the store uses it.
#[derive(Debug, Clone)]
pub struct Disk {
    sync: Sync,
    fault: Option<Fault>,
    /// Faults wait until the store is open.
    armed: Arc<AtomicBool>,
    syncs: Arc<AtomicU64>,
}

impl Disk {
    /// One whose faults wait for [`Disk::arm`].
    pub fn new(sync: Sync, fault: Option<Fault>) -> Self {
        Self {
            sync,
            fault,
            armed: Arc::default(),
            syncs: Arc::default(),
        }
    }

    /// Lets faults happen from now on.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        self.syncs.store(0, Ordering::Relaxed);
    }

    /// Syncs so far, done or counted.
    #[cfg(test)]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// The fault that is due at a commit.
    pub fn fault_at_commit(&self, nth: u64) -> Option<Fault> {
        let armed = self.fault.filter(|_| self.armed.load(Ordering::Relaxed));
        armed.filter(|fault| match *fault {
            Fault::FullAtCommit(n)
            | Fault::FullAtSyncOfCommit(n)
            | Fault::HangAtCommit(n, _)
            | Fault::PanicAtCommit(n) => n == nth,
            Fault::FailSync(_) => false,
        })
    }

    /// Makes a file's content durable (fdatasync).
    pub fn sync_data(&self, file: &File) -> io::Result<()> {
        self.sync(|| file.sync_data())
    }

    /// Makes a folder's entries durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync(|| File::open(dir)?.sync_all())
    }

    fn sync(&self, really: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let nth = self.syncs.fetch_add(1, Ordering::Relaxed) + 1;
        if self.armed.load(Ordering::Relaxed) && self.fault == Some(Fault::FailSync(nth)) {
            return Err(io::Error::other("a sync failed on purpose"));
        }
        match self.sync {
            Sync::Real => really(),
            Sync::Counted => Ok(()),
        }
    }

    /// Writes a whole file that exists afterwards completely or not at all, readable by its owner alone.
    pub fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_added_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        self.sync_data(&file)?;
        fs::rename(&new, path)?;
        self.sync_dir(parent(path))
    }

    /// Makes every file and folder below a folder durable.
    pub fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        for file in files_below(dir)? {
            self.sync_data(&File::open(file)?)?;
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.sync_dir(&entry.path())?;
            }
        }
        self.sync_dir(dir)
    }
}

/// The folder that holds a path; the current folder for a bare name.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Makes a folder, and those above it, for its owner alone.
pub(super) fn make_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Every file below a folder, in the order of their names.
pub(super) fn files_below(dir: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies a folder with everything below it, folders readable by their owner alone.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    make_private_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    /// The kernel refuses to sync a pipe, so a call that succeeds there has not reached it.
    #[test]
    fn a_real_sync_asks_the_kernel_and_a_counted_one_does_not() {
        let (reader, _writer) = io::pipe().expect("a pipe");
        let pipe = File::from(OwnedFd::from(reader));
        let dir = tempfile::tempdir().expect("a folder");
        for (sync, asked) in [(Sync::Real, true), (Sync::Counted, false)] {
            let disk = Disk::new(sync, None);
            assert_eq!(disk.sync_data(&pipe).is_err(), asked, "{sync:?}");
            assert_eq!(disk.sync_dir(&dir.path().join("missing")).is_err(), asked, "{sync:?}");
            assert_eq!(disk.syncs(), 2);
        }
    }
}
