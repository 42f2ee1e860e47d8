//! Synthetic people: a link minted for each, and the message that a relay would post for their code.

use codeferry::ids::{Lane, UserId};
use codeferry::intake::pkce;
use codeferry::intake::state::{StateKey, StateToken};
use codeferry::intake::v1::{self, Redirect};
use codeferry::secret::{CodeVerifier, Key};
use codeferry::time::{Clock, SystemClock, Timestamp};

/// The service's key of this name: nothing here is secret.
pub fn key(name: &str) -> String {
    format!("{name} 0123456789abcdef0123456789abcdef")
}

/// Somebody with a link: a signed state, with PKCE as links are minted by default.
pub struct Person {
    pub user: UserId,
    pub nonce: [u8; 8],
    pub state: String,
    pub verifier: CodeVerifier,
}

impl Person {
    /// The n-th person. No two bursts share people: revoking a token kills all of its person's tokens.
    pub fn of(n: u64) -> Self {
        let user = UserId(80_000_000_000_000_001 + n);
        let nonce = n.to_be_bytes();
        let state = StateKey::new(&Key::new(key("STATE").as_bytes())).mint(&StateToken {
            user,
            expires_at: Timestamp::from_secs(SystemClock.now().as_secs() + 300),
            lane: Lane(0),
            purpose: 0,
            pkce: true,
            again: false,
            nonce,
        });
        let verifier = pkce::verifier(&Key::new(key("PKCE").as_bytes()), &state);
        Self {
            user,
            nonce,
            state,
            verifier,
        }
    }

    pub fn challenge(&self) -> String {
        pkce::challenge(&self.verifier)
    }
}

/// A person who has approved.
pub struct Approved {
    pub person: Person,
    pub code: String,
}

impl Approved {
    /// The relay's message of version 1 with this one code.
    pub fn message(&self, bot: &str) -> anyhow::Result<String> {
        let redirect = Redirect {
            time: SystemClock.now().as_secs(),
            result: Ok(self.code.clone()),
            state: Some(self.person.state.clone()),
        };
        Ok(v1::encode(
            bot.parse()?,
            &[redirect],
            &Key::new(key("RELAY").as_bytes()),
        ))
    }
}
