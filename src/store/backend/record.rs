//! Tables, keys and the bytes of each record. Everything here is a stored format: version 1 must load for ever.
//!
//! All tables live in one sled tree, told apart by the first byte of the key, so that one atomic batch covers them.
//! A key is table, record key, number of the piece (2 bytes); integers are big-endian, so keys sort as numbers do.

use crate::grant::{ClosedGrant, Grant, Outcome, Reason};
use crate::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, UserId};
use crate::intake::gate::HeldPlace;
use crate::intake::state::StateToken;
use crate::store::change::{SeenCode, SeenMessage, SourceMessage, UsedNonce};
use crate::store::seal::RecordAddress;
use crate::time::Timestamp;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $text:literal, $width:expr;)*) => {
        /// A kind of record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub(super) enum Table { $($(#[$doc])* $name = $byte,)* }

        impl Table {
            /// The table of a key's first byte.
            fn of(byte: u8) -> Option<Self> {
                match byte { $($byte => Some(Self::$name),)* _ => None }
            }

            /// The name bound into every envelope.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The length of a record key.
            const fn width(self) -> usize {
                match self { $(Self::$name => $width,)* }
            }
        }
    };
}

tables! {
    /// Commit number, digest and counts; not counted in the digest itself.
    Meta = b'!', "meta", 0;
    /// Channel: spent slots of its budget.
    Spending = b'b', "spending", 8;
    /// Grant: what stays of a closed one, as version 1 kept it.
    Closed = b'c', "closed", 16;
    /// Grant: fetched data, sealed.
    Data = b'd', "data", 16;
    /// Grant: an open one's record, sealed.
    Grants = b'g', "grants", 16;
    /// Code hash: the message that brought it.
    Codes = b'h', "codes", 16;
    /// IDENTIFYs of the last day.
    Identifies = b'i', "identifies", 0;
    /// The newest closed grants, and what was swept.
    Tail = b'k', "closed_tail", 0;
    /// Number of a file of closed grants: what it must be.
    Segments = b'l', "closed_segments", 8;
    /// Message: a source message.
    SourceMessages = b'm', "source_messages", 8;
    /// Nonce: until when it is kept.
    Nonces = b'n', "nonces", 8;
    /// Nonce: a link that is outstanding.
    Places = b'p', "places", 8;
    /// Channel: how far its history was read.
    Cursors = b'r', "cursors", 8;
    /// Message: it was read.
    Messages = b's', "messages", 8;
    /// Time of closing, then grant: version 1's order of forgetting.
    ClosedAt = b't', "closed_at", 24;
}

/// A record's address: its table and key, without the number of a piece.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    pub table: Table,
    pub key: Vec<u8>,
}

impl Address {
    pub fn new(table: Table, key: impl Into<Vec<u8>>) -> Self {
        let key = key.into();
        debug_assert_eq!(key.len(), table.width());
        Self { table, key }
    }

    pub fn grant(table: Table, id: GrantId) -> Self {
        Self::new(table, id.0.to_bytes())
    }

    pub fn closed_at(closed: &ClosedGrant) -> Self {
        Self::new(
            Table::ClosedAt,
            [&sortable(closed.closed_at)[..], &closed.id.0.to_bytes()].concat(),
        )
    }

    pub fn segment(number: u64) -> Self {
        Self::new(Table::Segments, number.to_be_bytes())
    }

    pub fn channel(table: Table, channel: ChannelId) -> Self {
        Self::new(table, channel.0.to_be_bytes())
    }

    pub fn message(table: Table, message: MessageId) -> Self {
        Self::new(table, message.0.to_be_bytes())
    }

    /// The key of one piece, as sled has it.
    pub fn piece(&self, n: u16) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.key.len() + 3);
        key.push(self.table as u8);
        key.extend_from_slice(&self.key);
        key.extend_from_slice(&n.to_be_bytes());
        key
    }

    /// Takes a sled key apart; `None` where no version of this program could have written it.
    pub fn parse(key: &[u8]) -> Option<(Self, u16)> {
        let (first, rest) = key.split_first()?;
        let table = Table::of(*first)?;
        let (key, piece) = rest.split_last_chunk::<2>()?;
        (key.len() == table.width()).then(|| (Self::new(table, key), u16::from_be_bytes(*piece)))
    }

    /// Where an envelope says it belongs.
    pub fn place<'k>(&self, key: &'k [u8]) -> RecordAddress<'k> {
        RecordAddress {
            table: self.table.name(),
            key,
        }
    }

    /// The grant of a record of the tables that are keyed by grant.
    pub fn grant_id(&self) -> Option<GrantId> {
        let bytes = match self.table {
            Table::ClosedAt => self.key.get(8..)?,
            _ => &self.key[..],
        };
        bytes
            .try_into()
            .ok()
            .map(|bytes| GrantId(ulid::Ulid::from_bytes(bytes)))
    }

    /// The number in the key of the tables that are keyed by one.
    pub fn number(&self) -> Option<u64> {
        self.key.as_slice().try_into().ok().map(u64::from_be_bytes)
    }
}

/// A moment as bytes that sort in time, before 1970 too.
pub(super) fn sortable(at: Timestamp) -> [u8; 8] {
    (at.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

pub(super) fn unsortable(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_millis((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

/// The bytes of a grant; they hold secrets.
pub(super) fn encode_grant(grant: &Grant) -> Vec<u8> {
    json(grant)
}

pub(super) fn decode_grant(bytes: &[u8]) -> Option<Grant> {
    serde_json::from_slice(bytes).ok()
}

/// A closed grant as version 1 kept it: times, lane and outcome, then the cause. The id is in the key.
pub(super) fn decode_closed(address: &Address, bytes: &[u8]) -> Option<ClosedGrant> {
    let (received_at, rest) = bytes.split_first_chunk::<8>()?;
    let (closed_at, rest) = rest.split_first_chunk::<8>()?;
    let (&[lane, outcome], reason) = rest.split_first_chunk::<2>()?;
    let reason = std::str::from_utf8(reason).ok()?;
    Some(ClosedGrant {
        id: address.grant_id()?,
        received_at: unsortable(*received_at),
        closed_at: unsortable(*closed_at),
        lane: Lane(lane),
        outcome: outcome_of(outcome)?,
        reason: (!reason.is_empty()).then(|| Reason::new(reason)),
    })
}

/// The stored number of an outcome, which never changes.
pub(super) const fn outcome_byte(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 0,
        Outcome::Denied => 1,
        Outcome::Expired => 2,
        Outcome::Refused => 3,
        Outcome::WrongPerson => 4,
        Outcome::Lost => 5,
        Outcome::Failed => 6,
        Outcome::Dropped => 7,
        Outcome::Duplicate => 8,
    }
}

pub(super) fn outcome_of(byte: u8) -> Option<Outcome> {
    Outcome::ALL.into_iter().find(|outcome| outcome_byte(*outcome) == byte)
}

pub(super) fn encode_source_message(source_message: &SourceMessage) -> Vec<u8> {
    json(source_message)
}

pub(super) fn decode_source_message(bytes: &[u8]) -> Option<SourceMessage> {
    serde_json::from_slice(bytes).ok()
}

/// Room for a usual grant from the start: a buffer that grows leaves copies of secrets behind.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    serde_json::to_writer(&mut out, value).expect("records have string keys and no failing serialiser");
    out
}

pub(super) fn encode_seen_message(seen: &SeenMessage) -> Vec<u8> {
    seen.channel.0.to_be_bytes().to_vec()
}

pub(super) fn decode_seen_message(address: &Address, bytes: &[u8]) -> Option<SeenMessage> {
    Some(SeenMessage {
        message: MessageId(address.number()?),
        channel: ChannelId(u64::from_be_bytes(bytes.try_into().ok()?)),
    })
}

pub(super) fn encode_seen_code(seen: &SeenCode) -> Vec<u8> {
    [seen.message.0.to_be_bytes(), seen.channel.0.to_be_bytes()].concat()
}

pub(super) fn decode_seen_code(address: &Address, bytes: &[u8]) -> Option<SeenCode> {
    let (message, channel) = bytes.split_first_chunk::<8>()?;
    Some(SeenCode {
        hash: CodeHash(address.key.as_slice().try_into().ok()?),
        message: MessageId(u64::from_be_bytes(*message)),
        channel: ChannelId(u64::from_be_bytes(channel.try_into().ok()?)),
    })
}

pub(super) fn encode_nonce(used: &UsedNonce) -> Vec<u8> {
    sortable(used.keep_until).to_vec()
}

pub(super) fn decode_nonce(address: &Address, bytes: &[u8]) -> Option<UsedNonce> {
    Some(UsedNonce {
        nonce: address.key.as_slice().try_into().ok()?,
        keep_until: unsortable(bytes.try_into().ok()?),
    })
}

/// Person, expiry, end, lane, purpose and flags; the nonce is in the key.
pub(super) fn encode_place(place: &HeldPlace) -> Vec<u8> {
    let token = &place.token;
    let mut out = Vec::with_capacity(27);
    out.extend_from_slice(&token.user.0.to_be_bytes());
    out.extend_from_slice(&sortable(token.expires_at));
    out.extend_from_slice(&sortable(place.until));
    out.extend_from_slice(&[token.lane.0, token.purpose, token.flags()]);
    out
}

pub(super) fn decode_place(address: &Address, bytes: &[u8]) -> Option<HeldPlace> {
    let (user, rest) = bytes.split_first_chunk::<8>()?;
    let (expires_at, rest) = rest.split_first_chunk::<8>()?;
    let (until, rest) = rest.split_first_chunk::<8>()?;
    let &[lane, purpose, flags] = rest else { return None };
    let token = StateToken {
        user: UserId(u64::from_be_bytes(*user)),
        expires_at: unsortable(*expires_at),
        lane: Lane(lane),
        purpose,
        pkce: false,
        again: false,
        nonce: address.key.as_slice().try_into().ok()?,
    };
    Some(HeldPlace {
        token: token.with_flags(flags),
        until: unsortable(*until),
    })
}

pub(super) fn encode_cursor(read_to: MessageId) -> Vec<u8> {
    read_to.0.to_be_bytes().to_vec()
}

pub(super) fn decode_cursor(bytes: &[u8]) -> Option<MessageId> {
    Some(MessageId(u64::from_be_bytes(bytes.try_into().ok()?)))
}

pub(super) fn encode_times(times: &[Timestamp]) -> Vec<u8> {
    times.iter().copied().flat_map(sortable).collect()
}

pub(super) fn decode_times(bytes: &[u8]) -> Option<Vec<Timestamp>> {
    let (times, odd) = bytes.as_chunks::<8>();
    odd.is_empty().then(|| times.iter().copied().map(unsortable).collect())
}
