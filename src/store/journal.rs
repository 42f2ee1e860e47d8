//! [`Store`]: what the service's changes do to its records, and what a start makes of the records that it finds.

use super::change::{Change, Loaded, Problem};
use super::closed::{ClosedFiles, ClosedGrants};
use super::durable::Durable;
use super::engine::Batch;
use super::error::{OpenError, StoreError};
use super::keys::hour_of;
use super::load::Found;
use super::open::{OpenedFolder, StoreOptions, open_folder};
use super::port::{ClosedTotals, Room, Store};
use super::record::{self, ClosedMark, Cursor, Spending, grant_key};
use super::records::{Records, push};
use crate::crash;
use crate::grant::{ClosedGrant, State};
use crate::ids::GrantId;
use crate::intake::gate::GateChange;
use crate::secret::PersonalData;
use crate::time::{SharedClock, Timestamp};

/// Past this size somebody should look: a journal is a few megabytes.
const WARN_BYTES: u64 = 256 * 1024 * 1024;
/// Commits between two looks at the size.
const LOOK_EVERY: u64 = 1024;

/// An opened store.
pub struct Opened {
    /// The store.
    pub store: Box<dyn Store>,
    /// What it holds.
    pub loaded: Loaded,
    /// What the operator should know; a line each, without secrets.
    pub notices: Vec<String>,
}

/// Opens a store, making it where there is none. It blocks: up to 5 s for a predecessor to release it, and as long as
/// reading everything takes (0.1 s for 100,000 records).
pub fn open(options: &StoreOptions) -> Result<Opened, OpenError> {
    let folder = open_folder(options, |records, disk| {
        let found = Found::read(records)?;
        first_problem(&found.problems)?;
        let log = ClosedFiles::open(&options.closed_dir(), disk, &found.marks)?;
        Ok((found.loaded, ClosedGrants::new(found.closed, Box::new(log))))
    })?;
    let OpenedFolder {
        records,
        loaded: (loaded, mut closed),
        notices,
    } = folder;
    closed.log().tidy().map_err(|e| options.refused(e))?;
    let loaded = Loaded {
        closed: closed.totals().sum(),
        ..loaded
    };
    let store = Box::new(Journal {
        records,
        closed,
        closed_group: options.closed_group,
        clock: options.clock.clone(),
        commits: 0,
        warn_at: WARN_BYTES,
    });
    Ok(Opened { store, loaded, notices })
}

/// The first of the problems that a start has found, as its error.
pub fn first_problem(problems: &[Problem]) -> Result<(), StoreError> {
    let Some(first) = problems.first() else { return Ok(()) };
    let more = match problems.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Err(StoreError::damaged(format!("{}: {}{more}", first.kind, first.detail)))
}

/// See the file's head.
struct Journal {
    records: Records,
    closed: ClosedGrants,
    /// Closed grants that wait for each write to their log.
    closed_group: usize,
    clock: SharedClock,
    commits: u64,
    /// The size at which the next warning comes.
    warn_at: u64,
}

/// Changes that take effect together, added up in their order.
struct Adding<'c> {
    all: &'c [Change],
    batch: Batch,
    /// Grants that close.
    closing: Vec<&'c ClosedGrant>,
}

impl Adding<'_> {
    fn closes(&self, id: GrantId) -> bool {
        self.closing.iter().any(|end| end.id == id)
    }

    /// The hour of a grant that a later change of the batch opens.
    fn hour_to_come(&self, id: GrantId) -> Option<i64> {
        let mut open = self.all.iter().filter(|_| !self.closes(id));
        open.find_map(|change| match change {
            Change::PutGrant(grant) if grant.id == id => Some(hour_of(grant.received_at)),
            _ => None,
        })
    }
}

impl Journal {
    fn add<'c>(&mut self, to: &mut Adding<'c>, change: &'c Change) -> Result<(), StoreError> {
        let (records, batch) = (&mut self.records, &mut to.batch);
        match change {
            Change::PutGrant(grant) => match &grant.state {
                State::Closed(end) => self.close_grant(to, end),
                _ => records.put(batch, &**grant),
            },
            Change::Close(end) => self.close_grant(to, end),
            Change::PutData { grant, data } => {
                let key = grant_key(*grant);
                let open = records.hour(record::GRANTS, &key);
                let Some(hour) = open.or_else(|| to.hour_to_come(*grant)) else {
                    tracing::error!(grant.id = %grant, "data for a grant that is not open was not stored");
                    return Ok(());
                };
                records.put_sealed(&mut to.batch, record::DATA, &key, hour, data.expose().as_bytes())
            }
            Change::PutSourceMessage(source_message) => records.put(batch, source_message),
            Change::SeeMessage(seen) => records.put(batch, seen),
            Change::SeeCode(seen) => records.put(batch, seen),
            Change::UseNonce(used) => records.put(batch, used),
            Change::Gate(GateChange::Hold(place)) => records.put(batch, place),
            Change::Gate(GateChange::Keep(account)) => records.put(batch, account),
            Change::Gate(GateChange::Free(nonce)) => {
                records.remove(batch, record::PLACES, nonce);
                Ok(())
            }
            Change::Gate(GateChange::Forget(user)) => {
                records.remove(batch, record::ACCOUNTS, &user.0.to_be_bytes());
                Ok(())
            }
            Change::MoveCursor { channel, read_to } => {
                let (channel, read_to) = (*channel, *read_to);
                records.put(batch, &Cursor { channel, read_to })
            }
            Change::PutSpending { channel, sent_at } => {
                let (channel, sent_at) = (*channel, sent_at.clone());
                records.put(batch, &Spending { channel, sent_at })
            }
            Change::RemoveSourceMessage(message) => {
                records.remove(batch, record::SOURCE_MESSAGES, &message.0.to_be_bytes());
                Ok(())
            }
            Change::Forget {
                messages,
                codes,
                nonces,
            } => {
                for message in messages {
                    records.remove(batch, record::MESSAGES, &message.0.to_be_bytes());
                }
                for code in codes {
                    records.remove(batch, record::CODES, &code.0);
                }
                for nonce in nonces {
                    records.remove(batch, record::NONCES, nonce);
                }
                Ok(())
            }
        }
    }

    fn close_grant<'c>(&mut self, to: &mut Adding<'c>, end: &'c ClosedGrant) -> Result<(), StoreError> {
        let key = grant_key(end.id);
        // Looking among the closed ones may cost reading a file, so only for a grant that is not open.
        let is_open = self.records.hour(record::GRANTS, &key).is_some();
        if !is_open && (to.closes(end.id) || self.closed.find(end.id)?.is_some()) {
            tracing::error!(grant.id = %end.id, "a grant that has closed was not closed again");
            return Ok(());
        }
        self.records.remove(&mut to.batch, record::GRANTS, &key);
        self.records.remove(&mut to.batch, record::DATA, &key);
        self.records.put(&mut to.batch, end)?;
        to.closing.push(end);
        Ok(())
    }

    /// Moves closed grants from the engine to their log.
    fn hand_over(&mut self) -> Result<(), StoreError> {
        if self.closed.recent() == 0 {
            return Ok(());
        }
        let (rows, marks) = self.closed.hand_over()?;
        let mut batch = Batch::default();
        for id in rows {
            self.records.remove(&mut batch, record::CLOSED, &grant_key(id));
        }
        for (hour, mark) in marks {
            self.records.put(&mut batch, &ClosedMark { hour, mark })?;
        }
        self.records.apply(batch)
    }

    /// An error of the key files or of the closed log is the store's end too.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        work(self).map_err(|e| self.records.fail(e))
    }

    fn sweep(&mut self, closed_before: Timestamp) -> Result<u64, StoreError> {
        self.hand_over()?;
        let before = self.closed.totals().sum();
        let hours = self.closed.log().sweep(closed_before);
        if hours.is_empty() {
            return Ok(0);
        }
        let mut batch = Batch::default();
        for hour in hours {
            self.records
                .remove(&mut batch, record::CLOSED_MARKS, &hour.to_be_bytes());
        }
        crash::point("sweep.before");
        self.records.apply(batch)?;
        crash::point("sweep.after");
        self.closed.log().tidy()?;
        Ok(before - self.closed.totals().sum())
    }

    fn commit_all(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut adding = Adding {
            all: changes,
            batch: Batch::default(),
            closing: Vec::new(),
        };
        for change in changes {
            self.add(&mut adding, change)?;
        }
        let Adding { batch, closing, .. } = adding;
        if batch.is_empty() {
            return Ok(());
        }
        self.commits += 1;
        self.records.apply(batch)?;
        for end in closing {
            self.closed.add(end.clone());
        }
        Ok(())
    }

    fn look_at_the_size(&mut self) {
        if self.commits == 0 || !self.commits.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let size = self.size_bytes();
        if size >= self.warn_at {
            tracing::warn!(
                size_mb = size >> 20,
                "the journal has grown large: look for deliveries that wait, or a long `closed_retention`"
            );
            self.warn_at = size.saturating_mul(2);
        }
    }
}

impl Durable for Journal {
    type Change = Change;

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.guarded(|this| this.commit_all(changes))
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.guarded(|this| {
            if this.closed.recent() >= this.closed_group {
                this.hand_over()?;
            }
            this.look_at_the_size();
            this.records.maintain(this.clock.now())
        })
    }

    fn rest(&mut self) -> Result<(), StoreError> {
        self.records.rest()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.records.close()
    }
}

impl Store for Journal {
    fn data(&mut self, id: GrantId) -> Result<Option<PersonalData>, StoreError> {
        let Some(bytes) = self.records.read(record::DATA, &grant_key(id))? else {
            return Ok(None);
        };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| StoreError::damaged(format!("grant {id}'s data: not text")))?;
        Ok(Some(PersonalData::new(text)))
    }

    fn closed(&mut self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError> {
        self.closed.find(id)
    }

    fn newest_closed(&mut self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError> {
        self.closed.newest(limit)
    }

    fn closed_totals(&mut self) -> Result<ClosedTotals, StoreError> {
        Ok(self.closed.totals())
    }

    fn sweep_closed(&mut self, closed_before: Timestamp) -> Result<u64, StoreError> {
        self.guarded(|this| this.sweep(closed_before))
    }

    fn destroy_idle_keys(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.guarded(|this| this.records.destroy_idle_keys(now))
    }

    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        let mut problems = self.records.verify()?;
        let found = Found::read(&mut self.records)?;
        problems.extend(found.problems);
        problems.extend(found.mismatches);
        let damage = self.closed.log().verify(&mut |id| {
            if self.records.hour(record::GRANTS, &grant_key(id)).is_some() {
                push(
                    &mut problems,
                    "index",
                    &grant_key(id),
                    "a grant is both open and closed",
                );
            }
        })?;
        for what in damage {
            push(&mut problems, "closed", &[], what);
        }
        Ok(problems)
    }

    fn size_bytes(&self) -> u64 {
        self.records.size() + self.closed.size_bytes()
    }

    fn room(&self) -> Result<Room, StoreError> {
        self.records.room()
    }
}
