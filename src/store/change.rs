//! What the journal asks of a store: typed changes, and what a store gives back when it is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::durable::Kind;
use crate::grant::{ClosedGrant, Grant, State};
use crate::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId};
use crate::intake::gate::{Account, GateChange, HeldPlace};
use crate::secret::PersonalData;
use crate::time::Timestamp;

/// One durable change. A batch of them becomes one transaction.
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes an open grant's record, sealed.
    PutGrant(Arc<Grant>),
    /// Writes the data fetched for an open grant, sealed, in pieces.
    PutData {
        /// The grant it belongs to.
        grant: GrantId,
        /// The resources as one JSON object.
        data: PersonalData,
    },
    /// Replaces an open grant's record and data by what stays of it.
    Close(ClosedGrant),
    /// Writes a source message's record.
    PutSourceMessage(SourceMessage),
    /// Forgets a source message whose removal is settled.
    RemoveSourceMessage(MessageId),
    /// Remembers that a message was read.
    SeeMessage(SeenMessage),
    /// Remembers that a code was read.
    SeeCode(SeenCode),
    /// Forgets messages and codes that no history reading can bring back.
    Forget {
        /// Messages to forget.
        messages: Vec<MessageId>,
        /// Codes to forget.
        codes: Vec<CodeHash>,
        /// Nonces to forget.
        nonces: Vec<[u8; 8]>,
    },
    /// Remembers a completed state token.
    UseNonce(UsedNonce),
    /// Remembers, or forgets, an outstanding link or a user who asked for one.
    Gate(GateChange),
    /// Moves a channel's history cursor.
    MoveCursor {
        /// The channel.
        channel: ChannelId,
        /// The highest id up to which the history was read without a gap.
        read_to: MessageId,
    },
    /// Replaces a budget's send times of the last minute.
    PutSpending {
        /// The budget's key: the channel of a `webhook` budget.
        channel: ChannelId,
        /// The reserved send times, oldest first, at most 60.
        sent_at: Vec<Timestamp>,
    },
}

impl Kind for Change {
    fn kind(&self) -> &'static str {
        match self {
            Self::PutGrant(grant) => match grant.state {
                State::Received { .. } => "code",
                State::Exchanging { .. } => "intent",
                State::Exchanged { .. } => "token",
                State::Settling(_) => "settle",
                State::Closed(_) => "close",
            },
            Self::PutData { .. } => "data",
            Self::Close(_) => "close",
            Self::PutSourceMessage(_) | Self::RemoveSourceMessage(_) => "source_message",
            Self::SeeMessage(_) | Self::SeeCode(_) => "receive",
            Self::Forget { .. } => "forget",
            Self::UseNonce(_) => "nonce",
            Self::Gate(_) => "link",
            Self::MoveCursor { .. } => "cursor",
            Self::PutSpending { .. } => "spending",
        }
    }
}

/// One source message: the channel is the second copy of its codes until they are spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMessage {
    /// The message.
    pub message: MessageId,
    /// Its lane.
    pub lane: Lane,
    /// Its channel, which stays true when lanes are renumbered.
    pub channel: ChannelId,
    /// Grants from it that are not yet exchanged or dead.
    pub unspent: u16,
    /// Failed attempts to remove it.
    pub attempts: u32,
    /// Not before this moment again.
    pub not_before: Timestamp,
}

/// A message that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenMessage {
    /// The message.
    pub message: MessageId,
    /// Its channel: it may be forgotten only once that channel's cursor has passed it.
    pub channel: ChannelId,
}

/// A code that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenCode {
    /// Its keyed hash.
    pub hash: CodeHash,
    /// The message that brought it first.
    pub message: MessageId,
    /// That message's channel.
    pub channel: ChannelId,
}

/// A state token's nonce that has completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedNonce {
    /// The nonce.
    pub nonce: [u8; 8],
    /// It may be forgotten after this moment.
    pub keep_until: Timestamp,
}

/// Everything an opened store holds that the journal keeps in memory. Fetched data and closed grants stay on disk.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Open grants, in no particular order.
    pub grants: Vec<Grant>,
    /// Source messages whose removal is not settled.
    pub source_messages: Vec<SourceMessage>,
    /// Messages that were read.
    pub messages: Vec<SeenMessage>,
    /// Codes that were read.
    pub codes: Vec<SeenCode>,
    /// Completed nonces.
    pub nonces: Vec<UsedNonce>,
    /// Links that are outstanding.
    pub places: Vec<HeldPlace>,
    /// Users who asked for links, and the places that are kept for them.
    pub accounts: Vec<Account>,
    /// History cursors.
    pub cursors: BTreeMap<ChannelId, MessageId>,
    /// Budget spending.
    pub spending: BTreeMap<ChannelId, Vec<Timestamp>>,
    /// Closed grants that are kept.
    pub closed: u64,
}

/// Something that `debug verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A short name, such as `envelope`, `seal`, `digest`, `high_water_mark`, `index`.
    pub kind: String,
    /// The tree and key it concerns, in hexadecimal.
    pub key: String,
    /// What is wrong, without content.
    pub detail: String,
}
