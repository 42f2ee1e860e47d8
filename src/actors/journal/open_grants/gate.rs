//! The gate's side of the open grants: who holds a place, and that it is durable and freed; and whose codes go last.

use rand::RngExt;

use super::{Changed, OpenGrants};
use crate::grant::{Due, Grant, Outcome, State, Task};
use crate::ids::Lane;
use crate::intake::gate::{GateRules, Minted};
use crate::intake::mint::{Minter, Wanted};
use crate::store::Change;
use crate::time::Timestamp;

impl OpenGrants {
    /// A link, or when to come back for one. The answer may be given once the changes are durable.
    pub fn mint(&mut self, minter: &Minter, wanted: Wanted, now: Timestamp) -> (Minted, Changed) {
        let nonce = self.rng.random();
        let minted = self.gate.mint(minter, wanted, now, nonce);
        let mut changed = Changed::default();
        self.take_gate_changes(&mut changed);
        (minted, changed)
    }

    /// Other limits from now on.
    pub fn set_gate(&mut self, rules: GateRules) {
        self.gate.set_rules(rules);
    }

    /// Takes a lane out of minting, or puts it back; whether that is news.
    pub fn set_lane(&mut self, lane: Lane, works: bool) -> bool {
        self.gate.set_lane(lane, works)
    }

    /// The lanes, with the links that hold a place in each, and its places; `None` without a limit.
    pub fn lanes(&self) -> impl Iterator<Item = (Lane, usize, Option<usize>)> {
        let rules = self.gate.rules();
        let lanes = (0..rules.packs.len() as u8).map(Lane);
        lanes.map(|lane| {
            let places = rules.lane_places(lane);
            (lane, self.gate.held_by(lane), (places != usize::MAX).then_some(places))
        })
    }

    /// How many links are outstanding.
    pub fn links(&self) -> usize {
        self.gate.held()
    }

    /// A grant got its outcome: its link's place is free, unless another code of the link is still to be presented. A
    /// code whose state we refuse ourselves frees nothing.
    pub(super) fn free_place(&mut self, before: Option<&Grant>, next: &Grant, changed: &mut Changed) {
        let (Some(nonce), Some(outcome)) = (next.requested.nonce, outcome_of(next)) else {
            return;
        };
        let news = match before {
            Some(before) => outcome_of(before).is_none(),
            None => outcome != Outcome::Refused,
        };
        if news && self.others_under_way(next).next().is_none() && self.gate.free(nonce) {
            self.take_gate_changes(changed);
        }
    }

    /// A link's place is for one code. Whatever else comes of the link is exchanged after everybody else's first.
    pub(super) fn behind_others(&self, grant: &Grant, due: Due) -> Due {
        let (dead, at) = due.place;
        let place = |grant: &Grant| (grant.origin.message, grant.origin.index);
        let mut others = self.others_under_way(grant);
        let later = |nonce| !self.gate.holds(nonce) || others.any(|other| place(other) < place(grant));
        let behind = due.task == Task::Exchange && grant.requested.nonce.as_ref().is_some_and(later);
        Due {
            place: (dead || behind, at),
            ..due
        }
    }

    /// Other codes of the same link that have no outcome yet.
    fn others_under_way(&self, grant: &Grant) -> impl Iterator<Item = &Grant> {
        let id = grant.id;
        let same = grant.requested.nonce.into_iter();
        let same = same.flat_map(|nonce| self.grants_of_consent(nonce));
        same.filter(move |other| other.id != id && outcome_of(other).is_none())
    }

    pub(super) fn take_gate_changes(&mut self, changed: &mut Changed) {
        let changes = self.gate.take_changes();
        changed.changes.extend(changes.into_iter().map(Change::Gate));
    }
}

fn outcome_of(grant: &Grant) -> Option<Outcome> {
    match &grant.state {
        State::Settling(settling) => Some(settling.outcome),
        State::Closed(closed) => Some(closed.outcome),
        _ => None,
    }
}
