//! The script's trial on Hookdeck's own runtime, before anything is changed: a made-up callback under made-up keys has
//! to come out as a message that the service accepts, and a forged one has to be dropped.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{ApiError, Hookdeck};
use super::wanted::{HookdeckSettings, environment};
use crate::ids::{Lane, UserId};
use crate::intake::message::{self, Accept};
use crate::intake::state::{StateKey, StateToken};
use crate::relay::script;
use crate::secret::{Key, Keys};
use crate::time::Timestamp;

/// Why a trial failed.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Hookdeck did not run it.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The script ran into an error there.
    #[error("Hookdeck's runtime does not run the script (its log level is `{0}`)")]
    Ran(String),
    /// What came out is not what the service accepts.
    #[error("the script's result on Hookdeck's runtime is not what the service accepts: {0}")]
    Result(&'static str),
}

const CODE: &str = "codeferry-trial-not-a-real-code";

/// Tries the script. `keys` are random and for this alone, so that no real key signs anything here.
pub async fn run(
    api: &Hookdeck,
    settings: &HookdeckSettings,
    keys: [Key; 2],
    now: Timestamp,
) -> Result<(), TrialError> {
    let [relay_key, state_key] = &keys;
    let token = StateToken {
        user: UserId(80_000_000_000_000_001),
        expires_at: now + Duration::from_mins(5),
        lane: Lane(0),
        purpose: 0,
        pkce: true,
        again: false,
        nonce: [0; 8],
    };
    let state = StateKey::new(state_key).mint(&token);
    let env = environment(settings, relay_key, &Keys::from(state_key));
    let accepted = callback(api, &env, &state).await?;
    if accepted["headers"]["x-codeferry-lane"] != "0" {
        return Err(TrialError::Result("a good callback is not marked with its lane"));
    }
    // The body comes back as a text or as an object.
    let body = match &accepted["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    };
    let accept = Accept {
        v0: false,
        v1: Some(relay_key.into()),
    };
    let parsed = message::parse(body["content"].as_str().unwrap_or_default(), settings.bot, &accept)
        .map_err(|_| TrialError::Result("the message cannot be read"))?;
    let [entry] = parsed.entries.as_slice() else {
        return Err(TrialError::Result("the message does not have exactly one line"));
    };
    let code = entry.result.as_ref().map(|c| c.expose() == CODE);
    if code != Ok(true) || entry.state.as_ref().is_none_or(|s| s.expose() != state) {
        return Err(TrialError::Result("the message says something else"));
    }
    let only_bot = json!({ "users": [settings.bot.to_string()] });
    if body["allowed_mentions"] != only_bot || body["flags"] != 4 {
        return Err(TrialError::Result("the message would mention more than the bot"));
    }
    let forged = StateKey::new(relay_key).mint(&token);
    if callback(api, &env, &forged).await?["headers"]["x-codeferry-lane"] != "none" {
        return Err(TrialError::Result("a forged state is accepted"));
    }
    Ok(())
}

async fn callback(api: &Hookdeck, env: &Value, state: &str) -> Result<Value, TrialError> {
    let request = json!({
        "headers": { "user-agent": "codeferry" },
        "body": {},
        "path": "/",
        "query": format!("code={CODE}&state={state}"),
        "parsed_query": { "code": CODE, "state": state },
    });
    let body = json!({ "code": script::hookdeck(), "env": env, "request": request });
    let mut output = api.put("transformations/run", &body).await?;
    let request = output["request"].take();
    if request.is_null() {
        let level = output["log_level"].as_str().unwrap_or("unknown").to_owned();
        return Err(TrialError::Ran(level));
    }
    Ok(request)
}
