//! Typed records on any engine: their keys, their bytes, and the sealing of those that hold secrets. It knows no grants: a
//! journal names its tables and record types (`record.rs` has the service's), and batches what it changes.
//!
//! A record is written with postcard. One that names an hour is sealed under that hour's key, and the key is destroyed when
//! the hour is over and no record of it is left.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::change::Problem;
use super::engine::{Batch, Engine, full_key};
use super::error::StoreError;
use super::keys::{KeyError, KeyStore, hour_of};
use super::port::Room;
use super::seal::{self, Envelope};
use crate::time::Timestamp;

/// Listing more problems helps nobody.
const MOST_PROBLEMS: usize = 1000;

/// A kind of record. The number is the engine's, the name is bound into every sealed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its number, which never changes.
    pub id: u8,
    /// Its name, which never changes.
    pub name: &'static str,
}

/// Something that is stored under a key of its own.
pub trait Record: Serialize + DeserializeOwned + PartialEq {
    /// Where it is stored.
    const TABLE: Table;

    /// Its key. All keys of a table have the same length.
    fn key(&self) -> Vec<u8>;

    /// Adds its bytes.
    fn write(&self, to: Vec<u8>) -> postcard::Result<Vec<u8>> {
        postcard::to_extend(self, to)
    }

    /// Reads what [`write`](Self::write) wrote; `None` for anything else.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (record, rest) = postcard::take_from_bytes(bytes).ok()?;
        rest.is_empty().then_some(record)
    }

    /// The hour whose key seals it; `None` where it holds no secret and names no person.
    fn hour(&self) -> Option<i64> {
        None
    }
}

/// Reads a record back; `None` for what this program has not written under that key.
pub fn decode<R: Record>(key: &[u8], bytes: &[u8]) -> Option<R> {
    R::read(bytes).filter(|record| record.key() == key)
}

/// An engine with the keys that seal what it holds.
pub struct Records {
    engine: Box<dyn Engine>,
    seals: Seals,
}

impl Records {
    /// Call [`Records::load`] before anything else.
    pub fn new(engine: Box<dyn Engine>, keys: Box<dyn KeyStore>) -> Self {
        Self {
            engine,
            seals: Seals::new(keys),
        }
    }

    /// Adds a record to a batch, in place of the one under its key.
    pub fn put<R: Record>(&mut self, batch: &mut Batch, record: &R) -> Result<(), StoreError> {
        let key = record.key();
        let write = |to: Vec<u8>| record.write(to).map_err(|e| sealing(R::TABLE, &e.to_string()));
        let Some(hour) = record.hour() else {
            batch.put(R::TABLE.id, &key, write(seal::plain())?);
            return Ok(());
        };
        // Room for a usual record from the start: a buffer that grows leaves copies of secrets behind.
        let bytes = Zeroizing::new(write(Vec::with_capacity(2048))?);
        // A record that could be written but not read would be found at the next start, too late to be mended.
        debug_assert!(
            decode::<R>(&key, &bytes).is_some_and(|read| read == *record),
            "it reads back"
        );
        self.put_sealed(batch, R::TABLE, &key, hour, &bytes)
    }

    /// Adds bytes to a batch, sealed under an hour's key.
    pub fn put_sealed(
        &mut self,
        batch: &mut Batch,
        table: Table,
        key: &[u8],
        hour: i64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let sealing_key = self.seals.keys.ensure(hour)?;
        let value =
            seal::seal(sealing_key, hour, table.name, key, bytes).map_err(|e| sealing(table, &e.to_string()))?;
        batch.put(table.id, key, value);
        self.seals.track(full_key(table.id, key), Some(hour));
        Ok(())
    }

    /// Adds a removal to a batch.
    pub fn remove(&mut self, batch: &mut Batch, table: Table, key: &[u8]) {
        batch.remove(table.id, key);
        self.seals.track(full_key(table.id, key), None);
    }

    /// Makes a batch durable.
    pub fn apply(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.engine.apply(batch)
    }

    /// The hour of a sealed record, as the last batch left it or the next one will.
    pub fn hour(&self, table: Table, key: &[u8]) -> Option<i64> {
        self.seals.hours.get(&full_key(table.id, key)).copied()
    }

    /// The bytes of a record.
    pub fn read(&mut self, table: Table, key: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(value) = self.engine.read(table.id, key)? else {
            return Ok(None);
        };
        match self.seals.open(table, key, &value) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Unopened::Key(e)) => Err(e.into()),
            Err(other) => Err(StoreError::damaged(format!("a record of `{}`: {other}", table.name))),
        }
    }

    /// Reads every record of these tables, table by table in the order of the keys. `each` returns `None` for bytes that it
    /// cannot read. Returns what is not as it was written; a record of no such table is a problem too.
    pub fn load(&mut self, tables: &[Table], each: &mut Each<'_>) -> Result<Vec<Problem>, StoreError> {
        let mut pass = Pass::new(&mut self.seals, tables);
        for id in 0..=u8::MAX {
            self.engine
                .scan(id, &mut |key, value| pass.value(id, key, value, each))?;
        }
        Ok(pass.finish())
    }

    /// Checks what the engine can check by itself.
    pub fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        self.engine.verify()
    }

    /// Destroys the keys of hours before the one of `now` that have no record, and says how many.
    pub fn destroy_idle_keys(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.seals.destroy(|hour| hour >= hour_of(now))
    }

    /// Follows every answered batch: destroys keys that are needed no more.
    pub fn maintain(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.seals.idle {
            self.destroy_idle_keys(now)?;
            // The running hour's key goes when it is over: new records would only make it again.
            self.seals.idle = !self.seals.unused().is_empty();
        }
        self.engine.maintain(false)
    }

    /// Nothing has come for a while.
    pub fn rest(&mut self) -> Result<(), StoreError> {
        self.engine.maintain(true)
    }

    /// Takes note of an error beside the engine: nothing is taken after it.
    pub fn fail(&mut self, e: StoreError) -> StoreError {
        self.engine.fail(e)
    }

    /// Bytes that the engine takes.
    pub fn size(&self) -> u64 {
        self.engine.size()
    }

    /// Room that is left for it.
    pub fn room(&self) -> Result<Room, StoreError> {
        self.engine.room()
    }

    /// Ends cleanly, and destroys every key without a record.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.seals.destroy(|_| false)?;
        self.engine.close()
    }
}

/// Takes a record: its table's number, its key, its bytes.
pub type Each<'e> = dyn FnMut(u8, &[u8], &[u8]) -> Option<()> + 'e;

fn sealing(table: Table, why: &str) -> StoreError {
    StoreError::Sealing {
        what: format!("a record of `{}`: {why}", table.name),
    }
}

/// The sealing keys, and which of them are in use.
pub(super) struct Seals {
    keys: Box<dyn KeyStore>,
    /// The hour of every sealed record, by its full key.
    hours: HashMap<Vec<u8>, i64>,
    /// Sealed records by hour.
    per_hour: BTreeMap<i64, usize>,
    /// An hour has lost its last record since its keys were last looked at.
    idle: bool,
}

/// Why a value could not be opened.
#[derive(Debug, thiserror::Error)]
enum Unopened {
    #[error(transparent)]
    Seal(#[from] seal::SealError),
    #[error("the sealing key `{0}` is missing")]
    NoKey(String, i64),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Seals {
    pub fn new(keys: Box<dyn KeyStore>) -> Self {
        Self {
            keys,
            hours: HashMap::new(),
            per_hour: BTreeMap::new(),
            idle: true,
        }
    }

    fn open(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let hour = match seal::look(value)? {
            Envelope::Plain(payload) => return Ok(Zeroizing::new(payload.to_vec())),
            Envelope::Sealed(hour) => hour,
        };
        match self.keys.get(hour)? {
            Some(sealing_key) => Ok(seal::unseal(sealing_key, table.name, key, value)?),
            None => Err(Unopened::NoKey(self.keys.name(hour), hour)),
        }
    }

    fn track(&mut self, record: Vec<u8>, hour: Option<i64>) {
        let before = match hour {
            Some(hour) => self.hours.insert(record, hour),
            None => self.hours.remove(&record),
        };
        if before == hour {
            return;
        }
        if let Some(hour) = hour {
            *self.per_hour.entry(hour).or_default() += 1;
        }
        let Some(before) = before else { return };
        let left = self.per_hour.get_mut(&before).expect("it was counted");
        *left -= 1;
        if *left == 0 {
            self.per_hour.remove(&before);
            self.idle = true;
        }
    }

    /// Hours that have a key and no record.
    fn unused(&self) -> Vec<i64> {
        let mut hours = self.keys.hours();
        hours.retain(|hour| !self.per_hour.contains_key(hour));
        hours
    }

    fn destroy(&mut self, spare: impl Fn(i64) -> bool) -> Result<usize, StoreError> {
        let mut unused = self.unused();
        unused.retain(|hour| !spare(*hour));
        for hour in &unused {
            self.keys.destroy(*hour)?;
        }
        Ok(unused.len())
    }
}

/// One pass over everything stored: opens each value, and says what is not as it was written. It changes nothing.
pub(super) struct Pass<'s> {
    seals: &'s mut Seals,
    tables: &'s [Table],
    problems: Vec<Problem>,
    /// Hours without a key, by name, and how many values each sealed.
    missing: BTreeMap<i64, (String, u64)>,
}

impl<'s> Pass<'s> {
    pub fn new(seals: &'s mut Seals, tables: &'s [Table]) -> Self {
        Self {
            seals,
            tables,
            problems: Vec::new(),
            missing: BTreeMap::new(),
        }
    }

    /// Takes the next value.
    pub fn value(&mut self, id: u8, key: &[u8], value: &[u8], each: &mut Each<'_>) {
        let full = full_key(id, key);
        let Some(table) = self.tables.iter().find(|table| table.id == id) else {
            return push(&mut self.problems, "envelope", &full, "no record has such a key");
        };
        match self.seals.open(*table, key, value) {
            Ok(bytes) => {
                if each(id, key, &bytes).is_none() {
                    push(
                        &mut self.problems,
                        "envelope",
                        &full,
                        "the record's content cannot be read",
                    );
                }
            }
            Err(Unopened::NoKey(name, hour)) => {
                let (_, values) = self.missing.entry(hour).or_insert((name, 0));
                *values += 1;
            }
            Err(Unopened::Key(e)) => push(&mut self.problems, "key", &full, e.to_string()),
            Err(Unopened::Seal(e)) => {
                let kind = if e == seal::SealError::Tag { "seal" } else { "envelope" };
                push(&mut self.problems, kind, &full, e.to_string());
            }
        }
        if let Ok(Envelope::Sealed(hour)) = seal::look(value) {
            self.seals.track(full, Some(hour));
        }
    }

    /// What was found to be wrong.
    pub fn finish(mut self) -> Vec<Problem> {
        for (hour, (name, values)) in self.missing {
            let detail = format!("the sealing key `{name}` of {values} sealed values is missing");
            push(&mut self.problems, "key", &hour.to_be_bytes(), detail);
        }
        self.problems
    }
}

pub(super) fn push(to: &mut Vec<Problem>, kind: &str, key: &[u8], detail: impl Into<String>) {
    if to.len() < MOST_PROBLEMS {
        to.push(Problem {
            kind: kind.to_owned(),
            key: key.iter().fold(String::new(), |mut hex, byte| {
                use std::fmt::Write;
                let _ = write!(hex, "{byte:02x}");
                hex
            }),
            detail: detail.into(),
        });
    }
}
