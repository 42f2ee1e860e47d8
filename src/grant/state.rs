//! What a grant is: the persisted record of one authorization code, from receipt to closing.
//!
//! Everything here is data. The only code that changes a [`Grant`] is [`Grant::apply`](super::transition).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{CodeHash, GrantId, Lane, MessageId, UserId};
use crate::secret::{AccessToken, AuthorizationCode, RawState};
use crate::time::Timestamp;

/// One authorization code's whole life.
///
/// Serialised only into the sealed part of the store: it holds the code or the token while they are alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Also the idempotency key of its deliveries.
    pub id: GrantId,
    /// Where it came from.
    pub origin: Origin,
    /// When it was journalled, by our clock.
    pub received_at: Timestamp,
    /// When the code expires: the source message's own time plus `code_lifetime`, by Discord's clock.
    pub deadline: Timestamp,
    /// When the relay saw the redirect, by the relay's clock. It only orders; it never expires a code.
    pub redirected_at: Option<Timestamp>,
    /// The keyed hash of the code; `None` for a denial, which has no code.
    pub code_hash: Option<CodeHash>,
    /// What the state token said.
    pub requested: Requested,
    /// Who it belongs to: the fetched user, else the state's.
    pub person: Option<UserId>,
    /// Where it stands.
    pub state: State,
    /// The last calls that failed, the newest last. The store writes them behind the rest: records without them load.
    #[serde(skip)]
    pub failed: Vec<FailedCall>,
}

/// How many failed calls a grant keeps.
pub const FAILED_CALLS: usize = 5;

/// A call that failed. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCall {
    /// When it ended.
    pub at: Timestamp,
    /// Which: a step's name, and for a delivery its sink's.
    pub call: String,
    /// Why, such as `connection_refused` or `http_401`: without a URL or content.
    pub reason: String,
}

/// The place a code was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The lane whose channel and webhook carried it.
    pub lane: Lane,
    /// The source message.
    pub message: MessageId,
    /// Its place in that message, from 0: one message may carry several codes.
    pub index: u16,
}

/// What the `state` parameter asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Requested {
    /// The person the link was made for; `None` where `state.mode = "any"`, or where the state was refused.
    pub user: Option<UserId>,
    /// Index into `state.purposes`.
    pub purpose: Option<u8>,
    /// The signed state's nonce.
    pub nonce: Option<[u8; 8]>,
    /// Whether the link was minted with PKCE.
    pub pkce: bool,
    /// Whether the link replaced one whose code expired or was lost.
    pub again: bool,
    /// The state as it came: the verifier is derived from it, and modes `user_id` and `any` hand it on.
    pub raw: Option<RawState>,
}

/// Where a grant stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The code waits to be presented.
    Received {
        /// The code.
        code: AuthorizationCode,
        /// Earlier presentations, if any.
        presentations: Presentations,
    },
    /// An intent: on disk before the request leaves.
    Exchanging {
        /// The code.
        code: AuthorizationCode,
        /// This presentation included.
        presentations: Presentations,
    },
    /// A token is held; the code is erased.
    Exchanged {
        /// The token.
        token: Token,
        /// Attempts to fetch.
        attempts: Attempts,
        /// Answers of 401 so far: Discord gives them transiently right after an exchange.
        unauthorized: u32,
    },
    /// The outcome is known; deliveries and the revocation are owed independently.
    Settling(Settling),
    /// Everything owed was settled.
    Closed(ClosedGrant),
}

/// How often a code has been presented, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Presentations {
    /// Durable intents so far: the `n` of `Exchanging{n}`.
    pub count: u32,
    /// Complete answers that do not say whether the code was consumed (500, 502, 504, not JSON).
    pub unclear: u32,
    /// Timeouts, cut connections and restarts during the call.
    pub cut_off: u32,
    /// Not before this moment again.
    pub not_before: Timestamp,
}

impl Presentations {
    /// Whether Discord may have consumed the code without our knowing.
    pub fn outcome_unknown(&self) -> bool {
        self.unclear > 0 || self.cut_off > 0
    }
}

/// Attempts at one owed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// When it became owed.
    pub since: Timestamp,
    /// Failed attempts so far.
    pub count: u32,
    /// Not before this moment again.
    pub not_before: Timestamp,
}

impl Attempts {
    /// Owed from now on.
    pub fn owed_since(at: Timestamp) -> Self {
        Self {
            since: at,
            count: 0,
            not_before: at,
        }
    }
}

/// An access token and what it is good for. The refresh token is not kept: revoking either kills both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The access token.
    pub access: AccessToken,
    /// What the person approved.
    pub scopes: Vec<String>,
}

/// A known outcome with what is still owed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settling {
    /// The outcome.
    pub outcome: Outcome,
    /// Why; on all but `completed`.
    pub reason: Option<Reason>,
    /// When the outcome became known: the result's `settled_at`.
    pub settled_at: Timestamp,
    /// The scopes that were granted; empty where no token was received.
    pub scopes: Vec<String>,
    /// Resources that failed for good, by name.
    pub missing: Vec<String>,
    /// Whether fetched data is stored beside the record.
    pub has_data: bool,
    /// One obligation per sink, by the sink's name.
    pub deliveries: BTreeMap<String, Delivery>,
    /// The token's end.
    pub revocation: Revocation,
    /// A fresh link for the person whose code expired or was lost.
    pub invitation: Invitation,
}

/// One sink's obligation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: Attempts,
    /// An earlier attempt's outcome is unknown: the sink may already have it.
    pub uncertain: bool,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// To be made.
    Owed,
    /// Failed for a day, refused, or its sink is gone from the configuration: waits for an operator.
    Parked,
    /// Made.
    Done,
    /// Dropped, or parked for longer than `keep_parked`.
    GaveUp,
}

/// The token's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// No token was ever received.
    NotNeeded,
    /// The token lives: never given up, only spaced out.
    Owed {
        /// The token to revoke.
        token: AccessToken,
        /// Attempts so far.
        attempts: Attempts,
    },
    /// The token is dead.
    Done,
}

/// A fresh link for a person whose code expired or was lost, sent as a direct message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invitation {
    /// None is to be sent.
    #[default]
    NotNeeded,
    /// To be sent, within a minute: results wait for it.
    Owed(Attempts),
    /// Sent.
    Sent,
    /// The person's direct messages are closed.
    Closed,
    /// There was no room for one more link in time.
    NoRoom,
    /// It could not be sent.
    Failed,
}

impl Invitation {
    /// The name used in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotNeeded => "not_needed",
            Self::Owed(_) => "owed",
            Self::Sent => "sent",
            Self::Closed => "closed",
            Self::NoRoom => "no_room",
            Self::Failed => "failed",
        }
    }
}

/// A closed grant: what stays for `closed_retention`. It names no person and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedGrant {
    /// The grant's id.
    pub id: GrantId,
    /// When it was journalled.
    pub received_at: Timestamp,
    /// When its last obligation was settled.
    pub closed_at: Timestamp,
    /// The lane it came through.
    pub lane: Lane,
    /// How it ended.
    pub outcome: Outcome,
    /// Why; on all but `completed`.
    pub reason: Option<Reason>,
}

/// How a grant ended. Stores have the variant's number: a new one comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Exchanged, fetched, and the person was the one who asked.
    Completed,
    /// The person refused.
    Denied,
    /// The code expired before it was presented.
    Expired,
    /// Discord or the state token refused it.
    Refused,
    /// Somebody else approved the link.
    WrongPerson,
    /// The answer to an exchange was lost: Discord may hold a token that nobody has.
    Lost,
    /// A token was received, but the data could not be fetched.
    Failed,
    /// An operator dropped it.
    Dropped,
    /// The same consent was completed by another code. The only outcome that sends no result.
    Duplicate,
}

impl Outcome {
    /// Every outcome, in the order in which tables show them.
    pub const ALL: [Self; 9] = [
        Self::Completed,
        Self::Denied,
        Self::Expired,
        Self::Refused,
        Self::WrongPerson,
        Self::Lost,
        Self::Failed,
        Self::Dropped,
        Self::Duplicate,
    ];

    /// Whether the code expired or was lost, so that its person needs another link.
    pub const fn is_a_dead_code(self) -> bool {
        matches!(self, Self::Expired | Self::Lost)
    }

    /// The name used in results, tables, JSON and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::WrongPerson => "wrong_person",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
            Self::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A short machine-readable cause, such as `invalid_grant` or `state_expired`: 1 to 64 of `[a-z0-9_]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// Keeps a well-formed cause; anything else, which could carry foreign text, becomes `other`.
    pub fn new(text: &str) -> Self {
        let fine = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        Self(if fine { text } else { "other" }.to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl State {
    /// The names of those in which a grant is open.
    pub const OPEN: [&'static str; 4] = ["received", "exchanging", "exchanged", "settling"];

    /// The name used in tables, JSON and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Received { .. } => "received",
            Self::Exchanging { .. } => "exchanging",
            Self::Exchanged { .. } => "exchanged",
            Self::Settling(_) => "settling",
            Self::Closed(_) => "closed",
        }
    }
}

impl Grant {
    /// Whether the code is exchanged or dead, so that its source message is needed no more.
    pub fn is_spent(&self) -> bool {
        !matches!(self.state, State::Received { .. } | State::Exchanging { .. })
    }

    /// Whether a token that may be alive is held.
    pub fn holds_token(&self) -> bool {
        match &self.state {
            State::Exchanged { .. } => true,
            State::Settling(s) => matches!(s.revocation, Revocation::Owed { .. }),
            _ => false,
        }
    }
}
