//! Pages on a port of loopback for this machine's own browser: which requests are meant for them, and what each answer
//! says to the browser.

use std::net::SocketAddr;

use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use super::request::{Answer, with_body};

/// The names by which a page of loopback may be asked for.
#[derive(Debug, Clone)]
pub struct LocalPage {
    hosts: [String; 2],
}

impl LocalPage {
    /// A page at this address.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            hosts: [address.to_string(), format!("localhost:{}", address.port())],
        }
    }

    /// Whether the request's `Host` is this page. A foreign name that points at loopback (DNS rebinding) is not.
    pub fn is_host(&self, host: Option<&str>) -> bool {
        host.is_some_and(|host| self.hosts.iter().any(|ours| ours == host))
    }

    /// Whether the request's `Origin`, where the browser sends one, is this page.
    pub fn is_origin(&self, origin: Option<&str>) -> bool {
        let scheme = |origin: &str| origin.strip_prefix("http://").map(str::to_owned);
        origin.is_none_or(|origin| self.is_host(scheme(origin).as_deref()))
    }
}

/// A file that is compiled in.
pub fn file(kind: &'static str, text: &'static str) -> Answer {
    with_body(StatusCode::OK, kind, text)
}

/// Plain text.
pub fn text(status: StatusCode, text: &'static str) -> Answer {
    with_body(status, "text/plain; charset=utf-8", text)
}

/// Adds what the page may load, and forbids the browser to keep it or to send its address on.
pub fn guarded(policy: &'static str, mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_pointed_at_loopback_is_not_this_host() {
        let page = LocalPage::at("127.0.0.1:4000".parse().expect("an address"));
        assert!(page.is_host(Some("127.0.0.1:4000")) && page.is_host(Some("localhost:4000")));
        for other in [
            None,
            Some(""),
            Some("127.0.0.1"),
            Some("evil.example:4000"),
            Some("127.0.0.1:4001"),
        ] {
            assert!(!page.is_host(other), "{other:?}");
        }
        assert!(page.is_origin(None) && page.is_origin(Some("http://127.0.0.1:4000")));
        for other in [
            "null",
            "http://evil.example",
            "https://127.0.0.1:4000",
            "http://127.0.0.1",
        ] {
            assert!(!page.is_origin(Some(other)), "{other}");
        }
    }
}
