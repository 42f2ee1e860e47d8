//! The two shapes of a limit: a channel's strict minute, and a plain rate.

use std::collections::VecDeque;
use std::time::Duration;

use super::bucket::Bucket;
use super::limits::{RateLimit, WebhookLimit};
use super::moment::Moment;
use super::window::Window;

/// One channel's webhook budget: the strict window, and a bucket that spreads it.
pub struct ChannelBudget {
    /// The strict total.
    pub window: Window,
    /// What spreads it; absent while the limit is off.
    pub bucket: Option<Bucket>,
    /// Its spending is on its way to the disk.
    pub storing: bool,
}

impl ChannelBudget {
    /// A channel that has spent what its window says.
    pub fn new(mut window: Window, limit: Option<WebhookLimit>, now: Moment) -> Self {
        Self {
            bucket: webhook_bucket(&mut window, limit, now),
            window,
            storing: false,
        }
    }

    /// When a post may go; `Ok` where it may now.
    pub fn free(&mut self, limit: Option<WebhookLimit>, now: Moment) -> Result<(), Moment> {
        let room = limit.map_or(Ok(()), |limit| self.window.room(limit.per_minute, now));
        let token = self.bucket.as_mut().map_or(Ok(()), |bucket| bucket.look(now));
        match (room, token) {
            (Err(a), Err(b)) => Err(a.max(b)),
            (room, token) => room.and(token),
        }
    }
}

/// The bucket of a strict total, charged with what is already spent: what is not burst is refill, so that a full bucket and
/// a minute's refill together stay within the total.
pub fn webhook_bucket(window: &mut Window, limit: Option<WebhookLimit>, now: Moment) -> Option<Bucket> {
    let limit = limit?;
    let refill = limit.per_minute.saturating_sub(limit.burst).max(1);
    let mut bucket = Bucket::full(Duration::from_mins(1) / refill, limit.burst.max(1));
    for at in window.moments(now) {
        bucket.charge(at);
    }
    Some(bucket)
}

/// A plain rate.
pub struct Rate {
    /// Its tokens.
    pub bucket: Bucket,
    /// The limit it was made for.
    pub limit: RateLimit,
    /// The permits of the last second, for the view.
    recent: VecDeque<Moment>,
}

impl Rate {
    /// A rate whose first token comes after a refill.
    pub fn empty(limit: RateLimit, now: Moment) -> Self {
        Self {
            bucket: Bucket::empty(Self::period(limit), limit.burst, now),
            limit,
            recent: VecDeque::new(),
        }
    }

    /// The same spending under another limit.
    pub fn with(self, limit: RateLimit, now: Moment) -> Self {
        let bucket = Bucket::full(Self::period(limit), limit.burst);
        // What was out stays out: raising a limit gives no burst of its own, and lowering it waits for the old tokens.
        let missing = self.limit.burst.saturating_sub(self.bucket.used(now));
        bucket.set_used(limit.burst.saturating_sub(missing), now);
        Self { bucket, limit, ..self }
    }

    fn period(limit: RateLimit) -> Duration {
        Duration::from_secs(1) / limit.per_second.max(1)
    }

    /// Takes a token that was seen to be there; says whether there is a limit at all.
    pub fn take(rate: Option<&mut Self>, now: Moment) -> bool {
        let Some(rate) = rate else { return false };
        rate.spent(now);
        rate.recent.push_back(now);
        rate.bucket.take(now).is_ok()
    }

    /// Puts back a token that was taken and not used.
    pub fn give_back(&mut self) {
        self.bucket.give_back();
        self.recent.pop_back();
    }

    /// How many were granted in the last second.
    pub fn spent(&mut self, now: Moment) -> u32 {
        while self
            .recent
            .front()
            .is_some_and(|&at| now.since(at) >= Duration::from_secs(1))
        {
            self.recent.pop_front();
        }
        u32::try_from(self.recent.len()).unwrap_or(u32::MAX)
    }
}
