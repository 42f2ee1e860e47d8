//! What `debug` asks, of a running service and of a stopped store alike. Answers are JSON and hold no secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actors::journal::message::JournalError;
use crate::actors::journal::view::{Filter, GrantView};
use crate::grant::Event;
use crate::ids::{GrantId, UserId};
use crate::port::contact::NoLink;
use crate::store::{Problem, StoreError};

/// A service that stops is asked again after this; one that was restarted answers by then.
const STOPPED_FOR_S: u64 = 10;

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
    /// `POST /v1/links`.
    Link(LinkRequest),
}

/// Who asks for a link.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRequest {
    /// The person.
    #[schemars(with = "String", regex(pattern = "^[0-9]{17,20}$"))]
    pub user_id: UserId,
    /// One of `state.purposes`; the first where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

impl LinkRequest {
    /// The purpose's index, or what is wrong with its name.
    pub fn purpose_index(&self, purposes: &[String]) -> Result<u8, Refusal> {
        let Some(name) = &self.purpose else { return Ok(0) };
        let index = purposes.iter().position(|p| p == name);
        index.and_then(|i| u8::try_from(i).ok()).ok_or_else(|| {
            let known = purposes.join(", ");
            Refusal::new(
                400,
                format!("the purpose is not one of `state.purposes`; use one of: {known}"),
            )
        })
    }
}

/// Which delivery to retry.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequeueBody {
    /// The sink; all of them where it is absent or null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
}

/// What a check of the journal found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verified<'a> {
    /// Whether everything is intact.
    pub ok: bool,
    /// What is not.
    pub problems: &'a [Problem],
}

/// Why an answer was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// 400: it cannot be meant. 404: no such grant. 429: too many links are out. 409: it cannot happen to it. 503: the store failed; with a time to ask again: the service is stopping.
    pub status: u16,
    /// For people.
    pub message: String,
    /// 429 and 503: to be asked again after so many seconds.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
        }
    }

    /// There is no such grant, open or kept.
    pub fn no_such_grant(id: GrantId) -> Self {
        Self::new(
            404,
            format!("there is no grant {id}: it never existed, or it closed longer than journal.closed_retention ago"),
        )
    }

    /// The service drains, or is closed.
    pub fn stopping() -> Self {
        Self {
            retry_after: Some(STOPPED_FOR_S),
            ..Self::new(503, NoLink::Stopping.to_string())
        }
    }

    /// What cannot be done to a grant, and why not.
    pub fn impossible(event: &Event, view: &GrantView) -> Self {
        let id = view.id;
        let Event::Requeued { sink } = event else {
            return Self::new(
                409,
                format!("grant {id} has a call under way: try again in a few seconds"),
            );
        };
        let known: Vec<_> = view.deliveries.keys().map(|name| format!("`{name}`")).collect();
        let why = match sink
            .as_ref()
            .map(|sink| (sink, view.deliveries.get(sink).map(String::as_str)))
        {
            _ if known.is_empty() => format!("grant {id} has no result yet: it is `{}`", view.state),
            None => {
                let all = view
                    .deliveries
                    .iter()
                    .map(|(sink, state)| format!("`{sink}` {}", state.replace('_', " ")));
                let all: Vec<_> = all.collect();
                format!(
                    "grant {id} has no parked delivery that can be retried: {}",
                    all.join(", ")
                )
            }
            Some((sink, None)) => format!("grant {id} has no delivery to `{sink}`: it has {}", known.join(", ")),
            Some((sink, Some("owed"))) => match view.next_attempts.get(&format!("deliver {sink}")) {
                Some(at) => format!("`{sink}` is being retried already: the next attempt is at {at}"),
                None => format!("`{sink}` is being retried already"),
            },
            Some((sink, Some("done"))) => format!("`{sink}` has this result already"),
            Some((sink, Some("gave_up"))) => format!("the delivery to `{sink}` was given up for good"),
            Some((sink, Some(_))) => format!("no sink `{sink}` is configured: add it and restart, then requeue"),
        };
        Self::new(409, why)
    }

    /// The grant is closed: there is nothing left to requeue or drop.
    pub fn closed(id: GrantId) -> Self {
        Self::new(409, format!("grant {id} is closed and cannot be changed any more"))
    }
}

impl From<NoLink> for Refusal {
    fn from(why: NoLink) -> Self {
        let (status, retry_after) = match &why {
            NoLink::Later(after) => (429, Some(after.as_secs())),
            NoLink::Stopping => (503, Some(STOPPED_FOR_S)),
            NoLink::Failed(_) => (503, None),
        };
        Self {
            retry_after,
            ..Self::new(status, why.to_string())
        }
    }
}

impl From<JournalError> for Refusal {
    fn from(why: JournalError) -> Self {
        if matches!(why, JournalError::Stopping | JournalError::Store(StoreError::Closed)) {
            return Self::stopping();
        }
        let status = if matches!(why, JournalError::Refused(_)) {
            409
        } else {
            503
        };
        Self::new(status, why.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(why: StoreError) -> Self {
        if matches!(why, StoreError::Closed) {
            return Self::stopping();
        }
        Self::new(503, why.to_string())
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
            Self::Link(request) => ("POST", "/v1/links".to_owned(), Some(json!(request))),
        }
    }
}

/// The answer to [`Ask::Verify`].
pub fn verified(problems: &[Problem]) -> Value {
    json!(Verified {
        ok: problems.is_empty(),
        problems
    })
}
