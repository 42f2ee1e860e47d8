//! The governor's own time line: monotonic, so that steps of the wall clock neither free nor block a slot.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the monotonic clock, counted from two minutes before the governor was made: send times replayed from an
/// earlier process lie before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment at which a governor is made.
    pub const START: Self = Self(Duration::from_mins(2));

    /// The time since an earlier moment; zero where that moment is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time since the origin of the time line.
    pub(super) fn offset(self) -> Duration {
        self.0
    }

    /// The moment at some offset from the origin of the time line.
    pub(super) fn at_offset(offset: Duration) -> Self {
        Self(offset)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}
