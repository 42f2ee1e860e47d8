//! A permit: the leave to make one outside call, and the way back of what its answer said. It needs no actor around it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};
use tokio::sync::mpsc::UnboundedSender;

use super::budgets::Reservation;
use super::feedback;
use super::limits::Refused;
use crate::steps::HttpFeedback;

/// The leave to make one outside call. End it with [`complete`](Self::complete) or [`fail`](Self::fail); dropping it means
/// that the call was not made, unless it was [spent](Self::spend) before.
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
}

/// What became of a permit.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) taken: Reservation,
    pub(super) ending: Ending,
}

/// How a permit ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The call was answered.
    Answered(HttpFeedback),
    /// The call was made and brought no answer.
    Unanswered,
    /// The call was not made.
    Unused,
}

impl Permit {
    pub(super) fn new(taken: Reservation, back: UnboundedSender<Return>) -> Self {
        Self {
            inner: Some(Inner { taken, back }),
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

    /// The call was answered: hands the answer's word on limits to the governor.
    pub fn complete(mut self, answer: HttpFeedback) {
        if let Some(inner) = self.inner.take()
            // Most answers say nothing, and what was taken of a plain rate needs no end.
            && (inner.taken.is_on_its_way() || feedback::matters(&answer))
        {
            inner.end(Ending::Answered(answer));
        }
    }

    /// The call was made, or may have been, and brought no answer.
    pub fn fail(mut self) {
        if let Some(inner) = self.inner.take()
            && inner.taken.is_on_its_way()
        {
            inner.end(Ending::Unanswered);
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
            .field(&self.inner.as_ref().map(|inner| inner.taken.want))
            .finish()
    }
}

/// What a request for a permit is answered with.
pub type Answer = Result<Permit, Refused>;

/// An answer now, or a place that will be given one. Unlike a boxed future it tells when the asker has gone.
#[derive(Debug)]
pub enum Reply {
    /// Known at once.
    Now(Answer),
    /// Comes later.
    Later(Slot),
}

impl<A: Actor, M: Message<Result = Answer>> MessageResponse<A, M> for Reply {
    fn handle(self, _: &mut A::Context, asker: Option<OneshotSender<Answer>>) {
        match self {
            Self::Now(answer) => {
                // An asker that has gone drops the permit, which gives it back.
                let _ = asker.map(|asker| asker.send(answer));
            }
            Self::Later(slot) => slot.asked_by(asker),
        }
    }
}

/// A place in which an asker waits.
#[derive(Debug, Clone, Default)]
pub struct Slot(Rc<RefCell<Waiting>>);

#[derive(Debug, Default)]
enum Waiting {
    /// The handler that made it has not returned yet.
    #[default]
    Unasked,
    Asked(OneshotSender<Answer>),
    Answered(Box<Answer>),
    Gone,
}

impl Slot {
    /// Answers the asker, once.
    pub(super) fn answer(&self, answer: Answer) {
        match self.0.replace(Waiting::Gone) {
            Waiting::Unasked => drop(self.0.replace(Waiting::Answered(Box::new(answer)))),
            Waiting::Asked(asker) => drop(asker.send(answer)),
            Waiting::Answered(_) | Waiting::Gone => drop(answer),
        }
    }

    /// Whether nobody waits here any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match &*self.0.borrow() {
            Waiting::Asked(asker) => asker.is_closed(),
            Waiting::Gone => true,
            Waiting::Unasked | Waiting::Answered(_) => false,
        }
    }

    fn asked_by(&self, asker: Option<OneshotSender<Answer>>) {
        let next = asker.map_or(Waiting::Gone, Waiting::Asked);
        if let Waiting::Answered(answer) = self.0.replace(next) {
            self.answer(*answer);
        }
    }
}
