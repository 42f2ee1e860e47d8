//! From typed changes to one atomic sled batch, with the digest and the counts that belong to it. It syncs nothing.

use std::collections::{BTreeMap, HashMap};

use zeroize::Zeroizing;

use crate::grant::{ClosedGrant, Grant, State};
use crate::ids::GrantId;
use crate::store::change::Change;
use crate::store::error::StoreError;
use crate::store::keys::{KeyRing, hour_of};
use crate::store::port::ClosedTotals;
use crate::store::seal::{self, PIECE};

use super::closed::LogChange;
use super::meta::Meta;
use super::record::{self, Address, Table};

/// What a record becomes. Encoding waits until the batch is complete: only a grant's last record of it is written.
pub(super) enum Content<'c> {
    Plain(Vec<u8>),
    Grant(&'c Grant),
    Data(i64, &'c str),
}

/// The net effect of a batch of changes.
pub(super) struct Plan<'c> {
    pub writes: BTreeMap<Address, Option<Content<'c>>>,
    /// Grants that are open after it, with their hour, and grants that are not.
    pub open: HashMap<GrantId, Option<i64>>,
    /// Grants that close, in their order.
    pub closing: Vec<&'c ClosedGrant>,
    pub totals: ClosedTotals,
}

impl<'c> Plan<'c> {
    /// Adds up changes in order. `hours` are the open grants before it; `kept` says whether a grant has closed before and is
    /// kept: that costs a look at the disk, so only those are asked for that are not open.
    pub fn of(
        changes: &'c [Change],
        totals: ClosedTotals,
        hours: &HashMap<GrantId, i64>,
        mut kept: impl FnMut(GrantId) -> Result<bool, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut plan = Self {
            writes: BTreeMap::new(),
            open: HashMap::new(),
            closing: Vec::new(),
            totals,
        };
        for change in changes {
            match change {
                Change::PutGrant(grant) => match &grant.state {
                    State::Closed(end) => plan.close(end, hours, &mut kept)?,
                    _ => {
                        plan.open.insert(grant.id, Some(hour_of(grant.received_at)));
                        plan.put(Address::grant(Table::Grants, grant.id), Content::Grant(grant));
                    }
                },
                Change::PutData { grant, data } => {
                    let hour = match plan.open.get(grant) {
                        Some(hour) => *hour,
                        // Data may stand before its grant in the same batch.
                        None => hours.get(grant).copied().or_else(|| hour_in(changes, *grant)),
                    };
                    match hour {
                        Some(hour) => plan.put(Address::grant(Table::Data, *grant), Content::Data(hour, data.expose())),
                        None => {
                            tracing::error!(grant.id = %grant, "data for a grant that is not open was not stored");
                        }
                    }
                }
                Change::Close(end) => plan.close(end, hours, &mut kept)?,
                other => plan.simple(other),
            }
        }
        Ok(plan)
    }

    fn put(&mut self, at: Address, content: Content<'c>) {
        self.writes.insert(at, Some(content));
    }

    fn remove(&mut self, at: Address) {
        self.writes.insert(at, None);
    }

    fn close(
        &mut self,
        end: &'c ClosedGrant,
        hours: &HashMap<GrantId, i64>,
        kept: &mut impl FnMut(GrantId) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let again = match self.open.get(&end.id) {
            Some(open) => open.is_none(),
            None => !hours.contains_key(&end.id) && kept(end.id)?,
        };
        if again {
            tracing::error!(grant.id = %end.id, "a grant that has closed was not closed again");
            return Ok(());
        }
        self.open.insert(end.id, None);
        self.remove(Address::grant(Table::Grants, end.id));
        self.remove(Address::grant(Table::Data, end.id));
        self.closing.push(end);
        self.totals.add(end.outcome);
        Ok(())
    }

    /// Takes in what becomes of the records about closed grants.
    pub fn log(&mut self, change: &LogChange) {
        let tail = Content::Plain(change.tail.encode());
        self.put(Address::new(Table::Tail, []), tail);
        for (number, segment) in &change.segments {
            let content = segment.as_ref().map(|segment| Content::Plain(segment.encode()));
            self.writes.insert(Address::segment(*number), content);
        }
        self.totals.remove_all(&change.forgotten);
    }

    fn simple(&mut self, change: &Change) {
        let (at, bytes) = match change {
            Change::PutSourceMessage(source_message) => (
                Address::message(Table::SourceMessages, source_message.message),
                record::encode_source_message(source_message),
            ),
            Change::RemoveSourceMessage(message) => {
                return self.remove(Address::message(Table::SourceMessages, *message));
            }
            Change::SeeMessage(seen) => (
                Address::message(Table::Messages, seen.message),
                record::encode_seen_message(seen),
            ),
            Change::SeeCode(seen) => (Address::new(Table::Codes, seen.hash.0), record::encode_seen_code(seen)),
            Change::Forget {
                messages,
                codes,
                nonces,
            } => {
                for message in messages {
                    self.remove(Address::message(Table::Messages, *message));
                }
                for code in codes {
                    self.remove(Address::new(Table::Codes, code.0));
                }
                for nonce in nonces {
                    self.remove(Address::new(Table::Nonces, *nonce));
                }
                return;
            }
            Change::HoldPlace(place) => (
                Address::new(Table::Places, place.token.nonce),
                record::encode_place(place),
            ),
            Change::FreePlaces(nonces) => {
                for nonce in nonces {
                    self.remove(Address::new(Table::Places, *nonce));
                }
                return;
            }
            Change::UseNonce(used) => (Address::new(Table::Nonces, used.nonce), record::encode_nonce(used)),
            Change::MoveCursor { channel, read_to } => (
                Address::channel(Table::Cursors, *channel),
                record::encode_cursor(*read_to),
            ),
            Change::PutSpending { channel, sent_at } => (
                Address::channel(Table::Spending, *channel),
                record::encode_times(sent_at),
            ),
            Change::PutIdentifies(times) => (Address::new(Table::Identifies, []), record::encode_times(times)),
            Change::PutGrant(_) | Change::PutData { .. } | Change::Close(_) => {
                unreachable!("handled where the open grants are known")
            }
        };
        self.put(at, Content::Plain(bytes));
    }
}

fn hour_in(changes: &[Change], id: GrantId) -> Option<i64> {
    changes.iter().find_map(|change| match change {
        Change::PutGrant(grant) if grant.id == id => Some(hour_of(grant.received_at)),
        _ => None,
    })
}

/// Turns a plan into sled's batch and the new meta record, which is part of the batch.
pub(super) fn batch(
    plan: &Plan<'_>,
    tree: &sled::Tree,
    keys: &mut KeyRing,
    before: &Meta,
) -> Result<(sled::Batch, Meta), StoreError> {
    let mut batch = sled::Batch::default();
    let mut meta = Meta {
        commit: before.commit + 1,
        closed: plan.totals,
        ..*before
    };
    for (address, content) in &plan.writes {
        let mut old = old_pieces(tree, address)?;
        for tag in &old {
            meta.remove(*tag);
        }
        let new = match content {
            Some(content) => encode(content, address, keys)?,
            None => Vec::new(),
        };
        let leftover = old.split_off(new.len().min(old.len()));
        for n in 0..leftover.len() {
            batch.remove(address.piece((new.len() + n) as u16));
        }
        for (n, value) in new.into_iter().enumerate() {
            meta.add(head(&value, address)?.tag);
            batch.insert(address.piece(n as u16), value);
        }
    }
    batch.insert(meta_key(), meta_value(&meta));
    Ok((batch, meta))
}

/// The tags of a record's pieces as they are on the disk.
fn old_pieces(tree: &sled::Tree, address: &Address) -> Result<Vec<u128>, StoreError> {
    let mut tags = Vec::new();
    let mut pieces = 1;
    let mut n = 0;
    while n < pieces {
        match tree.get(address.piece(n)).map_err(|e| engine("read a record", &e))? {
            None if n == 0 => break,
            None => {
                return Err(StoreError::damaged(format!(
                    "a piece of a record of `{}` is missing",
                    address.table.name()
                )));
            }
            Some(value) => {
                let head = head(&value, address)?;
                pieces = head.pieces;
                tags.push(head.tag);
            }
        }
        n += 1;
    }
    Ok(tags)
}

fn head(value: &[u8], address: &Address) -> Result<seal::Head, StoreError> {
    seal::head(value)
        .map_err(|e| StoreError::damaged(format!("a record of `{}` cannot be read: {e}", address.table.name())))
}

fn encode(content: &Content<'_>, address: &Address, keys: &mut KeyRing) -> Result<Vec<Vec<u8>>, StoreError> {
    match content {
        Content::Plain(bytes) => pieces(bytes, address, |place, total, piece| {
            Ok(seal::wrap(place, total, piece))
        }),
        Content::Grant(grant) => {
            let bytes = Zeroizing::new(record::encode_grant(grant));
            // A record that could be written but not read would be found at the next start, too late to be mended.
            debug_assert_eq!(
                record::decode_grant(&bytes).as_ref(),
                Some(*grant),
                "a grant reads back"
            );
            sealed(&bytes, hour_of(grant.received_at), address, keys)
        }
        Content::Data(hour, text) => sealed(text.as_bytes(), *hour, address, keys),
    }
}

fn sealed(bytes: &[u8], hour: i64, address: &Address, keys: &mut KeyRing) -> Result<Vec<Vec<u8>>, StoreError> {
    let key = keys.ensure(hour).map_err(key_error)?;
    pieces(bytes, address, |place, total, piece| {
        seal::seal(key, hour, place, total, piece).map_err(|e| StoreError::Sealing {
            what: format!("a record of `{}`: {e}", address.table.name()),
        })
    })
}

fn pieces(
    bytes: &[u8],
    address: &Address,
    mut envelope: impl FnMut(seal::RecordAddress<'_>, u16, &[u8]) -> Result<Vec<u8>, StoreError>,
) -> Result<Vec<Vec<u8>>, StoreError> {
    // An empty record has one empty piece.
    let count = bytes.len().div_ceil(PIECE).max(1);
    let total = u16::try_from(count).map_err(|_| StoreError::Sealing {
        what: format!("a record of `{}` is larger than 41 MB", address.table.name()),
    })?;
    (0..total)
        .map(|n| {
            let from = usize::from(n) * PIECE;
            let key = address.piece(n);
            envelope(address.place(&key), total, &bytes[from..bytes.len().min(from + PIECE)])
        })
        .collect()
}

/// The key of the meta record.
pub(super) fn meta_key() -> Vec<u8> {
    Address::new(Table::Meta, []).piece(0)
}

/// The meta record in its envelope.
pub(super) fn meta_value(meta: &Meta) -> Vec<u8> {
    let key = meta_key();
    seal::wrap(Address::new(Table::Meta, []).place(&key), 1, &meta.encode())
}

/// Sled's errors as ours.
pub(super) fn engine(what: &str, e: &sled::Error) -> StoreError {
    match e {
        sled::Error::Io(e) => StoreError::io(what, e),
        sled::Error::Corruption { .. } => StoreError::damaged(format!("failed to {what}: the engine finds corruption")),
        other => StoreError::Io {
            what: what.to_owned(),
            kind: std::io::ErrorKind::Other,
            detail: other.to_string(),
        },
    }
}

/// Key errors as the store's.
pub(super) fn key_error(e: crate::store::keys::KeyError) -> StoreError {
    use crate::store::keys::KeyError;
    match e {
        KeyError::Io { what, path, source } => {
            StoreError::io(format!("cannot {what} the key `{}`", path.display()), &source)
        }
        other @ KeyError::Length { .. } => StoreError::damaged(other.to_string()),
    }
}
