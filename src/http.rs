//! What every outbound HTTP client shares: settings, capped reading and the feedback for the governor. Nothing here parses what an answer says, and no error carries a URL or a body.

pub mod trust;

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::CONTENT_TYPE;
use tokio::time::Instant;
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::grant::Reason;
use crate::rate::feedback::HttpFeedback;

/// Too many files are open in this process.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
/// The same for the whole system.
const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();
/// How long opening a connection may take: longer, and Discord is better asked again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Discord wants `DiscordBot (url, version)`; its edge blocks other bots ([Discord Docs/Reference](https://docs.discord.com/developers/reference#user-agent)).
pub const USER_AGENT: &str = concat!(
    "DiscordBot (https://codeferry.example, ",
    env!("CARGO_PKG_VERSION"),
    ")"
);

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
    #[error("the connection could not be opened: {0}")]
    NotSent(Unsent),
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
            Self::NotSent(why) => why.name(),
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
            Self::NotSent(Unsent::of(&e))
        } else if e.is_timeout() {
            Self::TimedOut
        } else {
            Self::Cut
        }
    }
}

/// Why a connection was never opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// The host has no address, or no name server answered.
    #[error("its name could not be resolved")]
    Dns,
    /// Nothing listens there.
    #[error("it was refused")]
    Refused,
    /// Nothing answered in time.
    #[error("nothing answered in time")]
    TimedOut,
    /// A certificate of an authority that is not among the trusted ones.
    #[error("the certificate's authority is unknown")]
    UnknownCa,
    /// A certificate for another name, out of date, or otherwise bad; or no TLS at all.
    #[error("TLS failed")]
    Tls,
    /// The proxy did not let the call through.
    #[error("the proxy refused it")]
    Proxy,
    /// This process has too many files open.
    #[error("too many files are open")]
    TooManyFiles,
    /// Anything else.
    #[error("the cause is unknown")]
    Other,
}

impl Unsent {
    const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns_failure",
            Self::Refused => "connection_refused",
            Self::TimedOut => "connect_timeout",
            Self::UnknownCa => "unknown_ca",
            Self::Tls => "tls_failure",
            Self::Proxy => "proxy_refused",
            Self::TooManyFiles => "too_many_open_files",
            Self::Other => "not_sent",
        }
    }

    /// Looks for the cause among an error's sources. Where a type is private, its own words tell.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        let mut found = Self::Other;
        while let Some(error) = next {
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
                return if *tls == unknown { Self::UnknownCa } else { Self::Tls };
            }
            let io = error.downcast_ref::<io::Error>();
            match io.map(|io| (io.kind(), io.raw_os_error())) {
                Some((_, Some(EMFILE | ENFILE))) => return Self::TooManyFiles,
                Some((io::ErrorKind::ConnectionRefused, _)) => return Self::Refused,
                Some((io::ErrorKind::TimedOut, _)) => return Self::TimedOut,
                _ => {}
            }
            let words = error.to_string();
            if words == "dns error" {
                found = Self::Dns;
            } else if words.starts_with("tunnel error") {
                found = Self::Proxy;
            } else if words == "operation timed out" {
                return Self::TimedOut;
            }
            // An I/O error that wraps another one hides it from `source`.
            next = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        found
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

/// A client with our settings, for addresses on this machine or for `https` addresses beyond it: no redirects (they would
/// carry secrets elsewhere), no silent retries, one total timeout from the first byte of the connection to the last byte
/// of the answer.
pub fn client(loopback: bool, connections: Connections, total: Duration) -> Result<reqwest::Client, SetupError> {
    let mut builder = trust::with_authorities(reqwest::Client::builder())
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .http1_only()
        // Strictly shorter than the total, so that a connection that never opened differs from a lost answer.
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

/// What an answer's head tells the governor; [`HttpFeedback::add_body`] adds what the body says.
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
        came: Some(Instant::now()),
    }
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
    if response.content_length().unwrap_or(0) > cap as u64 {
        return Err(CallFailure::TooLarge);
    }
    let (body, ended) = read_until(response, cap, |_| false).await;
    ended.map(|()| body)
}

/// Reads a body until it ends, or until enough of it or `cap` bytes have come: all that came, and whether it broke off.
pub async fn read_until(
    response: reqwest::Response,
    cap: usize,
    is_enough: impl Fn(&[u8]) -> bool,
) -> (Zeroizing<Vec<u8>>, Result<(), CallFailure>) {
    let announced = response.content_length().unwrap_or(0).min(cap as u64);
    let mut body = Zeroizing::new(Vec::with_capacity(announced as usize));
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => return (body, Err(error.into())),
        };
        let room = cap - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return (body, Err(CallFailure::TooLarge));
        }
        if is_enough(&body) {
            break;
        }
    }
    (body, Ok(()))
}

/// Reads what a refused call's body says about waiting, as far as it can be read at all.
pub async fn read_rate_limit(feedback: &mut HttpFeedback, response: reqwest::Response, cap: usize) {
    if may_be_json(&response)
        && let Ok(body) = read_capped(response, cap).await
    {
        feedback.add_body(&body);
    }
}

/// The reason of an answer that has only its status, such as `http_502`.
pub fn status_reason(status: u16) -> Reason {
    Reason::new(&format!("http_{status}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(error: impl Error + Send + Sync + 'static, want: Unsent) {
        let wrapped = io::Error::other(io::Error::other(error));
        assert_eq!(Unsent::of(&wrapped), want, "{wrapped:?}");
    }

    #[test]
    fn the_cause_is_found_however_deep_it_is_wrapped() {
        use rustls::CertificateError::{Expired, UnknownIssuer};
        is(rustls::Error::InvalidCertificate(UnknownIssuer), Unsent::UnknownCa);
        is(rustls::Error::InvalidCertificate(Expired), Unsent::Tls);
        is(io::Error::from_raw_os_error(EMFILE), Unsent::TooManyFiles);
        is(io::Error::from(io::ErrorKind::ConnectionRefused), Unsent::Refused);
        is(io::Error::other("odd"), Unsent::Other);
    }
}
