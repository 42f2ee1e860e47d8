//! What stays of grants that owe nothing any more. There are many of them, none ever changes, and they go by age. So the
//! engine keeps only the newest, and hands them over in groups to a [`ClosedLog`].
//!
//! A grant that closes becomes a row of the engine, in the batch that removes its record. Later [`ClosedGrants::hand_over`]
//! appends the rows to the log and syncs it; only then one batch removes the rows and writes the log's new marks. A crash
//! in between leaves both the rows and bytes beyond the marks: opening the log drops those bytes, and the rows are handed
//! over again. So every closed grant is kept exactly once.

mod files;
mod line;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::error::StoreError;
use super::port::ClosedTotals;
use crate::grant::ClosedGrant;
use crate::ids::GrantId;
use crate::time::Timestamp;

pub use files::ClosedFiles;

/// What the engine remembers of one hour of the log: bytes beyond it were never acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// The file's length.
    pub bytes: u64,
    /// The sum at the end of its last line, over the whole file.
    pub sum: u32,
}

/// The marks by hour since 1970.
pub type Marks = BTreeMap<i64, Mark>;

/// Where closed grants lie for as long as they are kept: files here, rows in a database.
pub trait ClosedLog: Send {
    /// Appends grants in the order in which they closed; they are on the disk when it returns. They count once the engine
    /// has committed the marks that it returns.
    fn append(&mut self, group: &[ClosedGrant]) -> Result<Marks, StoreError>;

    /// A grant that is kept.
    fn find(&self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError>;

    /// The newest, the last closed first.
    fn newest(&self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError>;

    /// How many are kept, by outcome; its cost does not grow with their number.
    fn totals(&self) -> ClosedTotals;

    /// Forgets the hours that had ended at a moment, and returns them. Their files stay until [`ClosedLog::tidy`]: the
    /// engine must have removed their marks before.
    fn sweep(&mut self, before: Timestamp) -> Vec<i64>;

    /// Removes the files and bytes that no mark covers: what a sweep has forgotten, and what a crash has left.
    fn tidy(&self) -> Result<(), StoreError>;

    /// Reads everything again: passes each id on, and returns what is damaged.
    fn verify(&self, each: &mut dyn FnMut(GrantId)) -> Result<Vec<String>, StoreError>;

    /// Bytes on the disk.
    fn size_bytes(&self) -> u64;
}

/// All closed grants that are kept: the newest, which are rows of the engine, and those in the log.
pub struct ClosedGrants {
    /// In the order in which they closed.
    recent: Vec<ClosedGrant>,
    log: Box<dyn ClosedLog>,
}

impl ClosedGrants {
    /// Takes the log, and the rows that the engine holds, in any order.
    pub fn new(mut recent: Vec<ClosedGrant>, log: Box<dyn ClosedLog>) -> Self {
        recent.sort_by_key(|closed| (closed.closed_at, closed.id));
        Self { recent, log }
    }

    /// A row that the engine has committed.
    pub fn add(&mut self, closed: ClosedGrant) {
        self.recent.push(closed);
    }

    /// Rows that are not yet handed over.
    pub fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Moves every row to the log; the caller commits one batch that removes these rows and writes these marks.
    pub fn hand_over(&mut self) -> Result<(Vec<GrantId>, Marks), StoreError> {
        let marks = self.log.append(&self.recent)?;
        let rows = self.recent.drain(..).map(|closed| closed.id).collect();
        Ok((rows, marks))
    }

    /// One that is kept.
    pub fn find(&self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError> {
        match self.recent.iter().find(|closed| closed.id == id) {
            Some(closed) => Ok(Some(closed.clone())),
            None => self.log.find(id),
        }
    }

    /// The newest, the last closed first.
    pub fn newest(&self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError> {
        let mut found: Vec<_> = self.recent.iter().rev().take(limit).cloned().collect();
        found.extend(self.log.newest(limit - found.len())?);
        Ok(found)
    }

    /// How many are kept, by outcome.
    pub fn totals(&self) -> ClosedTotals {
        let mut totals = self.log.totals();
        for closed in &self.recent {
            totals.add(closed.outcome);
        }
        totals
    }

    /// Bytes on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// The log, for what concerns no row.
    pub fn log(&mut self) -> &mut dyn ClosedLog {
        self.log.as_mut()
    }
}
