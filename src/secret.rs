//! Secret values. Each is zeroized when dropped, has no `Display`, and prints as `[redacted]`.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        ///
        /// Serde reads and writes the bare text: only the sealed part of a record may hold one.
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes ownership of the text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself. Never log it, never put it into an error.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}

secrets! {
    /// An OAuth2 authorization code (RFC 6749 section 1.3.1).
    AuthorizationCode,
    /// An OAuth2 access token (RFC 6749 section 1.4).
    AccessToken,
    /// The `state` parameter as it came back (RFC 6749 section 4.1.2).
    RawState,
    /// A PKCE code verifier (RFC 7636 section 4.1).
    CodeVerifier,
    /// The application's client secret.
    ClientSecret,
    /// The bot's token.
    BotToken,
    /// The token half of a webhook's URL.
    WebhookToken,
    /// An interaction's token: for 15 minutes its holder can answer in the bot's name.
    InteractionToken,
    /// The control interface's token on TCP.
    ControlToken,
    /// The key of a Hookdeck project.
    HookdeckKey,
    /// The signing secret of an HTTP callback (`whsec_…`, Standard Webhooks).
    CallbackSecret,
}

/// A symmetric key: the bytes of a text of at least 32 bytes, or random bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key(Vec<u8>);

impl Key {
    /// Takes ownership of the bytes. The caller has checked their length.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes. Never log them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

/// Personal data as Discord sent it: JSON text that is delivered and never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct PersonalData(String);

impl PersonalData {
    /// Takes ownership of the JSON text.
    pub fn new(json: impl Into<String>) -> Self {
        Self(json.into())
    }

    /// The JSON text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PersonalData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonalData([redacted], {} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_prints_itself() {
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            AuthorizationCode::new("CANARY1"),
            AccessToken::new("CANARY2"),
            Key::new(*b"CANARY3"),
            PersonalData::new("CANARY4")
        );
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
