//! Issues links: a state for one user, and the link that carries it. Pure; the caller supplies time and random bytes.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::link::{LinkSettings, with_pkce};
use super::pkce;
use super::state::{StateKey, StateMode, StateToken};
use crate::ids::{Lane, LinkId, UserId};
use crate::secret::Keys;
use crate::time::{Timestamp, optional_rfc3339};

/// Everything needed to issue links of one application.
#[derive(Debug, Clone)]
pub struct Minter {
    /// The authorization request that every link makes.
    pub settings: LinkSettings,
    /// In mode `signed` the state is a token; otherwise the bare user id, without expiry and PKCE.
    pub mode: StateMode,
    /// Signs states.
    pub state_key: StateKey,
    /// Derive code verifiers.
    pub pkce_keys: Keys,
    /// A link's lifetime.
    pub lifetime: Duration,
}

/// A link, as returned to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Link {
    /// What the grant of this link is waited for by; `None` for a bare user id.
    #[schemars(with = "Option<String>")]
    pub id: Option<LinkId>,
    /// The URL that the user opens.
    pub url: String,
    /// When it expires; `None` for a bare user id.
    #[serde(serialize_with = "optional_rfc3339")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
    /// The lane for its code.
    #[schemars(with = "u8")]
    pub lane: Lane,
}

/// A request for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The user.
    pub user: UserId,
    /// Index into `state.purposes`.
    pub purpose: u8,
    /// Whether it replaces a link whose code expired.
    pub again: bool,
}

impl Minter {
    /// A link for a lane. `nonce` is eight random bytes.
    pub fn mint(&self, wanted: Wanted, lane: Lane, now: Timestamp, nonce: [u8; 8]) -> Link {
        if self.mode == StateMode::Signed {
            return self.link(&self.token(wanted, lane, now + self.lifetime, nonce));
        }
        Link {
            id: None,
            url: self.settings.url(&wanted.user.to_string(), None).into(),
            expires_at: None,
            lane,
        }
    }

    /// The token of a new link.
    pub fn token(&self, wanted: Wanted, lane: Lane, expires_at: Timestamp, nonce: [u8; 8]) -> StateToken {
        StateToken {
            user: wanted.user,
            // The token carries whole seconds; the caller sees the same time.
            expires_at: Timestamp::from_secs(expires_at.as_secs()),
            lane,
            purpose: wanted.purpose,
            pkce: with_pkce(&self.settings.scopes),
            again: wanted.again,
            nonce,
        }
    }

    /// The link of a token.
    pub fn link(&self, token: &StateToken) -> Link {
        let pkce_key = token.pkce.then(|| self.pkce_keys.first());
        let pkce_id = pkce_key.as_ref().map_or(0, pkce::id);
        let state = self.state_key.mint_naming(pkce_id, token);
        Link {
            id: Some(LinkId(token.nonce)),
            url: self.settings.url(&state, pkce_key.as_ref()).into(),
            expires_at: Some(token.expires_at),
            lane: token.lane,
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::intake::state::pkce_id_of;
    use crate::secret::RawState;

    fn minter(mode: StateMode, scope: &str) -> Minter {
        let mut minter = crate::testing::minter();
        minter.mode = mode;
        minter.settings.scopes = vec!["identify".into(), scope.into()];
        minter
    }

    fn query(link: &Link, name: &str) -> Option<String> {
        let url = Url::parse(&link.url).expect("a URL");
        let mut pairs = url.query_pairs();
        pairs.find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
    }

    const USER: UserId = UserId(80_000_000_000_000_001);
    fn wanted(purpose: u8) -> Wanted {
        Wanted {
            user: USER,
            purpose,
            again: false,
        }
    }

    const NONCE: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

    #[test]
    fn a_signed_link_says_who_for_what_until_when_and_proves_it() {
        let minter = minter(StateMode::Signed, "guilds");
        let link = minter.mint(wanted(3), Lane(2), Timestamp::from_millis(1_700_000_000_999), NONCE);
        let state = query(&link, "state").expect("a state");
        let token = minter.state_key.open(&state).expect("opens");
        assert_eq!(
            token,
            StateToken {
                user: USER,
                expires_at: Timestamp::from_secs(1_700_000_300),
                lane: Lane(2),
                purpose: 3,
                pkce: true,
                again: false,
                nonce: NONCE,
            }
        );
        assert_eq!(link.expires_at, Some(token.expires_at));
        let pkce_key = minter.pkce_keys.first();
        assert_eq!(pkce_id_of(&RawState::new(state.as_str())), pkce::id(&pkce_key));
        let verifier = pkce::verifier(&pkce_key, &state);
        assert_eq!(query(&link, "code_challenge"), Some(pkce::challenge(&verifier)));
        let json = serde_json::to_value(&link).expect("JSON");
        assert_eq!(
            (&json["expires_at"], &json["lane"]),
            (&"2023-11-14T22:18:20.000Z".into(), &2.into())
        );
    }

    #[test]
    fn role_connections_write_goes_without_pkce_in_link_and_token() {
        let minter = minter(StateMode::Signed, "role_connections.write");
        let link = minter.mint(wanted(0), Lane(0), Timestamp::from_secs(1_700_000_000), NONCE);
        assert_eq!(query(&link, "code_challenge"), None);
        let token = minter.state_key.open(&query(&link, "state").expect("a state"));
        assert!(!token.expect("opens").pkce);
    }

    #[test]
    fn other_modes_carry_the_bare_id() {
        for mode in [StateMode::UserId, StateMode::Any] {
            let link = minter(mode, "guilds").mint(wanted(0), Lane(0), Timestamp::from_secs(1_700_000_000), NONCE);
            assert_eq!(query(&link, "state").as_deref(), Some("80000000000000001"));
            assert_eq!((query(&link, "code_challenge"), link.expires_at), (None, None));
        }
    }
}
