//! One pass over everything stored: loads it, and says what is not as it was acknowledged. It changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use zeroize::Zeroizing;

use crate::ids::{ChannelId, GrantId};
use crate::store::change::{Loaded, Problem};
use crate::store::keys::{KeyError, KeyRing};
use crate::store::seal;

use super::closed::{Segment, Tail};
use super::disk::{Disk, Sync};
use super::meta::Meta;
use super::record::{self, Address, Table};

/// Listing more helps nobody.
const MOST_PROBLEMS: usize = 1000;

/// What the pass found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub loaded: Loaded,
    /// The hours of open grants.
    pub hours: HashMap<GrantId, i64>,
    /// What the store says about itself.
    pub meta: Meta,
    /// The newest closed grants.
    pub tail: Tail,
    /// What the files of closed grants must be. The pass does not read them.
    pub segments: BTreeMap<u64, Segment>,
    pub problems: Vec<Problem>,
    /// Relations between records. A mistake of the writing program breaks them, never the disk: the digest would
    /// have told. So `verify` reports them, and a start does not refuse.
    pub mismatches: Vec<Problem>,
}

/// Reads everything.
pub(super) fn inspect(tree: &sled::Tree, keys: &mut KeyRing) -> Result<Findings, sled::Error> {
    let mut pass = Pass::new(keys);
    for item in tree {
        let (key, value) = item?;
        pass.piece(&key, &value);
    }
    Ok(pass.finish())
}

/// What a start would make of these keys and values, had it found them in the engine of this data folder.
pub fn read_values<'v>(
    data_dir: &Path,
    values: impl IntoIterator<Item = (&'v [u8], &'v [u8])>,
) -> Result<(Loaded, Vec<Problem>), KeyError> {
    let mut keys = KeyRing::open(data_dir, Disk::new(Sync::Counted, None))?;
    let mut pass = Pass::new(&mut keys);
    for (key, value) in values {
        pass.piece(key, value);
    }
    let found = pass.finish();
    Ok((found.loaded, [found.problems, found.mismatches].concat()))
}

/// A record of which not all pieces have come by.
struct Partial {
    address: Address,
    total: u16,
    next: u16,
    bytes: Zeroizing<Vec<u8>>,
}

struct Pass<'k> {
    keys: &'k mut KeyRing,
    found: Findings,
    counted: Meta,
    meta: Option<Meta>,
    missing_keys: BTreeMap<i64, u64>,
    record: Option<Partial>,
    data: BTreeSet<GrantId>,
    closed: BTreeSet<Vec<u8>>,
    closed_at: BTreeSet<Vec<u8>>,
}

impl<'k> Pass<'k> {
    fn new(keys: &'k mut KeyRing) -> Self {
        Self {
            keys,
            found: Findings::default(),
            counted: Meta::default(),
            meta: None,
            missing_keys: BTreeMap::new(),
            record: None,
            data: BTreeSet::new(),
            closed: BTreeSet::new(),
            closed_at: BTreeSet::new(),
        }
    }

    fn problem(&mut self, kind: &str, key: &[u8], detail: impl Into<String>) {
        push(&mut self.found.problems, kind, key, detail);
    }

    fn piece(&mut self, key: &[u8], value: &[u8]) {
        let Some((address, n)) = Address::parse(key) else {
            return self.problem("envelope", key, "no record has such a key");
        };
        let head = match seal::head(value) {
            Ok(head) => head,
            Err(e) => return self.problem("envelope", key, e.to_string()),
        };
        if address.table != Table::Meta {
            self.counted.add(head.tag);
        }
        let place = address.place(key);
        let opened = match head.hour {
            None => match seal::unwrap_plain(place, value) {
                Ok(payload) => Zeroizing::new(payload.to_vec()),
                Err(e) => return self.problem("envelope", key, e.to_string()),
            },
            Some(hour) => match self.keys.get(hour) {
                Ok(Some(sealing)) => match seal::unseal(sealing, place, value) {
                    Ok(payload) => payload,
                    Err(e) => return self.problem("seal", key, e.to_string()),
                },
                Ok(None) => {
                    *self.missing_keys.entry(hour).or_default() += 1;
                    return;
                }
                Err(e) => return self.problem("key", key, e.to_string()),
            },
        };
        self.assemble(key, address, n, head.pieces, &opened);
    }

    fn assemble(&mut self, key: &[u8], address: Address, n: u16, total: u16, bytes: &[u8]) {
        if n == 0 {
            self.no_partial();
            self.record = Some(Partial {
                address,
                total,
                next: 0,
                bytes: Zeroizing::default(),
            });
        }
        let Some(mut record) = self.record.take() else {
            return self.problem("envelope", key, "a piece without the one before it");
        };
        // Keys are in order, so the pieces of a record follow each other.
        if record.next != n
            || record.total != total
            || (n > 0 && Address::parse(key).map(|a| a.0) != Some(record.address.clone()))
        {
            return self.problem("envelope", key, "a piece without the one before it");
        }
        record.bytes.extend_from_slice(bytes);
        record.next += 1;
        if record.next == record.total {
            if self.record(&record.address, &record.bytes).is_none() {
                self.problem("envelope", key, "the record's content cannot be read");
            }
        } else {
            self.record = Some(record);
        }
    }

    fn no_partial(&mut self) {
        if let Some(record) = self.record.take() {
            let key = record.address.piece(record.next);
            self.problem("envelope", &key, "a piece is missing");
        }
    }

    fn record(&mut self, at: &Address, bytes: &[u8]) -> Option<()> {
        let loaded = &mut self.found.loaded;
        match at.table {
            Table::Meta => self.meta = Some(Meta::decode(bytes)?),
            Table::Grants => {
                let grant = record::decode_grant(bytes)?;
                self.found
                    .hours
                    .insert(grant.id, crate::store::keys::hour_of(grant.received_at));
                loaded.grants.push(grant);
            }
            Table::Data => {
                std::str::from_utf8(bytes).ok()?;
                self.data.insert(at.grant_id()?);
            }
            Table::Closed => {
                let closed = record::decode_closed(at, bytes)?;
                self.counted.closed.add(closed.outcome);
                self.closed.insert(Address::closed_at(&closed).key);
            }
            Table::Tail => {
                let tail = Tail::decode(bytes)?;
                for entry in tail.entries() {
                    self.counted.closed.add(entry.outcome);
                }
                self.found.tail = tail;
            }
            Table::Segments => {
                let segment = Segment::decode(bytes)?;
                self.counted.closed.add_all(&segment.kept);
                self.found.segments.insert(at.number()?, segment);
            }
            Table::ClosedAt => {
                self.closed_at.insert(at.key.clone());
            }
            Table::SourceMessages => loaded.source_messages.push(record::decode_source_message(bytes)?),
            Table::Messages => loaded.messages.push(record::decode_seen_message(at, bytes)?),
            Table::Codes => loaded.codes.push(record::decode_seen_code(at, bytes)?),
            Table::Nonces => loaded.nonces.push(record::decode_nonce(at, bytes)?),
            Table::Places => loaded.places.push(record::decode_place(at, bytes)?),
            Table::Cursors => {
                let channel = ChannelId(at.number()?);
                loaded.cursors.insert(channel, record::decode_cursor(bytes)?);
            }
            Table::Spending => {
                let channel = ChannelId(at.number()?);
                loaded.spending.insert(channel, record::decode_times(bytes)?);
            }
            Table::Identifies => loaded.identifies = record::decode_times(bytes)?,
        }
        Some(())
    }

    fn finish(mut self) -> Findings {
        self.no_partial();
        for (hour, pieces) in std::mem::take(&mut self.missing_keys) {
            let detail = format!(
                "the sealing key `{}` of {pieces} sealed values is missing",
                self.keys.path(hour).display()
            );
            self.problem("key", &hour.to_be_bytes(), detail);
        }
        match self.meta {
            None => self.problem("digest", &[], "the record of digest and counts is missing"),
            Some(meta) => {
                self.found.meta = meta;
                if (meta.pieces, meta.digest) != (self.counted.pieces, self.counted.digest) {
                    let detail = format!(
                        "{} values are there where {} were acknowledged, or some are not the last ones",
                        self.counted.pieces, meta.pieces
                    );
                    self.problem("digest", &[], detail);
                } else if meta.closed != self.counted.closed {
                    self.problem("digest", &[], "the counts of closed grants are wrong");
                }
            }
        }
        self.found.loaded.closed = self.counted.closed.sum();
        self.relations();
        self.found
    }

    fn relations(&mut self) {
        let found = &mut self.found;
        let settled_with_data = |grant: &crate::grant::Grant| match &grant.state {
            crate::grant::State::Settling(settling) => settling.has_data,
            _ => false,
        };
        for grant in &found.loaded.grants {
            let key = grant.id.0.to_bytes();
            if settled_with_data(grant) && !self.data.contains(&grant.id) {
                push(
                    &mut found.mismatches,
                    "index",
                    &key,
                    "the fetched data of an open grant are missing",
                );
            }
        }
        for id in &self.data {
            if !found.hours.contains_key(id) {
                push(
                    &mut found.mismatches,
                    "index",
                    &id.0.to_bytes(),
                    "fetched data without an open grant",
                );
            }
        }
        for key in self.closed.symmetric_difference(&self.closed_at) {
            push(
                &mut found.mismatches,
                "index",
                key,
                "the index of closed grants by time is wrong",
            );
        }
        for key in &self.closed {
            let id = Address::new(Table::ClosedAt, key.clone()).grant_id();
            if id.is_some_and(|id| found.hours.contains_key(&id)) {
                push(&mut found.mismatches, "index", key, "a grant is both open and closed");
            }
        }
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
