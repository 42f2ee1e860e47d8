//! How changes reach the disk: at once; or with the next that must, where nothing depends on them; or, for a code that was
//! just received, together with the intent to present it, so that both take one wait for the disk.
//!
//! The journal still sends nobody work. A receipt is held back only while a stage that has claimed less than it has slots
//! for is about to ask, and that stage asks as it always does. It leaves alone as soon as the stage has to wait for a permit.

use std::time::Duration;

use actix::{AsyncContext, Context, Handler};
use tokio::sync::oneshot;

use super::Journal;
use super::events::GrantEvent;
use super::message::{BeginsLater, JournalError};
use super::open_grants::{Changed, Ended};
use crate::actors::calls::Calls;
use crate::grant::{Reason, Task};
use crate::ids::{GrantId, MessageId};
use crate::metrics;
use crate::store::StoreError;

/// Changes that may wait leave after this at the latest. It bounds what a crash repeats, and a receipt whose stage died.
const AT_THE_LATEST: Duration = Duration::from_millis(50);

type Outcome = Result<(), JournalError>;

/// The changes that are not on the disk yet.
#[derive(Default)]
pub(super) struct Commits {
    /// Those that have left.
    pub(super) under_way: Calls<Committed>,
    /// Those that have not: memory is ahead of the disk by them, in this order.
    gathered: Changed,
    /// Waits for the gathered ones.
    waiting: Vec<oneshot::Sender<Outcome>>,
    /// Beginnings for which a gathered receipt is held back. A count: another grant's beginning in place of the expected one
    /// lets the receipt leave a moment early.
    awaited: usize,
    /// Exchanges that could begin beyond those that were claimed: what the stage asked for last, less what it got.
    free_slots: usize,
    timer_set: bool,
    /// Something has left since this was last asked for.
    has_left: bool,
}

/// What became of a commit.
pub(super) struct Committed {
    /// The grants it touched.
    pub(super) grants: Vec<GrantId>,
    /// The source messages it touched.
    pub(super) source_messages: Vec<MessageId>,
    /// What it tells of.
    pub(super) events: Vec<GrantEvent>,
    pub(super) outcome: Result<(), StoreError>,
    /// Those who wait for it.
    pub(super) waiting: Vec<oneshot::Sender<Outcome>>,
}

/// The answer to a commit.
pub(super) enum Durable {
    /// Nothing has to be waited for.
    Known(Outcome),
    /// Known once the commit is.
    Soon(oneshot::Receiver<Outcome>),
}

impl Durable {
    pub(super) async fn wait(self) -> Outcome {
        let gone = |_| Err(JournalError::Stopping);
        match self {
            Self::Known(outcome) => outcome,
            Self::Soon(answer) => answer.await.unwrap_or_else(gone),
        }
    }
}

impl Commits {
    fn gather(&mut self, changed: Changed) -> Durable {
        let (waiting, answer) = oneshot::channel();
        self.gathered.add(changed);
        self.waiting.push(waiting);
        Durable::Soon(answer)
    }

    /// A stage asked for as many exchanges as it has slots, and was given so many. Those may begin together with the
    /// receipts that are held back; says whether there are any.
    pub(super) fn claimed(&mut self, slots: usize, given: usize) -> bool {
        self.free_slots = slots - given;
        self.awaited = self.awaited.min(given);
        self.awaited > 0
    }

    /// Whether something has left since the last call.
    pub(super) fn has_left(&mut self) -> bool {
        std::mem::take(&mut self.has_left)
    }

    /// The stage died with its slots.
    pub(super) fn expect_no_claim(&mut self) {
        self.free_slots = 0;
    }
}

impl Journal {
    /// Makes changes durable; their grants' tasks are offered afterwards. Those that may wait are answered at once.
    pub(super) fn commit(&mut self, changed: Changed, ctx: &mut Context<Self>) -> Durable {
        self.tell_of(&changed);
        if changed.changes.is_empty() {
            return Durable::Known(self.working());
        }
        if changed.may_wait {
            self.commits.gathered.add(changed);
            self.leave_in_time(ctx);
            return Durable::Known(Ok(()));
        }
        let durable = self.commits.gather(changed);
        self.leave();
        durable
    }

    /// The same for what was received: it is held back for the exchanges of it that can begin at once.
    pub(super) fn commit_receipt(&mut self, changed: Changed, ctx: &mut Context<Self>) -> Durable {
        let now = self.now();
        let expected = if self.may_claim(Task::Exchange) && self.watchers.contains_key(&Task::Exchange) {
            self.commits.free_slots.min(self.open_grants.ready(Task::Exchange, now))
        } else {
            0
        };
        if expected == 0 || changed.changes.is_empty() {
            return self.commit(changed, ctx);
        }
        self.tell_of(&changed);
        self.commits.awaited += expected;
        self.leave_in_time(ctx);
        self.commits.gather(changed)
    }

    /// The same for an exchange that begins, or does not: it leaves with the others for which a receipt is held back.
    pub(super) fn commit_beginning(&mut self, changed: Changed, ctx: &mut Context<Self>) -> Durable {
        if self.commits.awaited <= 1 || changed.changes.is_empty() {
            let durable = self.commit(changed, ctx);
            self.begins_no_more();
            return durable;
        }
        self.commits.awaited -= 1;
        self.tell_of(&changed);
        self.commits.gather(changed)
    }

    /// One of the beginnings for which a receipt is held back does not come now.
    pub(super) fn begins_no_more(&mut self) {
        self.commits.awaited = self.commits.awaited.saturating_sub(1);
        if self.commits.awaited == 0 && !self.commits.waiting.is_empty() {
            self.leave();
        }
    }

    /// Hands everything gathered to the store, as one commit.
    pub(super) fn leave(&mut self) {
        self.commits.awaited = 0;
        let changed = std::mem::take(&mut self.commits.gathered);
        if changed.changes.is_empty() {
            return;
        }
        self.commits.has_left = true;
        let waiting = std::mem::take(&mut self.commits.waiting);
        let durable = self.settings.store.commit(changed.changes);
        self.commits.under_way.start(async move {
            Committed {
                grants: changed.grants,
                source_messages: changed.source_messages,
                events: changed.events,
                outcome: durable.await,
                waiting,
            }
        });
    }

    fn leave_in_time(&mut self, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.commits.timer_set, true) {
            ctx.run_later(AT_THE_LATEST, |journal, _| {
                journal.commits.timer_set = false;
                journal.leave();
            });
        }
    }

    fn tell_of(&mut self, changed: &Changed) {
        for Ended {
            grant,
            outcome,
            reason,
            took,
        } in &changed.ended
        {
            let (outcome, reason) = (outcome.name(), reason.as_ref().map(Reason::as_str));
            tracing::info!(grant.id = %grant, outcome, reason, took_ms = took.as_millis() as u64, "the outcome of a code is known");
        }
        for closed in &changed.closed {
            *self.outcomes.entry(closed.outcome).or_default() += 1;
            metrics::grant_closed(closed.outcome);
            self.recent.closed(closed.outcome, closed.closed_at);
            if let Some(told) = &self.settings.on_closed {
                told(closed);
            }
        }
        for (grant, sink) in &changed.given_up {
            tracing::error!(grant.id = %grant, sink, "a delivery was given up: it had been parked for longer than `journal.keep_parked`");
            metrics::delivery_given_up(sink);
        }
    }
}

impl Handler<BeginsLater> for Journal {
    type Result = ();

    fn handle(&mut self, _: BeginsLater, _: &mut Self::Context) {
        self.begins_no_more();
    }
}
