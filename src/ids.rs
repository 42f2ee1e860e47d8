//! Identifiers: Discord's snowflakes, grants, lanes and code hashes. Plain values, no behaviour beyond conversion.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Timestamp;

/// Milliseconds from the Unix epoch to the first second of 2015, from which snowflakes count ([Discord Docs/Reference](https://docs.discord.com/developers/reference#snowflakes)).
pub const DISCORD_EPOCH_MS: i64 = 1_420_070_400_000;

/// A text that is not a snowflake: 17 to 20 decimal digits within 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: Discord's ids are 17 to 20 digits")]
pub struct NotASnowflake;

/// The moment a snowflake was made, to the millisecond.
pub const fn snowflake_time(id: u64) -> Timestamp {
    Timestamp::from_millis((id >> 22) as i64 + DISCORD_EPOCH_MS)
}

/// The smallest snowflake of a moment; 0 for a moment before Discord's epoch.
pub const fn snowflake_at(at: Timestamp) -> u64 {
    let ms = at.as_millis() - DISCORD_EPOCH_MS;
    if ms <= 0 { 0 } else { (ms as u64) << 22 }
}

macro_rules! snowflakes {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The moment Discord made this id.
            pub const fn created_at(self) -> Timestamp {
                snowflake_time(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotASnowflake;
            /// Accepts 17 to 20 ASCII digits.
            fn from_str(text: &str) -> Result<Self, NotASnowflake> {
                if !(17..=20).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(NotASnowflake);
                }
                text.parse().map($name).map_err(|_| NotASnowflake)
            }
        }

        impl Serialize for $name {
            /// Writes a string, as Discord does: JavaScript cannot hold 64 bits. Binary forms get the number.
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() {
                    s.collect_str(&self.0)
                } else {
                    s.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Reads a string. A number is refused: JavaScript has rounded it, and it may be another person's id.
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    d.deserialize_str(IdVisitor).map($name)
                } else {
                    u64::deserialize(d).map($name)
                }
            }
        }
    )*};
}

snowflakes! {
    /// A person's id.
    UserId,
    /// A channel's id.
    ChannelId,
    /// A webhook's id.
    WebhookId,
    /// A message's id.
    MessageId,
    /// An interaction's id.
    InteractionId,
    /// A guild's id.
    GuildId,
    /// An application's id, which is also OAuth2's `client_id`.
    ApplicationId,
}

impl ChannelId {
    /// Direct intake: the code came through no channel. Discord assigns no id 0.
    pub const DIRECT: Self = Self(0);
}

struct IdVisitor;

impl de::Visitor<'_> for IdVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id of 17 to 20 digits as a string, for a number may have been rounded")
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<u64, E> {
        v.parse::<UserId>().map(|id| id.0).map_err(E::custom)
    }
}

/// A grant's id: a ULID, whose text sorts by time of receipt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(pub ulid::Ulid);

impl Serialize for GrantId {
    /// Writes its text; binary forms get its 16 bytes.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            self.0.serialize(s)
        } else {
            self.0.to_bytes().serialize(s)
        }
    }
}

impl<'de> Deserialize<'de> for GrantId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            Deserialize::deserialize(d).map(Self)
        } else {
            Deserialize::deserialize(d).map(|bytes| Self(ulid::Ulid::from_bytes(bytes)))
        }
    }
}

impl GrantId {
    /// An id from a time and 80 random bits.
    pub fn new(at: Timestamp, random: u128) -> Self {
        Self(ulid::Ulid::from_parts(
            u64::try_from(at.as_millis()).unwrap_or(0),
            random,
        ))
    }

    /// The moment it was made, to the millisecond.
    pub fn created_at(self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GrantId {
    type Err = ulid::DecodeError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ulid::Ulid::from_string(text).map(Self)
    }
}

/// A link's id: the nonce of its signed state, as 16 hexadecimal digits. It is no secret, and opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId(pub [u8; 8]);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// A text that is not 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a link's id: 16 hexadecimal digits")]
pub struct NotALinkId;

impl FromStr for LinkId {
    type Err = NotALinkId;
    fn from_str(text: &str) -> Result<Self, NotALinkId> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotALinkId);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| NotALinkId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl Serialize for LinkId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A lane's number: its index in `[[intake.lanes]]`, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lane(pub u8);

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A keyed hash of an authorization code. Its first six hexadecimal digits are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeHash(pub [u8; 16]);

impl CodeHash {
    /// The six hexadecimal digits that are shown.
    pub fn short(self) -> String {
        let [a, b, c, ..] = self.0;
        format!("{a:02x}{b:02x}{c:02x}")
    }
}

impl fmt::Debug for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snowflake_tells_its_time() {
        assert_eq!(
            MessageId(1_536_343_372_988_416_000).created_at().to_string(),
            "2026-08-10T12:00:04.000Z"
        );
        let at = Timestamp::from_millis(1_786_363_204_000);
        assert_eq!(snowflake_time(snowflake_at(at)), at);
        assert_eq!(snowflake_at(Timestamp::from_millis(0)), 0);
    }

    #[test]
    fn ids_are_read_from_strings_of_17_to_20_digits_and_never_from_numbers() {
        for good in ["\"80000000000000001\"", "\"18446744073709551615\""] {
            assert!(serde_json::from_str::<UserId>(good).is_ok(), "{good}");
        }
        for bad in [
            "\"8000000000000000\"",
            "80000000000000001",
            "12",
            "-80000000000000001",
            "\"18446744073709551616\"",
            "\"8000000000000000x\"",
            "null",
            "1.5",
        ] {
            assert!(serde_json::from_str::<UserId>(bad).is_err(), "{bad}");
        }
    }
}
