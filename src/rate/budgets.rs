//! Every budget and what closes it, as one value without time, actors or I/O of its own: each question brings its moment.

mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use super::breaker::Breaker;
use super::feedback::{self, Closure};
use super::limits::{Budget, Limits, Need, Urgency};
use super::moment::Moment;
use super::rates::{ChannelBudget, Rate, webhook_bucket};
use super::window::{Ticket, Window};
use crate::ids::ChannelId;
use crate::rate::feedback::HttpFeedback;
use crate::time::Timestamp;

pub use self::view::BudgetView;

/// The wait of an edge refusal that names none; it doubles with each one that follows within [`EDGE_LONGEST`] of the last.
const EDGE_FIRST: Duration = Duration::from_mins(1);
/// How far that wait grows.
const EDGE_LONGEST: Duration = Duration::from_mins(10);

/// What a permit holds.
#[derive(Debug)]
pub struct Reservation {
    /// For what.
    pub need: Need,
    ticket: Option<Ticket>,
    oauth: bool,
    global: bool,
}

impl Reservation {
    fn nothing(need: Need) -> Self {
        Self {
            need,
            ticket: None,
            oauth: false,
            global: false,
        }
    }

    /// Whether the end of its call must be reported, whatever the answer.
    pub fn is_on_its_way(&self) -> bool {
        self.ticket.is_some()
    }

    /// Whether anything was taken at all.
    pub fn is_something(&self) -> bool {
        self.ticket.is_some() || self.oauth || self.global
    }
}

/// The answer to a [`Need`].
#[derive(Debug)]
pub enum Verdict {
    /// Go.
    Granted(Reservation),
    /// Go once the channel's spending is durable; until [`Budgets::stored`] the channel grants nothing else.
    StoreFirst(ChannelId, Reservation),
    /// Not now: ask again at this moment; `None` where something else must happen first.
    NotBefore(Option<Moment>),
}

/// What can be closed by an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Every call: the edge refuses this address.
    Everything,
    /// All that counts against the global limit.
    Global,
    /// The OAuth2 endpoints.
    OAuth,
    /// One channel's webhooks.
    Webhook(ChannelId),
    /// One stage's calls that are neither webhook posts nor to an OAuth2 endpoint: one route's limit is no reason to stop
    /// the others.
    Route(Urgency),
}

/// All budgets.
pub struct Budgets {
    limits: Limits,
    channels: BTreeMap<ChannelId, ChannelBudget>,
    oauth: Option<Rate>,
    global: Option<Rate>,
    breaker: Breaker,
    closed: BTreeMap<Target, Moment>,
    edge_refusals: u32,
    /// When the last edge refusal ended or ends.
    edge_until: Option<Moment>,
}

impl Budgets {
    /// Budgets as an earlier process left them.
    pub fn new(limits: Limits, spending: &BTreeMap<ChannelId, Vec<Timestamp>>, now: Moment) -> Self {
        let channels = spending.iter().map(|(&channel, sent_at)| {
            let window = Window::replay(sent_at, now);
            (channel, ChannelBudget::new(window, limits.webhook, now))
        });
        Self {
            channels: channels.collect(),
            oauth: limits.oauth.map(|limit| Rate::empty(limit, now)),
            global: limits.global.map(|limit| Rate::empty(limit, now)),
            breaker: Breaker::new(limits.invalid_requests),
            closed: BTreeMap::new(),
            edge_refusals: 0,
            edge_until: None,
            limits,
        }
    }

    /// Grants a call or says when to ask again.
    pub fn take(&mut self, need: Need, now: Moment) -> Verdict {
        if let Some(until) = self.breaker.open_until(now) {
            return not_before(until);
        }
        if let Some(until) = self.closed_for(need, now) {
            return not_before(until);
        }
        match need.budget {
            Budget::Webhook(channel) => self.take_webhook(channel, need, now),
            Budget::OAuth => {
                let oauth = self.oauth.as_mut().map_or(Ok(()), |rate| rate.bucket.look(now));
                let global = self.global.as_mut().map_or(Ok(()), |rate| rate.bucket.look(now));
                match (oauth, global) {
                    (Ok(()), Ok(())) => Verdict::Granted(Reservation {
                        oauth: Rate::take(self.oauth.as_mut(), now),
                        global: Rate::take(self.global.as_mut(), now),
                        ..Reservation::nothing(need)
                    }),
                    (Err(a), Err(b)) => not_before(a.max(b)),
                    (Err(at), Ok(())) | (Ok(()), Err(at)) => not_before(at),
                }
            }
            Budget::Global => match self.global.as_mut().map_or(Ok(()), |rate| rate.bucket.look(now)) {
                Ok(()) => Verdict::Granted(Reservation {
                    global: Rate::take(self.global.as_mut(), now),
                    ..Reservation::nothing(need)
                }),
                Err(at) => not_before(at),
            },
        }
    }

    /// What must be durable before the channel's next post leaves.
    pub fn to_persist(&mut self, channel: ChannelId, now: Moment, wall: Timestamp) -> Vec<Timestamp> {
        let channel = self.channels.get_mut(&channel);
        channel.map_or_else(Vec::new, |c| c.window.to_persist(now, wall))
    }

    /// The channel's spending is durable, or could not be made so.
    pub fn stored(&mut self, channel: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.storing = false;
        }
    }

    /// A permit came back from a call that was made, or a durable slot was not used: it stays spent.
    pub fn settle(&mut self, taken: &Reservation, now: Moment) {
        if let Some((channel, ticket)) = self.ticket_of(taken) {
            channel.window.settle(ticket, now);
        }
    }

    /// A call was not made and nothing of it is on disk, or the disk may forget it: the slot is free again.
    pub fn give_back(&mut self, taken: &Reservation) {
        if let Some((channel, ticket)) = self.ticket_of(taken) {
            channel.window.give_back(ticket);
            if let Some(bucket) = &mut channel.bucket {
                bucket.give_back();
            }
        }
        for (rate, was_taken) in [(&mut self.oauth, taken.oauth), (&mut self.global, taken.global)] {
            if let (Some(rate), true) = (rate, was_taken) {
                rate.give_back();
            }
        }
    }

    /// Learns from an answer; `charged` is what the call had a permit for, if it needed one. Says what it closed.
    pub fn observe(&mut self, answer: &HttpFeedback, charged: Option<Need>, now: Moment) -> Option<(Target, Moment)> {
        if feedback::is_invalid(answer) {
            self.breaker.note(now);
        }
        let (target, until) = match feedback::closure(answer)? {
            Closure::Everything(named) => (Target::Everything, self.edge_refusal(named, now)),
            Closure::Global(wait) => {
                // A webhook's permit is not charged to the global limit, so its own budget has to be closed as well.
                if let Some(Budget::Webhook(channel)) = charged.map(|need| need.budget) {
                    self.close(Target::Webhook(channel), now + wait);
                }
                (Target::Global, now + wait)
            }
            Closure::Own(wait) => (own_target(charged?), now + wait),
        };
        self.close(target, until);
        Some((target, until))
    }

    /// Until when refusals keep everything stopped.
    pub fn breaker_open_until(&mut self, now: Moment) -> Option<Moment> {
        self.breaker.open_until(now)
    }

    /// Puts other limits in force; nothing spent is forgotten.
    pub fn retune(&mut self, limits: Limits, now: Moment) {
        if limits.webhook != self.limits.webhook {
            for channel in self.channels.values_mut() {
                channel.bucket = webhook_bucket(&mut channel.window, limits.webhook, now);
            }
        }
        for (rate, old, new) in [
            (&mut self.oauth, self.limits.oauth, limits.oauth),
            (&mut self.global, self.limits.global, limits.global),
        ] {
            if old != new {
                *rate = new.map(|limit| match rate.take() {
                    Some(before) => before.with(limit, now),
                    None => Rate::empty(limit, now),
                });
            }
        }
        self.breaker.set_limit(limits.invalid_requests);
        self.limits = limits;
    }

    fn take_webhook(&mut self, id: ChannelId, need: Need, now: Moment) -> Verdict {
        let limit = self.limits.webhook;
        let channel = self
            .channels
            .entry(id)
            .or_insert_with(|| ChannelBudget::new(Window::default(), limit, now));
        if limit.is_none() {
            channel.window.note(now);
            return Verdict::Granted(Reservation::nothing(need));
        }
        // One reservation at a time: two lists on their way to the disk could arrive in the wrong order.
        if channel.storing {
            return Verdict::NotBefore(None);
        }
        if let Err(at) = channel.free(limit, now) {
            return not_before(at);
        }
        if let Some(Err(at)) = channel.bucket.as_mut().map(|bucket| bucket.take(now)) {
            return not_before(at);
        }
        channel.storing = true;
        let ticket = Some(channel.window.reserve(now));
        Verdict::StoreFirst(
            id,
            Reservation {
                ticket,
                ..Reservation::nothing(need)
            },
        )
    }

    fn ticket_of(&mut self, taken: &Reservation) -> Option<(&mut ChannelBudget, Ticket)> {
        let Budget::Webhook(channel) = taken.need.budget else {
            return None;
        };
        Some((self.channels.get_mut(&channel)?, taken.ticket?))
    }

    /// When the last of the closures that concern a call ends; `None` where none does.
    fn closed_for(&mut self, need: Need, now: Moment) -> Option<Moment> {
        if self.closed.is_empty() {
            return None;
        }
        self.closed.retain(|_, until| *until > now);
        let (global, oauth) = match need.budget {
            Budget::Webhook(_) => (None, None),
            Budget::Global => (Some(Target::Global), None),
            Budget::OAuth => (Some(Target::Global), Some(Target::OAuth)),
        };
        let targets = [Some(Target::Everything), global, oauth, Some(own_target(need))];
        let ends = targets
            .into_iter()
            .flatten()
            .filter_map(|target| self.closed.get(&target));
        ends.max().copied()
    }

    fn close(&mut self, target: Target, until: Moment) {
        let end = self.closed.entry(target).or_insert(until);
        *end = until.max(*end);
    }

    /// The end of an edge refusal. Answers that were already on their way when it began do not lengthen an unnamed wait.
    fn edge_refusal(&mut self, named: Option<Duration>, now: Moment) -> Moment {
        let until = match self.edge_until {
            Some(until) if until > now => named.map_or(until, |wait| until.max(now + wait)),
            last => {
                if last.is_none_or(|ended| now.since(ended) > EDGE_LONGEST) {
                    self.edge_refusals = 0;
                }
                let unnamed = EDGE_FIRST * 2_u32.saturating_pow(self.edge_refusals.min(8));
                self.edge_refusals += 1;
                now + named.unwrap_or(unnamed.min(EDGE_LONGEST))
            }
        };
        self.edge_until = Some(until);
        until
    }
}

/// The target that an answer about a call's own budget closes.
fn own_target(need: Need) -> Target {
    match need.budget {
        Budget::Webhook(channel) => Target::Webhook(channel),
        Budget::OAuth => Target::OAuth,
        Budget::Global => Target::Route(need.urgency),
    }
}

fn not_before(at: Moment) -> Verdict {
    Verdict::NotBefore(Some(at))
}

#[cfg(test)]
mod tests;
