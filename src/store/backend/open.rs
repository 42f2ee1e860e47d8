//! Opening a store: every precaution in its order, and a message that tells what to do where one of them objects.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::change::Loaded;
use crate::store::error::{OpenError, StoreError, is_full};
use crate::store::keys::{KeyError, KeyRing};
use crate::store::port::Store;
use crate::time::SharedClock;

use super::closed::{Log, Sizes, Trouble};
use super::disk::{Disk, Fault, Sync, make_private_dir, parent};
use super::files;
use super::host::{FileSystem, InstanceLock, Reserve, file_system, io_error, is_not_writable, wait_until_released};
use super::inspect::{Findings, inspect};
use super::mark::HighWaterMark;
use super::sled_store::{SledStore, check_log, first_warning, write_first};

/// The newest layout of the folder that this program knows.
const FORMAT: u32 = 2;
/// The format before closed grants had files of their own: it is taken, and raised.
const CLOSED_IN_ENGINE: u32 = 1;

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
    /// When the files of closed grants are full.
    pub sizes: Sizes,
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
            cache_mb: 16,
            clock,
            reserve_bytes: 8 * 1024 * 1024,
            sizes: Sizes::default(),
            sync: Sync::Real,
            fault: None,
        }
    }

    /// The folder that holds the store's and the keys' folders.
    pub fn data_dir(&self) -> &Path {
        parent(&self.path)
    }
}

/// An opened store.
pub struct Opened {
    /// The store.
    pub store: Box<dyn Store>,
    /// What it holds.
    pub loaded: Loaded,
    /// What the operator should know; a line each, without secrets.
    pub notices: Vec<String>,
}

/// Opens a store, making it where there is none. It blocks: up to 5 s for a predecessor to let go, and as long as
/// reading everything takes (0.1 s for 100,000 records).
pub fn open(options: &StoreOptions) -> Result<Opened, OpenError> {
    let root = &options.path;
    let mut notices = Vec::new();
    let disk = Disk::new(options.sync, options.fault);
    make_private_dir(root).map_err(|e| refused("make the folder", root, e))?;
    check_file_system(root, &mut notices)?;
    let lock = InstanceLock::take(root)?;
    prepare(root, options, &disk, &mut notices)?;

    let copied = copy_if_unclean(root, &disk, &mut notices)?;
    files::unmark_clean(root, &disk).map_err(|e| refused("write to", root, e))?;
    let reserve = Reserve::new(root, options.reserve_bytes);
    let (db, keys, mark, found, log) = match read_all(options, &disk) {
        // The engine writes a snapshot while it opens: the reserve is for this.
        Err(Failure::Error(OpenError::DiskFull { .. })) if reserve.free() => {
            notices.push("the disk is full: the reserve file was freed to open the journal".to_owned());
            read_all(options, &disk)
        }
        other => other,
    }
    .map_err(|failure| failure.into_error(root, copied, &disk))?;
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
    raise_format(root, &log, &disk)?;
    let engine_file = root.join(files::ENGINE).join("db");
    let db_file = File::open(&engine_file).map_err(|e| refused("open", &engine_file, e))?;
    // A kill between a transaction and its mark leaves the mark behind. What was found is served from now on, so it
    // must be on the disk, and counts as acknowledged.
    disk.sync_data(&db_file)
        .and_then(|()| mark.advance(found.meta.commit, &disk))
        .map_err(|e| refused("write to", root, e))?;
    let mut per_hour = BTreeMap::new();
    for hour in found.hours.values() {
        *per_hour.entry(*hour).or_insert(0) += 1;
    }
    let mut store = SledStore {
        db,
        db_file,
        mark,
        keys,
        disk,
        clock: options.clock.clone(),
        meta: found.meta,
        log,
        hours: found.hours,
        per_hour,
        idle_hours: true,
        failed: None,
        commits: 0,
        warn_at: first_warning(),
        reserve,
        root: root.clone(),
        lock,
    };
    match store.migrate_closed() {
        Ok(0) => {}
        Ok(n) => notices.push(format!(
            "{n} closed grants were moved out of the engine into `{}`",
            files::CLOSED
        )),
        Err(e) => return Err(not_migrated(root, e)),
    }
    store.commits = 0;
    store.disk.arm();
    store.keys.arm();
    Ok(Opened {
        store: Box::new(store),
        loaded: found.loaded,
        notices,
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
            "`{}` is on a file system ({kind}) whose locks and syncs nobody has tried here",
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
fn prepare(root: &Path, options: &StoreOptions, disk: &Disk, notices: &mut Vec<String>) -> Result<(), OpenError> {
    let format = root.join(files::FORMAT);
    let engine = root.join(files::ENGINE);
    let found = match fs::read_to_string(&format) {
        Ok(text) => Some(text.trim().parse().unwrap_or(0)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Some(0),
        Err(e) => return Err(refused("read", &format, e)),
    };
    match found {
        Some(found @ FORMAT..) if found > FORMAT => {
            return Err(OpenError::Newer {
                path: root.to_owned(),
                found,
                known: FORMAT,
            });
        }
        Some(FORMAT | CLOSED_IN_ENGINE) | None => {}
        Some(_) => {
            return Err(damaged(
                root,
                false,
                format!("`{}` cannot be read", format.display()),
                disk,
            ));
        }
    }
    if engine.exists() {
        let torn = files::remove_torn_snapshots(root).map_err(|e| refused("clean", &engine, e))?;
        for name in torn {
            notices.push(format!(
                "a snapshot that a kill had left half-written was removed: `{name}`"
            ));
        }
    } else if found.is_some() {
        let what = format!("the folder `{}` is missing", engine.display());
        return Err(damaged(root, false, what, disk));
    } else {
        files::initialise(root, disk, |init| {
            let db = configuration(init, options).open()?;
            write_first(&db)?;
            drop(db);
            wait_until_released(&init.join("db"))?;
            HighWaterMark::create(&init.join(files::MARK))?;
            Ok(())
        })
        .map_err(|e: sled::Error| match e {
            sled::Error::Io(e) => refused("initialise", root, e),
            other => refused("initialise", root, io::Error::other(other)),
        })?;
    }
    Ok(())
}

/// Says that closed grants have files, before there is one, and takes away what nothing refers to. An older program
/// refuses the folder from here on.
fn raise_format(root: &Path, log: &Log, disk: &Disk) -> Result<(), OpenError> {
    let format = root.join(files::FORMAT);
    let newest = format!("{FORMAT}\n");
    if fs::read_to_string(&format).ok().as_ref() != Some(&newest) {
        disk.write_whole(&format, newest.as_bytes())
            .map_err(|e| refused("write", &format, e))?;
    }
    make_private_dir(&log.dir)
        .and_then(|()| disk.sync_dir(root))
        .and_then(|()| log.tidy())
        .map_err(|e| refused("write to", &log.dir, e))
}

/// Nothing is lost by it: what has been moved is in its new place, the rest in the old one.
fn not_migrated(root: &Path, e: StoreError) -> OpenError {
    match e {
        StoreError::Full => OpenError::DiskFull { path: root.to_owned() },
        other => io_error("move the closed grants of", root, io::Error::other(other)),
    }
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

/// Why the content could not be had.
enum Failure {
    /// Something in the surroundings.
    Error(OpenError),
    /// The content is not what was acknowledged.
    Damage(String),
}

impl Failure {
    fn into_error(self, root: &Path, copied: bool, disk: &Disk) -> OpenError {
        match self {
            Self::Error(e) => e,
            Self::Damage(what) => damaged(root, copied, what, disk),
        }
    }
}

fn damaged(root: &Path, copied: bool, what: String, disk: &Disk) -> OpenError {
    OpenError::Damaged {
        what,
        kept_where: files::keep_evidence(root, copied, disk),
        cure: format!(
            "restore the data folder from a backup, or move `{}` aside and start anew: codes that are still in the \
             channel are then read again, but open grants are lost and their tokens live until they expire",
            root.display()
        ),
    }
}

type Everything = (sled::Db, KeyRing, HighWaterMark, Findings, Log);

/// Opens the engine and reads everything. Damage makes the engine panic in places, so all of it is guarded.
fn read_all(options: &StoreOptions, disk: &Disk) -> Result<Everything, Failure> {
    let root = &options.path;
    let engine = root.join(files::ENGINE);
    let mut keys = KeyRing::open(options.data_dir(), disk.clone()).map_err(|e| match e {
        KeyError::Io { what, path, source } => Failure::Error(refused(what, &path, source)),
        other @ KeyError::Length { .. } => Failure::Damage(other.to_string()),
    })?;
    let mark_file = engine.join(files::MARK);
    let mark = match HighWaterMark::open(&mark_file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::Damage(format!(
                "the file `{}` is missing",
                mark_file.display()
            )));
        }
        other => other.map_err(|e| Failure::Error(refused("open", &mark_file, e)))?,
    };
    let acknowledged = mark
        .read()
        .map_err(|e| Failure::Error(refused("read", &mark_file, e)))?
        .ok_or_else(|| Failure::Damage(format!("`{}` cannot be read", mark_file.display())))?;
    // An engine that finds no file makes an empty one: that would be a new store, not this one.
    for name in ["db", "conf"] {
        if !engine.join(name).exists() {
            return Err(Failure::Damage(format!(
                "the file `{}` is missing",
                engine.join(name).display()
            )));
        }
    }
    let (db, mut found) = catch_unwind(AssertUnwindSafe(|| {
        let db = open_engine(&engine, options)?;
        let found = inspect(&db, &mut keys).map_err(|e| engine_failure(&engine, e))?;
        Ok((db, found))
    }))
    .unwrap_or_else(|panic| Err(Failure::Damage(format!("the engine panicked: {}", panic_text(&*panic)))))?;
    if let Some(first) = found.problems.first() {
        let more = match found.problems.len() - 1 {
            0 => String::new(),
            n => format!(" (and {n} more)"),
        };
        return Err(Failure::Damage(format!("{}: {}{more}", first.kind, first.detail)));
    }
    if found.meta.commit < acknowledged {
        return Err(Failure::Damage(format!(
            "high_water_mark: commit {acknowledged} was acknowledged, the last one found is {}",
            found.meta.commit
        )));
    }
    let log = Log {
        dir: root.join(files::CLOSED),
        sizes: options.sizes,
        tail: std::mem::take(&mut found.tail),
        segments: std::mem::take(&mut found.segments),
    };
    let damage = check_log(&log, &found.hours, &mut found.mismatches).map_err(|trouble| match trouble {
        Trouble::Io(path, e) => Failure::Error(refused("read", &path, e)),
        Trouble::Damage(what) => Failure::Damage(what),
    })?;
    if let Some(first) = damage.first() {
        return Err(Failure::Damage(format!("segment: {first}")));
    }
    Ok((db, keys, mark, found, log))
}

/// Opens sled, waiting up to 5 s for a predecessor in this process: it lets go of its file on its own threads.
fn open_engine(engine: &Path, options: &StoreOptions) -> Result<sled::Db, Failure> {
    let file = engine.join("db");
    wait_until_released(&file).map_err(|e| Failure::Error(refused("lock", &file, e)))?;
    let mut waited = Duration::ZERO;
    loop {
        match configuration(engine, options).open() {
            // Sled wraps the cause; only the text tells it.
            Err(sled::Error::Io(e)) if e.to_string().contains("WouldBlock") => {
                if waited >= Duration::from_secs(5) {
                    return Err(Failure::Error(OpenError::Locked {
                        path: options.path.clone(),
                        holder: None,
                    }));
                }
                std::thread::sleep(Duration::from_millis(20));
                waited += Duration::from_millis(20);
            }
            Err(e) => return Err(engine_failure(engine, e)),
            Ok(db) => return Ok(db),
        }
    }
}

/// One writer, small cache, little disk; no background flusher, whose errors would only be logged.
pub(super) fn configuration(engine: &Path, options: &StoreOptions) -> sled::Config {
    sled::Config::new()
        .path(engine)
        .cache_capacity(options.cache_mb.max(1) * 1024 * 1024)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(None)
        .use_compression(false)
        .segment_size(segment_size(engine))
}

/// The engine's own segments: with 64 kB it takes half the room for what is remembered for minutes that it takes with its
/// usual 512 kB (32 instead of 57 MB for 8,400 codes; measured). A store keeps the size that it was made with.
///
/// What is larger than a quarter of one would go to files that the engine never syncs. A leaf has at most 20 values,
/// which is why [`PIECE`](crate::store::seal::PIECE) is as small as it is.
const SEGMENT: usize = 64 * 1024;

fn segment_size(engine: &Path) -> usize {
    let made_with = fs::read_to_string(engine.join("conf")).ok().and_then(|conf| {
        let size = conf.lines().find_map(|line| line.strip_prefix("segment_size: "))?;
        size.trim().parse().ok()
    });
    // Any other number is damage, which the engine finds itself; it takes powers of two alone.
    made_with
        .filter(|size: &usize| size.is_power_of_two() && (256..=1 << 24).contains(size))
        .unwrap_or(SEGMENT)
}

fn engine_failure(engine: &Path, e: sled::Error) -> Failure {
    match e {
        // `Other` and the like come from the engine's reading of its own files.
        sled::Error::Io(e) if is_full(e.kind()) || is_not_writable(&e) => Failure::Error(refused("open", engine, e)),
        sled::Error::Io(e) if e.raw_os_error().is_some() => Failure::Error(refused("read", engine, e)),
        other => Failure::Damage(format!("the engine cannot read its files: {other}")),
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
