//! What the rest of the program asks of a store, whatever stands behind it.

use crate::grant::{ClosedGrant, Outcome};
use crate::ids::GrantId;
use crate::secret::PersonalData;
use crate::time::Timestamp;

use super::change::{Change, Problem};
use super::error::StoreError;

/// A durable journal, owned by one thread. After its first error it answers every call with that error.
pub trait Store: Send {
    /// Applies all changes as one transaction, in order; they are on the disk when it returns.
    ///
    /// A later change of the same record wins. [`Change::PutData`] for a grant that is not open is dropped, with an
    /// error in the log: there is no key to seal it under. So is a [`Change::Close`] of a grant that has closed and is
    /// kept: it stays as it ended.
    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// The data fetched for an open grant.
    fn data(&mut self, id: GrantId) -> Result<Option<PersonalData>, StoreError>;

    /// A closed grant that is still kept. It reads files: what lies in none of them by its id costs nothing, any other
    /// some milliseconds.
    fn closed(&mut self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError>;

    /// Closed grants, the last closed first, at most `limit`.
    fn newest_closed(&mut self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError>;

    /// How many closed grants are kept, by outcome; its cost does not grow with their number.
    fn closed_totals(&mut self) -> Result<ClosedTotals, StoreError>;

    /// Forgets closed grants that closed before a moment, and says how many. They are shown and counted no more from then
    /// on; their bytes go with the file they lie in, once all of it may. It reads only files of which a part goes.
    fn sweep_closed(&mut self, closed_before: Timestamp) -> Result<u64, StoreError>;

    /// Destroys the sealing keys of hours that are over at `now` and have no open grant, and says how many.
    fn destroy_idle_keys(&mut self, now: Timestamp) -> Result<usize, StoreError>;

    /// Checks every envelope, seal and index, the content digest and the high-water mark.
    fn verify(&mut self) -> Result<Vec<Problem>, StoreError>;

    /// Bytes that the store's files take.
    fn size_bytes(&self) -> u64;

    /// Room that is left on the store's file system.
    fn room(&self) -> Result<Room, StoreError>;

    /// Work that follows an answered commit: destroys the keys of hours whose last grant has closed, watches the
    /// size. Costs nothing when there is nothing to do.
    fn housekeep(&mut self) -> Result<(), StoreError>;

    /// Ends cleanly: destroys every key without an open grant and leaves the marker of a clean end.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
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

    pub(super) fn remove_all(&mut self, others: &Self) {
        for (from, fewer) in self.0.iter_mut().zip(others.0) {
            *from = from.saturating_sub(fewer);
        }
    }

    pub(super) fn remove(&mut self, outcome: Outcome) {
        let n = &mut self.0[place(outcome)];
        *n = n.saturating_sub(1);
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
