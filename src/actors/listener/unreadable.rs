//! Says what is wrong with messages of the lanes' own webhooks, never what they say. One relay with a wrong key sends many
//! such messages, so the log has one line a minute for each lane and cause.

use std::collections::HashMap;
use std::time::Duration;

use super::gatekeeper::Faults;
use crate::actors::journal::open_grants::Carried;
use crate::ids::Lane;
use crate::metrics::{self, MessageResult};
use crate::time::Timestamp;

const SAY_EVERY: Duration = Duration::from_mins(1);

/// When each lane's causes were said, and how often they came since.
#[derive(Default)]
pub(super) struct Unreadable(HashMap<(Lane, &'static str), (Timestamp, u64)>);

impl Unreadable {
    /// Counts a message's faults, and says them unless that was done within the last minute.
    pub(super) fn name(&mut self, carried: &Carried, faults: Faults, now: Timestamp) {
        let (message, lane) = (carried.message, carried.lane);
        match faults {
            Faults::None => {}
            Faults::Lines(lines) => {
                tracing::warn!(%message, %lane, lines, "lines of a message could not be read");
                metrics::messages(MessageResult::Malformed, lines as u64);
            }
            Faults::Whole(reason) => {
                metrics::message(MessageResult::Malformed);
                metrics::unreadable(lane, reason.cause());
                let more = self.more_to_say(lane, reason.cause(), now);
                let Some(more) = more else {
                    tracing::debug!(%message, %lane, %reason, "one more message of the lane's webhook cannot be read");
                    return;
                };
                tracing::error!(
                    %message, %lane, %reason, more,
                    "a message of the lane's webhook cannot be read: it stays until its code has expired, and is read again after a reload or a restart"
                );
            }
        }
    }

    /// How many others came since the last line, if it is time for one.
    fn more_to_say(&mut self, lane: Lane, cause: &'static str, now: Timestamp) -> Option<u64> {
        let (said, more) = self.0.entry((lane, cause)).or_insert((now - SAY_EVERY, 0));
        if now < *said + SAY_EVERY {
            *more += 1;
            return None;
        }
        *said = now;
        Some(std::mem::take(more))
    }
}
