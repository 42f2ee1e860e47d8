//! Whether a claimed step may begin now: the deadline, the one-person rule and the consent it comes from are looked at again,
//! because between claim and beginning other grants move.

use std::sync::Arc;
use std::time::Duration;

use super::{Changed, OpenGrants};
use crate::grant::{Event, Grant, State, Task, person};
use crate::ids::{GrantId, UserId};
use crate::time::Timestamp;

/// Whether a step may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It may.
    Go,
    /// The grant has moved or must wait; the lease is gone.
    Stale,
}

/// A task that must wait for another grant of the same person is offered again after this, or when that grant moves.
const HELD_FOR: Duration = Duration::from_millis(500);

impl OpenGrants {
    /// Whether a claimed step may begin now, and what must be durable first: for an exchange, its intent.
    pub fn begin(&mut self, id: GrantId, task: Task, now: Timestamp) -> (Begun, Changed) {
        let mut changed = Changed::default();
        let Some(grant) = self.entries.get(&id).map(|e| Arc::clone(&e.grant)) else {
            self.leases.remove(&(id, task));
            return (Begun::Stale, changed);
        };
        let still_wanted = grant
            .due(self.policy.at(now))
            .any(|d| d.task == task && d.not_before <= now);
        if !self.leases.contains(&(id, task)) || !still_wanted {
            self.release(id, task, now);
            return (Begun::Stale, changed);
        }
        let may_begin = match task {
            Task::Exchange => self.may_exchange(&grant, now),
            Task::Revoke => Ok(self.begin_revocation(&grant, now)),
            Task::Invite => self.may_invite(&grant),
            Task::Fetch | Task::Deliver(_) => Ok(Begun::Go),
        };
        let begun = may_begin.as_ref().map_or(Begun::Stale, |begun| *begun);
        let event = match (may_begin, task) {
            (Ok(Begun::Go), Task::Exchange) => Some(Event::Began),
            // The result will say that no fresh link was sent, so none may be sent from now on.
            (Ok(Begun::Go), Task::Deliver(_)) => {
                matches!(&grant.state, State::Settling(s) if s.invitation_is_overdue(now)).then_some(Event::Aged)
            }
            (Ok(Begun::Go), _) => None,
            (Ok(Begun::Stale), _) => {
                self.hold(&grant, task, now);
                None
            }
            (Err(end), _) => {
                self.leases.remove(&(id, task));
                Some(end)
            }
        };
        let happened = event.is_none_or(|event| self.advance(&grant, task, event, now, &mut changed));
        (if happened { begun } else { Begun::Stale }, changed)
    }

    /// Applies what comes with a beginning; says whether that can happen at all.
    pub(super) fn advance(
        &mut self,
        grant: &Grant,
        task: Task,
        event: Event,
        now: Timestamp,
        changed: &mut Changed,
    ) -> bool {
        match grant.apply(event, self.policy.at(now)) {
            Ok(next) => self.replace(next, now, changed),
            Err(error) => {
                tracing::error!(%error, "bug: a step cannot begin");
                self.leases.remove(&(grant.id, task));
                return false;
            }
        }
        true
    }

    fn begin_revocation(&mut self, grant: &Grant, now: Timestamp) -> Begun {
        let Some(settles) = self.revocation_settles(grant, now) else {
            return Begun::Stale;
        };
        if let Some(person) = grant.person {
            self.revoking.insert(person, (grant.id, settles));
        }
        Begun::Go
    }

    /// A person whose other code of the same consent was completed needs no link; while one is under way the invitation
    /// waits. The error is the event that ends the task.
    fn may_invite(&self, grant: &Grant) -> Result<Begun, Event> {
        let Some(nonce) = grant.requested.nonce else {
            return Ok(Begun::Go);
        };
        if self.nonces.contains_key(&nonce) {
            return Err(Event::Superseded);
        }
        let on_the_way = |other: &Grant| other.id != grant.id && !matches!(other.state, State::Settling(_));
        if self.grants_of_consent(nonce).any(on_the_way) {
            Ok(Begun::Stale)
        } else {
            Ok(Begun::Go)
        }
    }

    /// The error is the event that ends the grant.
    fn may_exchange(&self, grant: &Grant, now: Timestamp) -> Result<Begun, Event> {
        if now >= grant.deadline {
            return Err(Event::Expired);
        }
        if let Some(nonce) = grant.requested.nonce {
            if self.nonces.contains_key(&nonce) {
                return Err(Event::Superseded);
            }
            let in_flight = |other: &Grant| {
                let in_flight = matches!(other.state, State::Exchanging { .. } | State::Exchanged { .. });
                other.id != grant.id && in_flight
            };
            if self.grants_of_consent(nonce).any(in_flight) {
                return Ok(Begun::Stale);
            }
        }
        let Some(person) = grant.person else {
            return Ok(Begun::Go);
        };
        let others = self.grants_of(person).filter(|other| other.id != grant.id);
        if person::exchange_may_begin(others, self.revoking.contains_key(&person), now) {
            Ok(Begun::Go)
        } else {
            Ok(Begun::Stale)
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
        // On the disk a token may be in use whose fetch has ended in memory, or a code be presented whose answer was cut
        // off. After a crash either goes on, so the revocation waits for whatever of that person's is on its way to the
        // disk; while draining too, for what counts as received in memory alone.
        let is_under_way = |g: &Grant| g.id != grant.id && self.entries[&g.id].pending > 0;
        if self.grants_of(person).any(is_under_way) {
            return None;
        }
        if self.doubtful.contains(&person) {
            return Some(vec![grant.id]);
        }
        let settled = theirs.iter().filter(|g| {
            let both_known = person::owner_is_known(grant) && person::owner_is_known(g);
            g.id == grant.id || (both_known && person::revocation_owed_since(g).is_some())
        });
        Some(settled.map(|g| g.id).collect())
    }

    /// Some of a person's tokens may be dead from now on, and it is not known which.
    pub(super) fn doubt(&mut self, person: Option<UserId>) {
        if let Some(person) = person
            && self.grants_of(person).any(Grant::holds_token)
        {
            self.doubtful.insert(person);
        }
    }

    /// Ends a revocation that got no answer.
    pub(super) fn end_revocation(&mut self, id: GrantId) {
        let under_way = self.revoking.iter().find(|(_, (by, _))| *by == id);
        if let Some(person) = under_way.map(|(person, _)| *person) {
            self.revoking.remove(&person);
            self.doubt(Some(person));
        }
    }

    /// Holds a task back until another grant of the same person moves, for half a second at most.
    fn hold(&mut self, grant: &Grant, task: Task, now: Timestamp) {
        self.leases.remove(&(grant.id, task));
        if let Some(due) = grant.due(self.policy.at(now)).find(|d| d.task == task) {
            let mut due = self.behind_others(grant, due);
            due.not_before = now + HELD_FOR;
            self.schedule.put(grant.id, due, now);
        }
        if let Some(person) = grant.person {
            self.held.entry(person).or_default().insert((grant.id, task));
        }
    }
}
