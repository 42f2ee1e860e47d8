//! Parses the redirect from Discord (RFC 6749 section 4.1.2): the query of `GET /callback`.
//!
//! Pure: no I/O, no clock. The state's MAC is verified first, so that an unsigned request costs one hash. Only
//! `state.mode = "signed"` works here: without a MAC anybody could submit codes.

use std::time::Duration;

use super::entry::is_code;
use super::hash::code_hash;
use super::state::{StateError, StateKey, StateToken};
use super::v1::percent_decode;
use crate::grant::Reason;
use crate::ids::CodeHash;
use crate::secret::{AuthorizationCode, Key, RawState};
use crate::time::Timestamp;

/// The error with which a relay tells that a code died while it waited there. It stands where the authorization server's
/// own errors do (RFC 6749 section 4.1.2.1), and is none of them.
pub const RELAY_EXPIRED: &str = "relay_expired";

/// The longest accepted query, in bytes. Discord's has about 130.
pub const LONGEST_QUERY: usize = 4096;

/// How far a relay's clock may differ from the service's. The service decides whether a state has expired; the relay only
/// refuses what surely has, so a clock that is some minutes fast must not refuse good links.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// The rules for accepting a callback.
#[derive(Debug, Clone)]
pub struct CallbackRules {
    /// Verifies states.
    pub key: StateKey,
    /// A state is accepted until its expiry, plus this, plus `tolerance`.
    pub code_lifetime: Duration,
    /// [`CLOCK_TOLERANCE`] in a relay; zero for direct intake.
    pub tolerance: Duration,
    /// The number of lanes; `None` if lanes do not matter.
    pub lanes: Option<usize>,
}

/// A callback whose state is signed and has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The state's contents.
    pub token: StateToken,
    /// The state's text.
    pub state: RawState,
    /// The code, or the error that came instead.
    pub result: Result<AuthorizationCode, Reason>,
    /// Until when a repeat would be accepted.
    pub accepted_until: Timestamp,
}

/// How many different callbacks one link may produce. One consent can yield two codes, and a user may deny first; more
/// means that somebody has a link and makes up codes.
pub const MOST_PER_LINK: usize = 4;

impl Callback {
    /// The key that identifies a repeat: the code, or the error together with its state.
    pub fn hash(&self, key: &Key) -> CodeHash {
        match &self.result {
            Ok(code) => code_hash(key, code),
            Err(reason) => {
                let text = format!("!{reason} {}", self.state.expose());
                code_hash(key, &AuthorizationCode::new(text))
            }
        }
    }
}

/// Why a callback is refused. Never contains user input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The query is longer than [`LONGEST_QUERY`].
    #[error("too_long")]
    TooLong,
    /// The state holds a stray `%`, or no UTF-8.
    #[error("not_encoded")]
    NotEncoded,
    /// A parameter occurs twice (RFC 6749 section 3.1 forbids it).
    #[error("doubled")]
    Doubled,
    /// No state, or an empty one.
    #[error("state_missing")]
    StateMissing,
    /// The state is not one of our tokens.
    #[error("state_malformed")]
    StateMalformed,
    /// The state's MAC is wrong.
    #[error("state_forged")]
    StateForged,
    /// The link has expired.
    #[error("state_expired")]
    StateExpired,
    /// The state names a lane that is not configured.
    #[error("unknown_lane")]
    UnknownLane,
    /// Neither a code nor an error.
    #[error("nothing_in_it")]
    Nothing,
    /// A code and an error.
    #[error("code_and_error")]
    CodeAndError,
    /// The code has the wrong form.
    #[error("not_a_code")]
    NotACode,
    /// The error is not a valid OAuth2 error code.
    #[error("not_an_error")]
    NotAnError,
}

impl Refusal {
    /// Every refusal, in the order of the checks.
    pub const ALL: [Self; 12] = [
        Self::TooLong,
        Self::NotEncoded,
        Self::Doubled,
        Self::StateMissing,
        Self::StateMalformed,
        Self::StateForged,
        Self::StateExpired,
        Self::UnknownLane,
        Self::Nothing,
        Self::CodeAndError,
        Self::NotACode,
        Self::NotAnError,
    ];

    /// Whether the request lacks a valid signature: such requests count against their address.
    pub const fn is_unsigned(self) -> bool {
        matches!(
            self,
            Self::TooLong
                | Self::NotEncoded
                | Self::Doubled
                | Self::StateMissing
                | Self::StateMalformed
                | Self::StateForged
        )
    }
}

/// The three relevant parameters, undecoded.
#[derive(Default)]
struct Parameters<'q> {
    code: Option<&'q str>,
    error: Option<&'q str>,
    state: Option<&'q str>,
}

impl<'q> Parameters<'q> {
    /// Others are ignored (RFC 6749 section 4.1.2); an empty one counts as absent (section 3.1).
    fn of(query: &'q str) -> Result<Self, Refusal> {
        let mut found = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "code" => &mut found.code,
                "error" => &mut found.error,
                "state" => &mut found.state,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(Refusal::Doubled);
            }
        }
        for place in [&mut found.code, &mut found.error, &mut found.state] {
            *place = place.filter(|value| !value.is_empty());
        }
        Ok(found)
    }
}

impl CallbackRules {
    /// Parses a raw query, without its question mark.
    pub fn read(&self, query: &str, now: Timestamp) -> Result<Callback, Refusal> {
        if query.len() > LONGEST_QUERY {
            return Err(Refusal::TooLong);
        }
        let found = Parameters::of(query)?;
        let state = found.state.ok_or(Refusal::StateMissing)?;
        let state = percent_decode(state).ok_or(Refusal::NotEncoded)?;
        let token = self.key.open(&state).map_err(|error| match error {
            StateError::Malformed => Refusal::StateMalformed,
            StateError::Forged => Refusal::StateForged,
        })?;
        let accepted_until = token.expires_at + self.code_lifetime + self.tolerance;
        if now >= accepted_until {
            return Err(Refusal::StateExpired);
        }
        if self.lanes.is_some_and(|lanes| usize::from(token.lane.0) >= lanes) {
            return Err(Refusal::UnknownLane);
        }
        let result = match (found.code, found.error) {
            (None, None) => return Err(Refusal::Nothing),
            (Some(_), Some(_)) => return Err(Refusal::CodeAndError),
            (Some(code), None) => {
                let code = percent_decode(code).filter(|code| is_code(code));
                Ok(AuthorizationCode::new(code.ok_or(Refusal::NotACode)?))
            }
            (None, Some(error)) => {
                let error = percent_decode(error).ok_or(Refusal::NotAnError)?;
                let reason = Reason::new(&error);
                // Only a relay may send `relay_…` errors to the service.
                if reason.as_str() != error || error.starts_with("relay_") {
                    return Err(Refusal::NotAnError);
                }
                Err(reason)
            }
        };
        Ok(Callback {
            token,
            state: RawState::new(state),
            result,
            accepted_until,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Lane, UserId};

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";
    const CODE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";
    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn rules() -> CallbackRules {
        CallbackRules {
            key: StateKey::new(&Key::new(KEY)),
            code_lifetime: Duration::from_secs(100),
            tolerance: CLOCK_TOLERANCE,
            lanes: Some(2),
        }
    }

    fn state_of(lane: u8) -> String {
        rules().key.mint(&StateToken {
            user: UserId(80_000_000_000_000_001),
            expires_at: NOW + Duration::from_mins(5),
            lane: Lane(lane),
            purpose: 0,
            pkce: true,
            again: false,
            nonce: [7; 8],
        })
    }

    fn read(query: &str) -> Result<Callback, Refusal> {
        rules().read(query, NOW)
    }

    #[track_caller]
    fn refuses(query: &str, refusal: Refusal) {
        assert_eq!(read(query), Err(refusal), "{query}");
    }

    #[test]
    fn a_code_and_a_denial_come_with_what_the_state_says() {
        let state = state_of(1);
        let code = read(&format!("code={CODE}&state={state}")).expect("a code");
        assert_eq!(code.result, Ok(AuthorizationCode::new(CODE)));
        assert_eq!((code.token.lane, code.state.expose()), (Lane(1), state.as_str()));
        assert_eq!(code.accepted_until, NOW + Duration::from_secs(300 + 100 + 300));
        let denied = format!("error=access_denied&error_description=The+resource%20owner&state={state}");
        let denied = read(&denied).expect("a denial");
        assert_eq!(denied.result, Err(Reason::new("access_denied")));
        let other = read(&format!("state={state}&error=temporarily_unavailable")).expect("an error");
        assert_eq!(other.result, Err(Reason::new("temporarily_unavailable")));
    }

    #[test]
    fn what_is_encoded_is_decoded_and_what_is_unknown_is_ignored() {
        let state = state_of(0);
        let encoded = CODE.bytes().fold(String::new(), |text, b| format!("{text}%{b:02x}"));
        let query = format!(
            "x=1&&guild_id=5&code={encoded}&state={}&x=%ZZ",
            state.replace('.', "%2E")
        );
        let came = read(&query).expect("a code");
        assert_eq!(came.result, Ok(AuthorizationCode::new(CODE)));
        assert_eq!(came.state.expose(), state);
    }

    #[test]
    fn every_parameter_missing_empty_or_doubled_is_named() {
        let state = state_of(0);
        for none in [
            "",
            "&",
            "x=1",
            "code",
            "code=&state=",
            &format!("code={CODE}"),
            &format!("code={CODE}&state="),
        ] {
            refuses(none, Refusal::StateMissing);
        }
        for nothing in [format!("state={state}"), format!("state={state}&code=&error=")] {
            refuses(&nothing, Refusal::Nothing);
        }
        for twice in [
            format!("code={CODE}&code={CODE}&state={state}"),
            format!("code={CODE}&state={state}&state={state}"),
            format!("error=access_denied&error=access_denied&state={state}"),
            format!("code=&code={CODE}&state={state}"),
        ] {
            refuses(&twice, Refusal::Doubled);
        }
        refuses(
            &format!("code={CODE}&error=access_denied&state={state}"),
            Refusal::CodeAndError,
        );
    }

    #[test]
    fn a_state_that_nobody_signed_is_refused_before_the_rest_is_read() {
        let state = state_of(0);
        let forged = format!("{}{}", &state[..56], if state.ends_with('A') { 'Q' } else { 'A' });
        refuses(&format!("code=%&state={forged}"), Refusal::StateForged);
        for malformed in ["80000000000000001", "s1.", &state[..40], &state.to_uppercase()] {
            refuses(&format!("code={CODE}&state={malformed}"), Refusal::StateMalformed);
        }
        let mut other = rules();
        other.key = StateKey::new(&Key::new(*b"another key of thirty-two bytes!"));
        assert_eq!(
            other.read(&format!("code={CODE}&state={state}"), NOW),
            Err(Refusal::StateForged)
        );
        for unsigned in ["code=%GG&state=%", "state=%ff%fe", &format!("state={state}%")] {
            refuses(unsigned, Refusal::NotEncoded);
        }
        assert!(Refusal::ALL[..6].iter().all(|r| r.is_unsigned()));
        assert!(!Refusal::ALL[6..].iter().any(|r| r.is_unsigned()));
    }

    #[test]
    fn a_signed_state_does_not_make_rubbish_a_code() {
        let state = state_of(0);
        let long = "A".repeat(513);
        let umlauts = "%C3%A4".repeat(8);
        for code in [
            "short",
            "with%20space%20in%20it",
            &umlauts,
            &long,
            "%",
            "%4",
            "%zz",
            "%ff",
        ] {
            refuses(&format!("code={code}&state={state}"), Refusal::NotACode);
        }
        for error in ["relay_expired", "Access%20Denied", "%0a", "%", "%ff", &"a".repeat(65)] {
            refuses(&format!("error={error}&state={state}"), Refusal::NotAnError);
        }
        refuses(&format!("code={CODE}&state={}", state_of(2)), Refusal::UnknownLane);
    }

    #[test]
    fn a_long_query_is_refused_unread() {
        let state = state_of(0);
        refuses(&format!("code={}&state={state}", "A".repeat(100_000)), Refusal::TooLong);
        let padded = format!("code={CODE}&state={state}&x=");
        let full = format!("{padded}{}", "x".repeat(LONGEST_QUERY - padded.len()));
        assert!(read(&full).is_ok());
        refuses(&format!("{full}x"), Refusal::TooLong);
    }

    #[test]
    fn a_relay_bears_five_minutes_between_its_clock_and_the_services() {
        let query = format!("code={CODE}&state={}", state_of(0));
        let after_expiry = |s: u64| rules().read(&query, NOW + Duration::from_secs(300 + s));
        assert!(after_expiry(100 + 300 - 1).is_ok());
        assert_eq!(after_expiry(100 + 300), Err(Refusal::StateExpired));
        let at_home = CallbackRules {
            tolerance: Duration::ZERO,
            lanes: None,
            ..rules()
        };
        assert!(at_home.read(&query, NOW + Duration::from_secs(399)).is_ok());
        assert_eq!(
            at_home.read(&query, NOW + Duration::from_secs(400)),
            Err(Refusal::StateExpired)
        );
        // A clock that is behind accepts the state; the service refuses it if it has expired.
        assert!(rules().read(&query, NOW - Duration::from_hours(1)).is_ok());
    }
}
