//! The journal's memory: the open grants and every index over them, with no actix, no clock and no I/O.
//!
//! Each operation changes memory at once and returns the changes that make it durable. Memory may run ahead of the
//! disk; only outside effects wait for it. So a grant's tasks are offered only when its last change is durable, but for
//! the two that may run ahead: see `replace`.

mod ageing;
mod begin;
mod changed;
mod entry;
mod gate;
mod index;
mod messages;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rand::rngs::StdRng;

use self::ageing::REMEMBER_FOR;
use super::events::{GrantEvent, Happened};
use crate::grant::{Event, FailedCall, Grant, IllegalTransition, Outcome, Policy, Schedule, State, Task};
use crate::ids::{ChannelId, CodeHash, GrantId, MessageId, UserId};
use crate::intake::gate::{Gate, GateRules};
use crate::intake::state::expiry_of;
use crate::secret::PersonalData;
use crate::store::{Change, Loaded, SeenCode, SourceMessage, UsedNonce};
use crate::time::Timestamp;

pub use self::begin::Begun;
pub use self::changed::{Changed, Ended};
pub use self::entry::{Appended, Carried, Redirected};

/// The rules for open grants.
#[derive(Debug, Clone)]
pub struct OpenGrantsRules {
    /// The rules of a grant's life.
    pub policy: Policy,
    /// Source messages are neither removed nor marked.
    pub keep_messages: bool,
    /// How many links may be outstanding.
    pub gate: GateRules,
}

#[derive(Debug)]
struct Entry {
    /// Shared with the stages and with the commits under way: a copy would copy its secrets as well.
    grant: Arc<Grant>,
    /// Changes of it that are not durable yet.
    pending: u32,
}

/// The open grants and every index over them.
#[derive(Debug)]
pub struct OpenGrants {
    policy: Policy,
    /// Source messages are neither removed nor marked.
    keep_messages: bool,
    rng: StdRng,
    entries: HashMap<GrantId, Entry>,
    schedule: Schedule,
    leases: HashSet<(GrantId, Task)>,
    expiring: BTreeSet<(Timestamp, GrantId)>,
    by_person: BTreeSet<(UserId, GrantId)>,
    by_nonce: BTreeSet<([u8; 8], GrantId)>,
    unknown_in_flight: BTreeSet<GrantId>,
    /// Revocations on the wire: the grants whose token was on disk before the request left.
    revoking: HashMap<UserId, (GrantId, Vec<GrantId>)>,
    /// People some of whose tokens may be dead already: a revocation had no clear answer, or an earlier process made one.
    /// Discord answers for a dead token as for a live one (RFC 7009 section 2.2) and then revokes no other, so each of
    /// theirs is revoked by itself until none is left.
    doubtful: HashSet<UserId>,
    held: BTreeMap<UserId, BTreeSet<(GrantId, Task)>>,
    source_messages: HashMap<MessageId, SourceMessage>,
    /// Source messages with changes that are not durable yet: a message is the only other copy of what it brought.
    source_messages_pending: HashMap<MessageId, u32>,
    /// Source messages whose removal is owed, durably, and not under way; by the moment from which it may be tried.
    removals: BTreeSet<(Timestamp, MessageId)>,
    removing: HashSet<MessageId>,
    messages: HashMap<MessageId, ChannelId>,
    codes: HashMap<CodeHash, SeenCode>,
    nonces: HashMap<[u8; 8], Timestamp>,
    /// Decides whether a link may be issued.
    gate: Gate,
    cursors: BTreeMap<ChannelId, MessageId>,
    data: HashMap<GrantId, PersonalData>,
    data_bytes: usize,
    /// While draining, waiting codes do not delay a revocation.
    draining: bool,
}

impl OpenGrants {
    /// Builds the memory from what the store held. Exchanges that were under way when the process ended are put back.
    pub fn new(loaded: Loaded, rules: OpenGrantsRules, rng: StdRng, now: Timestamp) -> (Self, Changed) {
        let OpenGrantsRules {
            policy,
            keep_messages,
            gate,
        } = rules;
        let mut open_grants = Self {
            policy,
            keep_messages,
            rng,
            entries: HashMap::new(),
            schedule: Schedule::default(),
            leases: HashSet::new(),
            expiring: BTreeSet::new(),
            by_person: BTreeSet::new(),
            by_nonce: BTreeSet::new(),
            unknown_in_flight: BTreeSet::new(),
            revoking: HashMap::new(),
            doubtful: HashSet::new(),
            held: BTreeMap::new(),
            source_messages: loaded.source_messages.into_iter().map(|c| (c.message, c)).collect(),
            source_messages_pending: HashMap::new(),
            removals: BTreeSet::new(),
            removing: HashSet::new(),
            messages: loaded.messages.into_iter().map(|m| (m.message, m.channel)).collect(),
            codes: loaded.codes.into_iter().map(|c| (c.hash, c)).collect(),
            nonces: loaded.nonces.into_iter().map(|n| (n.nonce, n.keep_until)).collect(),
            gate: Gate::new(gate, loaded.places, loaded.accounts),
            cursors: loaded.cursors,
            data: HashMap::new(),
            data_bytes: 0,
            draining: false,
        };
        let owed = open_grants.source_messages.values().filter(|c| c.unspent == 0);
        open_grants.removals = owed.map(|c| (c.not_before, c.message)).collect();
        let mut changed = Changed::default();
        for grant in loaded.grants {
            let id = grant.id;
            // The outcome of a call that was under way when the process ended is not known.
            let interrupted = matches!(grant.state, State::Exchanging { .. } | State::Settling(_));
            open_grants.reindex(id, None, Some(&grant));
            let before = Arc::new(grant);
            let entry = Entry {
                grant: Arc::clone(&before),
                pending: 0,
            };
            open_grants.entries.insert(id, entry);
            open_grants.doubt(before.person);
            let event = if interrupted { Event::FoundAtStart } else { Event::Aged };
            if let Ok(next) = before.apply(event, open_grants.policy.at(now)) {
                if next == *before {
                    open_grants.offer(id, now);
                } else {
                    open_grants.replace(next, now, &mut changed);
                }
            }
        }
        (open_grants, changed)
    }

    /// Leases up to `slots` grants that want this task done.
    pub fn claim(&mut self, task: Task, slots: usize, now: Timestamp) -> Vec<Arc<Grant>> {
        let mut claimed = Vec::new();
        while claimed.len() < slots {
            let Some(id) = self.schedule.take(task, now) else { break };
            let Some(entry) = self.entries.get(&id) else { continue };
            self.leases.insert((id, task));
            claimed.push(Arc::clone(&entry.grant));
        }
        claimed
    }

    /// Applies what a step reports. `Err` where the grant has moved on: a token in the event must then be revoked.
    pub fn report(
        &mut self,
        id: GrantId,
        task: Task,
        (event, failed): (Event, Option<String>),
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
        let grant = self.entries.get(&id).map(|e| Arc::clone(&e.grant)).ok_or(gone)?;
        let failed = failed.map(|reason| FailedCall {
            at: now,
            call: call_of(task, &event),
            reason,
        });
        let mut also = Vec::new();
        let revoked = matches!(event, Event::Revoked);
        let delivered = match &event {
            Event::Delivered { sink, .. } => Some(sink.clone()),
            _ => None,
        };
        if task == Task::Revoke
            && let Some(person) = grant.person
            && self.revoking.get(&person).is_some_and(|(by, _)| *by == id)
        {
            let (_, settles) = self.revoking.remove(&person).expect("looked up above");
            if revoked {
                also = settles;
            } else {
                self.doubt(Some(person));
            }
        }
        let mut next = match grant.apply(event, self.policy.at(now)) {
            Ok(next) => next,
            Err(illegal) => {
                // No grant can hold the reported token. Its stage revokes it, which kills the person's other tokens too.
                self.doubt(grant.person);
                self.offer(id, now);
                return Err(illegal);
            }
        };
        if let Some(failed) = failed {
            next.keep_failure(failed);
        }
        if let (State::Settling(settling), Some(data)) = (&next.state, data)
            && settling.has_data
        {
            changed.changes.push(Change::PutData {
                grant: id,
                data: data.clone(),
            });
            self.remember_data(id, data);
        }
        if let Some(sink) = delivered {
            changed.note_sink(&next, Happened::Delivered, &sink, now);
        }
        if revoked {
            changed.events.push(GrantEvent::of(&next, Happened::Revoked, now));
        }
        self.replace(next, now, &mut changed);
        for other in also.into_iter().filter(|other| *other != id) {
            let Some(entry) = self.entries.get(&other) else {
                continue;
            };
            if let Ok(next) = entry.grant.apply(Event::Revoked, self.policy.at(now)) {
                changed.events.push(GrantEvent::of(&next, Happened::Revoked, now));
                self.replace(next, now, &mut changed);
            }
        }
        if matches!(task, Task::Deliver(_) | Task::Revoke) {
            // After a crash the result is delivered again under the same id, and the token is revoked again.
            changed.may_wait = true;
            self.durable(&std::mem::take(&mut changed.grants), &[], now);
        }
        Ok(changed)
    }

    /// Gives a lease back without a report.
    pub fn release(&mut self, id: GrantId, task: Task, now: Timestamp) {
        self.leases.remove(&(id, task));
        if task == Task::Revoke {
            self.end_revocation(id);
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
        // In order, so that a run can be repeated.
        leased.sort_unstable();
        for id in leased {
            self.release(id, task, now);
            let cut = self
                .entries
                .get(&id)
                .filter(|e| matches!(e.grant.state, State::Exchanging { .. }));
            if let Some(Ok(next)) = cut.map(|e| e.grant.apply(Event::CutOff, self.policy.at(now))) {
                self.replace(next, now, &mut changed);
            }
        }
        changed
    }

    /// Applies an operator's command to one grant.
    pub fn operate(&mut self, id: GrantId, event: Event, now: Timestamp) -> Result<Changed, IllegalTransition> {
        let gone = IllegalTransition {
            grant: id,
            state: "gone",
            event: event.name(),
        };
        let grant = self.entries.get(&id).map(|e| Arc::clone(&e.grant)).ok_or(gone)?;
        let next = grant.apply(event, self.policy.at(now))?;
        let mut changed = Changed::default();
        self.replace(next, now, &mut changed);
        Ok(changed)
    }

    /// Changes of these grants and source messages are durable: their tasks and removals are offered.
    pub fn durable(&mut self, grants: &[GrantId], source_messages: &[MessageId], now: Timestamp) {
        for message in source_messages {
            if let Some(pending) = self.source_messages_pending.get_mut(message) {
                *pending -= 1;
                if *pending == 0 {
                    self.source_messages_pending.remove(message);
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
        for due in entry.grant.due(self.policy.at(now)) {
            if !self.leases.contains(&(id, due.task)) {
                let due = self.behind_others(&entry.grant, due);
                self.schedule.put(id, due, now);
            }
        }
    }

    fn replace(&mut self, next: Grant, now: Timestamp, changed: &mut Changed) {
        let id = next.id;
        let before = self.entries.get(&id).map(|e| Arc::clone(&e.grant));
        if let Some(before) = &before {
            for due in before.due(self.policy.at(now)) {
                self.schedule.remove(id, due.task);
            }
            if !before.is_spent() && next.is_spent() {
                self.spend_source_message(before.origin.message, changed);
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
        self.free_place(before.as_deref(), &next, changed);
        changed.note_end(before.as_deref(), &next, now);
        changed.note_events(before.as_deref(), &next, now);
        let people = [before.as_ref().and_then(|b| b.person), next.person];
        let open = (!matches!(next.state, State::Closed(_))).then_some(&next);
        self.reindex(id, before.as_deref(), open);
        if let State::Closed(closed) = &next.state {
            self.entries.remove(&id);
            self.forget_data(id);
            changed.changes.push(Change::Close(closed.clone()));
            changed.closed.push(closed.clone());
        } else {
            let grant = Arc::new(next);
            changed.changes.push(Change::PutGrant(Arc::clone(&grant)));
            changed.grants.push(id);
            let pending = self.entries.get(&id).map_or(0, |e| e.pending) + 1;
            let runs_ahead = match grant.state {
                // Its intent is committed after it, in order. A code that the relay's clock calls dead is presented only once,
                // so a crash between intent and request would end it as `lost`: it is not hurried.
                State::Received { .. } => !grant.is_suspect(self.policy.at(now)),
                // A fetch changes nothing at Discord. A crash loses a token that is not on the disk, fetched with or not.
                State::Exchanged { .. } => true,
                _ => false,
            };
            self.entries.insert(id, Entry { grant, pending });
            if runs_ahead {
                self.offer(id, now);
            }
        }
        for person in people.into_iter().flatten() {
            if self.doubtful.contains(&person) && !self.grants_of(person).any(Grant::holds_token) {
                self.doubtful.remove(&person);
            }
            self.offer_held(person, id, now);
        }
    }

    /// Offers what was held back for a grant of this person, which has moved now.
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

    /// The earliest moment at which a waiting task is ready or a code expires.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let expiry = self.expiring.first().map(|(at, _)| *at);
        [expiry, self.schedule.next_wake()].into_iter().flatten().min()
    }

    /// Wakes what waited for this moment; says how many tasks of a kind are ready.
    pub fn ready(&mut self, task: Task, now: Timestamp) -> usize {
        self.schedule.wake(now);
        self.schedule.ready(task)
    }

    /// From now on waiting codes do not delay revocations.
    pub fn drain(&mut self, now: Timestamp) {
        self.draining = true;
        let held: Vec<_> = std::mem::take(&mut self.held).into_values().flatten().collect();
        for (id, _) in held {
            self.offer(id, now);
        }
    }
}

/// What a call is called: a step's name, and for a delivery its sink's.
pub(super) fn call_of(task: Task, event: &Event) -> String {
    match event {
        Event::DeliveryFailed { sink, .. } | Event::DeliveryRefused { sink } => format!("deliver {sink}"),
        _ => task.name().to_owned(),
    }
}

#[cfg(test)]
mod tests;
