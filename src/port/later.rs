//! What every adapter answers where a call may work later.

use std::time::Duration;

/// Not now: a call may be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// Not before this has passed, where the answer said so.
    pub after: Option<Duration>,
    /// Why, for the log: without a URL or content.
    pub reason: String,
}

impl Later {
    /// After the wait that a limit names.
    pub fn limited(wait: Duration) -> Self {
        Self {
            after: Some(wait),
            reason: "rate_limited".to_owned(),
        }
    }

    /// At no particular time.
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            after: None,
            reason: reason.into(),
        }
    }
}
