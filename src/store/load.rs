//! What a start, or a check, makes of the records that it finds. It changes nothing.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::change::{Loaded, Problem};
use super::closed::Marks;
use super::disk::{Disk, Sync};
use super::error::StoreError;
use super::keys::{KeyError, KeyRing};
use super::record::{self, ClosedMark, Cursor, Spending, grant_key, grant_of};
use super::records::{Pass, Records, Seals, decode, push};
use crate::grant::{ClosedGrant, Grant, State};
use crate::ids::GrantId;

/// What the records say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub loaded: Loaded,
    /// Grants that have closed and are not in the closed log yet.
    pub closed: Vec<ClosedGrant>,
    pub marks: Marks,
    pub problems: Vec<Problem>,
    /// Relations between records. A mistake of the writing program breaks them, never the disk: the digest would
    /// have told. So `verify` reports them, and a start does not refuse.
    pub mismatches: Vec<Problem>,
    data: BTreeSet<GrantId>,
}

impl Found {
    /// Reads everything.
    pub fn read(records: &mut Records) -> Result<Self, StoreError> {
        let mut found = Self::default();
        let problems = records.load(record::ALL, &mut |id, key, bytes| found.take(id, key, bytes))?;
        found.problems = problems;
        found.relations();
        Ok(found)
    }

    /// Takes one record; `None` where this program has not written it.
    fn take(&mut self, id: u8, key: &[u8], bytes: &[u8]) -> Option<()> {
        let loaded = &mut self.loaded;
        let is = |table: record::Table| table.id == id;
        if is(record::GRANTS) {
            loaded.grants.push(decode(key, bytes)?);
        } else if is(record::DATA) {
            std::str::from_utf8(bytes).ok()?;
            self.data.insert(grant_of(key)?);
        } else if is(record::CLOSED) {
            self.closed.push(decode(key, bytes)?);
        } else if is(record::CLOSED_MARKS) {
            let ClosedMark { hour, mark } = decode(key, bytes)?;
            self.marks.insert(hour, mark);
        } else if is(record::SOURCE_MESSAGES) {
            loaded.source_messages.push(decode(key, bytes)?);
        } else if is(record::MESSAGES) {
            loaded.messages.push(decode(key, bytes)?);
        } else if is(record::CODES) {
            loaded.codes.push(decode(key, bytes)?);
        } else if is(record::NONCES) {
            loaded.nonces.push(decode(key, bytes)?);
        } else if is(record::PLACES) {
            loaded.places.push(decode(key, bytes)?);
        } else if is(record::ACCOUNTS) {
            loaded.accounts.push(decode(key, bytes)?);
        } else if is(record::CURSORS) {
            let Cursor { channel, read_to } = decode(key, bytes)?;
            loaded.cursors.insert(channel, read_to);
        } else if is(record::SPENDING) {
            let Spending { channel, sent_at } = decode(key, bytes)?;
            loaded.spending.insert(channel, sent_at);
        }
        Some(())
    }

    fn relations(&mut self) {
        let open: HashSet<GrantId> = self.loaded.grants.iter().map(|grant| grant.id).collect();
        let mut wrong = |id: GrantId, what: &str| push(&mut self.mismatches, "index", &grant_key(id), what);
        let has_data = |grant: &Grant| matches!(&grant.state, State::Settling(settling) if settling.has_data);
        for grant in &self.loaded.grants {
            if has_data(grant) && !self.data.contains(&grant.id) {
                wrong(grant.id, "the fetched data of an open grant are missing");
            }
        }
        for id in self.data.iter().filter(|id| !open.contains(id)) {
            wrong(*id, "fetched data without an open grant");
        }
        for end in self.closed.iter().filter(|end| open.contains(&end.id)) {
            wrong(end.id, "a grant is both open and closed");
        }
    }
}

/// What a start would make of these values, had it found them in the engine of this data folder: table, key, value.
pub fn read_values<'v>(
    data_dir: &Path,
    values: impl IntoIterator<Item = (u8, &'v [u8], &'v [u8])>,
) -> Result<(Loaded, Vec<Problem>), KeyError> {
    let keys = KeyRing::open(data_dir, Disk::new(Sync::Counted, None))?;
    let mut seals = Seals::new(Box::new(keys));
    let mut pass = Pass::new(&mut seals, record::ALL);
    let mut found = Found::default();
    for (table, key, value) in values {
        pass.value(table, key, value, &mut |id, key, bytes| found.take(id, key, bytes));
    }
    let problems = pass.finish();
    found.relations();
    Ok((found.loaded, [problems, found.mismatches].concat()))
}
