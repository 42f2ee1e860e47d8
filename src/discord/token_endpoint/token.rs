//! The token in a successful answer. A code that was answered with 200 is spent, so the token is taken from whatever came:
//! from the beginning of an answer that breaks off, and before the end of one that is large or slow.

use std::fmt;
use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{HttpResponse, Scope};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Judged;
use crate::http;

/// While no more than this has come, each piece is looked through for the token; afterwards only the whole is.
const EARLY: usize = 64 * 1024;

/// Reads an answer until token and scopes are there, or to its end; what broke off may hold them all the same.
pub(super) async fn read(response: reqwest::Response, cap: usize) -> Result<HttpResponse, Judged> {
    let is_enough = |body: &[u8]| body.len() <= EARLY && Found::in_json(body).scope.is_some();
    let (body, _) = http::read_until(response, cap, is_enough).await;
    find(&body).ok_or(Judged::Unreadable)
}

/// The token in a body, whole or not, as an answer for the crate's parser.
pub(super) fn find(body: &[u8]) -> Option<HttpResponse> {
    let found = Found::in_json(body);
    let token = TokenBody {
        access_token: found.access_token.filter(|token| !token.secret().is_empty())?,
        scope: found.scope.unwrap_or_default(),
    };
    Some(HttpResponse::new(serde_json::to_vec(&token).ok()?))
}

/// What was read before the JSON ended or broke off. A value that is not whole counts for nothing.
#[derive(Default)]
struct Found {
    access_token: Option<oauth2::AccessToken>,
    /// Only where the token was found too.
    scope: Option<Vec<Scope>>,
}

impl Found {
    fn in_json(body: &[u8]) -> Self {
        let mut found = Self::default();
        // How it ends does not matter.
        drop(found.read_from(&mut serde_json::Deserializer::from_slice(body)));
        found.scope = found.scope.filter(|_| found.access_token.is_some());
        found
    }

    fn read_from<'de, D: Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Found {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "access_token" => self.access_token = Some(map.next_value()?),
                "scope" => self.scope = Some(map.next_value_seed(Scopes)?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Scopes;

impl<'de> DeserializeSeed<'de> for Scopes {
    type Value = Vec<Scope>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<Scope>, D::Error> {
        lenient_scopes(d)
    }
}

/// A token answer. Whatever else is odd in it, a token that was received must be revoked one day.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TokenBody {
    pub access_token: oauth2::AccessToken,
    pub scope: Vec<Scope>,
}

impl oauth2::TokenResponse for TokenBody {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &oauth2::AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &BasicTokenType::Bearer
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    /// Not kept: revoking either kills both.
    fn refresh_token(&self) -> Option<&oauth2::RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        Some(&self.scope)
    }
}

/// Scopes as a text separated by spaces (RFC 6749 section 3.3), or as a list; anything else counts as none.
fn lenient_scopes<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Scope>, D::Error> {
    let words = |text: &str| text.split_whitespace().map(|s| Scope::new(s.to_owned())).collect();
    Ok(match Value::deserialize(d)? {
        Value::String(text) => words(&text),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_str)
            .map(|s| Scope::new(s.to_owned()))
            .collect(),
        _ => Vec::new(),
    })
}
