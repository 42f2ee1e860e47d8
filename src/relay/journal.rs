//! The relay's own journal: lines that wait, callbacks that are known, and when each budget was spent. Codes are sealed
//! under the key of their hour, which is destroyed once the hour is over and no line of it waits.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::known::Known;
use super::queue::Line;
use crate::ids::{ChannelId, CodeHash, WebhookId};
use crate::secret::Key;
use crate::store::engine::Batch;
use crate::store::keys::{KeyError, code_hash_key, hour_of};
use crate::store::records::{Record, Records, Table, decode};
use crate::store::{
    Committer, Durable, Handle, Kind, OpenError, OpenedFolder, StoreError, StoreOptions, first_problem, open_folder,
};
use crate::time::{SharedClock, Timestamp};

/// Line by callback hash: what it says, sealed.
const LINES: Table = Table {
    id: b'l',
    name: "relay_lines",
};
/// Callback by its hash: until when it is known, and its link.
const CALLBACKS: Table = Table {
    id: b'c',
    name: "relay_callbacks",
};
/// Budget: send times of the last minute.
const SPENDING: Table = Table {
    id: b'b',
    name: "relay_spending",
};
const TABLES: &[Table] = &[LINES, CALLBACKS, SPENDING];

/// Why the journal cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RelayJournalError {
    /// The store.
    #[error("the relay's journal cannot be opened")]
    Open(#[from] OpenError),
    /// The key of the hashes.
    #[error("the key that hashes codes cannot be read")]
    Key(#[from] KeyError),
    /// No thread.
    #[error("the store's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The journal, for everybody who changes it.
#[derive(Clone)]
pub struct RelayJournal {
    store: Handle<RelayStore>,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Lines that wait.
    pub waiting: Vec<Line>,
    /// Callbacks that are known.
    pub known: BTreeMap<CodeHash, Known>,
    /// Send times of the last minute.
    pub spending: BTreeMap<BudgetKey, Vec<Timestamp>>,
    /// What the operator should know.
    pub notices: Vec<String>,
}

/// What shares a budget: the webhooks of a channel, or one webhook whose channel is not configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BudgetKey {
    /// Lanes of this channel.
    Channel(ChannelId),
    /// The lane of this webhook.
    Webhook(WebhookId),
}

impl BudgetKey {
    /// The key of a lane's budget.
    pub fn new(webhook: WebhookId, channel: Option<ChannelId>) -> Self {
        channel.map_or(Self::Webhook(webhook), Self::Channel)
    }

    fn bytes(self) -> Vec<u8> {
        let (kind, id) = match self {
            Self::Channel(channel) => (0, channel.0),
            Self::Webhook(webhook) => (1, webhook.0),
        };
        [&[kind][..], &id.to_be_bytes()].concat()
    }
}

/// A callback's record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CallbackRecord {
    hash: CodeHash,
    known: Known,
}

/// A budget's record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SpendingRecord {
    budget: BudgetKey,
    sent_at: Vec<Timestamp>,
}

impl Record for Line {
    const TABLE: Table = LINES;
    fn key(&self) -> Vec<u8> {
        self.hash.0.to_vec()
    }
    fn hour(&self) -> Option<i64> {
        Some(hour_of(self.came_at))
    }
}

impl Record for CallbackRecord {
    const TABLE: Table = CALLBACKS;
    fn key(&self) -> Vec<u8> {
        self.hash.0.to_vec()
    }
}

impl Record for SpendingRecord {
    const TABLE: Table = SPENDING;
    fn key(&self) -> Vec<u8> {
        self.budget.bytes()
    }
}

/// One change of the relay's records.
#[derive(Debug)]
enum Change {
    Accept(Box<Line>, Known),
    Rewrite(Box<Line>),
    Settle(Vec<CodeHash>),
    Spend(BudgetKey, Vec<Timestamp>),
    Forget(Vec<CodeHash>),
}

impl Kind for Change {
    fn kind(&self) -> &'static str {
        match self {
            Self::Accept(..) => "receive",
            Self::Rewrite(_) => "rewrite",
            Self::Settle(_) => "settle",
            Self::Spend(..) => "spending",
            Self::Forget(_) => "forget",
        }
    }
}

/// The records, as the committer drives them.
struct RelayStore {
    records: Records,
    clock: SharedClock,
}

impl RelayStore {
    fn open(options: &StoreOptions) -> Result<(Box<Self>, Recovered), OpenError> {
        let opened = open_folder(options, |records, _| Recovered::load(records))?;
        let OpenedFolder {
            records,
            loaded,
            notices,
        } = opened;
        let clock = options.clock.clone();
        Ok((Box::new(Self { records, clock }), Recovered { notices, ..loaded }))
    }

    fn add(&mut self, batch: &mut Batch, change: &Change) -> Result<(), StoreError> {
        let records = &mut self.records;
        match change {
            Change::Accept(line, known) => {
                let (hash, known) = (line.hash, *known);
                records.put(batch, &CallbackRecord { hash, known })?;
                records.put(batch, &**line)?;
            }
            Change::Rewrite(line) => records.put(batch, &**line)?,
            Change::Settle(lines) => lines.iter().for_each(|hash| records.remove(batch, LINES, &hash.0)),
            Change::Spend(budget, sent_at) => {
                let (budget, sent_at) = (*budget, sent_at.clone());
                records.put(batch, &SpendingRecord { budget, sent_at })?;
            }
            Change::Forget(codes) => codes.iter().for_each(|hash| records.remove(batch, CALLBACKS, &hash.0)),
        }
        Ok(())
    }
}

impl Durable for RelayStore {
    type Change = Change;

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for change in changes {
            self.add(&mut batch, change)?;
        }
        self.records.apply(batch)
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.records.maintain(self.clock.now())
    }

    fn rest(&mut self) -> Result<(), StoreError> {
        self.records.rest()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.records.close()
    }
}

impl Recovered {
    fn load(records: &mut Records) -> Result<Self, StoreError> {
        let mut found = Self::default();
        let problems = records.load(TABLES, &mut |table, key, bytes| found.take(table, key, bytes))?;
        first_problem(&problems)?;
        Ok(found)
    }

    /// Takes one record; `None` where this program has not written it.
    fn take(&mut self, table: u8, key: &[u8], bytes: &[u8]) -> Option<()> {
        if table == LINES.id {
            self.waiting.push(decode(key, bytes)?);
        } else if table == CALLBACKS.id {
            let CallbackRecord { hash, known } = decode(key, bytes)?;
            self.known.insert(hash, known);
        } else {
            let SpendingRecord { budget, sent_at } = decode(key, bytes)?;
            self.spending.insert(budget, sent_at);
        }
        Some(())
    }
}

/// Opens the journal in a folder, with the key under which callbacks are hashed.
pub fn open(
    folder: &Path,
    clock: SharedClock,
    hung_after: Duration,
) -> Result<(RelayJournal, Recovered, Key), RelayJournalError> {
    let (journal, found) = open_on_its_thread(&StoreOptions::new(folder.join("store"), clock), hung_after)?;
    let key = code_hash_key(folder)?;
    Ok((journal, found, key))
}

/// Opens it with a thread of its own.
pub fn open_on_its_thread(
    options: &StoreOptions,
    hung_after: Duration,
) -> Result<(RelayJournal, Recovered), RelayJournalError> {
    let (store, found) = RelayStore::open(options)?;
    let store = Committer::spawn(store, hung_after).map_err(RelayJournalError::Thread)?;
    Ok((RelayJournal { store }, found))
}

/// Opens it for virtual time: everything is done in the caller.
pub fn open_inline(options: &StoreOptions) -> Result<(RelayJournal, Recovered), OpenError> {
    let (store, found) = RelayStore::open(options)?;
    let store = Committer::inline(store);
    Ok((RelayJournal { store }, found))
}

impl RelayJournal {
    fn commit(&self, change: Change) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.store.commit(vec![change])
    }

    /// A new line, and the callback that brought it; both are on the disk when it answers.
    pub fn accept(&self, waiting: &Line, known: Known) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.commit(Change::Accept(Box::new(waiting.clone()), known))
    }

    /// A line says something else from now on.
    pub fn rewrite(&self, waiting: &Line) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.commit(Change::Rewrite(Box::new(waiting.clone())))
    }

    /// Lines that are settled: nothing of them stays.
    pub fn settle(&self, lines: &[Line]) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.commit(Change::Settle(lines.iter().map(|line| line.hash).collect()))
    }

    /// The send times of a budget, before the next post leaves.
    pub fn spend(
        &self,
        budget: BudgetKey,
        sent_at: Vec<Timestamp>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.commit(Change::Spend(budget, sent_at))
    }

    /// Callbacks that would be refused by now if they came again.
    pub fn forget(&self, codes: Vec<CodeHash>) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.commit(Change::Forget(codes))
    }

    /// Destroys the keys of hours that are over and have no line.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        let destroyed = self.store.with(move |store| store.records.destroy_idle_keys(now));
        destroyed.await.map(drop)
    }

    /// The error that ends the process, if there is one.
    pub fn failed(&self) -> Option<StoreError> {
        self.store.health().error()
    }

    /// Ends it cleanly.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[cfg(test)]
mod tests;
