//! A permit: permission for one outbound call, which returns the rate-limit headers that it saw. It knows no actor.

use std::fmt;

use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc::UnboundedSender;

use super::discord_time;
use crate::ids::ChannelId;
use crate::rate::budgets::Reservation;
use crate::rate::feedback::{self, HttpFeedback};
use crate::rate::limits::Need;
use crate::time::{SharedClock, Timestamp};

/// Permission for one outbound call. End it with [`settle`](Self::settle); dropping it means that the call was not made,
/// unless it was [spent](Self::spend) before.
#[must_use = "dropping a permit gives it back unused"]
pub struct Permit {
    /// Gone once it is ended; never there for a permit that is bound to no governor.
    inner: Option<Inner>,
    /// The call is being made: from then on a caller that is gone, by a panic or with its stage, has used it.
    spent: bool,
}

struct Inner {
    taken: Reservation,
    // Unbounded, but at most one message for each permit that is out.
    back: UnboundedSender<Return>,
    clock: SharedClock,
}

/// What became of a permit.
#[derive(Debug)]
pub struct Return {
    /// What it held.
    pub taken: Reservation,
    /// How it ended.
    pub ending: Ending,
}

/// How a permit ended.
#[derive(Debug)]
pub enum Ending {
    /// The call was answered.
    Answered(HttpFeedback),
    /// The call was made and brought no answer.
    Unanswered,
    /// The call was not made.
    Unused,
}

impl Permit {
    /// A permit for what was taken; what becomes of it is sent back, and the answer sets the clock.
    pub fn new(taken: Reservation, back: UnboundedSender<Return>, clock: SharedClock) -> Self {
        Self {
            inner: Some(Inner { taken, back, clock }),
            spent: false,
        }
    }

    /// A permit of no governor, for calls that no budget holds and for fakes.
    pub fn unlimited() -> Self {
        Self {
            inner: None,
            spent: false,
        }
    }

    /// The call is about to be made: whatever becomes of the caller, it counts.
    pub fn spend(&mut self) {
        self.spent = true;
    }

    /// Ends it with what an answer said, or without one where the call was made, or may have been, and brought none.
    pub fn settle(mut self, feedback: Option<HttpFeedback>) {
        let Some(inner) = self.inner.take() else { return };
        if let Some(answer) = &feedback {
            discord_time::correct(&*inner.clock, answer);
        }
        let on_its_way = inner.taken.is_on_its_way();
        match feedback {
            // Most answers say nothing, and what was taken of a plain rate needs no end.
            Some(answer) if on_its_way || feedback::matters(&answer) => inner.end(Ending::Answered(answer)),
            None if on_its_way => inner.end(Ending::Unanswered),
            _ => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take()
            && inner.taken.is_something()
        {
            inner.end(if self.spent { Ending::Unanswered } else { Ending::Unused });
        }
    }
}

impl Inner {
    fn end(self, ending: Ending) {
        // A governor that is gone keeps no books.
        let _ = self.back.send(Return {
            taken: self.taken,
            ending,
        });
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit")
            .field(&self.inner.as_ref().map(|inner| inner.taken.need))
            .finish()
    }
}

/// What a request for a permit is answered with; the error: its slot could not be made durable, so the post must not leave.
pub type PermitAnswer = Result<Permit, LedgerError>;

/// Where a step gets the permits that it needs beyond its first.
pub trait Permits {
    /// Waits for a permit; `None` where there can be none.
    fn acquire(&self, need: Need) -> LocalBoxFuture<'_, Option<Permit>>;
}

/// A ledger that could not store what was spent.
#[derive(Debug, thiserror::Error)]
#[error("spending was not stored")]
pub struct LedgerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Where the send times of webhook budgets become durable before each post.
pub trait SpendingLedger {
    /// Replaces a channel's send times; answers once they are on disk. Never called twice at once for one channel.
    fn persist(&self, channel: ChannelId, sent_at: Vec<Timestamp>) -> LocalBoxFuture<'static, Result<(), LedgerError>>;
}
