//! The gate: a link is handed out only while its code can still be carried and exchanged before it expires. Pure.
//!
//! A code lives for `code_lifetime` and works once, while a channel takes 30 messages a minute: the excess expires in
//! transit. So load is shed before a code exists. Each link holds a place from issue until its code or denial arrives, or
//! until the link can no longer be used.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mint::{Link, Minter, Wanted};
use super::state::{StateMode, StateToken};
use crate::ids::{Lane, UserId};
use crate::time::Timestamp;

/// Reserved from each code's lifetime: relay, listener and exchange take that long when everything is slow.
const WAY: Duration = Duration::from_secs(15);

/// Places that one user may hold. A further request returns the newest link, so that one user cannot starve others.
const PLACES_A_PERSON: usize = 3;

/// The retry time while every lane is out of service.
const NO_LANE: Duration = Duration::from_mins(1);

/// The limits from which the gate computes its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRules {
    /// How many codes a message of each lane may carry, by lane number. Empty if no channel is used.
    pub packs: Vec<u8>,
    /// Messages that one channel accepts in any minute, and how many of them at once; `None` for no limit.
    pub webhook: Option<(u32, u32)>,
    /// Calls a second to the OAuth2 endpoints, of which each code needs two; `None` for no limit.
    pub oauth_per_second: Option<u32>,
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// How much of the computed room is used, in thousandths: denials and reloads cost messages too.
    pub share_permille: u16,
}

impl GateRules {
    /// No limit except the one for each user.
    pub fn unlimited(code_lifetime: Duration) -> Self {
        Self {
            packs: vec![1],
            webhook: None,
            oauth_per_second: None,
            code_lifetime,
            share_permille: 1000,
        }
    }

    /// Places of a lane: `pack x (burst + refill per second x (code_lifetime - 15 s)) x share`, at least one.
    pub fn lane_places(&self, lane: Lane) -> usize {
        let Some((per_minute, burst)) = self.webhook else {
            return usize::MAX;
        };
        let pack = self.packs.get(usize::from(lane.0)).copied().unwrap_or(1);
        let refilled = f64::from(per_minute.saturating_sub(burst)) / 60.0 * self.usable();
        self.shared(f64::from(pack) * (f64::from(burst) + refilled))
    }

    /// Places of all lanes together: `oauth per second / 2 x (code_lifetime - 15 s) x share`, at least one.
    pub fn all_places(&self) -> usize {
        let rate = self.oauth_per_second.map(|rate| f64::from(rate) / 2.0 * self.usable());
        rate.map_or(usize::MAX, |room| self.shared(room))
    }

    /// Places freed per second under load: codes carried and exchanged. The share limits the places, not the rate.
    fn rate(&self, lanes: usize) -> f64 {
        let packs: u32 = self.packs.iter().take(lanes).map(|pack| u32::from(*pack)).sum();
        let carried = self
            .webhook
            .filter(|_| !self.packs.is_empty())
            .map(|(per_minute, burst)| f64::from(packs) * f64::from(per_minute.saturating_sub(burst)) / 60.0);
        let exchanged = self.oauth_per_second.map(|rate| f64::from(rate) / 2.0);
        carried.into_iter().chain(exchanged).fold(f64::INFINITY, f64::min)
    }

    fn usable(&self) -> f64 {
        self.code_lifetime.saturating_sub(WAY).as_secs_f64()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and far below 2^52"
    )]
    fn shared(&self, room: f64) -> usize {
        ((room * f64::from(self.share_permille) / 1000.0) as usize).max(1)
    }
}

/// An outstanding link, as the journal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPlace {
    /// The link's state.
    pub token: StateToken,
    /// The link cannot be used after this time.
    pub until: Timestamp,
}

/// The answer to a request for a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Minted {
    /// A new link, and the place it holds, if links hold one.
    New(Link, Option<HeldPlace>),
    /// The user's earlier link, which is still valid.
    Again(Link),
    /// Not now.
    Later {
        /// When to ask again.
        after: Duration,
    },
}

/// The places and their holders.
#[derive(Debug)]
pub struct Gate {
    rules: GateRules,
    places: HashMap<[u8; 8], HeldPlace>,
    by_lane: BTreeMap<Lane, usize>,
    by_person: HashMap<UserId, BTreeSet<(Timestamp, [u8; 8])>>,
    ending: BTreeSet<(Timestamp, [u8; 8])>,
    /// Lanes that are out of service.
    out: BTreeSet<Lane>,
    /// The latest retry time handed out.
    told: Timestamp,
    /// Retry times by user: asking again meanwhile returns the same time and delays nobody.
    waiting: HashMap<UserId, Timestamp>,
}

impl Gate {
    /// A gate with the places from the journal.
    pub fn new(rules: GateRules, held: impl IntoIterator<Item = HeldPlace>) -> Self {
        let mut gate = Self {
            rules,
            places: HashMap::new(),
            by_lane: BTreeMap::new(),
            by_person: HashMap::new(),
            ending: BTreeSet::new(),
            out: BTreeSet::new(),
            told: Timestamp::from_millis(0),
            waiting: HashMap::new(),
        };
        held.into_iter().for_each(|place| gate.hold(place));
        gate
    }

    /// Replaces the limits. Links already handed out stay valid.
    pub fn set_rules(&mut self, rules: GateRules) {
        self.rules = rules;
    }

    /// The rules in force.
    pub fn rules(&self) -> &GateRules {
        &self.rules
    }

    /// Takes a lane out of service, or back into service. Returns whether that changed anything.
    pub fn set_lane(&mut self, lane: Lane, works: bool) -> bool {
        if works {
            self.out.remove(&lane)
        } else {
            self.out.insert(lane)
        }
    }

    /// The number of outstanding links.
    pub fn held(&self) -> usize {
        self.places.len()
    }

    /// The number of outstanding links of one lane.
    pub fn held_by(&self, lane: Lane) -> usize {
        self.by_lane.get(&lane).copied().unwrap_or(0)
    }

    /// A link for a user, if its code can be carried, and presented in time behind `waiting` codes that are not yet
    /// exchanged. The new place must be durable before the link is handed out.
    pub fn mint(&mut self, minter: &Minter, wanted: Wanted, waiting: usize, now: Timestamp, nonce: [u8; 8]) -> Minted {
        if minter.mode != StateMode::Signed {
            // One bare id looks like the next of the same user, so it holds no place.
            return Minted::New(minter.mint(wanted, Lane(0), now, nonce), None);
        }
        let theirs = self.by_person.get(&wanted.user);
        if theirs.is_some_and(|theirs| theirs.len() >= PLACES_A_PERSON) {
            return self.again(minter, wanted, now);
        }
        if self.places.len() + waiting >= self.rules.all_places() {
            return self.later(wanted.user, now);
        }
        let Some(lane) = self.emptiest_lane() else {
            return self.later(wanted.user, now);
        };
        let token = minter.token(wanted, lane, now, nonce);
        let place = HeldPlace {
            token,
            until: token.expires_at + self.rules.code_lifetime,
        };
        self.hold(place);
        Minted::New(minter.link(&token), Some(place))
    }

    fn again(&self, minter: &Minter, wanted: Wanted, now: Timestamp) -> Minted {
        let theirs = self.by_person.get(&wanted.user).into_iter().flatten().rev();
        let mut tokens = theirs.map(|(_, nonce)| self.places[nonce].token);
        let same = tokens.find(|t| t.purpose == wanted.purpose && t.again == wanted.again && t.expires_at > now);
        match same {
            Some(token) => Minted::Again(minter.link(&token)),
            None => Minted::Later {
                after: self.first_end(wanted.user, now),
            },
        }
    }

    fn first_end(&self, user: UserId, now: Timestamp) -> Duration {
        let first = self.by_person.get(&user).and_then(|theirs| theirs.first());
        first.map_or(NO_LANE, |(until, _)| seconds(until.since(now)))
    }

    /// The lane with the largest share of free places; the lowest number wins a tie. `None` where no lane has one.
    fn emptiest_lane(&self) -> Option<Lane> {
        if self.rules.packs.is_empty() {
            return Some(Lane(0));
        }
        let lanes = (0..=u8::MAX).map(Lane).take(self.rules.packs.len());
        let open = lanes.filter(|lane| !self.out.contains(lane)).filter_map(|lane| {
            let (held, places) = (self.held_by(lane), self.rules.lane_places(lane));
            // Compares fractions without dividing.
            (held < places).then_some((lane, held as u128, places as u128))
        });
        let emptiest = open.reduce(|a, b| if b.1 * a.2 < a.1 * b.2 { b } else { a });
        emptiest.map(|(lane, ..)| lane)
    }

    /// Staggers the retry times at the rate at which places are freed: with one common time, all would return at once.
    fn later(&mut self, user: UserId, now: Timestamp) -> Minted {
        let lanes = self.rules.packs.len();
        if lanes > 0 && self.out.len() >= lanes {
            return Minted::Later { after: NO_LANE };
        }
        self.waiting.retain(|_, until| *until > now);
        let until = *self.waiting.entry(user).or_insert_with(|| {
            let rate = self.rules.rate(lanes - self.out.len().min(lanes)).max(1e-3);
            // By then every link that is outstanding now has ended.
            let last = self.ending.last().map_or(now + NO_LANE, |(until, _)| *until);
            self.told = (self.told.max(now) + Duration::from_secs_f64(1.0 / rate)).min(last);
            self.told
        });
        Minted::Later {
            after: seconds(until.since(now)),
        }
    }

    fn hold(&mut self, place: HeldPlace) {
        let StateToken { nonce, lane, user, .. } = place.token;
        if self.places.insert(nonce, place).is_none() {
            *self.by_lane.entry(lane).or_default() += 1;
            self.by_person.entry(user).or_default().insert((place.until, nonce));
            self.ending.insert((place.until, nonce));
        }
    }

    /// Frees the place of a link whose code or denial arrived. Returns whether it held one.
    pub fn free(&mut self, nonce: [u8; 8]) -> bool {
        let Some(place) = self.places.remove(&nonce) else {
            return false;
        };
        let key = (place.until, nonce);
        self.ending.remove(&key);
        if let Some(held) = self.by_lane.get_mut(&place.token.lane) {
            *held -= 1;
        }
        if let Some(theirs) = self.by_person.get_mut(&place.token.user) {
            theirs.remove(&key);
            if theirs.is_empty() {
                self.by_person.remove(&place.token.user);
            }
        }
        true
    }

    /// Frees the places of links that can no longer be used.
    pub fn expire(&mut self, now: Timestamp) -> Vec<[u8; 8]> {
        let mut freed = Vec::new();
        while let Some((until, nonce)) = self.ending.first().copied()
            && until <= now
        {
            self.free(nonce);
            freed.push(nonce);
        }
        freed
    }
}

/// Rounded up, at least one: `Retry-After` counts whole seconds.
fn seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_millis().div_ceil(1000).max(1) as u64)
}

#[cfg(test)]
mod tests;
