//! The service's tables, and which key each of its records has. Everything here is a stored format: it must load for ever.

use serde::{Deserialize, Serialize};

use super::change::{SeenCode, SeenMessage, SourceMessage, UsedNonce};
use super::closed::Mark;
use super::keys::hour_of;
use super::records::Record;
pub use super::records::Table;
use crate::grant::{ClosedGrant, FailedCall, Grant};
use crate::ids::{ChannelId, GrantId, MessageId};
use crate::intake::gate::{Account, HeldPlace};
use crate::time::Timestamp;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Table = Table { id: $id, name: $text };)*

        /// All of them.
        pub const ALL: &[Table] = &[$($name),*];
    };
}

tables! {
    /// Grant: the data fetched for an open one, sealed.
    DATA = b'd', "data";
    /// Grant: an open one, sealed.
    GRANTS = b'g', "grants";
    /// Grant: one that has closed and is not in the closed log yet.
    CLOSED = b'c', "closed";
    /// Hour: what of the closed log was acknowledged.
    CLOSED_MARKS = b'l', "closed_marks";
    /// Code hash: the message that brought it.
    CODES = b'h', "codes";
    /// Message: it was read.
    MESSAGES = b's', "messages";
    /// Message: a source message.
    SOURCE_MESSAGES = b'm', "source_messages";
    /// Nonce: until when it is kept.
    NONCES = b'n', "nonces";
    /// Nonce: a link that is outstanding.
    PLACES = b'p', "places";
    /// User: who asked for links, and the place that is kept.
    ACCOUNTS = b'a', "accounts";
    /// Channel: how far its history was read.
    CURSORS = b'r', "cursors";
    /// Channel: spent slots of its budget.
    SPENDING = b'b', "spending";
    /// Not written any more, and passed over: when sessions of the gateway were begun.
    IDENTIFIES = b'i', "identifies";
}

/// How far a channel's history was read.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub channel: ChannelId,
    pub read_to: MessageId,
}

/// A budget's send times of the last minute.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spending {
    pub channel: ChannelId,
    pub sent_at: Vec<Timestamp>,
}

/// What of the closed log was acknowledged in one hour.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedMark {
    pub hour: i64,
    pub mark: Mark,
}

/// The key of a grant's records.
pub fn grant_key(id: GrantId) -> [u8; 16] {
    id.0.to_bytes()
}

/// The grant of a key.
pub fn grant_of(key: &[u8]) -> Option<GrantId> {
    let bytes = key.try_into().ok()?;
    Some(GrantId(ulid::Ulid::from_bytes(bytes)))
}

impl Record for Grant {
    const TABLE: Table = GRANTS;
    fn key(&self) -> Vec<u8> {
        grant_key(self.id).to_vec()
    }
    /// The failed calls follow where there are any: a record from before they were kept has none.
    fn write(&self, to: Vec<u8>) -> postcard::Result<Vec<u8>> {
        let bytes = postcard::to_extend(self, to)?;
        if self.failed.is_empty() {
            return Ok(bytes);
        }
        postcard::to_extend(&self.failed, bytes)
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        let (mut grant, rest): (Self, _) = postcard::take_from_bytes(bytes).ok()?;
        if !rest.is_empty() {
            let (failed, rest): (Vec<FailedCall>, _) = postcard::take_from_bytes(rest).ok()?;
            // Written by no version: one record has one form.
            if failed.is_empty() || !rest.is_empty() {
                return None;
            }
            grant.failed = failed;
        }
        Some(grant)
    }
    fn hour(&self) -> Option<i64> {
        Some(hour_of(self.received_at))
    }
}

/// Records that hold nothing secret, each with its table and key.
macro_rules! plain {
    ($($name:ident in $table:ident under |$record:ident| $key:expr;)*) => {$(
        impl Record for $name {
            const TABLE: Table = $table;
            fn key(&self) -> Vec<u8> {
                let $record = self;
                $key.into()
            }
        }
    )*};
}

plain! {
    ClosedGrant in CLOSED under |closed| grant_key(closed.id);
    SeenCode in CODES under |seen| seen.hash.0;
    SeenMessage in MESSAGES under |seen| seen.message.0.to_be_bytes();
    SourceMessage in SOURCE_MESSAGES under |source| source.message.0.to_be_bytes();
    UsedNonce in NONCES under |used| used.nonce;
    HeldPlace in PLACES under |place| place.token.nonce;
    Account in ACCOUNTS under |account| account.user.0.to_be_bytes();
    ClosedMark in CLOSED_MARKS under |mark| mark.hour.to_be_bytes();
    Cursor in CURSORS under |cursor| cursor.channel.0.to_be_bytes();
    Spending in SPENDING under |spending| spending.channel.0.to_be_bytes();
}
