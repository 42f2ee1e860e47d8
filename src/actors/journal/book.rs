//! The journal's memory: the open grants and every index over them, with no actix, no clock and no I/O.
//!
//! Each operation changes memory at once and returns the changes that make it durable. Memory may run ahead of the
//! disk; only outside effects wait for it, so a grant's tasks are offered again only when its last change is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::grant::state::{DeliveryState, Origin, Presentations, Requested, Revocation};
use crate::grant::{
    ClosedGrant, Event, Grant, IllegalTransition, Outcome, Policy, Reason, Schedule, State, Task, person,
};
use crate::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, UserId};
use crate::intake::state::expiry_of;
use crate::secret::{AuthorizationCode, PersonalData};
use crate::store::{Carrier, Change, Loaded, SeenCode, SeenMessage, UsedNonce};
use crate::time::Timestamp;

/// What is read from one carrier message.
#[derive(Debug)]
pub struct Carried {
    /// The message.
    pub message: MessageId,
    /// Its channel.
    pub channel: ChannelId,
    /// Its lane.
    pub lane: Lane,
    /// Its redirects, in order; empty for a malformed message of the lane's own webhook, which is only removed.
    pub redirects: Vec<Redirected>,
}

/// One redirect: a code, or a denial.
#[derive(Debug)]
pub struct Redirected {
    /// When the relay saw it.
    pub redirected_at: Option<Timestamp>,
    /// The code with its keyed hash, or the error that came instead.
    pub result: Result<(AuthorizationCode, CodeHash), Reason>,
    /// What the state asked for, or why it was refused.
    pub requested: Result<Requested, (Requested, Reason)>,
}

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Grants that are new.
    pub received: usize,
    /// Redirects that were known already.
    pub known: usize,
    /// Messages at the end that found no room.
    pub left_out: usize,
}

/// Changes to make durable, and the grants whose tasks are offered again once they are.
#[derive(Debug, Default)]
pub struct Changed {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The grants they touch, once per change of memory.
    pub grants: Vec<GrantId>,
    /// The carrier messages they touch, likewise.
    pub carriers: Vec<MessageId>,
    /// Grants that closed with this.
    pub closed: Vec<ClosedGrant>,
    /// Deliveries that were given up after having been parked, with their sinks.
    pub given_up: Vec<(GrantId, String)>,
}

/// Whether a step may begin.
#[derive(Debug)]
pub enum Beginning {
    /// Yes, once these changes are durable.
    Go(Changed),
    /// No: the grant has moved, or must wait. These changes may say why.
    Stale(Changed),
}

/// How long a code or message is remembered past a code's life, at least.
const REMEMBER_FOR: Duration = Duration::from_mins(10);
/// A task that must wait for another grant of the same person is offered again after this, or when that grant moves.
const HELD_FOR: Duration = Duration::from_millis(500);
/// Fetched data up to this many bytes in all is kept in memory until it is delivered; more is read back from the store.
const DATA_IN_MEMORY: usize = 4 << 20;

#[derive(Debug)]
struct Entry {
    /// Shared with who looks at it while it is replaced: a copy would copy its secrets as well.
    grant: Rc<Grant>,
    /// Changes of it that are not durable yet.
    pending: u32,
}

/// The open grants and every index over them.
#[derive(Debug)]
pub struct Book {
    policy: Policy,
    /// Carrier messages are neither removed nor marked.
    keep_messages: bool,
    rng: StdRng,
    entries: HashMap<GrantId, Entry>,
    schedule: Schedule,
    leases: HashSet<(GrantId, Task)>,
    expiring: BTreeSet<(Timestamp, GrantId)>,
    by_person: HashMap<UserId, BTreeSet<GrantId>>,
    by_nonce: HashMap<[u8; 8], BTreeSet<GrantId>>,
    unknown_in_flight: BTreeSet<GrantId>,
    /// Revocations on the wire: the grants whose token was on disk before the request left.
    revoking: HashMap<UserId, (GrantId, Vec<GrantId>)>,
    held: BTreeMap<UserId, BTreeSet<(GrantId, Task)>>,
    carriers: HashMap<MessageId, Carrier>,
    /// Carriers with changes that are not durable yet: a message is the only other copy of what it brought.
    carriers_pending: HashMap<MessageId, u32>,
    /// Carriers whose removal is owed, durably, and not under way; by the moment from which on it may be tried.
    removals: BTreeSet<(Timestamp, MessageId)>,
    removing: HashSet<MessageId>,
    messages: HashMap<MessageId, ChannelId>,
    codes: HashMap<CodeHash, SeenCode>,
    nonces: HashMap<[u8; 8], Timestamp>,
    cursors: BTreeMap<ChannelId, MessageId>,
    data: HashMap<GrantId, PersonalData>,
    data_bytes: usize,
    /// While draining, nobody's waiting code holds a revocation up.
    draining: bool,
}

impl Book {
    /// Builds the memory from what the store held. Exchanges that were under way when the process ended are put back.
    pub fn new(loaded: Loaded, policy: Policy, keep_messages: bool, rng: StdRng, now: Timestamp) -> (Self, Changed) {
        let mut book = Self {
            policy,
            keep_messages,
            rng,
            entries: HashMap::new(),
            schedule: Schedule::default(),
            leases: HashSet::new(),
            expiring: BTreeSet::new(),
            by_person: HashMap::new(),
            by_nonce: HashMap::new(),
            unknown_in_flight: BTreeSet::new(),
            revoking: HashMap::new(),
            held: BTreeMap::new(),
            carriers: loaded.carriers.into_iter().map(|c| (c.message, c)).collect(),
            carriers_pending: HashMap::new(),
            removals: BTreeSet::new(),
            removing: HashSet::new(),
            messages: loaded.messages.into_iter().map(|m| (m.message, m.channel)).collect(),
            codes: loaded.codes.into_iter().map(|c| (c.hash, c)).collect(),
            nonces: loaded.nonces.into_iter().map(|n| (n.nonce, n.keep_until)).collect(),
            cursors: loaded.cursors,
            data: HashMap::new(),
            data_bytes: 0,
            draining: false,
        };
        let owed = book.carriers.values().filter(|c| c.unspent == 0);
        book.removals = owed.map(|c| (c.not_before, c.message)).collect();
        let mut changed = Changed::default();
        for grant in loaded.grants {
            let id = grant.id;
            // What was on the wire when the process ended has an unknown outcome.
            let interrupted = matches!(grant.state, State::Exchanging { .. } | State::Settling(_));
            book.index(&grant);
            let before = Rc::new(grant);
            let entry = Entry {
                grant: Rc::clone(&before),
                pending: 0,
            };
            book.entries.insert(id, entry);
            let event = if interrupted { Event::FoundAtStart } else { Event::Aged };
            if let Ok(next) = before.apply(event, now, &book.policy) {
                if next == *before {
                    book.offer(id, now);
                } else {
                    book.replace(next, now, &mut changed);
                }
            }
        }
        (book, changed)
    }

    /// How many of these messages, from the first on, fit while at most `max_open` grants are open. Known ones need no
    /// room, and one message always fits where nothing is open: else a full one would never enter a small journal.
    pub fn fitting(&self, carried: &[Carried], max_open: usize) -> usize {
        let mut open = self.len();
        carried
            .iter()
            .take_while(|c| {
                let fresh = if self.messages.contains_key(&c.message) {
                    0
                } else {
                    c.redirects.len()
                };
                let fits = open == 0 || fresh == 0 || open + fresh <= max_open;
                open += fresh;
                fits
            })
            .count()
    }

    /// Takes in what was read from carrier messages; what is known already changes nothing.
    pub fn append(&mut self, carried: Vec<Carried>, now: Timestamp) -> (Appended, Changed) {
        let mut appended = Appended::default();
        let mut changed = Changed::default();
        for carried in carried {
            let Carried {
                message,
                channel,
                lane,
                redirects,
            } = carried;
            if self.messages.insert(message, channel).is_some() {
                appended.known += redirects.len();
                continue;
            }
            changed
                .changes
                .push(Change::SeeMessage(SeenMessage { message, channel }));
            let mut fresh = Vec::new();
            for (index, redirect) in redirects.into_iter().enumerate() {
                if let Ok((_, hash)) = &redirect.result {
                    let seen = SeenCode {
                        hash: *hash,
                        message,
                        channel,
                    };
                    if self.codes.contains_key(hash) {
                        appended.known += 1;
                        continue;
                    }
                    self.codes.insert(*hash, seen);
                    changed.changes.push(Change::SeeCode(seen));
                }
                fresh.push(self.receive(
                    Origin {
                        lane,
                        message,
                        index: index as u16,
                    },
                    redirect,
                    now,
                ));
            }
            appended.received += fresh.len();
            if !self.keep_messages {
                let unspent = fresh.iter().filter(|g| !g.is_spent()).count() as u16;
                let carrier = Carrier {
                    message,
                    lane,
                    channel,
                    unspent,
                    attempts: 0,
                    not_before: now,
                };
                self.carriers.insert(message, carrier.clone());
                self.put_carrier(carrier, &mut changed);
            }
            for grant in fresh {
                self.replace(grant, now, &mut changed);
            }
        }
        // A code may be claimed before it is on disk: its durable intent is committed after it, in order.
        let offered: Vec<GrantId> = changed.grants.clone();
        for id in offered {
            if self
                .entries
                .get(&id)
                .is_some_and(|e| matches!(e.grant.state, State::Received { .. }))
            {
                self.offer(id, now);
            }
        }
        (appended, changed)
    }

    fn receive(&mut self, origin: Origin, redirect: Redirected, now: Timestamp) -> Grant {
        let (requested, refused) = match redirect.requested {
            Ok(requested) => (requested, None),
            Err((requested, reason)) => (requested, Some(reason)),
        };
        let placeholder = State::Received {
            code: AuthorizationCode::new(""),
            presentations: Presentations::default(),
        };
        let mut grant = Grant {
            id: GrantId::new(now, self.rng.random()),
            origin,
            received_at: now,
            deadline: origin.message.created_at() + self.policy.code_lifetime,
            redirected_at: redirect.redirected_at,
            code_hash: redirect.result.as_ref().ok().map(|(_, hash)| *hash),
            person: requested.user,
            requested,
            state: placeholder,
        };
        grant.state = match (redirect.result, refused) {
            (Err(error), _) => grant.settle(Outcome::Denied, Some(error.as_str()), None, now, &self.policy),
            (Ok(_), Some(reason)) => grant.settle(Outcome::Refused, Some(reason.as_str()), None, now, &self.policy),
            (Ok((code, _)), None) => State::Received {
                code,
                presentations: Presentations::default(),
            },
        };
        grant
    }

    /// Leases up to `slots` grants that want this task done.
    pub fn claim(&mut self, task: Task, slots: usize, now: Timestamp) -> Vec<Rc<Grant>> {
        let mut claimed = Vec::new();
        while claimed.len() < slots {
            let Some(id) = self.schedule.take(task, now) else { break };
            let Some(entry) = self.entries.get(&id) else { continue };
            self.leases.insert((id, task));
            claimed.push(Rc::clone(&entry.grant));
        }
        claimed
    }

    /// Whether a claimed step may begin now; an exchange becomes an intent that must be durable first.
    pub fn begin(&mut self, id: GrantId, task: Task, now: Timestamp) -> Beginning {
        let mut changed = Changed::default();
        let Some(grant) = self.entries.get(&id).map(|e| Rc::clone(&e.grant)) else {
            self.leases.remove(&(id, task));
            return Beginning::Stale(changed);
        };
        let still_wanted = grant
            .due(now, &self.policy)
            .iter()
            .any(|d| d.task == task && d.not_before <= now);
        if !self.leases.contains(&(id, task)) || !still_wanted {
            self.release(id, task, now);
            return Beginning::Stale(changed);
        }
        match task {
            Task::Exchange => match self.exchange_verdict(&grant, now) {
                Verdict::Go => {
                    if let Ok(next) = grant.apply(Event::Began, now, &self.policy) {
                        self.replace(next, now, &mut changed);
                    }
                }
                Verdict::Hold => {
                    self.hold(&grant, task, now);
                    return Beginning::Stale(changed);
                }
                Verdict::End(event) => {
                    self.leases.remove(&(id, task));
                    if let Ok(next) = grant.apply(event, now, &self.policy) {
                        self.replace(next, now, &mut changed);
                    }
                    return Beginning::Stale(changed);
                }
            },
            Task::Revoke => {
                let Some(settles) = self.revocation_settles(&grant, now) else {
                    self.hold(&grant, task, now);
                    return Beginning::Stale(changed);
                };
                if let Some(person) = grant.person {
                    self.revoking.insert(person, (id, settles));
                }
            }
            Task::Fetch | Task::Deliver(_) => {}
        }
        Beginning::Go(changed)
    }

    fn exchange_verdict(&self, grant: &Grant, now: Timestamp) -> Verdict {
        if now >= grant.deadline {
            return Verdict::End(Event::Expired);
        }
        if let Some(nonce) = &grant.requested.nonce {
            if self.nonces.contains_key(nonce) {
                return Verdict::End(Event::Superseded);
            }
            let same_consent = self
                .by_nonce
                .get(nonce)
                .into_iter()
                .flatten()
                .filter(|other| **other != grant.id);
            let in_flight = |id: &GrantId| {
                matches!(
                    self.entries[id].grant.state,
                    State::Exchanging { .. } | State::Exchanged { .. }
                )
            };
            if same_consent.into_iter().any(in_flight) {
                return Verdict::Hold;
            }
        }
        let Some(person) = grant.person else { return Verdict::Go };
        let others = self.grants_of(person).filter(|other| other.id != grant.id);
        if person::exchange_may_begin(others, self.revoking.contains_key(&person), now) {
            Verdict::Go
        } else {
            Verdict::Hold
        }
    }

    /// The grants that revoking this one's token settles, or `None` where it must wait.
    fn revocation_settles(&self, grant: &Grant, now: Timestamp) -> Option<Vec<GrantId>> {
        let Some(person) = grant.person else {
            return Some(vec![grant.id]);
        };
        if self.revoking.contains_key(&person) {
            return None;
        }
        let waiting_counts = !self.draining;
        let theirs: Vec<&Grant> = self
            .grants_of(person)
            .filter(|g| waiting_counts || !matches!(g.state, State::Received { .. }))
            .collect();
        let unknown = self.unknown_in_flight.iter().map(|id| &*self.entries[id].grant);
        if !person::revocation_may_begin(theirs.iter().copied(), unknown, now) {
            return None;
        }
        // The disk may still have a token in use whose fetch is done in memory: after a crash it would be fetched with
        // again, and must not be dead by then. So whatever of theirs is under way to the disk is waited for.
        if theirs
            .iter()
            .any(|g| g.id != grant.id && self.entries[&g.id].pending > 0)
        {
            return None;
        }
        let settled = theirs.iter().filter(|g| {
            let both_known = person::owner_is_known(grant) && person::owner_is_known(g);
            g.id == grant.id || (both_known && person::revocation_owed_since(g).is_some())
        });
        Some(settled.map(|g| g.id).collect())
    }

    fn grants_of(&self, person: UserId) -> impl Iterator<Item = &Grant> {
        self.by_person
            .get(&person)
            .into_iter()
            .flatten()
            .map(|id| &*self.entries[id].grant)
    }

    /// Keeps a task back until another grant of the same person moves, half a second at most.
    fn hold(&mut self, grant: &Grant, task: Task, now: Timestamp) {
        self.leases.remove(&(grant.id, task));
        if let Some(mut due) = grant.due(now, &self.policy).into_iter().find(|d| d.task == task) {
            due.not_before = now + HELD_FOR;
            self.schedule.put(grant.id, due, now);
        }
        if let Some(person) = grant.person {
            self.held.entry(person).or_default().insert((grant.id, task));
        }
    }

    /// Takes in what a step came to. `Err` where the grant has moved on; a token in the event must then be revoked.
    pub fn report(
        &mut self,
        id: GrantId,
        task: Task,
        event: Event,
        data: Option<PersonalData>,
        now: Timestamp,
    ) -> Result<Changed, IllegalTransition> {
        self.leases.remove(&(id, task));
        let mut changed = Changed::default();
        let gone = IllegalTransition {
            grant: id,
            state: "gone",
            event: event.name(),
        };
        let grant = self.entries.get(&id).map(|e| Rc::clone(&e.grant)).ok_or(gone)?;
        let mut also = Vec::new();
        if task == Task::Revoke
            && let Some(person) = grant.person
            && self.revoking.get(&person).is_some_and(|(by, _)| *by == id)
        {
            let (_, settles) = self.revoking.remove(&person).expect("looked up above");
            if matches!(event, Event::Revoked) {
                also = settles;
            }
        }
        let next = match grant.apply(event.clone(), now, &self.policy) {
            Ok(next) => next,
            Err(illegal) => {
                self.offer(id, now);
                return Err(illegal);
            }
        };
        if let (State::Settling(settling), Some(data)) = (&next.state, data)
            && settling.has_data
        {
            changed.changes.push(Change::PutData {
                grant: id,
                data: data.clone(),
            });
            self.remember_data(id, data);
        }
        self.replace(next, now, &mut changed);
        for other in also.into_iter().filter(|other| *other != id) {
            let Some(entry) = self.entries.get(&other) else {
                continue;
            };
            if let Ok(next) = entry.grant.apply(Event::Revoked, now, &self.policy) {
                self.replace(next, now, &mut changed);
            }
        }
        Ok(changed)
    }

    /// Gives a lease back without a report.
    pub fn release(&mut self, id: GrantId, task: Task, now: Timestamp) {
        self.leases.remove(&(id, task));
        if task == Task::Revoke {
            self.revoking.retain(|_, (by, _)| *by != id);
        }
        self.offer(id, now);
    }

    /// Gives back every lease of a stage that died. An exchange that was under way counts as cut off.
    pub fn release_stage(&mut self, task: Task, now: Timestamp) -> Changed {
        let mut changed = Changed::default();
        let mut leased: Vec<GrantId> = self
            .leases
            .iter()
            .filter(|(_, t)| *t == task)
            .map(|(id, _)| *id)
            .collect();
        // A set has no order; a run that is repeated has one.
        leased.sort_unstable();
        for id in leased {
            self.release(id, task, now);
            let cut = self
                .entries
                .get(&id)
                .filter(|e| matches!(e.grant.state, State::Exchanging { .. }));
            if let Some(Ok(next)) = cut.map(|e| e.grant.apply(Event::CutOff, now, &self.policy)) {
                self.replace(next, now, &mut changed);
            }
        }
        changed
    }

    /// Closes what time has ended: codes past their life, and deliveries parked for too long.
    pub fn expire(&mut self, now: Timestamp) -> Changed {
        let mut changed = Changed::default();
        while let Some((deadline, id)) = self.expiring.first().copied()
            && deadline <= now
        {
            self.expiring.pop_first();
            let Some(entry) = self.entries.get(&id) else { continue };
            if let State::Received { .. } = entry.grant.state
                && let Ok(next) = entry.grant.apply(Event::Expired, now, &self.policy)
            {
                self.leases.remove(&(id, Task::Exchange));
                self.replace(next, now, &mut changed);
            }
        }
        changed
    }

    /// Parks and gives up what has aged; meant for once a minute.
    pub fn age(&mut self, now: Timestamp) -> Changed {
        let mut changed = Changed::default();
        let mut settling: Vec<GrantId> = self
            .entries
            .iter()
            .filter(|(_, e)| matches!(&e.grant.state, State::Settling(s) if s.deliveries.values().any(|d| d.state == DeliveryState::Parked)))
            .map(|(id, _)| *id)
            .collect();
        settling.sort_unstable();
        for id in settling {
            let grant = &self.entries[&id].grant;
            if let Ok(next) = grant.apply(Event::Aged, now, &self.policy)
                && next != **grant
            {
                changed.given_up.extend(given_up(grant, &next));
                self.replace(next, now, &mut changed);
            }
        }
        let keep = self.policy.code_lifetime + REMEMBER_FOR;
        // By Discord's clock, as far as what was read tells it: a wall clock that is stepped ahead must not make us forget
        // a code that may be posted again.
        let past = |channel: &ChannelId, message: MessageId| {
            let read_to = self.cursors.get(channel).map(|read_to| read_to.created_at());
            read_to.is_some_and(|read_to| message.created_at() + keep < read_to.min(now))
        };
        let messages: Vec<_> = self.messages.extract_if(|m, c| past(c, *m)).map(|(m, _)| m).collect();
        let codes = self.codes.extract_if(|_, c| past(&c.channel, c.message));
        let codes: Vec<_> = codes.map(|(hash, _)| hash).collect();
        let nonces: Vec<_> = self
            .nonces
            .extract_if(|_, until| *until < now)
            .map(|(n, _)| n)
            .collect();
        if !(messages.is_empty() && codes.is_empty() && nonces.is_empty()) {
            changed.changes.push(Change::Forget {
                messages,
                codes,
                nonces,
            });
        }
        changed
    }

    /// An operator's word about one grant.
    pub fn operate(&mut self, id: GrantId, event: Event, now: Timestamp) -> Result<Changed, IllegalTransition> {
        let gone = IllegalTransition {
            grant: id,
            state: "gone",
            event: event.name(),
        };
        let grant = self.entries.get(&id).map(|e| Rc::clone(&e.grant)).ok_or(gone)?;
        let next = grant.apply(event, now, &self.policy)?;
        let mut changed = Changed::default();
        self.replace(next, now, &mut changed);
        Ok(changed)
    }

    /// Told that the changes of these grants and carriers are durable: tasks are offered, messages may be removed.
    pub fn durable(&mut self, grants: &[GrantId], carriers: &[MessageId], now: Timestamp) {
        for message in carriers {
            if let Some(pending) = self.carriers_pending.get_mut(message) {
                *pending -= 1;
                if *pending == 0 {
                    self.carriers_pending.remove(message);
                    self.offer_removal(*message);
                }
            }
        }
        for id in grants {
            if let Some(entry) = self.entries.get_mut(id) {
                entry.pending -= 1;
                if entry.pending == 0 {
                    let person = entry.grant.person;
                    self.offer(*id, now);
                    if let Some(person) = person {
                        self.offer_held(person, *id, now);
                    }
                }
            }
        }
    }

    /// Puts a grant's unleased tasks into the schedule.
    fn offer(&mut self, id: GrantId, now: Timestamp) {
        let Some(entry) = self.entries.get(&id) else { return };
        for due in entry.grant.due(now, &self.policy) {
            if !self.leases.contains(&(id, due.task)) {
                self.schedule.put(id, due, now);
            }
        }
    }

    fn replace(&mut self, next: Grant, now: Timestamp, changed: &mut Changed) {
        let id = next.id;
        let before = self.entries.get(&id).map(|e| Rc::clone(&e.grant));
        if let Some(before) = &before {
            for due in before.due(now, &self.policy) {
                self.schedule.remove(id, due.task);
            }
            self.unindex(before);
            if !before.is_spent() && next.is_spent() {
                self.spend_carrier(before.origin.message, changed);
            }
        }
        if let (State::Settling(s), Some(nonce)) = (&next.state, next.requested.nonce)
            && s.outcome == Outcome::Completed
            && !self.nonces.contains_key(&nonce)
        {
            // The link is accepted until its expiry plus `code_lifetime`.
            let expiry = next.requested.raw.as_ref().and_then(expiry_of).unwrap_or(now);
            let keep_until = expiry.max(now) + self.policy.code_lifetime + REMEMBER_FOR;
            self.nonces.insert(nonce, keep_until);
            changed.changes.push(Change::UseNonce(UsedNonce { nonce, keep_until }));
        }
        let people = [before.as_ref().and_then(|b| b.person), next.person];
        if let State::Closed(closed) = &next.state {
            self.entries.remove(&id);
            self.forget_data(id);
            changed.changes.push(Change::Close(closed.clone()));
            changed.closed.push(closed.clone());
        } else {
            self.index(&next);
            changed.changes.push(Change::PutGrant(Box::new(next.clone())));
            changed.grants.push(id);
            let pending = self.entries.get(&id).map_or(0, |e| e.pending) + 1;
            let grant = Rc::new(next);
            self.entries.insert(id, Entry { grant, pending });
        }
        for person in people.into_iter().flatten() {
            self.offer_held(person, id, now);
        }
    }

    /// Offers what was held back for a grant of this person that has moved now.
    fn offer_held(&mut self, person: UserId, moved: GrantId, now: Timestamp) {
        for (held, task) in self.held.remove(&person).unwrap_or_default() {
            if held != moved
                && !self.leases.contains(&(held, task))
                && self.entries.get(&held).is_some_and(|e| e.pending == 0)
            {
                self.offer(held, now);
            }
        }
    }

    fn index(&mut self, grant: &Grant) {
        if let Some(person) = grant.person {
            self.by_person.entry(person).or_default().insert(grant.id);
        } else {
            self.unknown_in_flight.insert(grant.id);
        }
        if let Some(nonce) = grant.requested.nonce {
            self.by_nonce.entry(nonce).or_default().insert(grant.id);
        }
        if let State::Received { .. } = grant.state {
            self.expiring.insert((grant.deadline, grant.id));
        }
    }

    fn unindex(&mut self, grant: &Grant) {
        if let Some(person) = grant.person
            && let Some(theirs) = self.by_person.get_mut(&person)
        {
            theirs.remove(&grant.id);
            if theirs.is_empty() {
                self.by_person.remove(&person);
            }
        }
        self.unknown_in_flight.remove(&grant.id);
        if let Some(nonce) = grant.requested.nonce
            && let Some(same) = self.by_nonce.get_mut(&nonce)
        {
            same.remove(&grant.id);
            if same.is_empty() {
                self.by_nonce.remove(&nonce);
            }
        }
        self.expiring.remove(&(grant.deadline, grant.id));
    }

    fn spend_carrier(&mut self, message: MessageId, changed: &mut Changed) {
        if let Some(carrier) = self.carriers.get_mut(&message) {
            carrier.unspent = carrier.unspent.saturating_sub(1);
            let carrier = carrier.clone();
            self.put_carrier(carrier, changed);
        }
    }

    fn put_carrier(&mut self, carrier: Carrier, changed: &mut Changed) {
        *self.carriers_pending.entry(carrier.message).or_default() += 1;
        changed.carriers.push(carrier.message);
        changed.changes.push(Change::PutCarrier(carrier));
    }

    fn offer_removal(&mut self, message: MessageId) {
        if let Some(carrier) = self.carriers.get(&message)
            && carrier.unspent == 0
            && !self.removing.contains(&message)
        {
            self.removals.insert((carrier.not_before, message));
        }
    }

    /// Carrier messages whose removal is owed now, and whose codes are spent on the disk too.
    pub fn claim_removals(&mut self, most: usize, now: Timestamp) -> Vec<Carrier> {
        let mut claimed = Vec::new();
        while claimed.len() < most
            && let Some(&(not_before, message)) = self.removals.first()
            && not_before <= now
        {
            self.removals.pop_first();
            self.removing.insert(message);
            claimed.extend(self.carriers.get(&message).cloned());
        }
        claimed
    }

    /// What became of a removal: settled, or to be tried again at a moment.
    pub fn removed(&mut self, message: MessageId, again_at: Option<Timestamp>) -> Changed {
        let mut changed = Changed::default();
        self.removing.remove(&message);
        match again_at {
            None => {
                if self.carriers.remove(&message).is_some() {
                    changed.changes.push(Change::RemoveCarrier(message));
                }
            }
            Some(at) => {
                if let Some(carrier) = self.carriers.get_mut(&message) {
                    carrier.attempts += 1;
                    carrier.not_before = at;
                    let carrier = carrier.clone();
                    self.put_carrier(carrier, &mut changed);
                }
            }
        }
        changed
    }

    /// Moves a channel's cursor forward.
    pub fn move_cursor(&mut self, channel: ChannelId, read_to: MessageId) -> Changed {
        let mut changed = Changed::default();
        if self.cursors.get(&channel).is_none_or(|at| *at < read_to) {
            self.cursors.insert(channel, read_to);
            changed.changes.push(Change::MoveCursor { channel, read_to });
        }
        changed
    }

    /// A channel's cursor.
    pub fn cursor(&self, channel: ChannelId) -> Option<MessageId> {
        self.cursors.get(&channel).copied()
    }

    /// The earliest moment at which a waiting task is ready or a code expires.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let expiry = self.expiring.first().map(|(at, _)| *at);
        [expiry, self.schedule.next_wake()].into_iter().flatten().min()
    }

    /// Wakes what waited for this moment; tells whether any task of a kind is ready.
    pub fn is_ready(&mut self, task: Task, now: Timestamp) -> bool {
        self.schedule.wake(now);
        self.schedule.ready(task) > 0
    }

    /// From now on nobody's waiting code holds a revocation up.
    pub fn drain(&mut self, now: Timestamp) {
        self.draining = true;
        let held: Vec<_> = std::mem::take(&mut self.held).into_values().flatten().collect();
        for (id, _) in held {
            self.offer(id, now);
        }
    }

    /// Grants that hold a token or may be given one by the exchange under way, and steps under way.
    pub fn outstanding(&self) -> (usize, usize) {
        let with_token = |g: &Grant| g.holds_token() || matches!(g.state, State::Exchanging { .. });
        (
            self.entries.values().filter(|e| with_token(&e.grant)).count(),
            self.leases.len(),
        )
    }

    /// Entries of the indexes over open grants and of what belongs to carrier messages: none is left once all is settled.
    pub fn indexed(&self) -> usize {
        let of_grants = self.schedule.len() + self.leases.len() + self.expiring.len() + self.data.len();
        let of_people = self.by_person.len() + self.held.len() + self.revoking.len();
        let of_messages = self.carriers.len() + self.carriers_pending.len() + self.removing.len();
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

    /// Carrier messages whose removal is not settled.
    pub fn carriers(&self) -> usize {
        self.carriers.len()
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Fetched data that is still in memory.
    pub fn data(&self, id: GrantId) -> Option<PersonalData> {
        self.data.get(&id).cloned()
    }

    fn remember_data(&mut self, id: GrantId, data: PersonalData) {
        let size = data.expose().len();
        if self.data_bytes + size <= DATA_IN_MEMORY {
            self.data_bytes += size;
            self.data.insert(id, data);
        }
    }

    fn forget_data(&mut self, id: GrantId) {
        if let Some(data) = self.data.remove(&id) {
            self.data_bytes -= data.expose().len();
        }
    }

    /// Whether any token in an open grant is still alive as far as we know; for tests and shutdown.
    pub fn holds_tokens(&self) -> bool {
        self.open().any(|g| match &g.state {
            State::Exchanged { .. } => true,
            State::Settling(s) => matches!(s.revocation, Revocation::Owed { .. }),
            _ => false,
        })
    }
}

/// The parked deliveries of a grant that are given up in what became of it.
fn given_up(before: &Grant, next: &Grant) -> Vec<(GrantId, String)> {
    let State::Settling(parked) = &before.state else {
        return Vec::new();
    };
    let sinks = parked.deliveries.iter().filter(|(sink, delivery)| {
        let still_there = match &next.state {
            State::Settling(s) => s
                .deliveries
                .get(*sink)
                .is_some_and(|d| d.state != DeliveryState::GaveUp),
            _ => false,
        };
        delivery.state == DeliveryState::Parked && !still_there
    });
    sinks.map(|(sink, _)| (before.id, sink.clone())).collect()
}

enum Verdict {
    Go,
    Hold,
    End(Event),
}

#[cfg(test)]
mod removal_tests;
#[cfg(test)]
mod tests;
