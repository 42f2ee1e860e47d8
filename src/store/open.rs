//! Opening a store in a folder: every precaution in its order, and a message that says what to do where one objects.

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Fault, Sync, make_private_dir, parent};
use super::error::{OpenError, StoreError, is_full};
use super::files;
use super::folder::Folder;
use super::host::{FileSystem, InstanceLock, Reserve, file_system, io_error, is_not_writable};
use super::keys::{KeyError, KeyRing};
use super::records::Records;
use super::sled_engine::SledEngine;
use super::write_ahead::WriteAhead;
use crate::time::SharedClock;

/// The layout of the folder that this program knows.
const FORMAT: u32 = 1;

/// How a store is opened.
#[derive(Clone)]
pub struct StoreOptions {
    /// Its folder; keys lie beside it, in `keys`.
    pub path: PathBuf,
    /// The engine's page cache, in megabytes.
    pub cache_mb: u64,
    /// Tells which hours are over.
    pub clock: SharedClock,
    /// Room kept for the day when the disk is full, in bytes.
    pub reserve_bytes: u64,
    /// Bytes of the write-ahead log of a store that is made new.
    pub log_bytes: usize,
    /// Closed grants that wait in the engine for each write to their log.
    pub closed_group: usize,
    /// Whether syncs are done.
    pub sync: Sync,
    /// A fault made on purpose, for tests.
    pub fault: Option<Fault>,
}

impl StoreOptions {
    /// The usual options for a folder.
    pub fn new(path: impl Into<PathBuf>, clock: SharedClock) -> Self {
        Self {
            path: path.into(),
            cache_mb: 2,
            clock,
            reserve_bytes: 8 * 1024 * 1024,
            log_bytes: 4 * 1024 * 1024,
            closed_group: 128,
            sync: Sync::Real,
            fault: None,
        }
    }

    /// The folder that holds the store's and the keys' folders.
    pub fn data_dir(&self) -> &Path {
        parent(&self.path)
    }

    /// The folder of closed grants.
    pub(super) fn closed_dir(&self) -> PathBuf {
        self.path.join(files::CLOSED)
    }

    /// A failure of an opening that is no damage.
    pub(super) fn refused(&self, e: StoreError) -> OpenError {
        let path = self.path.clone();
        match e {
            StoreError::Full => OpenError::DiskFull { path },
            StoreError::Io {
                kind: io::ErrorKind::WouldBlock,
                ..
            } => OpenError::Locked { path, holder: None },
            StoreError::Io { what, kind, detail } => refused(&what, &path, io::Error::new(kind, detail)),
            other => refused("open", &path, io::Error::other(other)),
        }
    }
}

/// An opened folder: its records, and what the caller's own loading made of them.
pub struct OpenedFolder<L> {
    /// The records.
    pub records: Records,
    /// What was loaded.
    pub loaded: L,
    /// What the operator should know; a line each, without secrets.
    pub notices: Vec<String>,
}

/// Opens a store in a folder, making it where there is none. `load` reads all records, and may answer with
/// [`StoreError::Damaged`]; it may be called twice. Nothing in the engine is changed before it has succeeded.
pub fn open_folder<L>(
    options: &StoreOptions,
    mut load: impl FnMut(&mut Records, &Disk) -> Result<L, StoreError>,
) -> Result<OpenedFolder<L>, OpenError> {
    let root = &options.path;
    let mut notices = Vec::new();
    let disk = Disk::new(options.sync, options.fault);
    make_private_dir(root).map_err(|e| refused("make the folder", root, e))?;
    check_file_system(root, &mut notices)?;
    let lock = InstanceLock::take(root)?;
    prepare(options, &disk, &mut notices)?;
    let copied = copy_if_unclean(root, &disk, &mut notices)?;
    files::unmark_clean(root, &disk).map_err(|e| refused("write to", root, e))?;
    let reserve = Reserve::new(root, options.reserve_bytes);
    KeyRing::open(options.data_dir(), disk.clone()).map_err(|e| match e {
        KeyError::Io { what, path, source } => refused(what, &path, source),
        other @ KeyError::Length { .. } => damaged(root, copied, other.to_string(), &disk),
    })?;
    let lock = Arc::new(lock);
    let mut read = || read_all(options, &disk, &reserve, &lock, &mut load);
    let (mut records, loaded) = match read() {
        // The engine writes a snapshot while it opens: the reserve is for this.
        Err(StoreError::Full) if reserve.free() => {
            notices.push("the disk is full: the reserve file was freed to open the journal".to_owned());
            read()
        }
        other => other,
    }
    .map_err(|e| match e {
        StoreError::Damaged { what } => damaged(root, copied, what, &disk),
        StoreError::Sealing { .. } | StoreError::Panicked => damaged(root, copied, e.to_string(), &disk),
        other => options.refused(other),
    })?;
    // What was found is served from now on: it goes to the engine, and the log starts again.
    records.rest().map_err(|e| options.refused(e))?;
    files::opening_ended(root, &disk).map_err(|e| refused("rename in", root, e))?;
    if let Some(name) = files::file_evidence_away(root).map_err(|e| refused("rename in", root, e))? {
        notices.push(format!(
            "the journal opens again; the files of the earlier damage are in `{name}`"
        ));
    }
    match reserve.take() {
        Ok(held) if held >= options.reserve_bytes => {}
        Ok(held) => notices.push(format!("the disk is nearly full: only {} kB were reserved", held >> 10)),
        Err(e) if is_full(e.kind()) => notices.push("the disk is nearly full: no room was reserved".to_owned()),
        Err(e) => return Err(refused("reserve room in", root, e)),
    }
    let format = root.join(files::FORMAT);
    if !format.exists() {
        disk.write_whole(&format, format!("{FORMAT}\n").as_bytes())
            .map_err(|e| refused("write", &format, e))?;
    }
    disk.arm();
    Ok(OpenedFolder {
        records,
        loaded,
        notices,
    })
}

/// Opens the engine and reads everything. Damage makes the engine panic in places, so all of it is guarded.
fn read_all<L>(
    options: &StoreOptions,
    disk: &Disk,
    reserve: &Reserve,
    lock: &Arc<InstanceLock>,
    load: &mut impl FnMut(&mut Records, &Disk) -> Result<L, StoreError>,
) -> Result<(Records, L), StoreError> {
    let engine = options.path.join(files::ENGINE);
    let log = engine.join(files::LOG);
    let keys = KeyRing::open(options.data_dir(), disk.clone())?;
    // An engine that finds no file makes an empty one: that would be a new store, not this one.
    let missing = SledEngine::missing_file(&engine).or_else(|| (!log.exists()).then(|| log.clone()));
    if let Some(file) = missing {
        return Err(StoreError::damaged(format!("the file `{}` is missing", file.display())));
    }
    catch_unwind(AssertUnwindSafe(|| {
        let inner = SledEngine::open(&engine, options.cache_mb, disk.clone())?;
        let folder = Folder {
            engine: WriteAhead::open(inner, &log, disk.clone())?,
            disk: disk.clone(),
            reserve: reserve.clone(),
            root: options.path.clone(),
            failed: None,
            lock: lock.clone(),
        };
        let mut records = Records::new(Box::new(folder), Box::new(keys));
        let loaded = load(&mut records, disk)?;
        Ok((records, loaded))
    }))
    .unwrap_or_else(|panic| {
        Err(StoreError::damaged(format!(
            "the engine panicked: {}",
            panic_text(&*panic)
        )))
    })
}

fn check_file_system(root: &Path, notices: &mut Vec<String>) -> Result<(), OpenError> {
    match file_system(root) {
        FileSystem::Local => {}
        FileSystem::Memory => notices.push(format!(
            "`{}` is kept in memory: nothing in it survives a restart of the machine",
            root.display()
        )),
        FileSystem::Unknown(kind) => notices.push(format!(
            "`{}` is on a file system ({kind}) on which codeferry has not been tested",
            root.display()
        )),
        FileSystem::Network(kind) => {
            return Err(OpenError::NetworkFileSystem {
                path: root.to_owned(),
                kind,
            });
        }
    }
    Ok(())
}

/// Makes a new store, or sees to it that an old one can be opened.
fn prepare(options: &StoreOptions, disk: &Disk, notices: &mut Vec<String>) -> Result<(), OpenError> {
    let root = &options.path;
    let format = root.join(files::FORMAT);
    let engine = root.join(files::ENGINE);
    let found: Option<u32> = match fs::read_to_string(&format) {
        Ok(text) => Some(text.trim().parse().unwrap_or(0)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Some(0),
        Err(e) => return Err(refused("read", &format, e)),
    };
    match found {
        Some(FORMAT) | None => {}
        Some(0) => {
            let what = format!("`{}` cannot be read", format.display());
            return Err(damaged(root, false, what, disk));
        }
        Some(found) => {
            return Err(OpenError::Newer {
                path: root.to_owned(),
                found,
                known: FORMAT,
            });
        }
    }
    if engine.exists() {
        for name in SledEngine::remove_torn_snapshots(&engine).map_err(|e| refused("clean", &engine, e))? {
            notices.push(format!(
                "a snapshot that a kill had left half-written was removed: `{name}`"
            ));
        }
        return Ok(());
    }
    if found.is_some() {
        let what = format!("the folder `{}` is missing", engine.display());
        return Err(damaged(root, false, what, disk));
    }
    files::initialise(root, disk, |init| {
        let mut inner = SledEngine::open(init, options.cache_mb, disk.clone())?;
        WriteAhead::create(&mut inner, &init.join(files::LOG), options.log_bytes)?;
        drop(inner);
        SledEngine::wait_until_released(init)
            .map(drop)
            .map_err(|e| StoreError::io("failed to lock the engine", &e))
    })
    .map_err(|e| options.refused(e))
}

fn copy_if_unclean(root: &Path, disk: &Disk, notices: &mut Vec<String>) -> Result<bool, OpenError> {
    if files::ended_cleanly(root).map_err(|e| refused("read", root, e))? {
        return Ok(false);
    }
    let copied = files::copy_before_opening(root, disk).map_err(|e| refused("copy", root, e))?;
    if !copied {
        notices.push("no room for a copy of the journal before opening it after an unclean end".to_owned());
    }
    Ok(copied)
}

fn damaged(root: &Path, copied: bool, what: String, disk: &Disk) -> OpenError {
    OpenError::Damaged {
        what,
        kept_where: files::keep_evidence(root, copied, disk),
        cure: format!(
            "restore the data folder from a backup, or move `{}` aside and start with an empty one: codes that are still in the \
             channel are then read again, but open grants are lost and their tokens live until they expire",
            root.display()
        ),
    }
}

fn refused(what: &str, path: &Path, source: io::Error) -> OpenError {
    if is_full(source.kind()) {
        OpenError::DiskFull { path: path.to_owned() }
    } else if is_not_writable(&source) {
        OpenError::NotWritable {
            path: path.to_owned(),
            source,
        }
    } else {
        io_error(what, path, source)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
