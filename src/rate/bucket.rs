//! A token bucket: the `governor` crate's GCRA on the governor's own time line, with what that crate leaves out: looking
//! without taking, giving back, and charging for what an earlier process took.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::moment::Moment;

/// A bucket of some depth, refilled by one token a period.
pub struct Bucket {
    limiter: RateLimiter<NotKeyed, Arrival, HandClock, NoOpMiddleware<Duration>>,
    clock: HandClock,
    arrival: Arrival,
    period: Duration,
    depth: u32,
}

impl Bucket {
    /// A full bucket. A depth of 0 is taken as 1, a period of 0 as a nanosecond.
    pub fn full(period: Duration, depth: u32) -> Self {
        let period = period.max(Duration::from_nanos(1));
        let depth = NonZeroU32::new(depth).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period)
            .expect("the period is not zero")
            .allow_burst(depth);
        let (clock, arrival) = (HandClock::default(), Arrival::default());
        Self {
            limiter: RateLimiter::new(quota, arrival.clone(), clock.clone()),
            clock,
            arrival,
            period,
            depth: depth.get(),
        }
    }

    /// An empty bucket: a process that restarts often must not have a burst each time.
    pub fn empty(period: Duration, depth: u32, now: Moment) -> Self {
        let bucket = Self::full(period, depth);
        bucket.set_used(bucket.depth, now);
        bucket
    }

    /// Takes a token, or says when there will be one.
    pub fn take(&mut self, now: Moment) -> Result<(), Moment> {
        self.clock.0.set(now.offset());
        self.limiter
            .check()
            .map_err(|not_until| Moment::at_offset(not_until.earliest_possible()))
    }

    /// When there is a token, without taking it; `Ok` where there is one now.
    pub fn look(&mut self, now: Moment) -> Result<(), Moment> {
        let before = self.arrival.0.get();
        let found = self.take(now);
        self.arrival.0.set(before);
        found
    }

    /// Puts back a token that was taken and not used.
    pub fn give_back(&mut self) {
        let arrival = self.arrival.0.get().map(|at| at.saturating_sub(self.period.into()));
        self.arrival.0.set(arrival);
    }

    /// Charges a token that was used at some moment, whether there was one or not; the bucket is at worst empty after it.
    pub fn charge(&mut self, at: Moment) {
        let at = at.offset();
        let arrival = self.arrival.0.get().map_or(at, Duration::from).max(at) + self.period;
        self.arrival
            .0
            .set(Some(arrival.min(at + self.period * self.depth).into()));
    }

    /// How many tokens are out, rounded up.
    pub fn used(&self, now: Moment) -> u32 {
        let ahead = self.arrival.0.get().map_or(Duration::ZERO, |arrival| {
            Duration::from(arrival).saturating_sub(now.offset())
        });
        u32::try_from(ahead.as_nanos().div_ceil(self.period.as_nanos())).unwrap_or(u32::MAX)
    }

    /// Makes so many tokens be out.
    pub fn set_used(&self, used: u32, now: Moment) {
        self.arrival.0.set(Some((now.offset() + self.period * used).into()));
    }
}

/// The crate's clock, set by hand before each question, so that one moment holds for a whole decision.
#[derive(Clone, Default)]
struct HandClock(Rc<Cell<Duration>>);

impl Clock for HandClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.get()
    }
}

/// GCRA's whole state, the theoretical arrival time of the next token, held where it can be read and put back.
#[derive(Clone, Default)]
struct Arrival(Rc<Cell<Option<Nanos>>>);

impl StateStore for Arrival {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (decision, next) = decide(self.0.get())?;
        self.0.set(Some(next));
        Ok(decision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Moment = Moment::START;

    #[test]
    fn a_full_bucket_gives_its_depth_and_then_one_a_period() {
        let mut bucket = Bucket::full(SECOND, 3);
        for _ in 0..3 {
            assert_eq!(bucket.take(NOW), Ok(()));
        }
        assert_eq!(bucket.used(NOW), 3);
        assert_eq!(bucket.take(NOW), Err(NOW + SECOND));
        assert_eq!(bucket.take(NOW + SECOND), Ok(()));
        assert_eq!(bucket.take(NOW + SECOND), Err(NOW + 2 * SECOND));
    }

    #[test]
    fn an_empty_bucket_has_its_first_token_after_a_period() {
        let mut bucket = Bucket::empty(SECOND, 3, NOW);
        assert_eq!(bucket.take(NOW), Err(NOW + SECOND));
        assert_eq!(bucket.look(NOW + SECOND), Ok(()));
        assert_eq!(bucket.take(NOW + SECOND), Ok(()));
        assert_eq!(bucket.look(NOW + SECOND), Err(NOW + 2 * SECOND));
    }

    #[test]
    fn a_token_given_back_can_be_taken_again_and_only_once() {
        let mut bucket = Bucket::full(SECOND, 1);
        assert_eq!(bucket.take(NOW), Ok(()));
        bucket.give_back();
        assert_eq!(bucket.take(NOW), Ok(()));
        assert_eq!(bucket.take(NOW), Err(NOW + SECOND));
    }

    #[test]
    fn charging_more_than_the_depth_leaves_it_empty_and_no_worse() {
        let mut bucket = Bucket::full(SECOND, 2);
        for _ in 0..50 {
            bucket.charge(NOW);
        }
        assert_eq!(bucket.take(NOW), Err(NOW + SECOND));
    }
}
