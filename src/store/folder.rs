//! An engine in a folder while it is open: the lock and the reserve of room are held, and the first error stays.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, files_below};
use super::error::StoreError;
use super::files;
use super::host::{InstanceLock, Reserve, free_bytes};
use super::port::Room;
use super::sled_engine::SledEngine;
use super::write_ahead::WriteAhead;

/// See the file's head. Fields are dropped in their order: the engine first, the lock last.
pub(super) struct Folder {
    pub engine: WriteAhead<SledEngine>,
    pub disk: Disk,
    pub reserve: Reserve,
    pub root: PathBuf,
    /// The engine's errors are sticky, and so is ours.
    pub failed: Option<StoreError>,
    pub lock: Arc<InstanceLock>,
}

impl Folder {
    /// Does something with the engine, unless something has failed before.
    pub fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut WriteAhead<SledEngine>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        work(&mut self.engine).map_err(|e| self.fail(e))
    }

    /// Takes note of an error, also of what stands beside the engine, such as key files: nothing is taken after it.
    pub fn fail(&mut self, e: StoreError) -> StoreError {
        if e.is_disk_full() && self.reserve.free() {
            tracing::warn!("the disk is full: the reserve file was freed so that the next start works");
        }
        self.failed.get_or_insert(e).clone()
    }

    /// Bytes that the engine takes on the disk.
    pub fn size(&self) -> u64 {
        let files = files_below(&self.root.join(files::ENGINE))
            .unwrap_or_default()
            .into_iter();
        files.filter_map(|file| fs::metadata(file).ok()).map(|m| m.len()).sum()
    }

    /// Room that is left for it.
    pub fn room(&self) -> Result<Room, StoreError> {
        let free_bytes = free_bytes(&self.root).map_err(|e| StoreError::io("failed to ask for free room", &e))?;
        Ok(Room {
            free_bytes,
            reserve_held: self.reserve.held() > 0,
        })
    }

    /// Ends cleanly, with the marker of a clean end.
    pub fn close(self) -> Result<(), StoreError> {
        let Self {
            engine,
            disk,
            root,
            failed,
            lock,
            ..
        } = self;
        if let Some(e) = failed {
            return Err(e);
        }
        engine.close()?;
        let io = |e: std::io::Error| StoreError::io("failed to close the store", &e);
        if SledEngine::wait_until_released(&root.join(files::ENGINE)).map_err(io)? {
            files::mark_clean(&root, &disk).map_err(io)?;
        } else {
            tracing::warn!("the engine still holds its file: the next start will treat this as an unclean end");
        }
        drop(lock);
        Ok(())
    }
}
