//! What an HTTP answer tells the governor, whoever made the call.

use std::time::{Duration, SystemTime};

use actix_web::http::header::HttpDate;

use crate::time::Timestamp;

/// Status, rate-limit headers and the body's own word of one answer. Holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpFeedback {
    /// The status code.
    pub status: u16,
    /// The headers that matter to limits, names in lower case: `retry-after`, `x-ratelimit-*`, `via`, `date`, `content-type`.
    pub headers: Vec<(String, String)>,
    /// `retry_after` of a JSON body.
    pub body_retry_after: Option<Duration>,
    /// `global` of a JSON body.
    pub body_global: bool,
}

impl HttpFeedback {
    /// Names of the headers worth keeping.
    pub fn is_relevant(name: &str) -> bool {
        matches!(name, "retry-after" | "via" | "date" | "content-type") || name.starts_with("x-ratelimit-")
    }

    /// A header's value by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The server's own time, to the second, from the `Date` header.
    pub fn server_time(&self) -> Option<Timestamp> {
        let date: HttpDate = self.header("date")?.parse().ok()?;
        Some(Timestamp::from(SystemTime::from(date)))
    }

    /// Whether one wait is about a thousand times the other: the same one, in milliseconds, as versions before 8 wrote it
    /// into header, body or both.
    pub fn is_thousandfold(large: Duration, small: Duration) -> bool {
        large > Duration::from_secs(1) && large >= small.saturating_mul(500) && large <= small.saturating_mul(2000)
    }

    /// Whether this 429 came from Discord's edge and not from its API: the API always sends `Via`.
    pub fn is_from_edge(&self) -> bool {
        self.status == 429 && self.header("via").is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_time_is_read_from_the_date_header() {
        let dated = |date: &str| HttpFeedback {
            headers: vec![("date".to_owned(), date.to_owned())],
            ..HttpFeedback::default()
        };
        assert_eq!(
            dated("Tue, 14 Nov 2023 22:13:20 GMT").server_time(),
            Some(Timestamp::from_secs(1_700_000_000))
        );
        assert_eq!(dated("yesterday").server_time(), None);
        assert_eq!(HttpFeedback::default().server_time(), None);
    }
}
