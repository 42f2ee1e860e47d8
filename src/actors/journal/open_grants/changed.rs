//! What an operation on the open grants leaves to be made durable, and to be told of.

use std::time::Duration;

use crate::actors::journal::events::{GrantEvent, Happened};
use crate::grant::state::DeliveryState;
use crate::grant::state::Settling;
use crate::grant::{ClosedGrant, Grant, Outcome, Reason, State};
use crate::ids::{GrantId, MessageId};
use crate::store::Change;
use crate::time::Timestamp;

/// Changes to make durable, and the grants whose tasks are offered again once they are.
#[derive(Debug, Default)]
pub struct Changed {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// The grants they touch, once per change of memory.
    pub grants: Vec<GrantId>,
    /// The source messages they touch, likewise.
    pub source_messages: Vec<MessageId>,
    /// Outcomes that became known with this.
    pub ended: Vec<Ended>,
    /// Grants that closed with this.
    pub closed: Vec<ClosedGrant>,
    /// Deliveries that were given up after having been parked, with their sinks.
    pub given_up: Vec<(GrantId, String)>,
    /// What is told of them once they are durable.
    pub events: Vec<GrantEvent>,
    /// Nothing depends on them, and doing again what they record is harmless: they may leave with later ones.
    pub may_wait: bool,
}

/// A grant whose outcome became known.
#[derive(Debug)]
pub struct Ended {
    /// The grant.
    pub grant: GrantId,
    /// How it ended.
    pub outcome: Outcome,
    /// Why; on all but `completed`.
    pub reason: Option<Reason>,
    /// How long that took, from the receipt.
    pub took: Duration,
}

impl Changed {
    /// Takes note of an outcome that is known now and was not before.
    pub(super) fn note_end(&mut self, before: Option<&Grant>, next: &Grant, now: Timestamp) {
        let end = |grant: &Grant| match &grant.state {
            State::Settling(Settling { outcome, reason, .. }) | State::Closed(ClosedGrant { outcome, reason, .. }) => {
                Some((*outcome, reason.clone()))
            }
            _ => None,
        };
        if before.and_then(end).is_none()
            && let Some((outcome, reason)) = end(next)
        {
            self.ended.push(Ended {
                grant: next.id,
                outcome,
                reason,
                took: now.since(next.received_at),
            });
        }
    }

    /// Takes note of what is to be told of a grant's change.
    pub(super) fn note_events(&mut self, before: Option<&Grant>, next: &Grant, now: Timestamp) {
        let mut note = |happened| self.events.push(GrantEvent::of(next, happened, now));
        if before.is_none() {
            note(Happened::Opened);
        }
        let has_token = |grant: &Grant| matches!(grant.state, State::Exchanged { .. });
        if has_token(next) && !before.is_some_and(has_token) {
            note(Happened::Exchanged);
        }
        let has_ended = |grant: &Grant| matches!(grant.state, State::Settling(_) | State::Closed(_));
        if has_ended(next) && !before.is_some_and(has_ended) {
            note(Happened::Settled);
        }
        if let (Some(State::Settling(old)), State::Settling(new)) = (before.map(|b| &b.state), &next.state) {
            for (sink, delivery) in &new.deliveries {
                let was_parked = old
                    .deliveries
                    .get(sink)
                    .is_some_and(|d| d.state == DeliveryState::Parked);
                if delivery.state == DeliveryState::Parked && !was_parked {
                    self.note_sink(next, Happened::Parked, sink, now);
                }
            }
        }
        if matches!(next.state, State::Closed(_)) {
            self.events.push(GrantEvent::of(next, Happened::Closed, now));
        }
    }

    /// Takes note of what a sink came to.
    pub(super) fn note_sink(&mut self, next: &Grant, happened: Happened, sink: &str, now: Timestamp) {
        let event = GrantEvent::of(next, happened, now);
        self.events.push(GrantEvent {
            sink: Some(sink.to_owned()),
            ..event
        });
    }

    /// Adds later changes.
    pub fn add(&mut self, later: Self) {
        self.changes.extend(later.changes);
        self.grants.extend(later.grants);
        self.source_messages.extend(later.source_messages);
        self.events.extend(later.events);
    }
}
