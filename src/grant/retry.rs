//! What an answer means for the next attempt: how long to wait, and when to stop. Every number has its reason here.

use std::time::Duration;

use super::state::{Attempts, Presentations};
use crate::ids::GrantId;
use crate::time::Timestamp;

/// What the configuration says about a grant's life.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long a code lives. Discord's staff say 100 s (discord-api-docs issue 2526).
    pub code_lifetime: Duration,
    /// The configured sinks' names, in the order of the configuration.
    pub sinks: Vec<String>,
    /// How long a parked delivery is kept before it is given up.
    pub keep_parked: Duration,
    /// Whether people whose code expired or was lost are sent a fresh link.
    pub reinvite: bool,
}

/// What every rule about a grant goes by: the policy, and the moment.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The moment.
    pub now: Timestamp,
    /// The policy.
    pub policy: &'a Policy,
}

impl Policy {
    /// This policy at a moment.
    pub fn at(&self, now: Timestamp) -> At<'_> {
        At { now, policy: self }
    }

    /// The place of a sink among the configured ones.
    pub fn sink_index(&self, name: &str) -> Option<u8> {
        self.sinks
            .iter()
            .position(|s| s == name)
            .and_then(|i| u8::try_from(i).ok())
    }
}

/// A delivery that has failed for this long is parked.
pub const PARK_AFTER: Duration = Duration::from_hours(24);
/// Fetching that has failed for this long is given up.
pub const FETCH_GIVE_UP: Duration = Duration::from_mins(10);
/// A second presentation after a timeout waits this long: Discord may still be working on the first.
pub const AFTER_CUT_OFF: Duration = Duration::from_secs(2);
/// A connection that could not be opened is tried again after this long: it costs the code nothing but time.
pub const AFTER_NOT_SENT: Duration = Duration::from_millis(500);
/// Waits after answers of 401 to a fresh token, which Discord gives transiently (discord-api-docs issue 6769).
pub const AFTER_UNAUTHORIZED: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// The longest wait that an answer can ask for: some give milliseconds where seconds are specified.
pub const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Revocation is never given up, only spaced out to this.
pub const REVOCATION_SPACING: Duration = Duration::from_mins(10);
/// Deliveries are spaced out to this.
pub const DELIVERY_SPACING: Duration = Duration::from_mins(30);
/// A fetch is spaced out to this.
pub const FETCH_SPACING: Duration = Duration::from_secs(30);

/// Results of an expired or lost code wait this long for the message with a fresh link, so that they can mention it.
pub const INVITATION_WITHIN: Duration = Duration::from_mins(1);
/// No attempt at that message begins later, so that the last one has ended before the results go.
pub const INVITATION_LAST_ATTEMPT: Duration = Duration::from_secs(45);
/// Attempts at it are spaced out to this.
pub const INVITATION_SPACING: Duration = Duration::from_secs(10);

/// Waits before presenting a code again after an unclear answer: 1, 2, 4, 8 s, then no more.
pub fn after_unclear(unclear: u32) -> Option<Duration> {
    (1..=4)
        .contains(&unclear)
        .then(|| Duration::from_secs(1 << (unclear - 1)))
}

/// Whether a code whose presentation was cut off is presented once more.
pub fn once_more_after_cut_off(presentations: &Presentations) -> bool {
    presentations.cut_off <= 1
}

/// The next attempt after a failed one: 1 s doubled each time up to `spacing`, spread by up to a tenth so that many
/// do not come at once, and never before the answer's own `Retry-After`.
pub fn next_attempt(
    attempts: Attempts,
    grant: GrantId,
    after: Option<Duration>,
    spacing: Duration,
    now: Timestamp,
) -> Attempts {
    let exponential = Duration::from_secs(1 << attempts.count.min(16)).min(spacing);
    let spread = exponential.mul_f64(f64::from((grant.0.random() & 0xff) as u8) / 2550.0);
    let wait = (exponential + spread).max(after.unwrap_or_default().min(LONGEST_WAIT));
    Attempts {
        since: attempts.since,
        count: attempts.count.saturating_add(1),
        not_before: now + wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclear_answer_is_followed_by_four_more_presentations_at_most() {
        let waits: Vec<_> = (1..=5).map(|n| after_unclear(n).map(|d| d.as_secs())).collect();
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), None]);
    }

    #[test]
    fn waits_double_up_to_their_spacing_and_honour_retry_after() {
        let now = Timestamp::from_secs(1_700_000_000);
        let id = GrantId::new(now, 0);
        let mut attempts = Attempts::owed_since(now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            attempts = next_attempt(attempts, id, None, REVOCATION_SPACING, now);
            waits.push(attempts.not_before.since(now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]);
        let told = next_attempt(
            Attempts::owed_since(now),
            id,
            Some(Duration::from_secs(42)),
            REVOCATION_SPACING,
            now,
        );
        assert_eq!(told.not_before.since(now).as_secs(), 42);
        let absurd = Some(Duration::from_secs(999_999));
        let told = next_attempt(Attempts::owed_since(now), id, absurd, REVOCATION_SPACING, now);
        assert_eq!(told.not_before.since(now), LONGEST_WAIT);
    }
}
