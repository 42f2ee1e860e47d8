//! What finds a grant: its person, its consent, its deadline; and the data that was fetched for it.

use std::collections::BTreeSet;

use super::OpenGrants;
use crate::grant::{Grant, State};
use crate::ids::{GrantId, UserId};
use crate::secret::PersonalData;

/// Fetched data up to this many bytes in all is kept in memory until it is delivered; more is read back from the store.
const DATA_IN_MEMORY: usize = 4 << 20;

impl OpenGrants {
    /// Finds a grant by what it is now, and no longer by what it was. Neither is there before it is received or once it is closed.
    pub(super) fn reindex(&mut self, id: GrantId, before: Option<&Grant>, now: Option<&Grant>) {
        let (old, new) = (before.map(|g| g.person), now.map(|g| g.person));
        if old != new {
            match old {
                Some(Some(person)) => self.by_person.remove(&(person, id)),
                Some(None) => self.unknown_in_flight.remove(&id),
                None => false,
            };
            match new {
                Some(Some(person)) => self.by_person.insert((person, id)),
                Some(None) => self.unknown_in_flight.insert(id),
                None => false,
            };
        }
        let nonce = |g: &Grant| g.requested.nonce;
        match (before.and_then(nonce), now.and_then(nonce)) {
            (None, Some(nonce)) => self.by_nonce.insert((nonce, id)),
            (Some(nonce), None) => self.by_nonce.remove(&(nonce, id)),
            _ => false,
        };
        let expires = |g: &Grant| matches!(g.state, State::Received { .. }).then_some((g.deadline, id));
        match (before.and_then(expires), now.and_then(expires)) {
            (None, Some(at)) => self.expiring.extend([at]),
            (Some(at), None) => {
                self.expiring.remove(&at);
            }
            _ => {}
        }
    }

    pub(super) fn grants_of(&self, person: UserId) -> impl Iterator<Item = &Grant> {
        ids(&self.by_person, person).map(|id| &*self.entries[id].grant)
    }

    pub(super) fn grants_of_consent(&self, nonce: [u8; 8]) -> impl Iterator<Item = &Grant> {
        ids(&self.by_nonce, nonce).map(|id| &*self.entries[id].grant)
    }

    /// Grants that hold a token or may be given one by the exchange under way, and steps under way.
    pub fn outstanding(&self) -> (usize, usize) {
        let with_token = |g: &&Grant| g.holds_token() || matches!(g.state, State::Exchanging { .. });
        (self.open().filter(with_token).count(), self.leases.len())
    }

    /// Entries of the indexes over open grants and of what belongs to source messages: none is left once all is settled.
    pub fn indexed(&self) -> usize {
        let of_grants = self.schedule.len() + self.leases.len() + self.expiring.len() + self.data.len();
        let of_people = self.by_person.len() + self.held.len() + self.revoking.len() + self.doubtful.len();
        let of_messages = self.source_messages.len() + self.source_messages_pending.len() + self.removing.len();
        of_grants + of_people + of_messages + self.by_nonce.len() + self.unknown_in_flight.len()
    }

    /// Open grants.
    pub fn open(&self) -> impl Iterator<Item = &Grant> {
        self.entries.values().map(|e| &*e.grant)
    }

    /// How many grants are open.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no grant is open.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// An open grant.
    pub fn get(&self, id: GrantId) -> Option<&Grant> {
        self.entries.get(&id).map(|e| &*e.grant)
    }

    /// Fetched data that is still in memory.
    pub fn data(&self, id: GrantId) -> Option<PersonalData> {
        self.data.get(&id).cloned()
    }

    pub(super) fn remember_data(&mut self, id: GrantId, data: PersonalData) {
        let size = data.expose().len();
        if self.data_bytes + size <= DATA_IN_MEMORY {
            self.data_bytes += size;
            self.data.insert(id, data);
        }
    }

    pub(super) fn forget_data(&mut self, id: GrantId) {
        if let Some(data) = self.data.remove(&id) {
            self.data_bytes -= data.expose().len();
        }
    }
}

/// The grants of one key. A set of pairs takes a quarter of the memory of a map to sets that hold one grant each.
fn ids<K: Ord + Copy>(index: &BTreeSet<(K, GrantId)>, key: K) -> impl Iterator<Item = &GrantId> {
    let of_key = index.range((key, GrantId(ulid::Ulid::nil()))..);
    of_key.take_while(move |(k, _)| *k == key).map(|(_, id)| id)
}
