//! The control interface for tests and demonstrations over HTTP, `/_sim/…`. Discord has nothing like it.

use std::fmt::Display;

use actix_web::error::{InternalError, JsonPayloadError};
use actix_web::web::{self, Data, Json, JsonConfig, ServiceConfig};
use actix_web::{HttpResponse, Responder};
use serde_json::{Value, json};

use super::action::{ChannelChange, CodeRequest, PortalChange, PostRequest, UseRequest, WebhookChange};
use super::faults::FaultRule;
use super::gateway::GatewayFault;
use super::limits::LimitSettings;
use super::person::Person;
use super::state::State;

/// The routes below `/_sim`. Bodies are JSON whatever their content type says.
pub fn routes(config: &mut ServiceConfig) {
    let json = JsonConfig::default()
        .content_type(|_| true)
        .content_type_required(false)
        .error_handler(|error, _| match error {
            JsonPayloadError::Deserialize(error) => malformed(error),
            other => malformed(other),
        });
    config
        .app_data(json)
        .service(
            web::resource("/faults")
                .route(web::post().to(add_faults))
                .route(web::get().to(|s: Shared| async move { Json(s.faults().list()) }))
                .route(web::delete().to(clear_faults)),
        )
        .service(
            web::resource("/gateway")
                .route(web::post().to(gateway_fault))
                .route(web::get().to(|s: Shared| async move { Json(s.gateway().status()) })),
        )
        .service(
            web::resource("/limits")
                .route(web::put().to(set_limits))
                .route(web::delete().to(reset_limits)),
        )
        .route("/ledger", web::get().to(|s: Shared| async move { Json(s.ledger()) }))
        .route("/summary", web::get().to(|s: Shared| async move { Json(s.summary()) }))
        .route(
            "/describe",
            web::get().to(|s: Shared| async move { Json(s.describe()) }),
        )
        .route("/post", web::post().to(post))
        .route("/codes", web::post().to(codes))
        .route("/use", web::post().to(use_command))
        .route("/interactions/{id}", web::get().to(interaction))
        .route("/people", web::post().to(person))
        .route("/permissions", web::post().to(permissions))
        .route("/portal", web::post().to(portal))
        .route("/webhook", web::post().to(webhook));
}

type Shared = Data<State>;

fn malformed(error: impl Display) -> actix_web::Error {
    let body = json!({"message": format!("cannot read the body: {error}")});
    InternalError::from_response("", HttpResponse::BadRequest().json(body)).into()
}

fn done() -> HttpResponse {
    HttpResponse::NoContent().finish()
}

fn missing(what: &str) -> HttpResponse {
    HttpResponse::NotFound().json(json!({"message": format!("no such {what}")}))
}

fn unless_missing(found: bool) -> HttpResponse {
    if found { done() } else { missing("channel or webhook") }
}

/// One rule, or a list of them.
async fn add_faults(state: Shared, body: Json<Value>) -> actix_web::Result<HttpResponse> {
    let rules = match body.into_inner() {
        Value::Array(rules) => rules,
        one => vec![one],
    };
    let rules: Result<Vec<FaultRule>, _> = rules.into_iter().map(serde_json::from_value).collect();
    for rule in rules.map_err(malformed)? {
        state.faults().add(rule);
    }
    Ok(done())
}

async fn clear_faults(state: Shared) -> impl Responder {
    state.faults().clear();
    done()
}

async fn gateway_fault(state: Shared, fault: Json<GatewayFault>) -> impl Responder {
    state.gateway().fault(fault.into_inner());
    done()
}

async fn set_limits(state: Shared, settings: Json<LimitSettings>) -> impl Responder {
    state.set_limits(settings.into_inner());
    done()
}

async fn reset_limits(state: Shared) -> impl Responder {
    state.lock().limits.reset();
    done()
}

async fn post(state: Shared, request: Json<PostRequest>) -> HttpResponse {
    match state.post(request.into_inner()) {
        Some(id) => HttpResponse::Ok().json(json!({"id": id.to_string()})),
        None => missing("channel or webhook"),
    }
}

async fn codes(state: Shared, request: Json<CodeRequest>) -> impl Responder {
    Json(json!({"codes": state.mint_codes(&request), "state": request.state}))
}

async fn use_command(state: Shared, request: Json<UseRequest>) -> impl Responder {
    Json(json!({"id": state.use_command(&request).to_string()}))
}

async fn interaction(state: Shared, id: web::Path<u64>) -> HttpResponse {
    match state.interaction(*id) {
        Some(found) => HttpResponse::Ok().json(json!({"answer": found.answer, "refused": found.refused})),
        None => missing("interaction"),
    }
}

async fn person(state: Shared, person: Json<Person>) -> impl Responder {
    state.set_person(person.into_inner());
    done()
}

async fn permissions(state: Shared, change: Json<ChannelChange>) -> impl Responder {
    unless_missing(state.permit(change.channel_id, change.permissions))
}

async fn portal(state: Shared, change: Json<PortalChange>) -> impl Responder {
    state.change_portal(change.into_inner());
    done()
}

async fn webhook(state: Shared, change: Json<WebhookChange>) -> impl Responder {
    unless_missing(state.change_webhook(change.webhook_id, change.move_to))
}
