//! The simulator's own door for tests and demonstrations, `/_sim/…`: faults, the record, posts and codes made by hand.
//! It is no part of Discord and knows no rules.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{HttpResponse, Responder, ResponseError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::FaultRule;
use super::gateway::GatewayFault;
use super::interactions::{self, UseRequest};
use super::limits::LimitSettings;
use super::options::BotPermissions;
use super::person::Person;
use super::state::State;

/// Codes to be issued without a consent page.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRequest {
    /// Who approved.
    #[serde(deserialize_with = "id")]
    pub user_id: u64,
    /// Granted scopes.
    #[serde(default = "identify")]
    pub scopes: Vec<String>,
    /// The PKCE challenge.
    #[serde(default)]
    pub code_challenge: Option<String>,
    /// The redirect URI; the first registered one if not given.
    #[serde(default)]
    pub redirect_uri: Option<String>,
    /// How many.
    #[serde(default = "one")]
    pub count: usize,
    /// Echoed in the answer over HTTP.
    #[serde(default)]
    pub state: Option<String>,
}

fn identify() -> Vec<String> {
    vec!["identify".into()]
}

fn one() -> usize {
    1
}

/// Ids come as strings or integers.
pub(super) fn id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    crate::ids::UserId::deserialize(deserializer).map(|id| id.0)
}

fn maybe_id<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<crate::ids::UserId>::deserialize(deserializer).map(|id| id.map(|id| id.0))
}

impl CodeRequest {
    /// One code of a person with the scope `identify`.
    pub fn of(user_id: u64) -> Self {
        Self {
            user_id,
            scopes: identify(),
            code_challenge: None,
            redirect_uri: None,
            count: 1,
            state: None,
        }
    }

    /// So many codes.
    pub fn times(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// Bound to a PKCE challenge.
    pub fn with_challenge(mut self, challenge: impl Into<String>) -> Self {
        self.code_challenge = Some(challenge.into());
        self
    }

    /// With scopes.
    pub fn with_scopes(mut self, scopes: &[&str]) -> Self {
        self.scopes = scopes.iter().map(|s| (*s).to_owned()).collect();
        self
    }
}

/// A message to be posted past every rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostRequest {
    /// The channel; a webhook's own if not given.
    #[serde(default, deserialize_with = "maybe_id")]
    pub channel_id: Option<u64>,
    /// Who posts.
    #[serde(rename = "as")]
    pub author: PostAuthor,
    /// The text, of any length.
    pub content: String,
    /// The name shown, for a webhook.
    #[serde(default)]
    pub username: Option<String>,
    /// Flags.
    #[serde(default)]
    pub flags: u64,
    /// Who may be pinged.
    #[serde(default)]
    pub allowed_mentions: Option<Value>,
}

/// Who posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostAuthor {
    /// A person.
    Person(#[serde(deserialize_with = "id")] u64),
    /// The application's bot.
    Bot,
    /// Another bot.
    OtherBot,
    /// A webhook.
    Webhook(#[serde(deserialize_with = "id")] u64),
}

impl PostRequest {
    /// A post in a channel.
    pub fn new(channel_id: u64, author: PostAuthor, content: impl Into<String>) -> Self {
        Self {
            channel_id: Some(channel_id),
            author,
            content: content.into(),
            username: None,
            flags: 0,
            allowed_mentions: None,
        }
    }

    /// A post through a webhook into its own channel.
    pub fn webhook(webhook_id: u64, content: impl Into<String>) -> Self {
        Self {
            channel_id: None,
            ..Self::new(0, PostAuthor::Webhook(webhook_id), content)
        }
    }
}

/// A change of what is set in the portal; what is absent stays.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortalChange {
    /// Application flags.
    pub flags: Option<u64>,
    /// Registered redirect URIs.
    pub redirect_uris: Option<Vec<String>>,
    /// A reset client secret.
    pub client_secret: Option<String>,
    /// A reset bot token.
    pub bot_token: Option<String>,
    /// The life of codes, which Discord's portal does not offer.
    pub code_lifetime_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelChange {
    #[serde(deserialize_with = "id")]
    channel_id: u64,
    permissions: BotPermissions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookChange {
    #[serde(deserialize_with = "id")]
    webhook_id: u64,
    #[serde(default, deserialize_with = "maybe_id")]
    move_to: Option<u64>,
}

/// The routes below `/_sim`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            web::resource("/faults")
                .route(web::post().to(add_faults))
                .route(web::get().to(list_faults))
                .route(web::delete().to(clear_faults)),
        )
        .service(
            web::resource("/gateway")
                .route(web::post().to(gateway_fault))
                .route(web::get().to(gateway_status)),
        )
        .service(
            web::resource("/limits")
                .route(web::put().to(set_limits))
                .route(web::delete().to(reset_limits)),
        )
        .route("/ledger", web::get().to(ledger))
        .route("/summary", web::get().to(summary))
        .route("/describe", web::get().to(describe))
        .route("/post", web::post().to(post))
        .route("/codes", web::post().to(codes))
        .route("/use", web::post().to(use_command))
        .route("/interactions/{id}", web::get().to(interaction))
        .route("/people", web::post().to(person))
        .route("/permissions", web::post().to(permissions))
        .route("/portal", web::post().to(portal))
        .route("/webhook", web::post().to(webhook));
}

type Shared = Data<Arc<State>>;

/// A body that is not what the route reads.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the body")]
struct Malformed(#[source] serde_json::Error);

impl ResponseError for Malformed {
    fn status_code(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::BadRequest().json(json!({"message": format!("{self}: {}", self.0)}))
    }
}

type Reply = Result<HttpResponse, Malformed>;

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(Malformed)
}

fn done() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

fn unless_missing(found: bool) -> HttpResponse {
    if found {
        done()
    } else {
        HttpResponse::NotFound().json(json!({"message": "no such channel or webhook"}))
    }
}

async fn add_faults(state: Shared, body: Bytes) -> Reply {
    let value: Value = read(&body)?;
    let rules: Vec<FaultRule> = if value.is_array() {
        read(&body)?
    } else {
        vec![read(&body)?]
    };
    let now_us = state.now_us();
    let mut inner = state.lock();
    for rule in rules {
        inner.faults.add(rule, now_us);
    }
    Ok(done())
}

async fn list_faults(state: Shared) -> impl Responder {
    web::Json(state.lock().faults.rules())
}

async fn clear_faults(state: Shared) -> impl Responder {
    state.lock().faults.clear();
    done()
}

async fn gateway_fault(state: Shared, body: Bytes) -> Reply {
    let fault: GatewayFault = read(&body)?;
    state.gateway().fault(fault);
    Ok(done())
}

async fn gateway_status(state: Shared) -> impl Responder {
    web::Json(state.gateway().status())
}

async fn set_limits(state: Shared, body: Bytes) -> Reply {
    let settings: LimitSettings = read(&body)?;
    let mut inner = state.lock();
    inner.limits.settings = settings;
    inner.limits.reset();
    Ok(done())
}

async fn reset_limits(state: Shared) -> impl Responder {
    state.lock().limits.reset();
    done()
}

async fn ledger(state: Shared) -> impl Responder {
    let ledger = state.lock().ledger.clone();
    web::Json(ledger)
}

async fn summary(state: Shared) -> impl Responder {
    web::Json(state.lock().ledger.summary())
}

async fn describe(state: Shared) -> impl Responder {
    web::Json(state.describe())
}

async fn post(state: Shared, body: Bytes) -> Reply {
    let request: PostRequest = read(&body)?;
    Ok(match state.post(request) {
        Some(id) => HttpResponse::Ok().json(json!({"id": id.to_string()})),
        None => unless_missing(false),
    })
}

async fn codes(state: Shared, body: Bytes) -> Reply {
    let request: CodeRequest = read(&body)?;
    let codes = state.mint_codes(&request);
    Ok(HttpResponse::Ok().json(json!({"codes": codes, "state": request.state})))
}

async fn use_command(state: Shared, body: Bytes) -> Reply {
    let request: UseRequest = read(&body)?;
    let id = interactions::use_command(&state, &request);
    Ok(HttpResponse::Ok().json(json!({"id": id.to_string()})))
}

async fn interaction(state: Shared, id: web::Path<u64>) -> HttpResponse {
    match state.lock().world.interactions.get(&id.into_inner()) {
        Some(found) => HttpResponse::Ok().json(json!({"answer": found.answer, "refused": found.refused})),
        None => HttpResponse::NotFound().json(json!({"message": "no such interaction"})),
    }
}

async fn person(state: Shared, body: Bytes) -> Reply {
    let person: Person = read(&body)?;
    state.lock().world.people.insert(person.id, person);
    Ok(done())
}

async fn permissions(state: Shared, body: Bytes) -> Reply {
    let change: ChannelChange = read(&body)?;
    Ok(unless_missing(state.permit(change.channel_id, change.permissions)))
}

async fn portal(state: Shared, body: Bytes) -> Reply {
    state.change_portal(read(&body)?);
    Ok(done())
}

async fn webhook(state: Shared, body: Bytes) -> Reply {
    let change: WebhookChange = read(&body)?;
    Ok(unless_missing(state.change_webhook(change.webhook_id, change.move_to)))
}
