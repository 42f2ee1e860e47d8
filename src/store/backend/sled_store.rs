//! [`Store`] on sled: one transaction, flush, `fdatasync` of the file itself, high-water mark, and only then an answer.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::crash;
use crate::grant::ClosedGrant;
use crate::ids::GrantId;
use crate::secret::PersonalData;
use crate::store::change::{Change, Problem};
use crate::store::error::StoreError;
use crate::store::keys::{KeyRing, hour_of};
use crate::store::port::{ClosedTotals, Room, Store};
use crate::store::seal;
use crate::time::{SharedClock, Timestamp};

use super::closed::{Log, LogChange, SWEEP_POINT, Trouble};
use super::disk::{Disk, Fault, files_below};
use super::host::{InstanceLock, Reserve, free_bytes, wait_until_released};
use super::inspect::{inspect, push};
use super::mark::HighWaterMark;
use super::meta::Meta;
use super::record::{Address, Table};
use super::write::{self, Plan, engine, key_error};
use super::{files, write::batch};

/// Past this size somebody should look: a journal is a few megabytes.
const WARN_BYTES: u64 = 256 * 1024 * 1024;
/// Commits between two looks at the size.
const LOOK_EVERY: u64 = 1024;

/// The embedded store. Fields are dropped in their order: the engine first, the lock last.
pub(super) struct SledStore {
    pub db: sled::Db,
    /// A second handle of the engine's file: its own flush stops at the page cache.
    pub db_file: File,
    pub mark: HighWaterMark,
    pub keys: KeyRing,
    pub disk: Disk,
    pub clock: SharedClock,
    pub meta: Meta,
    /// Closed grants.
    pub log: Log,
    /// The hour of every open grant, which names its key.
    pub hours: HashMap<GrantId, i64>,
    /// Open grants by hour.
    pub per_hour: BTreeMap<i64, usize>,
    /// An hour has lost its last open grant since its keys were last looked at.
    pub idle_hours: bool,
    /// Sled's errors are sticky, and so is ours.
    pub failed: Option<StoreError>,
    pub commits: u64,
    pub warn_at: u64,
    pub reserve: Reserve,
    pub root: PathBuf,
    pub lock: InstanceLock,
}

impl SledStore {
    fn alive(&self) -> Result<(), StoreError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Keeps the first error for ever.
    fn fail(&mut self, e: StoreError) -> StoreError {
        if e.is_disk_full() && self.reserve.free() {
            tracing::warn!("the disk is full: the reserve file was freed so that the next start works");
        }
        self.failed.get_or_insert(e).clone()
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.alive()?;
        work(self).map_err(|e| self.fail(e))
    }

    /// Makes a plan durable. The order is what matters: files that the transaction will speak of, the transaction, the mark.
    pub fn write(&mut self, mut plan: Plan<'_>) -> Result<(), StoreError> {
        let log = if plan.closing.is_empty() {
            None
        } else {
            let appended = self.log.append(&plan.closing, &self.disk);
            Some(appended.map_err(|e| StoreError::io("failed to append to the closed grants", &e))?)
        };
        if let Some(change) = &log {
            plan.log(change);
        }
        self.transact(&plan)?;
        if let Some(change) = log {
            self.log.apply(change);
        }
        Ok(())
    }

    fn transact(&mut self, plan: &Plan<'_>) -> Result<(), StoreError> {
        self.commits += 1;
        let fault = self.disk.fault_at_commit(self.commits);
        match fault {
            Some(Fault::FullAtCommit(_)) => return Err(StoreError::Full),
            Some(Fault::HangAtCommit(_, time)) => std::thread::sleep(time),
            Some(Fault::PanicAtCommit(_)) => panic!("a panic on purpose"),
            _ => {}
        }
        let (batch, meta) = batch(plan, &self.db, &mut self.keys, &self.meta)?;
        self.db
            .apply_batch(batch)
            .map_err(|e| engine("apply a transaction", &e))?;
        self.db.flush().map_err(|e| engine("flush", &e))?;
        if let Some(Fault::FullAtSyncOfCommit(_)) = fault {
            return Err(StoreError::Full);
        }
        self.disk
            .sync_data(&self.db_file)
            .map_err(|e| StoreError::io("failed to sync the store's file", &e))?;
        self.mark
            .advance(meta.commit, &self.disk)
            .map_err(|e| StoreError::io("failed to write the high-water mark", &e))?;
        self.meta = meta;
        for (id, hour) in &plan.open {
            self.track(*id, *hour);
        }
        Ok(())
    }

    fn track(&mut self, id: GrantId, hour: Option<i64>) {
        let before = match hour {
            Some(hour) => self.hours.insert(id, hour),
            None => self.hours.remove(&id),
        };
        if before == hour {
            return;
        }
        if let Some(hour) = hour {
            *self.per_hour.entry(hour).or_default() += 1;
        }
        if let Some(count) = before.and_then(|hour| self.per_hour.get_mut(&hour)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.idle_hours = true;
                self.per_hour.retain(|_, count| *count > 0);
            }
        }
    }

    fn sealed_data(&mut self, id: GrantId) -> Result<Option<PersonalData>, StoreError> {
        let address = Address::grant(Table::Data, id);
        let mut text = Zeroizing::new(Vec::new());
        let (mut n, mut pieces) = (0, 1);
        while n < pieces {
            let key = address.piece(n);
            let value = match self.db.get(&key).map_err(|e| engine("read fetched data", &e))? {
                None if n == 0 => return Ok(None),
                other => {
                    other.ok_or_else(|| StoreError::damaged(format!("a piece of grant {id}'s data is missing")))?
                }
            };
            let damaged = |e: seal::SealError| StoreError::damaged(format!("grant {id}'s data: {e}"));
            let head = seal::head(&value).map_err(damaged)?;
            let hour = head.hour.ok_or_else(|| damaged(seal::SealError::NotAnEnvelope))?;
            let key_file = self.keys.path(hour);
            let sealing = self.keys.get(hour).map_err(key_error)?.ok_or_else(|| {
                StoreError::damaged(format!(
                    "the sealing key `{}` of grant {id} is missing",
                    key_file.display()
                ))
            })?;
            text.extend_from_slice(&seal::unseal(sealing, address.place(&key), &value).map_err(damaged)?);
            pieces = head.pieces;
            n += 1;
        }
        let text =
            std::str::from_utf8(&text).map_err(|_| StoreError::damaged(format!("grant {id}'s data: not text")))?;
        Ok(Some(PersonalData::new(text)))
    }

    fn destroy_keys(&mut self, mut spare: impl FnMut(i64) -> bool) -> Result<usize, StoreError> {
        let idle: Vec<i64> = self
            .keys
            .hours()
            .filter(|hour| !self.per_hour.contains_key(hour) && !spare(*hour))
            .collect();
        for hour in &idle {
            self.keys.destroy(*hour).map_err(key_error)?;
        }
        Ok(idle.len())
    }
}

impl Store for SledStore {
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.guarded(|this| {
            if changes.is_empty() {
                return Ok(());
            }
            let plan = Plan::of(changes, this.meta.closed, &this.hours, |id| {
                this.log.find(id).map(|found| found.is_some()).map_err(trouble)
            })?;
            this.write(plan)
        })
    }

    fn data(&mut self, id: GrantId) -> Result<Option<PersonalData>, StoreError> {
        self.guarded(|this| this.sealed_data(id))
    }

    fn closed(&mut self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError> {
        self.guarded(|this| this.log.find(id).map_err(trouble))
    }

    fn newest_closed(&mut self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError> {
        self.guarded(|this| this.log.newest_closed(limit).map_err(trouble))
    }

    fn closed_totals(&mut self) -> Result<ClosedTotals, StoreError> {
        self.guarded(|this| Ok(this.meta.closed))
    }

    fn sweep_closed(&mut self, closed_before: Timestamp) -> Result<u64, StoreError> {
        self.guarded(|this| {
            let Some(change) = this.log.sweep(closed_before).map_err(trouble)? else {
                return Ok(0);
            };
            let mut plan = Plan {
                writes: BTreeMap::new(),
                open: HashMap::new(),
                closing: Vec::new(),
                totals: this.meta.closed,
            };
            plan.log(&change);
            crash::point(SWEEP_POINT[0]);
            this.transact(&plan)?;
            crash::point(SWEEP_POINT[1]);
            let LogChange {
                segments, forgotten, ..
            } = &change;
            let dropped: Vec<u64> = segments.iter().filter(|(_, s)| s.is_none()).map(|(n, _)| *n).collect();
            let forgotten = forgotten.sum();
            this.log.apply(change);
            // What a kill leaves here, the next start removes.
            this.log
                .unlink(&dropped)
                .map_err(|e| StoreError::io("failed to remove swept grants", &e))?;
            Ok(forgotten)
        })
    }

    fn destroy_idle_keys(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.guarded(|this| this.destroy_keys(|hour| hour >= hour_of(now)))
    }

    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        self.guarded(|this| {
            let found = inspect(&this.db, &mut this.keys).map_err(|e| engine("read everything", &e))?;
            let mut problems = found.problems;
            problems.extend(found.mismatches);
            let damage = check_log(&this.log, &this.hours, &mut problems);
            for what in damage.map_err(trouble)? {
                push(&mut problems, "segment", &[], what);
            }
            if (&found.tail, &found.segments) != (&this.log.tail, &this.log.segments) {
                push(
                    &mut problems,
                    "segment",
                    &[],
                    "what is known of closed grants on the disk is not what is in memory",
                );
            }
            if found.meta != this.meta {
                push(
                    &mut problems,
                    "digest",
                    &[],
                    "digest and counts on the disk are not those in memory",
                );
            }
            let mark = this
                .mark
                .read()
                .map_err(|e| StoreError::io("failed to read the high-water mark", &e))?;
            if mark != Some(this.meta.commit) {
                push(
                    &mut problems,
                    "high_water_mark",
                    &[],
                    format!("it says {mark:?} where the last commit is {}", this.meta.commit),
                );
            }
            Ok(problems)
        })
    }

    fn size_bytes(&self) -> u64 {
        [files::ENGINE, files::CLOSED]
            .into_iter()
            .flat_map(|folder| files_below(&self.root.join(folder)).unwrap_or_default())
            .filter_map(|file| std::fs::metadata(file).ok())
            .map(|m| m.len())
            .sum()
    }

    fn room(&self) -> Result<Room, StoreError> {
        Ok(Room {
            free_bytes: free_bytes(&self.root).map_err(|e| StoreError::io("failed to ask for free room", &e))?,
            reserve_held: self.reserve.held() > 0,
        })
    }

    fn housekeep(&mut self) -> Result<(), StoreError> {
        if self.idle_hours {
            let now = self.clock.now();
            self.destroy_idle_keys(now)?;
            // The running hour's key goes when it is over: new grants would only make it again.
            self.idle_hours = self.keys.hours().any(|hour| !self.per_hour.contains_key(&hour));
        }
        if self.commits.is_multiple_of(LOOK_EVERY) && self.commits > 0 {
            let size = self.size_bytes();
            if size >= self.warn_at {
                tracing::warn!(
                    size_mb = size >> 20,
                    "the journal has grown large: look for deliveries that wait, or a long `closed_retention`"
                );
                self.warn_at = size.saturating_mul(2);
            }
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        self.alive()?;
        self.destroy_keys(|_| false)?;
        let Self {
            db,
            db_file,
            mark,
            disk,
            root,
            lock,
            ..
        } = *self;
        db.flush().map_err(|e| engine("flush", &e))?;
        drop((db, db_file, mark));
        let io = |e: std::io::Error| StoreError::io("failed to close the store", &e);
        if wait_until_released(&root.join(files::ENGINE).join("db")).map_err(io)? {
            files::mark_clean(&root, &disk).map_err(io)?;
        } else {
            tracing::warn!("the engine has not let go of its file: the next start will treat this as an unclean end");
        }
        drop(lock);
        Ok(())
    }
}

/// Reads everything about closed grants. Damage is answered; a grant that is open as well is a mistake of ours, and only
/// reported.
pub(super) fn check_log(
    log: &Log,
    hours: &HashMap<GrantId, i64>,
    mismatches: &mut Vec<Problem>,
) -> Result<Vec<String>, Trouble> {
    log.check(|id| {
        if hours.contains_key(&id) {
            push(mismatches, "index", &id.0.to_bytes(), "a grant is both open and closed");
        }
    })
}

fn trouble(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Io(path, e) => StoreError::io(format!("failed to read `{}`", path.display()), &e),
        Trouble::Damage(what) => StoreError::damaged(what),
    }
}

/// The size at which the first warning comes.
pub(super) fn first_warning() -> u64 {
    WARN_BYTES
}

/// Writes the first meta record into a new engine.
pub(super) fn write_first(db: &sled::Db) -> sled::Result<()> {
    db.insert(write::meta_key(), write::meta_value(&Meta::default()))?;
    db.flush().map(|_| ())
}
