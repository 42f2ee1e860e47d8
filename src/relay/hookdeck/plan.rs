//! What would change in an account, and the changing of it. Only what differs is put, so a second time changes nothing.

use serde::Serialize;
use serde_json::Value;

use super::api::{ApiError, Hookdeck};
use super::wanted::HookdeckSettings;
use crate::ids::Lane;

/// What stands in the account under our names.
#[derive(Debug)]
pub struct AccountState {
    transformation: Option<Value>,
    source: Option<Value>,
    connections: Vec<Value>,
}

/// One thing that would be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `create` or `update`.
    pub action: &'static str,
    /// `transformation` or `connection`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What differs; secrets only as "changed".
    pub differs: Vec<&'static str>,
    #[serde(skip)]
    lane: Option<Lane>,
}

/// Which steps were done before one failed.
#[derive(Debug, thiserror::Error)]
#[error("`{failed}` could not be saved")]
pub struct ApplyError {
    /// What failed.
    pub failed: String,
    /// What was done before.
    pub done: Vec<String>,
    /// Why.
    #[source]
    pub source: ApiError,
}

impl AccountState {
    /// Reads what stands there.
    pub async fn read(api: &Hookdeck, settings: &HookdeckSettings) -> Result<Self, ApiError> {
        let transformation = api.named("transformations", &settings.name).await?.pop();
        let source = api.named("sources", &settings.name).await?.pop();
        let connections = match source.as_ref().and_then(|s| s["id"].as_str()) {
            Some(id) => api.list("connections", &[("source_id", id)]).await?,
            None => Vec::new(),
        };
        Ok(Self {
            transformation,
            source,
            connections,
        })
    }

    /// The source's URL: what is registered as the redirect URI.
    pub fn url(&self) -> Option<&str> {
        self.source.as_ref()?["url"].as_str()
    }

    fn transformation_id(&self) -> &str {
        let id = self.transformation.as_ref().and_then(|t| t["id"].as_str());
        id.unwrap_or_default()
    }

    fn connection(&self, name: &str) -> Option<&Value> {
        self.connections.iter().find(|c| c["name"] == name)
    }

    /// What has to change, in the order in which it is put.
    pub fn changes(&self, settings: &HookdeckSettings) -> Vec<Change> {
        let mut changes = Vec::new();
        let described = settings.description();
        let same_settings = |c: &Value| c["description"] == described.as_str();
        let ours: Vec<_> = settings.lanes.iter().map(|l| settings.name_of(l.0)).collect();
        let stale = ours
            .iter()
            .filter_map(|name| self.connection(name))
            .any(|c| !same_settings(c));
        let mut differs = Vec::new();
        if let Some(there) = &self.transformation {
            let wanted = settings.transformation();
            if there["code"] != wanted["code"] {
                differs.push("code");
            }
            // Where Hookdeck gives the environment back, it is the better witness.
            let drifted = there["env"].as_object().is_some_and(|env| !env.is_empty()) && there["env"] != wanted["env"];
            if stale || drifted {
                differs.push("environment (keys, bot, lanes or code lifetime)");
            }
        }
        if self.transformation.is_none() || !differs.is_empty() {
            changes.push(Change {
                action: if self.transformation.is_none() {
                    "create"
                } else {
                    "update"
                },
                kind: "transformation",
                name: settings.name.clone(),
                differs,
                lane: None,
            });
        }
        for lane in &settings.lanes {
            let name = settings.name_of(lane.0);
            let wanted = settings.connection(lane, self.transformation_id());
            let there = self.connection(&name);
            let differs = there.map_or_else(Vec::new, |there| differences(&wanted, there));
            if there.is_none() || !differs.is_empty() {
                changes.push(Change {
                    action: if there.is_none() { "create" } else { "update" },
                    kind: "connection",
                    name,
                    differs,
                    lane: Some(lane.0),
                });
            }
        }
        changes
    }

    /// What a person has to look at: it is not changed from here.
    pub fn notes(&self, settings: &HookdeckSettings) -> Vec<String> {
        let mut notes = Vec::new();
        let ours: Vec<_> = settings.lanes.iter().map(|l| settings.name_of(l.0)).collect();
        for there in &self.connections {
            let name = there["name"].as_str().unwrap_or_default();
            if !ours.iter().any(|n| n == name) {
                notes.push(format!(
                    "connection `{name}` of this source belongs to no lane, but gets every callback; remove it in the dashboard unless that is intended"
                ));
            } else if !there["disabled_at"].is_null() {
                notes.push(format!(
                    "connection `{name}` is disabled: no codes pass through it; enable it in the dashboard"
                ));
            } else if !there["paused_at"].is_null() {
                notes.push(format!(
                    "connection `{name}` is paused: its codes wait until they expire; unpause it in the dashboard"
                ));
            }
        }
        notes
    }
}

/// Puts the changes, one after another; answers what was done.
pub async fn apply(
    api: &Hookdeck,
    settings: &HookdeckSettings,
    found: &AccountState,
    changes: &[Change],
) -> Result<Vec<String>, ApplyError> {
    let mut done = Vec::new();
    let mut transformation_id = found.transformation_id().to_owned();
    for change in changes {
        let step = format!("{} {}", change.kind, change.name);
        let lane = settings.lanes.iter().find(|l| Some(l.0) == change.lane);
        let put = match lane {
            Some(lane) => {
                let body = settings.connection(lane, &transformation_id);
                api.put("connections", &body).await
            }
            None => api.put("transformations", &settings.transformation()).await,
        };
        match put {
            Ok(model) => {
                if lane.is_none() {
                    model["id"]
                        .as_str()
                        .unwrap_or_default()
                        .clone_into(&mut transformation_id);
                }
                done.push(step);
            }
            Err(source) => {
                return Err(ApplyError {
                    failed: step,
                    done,
                    source,
                });
            }
        }
    }
    Ok(done)
}

/// What of a connection is not as wanted. Only what we say is compared: Hookdeck fills in the rest, and hides `auth`.
fn differences(wanted: &Value, there: &Value) -> Vec<&'static str> {
    let mut differs = Vec::new();
    if wanted["description"] != there["description"] {
        differs.push("settings");
    }
    let mut compare = |key: &'static str, shown: &'static str| {
        let at = |value: &'_ Value| value.pointer(key).cloned().unwrap_or_default();
        if !within(&at(wanted), &at(there)) {
            differs.push(shown);
        }
    };
    compare("/source/config/allowed_http_methods", "source's methods");
    compare("/source/config/custom_response", "source's page");
    compare("/destination/config/url", "destination's URL (webhook or its token)");
    compare("/destination/config/http_method", "destination's method");
    compare("/destination/config/path_forwarding_disabled", "destination's path");
    compare("/destination/config/rate_limit", "destination's rate");
    compare("/destination/config/rate_limit_period", "destination's period");
    if !same_rules(&wanted["rules"], &there["rules"]) {
        differs.push("rules");
    }
    differs
}

/// Deduplication, transformation and filter in their order, and the retry wherever it stands.
fn same_rules(wanted: &Value, there: &Value) -> bool {
    let sorted = |rules: &Value| -> Vec<Value> {
        let mut rules = rules.as_array().cloned().unwrap_or_default();
        rules.sort_by_key(|rule| rule["type"] == "retry" || rule["type"] == "delay");
        rules
    };
    let (wanted, there) = (sorted(wanted), sorted(there));
    wanted.len() == there.len() && wanted.iter().zip(&there).all(|(w, t)| within(w, t))
}

/// Whether everything that is wanted is there.
fn within(wanted: &Value, there: &Value) -> bool {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => wanted
            .iter()
            .all(|(key, value)| there.get(key).is_some_and(|t| within(value, t))),
        (Value::Number(wanted), Value::Number(there)) => wanted.as_f64() == there.as_f64(),
        _ => wanted == there,
    }
}
