//! The one clock. Persisted timestamps, timers and limiters all take their time from here, so tests run it virtual.

use std::cell::RefCell;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, Serializer};
use tokio::time::Instant;

/// A point in time: milliseconds since the Unix epoch, UTC. Displayed, and in JSON, as RFC 3339 with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// The end of the year 9999: RFC 3339 has four digits for a year, and a formatter that fails makes its caller panic.
const LATEST_WRITTEN: i64 = 253_402_300_799_999;

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// From whole seconds since the Unix epoch, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.clamp(0, LATEST_WRITTEN).unsigned_abs())
    }
}

impl From<SystemTime> for Timestamp {
    fn from(t: SystemTime) -> Self {
        let ms = t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Self(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.system_time()).fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Serialises a [`Timestamp`] as RFC 3339 text; for JSON that leaves the program.
pub mod rfc3339 {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes RFC 3339 UTC with milliseconds.
    pub fn serialize<S: Serializer>(t: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(t)
    }

    /// Reads any RFC 3339 time that ends in `Z`.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(d)?;
        humantime::parse_rfc3339(&text)
            .map(Timestamp::from)
            .map_err(D::Error::custom)
    }
}

/// Writes an optional [`Timestamp`] as RFC 3339 text, or null; for JSON that leaves the program.
pub fn optional_rfc3339<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

/// Lets a line that may come often into the log once a minute.
#[derive(Debug, Default)]
pub struct OnceAMinute {
    told: Option<Instant>,
    untold: u64,
}

impl OnceAMinute {
    /// Counts one more; if it is time for a line, how many came since the last one.
    pub fn tell(&mut self) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| told.elapsed() < Duration::from_mins(1)) {
            return None;
        }
        self.told = Some(Instant::now());
        Some(std::mem::take(&mut self.untold))
    }
}

/// The beats on which all periodic work of a thread is done: one wake-up of an idle process serves all of it. They are
/// counted from when their first holder began, so that tests with paused time are repeatable.
pub struct Pulse(Rc<Instant>);

impl Pulse {
    /// About a second. Tokio's timers lie in wheels of 64 ms, counted from the runtime's start: what ends on such a mark
    /// wakes the process once, and anything else twice.
    pub const BEAT: Duration = Duration::from_millis(1_024);

    /// The one of this thread. Whoever holds one from before the runtime is built puts the beats on its marks.
    pub fn of_this_thread() -> Self {
        thread_local! {
            static BEGAN: RefCell<Weak<Instant>> = const { RefCell::new(Weak::new()) };
        }
        BEGAN.with_borrow_mut(|began| {
            let held = began.upgrade().unwrap_or_else(|| Rc::new(Instant::now()));
            *began = Rc::downgrade(&held);
            Self(held)
        })
    }

    /// The last beat before this moment, or at it; the moment itself where no beat is left until then.
    pub fn by(&self, moment: Instant) -> Instant {
        let beats = moment.duration_since(*self.0).as_millis() / Self::BEAT.as_millis();
        let last = *self.0 + Self::BEAT * u32::try_from(beats).unwrap_or(u32::MAX);
        if last > Instant::now() { last } else { moment }
    }
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Sets it forwards or back by some milliseconds, where it can be set.
    fn correct(&self, _by_ms: i64) {}
}

/// The clock that every part shares.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock, to be shared.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the wall clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }
}

/// A clock that follows tokio's time, whatever happens to the wall clock, and can be stepped: Discord's time as far as it is
/// known, corrected by what Discord's answers say; and in tests, where paused time moves it, the wall clock itself.
#[derive(Debug)]
pub struct SteadyClock {
    began: Instant,
    base_ms: AtomicI64,
}

impl SteadyClock {
    /// A clock that reads `at` now. Call it inside the runtime whose time it follows.
    pub fn starting_at(at: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            base_ms: AtomicI64::new(at.as_millis()),
        })
    }

    /// Steps it by some milliseconds, forwards or back; timers are not moved.
    pub fn step(&self, by_ms: i64) {
        self.base_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.base_ms.load(Ordering::Relaxed)) + self.began.elapsed()
    }

    fn correct(&self, by_ms: i64) {
        self.step(by_ms);
    }
}

/// Notices that the wall clock has jumped against the monotonic one: this machine slept, or its clock was set. Which of
/// the two it was only Discord's time tells.
pub struct JumpWatch {
    wall: SharedClock,
    beside: Arc<SteadyClock>,
}

impl JumpWatch {
    /// How often to look: a jump is known before anybody has used a link that was made after it.
    pub const LOOK_EVERY: Duration = Pulse::BEAT;
    /// Less than this is no jump.
    const TOLERANCE_MS: i64 = 2_000;

    /// Watches from now on.
    pub fn new(wall: SharedClock) -> Self {
        let beside = SteadyClock::starting_at(wall.now());
        Self { wall, beside }
    }

    /// By how many milliseconds the wall clock has jumped since this was asked last.
    pub fn jumped(&self) -> Option<i64> {
        let by_ms = self.wall.now().as_millis() - self.beside.now().as_millis();
        if by_ms.abs() <= Self::TOLERANCE_MS {
            return None;
        }
        self.beside.step(by_ms);
        Some(by_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_as_rfc_3339_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_700_000_000_042).to_string(),
            "2023-11-14T22:13:20.042Z"
        );
        assert_eq!(Timestamp::from_millis(-5).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_time_beyond_the_year_9999_panics_nobody_who_prints_it() {
        let latest = "9999-12-31T23:59:59.999Z";
        for ms in [LATEST_WRITTEN, LATEST_WRITTEN + 1, i64::MAX] {
            assert_eq!(Timestamp::from_millis(ms).to_string(), latest);
        }
        assert_eq!(Timestamp::from_millis(i64::MIN).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_wall_clock_does_not_reach_the_steady_one() {
        let wall = SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000));
        let steady = SteadyClock::starting_at(wall.now());
        wall.step(3_600_000);
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(steady.now(), Timestamp::from_secs(1_700_000_090));
        steady.step(-10_000);
        assert_eq!(steady.now(), Timestamp::from_secs(1_700_000_080));
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_wall_clock_is_noticed_once_and_time_that_passes_is_none() {
        let wall = SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000));
        let watch = JumpWatch::new(wall.clone());
        for by_ms in [3_600_000, -3_600_000, 5_000] {
            tokio::time::sleep(Duration::from_hours(1)).await;
            assert_eq!(watch.jumped(), None);
            wall.step(by_ms);
            assert_eq!(watch.jumped(), Some(by_ms));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_that_hold_a_beat_end_on_one_and_none_ends_later_than_asked() {
        let pulse = Pulse::of_this_thread();
        let began = Instant::now();
        for passed_ms in [0, 1, 300, 722, 1, 1_023, 1_024, 1_025, 100_000_000] {
            tokio::time::sleep(Duration::from_millis(passed_ms)).await;
            let now = Instant::now();
            for wait in [Pulse::BEAT, Duration::from_secs(2), Duration::from_secs(10)] {
                let ends = Pulse::of_this_thread().by(now + wait);
                let beats = ends.duration_since(began).as_millis() % Pulse::BEAT.as_millis();
                assert_eq!(beats, 0, "after {passed_ms} ms");
                assert!(ends > now && ends <= now + wait && ends + Pulse::BEAT > now + wait);
            }
            let short = now + Duration::from_micros(200);
            assert!(pulse.by(short) <= short);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_steady_clock_follows_paused_time_and_steps() {
        let clock = SteadyClock::starting_at(Timestamp::from_secs(1_700_000_000));
        tokio::time::sleep(Duration::from_secs(90)).await;
        clock.step(-3_600_000);
        assert_eq!(clock.now(), Timestamp::from_secs(1_700_000_000 + 90 - 3600));
    }
}
