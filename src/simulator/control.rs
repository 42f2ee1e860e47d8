//! The control interface for tests and demonstrations over HTTP, `/_sim/…`. Discord has nothing like it.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::action::{ChannelChange, CodeRequest, WebhookChange};
use super::answer::Answer;
use super::faults::FaultRule;
use super::state::State;

/// Answers one request. Bodies are JSON whatever their content type says.
pub async fn serve(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let path = request.path().trim_start_matches("/_sim");
    control(&state, request.method().as_str(), path, &body).unwrap_or_else(Answer::into_response)
}

fn control(state: &State, method: &str, path: &str, body: &[u8]) -> Result<HttpResponse, Answer> {
    match (method, path) {
        ("GET", "/faults") => return shown(state.faults().list()),
        ("POST", "/faults") => {
            for rule in rules(body)? {
                state.faults().add(rule);
            }
        }
        ("DELETE", "/faults") => state.faults().clear(),
        ("GET", "/gateway") => return shown(state.gateway_status()),
        ("POST", "/gateway") => state.gateway_fault(read(body)?),
        ("PUT", "/limits") => state.set_limits(read(body)?),
        ("DELETE", "/limits") => state.lock().limits.reset(),
        ("GET", "/ledger") => return shown(state.ledger()),
        ("GET", "/summary") => return shown(state.summary()),
        ("GET", "/describe") => return shown(state.describe()),
        ("POST", "/post") => {
            let id = state.post(read(body)?).ok_or_else(missing)?;
            return shown(json!({"id": id.to_string()}));
        }
        ("POST", "/codes") => {
            let request: CodeRequest = read(body)?;
            return shown(json!({"codes": state.mint_codes(&request)}));
        }
        ("POST", "/use") => return shown(json!({"id": state.use_command(&read(body)?).to_string()})),
        ("GET", interaction) if interaction.starts_with("/interactions/") => {
            let id = interaction["/interactions/".len()..].parse().map_err(|_| missing())?;
            let found = state.interaction(id).ok_or_else(missing)?;
            return shown(json!({"answer": found.answer, "refused": found.refused}));
        }
        ("POST", "/people") => state.set_person(read(body)?),
        ("POST", "/permissions") => {
            let change: ChannelChange = read(body)?;
            present(state.permit(change.channel_id, change.permissions))?;
        }
        ("POST", "/portal") => state.change_portal(read(body)?),
        ("POST", "/webhook") => {
            let change: WebhookChange = read(body)?;
            present(state.change_webhook(change.webhook_id, change.move_to))?;
        }
        _ => return Err(missing()),
    }
    Ok(HttpResponse::NoContent().finish())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("cannot read the body: {error}");
        Answer::json(400, &json!({"message": message}))
    })
}

/// One rule, or a list of them.
fn rules(body: &[u8]) -> Result<Vec<FaultRule>, Answer> {
    match read(body)? {
        Value::Array(_) => read(body),
        _ => Ok(vec![read(body)?]),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends an arm of the table")]
fn shown(value: impl Serialize) -> Result<HttpResponse, Answer> {
    Ok(HttpResponse::Ok().json(value))
}

fn missing() -> Answer {
    let message = "no such path, channel, webhook or interaction";
    Answer::json(404, &json!({"message": message}))
}

fn present(found: bool) -> Result<(), Answer> {
    found.then_some(()).ok_or_else(missing)
}
