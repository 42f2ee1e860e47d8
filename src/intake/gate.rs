//! The gate: a link is handed out only while its code can still be carried and exchanged before it dies. Pure.
//!
//! A code lives for `code_lifetime` and works once, while a channel takes 30 messages a minute: what comes on top dies on
//! the way. So load is shed before a code exists. Each link holds a place from minting until its code or denial arrives,
//! or until it can bring none any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::mint::{Link, Minter, Wanted};
use super::state::{StateMode, StateToken};
use crate::ids::{Lane, UserId};
use crate::time::Timestamp;

/// Kept free of each code's life: the way through relay, listener and exchange takes that long when everything is slow.
const WAY: Duration = Duration::from_secs(15);

/// Places that one person may hold. Who asks again gets their newest link again: one person's clicks starve nobody.
const PLACES_A_PERSON: usize = 3;

/// When every lane is out, somebody is told to come back after this.
const NO_LANE: Duration = Duration::from_mins(1);

/// What the gate lets through is computed from these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateRules {
    /// How many codes a message of each lane may carry, by the lane's number. Empty where no channel is used.
    pub packs: Vec<u8>,
    /// Messages that one channel takes in any minute, and how many of them at once; `None` for no limit.
    pub webhook: Option<(u32, u32)>,
    /// Calls a second to the OAuth2 endpoints, of which each code needs two; `None` for no limit.
    pub oauth_per_second: Option<u32>,
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// How much of the computed room is used, in thousandths: denials and reloads cost messages too.
    pub share_permille: u16,
}

impl GateRules {
    /// No limit but one for each person.
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

    /// Places a second that come free under load: what is carried and exchanged. The share narrows the room, not the way.
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

/// A link that is outstanding, as the journal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldPlace {
    /// The link's state.
    pub token: StateToken,
    /// Nothing can come of the link after this moment.
    pub until: Timestamp,
}

/// What a request for a link came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Minted {
    /// A new link, and the place it holds, where links hold one.
    New(Link, Option<HeldPlace>),
    /// The person's own link, which is still good.
    Again(Link),
    /// Not now.
    Later {
        /// To be asked again after this.
        after: Duration,
    },
}

/// Who holds a place.
#[derive(Debug)]
pub struct Gate {
    rules: GateRules,
    places: HashMap<[u8; 8], HeldPlace>,
    by_lane: BTreeMap<Lane, usize>,
    by_person: HashMap<UserId, BTreeSet<(Timestamp, [u8; 8])>>,
    ending: BTreeSet<(Timestamp, [u8; 8])>,
    /// Lanes that carry nothing now.
    out: BTreeSet<Lane>,
    /// When the last of those who were told to wait may come back.
    told: Timestamp,
    /// Who was told to wait, and until when: asking again meanwhile gets the same answer and puts nobody back.
    waiting: HashMap<UserId, Timestamp>,
}

impl Gate {
    /// A gate over the places that the journal held.
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

    /// Other limits from now on. Links that are out stay good.
    pub fn set_rules(&mut self, rules: GateRules) {
        self.rules = rules;
    }

    /// The rules in force.
    pub fn rules(&self) -> &GateRules {
        &self.rules
    }

    /// Takes a lane out, or puts it back; whether that is news.
    pub fn set_lane(&mut self, lane: Lane, works: bool) -> bool {
        if works {
            self.out.remove(&lane)
        } else {
            self.out.insert(lane)
        }
    }

    /// How many links are outstanding.
    pub fn held(&self) -> usize {
        self.places.len()
    }

    /// How many links of one lane are outstanding.
    pub fn held_by(&self, lane: Lane) -> usize {
        self.by_lane.get(&lane).copied().unwrap_or(0)
    }

    /// A link for a person, if its code can be carried and, behind `waiting` codes that were received and not yet
    /// exchanged, presented in time. A new place must be durable before the link is handed out.
    pub fn mint(&mut self, minter: &Minter, wanted: Wanted, waiting: usize, now: Timestamp, nonce: [u8; 8]) -> Minted {
        if minter.mode != StateMode::Signed {
            // A bare id cannot be told from another one of the same person, so it can hold no place.
            return Minted::New(minter.mint(wanted, Lane(0), now, nonce), None);
        }
        let theirs = self.by_person.get(&wanted.user);
        if theirs.is_some_and(|theirs| theirs.len() >= PLACES_A_PERSON) {
            return self.again(minter, wanted, now);
        }
        if self.places.len() + waiting >= self.rules.all_places() {
            return self.later(wanted.user, now);
        }
        let lane = match self.emptiest_lane() {
            Ok(lane) => lane,
            Err(Full) => return self.later(wanted.user, now),
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

    /// The lane with the most room left for its size, the lowest number first.
    fn emptiest_lane(&self) -> Result<Lane, Full> {
        if self.rules.packs.is_empty() {
            return Ok(Lane(0));
        }
        let lanes = (0..=u8::MAX).map(Lane).take(self.rules.packs.len());
        let open = lanes.filter(|lane| !self.out.contains(lane)).filter_map(|lane| {
            let (held, places) = (self.held_by(lane), self.rules.lane_places(lane));
            // Compared as fractions without dividing.
            (held < places).then_some((lane, held as u128, places as u128))
        });
        let emptiest = open.reduce(|a, b| if b.1 * a.2 < a.1 * b.2 { b } else { a });
        emptiest.map(|(lane, ..)| lane).ok_or(Full)
    }

    /// Each who is told to wait gets a later moment than the one before, at the rate at which places come free: told the
    /// same moment, they would all come back at once.
    fn later(&mut self, user: UserId, now: Timestamp) -> Minted {
        let lanes = self.rules.packs.len();
        if lanes > 0 && self.out.len() >= lanes {
            return Minted::Later { after: NO_LANE };
        }
        self.waiting.retain(|_, until| *until > now);
        let until = *self.waiting.entry(user).or_insert_with(|| {
            let rate = self.rules.rate(lanes - self.out.len().min(lanes)).max(1e-3);
            // By the latest then, every link that is out now has come to its end.
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

    /// Frees the place of a link whose code or denial arrived; whether it held one.
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

    /// Frees the places of links that can bring nothing any more.
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

struct Full;

/// Rounded up, at least one: people and `Retry-After` count whole seconds.
fn seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_millis().div_ceil(1000).max(1) as u64)
}

#[cfg(test)]
mod tests;
