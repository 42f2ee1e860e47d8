//! How far one channel's history is read: what comes next, how far the cursor may follow, and whether the history
//! shows what the gateway brought. Pure.

use std::collections::HashSet;
use std::time::Duration;

use super::super::journal::message::Position;
use super::history::FULL_PAGE;
use crate::ids::{MessageId, snowflake_at};
use crate::time::Timestamp;

/// A message becomes visible within this after its id was made: below a newer one, older ones may still appear.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// How far back the first start looks.
const FIRST_LOOK_BACK: Duration = Duration::from_mins(15);
/// Readings in a row that show nothing although the gateway brought something: one may be Discord's own delay.
const LACKING_READINGS: u32 = 2;

/// What is known of one channel's history.
#[derive(Debug, Default)]
pub struct Progress {
    /// Where the first reading ever began, until there is a cursor.
    first: Option<u64>,
    /// The newest message that a reading has shown.
    shown: Option<MessageId>,
    /// The newest of our messages that the gateway has brought.
    hinted: Option<MessageId>,
    /// Messages that only the gateway has shown so far.
    unconfirmed: HashSet<MessageId>,
    /// The last message that was looked for in the history was there.
    confirmed: bool,
    lacking: u32,
    /// So little lay below the live window that both are read in one go.
    short: bool,
}

/// One reading of the live window, and of the gap below it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Up to here nothing is left out.
    pub from: u64,
    /// The window begins here; between `from` and it lies the gap.
    pub window: u64,
    now: Timestamp,
    /// The newest message known before the reading began.
    known: Option<MessageId>,
    /// Where the first reading ever began, if there is no cursor yet.
    first: Option<MessageId>,
    expected: HashSet<MessageId>,
}

impl Plan {
    /// Whether something lies between what was read and the window.
    pub fn has_gap(&self) -> bool {
        self.from < self.window
    }

    /// A reading has shown a message.
    pub fn shows(&mut self, message: MessageId) {
        self.known = self.known.max(Some(message));
    }

    /// Where the cursor may go when nothing is left out up to here: not where something older may still appear.
    ///
    /// That is told by Discord's clock, as the ids carry it: this machine's may be stepped. It only bounds it, lest one
    /// odd id move the cursor past what is still to come.
    pub fn cursor_at(&self, whole_to: u64) -> Option<MessageId> {
        let settled = self
            .known
            .map(|id| snowflake_at(id.created_at().min(self.now) - SETTLES_WITHIN));
        settled.map(|settled| MessageId(settled.min(whole_to))).max(self.first)
    }
}

/// What a reading says about the permission to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing is wrong, or nothing can be said.
    Fine,
    /// The history is empty again and again although the gateway brings messages.
    Lacking,
}

impl Progress {
    /// What to read next.
    pub fn plan(&mut self, position: Position, code_lifetime: Duration) -> Plan {
        let now = position.now;
        let mut begun = None;
        let from = match position.read_to {
            Some(read_to) => read_to.0,
            None => {
                let earliest = snowflake_at(now - FIRST_LOOK_BACK);
                let first = self.first.map_or(earliest, |first| first.min(earliest));
                // Where the first reading began is kept too, so that a long stop later on leaves nothing out. Only the
                // second reading knows whether this machine's clock is right.
                begun = self.first.replace(first).map(|_| MessageId(first));
                first
            }
        };
        let live = snowflake_at(now - code_lifetime - SETTLES_WITHIN);
        Plan {
            from,
            window: if self.short { from } else { from.max(live) },
            now,
            known: self.shown.max(self.hinted.filter(|_| self.confirmed)),
            first: begun,
            expected: self.unconfirmed.clone(),
        }
    }

    /// The gateway brought one of our messages; whether the history should be read to see if it shows it too.
    pub fn hint(&mut self, message: MessageId) -> bool {
        self.hinted = self.hinted.max(Some(message));
        self.unconfirmed.insert(message);
        !self.confirmed
    }

    /// A message is about to be removed: the history need not show it any more.
    pub fn removing(&mut self, message: MessageId) {
        self.unconfirmed.remove(&message);
    }

    /// The window was read to its end.
    pub fn window_read(&mut self, plan: &Plan, read: &HashSet<MessageId>) -> Shown {
        self.shown = self.shown.max(read.iter().max().copied());
        self.short = !plan.has_gap() && read.len() < FULL_PAGE;
        let in_window = |id: &&MessageId| id.0 > plan.window && self.unconfirmed.contains(id);
        let lacking = plan.expected.difference(read).any(|id| in_window(&id));
        let confirmed = !plan.expected.is_disjoint(read);
        self.unconfirmed.retain(|id| !plan.expected.contains(id));
        if confirmed {
            (self.confirmed, self.lacking) = (true, 0);
        } else if lacking && read.is_empty() {
            // One message may have been deleted by somebody between the two; nothing at all is a missing permission.
            self.confirmed = false;
            self.lacking += 1;
        }
        if self.lacking >= LACKING_READINGS {
            Shown::Lacking
        } else {
            Shown::Fine
        }
    }

    /// The gap was read to its end.
    pub fn gap_read(&mut self, plan: &Plan, messages: usize) {
        self.shown = self.shown.max(plan.known);
        self.short = messages < FULL_PAGE;
    }

    /// A reading broke off: what lies below the window may have grown.
    pub fn broke_off(&mut self) {
        self.short = false;
    }
}
