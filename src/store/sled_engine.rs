//! sled 0.34 as an [`Engine`]: the only file that names that crate.
//!
//! What sled does not do is done around it, each point from a measured failure: its flush stops at the page cache (own
//! `fdatasync`), values above a quarter of a segment become files that it never syncs (they are split into pieces), a kill
//! while it opens can make it unopenable (torn snapshots are removed), it panics on damage (caught where a store is
//! opened), after a failed call it may wait for ever (its calls have a limit), and it deadlocks under transactions from
//! several threads (one thread owns it). That it loses records silently
//! after damage is found one layer above, by the digest in `write_ahead.rs`.

use std::fs::{self, File};
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::change::Problem;
use super::disk::{Disk, files_below};
use super::engine::{Batch, Engine};
use super::error::{StoreError, is_full};
use super::host::{free_bytes, is_not_writable};
use super::port::Room;

/// With segments of 64 kB the engine takes half the room for records that live for minutes that it takes with its usual
/// 512 kB (32 instead of 57 MB for 8,400 codes; measured).
const SEGMENT: usize = 64 * 1024;
/// The most a piece of a value holds. A leaf has at most 20 values, and with their keys they must stay below a quarter of a
/// segment: what is larger becomes a blob file.
const PIECE: usize = 680;
/// Files without which sled would make a new, empty store.
const FILES: [&str; 2] = ["db", "conf"];
/// How long the file of a predecessor in this process may stay locked: sled frees it on its own threads, some time after it
/// was dropped.
const RELEASE_TRIES: u32 = 500;
const RELEASE_EVERY: Duration = Duration::from_millis(10);
/// How long opening the engine may take. A journal of the largest size opens in seconds.
const OPENS_WITHIN: Duration = Duration::from_mins(1);
/// How long a flush may take. While the service runs, the committer's watchdog has given up before.
const FLUSHES_WITHIN: Duration = Duration::from_secs(30);

/// sled, with a second handle of its file for syncing.
pub struct SledEngine {
    db: sled::Db,
    file: File,
    dir: PathBuf,
    disk: Disk,
}

impl SledEngine {
    /// Makes an engine in an empty folder, or opens the one that is there.
    pub fn open(dir: &Path, cache_mb: u64, disk: Disk) -> Result<Self, StoreError> {
        Self::wait_until_released(dir).map_err(|e| StoreError::io("failed to lock the engine", &e))?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_mb.max(1) * 1024 * 1024)
            .mode(sled::Mode::LowSpace)
            // Its flusher would only log its errors.
            .flush_every_ms(None)
            .use_compression(false)
            .segment_size(SEGMENT);
        let mut tries = 0;
        let db = loop {
            let config = config.clone();
            match within(OPENS_WITHIN, "open the engine", move || config.open())? {
                // Sled wraps the cause; only the text tells it.
                Err(sled::Error::Io(e)) if e.to_string().contains("WouldBlock") => {
                    if tries == RELEASE_TRIES {
                        return Err(StoreError::io(
                            "failed to lock the engine",
                            &io::ErrorKind::WouldBlock.into(),
                        ));
                    }
                    tries += 1;
                    std::thread::sleep(RELEASE_EVERY);
                }
                Err(e) => return Err(open_failure(e)),
                Ok(db) => break db,
            }
        };
        let file = File::open(dir.join("db")).map_err(|e| StoreError::io("failed to open the engine's file", &e))?;
        Ok(Self {
            db,
            file,
            dir: dir.to_owned(),
            disk,
        })
    }

    /// A file that must be there and is not.
    pub fn missing_file(dir: &Path) -> Option<PathBuf> {
        FILES.map(|name| dir.join(name)).into_iter().find(|file| !file.exists())
    }

    /// Removes snapshots that a kill has left half-written. Only those: a complete `snap.X` is part of the data, and
    /// deleting one has silently emptied whole stores.
    pub fn remove_torn_snapshots(dir: &Path) -> io::Result<Vec<String>> {
        let mut removed = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fs::remove_file(entry.path())?;
                removed.push(name);
            }
        }
        Ok(removed)
    }

    /// Waits until sled has released its file; says whether it has. (Opening again at once failed in about one of sixty
    /// starts.)
    pub fn wait_until_released(dir: &Path) -> io::Result<bool> {
        for _ in 0..RELEASE_TRIES {
            let file = match File::open(dir.join("db")) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
                other => other?,
            };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(true);
            }
            std::thread::sleep(RELEASE_EVERY);
        }
        Ok(false)
    }

    fn flush(&self) -> Result<(), StoreError> {
        let db = self.db.clone();
        let flushed = within(FLUSHES_WITHIN, "flush", move || db.flush())?;
        flushed.map(drop).map_err(|e| failed("flush", &e))
    }

    /// The piece of a value, and how many pieces the value has.
    fn piece(&self, key: &[u8], n: u16) -> Result<Option<(u16, sled::IVec)>, StoreError> {
        let Some(stored) = self.db.get(piece_key(key, n)).map_err(|e| failed("read", &e))? else {
            return Ok(None);
        };
        let count = piece_count(&stored).ok_or_else(|| StoreError::damaged("envelope: a value without its head"))?;
        Ok(Some((count, stored)))
    }
}

/// A piece begins with the number of pieces.
fn piece_count(stored: &[u8]) -> Option<u16> {
    stored.first_chunk().map(|count| u16::from_be_bytes(*count))
}

/// A key as sled has it: the number of the piece follows.
fn piece_key(key: &[u8], n: u16) -> Vec<u8> {
    let mut full = Vec::with_capacity(key.len() + 2);
    full.extend_from_slice(key);
    full.extend_from_slice(&n.to_be_bytes());
    full
}

impl Engine for SledEngine {
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch.0 {
            let before = self.piece(&key, 0)?.map_or(0, |(count, _)| count);
            let mut after = 0;
            if let Some(value) = value {
                // An empty value has one empty piece.
                after = u16::try_from(value.len().div_ceil(PIECE).max(1)).map_err(|_| StoreError::Sealing {
                    what: "a value is larger than 44 MB".to_owned(),
                })?;
                for n in 0..after {
                    let from = usize::from(n) * PIECE;
                    let bytes = &value[from..value.len().min(from + PIECE)];
                    writes.insert(piece_key(&key, n), [&after.to_be_bytes()[..], bytes].concat());
                }
            }
            for n in after..before {
                writes.remove(piece_key(&key, n));
            }
        }
        self.db
            .apply_batch(writes)
            .map_err(|e| failed("apply a transaction", &e))?;
        self.flush()?;
        self.disk
            .sync_data(&self.file)
            .map_err(|e| StoreError::io("failed to sync the engine's file", &e))
    }

    fn read(&mut self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = super::engine::full_key(table, key);
        let Some((count, first)) = self.piece(&key, 0)? else {
            return Ok(None);
        };
        let mut value = first[2..].to_vec();
        for n in 1..count {
            let (_, next) = self
                .piece(&key, n)?
                .ok_or_else(|| StoreError::damaged("envelope: a piece of a value is missing"))?;
            value.extend_from_slice(&next[2..]);
        }
        Ok(Some(value))
    }

    fn scan(&mut self, table: u8, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        let broken = || StoreError::damaged("envelope: the pieces of a value do not follow each other");
        let mut value = Vec::new();
        let mut next = 0;
        let mut total = 0;
        for item in self.db.scan_prefix([table]) {
            let (key, stored) = item.map_err(|e| failed("scan", &e))?;
            let (record, n) = key[1..].split_last_chunk::<2>().ok_or_else(broken)?;
            let count = piece_count(&stored).ok_or_else(broken)?;
            let n = u16::from_be_bytes(*n);
            if n == 0 && next == total {
                (next, total) = (0, count);
                value.clear();
            }
            if n != next || count != total {
                return Err(broken());
            }
            value.extend_from_slice(&stored[2..]);
            next += 1;
            if next == total {
                each(record, &value);
            }
        }
        if next == total { Ok(()) } else { Err(broken()) }
    }

    fn maintain(&mut self, _: bool) -> Result<(), StoreError> {
        Ok(())
    }

    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        Ok(Vec::new())
    }

    fn size(&self) -> u64 {
        let files = files_below(&self.dir).unwrap_or_default().into_iter();
        files.filter_map(|file| fs::metadata(file).ok()).map(|m| m.len()).sum()
    }

    fn room(&self) -> Result<Room, StoreError> {
        let free_bytes = free_bytes(&self.dir).map_err(|e| StoreError::io("failed to ask for free room", &e))?;
        Ok(Room {
            free_bytes,
            reserve_held: false,
        })
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.flush()
    }
}

/// Makes a call that may never return. What hangs is left to the end of the process.
fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let (sends, answer) = sync_channel(1);
    let made = thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let _ = sends.send(call());
    });
    let thread = made.map_err(|e| StoreError::io(format!("failed to {what}"), &e))?;
    match answer.recv_timeout(limit) {
        Ok(answer) => Ok(answer),
        Err(RecvTimeoutError::Timeout) => Err(StoreError::io(
            format!("failed to {what}"),
            &io::ErrorKind::TimedOut.into(),
        )),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => resume_unwind(panic),
            Ok(()) => Err(StoreError::Panicked),
        },
    }
}

fn failed(what: &str, e: &sled::Error) -> StoreError {
    match e {
        // What is not in its cache the engine reads when it needs it, and only then finds its file cut.
        sled::Error::Io(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            StoreError::damaged(format!("failed to {what}: the engine's file ends too early"))
        }
        sled::Error::Io(e) => StoreError::io(what, e),
        sled::Error::Corruption { .. } => StoreError::damaged(format!("failed to {what}: the engine finds corruption")),
        other => StoreError::Io {
            what: what.to_owned(),
            kind: io::ErrorKind::Other,
            detail: other.to_string(),
        },
    }
}

fn open_failure(e: sled::Error) -> StoreError {
    match e {
        sled::Error::Io(e) if is_full(e.kind()) || is_not_writable(&e) || e.raw_os_error().is_some() => {
            StoreError::io("failed to open the engine", &e)
        }
        // I/O errors without a number come from the engine's reading of its own files.
        other => StoreError::damaged(format!("the engine cannot read its files: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Sync;
    use super::*;

    fn engine(dir: &Path) -> SledEngine {
        SledEngine::open(dir, 1, Disk::new(Sync::Counted, None)).expect("opens")
    }

    fn all(engine: &mut SledEngine, table: u8) -> Vec<(Vec<u8>, usize)> {
        let mut found = Vec::new();
        engine
            .scan(table, &mut |key, value| found.push((key.to_vec(), value.len())))
            .expect("scans");
        found
    }

    #[test]
    fn values_of_any_length_read_back_and_leave_no_piece_behind() {
        let dir = tempfile::tempdir().expect("folder");
        let mut engine = engine(dir.path());
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 10 * PIECE, 3, 100_000, 0] {
            let mut batch = Batch::default();
            batch.put(b'a', b"key", vec![7; length]);
            batch.put(b'a', b"low", vec![8; 2 * PIECE]);
            batch.put(b'b', b"key", vec![9; 5]);
            engine.apply(batch).expect("applies");
            assert_eq!(engine.read(b'a', b"key").expect("reads"), Some(vec![7; length]));
            let expected = [(b"key".to_vec(), length), (b"low".to_vec(), 2 * PIECE)];
            assert_eq!(all(&mut engine, b'a'), expected);
        }
        let mut batch = Batch::default();
        batch.remove(b'a', b"key");
        batch.remove(b'a', b"low");
        engine.apply(batch).expect("applies");
        assert_eq!(engine.read(b'a', b"key").expect("reads"), None);
        assert_eq!(all(&mut engine, b'a'), []);
        assert_eq!(engine.db.len(), 1);
    }

    #[test]
    fn a_call_that_never_returns_is_an_error_and_a_panic_stays_one() {
        let hangs = within(Duration::from_millis(20), "flush", || {
            loop {
                thread::park();
            }
        });
        let Err(StoreError::Io { what, kind, .. }) = hangs else {
            panic!("it hangs");
        };
        assert_eq!((what.as_str(), kind), ("failed to flush", io::ErrorKind::TimedOut));
        assert_eq!(within(Duration::from_mins(1), "flush", || 7), Ok(7));
        let panics = std::panic::catch_unwind(|| within(Duration::from_mins(1), "flush", || panic!("damage")));
        assert_eq!(panics.expect_err("it panicked").downcast_ref::<&str>(), Some(&"damage"));
    }

    #[test]
    fn twenty_pieces_with_their_keys_stay_below_the_engines_bound() {
        // A key has at most 27 bytes, and the engine some 20 of its own for each.
        const { assert!(20 * (PIECE + 2 + 27 + 20) < SEGMENT / 4 - 512) };
    }
}
