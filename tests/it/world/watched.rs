//! The real store with somebody looking over its shoulder: what is durable is known to the world, and a process can be
//! killed just before or just after a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use codeferry::grant::state::{DeliveryState, Revocation};
use codeferry::grant::{ClosedGrant, Grant, State};
use codeferry::ids::{CodeHash, GrantId, MessageId, UserId};
use codeferry::secret::PersonalData;
use codeferry::store::{Change, ClosedTotals, Durable, Problem, Room, Store, StoreError};
use codeferry::time::Timestamp;
use tokio::sync::Notify;

/// What the next commits come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCommit {
    /// The process is gone, and the commit never was.
    KillBefore,
    /// The commit is on the disk, and nobody learns of it.
    KillAfter,
    /// There is no room for it.
    Full,
}

/// Everything that was ever durable.
#[derive(Default)]
pub struct View {
    pub open: BTreeMap<GrantId, Grant>,
    pub closed: BTreeMap<GrantId, ClosedGrant>,
    /// The grants of each code.
    pub of_code: BTreeMap<CodeHash, BTreeSet<GrantId>>,
    /// The grants of each line of a message.
    pub of_line: BTreeMap<(MessageId, u16), BTreeSet<GrantId>>,
    /// Codes for which a token was received and stored.
    pub received: BTreeSet<CodeHash>,
    /// Tokens that were stored.
    pub tokens: BTreeSet<String>,
    /// What cannot be.
    pub broken: Vec<String>,
    /// A commit failed: a token may have to be revoked that is not stored.
    pub failed: bool,
    /// The process is dead: nothing it does counts any more.
    pub dead: bool,
    pub died: Arc<Notify>,
    plan: Option<(u64, AtCommit)>,
}

impl View {
    /// Makes the n-th commit from now on come to this.
    pub fn plan(&mut self, commits: u64, what: AtCommit) {
        self.plan = Some((commits, what));
    }

    /// Nothing is planned any more.
    pub fn plan_nothing(&mut self) {
        self.plan = None;
    }

    pub fn holds_intent(&self, code: &str) -> Option<&Grant> {
        self.open
            .values()
            .find(|g| matches!(&g.state, State::Exchanging { code: c, .. } if c.expose() == code))
    }

    /// The grant that holds a token, and whether it is still used for fetching.
    pub fn holder(&self, token: &str) -> Option<(&Grant, bool)> {
        self.open.values().find_map(|g| match &g.state {
            State::Exchanged { token: t, .. } if t.access.expose() == token => Some((g, true)),
            State::Settling(s) => match &s.revocation {
                Revocation::Owed { token: t, .. } if t.expose() == token => Some((g, false)),
                _ => None,
            },
            _ => None,
        })
    }

    pub fn owes_delivery(&self, id: GrantId, sink: &str) -> bool {
        let settling = self.open.get(&id).map(|g| &g.state);
        matches!(settling, Some(State::Settling(s)) if s.deliveries.get(sink).is_some_and(|d| d.state == DeliveryState::Owed))
    }

    pub fn of_person(&self, person: UserId) -> impl Iterator<Item = &Grant> {
        self.open.values().filter(move |g| g.person == Some(person))
    }

    fn due(&mut self) -> Option<AtCommit> {
        let (left, what) = self.plan.as_mut()?;
        *left = left.saturating_sub(1);
        let what = (*left == 0).then_some(*what);
        if what.is_some() {
            self.plan = None;
        }
        what
    }

    fn die(&mut self) {
        self.dead = true;
        self.died.notify_one();
    }

    fn see(&mut self, change: &Change) {
        match change {
            Change::PutGrant(grant) => {
                let id = grant.id;
                if self.closed.contains_key(&id) {
                    self.broken.push(format!("grant {id} had ended and is open again"));
                }
                if let Some(hash) = grant.code_hash {
                    self.of_code.entry(hash).or_default().insert(id);
                }
                let line = (grant.origin.message, grant.origin.index);
                self.of_line.entry(line).or_default().insert(id);
                if let State::Exchanged { token, .. } = &grant.state {
                    self.received.extend(grant.code_hash);
                    self.tokens.insert(token.access.expose().to_owned());
                }
                self.open.insert(id, (**grant).clone());
            }
            Change::Close(closed) => {
                self.open.remove(&closed.id);
                if self.closed.insert(closed.id, closed.clone()).is_some() {
                    self.broken.push(format!("grant {} ended twice", closed.id));
                }
            }
            _ => {}
        }
    }
}

/// The view, shared with the store. A lock because a store must be `Send`; everything runs on one thread.
#[derive(Clone, Default)]
pub struct Shared(Arc<Lock>);

#[expect(
    clippy::disallowed_types,
    reason = "a store must be Send; one thread takes the lock, and never awaits in it"
)]
type Lock = std::sync::Mutex<View>;

impl Shared {
    pub fn with<R>(&self, look: impl FnOnce(&mut View) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// See the file's head.
pub struct Watched {
    pub inner: Box<dyn Store>,
    pub view: Shared,
}

impl Durable for Watched {
    type Change = Change;

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let due = self.view.with(|view| {
            if view.dead {
                Some(AtCommit::KillBefore)
            } else {
                view.due()
            }
        });
        match due {
            Some(AtCommit::KillBefore) => {
                self.view.with(View::die);
                return Err(StoreError::Closed);
            }
            Some(AtCommit::Full) => {
                self.view.with(|view| view.failed = true);
                return Err(StoreError::Full);
            }
            Some(AtCommit::KillAfter) | None => {}
        }
        self.inner.commit(changes)?;
        self.view.with(|view| {
            for change in changes {
                view.see(change);
            }
            if due.is_some() {
                view.die();
            }
        });
        if due.is_some() { Err(StoreError::Closed) } else { Ok(()) }
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        self.inner.maintain()
    }

    fn rest(&mut self) -> Result<(), StoreError> {
        self.inner.rest()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.close()
    }
}

impl Store for Watched {
    fn data(&mut self, id: GrantId) -> Result<Option<PersonalData>, StoreError> {
        self.inner.data(id)
    }

    fn closed(&mut self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError> {
        self.inner.closed(id)
    }

    fn newest_closed(&mut self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError> {
        self.inner.newest_closed(limit)
    }

    fn closed_totals(&mut self) -> Result<ClosedTotals, StoreError> {
        self.inner.closed_totals()
    }

    fn sweep_closed(&mut self, closed_before: Timestamp) -> Result<u64, StoreError> {
        self.inner.sweep_closed(closed_before)
    }

    fn destroy_idle_keys(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.inner.destroy_idle_keys(now)
    }

    fn verify(&mut self) -> Result<Vec<Problem>, StoreError> {
        self.inner.verify()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn room(&self) -> Result<Room, StoreError> {
        self.inner.room()
    }
}
