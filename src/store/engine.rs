//! What the store asks of a storage engine: tables, keys and bytes, and nothing about grants.
//!
//! An engine owns its content alone. Sealing, records and their meaning stand above it (`records.rs`), whichever engine it is.

use std::collections::BTreeMap;

use super::change::Problem;
use super::error::StoreError;
use super::port::Room;

/// A storage engine. One thread drives it. After an error it is not used again.
pub trait Engine: Send {
    /// Applies a batch: all of it is on the disk when it returns, or none of it ever counts.
    fn apply(&mut self, batch: Batch) -> Result<(), StoreError>;

    /// The value of a key.
    fn read(&mut self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Every key of a table with its value, in the order of the keys. All keys of a table have the same length.
    fn scan(&mut self, table: u8, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError>;

    /// Work that may follow an answered batch. `idle` says that nothing else is waiting and nothing has come for a while.
    fn maintain(&mut self, idle: bool) -> Result<(), StoreError>;

    /// Checks what the engine can check by itself.
    fn verify(&mut self) -> Result<Vec<Problem>, StoreError>;

    /// Takes note of an error of what stands beside it, such as key files: nothing is taken after that.
    fn fail(&mut self, e: StoreError) -> StoreError {
        e
    }

    /// Bytes that it takes on the disk.
    fn size(&self) -> u64;

    /// Room that is left for it.
    fn room(&self) -> Result<Room, StoreError>;

    /// Ends cleanly.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Writes that take effect together. The last write of a key wins. A key here begins with its table's number.
#[derive(Debug, Default)]
pub struct Batch(pub(super) Writes);

/// New values by key; `None` removes the key.
pub(super) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Batch {
    /// Sets a key's value.
    pub fn put(&mut self, table: u8, key: &[u8], value: Vec<u8>) {
        self.0.insert(full_key(table, key), Some(value));
    }

    /// Removes a key.
    pub fn remove(&mut self, table: u8, key: &[u8]) {
        self.0.insert(full_key(table, key), None);
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A key with its table's number in front.
pub(super) fn full_key(table: u8, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(table);
    full.extend_from_slice(key);
    full
}
