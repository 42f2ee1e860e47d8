//! The resource server: reads what a person approved, with that person's token. It checks the outer shape only and
//! hands the JSON on as it came, so that fields unknown today are not lost.

use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;
use zeroize::Zeroizing;

use super::api_base::ApiBase;
use crate::grant::Reason;
use crate::http::{self, CallFailure, Connections, SetupError};
use crate::ids::{GuildId, UserId};
use crate::port::discord::{Answered, FetchAnswer, Resource, ResourceServer};
use crate::port::later::Later;
use crate::rate::feedback::HttpFeedback;
use crate::secret::{AccessToken, PersonalData};

/// 200 guilds, the most Discord lists, are about 100 KiB.
const ANSWER_CAP: usize = 1024 * 1024;
/// Error answers are short; a longer one is not worth reading.
const ERROR_CAP: usize = 64 * 1024;
/// Discord nests its answers four levels deep; JSON parsers give up at 128.
const DEEPEST: usize = 64;
/// `internal network error`: the edge blocked the call, the scope was not even looked at.
const BLOCKED_BY_EDGE: u64 = 40333;

/// The resource server over HTTP.
pub struct HttpResourceServer {
    user: Url,
    connections: Url,
    guilds: Url,
    /// Of the configured guild, if there is one.
    member: Option<Url>,
    http: reqwest::Client,
}

impl HttpResourceServer {
    /// Makes the client; opens nothing. `guild` is the one whose member is fetched.
    pub fn new(base: &ApiBase, guild: Option<GuildId>, timeout: Duration) -> Result<Self, SetupError> {
        Ok(Self {
            user: base.endpoint("/users/@me"),
            connections: base.endpoint("/users/@me/connections"),
            guilds: base.endpoint("/users/@me/guilds"),
            member: guild.map(|guild| base.endpoint(&format!("/users/@me/guilds/{guild}/member"))),
            http: http::client(base.is_loopback(), Connections::Pooled, timeout)?,
        })
    }

    fn url(&self, resource: Resource) -> Option<&Url> {
        match resource {
            Resource::User => Some(&self.user),
            Resource::Connections => Some(&self.connections),
            Resource::Guilds => Some(&self.guilds),
            Resource::Member => self.member.as_ref(),
        }
    }

    async fn get(&self, token: &AccessToken, resource: Resource) -> Answered<FetchAnswer> {
        let Some(url) = self.url(resource) else {
            return Answered::unsent(FetchAnswer::Refused(Reason::new("no_guild")));
        };
        let Ok(mut bearer) = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.expose()))) else {
            return Answered::unsent(FetchAnswer::Unauthorized);
        };
        bearer.set_sensitive(true);
        let request = self
            .http
            .get(url.clone())
            .header(AUTHORIZATION, bearer)
            .header(ACCEPT, "application/json");
        let response = match request.send().await {
            Ok(response) => response,
            Err(e) => return Answered::unsent(again(CallFailure::from(e).name())),
        };
        let mut feedback = http::feedback(&response);
        let outcome = judge(response, resource, &mut feedback).await;
        Answered {
            outcome,
            feedback: Some(feedback),
        }
    }
}

impl ResourceServer for HttpResourceServer {
    fn fetch<'a>(&'a self, token: &'a AccessToken, resource: Resource) -> LocalBoxFuture<'a, Answered<FetchAnswer>> {
        self.get(token, resource).boxed_local()
    }
}

fn again(reason: impl Into<String>) -> FetchAnswer {
    FetchAnswer::Later(Later::because(reason))
}

async fn judge(response: reqwest::Response, resource: Resource, feedback: &mut HttpFeedback) -> FetchAnswer {
    let status = response.status();
    match status {
        StatusCode::OK => {
            if !http::may_be_json(&response) {
                return again("not_json");
            }
            match http::read_capped(response, ANSWER_CAP).await {
                Ok(body) => accept(&body, resource),
                Err(failure) => again(failure.name()),
            }
        }
        StatusCode::UNAUTHORIZED => FetchAnswer::Unauthorized,
        StatusCode::TOO_MANY_REQUESTS => {
            http::read_rate_limit(feedback, response, ERROR_CAP).await;
            FetchAnswer::Later(Later::limited(feedback.wait_after_limit()))
        }
        _ if status.is_redirection() => again("redirect"),
        _ if !status.is_client_error() || status == StatusCode::REQUEST_TIMEOUT => FetchAnswer::Later(Later {
            after: feedback.named_wait(),
            reason: http::status_reason(status.as_u16()).to_string(),
        }),
        // A 403 or 404 that is no JSON comes from something in front of the API and says nothing about the scope.
        _ if !http::may_be_json(&response) => again("not_json"),
        _ => match http::read_capped(response, ERROR_CAP).await {
            Err(failure) => again(failure.name()),
            Ok(body) if error_code(&body) == Some(BLOCKED_BY_EDGE) => again("blocked_by_edge"),
            Ok(_) => FetchAnswer::Refused(http::status_reason(status.as_u16())),
        },
    }
}

fn error_code(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()?
        .get("code")?
        .as_u64()
}

/// Checks a 200's body: JSON, of the resource's outer shape, and for a user with a snowflake as its id.
fn accept(body: &[u8], resource: Resource) -> FetchAnswer {
    #[derive(Deserialize)]
    struct Identified {
        id: UserId,
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return again("not_json");
    };
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return again("not_json");
    }
    let wrong_shape = || FetchAnswer::Refused(Reason::new("wrong_shape"));
    let Some(json) = compact(text) else {
        return wrong_shape();
    };
    let expected = match resource {
        Resource::User | Resource::Member => '{',
        Resource::Connections | Resource::Guilds => '[',
    };
    if !json.starts_with(expected) {
        return wrong_shape();
    }
    let user = match resource {
        Resource::User => match serde_json::from_str::<Identified>(text) {
            Ok(person) => Some(person.id),
            Err(_) => return wrong_shape(),
        },
        _ => None,
    };
    FetchAnswer::Data {
        json: PersonalData::new(json.as_str()),
        user,
    }
}

/// Valid JSON on one line: white space between tokens goes, everything else stays as it came, numbers and the order of
/// keys included. `None` where it is nested deeper than later parsers accept.
fn compact(json: &str) -> Option<Zeroizing<String>> {
    let mut out = Zeroizing::new(String::with_capacity(json.len()));
    let (mut in_string, mut escaped, mut depth) = (false, false, 0_usize);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                ' ' | '\t' | '\n' | '\r' => continue,
                '"' => in_string = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                _ => {}
            }
            if depth > DEEPEST {
                return None;
            }
        }
        out.push(c);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(body: &str, resource: Resource) -> Option<(String, Option<UserId>)> {
        match accept(body.as_bytes(), resource) {
            FetchAnswer::Data { json, user } => Some((json.expose().to_owned(), user)),
            _ => None,
        }
    }

    #[test]
    fn json_is_handed_on_as_it_came_but_on_one_line() {
        let body = "{\n \"z\" : 1.10,\r\n\t\"id\": \"80000000000000001\", \"a\": \"x \\\" y\\\\\", \"n\": 12345678901234567890123 }\n";
        let (json, user) = accepted(body, Resource::User).expect("accepted");
        assert_eq!(
            json,
            r#"{"z":1.10,"id":"80000000000000001","a":"x \" y\\","n":12345678901234567890123}"#
        );
        assert_eq!(user, Some(UserId(80_000_000_000_000_001)));
    }

    #[test]
    fn a_user_without_a_snowflake_is_refused() {
        for body in [
            "{}",
            r#"{"id":null}"#,
            r#"{"id":"7"}"#,
            r#"{"id":["80000000000000001"]}"#,
            r#"["80000000000000001"]"#,
            "null",
        ] {
            assert!(
                matches!(accept(body.as_bytes(), Resource::User), FetchAnswer::Refused(_)),
                "{body}"
            );
        }
    }

    #[test]
    fn broken_json_is_asked_for_again_and_deep_json_is_refused() {
        for body in [r#"{"id":"80000000000000001""#, "", "<html>", "{} {}"] {
            assert!(
                matches!(accept(body.as_bytes(), Resource::User), FetchAnswer::Later(_)),
                "{body}"
            );
        }
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(matches!(
            accept(deep.as_bytes(), Resource::Guilds),
            FetchAnswer::Refused(_)
        ));
        assert!(accepted("[]", Resource::Guilds).is_some());
        assert!(accepted("{}", Resource::Guilds).is_none());
    }
}
