//! The gate's side of the open grants: who holds a place, and that it is durable and freed.

use rand::RngExt;

use super::{Changed, OpenGrants, Redirected};
use crate::ids::Lane;
use crate::intake::gate::{GateRules, Minted};
use crate::intake::mint::{Minter, Wanted};
use crate::store::Change;
use crate::time::Timestamp;

impl OpenGrants {
    /// A link, where its code can still be carried and presented. A new one may be handed out once the changes are durable.
    pub fn mint(&mut self, minter: &Minter, wanted: Wanted, now: Timestamp) -> (Minted, Changed) {
        let mut changed = Changed::default();
        self.free_ended(now, &mut changed);
        // These were let in already and stand before it at the token endpoint.
        let waiting = self.expiring.len();
        let nonce = self.rng.random();
        let minted = self.gate.mint(minter, wanted, waiting, now, nonce);
        if let Minted::New(_, Some(place)) = &minted {
            changed.changes.push(Change::HoldPlace(*place));
        }
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

    /// How many links are outstanding.
    pub fn links(&self) -> usize {
        self.gate.held()
    }

    /// The code or denial of a link arrived: its place is free.
    pub(super) fn arrived(&mut self, redirect: &Redirected, changed: &mut Changed) {
        let (Ok(requested) | Err((requested, _))) = &redirect.requested;
        if let Some(nonce) = requested.nonce
            && self.gate.free(nonce)
        {
            changed.changes.push(Change::FreePlaces(vec![nonce]));
        }
    }

    pub(super) fn free_ended(&mut self, now: Timestamp, changed: &mut Changed) {
        let freed = self.gate.expire(now);
        if !freed.is_empty() {
            changed.changes.push(Change::FreePlaces(freed));
        }
    }
}
