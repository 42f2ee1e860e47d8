//! What every HTTP client of this folder shares: the checked base address, client settings, capped reading and the
//! feedback for the governor. Nothing here parses what an answer says, and no error carries a URL or a body.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::CONTENT_TYPE;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::grant::Reason;
use crate::rate::feedback::HttpFeedback;

/// How long opening a connection may take: longer, and Discord is better asked again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest wait an answer may ask of us; Discord's longest penalties on our routes are 45 s, the edge's an hour.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// Below this a wait would turn an answer of `Retry-After: 0` into a busy loop.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
/// The wait after a 429 of Discord's edge that names none: its bans last minutes, a code lives 100 s.
const EDGE_WAIT: Duration = Duration::from_mins(1);
/// The wait after a 429 of Discord's API that names none.
const API_WAIT: Duration = Duration::from_secs(5);

/// Discord wants `DiscordBot (url, version)`; its edge blocks other bots ([Discord Docs/Reference](https://docs.discord.com/developers/reference#user-agent)).
pub const USER_AGENT: &str = concat!(
    "DiscordBot (https://codeferry.example, ",
    env!("CARGO_PKG_VERSION"),
    ")"
);

/// Where Discord's API is: `https`, or `http` on this machine only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiBase {
    url: Url,
    loopback: bool,
}

/// Why an address cannot be the API's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadApiBase {
    /// No URL at all, or one with a user, a query or a fragment.
    #[error("not a plain URL such as `https://discord.com/api/v10`")]
    NotAUrl,
    /// Credentials would travel unencrypted.
    #[error("must be `https`: `http` is accepted for loopback addresses only")]
    Insecure,
}

/// A client could not be made, or one of its settings is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The TLS back-end or the settings were refused.
    #[error("the HTTP client could not be set up")]
    Client,
    /// Not a URL.
    #[error("`redirect_uri` is not a URL")]
    RedirectUri,
}

/// Why no complete answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The connection was never opened, so nothing was sent.
    #[error("the connection could not be opened")]
    NotSent,
    /// No complete answer within the time allowed.
    #[error("no complete answer in time")]
    TimedOut,
    /// The connection broke, or the answer ended early.
    #[error("the connection was cut")]
    Cut,
    /// The answer is larger than the cap.
    #[error("the answer is too large")]
    TooLarge,
}

impl CallFailure {
    /// The name used in reasons and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSent => "not_sent",
            Self::TimedOut => "timeout",
            Self::Cut => "cut_off",
            Self::TooLarge => "too_large",
        }
    }

    /// The same as a [`Reason`].
    pub fn reason(self) -> Reason {
        Reason::new(self.name())
    }
}

impl From<reqwest::Error> for CallFailure {
    /// Drops the error itself: its `Display` holds the URL, and a webhook's URL holds its token.
    fn from(e: reqwest::Error) -> Self {
        if e.is_connect() || e.is_builder() {
            Self::NotSent
        } else if e.is_timeout() {
            Self::TimedOut
        } else {
            Self::Cut
        }
    }
}

impl ApiBase {
    /// Checks an address such as `https://discord.com/api/v10`.
    pub fn parse(text: &str) -> Result<Self, BadApiBase> {
        let mut url = Url::parse(text).map_err(|_| BadApiBase::NotAUrl)?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        if !plain || !url.has_host() {
            return Err(BadApiBase::NotAUrl);
        }
        let loopback = is_loopback(&url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(BadApiBase::Insecure),
            _ => return Err(BadApiBase::NotAUrl),
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self { url, loopback })
    }

    /// The address of an endpoint; `path` starts with a slash and needs no escaping.
    pub fn endpoint(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let full = format!("{}{path}", self.url.path().trim_end_matches('/'));
        url.set_path(&full);
        url
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

/// Whether a URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// Whether idle connections are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// A connection per call: a stale idle one would make the outcome of a single-use code unknown.
    OnePerCall,
    /// Idle connections are kept; for calls that may be made again.
    Pooled,
}

/// A client with our settings: no redirects (they would carry secrets elsewhere), no silent retries, one total timeout
/// from the first byte of the connection to the last byte of the answer.
pub fn client(base: &ApiBase, connections: Connections, total: Duration) -> Result<reqwest::Client, SetupError> {
    client_for(base.is_loopback(), connections, total)
}

/// The same for addresses on this machine, or for `https` addresses beyond it.
pub fn client_for(loopback: bool, connections: Connections, total: Duration) -> Result<reqwest::Client, SetupError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        // Strictly shorter than the total, so that a connection that never opened is told apart from a lost answer.
        .connect_timeout(CONNECT_TIMEOUT.min(total.mul_f64(0.75)))
        .timeout(total);
    if connections == Connections::OnePerCall {
        builder = builder.pool_max_idle_per_host(0);
    }
    // A proxy from the environment is for the way out of this machine, and must not see loopback traffic.
    builder = if loopback {
        builder.no_proxy()
    } else {
        builder.https_only(true)
    };
    builder.build().map_err(|_| SetupError::Client)
}

/// What an answer's head tells the governor; the body's own word is added by [`add_body`].
pub fn feedback(response: &reqwest::Response) -> HttpFeedback {
    let headers = response
        .headers()
        .iter()
        .filter(|(name, _)| HttpFeedback::is_relevant(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    HttpFeedback {
        status: response.status().as_u16(),
        headers,
        body_retry_after: None,
        body_global: false,
    }
}

/// Adds `retry_after` and `global` of a 429's JSON body. They are read one by one: an odd field hides no other.
pub fn add_body(feedback: &mut HttpFeedback, body: &[u8]) {
    let Ok(serde_json::Value::Object(map)) = serde_json::from_slice(body) else {
        return;
    };
    let seconds = map
        .get("retry_after")
        .and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()));
    feedback.body_retry_after = seconds.and_then(seconds_of);
    feedback.body_global = map.get("global").and_then(serde_json::Value::as_bool).unwrap_or(false);
}

/// Whether the answer calls itself JSON. One without a content type is given the benefit of the doubt and parsed.
pub fn may_be_json(response: &reqwest::Response) -> bool {
    let Some(value) = response.headers().get(CONTENT_TYPE) else {
        return true;
    };
    value.to_str().is_ok_and(|text| {
        let media = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        media == "application/json" || media.ends_with("+json")
    })
}

/// Reads a body of at most `cap` bytes and gives up while streaming, not after.
pub async fn read_capped(response: reqwest::Response, cap: usize) -> Result<Zeroizing<Vec<u8>>, CallFailure> {
    let announced = response.content_length().unwrap_or(0);
    if announced > cap as u64 {
        return Err(CallFailure::TooLarge);
    }
    let mut body = Zeroizing::new(Vec::with_capacity(announced as usize));
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > cap {
            return Err(CallFailure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads what a refused call's body says about waiting, as far as it can be read at all.
pub async fn read_rate_limit(feedback: &mut HttpFeedback, response: reqwest::Response, cap: usize) {
    if may_be_json(&response)
        && let Ok(body) = read_capped(response, cap).await
    {
        add_body(feedback, &body);
    }
}

/// The wait that an answer asks for, if it names one: the longest of header and body, within an hour. Where one of the
/// two is in milliseconds, the other one counts.
pub fn named_wait(feedback: &HttpFeedback) -> Option<Duration> {
    // Discord's old API versions count in milliseconds; its edge never does. No route of ours is closed for an hour.
    let sane = |wait: Duration| {
        let wait = if wait > LONGEST_WAIT && !feedback.is_from_edge() {
            wait / 1000
        } else {
            wait
        };
        wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)
    };
    let (header, body) = (retry_after(feedback), feedback.body_retry_after);
    let (larger, smaller) = (header.max(body), header.min(body));
    let agreed = match (larger, smaller) {
        (Some(large), Some(small)) if HttpFeedback::is_thousandfold(large, small) => smaller,
        _ => larger,
    };
    agreed
        .or_else(|| header_seconds(feedback, "x-ratelimit-reset-after").filter(|_| feedback.status == 429))
        .map(sane)
}

/// The wait after a 429, named or not.
pub fn wait_after_limit(feedback: &HttpFeedback) -> Duration {
    let unnamed = if feedback.is_from_edge() { EDGE_WAIT } else { API_WAIT };
    named_wait(feedback).unwrap_or(unnamed)
}

/// The reason of an answer that is told by its status alone, such as `http_502`.
pub fn status_reason(status: u16) -> Reason {
    Reason::new(&format!("http_{status}"))
}

/// `Retry-After` as it stands, in seconds, whole or with a fraction. A date counts as absent.
pub fn retry_after(feedback: &HttpFeedback) -> Option<Duration> {
    header_seconds(feedback, "retry-after")
}

fn header_seconds(feedback: &HttpFeedback, name: &str) -> Option<Duration> {
    seconds_of(feedback.header(name)?.trim().parse().ok()?)
}

fn seconds_of(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(headers: &[(&str, &str)], body: &str) -> HttpFeedback {
        let mut feedback = HttpFeedback {
            status: 429,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            ..HttpFeedback::default()
        };
        add_body(&mut feedback, body.as_bytes());
        feedback
    }

    #[track_caller]
    fn check_wait(headers: &[(&str, &str)], body: &str, millis: u64) {
        assert_eq!(
            wait_after_limit(&limited(headers, body)),
            Duration::from_millis(millis),
            "{headers:?} {body}"
        );
    }

    #[test]
    fn a_429_in_any_shape_names_a_sane_wait() {
        const API: (&str, &str) = ("via", "1.1 google");
        check_wait(&[API, ("retry-after", "2")], r#"{"retry_after":1.412}"#, 2000);
        check_wait(&[API], r#"{"retry_after":41.3,"global":false}"#, 41_300);
        check_wait(&[API], r#"{"retry_after":"41.3"}"#, 41_300);
        check_wait(&[API, ("x-ratelimit-reset-after", "1.5")], "", 1500);
        check_wait(&[API, ("retry-after", "43323")], "", 43_323);
        check_wait(&[API, ("retry-after", "43323")], r#"{"retry_after":43.323}"#, 43_323);
        check_wait(&[API, ("retry-after", "0")], "", 250);
        check_wait(&[API], "", 5000);
        check_wait(&[API, ("retry-after", "-1")], r#"{"retry_after":null}"#, 5000);
        check_wait(&[API, ("retry-after", "nan")], r#"{"retry_after":1e400}"#, 5000);
        check_wait(&[("retry-after", "30")], "error code: 1015", 30_000);
        check_wait(&[("retry-after", "86400")], "", 3_600_000);
        check_wait(&[], "<html>", 60_000);
    }

    #[test]
    fn a_wait_of_seconds_beside_milliseconds_is_not_taken_for_most_of_an_hour() {
        const API: (&str, &str) = ("via", "1.1 google");
        check_wait(&[API, ("retry-after", "3")], r#"{"retry_after":3000}"#, 3000);
        check_wait(&[API, ("retry-after", "2")], r#"{"retry_after":1412}"#, 2000);
        check_wait(&[API, ("retry-after", "1412")], r#"{"retry_after":1.412}"#, 1412);
    }

    #[test]
    fn odd_fields_of_a_429_do_not_hide_the_others() {
        let feedback = limited(&[], r#"{"retry_after":3,"global":"yes","message":7}"#);
        assert_eq!(feedback.body_retry_after, Some(Duration::from_secs(3)));
        assert!(!feedback.body_global);
        assert!(limited(&[], r#"{"retry_after":[],"global":true}"#).body_global);
    }

    #[test]
    fn secrets_travel_unencrypted_on_this_machine_only() {
        for good in [
            "https://discord.com/api/v10",
            "https://discord.com/api/v10/",
            "http://127.0.0.1:8080/api/v10",
            "http://[::1]:8080/api/v10",
            "http://localhost:1/api/v10",
        ] {
            assert!(ApiBase::parse(good).is_ok(), "{good}");
        }
        for insecure in [
            "http://discord.com/api/v10",
            "http://10.0.0.1/api/v10",
            "http://127.0.0.1.evil.example/api/v10",
        ] {
            assert_eq!(ApiBase::parse(insecure), Err(BadApiBase::Insecure), "{insecure}");
        }
        for odd in [
            "",
            "discord.com",
            "ftp://127.0.0.1/",
            "https://user:pw@discord.com/",
            "https://discord.com/?a=b",
            "file:///api",
        ] {
            assert_eq!(ApiBase::parse(odd), Err(BadApiBase::NotAUrl), "{odd}");
        }
    }

    #[test]
    fn endpoints_extend_the_base() {
        let base = ApiBase::parse("http://127.0.0.1:9/api/v10/").expect("loopback");
        assert_eq!(
            base.endpoint("/oauth2/token").as_str(),
            "http://127.0.0.1:9/api/v10/oauth2/token"
        );
    }
}
