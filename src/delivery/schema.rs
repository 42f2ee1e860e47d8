//! What a result looks like, for those who read one: `result` writes it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The result of one sign-in, as every sink is given it. Keys that were not asked for are absent; what Discord has sent is
/// handed on with fields that are not known here.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuthorizationResult {
    /// The grant's id: the same result may come twice, under the same id.
    #[schemars(with = "String")]
    pub id: String,
    /// `authorization.` and the outcome.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Why; on all outcomes but `completed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the code was journalled (RFC 3339, UTC).
    pub received_at: String,
    /// When the outcome was known.
    pub settled_at: String,
    /// Whether the user was sent a fresh link; only where `reinvite` is on and the code expired or was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reinvited: Option<bool>,
    /// What the link said.
    pub state: State,
    /// The scopes that were granted.
    pub scopes: Vec<String>,
    /// Discord's user object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Map<String, Value>>,
    /// Discord's connection objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Vec<Map<String, Value>>>,
    /// Discord's partial guild objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guilds: Option<Vec<Map<String, Value>>>,
    /// Discord's guild member object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<Map<String, Value>>,
    /// Resources that could not be fetched.
    pub missing: Vec<String>,
}

/// The outcomes that send a result, and the test.
#[derive(Debug, Serialize, JsonSchema)]
pub enum Kind {
    /// The user approved, and everything was fetched.
    #[serde(rename = "authorization.completed")]
    Completed,
    /// The user refused.
    #[serde(rename = "authorization.denied")]
    Denied,
    /// The code expired before it was presented.
    #[serde(rename = "authorization.expired")]
    Expired,
    /// Discord or the state token refused it.
    #[serde(rename = "authorization.refused")]
    Refused,
    /// Somebody else approved the link.
    #[serde(rename = "authorization.wrong_person")]
    WrongPerson,
    /// The answer to the exchange was lost.
    #[serde(rename = "authorization.lost")]
    Lost,
    /// The data could not be fetched.
    #[serde(rename = "authorization.failed")]
    Failed,
    /// An operator dropped it.
    #[serde(rename = "authorization.dropped")]
    Dropped,
    /// No sign-in: `codeferry doctor --probe` tests the receiver.
    #[serde(rename = "authorization.test")]
    Test,
}

/// What the link's state said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct State {
    /// The user for whom the link was made.
    pub user_id: Option<String>,
    /// Its purpose.
    pub purpose: Option<String>,
    /// The raw state, in the modes `user_id` and `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}
