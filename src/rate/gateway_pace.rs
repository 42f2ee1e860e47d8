//! How fast a gateway session may be begun anew. Discord accepts one IDENTIFY in 5 s and 1,000 a day; one more, and it
//! resets the bot's token ([Discord Docs/Gateway](https://docs.discord.com/developers/events/gateway#identifying)).

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The gateway's own minimum between two IDENTIFYs.
const BETWEEN_IDENTIFIES: Duration = Duration::from_secs(5);
/// So many in an hour are ordinary; from there on the distance doubles.
const ORDINARY_PER_HOUR: u32 = 5;
/// 15 an hour at this distance are 360 a day.
const LONGEST_DISTANCE: Duration = Duration::from_mins(4);
const HOUR: Duration = Duration::from_hours(1);
/// The longest wait before a gateway that could not be reached is tried again; the history is read meanwhile.
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// The pace of one process. Across restarts, and across the bot's other programs, Discord counts. It is no
/// [`Bucket`](super::bucket::Bucket): that would make the sixth connection of an hour wait four minutes, and a gateway
/// that comes back soon is worth trying sooner.
#[derive(Debug, Default)]
pub struct Pace {
    identified: VecDeque<Instant>,
    /// Connections that were tried since one that worked, itself included.
    tries: u32,
    last: Option<Instant>,
}

impl Pace {
    /// How long to wait before a connection that begins a session.
    pub fn wait_to_begin(&self, now: Instant) -> Duration {
        let after_identify = self.identified.back().map(|at| *at + self.distance(now));
        let after_identify = after_identify.unwrap_or(now).saturating_duration_since(now);
        after_identify.max(self.wait_to_resume(now))
    }

    /// How long to wait before a connection that resumes a session.
    pub fn wait_to_resume(&self, now: Instant) -> Duration {
        let Some(last) = self.last.filter(|_| self.tries > 0) else {
            return Duration::ZERO;
        };
        let pause = Duration::from_secs(1) * 2_u32.saturating_pow(self.tries - 1);
        (last + pause.min(LONGEST_RETRY)).saturating_duration_since(now)
    }

    /// An IDENTIFY is about to be sent.
    pub fn identifying(&mut self, now: Instant) {
        (self.tries, self.last) = (0, None);
        self.identified.push_back(now);
        while self.identified.front().is_some_and(|at| now.duration_since(*at) > HOUR) {
            self.identified.pop_front();
        }
    }

    /// A connection is tried that spends no IDENTIFY.
    pub fn trying(&mut self, now: Instant) {
        self.tries = self.tries.saturating_add(1);
        self.last = Some(now);
    }

    /// The session was begun or resumed on the last connection.
    pub fn worked(&mut self) {
        self.tries = self.tries.min(1);
    }

    fn distance(&self, now: Instant) -> Duration {
        let recent = self.identified.iter().filter(|at| now.duration_since(**at) <= HOUR);
        let beyond = (recent.count() as u32).saturating_sub(ORDINARY_PER_HOUR);
        BETWEEN_IDENTIFIES
            .saturating_mul(2_u32.saturating_pow(beyond))
            .min(LONGEST_DISTANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_never_holds_stays_far_below_a_thousand_identifies_a_day() {
        let start = Instant::now();
        let (mut pace, mut now, mut identifies) = (Pace::default(), start, 0);
        while now < start + 24 * HOUR {
            now += pace.wait_to_begin(now);
            pace.identifying(now);
            identifies += 1;
        }
        assert!((200..500).contains(&identifies), "{identifies}");
    }

    #[test]
    fn the_first_few_reconnects_are_five_seconds_apart() {
        let mut now = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.wait_to_begin(now), Duration::ZERO);
        for _ in 0..ORDINARY_PER_HOUR {
            pace.identifying(now);
            assert_eq!(pace.wait_to_begin(now), BETWEEN_IDENTIFIES);
            now += BETWEEN_IDENTIFIES;
        }
        now += 2 * HOUR;
        assert_eq!(pace.wait_to_begin(now), Duration::ZERO);
    }

    #[test]
    fn an_unreachable_gateway_is_tried_at_growing_distances_and_soon_after_it_is_back() {
        let now = Instant::now();
        let mut pace = Pace::default();
        for seconds in [1, 2, 4, 8, 15, 15] {
            pace.trying(now);
            assert_eq!(pace.wait_to_begin(now), Duration::from_secs(seconds));
        }
        for _ in 0..100 {
            pace.trying(now);
        }
        assert_eq!(pace.wait_to_begin(now), LONGEST_RETRY);
    }
}
