//! The result: one JSON object on one line, the same for every sink. Its keys are promises to applications.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::grant::Grant;
use crate::grant::state::{Invitation, Settling};
use crate::ids::GrantId;
use crate::port::sink::Delivery;
use crate::secret::PersonalData;
use crate::time::Timestamp;

/// What the configuration says about results.
#[derive(Debug, Clone)]
pub struct ResultFormat {
    /// Names of the purposes, by index.
    pub purposes: Rc<[String]>,
    /// Whether the raw state is handed on: modes `user_id` and `any`.
    pub with_raw_state: bool,
    /// Whether people whose code died are sent a fresh link, so that a result says whether this one was.
    pub with_invitation: bool,
}

impl ResultFormat {
    /// The delivery of a settling grant; `data` is what was fetched for it.
    pub fn delivery(
        &self,
        grant: &Grant,
        settling: &Settling,
        data: Option<&PersonalData>,
        uncertain: bool,
    ) -> Delivery {
        let kind = format!("authorization.{}", settling.outcome);
        let mut state = serde_json::Map::new();
        state.insert(
            "user_id".to_owned(),
            grant.requested.user.map_or(Value::Null, |u| json!(u)),
        );
        let purpose = grant.requested.purpose.and_then(|p| self.purposes.get(usize::from(p)));
        state.insert("purpose".to_owned(), json!(purpose));
        if let Some(raw) = grant.requested.raw.as_ref().filter(|_| self.with_raw_state) {
            state.insert("raw".to_owned(), json!(raw.expose()));
        }
        let mut line = String::from("{");
        let mut put = |key: &str, json: &str| {
            if line.len() > 1 {
                line.push(',');
            }
            line.push('"');
            line.push_str(key);
            line.push_str("\":");
            line.push_str(json);
        };
        put("id", &json!(grant.id).to_string());
        put("type", &json!(kind).to_string());
        if let Some(reason) = &settling.reason {
            put("reason", &json!(reason).to_string());
        }
        put("received_at", &json!(grant.received_at.to_string()).to_string());
        put("settled_at", &json!(settling.settled_at.to_string()).to_string());
        if self.with_invitation && settling.outcome.is_a_dead_code() {
            put("reinvited", &json!(settling.invitation == Invitation::Sent).to_string());
        }
        put("state", &Value::Object(state).to_string());
        put("scopes", &json!(settling.scopes).to_string());
        // The resources stand as Discord sent them, unknown fields included; they were checked to be JSON when fetched.
        if let Some(data) = data
            && let Ok(resources) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(data.expose())
        {
            for name in ["user", "connections", "guilds", "member"] {
                if let Some(resource) = resources.get(name) {
                    put(name, &one_line(resource.get()));
                }
            }
        }
        put("missing", &json!(settling.missing).to_string());
        line.push('}');
        Delivery {
            id: grant.id,
            kind,
            body: PersonalData::new(line),
            user: grant.person,
            settled_at: settling.settled_at,
            uncertain,
        }
    }
}

/// What `doctor --probe` sends: a result of nobody's sign-in.
pub fn test(id: GrantId, now: Timestamp) -> String {
    let at = now.to_string();
    format!(
        r#"{{"id":"{id}","type":"authorization.test","received_at":"{at}","settled_at":"{at}","state":{{"user_id":null,"purpose":null}},"scopes":[],"missing":[]}}"#
    )
}

/// JSON on one line: outside strings a line break is white space, inside it is always escaped.
fn one_line(json: &str) -> String {
    json.chars()
        .map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c })
        .collect()
}
