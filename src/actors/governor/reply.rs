//! Answers to requests for permits: at once, or later through a slot that knows whether the asker is still there.

use std::cell::RefCell;
use std::rc::Rc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Message};

use crate::port::permit::PermitAnswer;

/// An answer now, or a place that will be given one. Unlike a boxed future it tells when the asker has gone.
#[derive(Debug)]
pub enum Reply {
    /// Known at once.
    Now(PermitAnswer),
    /// Comes later.
    Later(Slot),
}

impl<A: Actor, M: Message<Result = PermitAnswer>> MessageResponse<A, M> for Reply {
    fn handle(self, _: &mut A::Context, asker: Option<OneshotSender<PermitAnswer>>) {
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
    Asked(OneshotSender<PermitAnswer>),
    Answered(Box<PermitAnswer>),
    Gone,
}

impl Slot {
    /// Answers the asker, once.
    pub(super) fn answer(&self, answer: PermitAnswer) {
        match self.0.replace(Waiting::Gone) {
            Waiting::Unasked => drop(self.0.replace(Waiting::Answered(Box::new(answer)))),
            Waiting::Asked(asker) => drop(asker.send(answer)),
            Waiting::Answered(_) | Waiting::Gone => drop(answer),
        }
    }

    /// Whether the asker is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        match &*self.0.borrow() {
            Waiting::Asked(asker) => asker.is_closed(),
            Waiting::Gone => true,
            Waiting::Unasked | Waiting::Answered(_) => false,
        }
    }

    fn asked_by(&self, asker: Option<OneshotSender<PermitAnswer>>) {
        let next = asker.map_or(Waiting::Gone, Waiting::Asked);
        if let Waiting::Answered(answer) = self.0.replace(next) {
            self.answer(*answer);
        }
    }
}
