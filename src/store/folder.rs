//! An engine in a folder while it is open: the lock and the reserve of room are held, and the first error stays.

use std::path::PathBuf;
use std::sync::Arc;

use super::change::Problem;
use super::disk::Disk;
use super::engine::{Batch, Engine};
use super::error::StoreError;
use super::files;
use super::host::{InstanceLock, Reserve};
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
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut WriteAhead<SledEngine>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        work(&mut self.engine).map_err(|e| self.fail(e))
    }
}

impl Engine for Folder {
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.guarded(|engine| engine.apply(batch))
    }

    fn read(&mut self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.guarded(|engine| engine.read(table, key))
    }

    fn scan(&mut self, table: u8, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        self.guarded(|engine| engine.scan(table, each))
    }

    fn maintain(&mut self, idle: bool) -> Result<(), StoreError> {
        self.guarded(|engine| engine.maintain(idle))
    }

    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        self.guarded(Engine::verify)
    }

    fn fail(&mut self, e: StoreError) -> StoreError {
        if e.is_disk_full() && self.reserve.free() {
            tracing::warn!("the disk is full: the reserve file was freed so that the next start works");
        }
        self.failed.get_or_insert(e).clone()
    }

    fn size(&self) -> u64 {
        self.engine.size()
    }

    fn room(&self) -> Result<Room, StoreError> {
        Ok(Room {
            reserve_held: self.reserve.held() > 0,
            ..self.engine.room()?
        })
    }

    /// Leaves the marker of a clean end.
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self {
            engine,
            disk,
            root,
            failed,
            lock,
            ..
        } = *self;
        if let Some(e) = failed {
            return Err(e);
        }
        Box::new(engine).close()?;
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
