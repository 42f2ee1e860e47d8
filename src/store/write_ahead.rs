//! A write-ahead log in front of an engine that lives in a folder. A commit is one write to one file and one sync.
//!
//! What was committed stays in memory beside the log until a checkpoint hands it to the engine: of a key that was written
//! many times only the last value, and of a record that came and went nothing. The engine keeps one record of the log's own:
//! the last commit that it has, and a digest of its whole content. An engine that has lost or brought back anything cannot
//! give that digest, and a log whose end is missing cannot give the commit that its header calls acknowledged.

mod log;
#[cfg(test)]
mod tests;

use std::path::Path;

use sha2::{Digest, Sha256};

use super::change::Problem;
use super::disk::{Disk, Fault};
use super::engine::{Batch, Engine, Writes, full_key};
use super::error::StoreError;
use super::port::Room;
use log::Header;
pub(super) use log::LogFile;

/// The table of the one record about the engine's own content.
const TABLE: u8 = b'!';
/// Writes of one of the engine's batches at a checkpoint. The engine frees what a batch has replaced only when it ends.
const AT_ONCE: usize = 512;

/// See the file's head.
pub struct WriteAhead<E> {
    log: LogFile,
    inner: E,
    disk: Disk,
    content: Content,
    /// What the log holds and the engine does not.
    pending: Writes,
    /// The last commit.
    commit: u64,
    /// The log held something at the start, and no checkpoint has been made. What was found is served from now on, so it must
    /// be on the disk and count as acknowledged.
    unsettled: bool,
    /// Commits since the start; faults that are made on purpose count them.
    commits: u64,
}

/// What the engine says of its own content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Content {
    /// The last commit of which it has everything.
    commit: u64,
    /// The log's epoch that follows.
    epoch: u64,
    /// The sum of the hashes of all records, modulo 2^128.
    digest: u128,
    records: u64,
}

impl Content {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.digest = self.digest.wrapping_add(hash(key, value));
        self.records += 1;
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.digest = self.digest.wrapping_sub(hash(key, value));
        self.records = self.records.saturating_sub(1);
    }

    /// What an engine's records add up to.
    fn counted(engine: &mut impl Engine) -> Result<Self, StoreError> {
        let mut counted = Self::default();
        for table in (0..=u8::MAX).filter(|table| *table != TABLE) {
            engine.scan(table, &mut |key, value| counted.add(&full_key(table, key), value))?;
        }
        Ok(counted)
    }

    /// What the engine's own record says.
    fn read(engine: &mut impl Engine) -> Result<Self, StoreError> {
        let bytes = engine.read(TABLE, &[])?;
        bytes
            .as_deref()
            .and_then(Self::decode)
            .ok_or_else(|| StoreError::damaged("digest: the engine's record of its content is missing"))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.commit.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.digest.to_be_bytes());
        bytes.extend_from_slice(&self.records.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (commit, rest) = bytes.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        Some(Self {
            commit: u64::from_be_bytes(*commit),
            epoch: u64::from_be_bytes(*epoch),
            digest: u128::from_be_bytes(*digest),
            records: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let sum = Sha256::new()
        .chain_update([key.len() as u8])
        .chain_update(key)
        .chain_update(value)
        .finalize();
    u128::from_be_bytes(sum[..16].try_into().expect("SHA-256 has 32 bytes"))
}

impl<E: Engine> WriteAhead<E> {
    /// Makes the log's file beside a new engine, and the engine's first record. The caller syncs the file.
    pub fn create(inner: &mut E, path: &Path, log_bytes: usize) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let content = Content {
            epoch: 1,
            ..Content::default()
        };
        batch.put(TABLE, &[], content.encode());
        inner.apply(batch)?;
        LogFile::create(path, log_bytes).map_err(|e| StoreError::io("failed to make the write-ahead log", &e))
    }

    /// Opens both, and checks that together they hold what was acknowledged. It changes nothing on the disk.
    pub fn open(mut inner: E, path: &Path, disk: Disk) -> Result<Self, StoreError> {
        let content = Content::read(&mut inner)?;
        check_digest(&content, Content::counted(&mut inner)?)?;
        let (log, found) = LogFile::open(path, content.epoch)?;
        // A crash between the engine's last batch of an epoch and the header of the next one leaves a log that is no longer needed.
        let started_again = found.header.epoch < content.epoch;
        let last = if started_again { found.last } else { found.header.base };
        if last > content.commit || (last < content.commit && !started_again) {
            return Err(StoreError::damaged(format!(
                "high_water_mark: the engine ends with commit {} where the log begins after commit {last}",
                content.commit
            )));
        }
        Ok(Self {
            pending: if started_again { Writes::new() } else { found.writes },
            commit: found.last.max(content.commit),
            unsettled: started_again || !log.is_empty(),
            log,
            inner,
            disk,
            content,
            commits: 0,
        })
    }

    /// Hands everything to the engine and starts the log again.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        if self.is_behind() {
            return self.start_again();
        }
        let mut writes = std::mem::take(&mut self.pending).into_iter().peekable();
        loop {
            let part: Writes = writes.by_ref().take(AT_ONCE).collect();
            let last = writes.peek().is_none();
            // A crash between two parts leaves a digest that is right, and a log that has all of them still.
            let commit = if last { self.commit } else { self.content.commit };
            self.hand_over(part, commit, last)?;
            if last {
                break;
            }
        }
        self.start_again()
    }

    /// One batch for the engine, with the digest after it.
    fn hand_over(&mut self, writes: Writes, commit: u64, last: bool) -> Result<(), StoreError> {
        let mut content = Content { commit, ..self.content };
        content.epoch += u64::from(last);
        let mut batch = Batch::default();
        for (key, value) in writes {
            let before = self.inner.read(key[0], &key[1..])?;
            if before == value {
                continue;
            }
            if let Some(before) = before {
                content.remove(&key, &before);
            }
            if let Some(value) = &value {
                content.add(&key, value);
            }
            batch.0.insert(key, value);
        }
        batch.put(TABLE, &[], content.encode());
        self.inner.apply(batch)?;
        self.content = content;
        Ok(())
    }

    /// A crash has left the header one epoch behind. It catches up before anything else is written: another crash must
    /// not leave it two behind, nor new frames in an epoch that is over.
    fn is_behind(&self) -> bool {
        self.log.header().epoch < self.content.epoch
    }

    fn start_again(&mut self) -> Result<(), StoreError> {
        let header = Header {
            epoch: self.content.epoch,
            base: self.commit,
            acknowledged: self.commit,
        };
        self.unsettled = false;
        self.log.write_header(header, &self.disk)
    }

    fn made_on_purpose(&mut self) -> Result<Option<Fault>, StoreError> {
        self.commits += 1;
        let fault = self.disk.fault_at_commit(self.commits);
        match fault {
            Some(Fault::FullAtCommit(_)) => return Err(StoreError::Full),
            Some(Fault::HangAtCommit(_, time)) => std::thread::sleep(time),
            Some(Fault::PanicAtCommit(_)) => panic!("a panic on purpose"),
            _ => {}
        }
        Ok(fault)
    }
}

fn check_digest(said: &Content, counted: Content) -> Result<(), StoreError> {
    if (said.digest, said.records) == (counted.digest, counted.records) {
        return Ok(());
    }
    Err(StoreError::damaged(format!(
        "digest: {} values are there where {} were acknowledged, or some are not the last ones",
        counted.records, said.records
    )))
}

impl<E: Engine> Engine for WriteAhead<E> {
    fn apply(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        let fault = self.made_on_purpose()?;
        if self.is_behind() {
            self.start_again()?;
        }
        if !self.log.takes(&batch.0) {
            self.checkpoint()?;
        }
        self.commit += 1;
        if !self.log.could_take(&batch.0) {
            // Larger than the whole log: the engine takes it at once, as one batch of its own.
            self.hand_over(batch.0, self.commit, true)?;
            return self.start_again();
        }
        self.log.append(self.commit, &batch.0)?;
        if let Some(Fault::FullAtSyncOfCommit(_)) = fault {
            return Err(StoreError::Full);
        }
        self.log.sync(&self.disk)?;
        self.pending.append(&mut batch.0);
        Ok(())
    }

    fn read(&mut self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.pending.get(&full_key(table, key)) {
            Some(value) => Ok(value.clone()),
            None => self.inner.read(table, key),
        }
    }

    fn scan(&mut self, table: u8, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StoreError> {
        if table == TABLE {
            return Ok(());
        }
        let from = vec![table];
        let mut pending = self
            .pending
            .range(from..)
            .take_while(|(key, _)| key[0] == table)
            .peekable();
        self.inner.scan(table, &mut |key, value| {
            while let Some((newer, theirs)) = pending.next_if(|(newer, _)| newer[1..] < *key) {
                if let Some(theirs) = theirs {
                    each(&newer[1..], theirs);
                }
            }
            match pending.next_if(|(newer, _)| newer[1..] == *key) {
                Some((_, Some(theirs))) => each(key, theirs),
                Some((_, None)) => {}
                None => each(key, value),
            }
        })?;
        for (key, value) in pending {
            if let Some(value) = value {
                each(&key[1..], value);
            }
        }
        Ok(())
    }

    fn maintain(&mut self, idle: bool) -> Result<(), StoreError> {
        if self.unsettled || self.log.is_half_full() {
            return self.checkpoint();
        }
        let header = self.log.header();
        if idle && header.acknowledged < self.commit {
            let acknowledged = self.commit;
            return self.log.write_header(Header { acknowledged, ..header }, &self.disk);
        }
        Ok(())
    }

    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        let mut problems = Vec::new();
        let mut problem = |kind: &str, detail: &str| {
            problems.push(Problem {
                kind: kind.to_owned(),
                key: String::new(),
                detail: detail.to_owned(),
            });
        };
        if Content::read(&mut self.inner)? != self.content {
            problem("digest", "the digest on the disk is not the one in memory");
        }
        if check_digest(&self.content, Content::counted(&mut self.inner)?).is_err() {
            problem("digest", "the engine's content does not add up to its digest");
        }
        let found = self.log.reread(self.content.epoch)?;
        if found.last != self.commit || found.writes != self.pending {
            problem("high_water_mark", "the log on the disk does not hold what is in memory");
        }
        Ok(problems)
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn room(&self) -> Result<Room, StoreError> {
        self.inner.room()
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        if !self.log.is_empty() {
            self.checkpoint()?;
        }
        Box::new(self.inner).close()
    }
}
