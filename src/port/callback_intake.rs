//! Where the front hands a good callback: the relay's dispatcher, or the service's own journal.

use std::future::Future;
use std::pin::Pin;

use crate::intake::callback::Callback;

/// Takes callbacks in.
pub trait CallbackIntake: Send + Sync {
    /// Answers once the callback is on the disk, or why it is not.
    fn take(&self, callback: Callback) -> Pin<Box<dyn Future<Output = CallbackAnswer>>>;

    /// Answers once it is known how this callback's code ended; `None` where that cannot be known here. To be awaited once
    /// the callback was taken.
    fn ending(&self, _callback: &Callback) -> Pin<Box<dyn Future<Output = Option<Ending>>>> {
        Box::pin(std::future::ready(None))
    }
}

/// How a sign-in ended, for the person who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It completed.
    Completed,
    /// Somebody else approved than the user for whom the link was made.
    WrongPerson,
    /// It ended in any other way.
    Failed,
}

/// What became of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackAnswer {
    /// It is on the disk, now or since it first came.
    Safe,
    /// It could not be carried in its life, and was not kept.
    Busy,
    /// Too much came from its link.
    TooMany,
    /// The journal does not work.
    Failed,
}
