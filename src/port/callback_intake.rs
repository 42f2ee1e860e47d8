//! Where the front hands a good callback: the relay's dispatcher, or the service's own journal.

use std::future::Future;
use std::pin::Pin;

use crate::intake::callback::Callback;

/// Takes callbacks in.
pub trait CallbackIntake: Send + Sync {
    /// Answers once the callback is on the disk, or why it is not.
    fn take(&self, callback: Callback) -> Pin<Box<dyn Future<Output = CallbackAnswer>>>;
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
