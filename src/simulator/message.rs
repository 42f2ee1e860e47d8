//! A message: how it is made from a request, whom it mentions, how it looks in JSON. Posts nothing.

use serde_json::{Value, json};

use super::answer::Answer;
use super::options::{FLAG_MESSAGE_CONTENT, FLAG_MESSAGE_CONTENT_LIMITED};
use super::world::{GUILD_ID, Webhook, World};
use crate::ids::snowflake_time;

/// The longest content, in characters (Discord Docs/Resources/Webhook).
pub const MAX_CONTENT: usize = 2_000;
/// The most characters in all embeds of a message together.
pub const MAX_EMBEDS: usize = 6_000;
/// The longest mark of a caller's own, in characters (Discord Docs/Resources/Message).
const MAX_NONCE: usize = 25;
/// `SUPPRESS_EMBEDS`.
pub const SUPPRESS_EMBEDS: u64 = 4;

/// A message as it is kept.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its id.
    pub id: u64,
    /// Its channel.
    pub channel_id: u64,
    /// Who wrote it.
    pub author: Author,
    /// What was written.
    pub draft: Draft,
    /// Whom it mentions, after `allowed_mentions`.
    pub mentions: Vec<u64>,
    /// Emoji put under it by the bot.
    pub reactions: Vec<String>,
}

/// Who wrote a message.
#[derive(Debug, Clone)]
pub enum Author {
    /// A person or a bot.
    User(u64),
    /// A webhook, under a name that each post may choose.
    Webhook {
        /// The webhook's id.
        id: u64,
        /// The name shown.
        name: String,
        /// The application that owns the webhook.
        application_id: Option<u64>,
    },
}

impl Author {
    /// The author of a post through a webhook.
    pub fn webhook(webhook: &Webhook, username: Option<&str>) -> Self {
        Self::Webhook {
            id: webhook.id,
            name: username.unwrap_or(&webhook.name).to_owned(),
            application_id: webhook.application_id,
        }
    }
}

/// What a request wants to post.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// The text.
    pub content: String,
    /// Embeds, as they came.
    pub embeds: Vec<Value>,
    /// Rows of buttons, as they came.
    pub components: Vec<Value>,
    /// Flags.
    pub flags: u64,
    /// Whether it is read aloud.
    pub tts: bool,
    /// A name that overrides the webhook's.
    pub username: Option<String>,
    /// The caller's own mark.
    pub nonce: Option<Value>,
    /// Whether the mark makes repetitions one message.
    pub enforce_nonce: bool,
    /// Who may be pinged; `None` is the default of the route.
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
        let Some(fields) = body.as_object() else {
            return Err(Answer::error(400, 50006, "Cannot send an empty message"));
        };
        let get = |name: &str| fields.get(name).filter(|v| !v.is_null());
        let wrong = |field: &str, message: &str| Answer::invalid_form(field, "BASE_TYPE_INVALID", message);
        let content = match get("content") {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => {
                return Err(Answer::invalid_form(
                    "content",
                    "STRING_TYPE_CONVERT",
                    "Could not interpret as string.",
                ));
            }
        };
        if content.chars().count() > MAX_CONTENT {
            return Err(Answer::invalid_form(
                "content",
                "BASE_TYPE_BAD_LENGTH",
                "Must be 2000 or fewer in length.",
            ));
        }
        let embeds = match get("embeds") {
            None => Vec::new(),
            Some(Value::Array(embeds)) if embeds.len() <= 10 => embeds.clone(),
            Some(Value::Array(_)) => {
                return Err(Answer::invalid_form(
                    "embeds",
                    "BASE_TYPE_MAX_LENGTH",
                    "Must be 10 or fewer in length.",
                ));
            }
            Some(_) => return Err(wrong("embeds", "Only iterables may be used in a ListType.")),
        };
        if embeds.iter().map(embed_length).sum::<usize>() > MAX_EMBEDS {
            return Err(Answer::invalid_form(
                "embeds",
                "MAX_EMBED_SIZE_EXCEEDED",
                "Embed size exceeds maximum size of 6000",
            ));
        }
        let username = match get("username") {
            None => None,
            Some(Value::String(name)) if (1..=80).contains(&name.chars().count()) => Some(name.clone()),
            Some(Value::String(_)) => {
                return Err(Answer::invalid_form(
                    "username",
                    "BASE_TYPE_BAD_LENGTH",
                    "Must be between 1 and 80 in length.",
                ));
            }
            Some(_) => return Err(wrong("username", "Could not interpret as string.")),
        };
        let allowed_mentions = get("allowed_mentions").cloned();
        if let Some(allowed) = &allowed_mentions {
            let parses_users = list(allowed, "parse").any(|p| p == "users");
            if parses_users && list(allowed, "users").next().is_some() {
                return Err(Answer::invalid_form(
                    "allowed_mentions",
                    "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                    "parse:[\"users\"] and users: [ids...] are mutually exclusive.",
                ));
            }
        }
        let has_more = ["components", "attachments", "poll", "sticker_ids"]
            .iter()
            .any(|name| get(name).is_some_and(|v| v.as_array().is_none_or(|a| !a.is_empty())));
        if content.trim().is_empty() && embeds.is_empty() && !has_more {
            return Err(Answer::error(400, 50006, "Cannot send an empty message"));
        }
        let nonce_length = match get("nonce") {
            Some(Value::String(nonce)) => nonce.chars().count(),
            _ => 0,
        };
        if nonce_length > MAX_NONCE {
            return Err(Answer::invalid_form(
                "nonce",
                "NONCE_TYPE_TOO_LONG",
                "Must be 25 or fewer in length.",
            ));
        }
        let components = get("components").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(Self {
            content,
            embeds,
            components,
            flags: get("flags").and_then(Value::as_u64).unwrap_or(0),
            tts: get("tts").and_then(Value::as_bool).unwrap_or(false),
            username,
            nonce: get("nonce").cloned(),
            enforce_nonce: get("enforce_nonce").and_then(Value::as_bool).unwrap_or(false),
            allowed_mentions,
        })
    }

    /// Whom the content mentions, in order, without repetition; only ids that exist. Without `allowed_mentions` users are pinged.
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

/// What counts of an embed: title, description, fields, footer and author.
fn embed_length(embed: &Value) -> usize {
    let count = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let fields = embed["fields"].as_array().into_iter().flatten();
    count(&embed["title"])
        + count(&embed["description"])
        + count(&embed["footer"]["text"])
        + count(&embed["author"]["name"])
        + fields.map(|f| count(&f["name"]) + count(&f["value"])).sum::<usize>()
}

fn list<'a>(allowed: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    allowed
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

impl Message {
    /// Whether the bot gets the content: the portal's switch, its own message, a direct message, or a mention
    /// (Discord Docs/Events/Gateway, message content intent).
    pub fn content_is_visible(&self, world: &World) -> bool {
        world.application.flags & (FLAG_MESSAGE_CONTENT | FLAG_MESSAGE_CONTENT_LIMITED) != 0
            || matches!(self.author, Author::User(id) if id == world.application.bot_id)
            || self.mentions.contains(&world.application.bot_id)
            || world
                .channels
                .get(&self.channel_id)
                .is_some_and(|c| c.recipient.is_some())
    }

    /// The message object of REST.
    pub fn json(&self, world: &World, with_content: bool) -> Value {
        let mentions: Vec<_> = self.mentions.iter().filter_map(|id| world.user_json(*id)).collect();
        let mut message = json!({
            "id": self.id.to_string(), "type": 0, "channel_id": self.channel_id.to_string(),
            "content": if with_content { self.draft.content.as_str() } else { "" },
            "mentions": mentions, "mention_roles": [], "mention_everyone": false, "attachments": [],
            "embeds": if with_content { json!(self.draft.embeds) } else { json!([]) },
            "components": if with_content { self.components() } else { json!([]) }, "pinned": false, "tts": self.draft.tts, "flags": self.draft.flags,
            "timestamp": iso_millis(snowflake_time(self.id).as_millis()), "edited_timestamp": null,
        });
        match &self.author {
            Author::User(id) => {
                message["author"] = world.user_json(*id).unwrap_or_default();
            }
            Author::Webhook {
                id,
                name,
                application_id,
            } => {
                message["author"] = json!({"id": id.to_string(), "username": name, "avatar": null, "discriminator": "0000",
                    "bot": true, "global_name": null, "public_flags": 0, "flags": 0, "primary_guild": null});
                message["webhook_id"] = json!(id.to_string());
                if let Some(application_id) = application_id {
                    message["application_id"] = json!(application_id.to_string());
                }
            }
        }
        if let Some(nonce) = &self.draft.nonce {
            message["nonce"] = nonce.clone();
        }
        if !self.reactions.is_empty() {
            message["reactions"] = self
                .reactions
                .iter()
                .map(|name| {
                    json!({"emoji": {"id": null, "name": name}, "count": 1, "count_details": {"burst": 0, "normal": 1},
                        "burst_colors": [], "me_burst": false, "me": true})
                })
                .collect();
        }
        message
    }

    /// Its components, each with the id that Discord gives it.
    fn components(&self) -> Value {
        let mut rows = json!(self.draft.components);
        let mut id = 0;
        for row in rows.as_array_mut().into_iter().flatten() {
            id += 1;
            row["id"] = json!(id);
            for button in row["components"].as_array_mut().into_iter().flatten() {
                id += 1;
                button["id"] = json!(id);
            }
        }
        rows
    }

    /// The data of `MESSAGE_CREATE`: the message object, where it happened, and a partial member for whoever is one.
    pub fn event(&self, world: &World) -> Value {
        let mut message = self.json(world, true);
        let dm = world
            .channels
            .get(&self.channel_id)
            .is_some_and(|c| c.recipient.is_some());
        message["channel_type"] = json!(i32::from(dm));
        if dm {
            return message;
        }
        message["guild_id"] = json!(GUILD_ID.to_string());
        let member = json!({"roles": [], "joined_at": "2026-08-01T09:00:00.000000+00:00", "mute": false, "deaf": false,
            "flags": 0, "nick": null});
        if let Some(mentions) = message["mentions"].as_array_mut() {
            for mention in mentions {
                mention["member"] = member.clone();
            }
        }
        // Webhooks are no members.
        if matches!(self.author, Author::User(_)) {
            message["member"] = member;
        }
        message
    }
}

/// A time as Discord writes it: microseconds and a numeric offset.
pub fn iso_millis(ms: i64) -> String {
    let text = crate::time::Timestamp::from_millis(ms).rfc3339();
    format!("{}000+00:00", text.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn times_are_written_as_discord_does() {
        assert_eq!(iso_millis(1_786_363_204_000), "2026-08-10T12:00:04.000000+00:00");
    }
}
