//! What can happen to a grant, and the error of an event that cannot happen where the grant stands.

use std::time::Duration;

use super::state::{Invitation, Reason, Token};
use crate::ids::{GrantId, UserId};

/// Something that happened to a grant. Its fields are what the transition needs to know, nothing else.
#[derive(Debug, Clone)]
pub enum Event {
    /// The intent to present the code is being written.
    Began,
    /// The connection was never opened; the code was surely not presented.
    NotSent,
    /// 429, or 503 with `Retry-After`: the request was not processed.
    Deferred {
        /// What the answer asked to wait.
        after: Option<Duration>,
    },
    /// A complete answer that does not say whether the code was consumed.
    Unclear,
    /// Success without a token that could be read: the code is consumed.
    Unreadable,
    /// A timeout or a cut connection: the code may have been consumed.
    CutOff,
    /// The process ended during the call.
    FoundAtStart,
    /// A token was received.
    Exchanged(Token),
    /// The authorization server refused the code.
    Refused(Reason),
    /// The authorization server refused our own credentials; the code was not looked at.
    CredentialsRefused,
    /// The code's life ended before it was presented with success.
    Expired,
    /// Another code of the same consent was completed.
    Superseded,
    /// The resource server answered 401.
    Unauthorized,
    /// Fetching failed in a way that may pass.
    FetchDeferred {
        /// What the answer asked to wait.
        after: Option<Duration>,
    },
    /// The user resource was refused for good.
    FetchRefused(Reason),
    /// The data was fetched.
    Fetched {
        /// Who the token belongs to.
        person: UserId,
        /// Names of resources that failed for good.
        missing: Vec<String>,
    },
    /// A sink has the result.
    Delivered {
        /// Which.
        sink: String,
    },
    /// A delivery failed in a way that may pass.
    DeliveryFailed {
        /// Which sink.
        sink: String,
        /// What the answer asked to wait.
        after: Option<Duration>,
        /// The sink may have the result all the same.
        uncertain: bool,
    },
    /// A sink will never take this result.
    DeliveryRefused {
        /// Which.
        sink: String,
    },
    /// An operator requeues parked deliveries.
    Requeued {
        /// One sink, or all.
        sink: Option<String>,
    },
    /// The token is dead.
    Revoked,
    /// Revoking failed; it stays owed.
    RevocationFailed {
        /// What the answer asked to wait.
        after: Option<Duration>,
    },
    /// The person has a message with a fresh link.
    Invited,
    /// The message could not be sent yet.
    InvitationDeferred {
        /// What was asked to wait.
        after: Option<Duration>,
        /// The outcome where no time is left.
        or: Uninvited,
    },
    /// The message will never be sent.
    InvitationRefused(Uninvited),
    /// An operator dropped the grant.
    Dropped,
    /// Time passed, or the configuration changed: parks what has no sink, gives up what was parked for too long.
    Aged,
}

impl Event {
    /// Whether a call failed, so that it is made again.
    pub const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::NotSent
                | Self::Deferred { .. }
                | Self::Unclear
                | Self::CutOff
                | Self::Unreadable
                | Self::CredentialsRefused
                | Self::Unauthorized
                | Self::FetchDeferred { .. }
                | Self::DeliveryFailed { .. }
                | Self::DeliveryRefused { .. }
                | Self::RevocationFailed { .. }
                | Self::InvitationDeferred { .. }
        )
    }

    /// The name used in errors and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::NotSent => "not_sent",
            Self::Deferred { .. } => "deferred",
            Self::Unclear => "unclear",
            Self::Unreadable => "unreadable",
            Self::CutOff => "cut_off",
            Self::FoundAtStart => "found_at_start",
            Self::Exchanged(_) => "exchanged",
            Self::Refused(_) => "refused",
            Self::CredentialsRefused => "credentials_refused",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
            Self::Unauthorized => "unauthorized",
            Self::FetchDeferred { .. } => "fetch_deferred",
            Self::FetchRefused(_) => "fetch_refused",
            Self::Fetched { .. } => "fetched",
            Self::Delivered { .. } => "delivered",
            Self::DeliveryFailed { .. } => "delivery_failed",
            Self::DeliveryRefused { .. } => "delivery_refused",
            Self::Requeued { .. } => "requeued",
            Self::Revoked => "revoked",
            Self::RevocationFailed { .. } => "revocation_failed",
            Self::Invited => "invited",
            Self::InvitationDeferred { .. } => "invitation_deferred",
            Self::InvitationRefused(_) => "invitation_refused",
            Self::Dropped => "dropped",
            Self::Aged => "aged",
        }
    }
}

/// Why no fresh link was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uninvited {
    /// The person's direct messages are closed.
    Closed,
    /// There was no room for one more link.
    NoRoom,
    /// It could not be sent.
    Failed,
}

impl From<Uninvited> for Invitation {
    fn from(why: Uninvited) -> Self {
        match why {
            Uninvited::Closed => Self::Closed,
            Uninvited::NoRoom => Self::NoRoom,
            Uninvited::Failed => Self::Failed,
        }
    }
}

/// An event that cannot happen where the grant stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event `{event}` is not possible for grant {grant} in state `{state}`")]
pub struct IllegalTransition {
    /// The grant.
    pub grant: GrantId,
    /// Where it stands.
    pub state: &'static str,
    /// What was reported.
    pub event: &'static str,
}
