//! A request, read as far as its meaning does not matter: credentials, ids in its path, query and body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::faults::Endpoint;

/// Decodes `%XX`; anything else stays as it is.
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The credentials of a request.
pub enum Auth {
    None,
    /// The bot's token.
    Bot,
    /// An access token, valid or not.
    Bearer(String),
    /// HTTP Basic: client id and secret.
    Basic(String, String),
    /// Anything else, such as a wrong bot token.
    Other,
}

impl Auth {
    /// Reads an `Authorization` header.
    pub fn read(header: Option<&str>, bot_token: &str) -> Self {
        let Some(header) = header else { return Self::None };
        let (scheme, value) = header.split_once(' ').unwrap_or(("", header));
        match scheme.to_ascii_lowercase().as_str() {
            "bot" if value == bot_token => Self::Bot,
            "bearer" => Self::Bearer(value.to_owned()),
            "basic" => STANDARD
                .decode(value.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|text| {
                    let (id, secret) = text.split_once(':')?;
                    // RFC 6749 section 2.3.1: both halves are form-encoded.
                    Some(Self::Basic(percent_decoded(id), percent_decoded(secret)))
                })
                .unwrap_or(Self::Other),
            _ => Self::Other,
        }
    }
}

/// A request.
pub struct Call<'a> {
    pub auth: Auth,
    /// It is told waits in milliseconds: its path names no version.
    pub in_ms: bool,
    /// The endpoint by which faults and the ledger know it.
    pub endpoint: Endpoint,
    /// The ids in the path, in order; 0 for those that it lacks.
    pub ids: [u64; 2],
    /// The token or the emoji in the path; empty if it has neither.
    pub text: String,
    pub query: Fields,
    /// The content type as it came.
    pub content_type: &'a str,
    pub body: &'a [u8],
    /// When it came, in microseconds.
    pub now_us: i64,
}

impl Call<'_> {
    /// The content type in lower case, without parameters.
    fn media_type(&self) -> String {
        let name = self.content_type.split(';').next().unwrap_or("");
        name.trim().to_ascii_lowercase()
    }

    /// The fields of a body that is a form; `None` for any other type.
    pub fn form(&self) -> Option<Fields> {
        (self.media_type() == "application/x-www-form-urlencoded").then(|| Fields::read(self.body))
    }

    /// The body as a JSON value; forms become objects of strings.
    pub fn json(&self) -> Result<Value, Answer> {
        if let Some(form) = self.form() {
            let fields = form.0.into_iter().map(|(k, v)| (k, Value::String(v)));
            return Ok(Value::Object(fields.collect()));
        }
        match self.media_type().as_str() {
            "application/json" => serde_json::from_slice(self.body)
                .map_err(|_| Answer::error(400, 50109, "The request body contains invalid JSON.")),
            "multipart/form-data" => Ok(multipart(self.content_type, self.body)),
            "" if self.body.is_empty() => Ok(Value::Object(Map::new())),
            _ => Err(Answer::invalid_form(
                "_misc",
                "CONTENT_TYPE_INVALID",
                "Expected \"Content-Type\" header to be one of {'application/json'}.",
            )),
        }
    }

    /// The query's `limit`, from 1 to `most`.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, Answer> {
        let given = self.query.get("limit").map_or(Ok(default), str::parse);
        given.ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
            let message = format!("int value should be between 1 and {most}.");
            Answer::invalid_form("limit", "NUMBER_TYPE_MAX", &message)
        })
    }

    /// A snowflake of the query.
    pub fn snowflake(&self, name: &str) -> Result<Option<u64>, Answer> {
        let Some(text) = self.query.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| Answer::not_a_snowflake(name, text))
    }
}

/// A multipart body as an object: the fields of `payload_json`, and the other parts as strings.
fn multipart(content_type: &str, body: &[u8]) -> Value {
    let mut fields = Map::new();
    let Some((_, boundary)) = content_type.split_once("boundary=") else {
        return Value::Object(fields);
    };
    let boundary = boundary.split(';').next().unwrap_or(boundary).trim_matches('"');
    let text = String::from_utf8_lossy(body);
    for part in text.split(&format!("--{boundary}")).skip(1) {
        let Some((head, value)) = part.split_once("\r\n\r\n") else {
            continue;
        };
        let Some(name) = head.split("name=\"").nth(1).and_then(|n| n.split('"').next()) else {
            continue;
        };
        let value = value.strip_suffix("\r\n").unwrap_or(value);
        if name == "payload_json" {
            if let Ok(Value::Object(inner)) = serde_json::from_str(value) {
                fields.extend(inner);
            }
        } else if head.contains("filename=") {
            fields.insert("attachments".into(), serde_json::json!([{}]));
        } else {
            fields.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }
    Value::Object(fields)
}

/// Decoded fields of a query or a form.
#[derive(Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Decodes a query or a form.
    pub fn read(text: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first field of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// Adds fields; those already there win.
    pub fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// The fields of a JSON object.
    pub fn from_json(value: &Value) -> Self {
        let fields = value.as_object().into_iter().flatten();
        Self(
            fields
                .filter_map(|(k, v)| match v {
                    Value::String(text) => Some((k.clone(), text.clone())),
                    Value::Null => None,
                    other => Some((k.clone(), other.to_string())),
                })
                .collect(),
        )
    }

    /// Whether a boolean field is true, as Discord spells it.
    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "True" | "1"))
    }
}

#[cfg(test)]
mod tests;
