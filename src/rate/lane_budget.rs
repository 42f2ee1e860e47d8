//! What one channel may be sent: the governor's strict minute, and Discord's five posts in two seconds. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::rate::limits::WebhookLimit;
use crate::rate::moment::Moment;
use crate::rate::rates::ChannelBudget;
use crate::rate::window::{Ticket, Window};
use crate::time::Timestamp;

/// A webhook takes five posts in two seconds (Discord's headers say so); a little more for the way between.
const SHORT: (usize, Duration) = (5, Duration::from_millis(2_050));

/// One channel's budget.
pub struct LaneBudget {
    channel: ChannelBudget,
    limit: Option<WebhookLimit>,
    /// The last answers.
    answered: VecDeque<Moment>,
    on_their_way: usize,
    closed_until: Option<Moment>,
}

impl LaneBudget {
    /// A budget that has spent what an earlier process noted.
    pub fn new(sent_at: &[Timestamp], limit: Option<WebhookLimit>, now: Moment) -> Self {
        Self {
            channel: ChannelBudget::new(Window::replay(sent_at, now), limit, now),
            limit,
            answered: VecDeque::new(),
            on_their_way: 0,
            closed_until: None,
        }
    }

    /// When a post may go; `Ok` where it may now.
    pub fn free(&mut self, now: Moment) -> Result<(), Moment> {
        let long = self.channel.free(self.limit, now);
        let short = match SHORT.0.checked_sub(self.on_their_way) {
            // When those on their way will be answered is unknown; `settle` looks again.
            None | Some(0) => Err(now + SHORT.1),
            Some(room) => match self.answered.len().checked_sub(room) {
                Some(deciding) if self.answered[deciding] + SHORT.1 > now => Err(self.answered[deciding] + SHORT.1),
                _ => Ok(()),
            },
        };
        let open = match self.closed_until {
            Some(at) if at > now => Err(at),
            _ => Ok(()),
        };
        let latest = [long, short, open].into_iter().filter_map(Result::err).max();
        latest.map_or(Ok(()), Err)
    }

    /// Takes a slot; what comes with the ticket must be on the disk before the post leaves.
    pub fn reserve(&mut self, now: Moment, wall: Timestamp) -> (Ticket, Vec<Timestamp>) {
        let ticket = self.channel.window.reserve(now);
        if let Some(bucket) = &mut self.channel.bucket {
            bucket.charge(now);
        }
        self.on_their_way += 1;
        (ticket, self.channel.window.to_persist(now, wall))
    }

    /// A post was answered, or may have arrived.
    pub fn settle(&mut self, ticket: Ticket, now: Moment) {
        self.channel.window.settle(ticket, now);
        self.on_their_way = self.on_their_way.saturating_sub(1);
        if self.answered.len() == SHORT.0 {
            self.answered.pop_front();
        }
        self.answered.push_back(now);
    }

    /// A post never left.
    pub fn give_back(&mut self, ticket: Ticket) {
        self.channel.window.give_back(ticket);
        self.on_their_way = self.on_their_way.saturating_sub(1);
    }

    /// Nothing goes before this moment.
    pub fn close(&mut self, until: Moment) {
        self.closed_until = self.closed_until.max(Some(until));
    }

    /// About how many posts can go until some moment; `None` is without end.
    pub fn slots(&mut self, now: Moment, until: Moment) -> Option<usize> {
        let limit = self.limit?;
        let from = self.closed_until.map_or(now, |at| at.max(now));
        let left = until.since(from);
        if left.is_zero() {
            return Some(0);
        }
        let refill = limit.per_minute.saturating_sub(limit.burst).max(1);
        let refilled = left.as_secs_f64() * f64::from(refill) / 60.0;
        let used = self.channel.bucket.as_ref().map_or(0, |bucket| bucket.used(now));
        Some(limit.burst.saturating_sub(used) as usize + refilled as usize)
    }
}
