//! What a source message says, whichever version it is written in. Malformed is named, never quoted.

use super::{v0, v1};
use crate::grant::Reason;
use crate::ids::UserId;
use crate::secret::{AuthorizationCode, Key, RawState};
use crate::time::Timestamp;

/// Discord's own limit on a message is 2,000 characters (4,000 with Nitro); nothing longer is looked at.
const LONGEST: usize = 8_000;

/// One redirect as a message carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the relay saw the redirect, by its clock.
    pub redirected_at: Option<Timestamp>,
    /// The code, or the error that came instead.
    pub result: Result<AuthorizationCode, Reason>,
    /// The state, decoded.
    pub state: Option<RawState>,
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its redirects, in order.
    pub entries: Vec<Entry>,
    /// Lines of an authentic message that could not be read.
    pub malformed_lines: usize,
}

/// Why a message says nothing. It never carries content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing in it.
    #[error("empty")]
    Empty,
    /// Longer than Discord allows.
    #[error("too long")]
    TooLong,
    /// It is of neither version.
    #[error("neither version 0 nor version 1")]
    UnknownVersion,
    /// Its version is not among `intake.accept`.
    #[error("a version that intake.accept leaves out")]
    VersionNotAccepted,
    /// Version 0: what follows the mention is not one JSON object.
    #[error("not JSON")]
    NotJson,
    /// Version 0: neither a code nor an error.
    #[error("no code")]
    NoCode,
    /// A field has the wrong type.
    #[error("wrong type of a field")]
    WrongType,
    /// A code is not 16 to 512 of `[A-Za-z0-9._~-]`.
    #[error("not a code")]
    BadCode,
    /// Version 1: the MAC line is missing.
    #[error("no MAC line")]
    NoMac,
    /// Version 1: the MAC is wrong.
    #[error("forged: the MAC is wrong")]
    Forged,
    /// Version 1: no redirect could be read.
    #[error("no readable line")]
    NoLine,
}

/// Which versions are accepted, and the key of version 1.
#[derive(Debug, Clone)]
pub struct Accept {
    /// Version 0.
    pub v0: bool,
    /// Version 1 with its relay key.
    pub v1: Option<Key>,
}

/// Reads a message's content.
pub fn parse(content: &str, bot: UserId, accept: &Accept) -> Result<Parsed, Malformed> {
    if content.trim().is_empty() {
        return Err(Malformed::Empty);
    }
    if content.len() > LONGEST {
        return Err(Malformed::TooLong);
    }
    if let Some(rest) = v1::after_mention(content, bot) {
        let key = accept.v1.as_ref().ok_or(Malformed::VersionNotAccepted)?;
        return v1::parse(content, rest, key);
    }
    let body = v0::after_mention(content, bot);
    if !body.starts_with('{') {
        return Err(if body == content.trim() {
            Malformed::UnknownVersion
        } else {
            Malformed::NotJson
        });
    }
    if !accept.v0 {
        return Err(Malformed::VersionNotAccepted);
    }
    v0::parse(body)
}

/// Whether a text can be an authorization code: 16 to 512 unreserved characters (RFC 3986 section 2.3). Discord's
/// are 30 letters and digits, which is not documented.
pub fn is_code(text: &str) -> bool {
    (16..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
}

/// Whether a text can be a state: at most 512 printable ASCII characters.
pub fn is_state(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
