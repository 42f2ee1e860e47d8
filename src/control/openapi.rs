//! The description of the interface, made of the routes and of the types that are answered.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::ask::{LinkRequest, RequeueBody, Verified};
use super::routes::{Operation, ROUTES, Route};
use crate::actors::journal::events::GrantEvent;
use crate::actors::journal::view::{GrantView, Listing, Stats};
use crate::delivery::schema::AuthorizationResult;
use crate::intake::mint::Link;
use crate::rate::budgets::BudgetView;

/// What every refusal says.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes what `refused` writes")]
struct Error {
    /// What is wrong, and what to do.
    error: String,
    /// Ask again after so many seconds.
    #[schemars(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// The schema of a result alone.
pub fn result_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    json!(settings.into_generator().into_root_schema_for::<AuthorizationResult>())
}

/// The whole description.
pub fn document() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route, &mut schemas);
    }
    // No route answers them, but what waits for results and events needs them.
    schemas.subschema_for::<AuthorizationResult>();
    schemas.subschema_for::<GrantEvent>();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "codeferry's control interface",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Over the unix socket `control.socket`, or over TCP at `control.listen` with a bearer token.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "`CODEFERRY_CONTROL_TOKEN`, on TCP alone; `CODEFERRY_METRICS_TOKEN` opens /v1/metrics.",
            }},
            "schemas": schemas.take_definitions(true),
        },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = route
        .query
        .iter()
        .map(|(name, kind, about)| {
            let mut schema = json!({ "type": kind });
            if *kind == "integer" {
                schema["minimum"] = json!(0);
            }
            json!({ "name": name, "in": "query", "required": false, "description": about, "schema": schema })
        })
        .collect();
    if route.path.contains("{id}") {
        let id = json!({ "type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$" });
        parameters.push(json!({
            "name": "id", "in": "path", "required": true, "description": "The grant's id", "schema": id,
        }));
    }
    if route.operation == Operation::Events {
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "required": false, "schema": { "type": "string" },
            "description": "The id of the last event that was seen: what has happened since is told first",
        }));
    }
    let (kind, answer) = answer(route.operation, schemas);
    let mut responses = Map::new();
    responses.insert(
        "200".to_owned(),
        json!({ "description": route.summary, "content": { kind: { "schema": answer } } }),
    );
    let error = schemas.subschema_for::<Error>();
    for status in [401, 403, 404, 405].iter().chain(route.refusals) {
        let about = json!({
            "description": refusal(*status),
            "content": { "application/json": { "schema": error } },
        });
        responses.insert(status.to_string(), about);
    }
    let mut operation = json!({
        "operationId": format!("{:?}", route.operation),
        "summary": route.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = body(route.operation, schemas) {
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": body } } });
    }
    operation
}

fn body(operation: Operation, schemas: &mut SchemaGenerator) -> Option<Schema> {
    match operation {
        Operation::MakeLink => Some(schemas.subschema_for::<LinkRequest>()),
        Operation::Requeue => Some(schemas.subschema_for::<RequeueBody>()),
        _ => None,
    }
}

fn answer(operation: Operation, schemas: &mut SchemaGenerator) -> (&'static str, Schema) {
    let json = "application/json";
    match operation {
        Operation::MakeLink => (json, schemas.subschema_for::<Link>()),
        Operation::ShowGrant | Operation::ShowQueued | Operation::Requeue | Operation::Drop => {
            (json, schemas.subschema_for::<GrantView>())
        }
        Operation::ListQueue => (json, schemas.subschema_for::<Listing>()),
        Operation::Stats => (json, schemas.subschema_for::<Stats>()),
        Operation::Budget => (json, schemas.subschema_for::<Vec<BudgetView>>()),
        Operation::Verify => (json, schemas.subschema_for::<Verified>()),
        Operation::Events => ("text/event-stream", schemas.subschema_for::<String>()),
        Operation::Metrics => ("text/plain", schemas.subschema_for::<String>()),
        Operation::OpenApi | Operation::ResultSchema => (json, schemas.subschema_for::<Map<String, Value>>()),
    }
}

fn refusal(status: u16) -> &'static str {
    match status {
        400 => "It cannot be read, or names what there is not",
        401 => "On TCP: the token is missing or wrong",
        403 => "On TCP: this token is for the metrics alone",
        404 => "There is no such grant or path",
        405 => "This path takes another method",
        409 => "It cannot happen to this grant",
        413 => "The body is too long",
        429 => "Too many links or subscribers: ask again after `retry_after` seconds",
        _ => "The service stops, or its store has failed",
    }
}
