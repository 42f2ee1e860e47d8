//! The gate: a link is handed out only while its code can still be carried and exchanged before it expires. Pure.
//!
//! A code lives for `code_lifetime` and works once, while a channel takes 30 messages a minute: the excess expires in
//! transit. So load is shed before a code exists, and by a rule that nobody can turn against others.
//!
//! 1. A link holds a place until its code or its denial has had its outcome, or until the link's end: its expiry plus
//!    `code_lifetime`. That something arrived frees nothing, since anybody can make up a code for a link of theirs.
//! 2. The first code or denial of a link is carried before all others, so the places bound what must be carried in
//!    time. What comes later than 15 s after the link's expiry waits behind too; so whatever counts is carried by the
//!    link's end.
//! 3. A user who asks gets a link at once if a place is free for the link's whole life, even if every link is held to
//!    its end and every reservation is used in its last moment.
//! 4. Otherwise the user gets a reservation: the earliest time from which a place is free under the same assumptions.
//!    It is durable, there is one for each user, and nothing that others do can delay it. It lapses after 30 s. Whoever
//!    comes earlier gets a link if there is room by then, else the same time again.
//! 5. The gate is busy while anybody waits for a place, or half of the places are held. Then a user holds one place,
//!    and new links live 60 s; otherwise a user holds up to three.
//! 6. A user gets `links_per_person` new links in ten minutes.
//!
//! Only a lane that fails, or limits that are lowered, can break a reservation.

mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::rules::{GateRules, WAY};
use super::mint::{Link, Minter, Wanted};
use super::state::{StateMode, StateToken};
use crate::ids::{Lane, UserId};
use crate::time::Timestamp;

/// Places that one user may hold while the gate is not busy. A further request returns the newest link.
const PLACES_A_PERSON: usize = 3;
/// How long a new link lives while the gate is busy, at most.
const BUSY_LIFETIME: Duration = Duration::from_mins(1);
/// How long after its time a reservation lapses.
const LAPSES_AFTER: Duration = Duration::from_secs(30);
/// The time over which a user's new links are counted.
const COUNTED: Duration = Duration::from_mins(10);
/// The retry time while every lane is out of service, at least.
const NO_LANE: Duration = Duration::from_mins(1);

/// An outstanding link, as the journal keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPlace {
    /// The link's state.
    pub token: StateToken,
    /// The link cannot be used after this time.
    pub until: Timestamp,
}

/// What the gate remembers of a user, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The user.
    pub user: UserId,
    /// When the user's links of the last ten minutes were made, the earliest first.
    pub made: Vec<Timestamp>,
    /// The place that is kept for the user.
    pub reservation: Option<Reservation>,
}

/// A place that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// From this time on, for 30 s.
    pub at: Timestamp,
    /// The user waits for others to leave, not for a limit of their own to pass.
    pub for_room: bool,
}

/// What must become durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateChange {
    /// A link holds a place.
    Hold(HeldPlace),
    /// The link of this nonce holds none.
    Free([u8; 8]),
    /// What is known of a user.
    Keep(Account),
    /// Nothing is known of this user.
    Forget(UserId),
}

/// The answer to a request for a link.
#[derive(Debug, PartialEq, Eq)]
pub enum Minted {
    /// A new link.
    New(Link),
    /// The user's earlier link, which is still valid.
    Again(Link),
    /// Not now.
    Later {
        /// When to ask again; a place is kept then.
        after: Duration,
    },
}

/// The places, their holders, and those who wait.
#[derive(Debug)]
pub struct Gate {
    rules: GateRules,
    places: HashMap<[u8; 8], HeldPlace>,
    by_lane: BTreeMap<Lane, usize>,
    by_person: HashMap<UserId, BTreeSet<(Timestamp, [u8; 8])>>,
    ending: BTreeSet<(Timestamp, [u8; 8])>,
    accounts: HashMap<UserId, Account>,
    /// Reservations that have not lapsed, in the order of their times.
    reserved: BTreeSet<(Timestamp, UserId)>,
    /// Lanes that are out of service.
    out: BTreeSet<Lane>,
    changes: Vec<GateChange>,
}

impl Gate {
    /// A gate with what the journal kept.
    pub fn new(
        rules: GateRules,
        held: impl IntoIterator<Item = HeldPlace>,
        accounts: impl IntoIterator<Item = Account>,
    ) -> Self {
        let mut gate = Self {
            rules,
            places: HashMap::new(),
            by_lane: BTreeMap::new(),
            by_person: HashMap::new(),
            ending: BTreeSet::new(),
            accounts: accounts.into_iter().map(|account| (account.user, account)).collect(),
            reserved: BTreeSet::new(),
            out: BTreeSet::new(),
            changes: Vec::new(),
        };
        let times = gate.accounts.values().filter_map(|a| Some((a.reservation?.at, a.user)));
        gate.reserved = times.collect();
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

    /// Whether the link of this nonce holds a place.
    pub fn holds(&self, nonce: &[u8; 8]) -> bool {
        self.places.contains_key(nonce)
    }

    /// What must become durable since this was last asked, in order; before any answer is given to a user.
    pub fn take_changes(&mut self) -> Vec<GateChange> {
        std::mem::take(&mut self.changes)
    }

    /// A link for a user, or when to come back for one.
    pub fn mint(&mut self, minter: &Minter, wanted: Wanted, now: Timestamp, nonce: [u8; 8]) -> Minted {
        if minter.mode != StateMode::Signed {
            // One bare id looks like the next of the same user, so it holds no place.
            return Minted::New(minter.mint(wanted, Lane(0), now, nonce));
        }
        self.expire(now);
        let busy = self.is_busy();
        let most = if busy { 1 } else { PLACES_A_PERSON };
        let mut account = self.account(wanted.user, now);
        let may = self.places_of(wanted.user) < most && account.made.len() < self.rules.links_per_person;
        if !may && let Some(link) = self.again(minter, wanted, now) {
            return Minted::Again(link);
        }
        let reservation = account.reservation.take();
        if let Some(reservation) = reservation {
            // A user's own reservation does not stand in their way.
            self.reserved.remove(&(reservation.at, account.user));
        }
        let free = if may && !self.no_way_works() {
            self.free_place(minter, wanted, busy, now, nonce)
        } else {
            None
        };
        let minted = if let Some((link, place)) = free {
            self.hold(place);
            self.changes.push(GateChange::Hold(place));
            account.made.push(now);
            Minted::New(link)
        } else {
            let kept = reservation.filter(|kept| kept.at > now).unwrap_or_else(|| {
                let earliest = self.earliest(&account, now);
                let at = self.first_free(earliest, self.longest_reserved());
                let for_room = may || at > earliest;
                Reservation { at, for_room }
            });
            self.reserved.insert((kept.at, account.user));
            account.reservation = Some(kept);
            Minted::Later {
                after: seconds(kept.at.since(now)),
            }
        };
        if account.reservation != reservation || account.reservation.is_none() {
            self.changes.push(GateChange::Keep(account.clone()));
        }
        self.accounts.insert(account.user, account);
        minted
    }

    /// The same link once more, while it is valid.
    fn again(&self, minter: &Minter, wanted: Wanted, now: Timestamp) -> Option<Link> {
        let theirs = self.by_person.get(&wanted.user).into_iter().flatten().rev();
        let mut tokens = theirs.map(|(_, nonce)| self.places[nonce].token);
        let same = |t: &StateToken| t.purpose == wanted.purpose && t.again == wanted.again && t.expires_at > now;
        tokens.find(same).map(|token| minter.link(&token))
    }

    fn account(&self, user: UserId, now: Timestamp) -> Account {
        let known = self.accounts.get(&user).cloned();
        let mut account = known.unwrap_or_else(|| Account {
            user,
            made: Vec::new(),
            reservation: None,
        });
        // A time from the future comes from a clock that was corrected since.
        account.made.retain(|at| *at <= now && *at + COUNTED > now);
        account
    }

    /// When nothing of the user's own stands in the way of another link. The gate may be busy then, and they hold no
    /// other place.
    fn earliest(&self, account: &Account, now: Timestamp) -> Timestamp {
        let theirs = self.by_person.get(&account.user);
        let ends = theirs.and_then(|theirs| theirs.last()).map(|(until, _)| *until);
        let over = account.made.len().checked_sub(self.rules.links_per_person);
        let counted = over.and_then(|over| account.made.get(over)).map(|at| *at + COUNTED);
        let lane = self.no_way_works().then_some(now + NO_LANE);
        [ends, counted, lane].into_iter().flatten().fold(now, Timestamp::max)
    }

    /// A new link, if a place is free for its whole life.
    fn free_place(
        &self,
        minter: &Minter,
        wanted: Wanted,
        busy: bool,
        now: Timestamp,
        nonce: [u8; 8],
    ) -> Option<(Link, HeldPlace)> {
        let short = minter.lifetime.min(BUSY_LIFETIME);
        let lifetimes = [minter.lifetime, short];
        let mut lifetimes = lifetimes.into_iter().skip(usize::from(busy));
        let code_lifetime = self.rules.code_lifetime;
        let lifetime = lifetimes.find(|lifetime| self.first_free(now, *lifetime + code_lifetime) == now)?;
        let token = minter.token(wanted, self.emptiest_lane()?, now + lifetime, nonce);
        let until = token.expires_at + code_lifetime;
        Some((minter.link(&token), HeldPlace { token, until }))
    }

    /// The earliest time, from one on, from which a place is free for so long, whatever those do who hold one or wait.
    fn first_free(&self, from: Timestamp, span: Duration) -> Timestamp {
        let (held, places) = self.in_service();
        if held + self.reserved.len() < places {
            return from;
        }
        let counts = |nonce| self.works(self.places[nonce].token.lane);
        let ends = self.ending.iter().filter(|(_, nonce)| counts(nonce));
        let ends = ends.map(|(until, _)| (*until, false));
        let longest = self.longest_reserved();
        let reserved = self.reserved.iter();
        let mut turns: Vec<(Timestamp, bool)> = reserved
            .flat_map(|(at, _)| [(*at, true), (*at + longest, false)])
            .chain(ends)
            .collect();
        // Of one moment, those who leave come first.
        turns.sort_unstable();
        let (mut taken, mut free_from) = (held, from);
        for (at, comes) in turns {
            if taken >= places {
                free_from = free_from.max(at);
            } else if at >= free_from + span {
                break;
            }
            taken = if comes { taken + 1 } else { taken - 1 };
        }
        free_from
    }

    /// How long a reservation can keep a place from others: its holder comes in its last moment and uses the link to
    /// its end.
    fn longest_reserved(&self) -> Duration {
        LAPSES_AFTER + BUSY_LIFETIME + self.rules.code_lifetime
    }

    fn is_busy(&self) -> bool {
        let waits = |user: &UserId| self.accounts[user].reservation.is_some_and(|kept| kept.for_room);
        let (held, places) = self.in_service();
        held >= places.div_ceil(2) || self.reserved.iter().any(|(_, user)| waits(user))
    }

    fn every_lane_is_out(&self) -> bool {
        self.lanes().all(|lane| self.out.contains(&lane))
    }

    /// Codes come by direct intake alone, which has no limit of its own.
    fn direct_alone(&self) -> bool {
        self.rules.direct && self.every_lane_is_out()
    }

    fn no_way_works(&self) -> bool {
        !self.rules.direct && self.every_lane_is_out()
    }

    fn lanes(&self) -> impl Iterator<Item = Lane> {
        (0..=u8::MAX).map(Lane).take(self.rules.packs.len())
    }

    /// Whether a lane counts: all do where none works, for then users are told to wait until one may.
    fn works(&self, lane: Lane) -> bool {
        !self.out.contains(&lane) || self.every_lane_is_out()
    }

    /// The links of the lanes that work, and the places that these lanes have.
    fn in_service(&self) -> (usize, usize) {
        let works = |lane: &Lane| self.works(*lane);
        let held = self.by_lane.iter().filter(|(lane, _)| works(lane));
        let held = held.map(|(_, held)| held).sum();
        let elsewhere = self.places.len() - held;
        let all = self.rules.all_places().saturating_sub(elsewhere);
        if self.direct_alone() {
            return (held, all);
        }
        (held, self.rules.carried(self.lanes().filter(works)).min(all))
    }

    /// The lane with the largest share of free places; the lowest number wins a tie.
    fn emptiest_lane(&self) -> Option<Lane> {
        if self.direct_alone() {
            return Some(Lane(0));
        }
        let open = self.lanes().filter(|lane| !self.out.contains(lane)).filter_map(|lane| {
            let (held, places) = (self.held_by(lane), self.rules.lane_places(lane));
            // Compares fractions without dividing.
            (held < places).then_some((lane, held as u128, places as u128))
        });
        let emptiest = open.reduce(|a, b| if b.1 * a.2 < a.1 * b.2 { b } else { a });
        emptiest.map(|(lane, ..)| lane)
    }

    fn places_of(&self, user: UserId) -> usize {
        self.by_person.get(&user).map_or(0, BTreeSet::len)
    }

    fn hold(&mut self, place: HeldPlace) {
        let StateToken { nonce, lane, user, .. } = place.token;
        if self.places.insert(nonce, place).is_none() {
            *self.by_lane.entry(lane).or_default() += 1;
            self.by_person.entry(user).or_default().insert((place.until, nonce));
            self.ending.insert((place.until, nonce));
        }
    }

    /// Frees the place of a link whose code or denial has had its outcome. Returns whether it held one.
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
        self.changes.push(GateChange::Free(nonce));
        true
    }

    /// Frees the places of links that can no longer be used, and lets reservations lapse.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some((until, nonce)) = self.ending.first().copied()
            && until <= now
        {
            self.free(nonce);
        }
        while let Some((at, user)) = self.reserved.first().copied()
            && at + LAPSES_AFTER < now
        {
            self.reserved.pop_first();
            if let Some(account) = self.accounts.get_mut(&user) {
                account.reservation = None;
            }
        }
    }

    /// Forgets users of whom nothing counts any more; meant for once a minute.
    pub fn forget(&mut self, now: Timestamp) {
        self.expire(now);
        let over = |account: &Account| {
            account.reservation.is_none() && account.made.last().is_none_or(|last| *last + COUNTED <= now)
        };
        let mut users: Vec<UserId> = self.accounts.extract_if(|_, a| over(a)).map(|(user, _)| user).collect();
        // In order, so that a run can be repeated.
        users.sort_unstable();
        self.changes.extend(users.into_iter().map(GateChange::Forget));
    }
}

/// Rounded up, at least one: `Retry-After` counts whole seconds.
fn seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_millis().div_ceil(1000).max(1) as u64)
}

#[cfg(test)]
mod tests;
