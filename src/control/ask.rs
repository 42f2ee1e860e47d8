//! What `debug` asks, of a running service and of a stopped store alike. Answers are JSON and hold no secret.

use serde_json::{Value, json};

use crate::actors::journal::view::Filter;
use crate::ids::GrantId;
use crate::store::Problem;

/// One question or order.
#[derive(Debug, Clone)]
pub enum Ask {
    /// `GET /v1/queue`.
    List(Filter),
    /// `GET /v1/queue/{id}`.
    Show(GrantId),
    /// `GET /v1/stats`.
    Stats,
    /// `POST /v1/queue/{id}/requeue`.
    Requeue {
        /// The grant.
        id: GrantId,
        /// One sink, or all.
        sink: Option<String>,
    },
    /// `POST /v1/queue/{id}/drop`.
    Drop(GrantId),
    /// `GET /v1/budget`.
    Budget,
    /// `GET /v1/verify`.
    Verify,
}

/// Why an answer was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// 404: no such grant. 409: it cannot happen to it. 503: the store failed.
    pub status: u16,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// There is no such grant, open or kept.
    pub fn no_such_grant(id: GrantId) -> Self {
        Self::new(
            404,
            format!("there is no grant {id}: it was never here, or is past journal.closed_retention"),
        )
    }

    /// The grant is closed: there is nothing left to requeue or drop.
    pub fn closed(id: GrantId) -> Self {
        Self::new(409, format!("grant {id} is closed: nothing can be done to it any more"))
    }
}

impl Ask {
    /// The request's method, path with query, and body.
    pub fn request(&self) -> (&'static str, String, Option<Value>) {
        match self {
            Self::List(filter) => {
                let state = filter.state.as_ref().map(|s| format!("&state={s}")).unwrap_or_default();
                (
                    "GET",
                    format!("/v1/queue?limit={}&parked={}{state}", filter.limit, filter.parked),
                    None,
                )
            }
            Self::Show(id) => ("GET", format!("/v1/queue/{id}"), None),
            Self::Stats => ("GET", "/v1/stats".to_owned(), None),
            Self::Requeue { id, sink } => ("POST", format!("/v1/queue/{id}/requeue"), Some(json!({ "sink": sink }))),
            Self::Drop(id) => ("POST", format!("/v1/queue/{id}/drop"), None),
            Self::Budget => ("GET", "/v1/budget".to_owned(), None),
            Self::Verify => ("GET", "/v1/verify".to_owned(), None),
        }
    }
}

/// The answer to [`Ask::Verify`].
pub fn verified(problems: &[Problem]) -> Value {
    json!({ "ok": problems.is_empty(), "problems": problems })
}
