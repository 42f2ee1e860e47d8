//! The journal's messages.

use std::marker::PhantomData;
use std::time::Duration;

use actix::{Message, Recipient};

use super::open_grants::{Appended, Begun, Carried};
use crate::grant::{Event, Task};
use crate::ids::{ChannelId, GrantId, Lane, MessageId};
use crate::intake::gate::GateRules;
use crate::intake::mint::{Link, Wanted};
use crate::port::contact::NoLink;
use crate::secret::PersonalData;
use crate::steps::Step;
use crate::store::{SourceMessage, StoreError};
use crate::time::Timestamp;

/// Why the journal did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The store failed; the process is about to end.
    #[error("the store failed: {0}")]
    Store(StoreError),
    /// `journal.max_open` grants are open; codes stay in the channel.
    #[error("the journal is full (`journal.max_open`)")]
    Full,
    /// The journal's disk is nearly full; codes stay in the channel, so that what is open can still end.
    #[error("the journal's disk is nearly full")]
    NoRoom,
    /// The service drains, or is closed.
    #[error("the service is stopping: ask again when it runs")]
    Stopping,
    /// It cannot happen to that grant.
    #[error("{0}")]
    Refused(String),
}

impl From<JournalError> for NoLink {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Stopping | JournalError::Store(StoreError::Closed) => Self::Stopping,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Stores what source messages brought, in this order and as many as have room; answered once they are durable.
#[derive(Message)]
#[rtype(result = "Result<Appended, JournalError>")]
pub struct Append(pub Vec<Carried>);

/// Asks for a link; answered once the place it holds is durable.
#[derive(Message)]
#[rtype(result = "Result<Link, NoLink>")]
pub struct Mint(pub Wanted);

/// Other limits for links, from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetGate(pub GateRules);

/// Whether a lane can carry codes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LaneWorks {
    /// The lane.
    pub lane: Lane,
    /// What is wrong with it; `None` where it works.
    pub trouble: Option<String>,
}

/// Asks for as much work as there are free slots.
#[derive(Message)]
#[rtype(result = "Result<Vec<Lease<S::Work>>, JournalError>")]
pub struct Claim<S: Step> {
    /// Which task.
    pub task: Task,
    /// Free slots.
    pub slots: usize,
    /// The step that decides the type of the work.
    pub step: PhantomData<fn() -> S>,
}

/// A stage's exclusive hold on a grant for one step.
#[derive(Debug)]
pub struct Lease<W> {
    /// The grant.
    pub grant: GrantId,
    /// The task.
    pub task: Task,
    /// What the step needs to know.
    pub work: W,
    /// A receipt is held back until this has begun, or is said to [begin later](BeginsLater).
    pub at_once: bool,
}

/// An exchange whose lease was to begin at once has to wait for its permit; a receipt must not.
#[derive(Message)]
#[rtype(result = "()")]
pub struct BeginsLater;

/// Asks whether a claimed step may begin; durable for an exchange.
#[derive(Message)]
#[rtype(result = "Result<Begun, JournalError>")]
pub struct Begin {
    /// The grant.
    pub grant: GrantId,
    /// The task.
    pub task: Task,
}

/// What a step came to.
#[derive(Message)]
#[rtype(result = "Result<Reported, JournalError>")]
pub struct Report {
    /// The grant.
    pub grant: GrantId,
    /// The task.
    pub task: Task,
    /// What happened.
    pub event: Event,
    /// The data that a fetch brought.
    pub data: Option<PersonalData>,
    /// Why the call failed, where it did.
    pub failed: Option<String>,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It is kept, and durable where something depends on it.
    Kept,
    /// The grant had moved on: a token in the report must be revoked by who holds it.
    TooLate,
}

/// Gives a lease back.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Release {
    /// The grant.
    pub grant: GrantId,
    /// The task.
    pub task: Task,
}

/// Gives back every lease of a stage that died.
#[derive(Message)]
#[rtype(result = "Result<(), JournalError>")]
pub struct ReleaseStage(pub Task);

/// Registers a stage to be told of work.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Watch {
    /// Of this kind.
    pub task: Task,
    /// The stage.
    pub who: Recipient<WorkAvailable>,
}

/// There may be work. It may be lost: a poll every second covers it.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct WorkAvailable;

/// Asks for source messages whose removal is owed, this many at most.
#[derive(Message)]
#[rtype(result = "Vec<SourceMessage>")]
pub struct ClaimRemovals(pub usize);

/// What became of a removal.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Removed {
    /// The message.
    pub message: MessageId,
    /// To be tried again after this; `None` where it is settled.
    pub again_in: Option<Duration>,
}

/// A channel's history was read without a gap up to this message.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MoveCursor {
    /// The channel.
    pub channel: ChannelId,
    /// The highest id read.
    pub read_to: MessageId,
}

/// Asks how far a channel's history has been read.
#[derive(Message)]
#[rtype(result = "Position")]
pub struct Cursor(pub ChannelId);

/// How far a channel's history has been read.
#[derive(Debug, Clone, Copy, actix::MessageResponse)]
pub struct Position {
    /// Without a gap up to this message; `None` before the first reading.
    pub read_to: Option<MessageId>,
    /// The moment by Discord's clock, by which message ids are made.
    pub now: Timestamp,
}

/// The application's credentials work again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ResumeExchange;

/// Whether exchanges are paused because the application's credentials were refused.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Stalled;

/// An operator's command for one grant.
#[derive(Message)]
#[rtype(result = "Result<(), JournalError>")]
pub struct Operate {
    /// The grant.
    pub grant: GrantId,
    /// `Requeued` or `Dropped`.
    pub event: Event,
}

/// Asks what is still under way.
#[derive(Message)]
#[rtype(result = "Outstanding")]
pub struct OutstandingWork;

/// What is still under way.
#[derive(Debug, actix::MessageResponse)]
pub struct Outstanding {
    /// Grants that hold a token, or may be given one by an exchange under way.
    pub tokens: usize,
    /// Steps under way.
    pub steps: usize,
    /// Entries of the journal's indexes; see [`OpenGrants::indexed`](super::open_grants::OpenGrants::indexed).
    pub indexed: usize,
    /// The store's error, if it failed.
    pub failed: Option<StoreError>,
}

/// No code is claimed any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Ends the store cleanly; nothing may be asked afterwards.
#[derive(Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct Close;
