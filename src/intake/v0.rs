//! Version 0: the classic relay script's `<@BOT>{"code":"…","state":"…","time":1700000000}`.

use serde_json::{Map, Value};

use super::entry::{Entry, Malformed, Parsed, is_code, is_state};
use crate::grant::Reason;
use crate::ids::UserId;
use crate::secret::{AuthorizationCode, RawState};
use crate::time::Timestamp;

/// What follows the mention; the mention may be missing where message content arrives without it.
pub(super) fn after_mention(content: &str, bot: UserId) -> &str {
    let trimmed = content.trim();
    let mentions = [format!("<@{bot}>"), format!("<@!{bot}>")];
    mentions
        .iter()
        .find_map(|m| trimmed.strip_prefix(m.as_str()))
        .unwrap_or(trimmed)
        .trim()
}

/// Reads the JSON object. Unknown fields are ignored.
pub(super) fn parse(body: &str) -> Result<Parsed, Malformed> {
    // Serde's error would quote what it found; it is dropped.
    let fields: Map<String, Value> = serde_json::from_str(body).map_err(|_| Malformed::NotJson)?;
    let state = match fields.get("state") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) if is_state(text) => Some(RawState::new(text.as_str())),
        // A user id that was written as a number may have been rounded on its way.
        Some(_) => return Err(Malformed::WrongType),
    };
    let redirected_at = match fields.get("time") {
        None | Some(Value::Null) => None,
        Some(Value::Number(n)) => n.as_f64().and_then(seconds),
        Some(Value::String(text)) => text.trim().parse().ok().and_then(seconds),
        Some(_) => return Err(Malformed::WrongType),
    };
    let result = match (fields.get("code"), fields.get("error")) {
        (Some(Value::String(code)), _) if is_code(code) => Ok(AuthorizationCode::new(code.as_str())),
        (Some(Value::String(code)), _) if !code.is_empty() => return Err(Malformed::BadCode),
        (None | Some(Value::Null | Value::String(_)), Some(Value::String(error))) if !error.is_empty() => {
            Err(Reason::new(error))
        }
        (None | Some(Value::Null | Value::String(_)), None | Some(Value::Null | Value::String(_))) => {
            return Err(Malformed::NoCode);
        }
        _ => return Err(Malformed::WrongType),
    };
    Ok(Parsed {
        entries: vec![Entry {
            redirected_at,
            result,
            state,
        }],
        malformed_lines: 0,
    })
}

/// Unix seconds, or milliseconds as JavaScript has them.
fn seconds(number: f64) -> Option<Timestamp> {
    let millis = if number.abs() > 1e11 { number } else { number * 1000.0 };
    ((0.0..1e14).contains(&millis)).then(|| Timestamp::from_millis(millis as i64))
}

/// Writes a message of version 0.
pub fn encode(bot: UserId, code: &str, state: Option<&str>, time: i64) -> String {
    let body = serde_json::json!({ "code": code, "state": state, "time": time });
    format!("<@{bot}>{body}")
}
