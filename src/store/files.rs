//! The store's folder: what lies where, the first initialisation, the copy before a risky opening, the clean end.
//!
//! ```text
//! journal/LOCK       held while it is open           journal/FORMAT     it was initialised, and in which format
//! journal/engine/    the engine's files and its log  journal/clean      the last run ended cleanly; sums of engine/
//! journal/closed/    closed grants, in files that only grow
//! journal/opening/   copy from before an opening that has not ended yet, or never did
//! journal/preopen/   copy from before the last opening that followed an unclean end and succeeded
//! journal/damaged/   copy of engine/ from before the opening that found damage; kept until somebody looks
//! journal/reserve    room, freed when the disk is full
//! ```

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::disk::{Disk, copy_tree, files_below};
use super::error::StoreError;

/// The engine's folder.
pub(super) const ENGINE: &str = "engine";
/// Files of closed grants. No copy is made of them: what was written there is never changed, and an opening touches
/// nothing there until it has succeeded.
pub(super) const CLOSED: &str = "closed";
/// The write-ahead log, in the engine's folder so that every copy has it.
pub(super) const LOG: &str = "write-ahead";
/// Says that the store was initialised.
pub(super) const FORMAT: &str = "FORMAT";
const INIT: &str = "engine.init";
const CLEAN: &str = "clean";
const OPENING: &str = "opening";
const PREOPEN: &str = "preopen";
const DAMAGED: &str = "damaged";

/// Makes the engine's folder under another name, and renames it when it is complete and on the disk.
/// A kill in between leaves nothing that was ever acknowledged.
pub(super) fn initialise(
    root: &Path,
    disk: &Disk,
    fill: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |e: io::Error| StoreError::io("initialise", &e);
    let init = root.join(INIT);
    if init.exists() {
        fs::remove_dir_all(&init).map_err(failed)?;
    }
    super::disk::make_private_dir(&init).map_err(failed)?;
    fill(&init)?;
    disk.sync_tree(&init)
        .and_then(|()| fs::rename(&init, root.join(ENGINE)))
        .and_then(|()| disk.sync_dir(root))
        .map_err(failed)
}

/// Writes the marker of a clean end, with the sums of the engine's files.
pub(super) fn mark_clean(root: &Path, disk: &Disk) -> io::Result<()> {
    let engine = root.join(ENGINE);
    disk.sync_tree(&engine)?;
    disk.write_whole(&root.join(CLEAN), sums(&engine)?.as_bytes())
}

/// Whether the last run ended cleanly and nothing has changed since.
pub(super) fn ended_cleanly(root: &Path) -> io::Result<bool> {
    match fs::read_to_string(root.join(CLEAN)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(e) => Err(e),
        Ok(then) => Ok(then == sums(&root.join(ENGINE))?),
    }
}

/// Takes the marker away: from now on every end is unclean until `mark_clean`.
pub(super) fn unmark_clean(root: &Path, disk: &Disk) -> io::Result<()> {
    match fs::remove_file(root.join(CLEAN)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.and_then(|()| disk.sync_dir(root)),
    }
}

fn sums(engine: &Path) -> io::Result<String> {
    let mut text = "clean 1\n".to_owned();
    for path in files_below(engine)? {
        let mut sum = Sha256::new();
        let bytes = io::copy(&mut File::open(&path)?, &mut Hashing(&mut sum))?;
        for byte in sum.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        let name = path.strip_prefix(engine).unwrap_or(&path);
        let _ = writeln!(text, " {bytes} {}", name.display());
    }
    Ok(text)
}

struct Hashing<'h>(&'h mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies the engine's files before an opening that might destroy what a damaged engine still holds: it cuts off what it
/// cannot read. Says whether there was room for one.
///
/// A copy whose opening was cut off stays: nothing was acknowledged since, and what the cut has left may be worse.
pub(super) fn copy_before_opening(root: &Path, disk: &Disk) -> io::Result<bool> {
    let (copy, older) = (root.join(OPENING), root.join(PREOPEN));
    let new = root.join("opening.new");
    if copy.exists() {
        return Ok(true);
    }
    for last_attempt in [false, true] {
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        match copy_tree(&root.join(ENGINE), &new).and_then(|()| disk.sync_tree(&new)) {
            Ok(()) => break,
            Err(e) if super::error::is_full(e.kind()) => {
                fs::remove_dir_all(&new)?;
                if last_attempt {
                    return Ok(false);
                }
                // The older copy gives way: it is of a state that a later opening has already accepted.
                if older.exists() {
                    fs::remove_dir_all(&older)?;
                }
            }
            Err(e) => return Err(e),
        }
    }
    fs::rename(&new, &copy)?;
    disk.sync_dir(root)?;
    Ok(true)
}

/// Notes that the opening has ended: its copy replaces the older one, before anything is acknowledged that it lacks.
pub(super) fn opening_ended(root: &Path, disk: &Disk) -> io::Result<()> {
    let (copy, older) = (root.join(OPENING), root.join(PREOPEN));
    if copy.exists() {
        if older.exists() {
            fs::remove_dir_all(&older)?;
        }
        fs::rename(copy, older)?;
        disk.sync_dir(root)?;
    }
    Ok(())
}

/// Sets aside the copy from before an opening that found damage, and says where the evidence is. A copy that was set
/// aside before stays: a service that restarts in a loop must not replace it by what the first attempt has left.
pub(super) fn keep_evidence(root: &Path, copied: bool, disk: &Disk) -> std::path::PathBuf {
    let damaged = root.join(DAMAGED);
    if damaged.exists() {
        // The next start shall make a copy of its own: somebody may have put other files there.
        let _ = opening_ended(root, disk);
    } else if !copied || fs::rename(root.join(OPENING), &damaged).is_err() {
        let engine = root.join(ENGINE);
        return if engine.exists() { engine } else { root.to_owned() };
    }
    damaged
}

/// Files an earlier incident away once the store opens again. Nothing is deleted.
pub(super) fn file_evidence_away(root: &Path) -> io::Result<Option<String>> {
    let damaged = root.join(DAMAGED);
    if !damaged.exists() {
        return Ok(None);
    }
    let name = (1..u32::MAX)
        .map(|n| format!("{DAMAGED}-{n}"))
        .find(|name| !root.join(name).exists())
        .expect("numbers do not end");
    fs::rename(damaged, root.join(&name))?;
    Ok(Some(name))
}
