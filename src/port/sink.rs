//! What a sink is given and what it answers.

use futures_util::future::LocalBoxFuture;

use super::later::Later;
use crate::ids::{ChannelId, GrantId, UserId};
use crate::port::permit::Permit;
use crate::secret::PersonalData;
use crate::time::Timestamp;

/// One result for one sink.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The grant's id, which is also the idempotency key.
    pub id: GrantId,
    /// `authorization.<outcome>`.
    pub kind: String,
    /// The result as one line of JSON.
    pub body: PersonalData,
    /// Who it is about, where that is known.
    pub user: Option<UserId>,
    /// When the outcome became known: no attempt is older.
    pub settled_at: Timestamp,
    /// An earlier attempt's outcome is unknown: the sink may already have it.
    pub uncertain: bool,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryAnswer {
    /// The sink has it.
    Delivered,
    /// Not now.
    Later {
        /// When again, and why.
        later: Later,
        /// The sink may have it all the same.
        uncertain: bool,
    },
    /// The sink will never take it.
    Refused {
        /// Why, for the log.
        reason: String,
    },
}

/// A place where results go.
pub trait Sink {
    /// The channel whose webhook budget a delivery spends; `None` where no limit of Discord's is touched.
    fn channel(&self) -> Option<ChannelId> {
        None
    }

    /// Opens again what it holds open: a file may have been moved away.
    fn reopen(&self) {}

    /// Makes one delivery. The permit is completed with what the answer said.
    fn deliver<'a>(&'a self, delivery: &'a Delivery, permit: Permit) -> LocalBoxFuture<'a, DeliveryAnswer>;
}
