//! What a request wants to post, with Discord's refusals, and the message that it becomes. Posts nothing.

use serde_json::Value;

use super::answer::Answer;

/// The longest content, in characters (Discord Docs/Resources/Webhook).
const MAX_CONTENT: usize = 2_000;
/// The most characters in all embeds of a message together.
const MAX_EMBEDS: usize = 6_000;
/// The longest nonce, in characters (Discord Docs/Resources/Message).
const MAX_NONCE: usize = 25;
/// `SUPPRESS_EMBEDS`.
pub const SUPPRESS_EMBEDS: u64 = 4;

/// A message as it is stored.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: u64,
    pub channel_id: u64,
    pub author: Author,
    pub draft: Draft,
    /// Users who are pinged: those mentioned whom `allowed_mentions` permits.
    pub mentions: Vec<u64>,
    /// The bot's reactions.
    pub reactions: Vec<String>,
}

/// Who wrote a message.
#[derive(Debug, Clone)]
pub enum Author {
    /// A user or a bot.
    User(u64),
    /// A webhook, under a name that each post may choose.
    Webhook {
        id: u64,
        name: String,
        application_id: Option<u64>,
    },
}

/// What a request wants to post.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub content: String,
    pub embeds: Vec<Value>,
    pub components: Vec<Value>,
    pub flags: u64,
    pub tts: bool,
    /// A name that overrides the webhook's.
    pub username: Option<String>,
    pub nonce: Option<Value>,
    /// A repeated nonce gives the earlier message again.
    pub enforce_nonce: bool,
    /// Who may be pinged; without it, every mentioned user.
    pub allowed_mentions: Option<Value>,
}

impl Draft {
    /// A text and nothing else.
    pub fn text(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            ..Self::default()
        }
    }

    /// Reads a request's body, with Discord's refusals.
    pub fn read(body: &Value) -> Result<Self, Answer> {
        let draft = Self {
            content: content(&body["content"])?,
            embeds: embeds(&body["embeds"])?,
            components: body["components"].as_array().cloned().unwrap_or_default(),
            flags: body["flags"].as_u64().unwrap_or(0),
            tts: body["tts"].as_bool().unwrap_or(false),
            username: username(&body["username"])?,
            nonce: Some(body["nonce"].clone()).filter(|nonce| !nonce.is_null()),
            enforce_nonce: body["enforce_nonce"].as_bool().unwrap_or(false),
            allowed_mentions: allowed_mentions(&body["allowed_mentions"])?,
        };
        let has_more = ["components", "attachments", "poll", "sticker_ids"]
            .iter()
            .any(|name| !body[name].is_null() && body[name].as_array().is_none_or(|list| !list.is_empty()));
        if draft.content.trim().is_empty() && draft.embeds.is_empty() && !has_more {
            return Err(Answer::error(400, 50006, "Cannot send an empty message"));
        }
        if draft.nonce.as_ref().map_or(0, length) > MAX_NONCE {
            let message = "Must be 25 or fewer in length.";
            return Err(Answer::invalid_form("nonce", "NONCE_TYPE_TOO_LONG", message));
        }
        Ok(draft)
    }

    /// The users whom the content pings, in order, each once; only those that `exists` knows.
    pub fn mentions(&self, exists: impl Fn(u64) -> bool) -> Vec<u64> {
        let mut found = Vec::new();
        for part in self.content.split("<@").skip(1) {
            let digits = part.strip_prefix('!').unwrap_or(part);
            let Some((digits, _)) = digits.split_once('>') else {
                continue;
            };
            let id = digits
                .parse()
                .ok()
                .filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
            if let Some(id) = id.filter(|id| !found.contains(id) && self.may_ping(*id) && exists(*id)) {
                found.push(id);
            }
        }
        found
    }

    fn may_ping(&self, id: u64) -> bool {
        let Some(allowed) = &self.allowed_mentions else {
            return true;
        };
        let text = id.to_string();
        list(allowed, "parse").any(|p| p == "users") || list(allowed, "users").any(|u| u == text)
    }

    /// The first link in the content.
    pub fn link(&self) -> Option<&str> {
        let start = ["http://", "https://"]
            .iter()
            .filter_map(|s| self.content.find(s))
            .min()?;
        let rest = &self.content[start..];
        let end = rest.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(rest.len());
        Some(&rest[..end])
    }
}

/// The length of a text in characters; 0 for anything else.
pub fn length(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn content(given: &Value) -> Result<String, Answer> {
    let content = match given {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(Answer::not_a_text("content", "STRING_TYPE_CONVERT")),
    };
    if content.chars().count() > MAX_CONTENT {
        return Err(Answer::bad_length("content", "2000 or fewer"));
    }
    Ok(content)
}

fn embeds(given: &Value) -> Result<Vec<Value>, Answer> {
    let refused = |code, message| Err(Answer::invalid_form("embeds", code, message));
    let embeds = match given {
        Value::Null => return Ok(Vec::new()),
        Value::Array(embeds) => embeds.clone(),
        _ => return Err(Answer::not_a_list("embeds")),
    };
    if embeds.len() > 10 {
        return refused("BASE_TYPE_MAX_LENGTH", "Must be 10 or fewer in length.");
    }
    if embeds.iter().map(embed_length).sum::<usize>() > MAX_EMBEDS {
        return refused("MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000");
    }
    Ok(embeds)
}

/// What counts of an embed: title, description, fields, footer and author.
fn embed_length(embed: &Value) -> usize {
    let fields = embed["fields"].as_array().into_iter().flatten();
    length(&embed["title"])
        + length(&embed["description"])
        + length(&embed["footer"]["text"])
        + length(&embed["author"]["name"])
        + fields.map(|f| length(&f["name"]) + length(&f["value"])).sum::<usize>()
}

fn username(given: &Value) -> Result<Option<String>, Answer> {
    match given {
        Value::Null => Ok(None),
        Value::String(name) if (1..=80).contains(&length(given)) => Ok(Some(name.clone())),
        Value::String(_) => Err(Answer::bad_length("username", "between 1 and 80")),
        _ => Err(Answer::not_a_text("username", "BASE_TYPE_INVALID")),
    }
}

fn allowed_mentions(given: &Value) -> Result<Option<Value>, Answer> {
    if list(given, "parse").any(|p| p == "users") && list(given, "users").next().is_some() {
        return Err(Answer::invalid_form(
            "allowed_mentions",
            "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
            "parse:[\"users\"] and users: [ids...] are mutually exclusive.",
        ));
    }
    Ok(Some(given.clone()).filter(|given| !given.is_null()))
}

fn list<'a>(allowed: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    let list = allowed.get(field).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn draft(body: Value) -> Draft {
        Draft::read(&body).unwrap_or_else(|a| panic!("refused with {}", a.status))
    }

    #[track_caller]
    fn refused(body: Value, code: u64) {
        let answer = Draft::read(&body).expect_err("refused");
        assert_eq!(answer.status, 400);
        assert_eq!(answer.value().expect("JSON")["code"], code);
    }

    #[test]
    fn an_empty_or_too_long_or_ill_typed_message_is_refused() {
        refused(json!({}), 50006);
        refused(json!({"code": "abc"}), 50006);
        refused(json!([1]), 50006);
        refused(json!({"content": " \n "}), 50006);
        refused(json!({"content": null, "embeds": []}), 50006);
        refused(json!({"content": {"a": 1}}), 50035);
        refused(json!({"content": "é".repeat(2_001)}), 50035);
        refused(json!({"content": "x", "username": ""}), 50035);
        assert_eq!(
            draft(json!({"content": "é".repeat(2_000)})).content.chars().count(),
            2_000
        );
        assert!(Draft::read(&json!({"embeds": [{"title": "t"}]})).is_ok());
        let long = "x".repeat(3_000);
        let embed = json!({"description": long, "footer": {"text": "f"}});
        assert!(Draft::read(&json!({"embeds": [embed]})).is_ok());
        refused(json!({"embeds": [embed, embed]}), 50035);
    }

    #[test]
    fn mentions_follow_allowed_mentions() {
        let bot = 1_536_000_000_000_000_009_u64;
        let content = format!("<@{bot}> and <@!{bot}> and <@80000000000000001> and <@&5> <@x> <@");
        let all = |_| true;
        assert_eq!(
            draft(json!({"content": content})).mentions(all),
            [bot, 80_000_000_000_000_001]
        );
        assert_eq!(draft(json!({"content": content})).mentions(|id| id == bot), [bot]);
        let none = draft(json!({"content": content, "allowed_mentions": {"parse": []}}));
        assert!(none.mentions(all).is_empty());
        let one = draft(json!({"content": content, "allowed_mentions": {"users": [bot.to_string()]}}));
        assert_eq!(one.mentions(all), [bot]);
        refused(
            json!({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}}),
            50035,
        );
    }

    #[test]
    fn a_link_ends_at_white_space() {
        assert_eq!(
            Draft::text("see http://127.0.0.1:1/a?b=c now").link(),
            Some("http://127.0.0.1:1/a?b=c")
        );
        assert_eq!(Draft::text("v1 1700000000 ABC -").link(), None);
    }
}
