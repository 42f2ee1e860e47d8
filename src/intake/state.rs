//! The signed OAuth2 `state` (RFC 6749 section 10.12): the user, the purpose, the expiry.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::hash::{hmac_sha256, verify};
use crate::grant::Reason;
use crate::grant::state::Requested;
use crate::ids::{Lane, UserId};
use crate::secret::{Keys, RawState};
use crate::time::Timestamp;

const BODY: usize = 23;
const MAC: usize = 16;
/// Where the flags stand, and in them the four bits that name a PKCE key.
const FLAGS: usize = 14;
const PKCE_ID_SHIFT: u8 = 2;
/// `s1.`, 31 characters of body, a dot, 22 characters of MAC.
const LENGTH: usize = 57;

/// The keys that sign states: the first one alone makes them.
#[derive(Debug, Clone)]
pub struct StateKey(Keys);

/// The contents of a signed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateToken {
    /// The user the link was issued for.
    pub user: UserId,
    /// The link's expiry, in whole seconds.
    pub expires_at: Timestamp,
    /// The lane chosen when the link was issued.
    pub lane: Lane,
    /// Index into `state.purposes`.
    pub purpose: u8,
    /// Whether the link uses PKCE.
    pub pkce: bool,
    /// Whether it replaces a link whose code expired: there is no second invitation.
    pub again: bool,
    /// Makes the state single-use.
    pub nonce: [u8; 8],
}

impl StateToken {
    /// The flags in one byte: bit 0 PKCE, bit 1 a second link. Bits 2 to 5 of a text name the PKCE key.
    pub fn flags(&self) -> u8 {
        u8::from(self.pkce) | u8::from(self.again) << 1
    }

    /// The same token with these flags.
    #[must_use]
    pub fn with_flags(self, flags: u8) -> Self {
        Self {
            pkce: flags & 1 == 1,
            again: flags & 2 == 2,
            ..self
        }
    }
}

/// Why a text is not a valid state token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not 57 characters of the right shape.
    #[error("the state is malformed")]
    Malformed,
    /// The MAC is wrong.
    #[error("the state is forged")]
    Forged,
}

impl StateKey {
    /// Keys of at least 32 bytes.
    pub fn new(keys: impl Into<Keys>) -> Self {
        Self(keys.into())
    }

    /// Writes a token as text of 57 characters.
    pub fn mint(&self, token: &StateToken) -> String {
        self.mint_naming(0, token)
    }

    /// The same, naming the PKCE key of its link by four bits.
    pub fn mint_naming(&self, pkce_id: u8, token: &StateToken) -> String {
        let mut body = [0_u8; BODY];
        body[..8].copy_from_slice(&token.user.0.to_be_bytes());
        body[8..12].copy_from_slice(
            &u32::try_from(token.expires_at.as_secs())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        body[12] = token.lane.0;
        body[13] = token.purpose;
        body[FLAGS] = token.flags() | pkce_id << PKCE_ID_SHIFT;
        body[15..].copy_from_slice(&token.nonce);
        let mac = hmac_sha256(&self.0.first(), &body);
        format!(
            "s1.{}.{}",
            URL_SAFE_NO_PAD.encode(body),
            URL_SAFE_NO_PAD.encode(&mac[..MAC])
        )
    }

    /// Reads a token; its expiry is the caller's to check.
    pub fn open(&self, text: &str) -> Result<StateToken, StateError> {
        let (body, mac) = text
            .strip_prefix("s1.")
            .and_then(|t| t.split_once('.'))
            .ok_or(StateError::Malformed)?;
        if text.len() != LENGTH {
            return Err(StateError::Malformed);
        }
        let body: [u8; BODY] = decode(body)?;
        let mac: [u8; MAC] = decode(mac)?;
        self.0.find(|key| verify(key, &body, &mac)).ok_or(StateError::Forged)?;
        let user = u64::from_be_bytes(body[..8].try_into().expect("8 bytes"));
        Ok(StateToken {
            user: UserId(user),
            expires_at: expiry(&body),
            lane: Lane(body[12]),
            purpose: body[13],
            pkce: false,
            again: false,
            nonce: body[15..].try_into().expect("8 bytes"),
        }
        .with_flags(body[FLAGS]))
    }
}

/// The expiry of a signed state that was accepted before (the MAC is not verified again); `None` for any other text.
pub fn expiry_of(raw: &RawState) -> Option<Timestamp> {
    body_of(raw).as_ref().map(expiry)
}

/// The four bits by which such a state names the PKCE key of its link; 0 for any other text.
pub fn pkce_id_of(raw: &RawState) -> u8 {
    body_of(raw).map_or(0, |body| body[FLAGS] >> PKCE_ID_SHIFT & 0xf)
}

fn body_of(raw: &RawState) -> Option<[u8; BODY]> {
    let (body, _) = raw.expose().strip_prefix("s1.")?.split_once('.')?;
    decode(body).ok()
}

fn expiry(body: &[u8; BODY]) -> Timestamp {
    let seconds = u32::from_be_bytes(body[8..12].try_into().expect("4 bytes"));
    Timestamp::from_secs(i64::from(seconds))
}

fn decode<const N: usize>(text: &str) -> Result<[u8; N], StateError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| StateError::Malformed)?;
    bytes.try_into().map_err(|_| StateError::Malformed)
}

/// The form of a state: the configuration's `state.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateMode {
    /// A signed token.
    Signed,
    /// The bare user id, as in the classic script.
    UserId,
    /// Anything, or nothing.
    Any,
}

/// The rules for reading a state.
#[derive(Debug, Clone)]
pub struct StateRules {
    /// The mode.
    pub mode: StateMode,
    /// The keys of mode `signed`.
    pub key: StateKey,
    /// A token is accepted until its expiry plus this.
    pub code_lifetime: Duration,
    /// The number of purposes.
    pub purposes: usize,
    /// Whether links are made with PKCE: then a token that says otherwise is refused.
    pub with_pkce: bool,
}

impl StateRules {
    /// The request in a state, or why it is refused together with what may still be reported.
    pub fn interpret(&self, raw: Option<&RawState>, now: Timestamp) -> Result<Requested, (Requested, Reason)> {
        let refuse = |reason: &str| Err((Requested::default(), Reason::new(reason)));
        match (self.mode, raw) {
            (StateMode::Any, raw) => Ok(Requested {
                raw: raw.cloned(),
                ..Requested::default()
            }),
            (StateMode::Signed | StateMode::UserId, None) => refuse("state_missing"),
            (StateMode::UserId, Some(raw)) => match raw.expose().parse::<UserId>() {
                Ok(user) => Ok(Requested {
                    user: Some(user),
                    raw: Some(raw.clone()),
                    ..Requested::default()
                }),
                Err(_) => refuse("state_malformed"),
            },
            (StateMode::Signed, Some(raw)) => match self.key.open(raw.expose()) {
                Err(StateError::Malformed) => refuse("state_malformed"),
                Err(StateError::Forged) => refuse("state_forged"),
                Ok(token) => {
                    let requested = Requested {
                        user: Some(token.user),
                        purpose: Some(token.purpose),
                        nonce: Some(token.nonce),
                        pkce: token.pkce,
                        again: token.again,
                        raw: Some(raw.clone()),
                    };
                    if now >= token.expires_at + self.code_lifetime {
                        Err((requested, Reason::new("state_expired")))
                    } else if usize::from(token.purpose) >= self.purposes {
                        Err((
                            Requested {
                                purpose: None,
                                ..requested
                            },
                            Reason::new("unknown_purpose"),
                        ))
                    } else if self.with_pkce && !token.pkce {
                        Err((requested, Reason::new("pkce_missing")))
                    } else {
                        Ok(requested)
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::pkce;
    use crate::secret::Key;

    pub(crate) const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const STATE: &str = "s1.ARw3k34IAAFlU_IsAAABAAECAwQFBgc.L3A7duGjO8o4W5Vn4n0XyQ";

    fn token() -> StateToken {
        StateToken {
            user: UserId(80_000_000_000_000_001),
            expires_at: Timestamp::from_secs(1_700_000_300),
            lane: Lane(0),
            purpose: 0,
            pkce: true,
            again: false,
            nonce: [0, 1, 2, 3, 4, 5, 6, 7],
        }
    }

    fn rules(mode: StateMode) -> StateRules {
        let key = StateKey::new(&Key::new(KEY));
        StateRules {
            mode,
            key,
            code_lifetime: Duration::from_secs(100),
            purposes: 1,
            with_pkce: true,
        }
    }

    #[test]
    fn the_published_vector_holds() {
        let key = Key::new(KEY);
        let states = StateKey::new(&key);
        assert_eq!(states.mint(&token()), STATE);
        assert_eq!(states.open(STATE), Ok(token()));
        let verifier = pkce::verifier(&key, STATE);
        assert_eq!(verifier.expose(), "RXm2ypwD08Zjq_SBfVYjy4atAohkxP3AKQzKfn9BK44");
        assert_eq!(
            pkce::challenge(&verifier),
            "tLaj2AYNfkm_BmkbcUbbw4LsiaMLrhZCEqRHByjP5tg"
        );
    }

    #[test]
    fn a_state_under_either_key_opens_and_only_the_first_signs() {
        let key = |n: u8| Key::new([n; 32]);
        let both = StateKey::new(Keys::new(key(1), Some(key(2))));
        let by = |n: u8| StateKey::new(&key(n)).mint(&token());
        assert_eq!(both.mint(&token()), by(1));
        assert_eq!((both.open(&by(1)), both.open(&by(2))), (Ok(token()), Ok(token())));
        assert_eq!(both.open(&by(3)), Err(StateError::Forged));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let states = StateKey::new(&Key::new(KEY));
        for i in 0..STATE.len() {
            let mut bytes = STATE.as_bytes().to_vec();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).expect("ASCII");
            assert!(states.open(&text).is_err(), "{text}");
        }
        for text in ["", "s1.", "s1..", &STATE[..56], &format!("{STATE}A")] {
            assert_eq!(states.open(text), Err(StateError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_state_without_pkce_is_taken_only_where_links_are_made_without_it() {
        let made = |pkce| {
            let token = StateToken { pkce, ..token() };
            RawState::new(StateKey::new(&Key::new(KEY)).mint(&token))
        };
        let now = Timestamp::from_secs(1_700_000_000);
        for (with_pkce, pkce, refused) in [
            (true, true, None),
            (true, false, Some("pkce_missing")),
            (false, true, None),
            (false, false, None),
        ] {
            let rules = StateRules {
                with_pkce,
                ..rules(StateMode::Signed)
            };
            let said = rules.interpret(Some(&made(pkce)), now).err();
            let said = said.map(|(requested, reason)| (requested.user, reason.to_string()));
            assert_eq!(said, refused.map(|reason| (Some(token().user), reason.to_owned())));
        }
    }

    #[test]
    fn each_mode_names_what_it_refuses() {
        let check = |mode, raw: Option<&str>, at: i64, want: &str| {
            let raw = raw.map(RawState::new);
            let got = rules(mode).interpret(raw.as_ref(), Timestamp::from_secs(at));
            let shown = got.map_or_else(|(_, r)| r.to_string(), |r| format!("user {:?}", r.user.map(|u| u.0)));
            assert_eq!(shown, want, "{mode:?} {raw:?} at {at}");
        };
        check(
            StateMode::Signed,
            Some(STATE),
            1_700_000_000,
            "user Some(80000000000000001)",
        );
        check(
            StateMode::Signed,
            Some(STATE),
            1_700_000_399,
            "user Some(80000000000000001)",
        );
        check(StateMode::Signed, Some(STATE), 1_700_000_400, "state_expired");
        check(StateMode::Signed, None, 1_700_000_000, "state_missing");
        check(
            StateMode::Signed,
            Some("80000000000000001"),
            1_700_000_000,
            "state_malformed",
        );
        check(
            StateMode::UserId,
            Some("80000000000000001"),
            0,
            "user Some(80000000000000001)",
        );
        check(StateMode::UserId, Some("8000000000000000"), 0, "state_malformed");
        check(StateMode::UserId, None, 0, "state_missing");
        check(StateMode::Any, None, 0, "user None");
        check(StateMode::Any, Some("whatever"), 0, "user None");
    }
}
