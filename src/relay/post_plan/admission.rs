//! Which callbacks are taken, and which of them wait behind others.
//!
//! The service hands out as many links as one callback of each can be carried. So the first callback of a link, if it
//! comes in time and takes no more than its share of a message, is posted before all others, and is refused only if too
//! many of its kind wait. Anybody can make up more callbacks for a link of theirs; these are posted when nothing else
//! waits.

use std::time::Duration;

use super::{Now, PostPlan, latest};
use crate::ids::CodeHash;
use crate::intake::callback::{Callback, MOST_PER_LINK};
use crate::intake::gate::WAY;
use crate::intake::v1;
use crate::relay::known::Known;
use crate::relay::queue::{Content, Line, count_codes};

/// Lines that may wait where no limit says less; each takes about a kilobyte. Those that are behind take half of it.
const MOST_WAITING: usize = 10_000;
/// How much of a code's lifetime the service needs: it must see the message and present the code.
const LEFT_TO_SERVICE: Duration = Duration::from_secs(10);

/// What becomes of a callback.
#[derive(Debug, PartialEq, Eq)]
pub enum CallbackAdmission {
    /// It is new and now counts as known; the caller journals it.
    New(Line, Known),
    /// It was taken before.
    Known,
    /// It could not be posted before it expires.
    Busy,
    /// This link has sent too many callbacks.
    TooMany,
}

impl PostPlan {
    /// Decides about a callback.
    pub fn admit(&mut self, callback: Callback, hash: CodeHash, now: Now) -> CallbackAdmission {
        if self.known.contains(hash) {
            return CallbackAdmission::Known;
        }
        let nonce = callback.token.nonce;
        let earlier = self.known.of_link(nonce);
        if earlier >= MOST_PER_LINK {
            return CallbackAdmission::TooMany;
        }
        let token = callback.token;
        let mut line = Line {
            hash,
            lane: token.lane,
            came_at: now.wall,
            deadline: now.wall + self.settings.code_lifetime,
            content: match callback.result {
                Ok(code) => Content::Code(code),
                Err(reason) => Content::Denied(reason),
            },
            state: callback.state,
            behind: false,
            alone: false,
        };
        line.behind = earlier > 0 || now.wall >= token.expires_at + WAY || self.takes_others_room(&line);
        let most = if line.behind { MOST_WAITING / 2 } else { MOST_WAITING };
        if self.waiting() >= most || (line.is_code() && !self.has_room(line.behind, now)) {
            return CallbackAdmission::Busy;
        }
        let until = callback.accepted_until;
        let known = Known { until, nonce };
        self.known.add(hash, known);
        self.take_in_hand([&line]);
        CallbackAdmission::New(line, known)
    }

    /// Whether fewer lines like this one fit into a message than its lane packs.
    fn takes_others_room(&self, line: &Line) -> bool {
        let lane = self.lanes.get(usize::from(line.lane.0)).or(self.lanes.first());
        lane.is_some_and(|lane| !v1::fits(self.settings.bot, &line.redirect(), lane.settings.pack))
    }

    /// Whether one more code can be posted with enough of its lifetime left, after those that go before it.
    fn has_room(&mut self, behind: bool, now: Now) -> bool {
        let life = self.settings.code_lifetime;
        let until = now.moment + life.saturating_sub(LEFT_TO_SERVICE.min(life / 4));
        let mut room = 0;
        let mut counted = vec![false; self.budgets.len()];
        for lane in self.lanes.iter().filter(|lane| lane.out.is_none()) {
            if std::mem::replace(&mut counted[lane.budget], true) {
                continue;
            }
            let from = latest([self.closed_until, lane.held_until]).map_or(now.moment, |at| at.max(now.moment));
            let Some(slots) = self.budgets[lane.budget].slots(from, until) else {
                return from < until;
            };
            room += slots * lane.settings.pack;
        }
        let before = if behind {
            self.codes()
        } else {
            self.queue.codes()[0] + self.in_hand[0]
        };
        before < room
    }

    pub(super) fn take_in_hand<'a>(&mut self, lines: impl IntoIterator<Item = &'a Line>) {
        let [first, behind] = count_codes(lines);
        self.in_hand = [self.in_hand[0] + first, self.in_hand[1] + behind];
    }

    pub(super) fn put_down<'a>(&mut self, lines: impl IntoIterator<Item = &'a Line>) {
        let [first, behind] = count_codes(lines);
        self.in_hand = [self.in_hand[0] - first, self.in_hand[1] - behind];
    }
}
