//! What a request asks for: its path as a route, its credentials, its query and body. Answers nothing itself but what
//! Discord refuses before it looks at the meaning.

use actix_web::http::Method;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::faults::Endpoint;
use super::limits::Caller;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The consent page.
    AuthorizePage,
    /// What a person decided on the consent page.
    AuthorizeDecision,
    /// The token endpoint.
    Token,
    /// The revocation endpoint.
    Revoke,
    /// The current authorization.
    OauthMe,
    /// The user of the token.
    Me,
    /// The guilds of the token's user.
    MyGuilds,
    /// The connections of the token's user.
    MyConnections,
    /// The token's user as a guild's member.
    MyMember(u64),
    /// Opens a direct message channel.
    OpenDm,
    /// The bot's application.
    Application,
    /// `GET /gateway`.
    GatewayUrl,
    /// `GET /gateway/bot`.
    GatewayBot,
    /// The guild.
    Guild(u64),
    /// The guild's channels.
    GuildChannels(u64),
    /// How many hold each role.
    RoleCounts(u64),
    /// A member.
    GuildMember(u64, u64),
    /// A channel.
    Channel(u64),
    /// A channel's webhooks.
    ChannelWebhooks(u64),
    /// Makes a webhook.
    CreateWebhook(u64),
    /// A channel's messages.
    Messages(u64),
    /// Makes a message.
    CreateMessage(u64),
    /// One message.
    Message(u64, u64),
    /// Deletes one message.
    DeleteMessage(u64, u64),
    /// Deletes many.
    BulkDelete(u64),
    /// Reacts as the bot.
    React(u64, u64, String),
    /// A webhook, asked for by the bot.
    Webhook(u64),
    /// A webhook, asked for with its token.
    WebhookByToken(u64, String),
    /// Deletes a webhook.
    DeleteWebhook(u64, Option<String>),
    /// Posts through a webhook.
    Execute(u64, String),
    /// One message of a webhook.
    WebhookMessage(u64, String, u64),
    /// Deletes one message of a webhook.
    DeleteWebhookMessage(u64, String, u64),
    /// The application's commands.
    Commands(u64),
    /// Makes or changes one command.
    SetCommand(u64),
    /// Puts a list in the place of all commands.
    SetCommands(u64),
    /// Answers an interaction.
    Answer(u64, String),
}

impl Route {
    /// The route of a path below the API's root.
    pub fn of(method: &Method, path: &str) -> Result<Self, Answer> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let id = |name: &str, text: &str| text.parse::<u64>().map_err(|_| Answer::not_a_snowflake(name, text));
        let channel = |text| id("channel_id", text);
        let webhook = |text| id("webhook_id", text);
        let message = |text| id("message_id", text);
        let guild = |text| id("guild_id", text);
        let get = Method::GET;
        let post = Method::POST;
        let delete = Method::DELETE;
        let known: &[(&Method, Self)] = &match parts.as_slice() {
            ["oauth2", "authorize"] => vec![(&get, Self::AuthorizePage), (&post, Self::AuthorizeDecision)],
            ["oauth2", "token"] => vec![(&post, Self::Token)],
            ["oauth2", "token", "revoke"] => vec![(&post, Self::Revoke)],
            ["oauth2", "@me"] => vec![(&get, Self::OauthMe)],
            ["users", "@me"] => vec![(&get, Self::Me)],
            ["users", "@me", "guilds"] => vec![(&get, Self::MyGuilds)],
            ["users", "@me", "connections"] => vec![(&get, Self::MyConnections)],
            ["users", "@me", "guilds", g, "member"] => vec![(&get, Self::MyMember(guild(g)?))],
            ["users", "@me", "channels"] => vec![(&post, Self::OpenDm)],
            ["oauth2", "applications", "@me"] | ["applications", "@me"] => {
                vec![(&get, Self::Application)]
            }
            ["gateway"] => vec![(&get, Self::GatewayUrl)],
            ["gateway", "bot"] => vec![(&get, Self::GatewayBot)],
            ["guilds", g] => vec![(&get, Self::Guild(guild(g)?))],
            ["guilds", g, "channels"] => vec![(&get, Self::GuildChannels(guild(g)?))],
            ["guilds", g, "roles", "member-counts"] => vec![(&get, Self::RoleCounts(guild(g)?))],
            ["guilds", g, "members", u] => vec![(&get, Self::GuildMember(guild(g)?, id("user_id", u)?))],
            ["channels", c] => vec![(&get, Self::Channel(channel(c)?))],
            ["channels", c, "webhooks"] => vec![
                (&get, Self::ChannelWebhooks(channel(c)?)),
                (&post, Self::CreateWebhook(channel(c)?)),
            ],
            ["channels", c, "messages"] => vec![
                (&get, Self::Messages(channel(c)?)),
                (&post, Self::CreateMessage(channel(c)?)),
            ],
            ["channels", c, "messages", "bulk-delete"] => vec![(&post, Self::BulkDelete(channel(c)?))],
            ["channels", c, "messages", m] => vec![
                (&get, Self::Message(channel(c)?, message(m)?)),
                (&delete, Self::DeleteMessage(channel(c)?, message(m)?)),
            ],
            ["channels", c, "messages", m, "reactions", emoji, "@me"] => {
                let emoji = percent_decoded(emoji);
                return match *method {
                    Method::PUT => Ok(Self::React(channel(c)?, message(m)?, emoji)),
                    _ => Err(Answer::error(405, 0, "405: Method Not Allowed")),
                };
            }
            ["webhooks", w] => vec![
                (&get, Self::Webhook(webhook(w)?)),
                (&delete, Self::DeleteWebhook(webhook(w)?, None)),
            ],
            ["webhooks", w, token] => {
                let token = (*token).to_owned();
                vec![
                    (&post, Self::Execute(webhook(w)?, token.clone())),
                    (&get, Self::WebhookByToken(webhook(w)?, token.clone())),
                    (&delete, Self::DeleteWebhook(webhook(w)?, Some(token))),
                ]
            }
            ["webhooks", w, token, "messages", m] => {
                let token = (*token).to_owned();
                vec![
                    (&get, Self::WebhookMessage(webhook(w)?, token.clone(), message(m)?)),
                    (&delete, Self::DeleteWebhookMessage(webhook(w)?, token, message(m)?)),
                ]
            }
            ["applications", a, "commands"] => {
                let application = id("application_id", a)?;
                match *method {
                    Method::PUT => return Ok(Self::SetCommands(application)),
                    _ => vec![
                        (&get, Self::Commands(application)),
                        (&post, Self::SetCommand(application)),
                    ],
                }
            }
            ["interactions", i, token, "callback"] => {
                vec![(&post, Self::Answer(id("interaction_id", i)?, (*token).to_owned()))]
            }
            _ => return Err(Answer::error(404, 0, "404: Not Found")),
        };
        known
            .iter()
            .find(|(allowed, _)| *allowed == method)
            .map(|(_, route)| route.clone())
            .ok_or_else(|| Answer::error(405, 0, "405: Method Not Allowed"))
    }

    /// The endpoint by which faults and the ledger know it.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::AuthorizePage | Self::AuthorizeDecision => Endpoint::Authorize,
            Self::Token => Endpoint::Token,
            Self::Revoke => Endpoint::Revoke,
            Self::OauthMe => Endpoint::OauthMe,
            Self::Me => Endpoint::Me,
            Self::MyGuilds => Endpoint::Guilds,
            Self::MyConnections => Endpoint::Connections,
            Self::MyMember(_) => Endpoint::Member,
            Self::OpenDm => Endpoint::DirectMessage,
            Self::Application => Endpoint::Application,
            Self::GatewayUrl | Self::GatewayBot => Endpoint::GatewayUrl,
            Self::Guild(_) | Self::GuildChannels(_) | Self::RoleCounts(_) | Self::GuildMember(..) => Endpoint::Guild,
            Self::Channel(_) => Endpoint::Channel,
            Self::ChannelWebhooks(_) | Self::CreateWebhook(_) => Endpoint::ChannelWebhooks,
            Self::Messages(_) => Endpoint::Messages,
            Self::CreateMessage(_) => Endpoint::CreateMessage,
            Self::Message(..) | Self::WebhookMessage(..) => Endpoint::Message,
            Self::DeleteMessage(..) | Self::DeleteWebhookMessage(..) => Endpoint::Delete,
            Self::BulkDelete(_) => Endpoint::BulkDelete,
            Self::React(..) => Endpoint::Reaction,
            Self::Webhook(_) | Self::WebhookByToken(..) | Self::DeleteWebhook(..) => Endpoint::WebhookItself,
            Self::Execute(..) => Endpoint::Webhook,
            Self::Commands(_) | Self::SetCommand(_) => Endpoint::Commands,
            Self::SetCommands(_) => Endpoint::BulkCommands,
            Self::Answer(..) => Endpoint::Interaction,
        }
    }
}

fn percent_decoded(text: &str) -> String {
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

/// Who a request says it comes from.
pub enum Auth {
    /// Nobody.
    None,
    /// The bot, by its right token.
    Bot,
    /// A person's access token, good or not.
    Bearer(String),
    /// HTTP Basic: client id and secret.
    Basic(String, String),
    /// Anything else, a wrong bot token among it.
    Other,
}

impl Auth {
    /// Reads an `Authorization` header.
    pub fn read(header: Option<&str>, bot_token: &str) -> Self {
        use base64::Engine;
        let Some(header) = header else { return Self::None };
        let (scheme, value) = header.split_once(' ').unwrap_or(("", header));
        match scheme.to_ascii_lowercase().as_str() {
            "bot" if value == bot_token => Self::Bot,
            "bearer" => Self::Bearer(value.to_owned()),
            "basic" => base64::engine::general_purpose::STANDARD
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

/// A request, read as far as its meaning does not matter.
pub struct Call<'a> {
    /// Who says they ask.
    pub auth: Auth,
    /// How the caller is counted.
    pub caller: Caller,
    /// The query.
    pub query: Fields,
    /// The content type, without parameters, in lower case.
    pub content_type: String,
    /// The whole content type.
    pub content_type_header: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// When it came, in microseconds.
    pub now_us: i64,
}

impl Call<'_> {
    /// The body as a JSON value; forms become objects of strings.
    pub fn json(&self) -> Result<Value, Answer> {
        match self.content_type.as_str() {
            "application/json" => serde_json::from_slice(self.body)
                .map_err(|_| Answer::error(400, 50109, "The request body contains invalid JSON.")),
            "application/x-www-form-urlencoded" => {
                let fields = Fields::read(self.body);
                Ok(Value::Object(
                    fields.0.into_iter().map(|(k, v)| (k, Value::String(v))).collect(),
                ))
            }
            "multipart/form-data" => Ok(multipart(self.content_type_header, self.body)),
            "" if self.body.is_empty() => Ok(Value::Object(Map::new())),
            _ => Err(Answer::invalid_form(
                "_misc",
                "CONTENT_TYPE_INVALID",
                "Expected \"Content-Type\" header to be one of {'application/json'}.",
            )),
        }
    }

    /// Refuses anyone but the bot.
    pub fn bot_only(&self) -> Result<(), Answer> {
        match self.auth {
            Auth::Bot => Ok(()),
            _ => Err(Answer::unauthorized()),
        }
    }
}

/// The parts of a multipart body that are not files: `payload_json` whole, the others as strings.
fn multipart(content_type: &str, body: &[u8]) -> Value {
    let mut fields = Map::new();
    let boundary = content_type
        .split("boundary=")
        .nth(1)
        .map(|b| b.split(';').next().unwrap_or(b).trim_matches('"'));
    let text = String::from_utf8_lossy(body);
    for part in boundary
        .iter()
        .flat_map(|b| text.split(&format!("--{b}")).skip(1).collect::<Vec<_>>())
    {
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

    /// Adds fields behind those there are, which win.
    pub fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// A field from a JSON object.
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

    /// Whether a boolean field is true, by Discord's spelling.
    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "True" | "1"))
    }
}

#[cfg(test)]
mod tests;
