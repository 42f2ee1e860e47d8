//! What an HTTP answer tells the governor, whoever made the call.

use std::time::Duration;

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

    /// Whether this 429 came from Discord's edge and not from its API: the API always sends `Via`.
    pub fn is_from_edge(&self) -> bool {
        self.status == 429 && self.header("via").is_none()
    }
}
