//! What happens with time alone: codes expire, parked deliveries are given up, old codes and messages are forgotten.

use std::time::Duration;

use super::{Changed, OpenGrants};
use crate::grant::state::DeliveryState;
use crate::grant::{Event, Grant, State, Task};
use crate::ids::{ChannelId, GrantId, MessageId};
use crate::store::Change;
use crate::time::Timestamp;

/// How long a code or message is remembered after the code has expired, at least.
pub(super) const REMEMBER_FOR: Duration = Duration::from_mins(10);

impl OpenGrants {
    /// Ends codes that have expired.
    pub fn expire(&mut self, now: Timestamp) -> Changed {
        let mut changed = Changed::default();
        while let Some((deadline, id)) = self.expiring.first().copied()
            && deadline <= now
        {
            self.expiring.pop_first();
            let Some(entry) = self.entries.get(&id) else { continue };
            if let State::Received { .. } = entry.grant.state
                && let Ok(next) = entry.grant.apply(Event::Expired, self.policy.at(now))
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
            if let Ok(next) = grant.apply(Event::Aged, self.policy.at(now))
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
            // No reading of history brings back what came without a message.
            let direct = (*channel == ChannelId::DIRECT).then_some(now);
            let read_to = self.cursors.get(channel).map(|read_to| read_to.created_at()).or(direct);
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
        self.gate.forget(now);
        self.take_gate_changes(&mut changed);
        changed
    }
}

/// The parked deliveries of `before` that `next` has given up.
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
