//! What a source message says. A malformed one is named, never quoted.

use crate::grant::Reason;
use crate::ids::UserId;
use crate::secret::{AuthorizationCode, RawState};
use crate::time::Timestamp;

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

/// The error in place of a code by which `doctor --probe` marks a line of its own.
pub const PROBE: &str = "codeferry_probe";

impl Entry {
    /// Whether it is no redirect but a test of the way: it becomes no grant.
    pub fn is_probe(&self) -> bool {
        self.state.is_none() && self.result.as_ref().is_err_and(|error| error.as_str() == PROBE)
    }
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
    /// It mentions somebody else than the bot.
    #[error("mentions {found}, this bot is {bot}: set relay.bot_id")]
    WrongMention {
        /// Whom it mentions.
        found: UserId,
        /// Whom it should.
        bot: UserId,
    },
    /// It is of a version that does not exist yet.
    #[error("version {0}, this program reads versions 0 and 1: update codeferry")]
    LaterVersion(u32),
    /// Its version is not among `intake.accept`.
    #[error("version {0}, which intake.accept does not include")]
    VersionNotAccepted(u8),
    /// Version 0: what follows the mention is not one JSON object.
    #[error("not JSON")]
    NotJson,
    /// Version 0: neither a code nor an error.
    #[error("no code")]
    NoCode,
    /// A field has the wrong type.
    #[error("a field has the wrong type")]
    WrongType,
    /// A code is not 16 to 512 of `[A-Za-z0-9._~-]`.
    #[error("not a code")]
    BadCode,
    /// Version 1: the MAC line is missing.
    #[error("no MAC line")]
    NoMac,
    /// Version 1: the MAC is wrong.
    #[error("forged: the MAC matches no relay key of this service: give the relay the same CODEFERRY_RELAY_KEY")]
    Forged,
    /// Version 1: no redirect could be read.
    #[error("no readable line")]
    NoLine,
}

impl Malformed {
    /// What does not fit, in one word.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::WrongMention { .. } => "mention",
            Self::UnknownVersion | Self::LaterVersion(_) | Self::VersionNotAccepted(_) => "version",
            Self::NoMac | Self::Forged => "mac",
            Self::Empty
            | Self::TooLong
            | Self::NotJson
            | Self::NoCode
            | Self::WrongType
            | Self::BadCode
            | Self::NoLine => "form",
        }
    }
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
