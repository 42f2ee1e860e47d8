//! What the rest of the program asks of a store, whatever stands behind it.

use crate::grant::{ClosedGrant, Outcome};
use crate::ids::GrantId;
use crate::secret::PersonalData;
use crate::time::Timestamp;

use super::change::{Change, Problem};
use super::committer::Handle;
use super::durable::Durable;
use super::error::StoreError;

/// The service's durable journal, owned by one thread.
///
/// A later change of the same record wins. [`Change::PutData`] for a grant that is not open is dropped, with an error in the
/// log: there is no key to seal it under. So is a [`Change::Close`] of a grant that has closed and is kept: it stays as it
/// ended.
pub trait Store: Durable<Change = Change> {
    /// The data fetched for an open grant.
    fn data(&mut self, id: GrantId) -> Result<Option<PersonalData>, StoreError>;

    /// A closed grant that is still kept. It may read a file, which takes some milliseconds.
    fn closed(&mut self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError>;

    /// Closed grants, the last closed first, at most `limit`.
    fn newest_closed(&mut self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError>;

    /// How many closed grants are kept, by outcome; its cost does not grow with their number.
    fn closed_totals(&mut self) -> Result<ClosedTotals, StoreError>;

    /// Forgets the closed grants of hours that had ended at a moment, and says how many.
    fn sweep_closed(&mut self, closed_before: Timestamp) -> Result<u64, StoreError>;

    /// Destroys the sealing keys of hours that are over at `now` and have no open grant, and says how many.
    fn destroy_idle_keys(&mut self, now: Timestamp) -> Result<usize, StoreError>;

    /// Checks every envelope, seal and index, the content digest and the high-water mark.
    fn verify(&mut self) -> Result<Vec<Problem>, StoreError>;

    /// Bytes that the store's files take.
    fn size_bytes(&self) -> u64;

    /// Room that is left on the store's file system.
    fn room(&self) -> Result<Room, StoreError>;
}

/// The service's store as everybody else sees it.
pub type CommitterHandle = Handle<dyn Store>;

impl CommitterHandle {
    /// The data fetched for an open grant.
    pub fn data(&self, id: GrantId) -> impl Future<Output = Result<Option<PersonalData>, StoreError>> + Send + use<> {
        self.with(move |store| store.data(id))
    }

    /// A closed grant that is still kept.
    pub fn closed(&self, id: GrantId) -> impl Future<Output = Result<Option<ClosedGrant>, StoreError>> + Send + use<> {
        self.with(move |store| store.closed(id))
    }

    /// Closed grants, the last closed first; see [`Store::newest_closed`].
    pub fn newest_closed(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<ClosedGrant>, StoreError>> + Send + use<> {
        self.with(move |store| store.newest_closed(limit))
    }

    /// Closed grants by outcome.
    pub fn closed_totals(&self) -> impl Future<Output = Result<ClosedTotals, StoreError>> + Send + use<> {
        self.with(Store::closed_totals)
    }

    /// Forgets old closed grants; see [`Store::sweep_closed`].
    pub fn sweep(&self, closed_before: Timestamp) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        self.with(move |store| store.sweep_closed(closed_before))
    }

    /// Destroys the keys of hours that are over and have no open grant. It also happens by itself after commits.
    pub fn destroy_idle_keys(&self, now: Timestamp) -> impl Future<Output = Result<usize, StoreError>> + Send + use<> {
        self.with(move |store| store.destroy_idle_keys(now))
    }

    /// Checks everything; see [`Store::verify`]. Commits wait for it: about a second for a million records.
    pub fn verify(&self) -> impl Future<Output = Result<Vec<Problem>, StoreError>> + Send + use<> {
        self.with(Store::verify)
    }

    /// Bytes that the store's files take.
    pub fn size(&self) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        self.with(|store| Ok(store.size_bytes()))
    }

    /// Room that is left on the disk.
    pub fn room(&self) -> impl Future<Output = Result<Room, StoreError>> + Send + use<> {
        self.with(|store| store.room())
    }
}

/// How many closed grants are kept, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClosedTotals(pub(super) [u64; Outcome::ALL.len()]);

impl ClosedTotals {
    /// Those of one outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[place(outcome)]
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Every outcome with its number, in the order of [`Outcome::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.into_iter().zip(self.0)
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        let n = &mut self.0[place(outcome)];
        *n = n.saturating_add(1);
    }

    pub(super) fn add_all(&mut self, others: &Self) {
        for (to, more) in self.0.iter_mut().zip(others.0) {
            *to = to.saturating_add(more);
        }
    }
}

fn place(outcome: Outcome) -> usize {
    Outcome::ALL
        .iter()
        .position(|o| *o == outcome)
        .expect("`Outcome::ALL` holds every outcome")
}

/// Room on the store's file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are free to this user.
    pub free_bytes: u64,
    /// Whether the reserve file is held. Without it a full disk could not be survived.
    pub reserve_held: bool,
}

impl Room {
    /// Below this many free bytes the intake should stop: what is open must still be able to end.
    pub const INTAKE_FLOOR: u64 = 16 * 1024 * 1024;

    /// Whether new work should be left in the channel.
    pub fn is_low(&self) -> bool {
        self.free_bytes < Self::INTAKE_FLOOR
    }
}
