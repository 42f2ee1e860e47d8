//! Webhooks: what anyone who knows a token may do, and what the bot may do as their keeper.

use serde_json::{Value, json};

use super::answer::Answer;
use super::channels::{Permission, visible};
use super::gateway::Dispatch;
use super::message::{Author, Draft};
use super::request::Call;
use super::state::{Effects, Inner, intent};
use super::world::{GUILD_ID, Webhook};

/// Webhooks per channel (Discord Docs/Topics/Opcodes, error 30007).
const MAX_PER_CHANNEL: usize = 15;

fn unknown_webhook() -> Answer {
    Answer::error(404, 10015, "Unknown Webhook")
}

/// The webhook that an id and a token name.
fn by_token<'a>(inner: &'a Inner, id: u64, token: &str) -> Result<&'a Webhook, Answer> {
    let webhook = inner.world.webhooks.get(&id).ok_or_else(unknown_webhook)?;
    if webhook.token == token {
        Ok(webhook)
    } else {
        Err(Answer::error(401, 50027, "Invalid Webhook Token"))
    }
}

/// `POST /webhooks/{id}/{token}`: 204, or 200 and the message with `wait`.
pub fn execute(
    inner: &mut Inner,
    call: &Call<'_>,
    id: u64,
    token: &str,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    let webhook = by_token(inner, id, token)?.clone();
    let draft = Draft::read(&call.json()?)?;
    let author = Author::webhook(&webhook, draft.username.as_deref());
    let message = inner.post(webhook.channel_id, author, draft, call.now_us, effects);
    if call.query.is_true("wait") {
        message_answer(inner, webhook.channel_id, message)
    } else {
        Ok(Answer::empty(204))
    }
}

fn message_answer(inner: &Inner, channel_id: u64, message_id: u64) -> Result<Answer, Answer> {
    inner
        .world
        .channels
        .get(&channel_id)
        .and_then(|c| c.messages.get(&message_id))
        .map(|m| Answer::json(200, &m.json(&inner.world, true)))
        .ok_or_else(|| Answer::error(404, 10008, "Unknown Message"))
}

/// Whether a webhook sent a message, which is then found in the webhook's channel.
fn is_own(inner: &Inner, webhook: &Webhook, message_id: u64) -> bool {
    inner
        .world
        .channels
        .get(&webhook.channel_id)
        .and_then(|c| c.messages.get(&message_id))
        .is_some_and(|m| matches!(m.author, Author::Webhook { id, .. } if id == webhook.id))
}

/// `GET /webhooks/{id}/{token}/messages/{message}`: the content too, whatever the intents.
pub fn message(inner: &mut Inner, id: u64, token: &str, message_id: u64) -> Result<Answer, Answer> {
    let webhook = by_token(inner, id, token)?;
    if !is_own(inner, webhook, message_id) {
        return Err(Answer::error(404, 10008, "Unknown Message"));
    }
    message_answer(inner, webhook.channel_id, message_id)
}

/// `DELETE /webhooks/{id}/{token}/messages/{message}`: needs no permission.
pub fn delete_message(
    inner: &mut Inner,
    id: u64,
    token: &str,
    message_id: u64,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    let webhook = by_token(inner, id, token)?;
    if !is_own(inner, webhook, message_id) {
        return Err(Answer::error(404, 10008, "Unknown Message"));
    }
    let channel_id = webhook.channel_id;
    super::messages::remove(inner, channel_id, message_id, effects);
    Ok(Answer::empty(204))
}

/// The webhook object. The token of a webhook that an application owns is given to that application only, which the bot is.
fn webhook_json(inner: &Inner, webhook: &Webhook, base_url: &str, with_user: bool) -> Value {
    let mut body = json!({"id": webhook.id.to_string(), "type": 1, "guild_id": GUILD_ID.to_string(),
        "channel_id": webhook.channel_id.to_string(), "name": webhook.name, "avatar": null,
        "application_id": webhook.application_id.map(|id| id.to_string()), "token": webhook.token,
        "url": format!("{base_url}/api/webhooks/{}/{}", webhook.id, webhook.token)});
    if with_user {
        body["user"] = inner.world.user_json(webhook.creator).unwrap_or_default();
    }
    body
}

/// `GET /webhooks/{id}` and `GET /webhooks/{id}/{token}`; the latter without `user`.
pub fn get(inner: &mut Inner, call: &Call<'_>, id: u64, token: Option<&str>, base_url: &str) -> Result<Answer, Answer> {
    let webhook = match token {
        Some(token) => by_token(inner, id, token)?,
        None => {
            call.bot_only()?;
            let webhook = inner.world.webhooks.get(&id).ok_or_else(unknown_webhook)?;
            if webhook.application_id.is_none() {
                visible(inner, webhook.channel_id, Permission::ManageWebhooks)?;
            }
            webhook
        }
    };
    Ok(Answer::json(
        200,
        &webhook_json(inner, webhook, base_url, token.is_none()),
    ))
}

/// `GET /channels/{id}/webhooks`.
pub fn of_channel(inner: &mut Inner, call: &Call<'_>, channel_id: u64, base_url: &str) -> Result<Answer, Answer> {
    call.bot_only()?;
    visible(inner, channel_id, Permission::ManageWebhooks)?;
    let list = inner.world.webhooks.values().filter(|w| w.channel_id == channel_id);
    let list: Vec<_> = list.map(|w| webhook_json(inner, w, base_url, true)).collect();
    Ok(Answer::json(200, &Value::Array(list)))
}

/// `POST /channels/{id}/webhooks`.
pub fn create(
    inner: &mut Inner,
    call: &Call<'_>,
    channel_id: u64,
    base_url: &str,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    call.bot_only()?;
    visible(inner, channel_id, Permission::ManageWebhooks)?;
    let body = call.json()?;
    let Some(name) = body.get("name").and_then(Value::as_str) else {
        return Err(Answer::invalid_form(
            "name",
            "BASE_TYPE_REQUIRED",
            "This field is required",
        ));
    };
    if !(1..=80).contains(&name.chars().count()) {
        return Err(Answer::invalid_form(
            "name",
            "BASE_TYPE_BAD_LENGTH",
            "Must be between 1 and 80 in length.",
        ));
    }
    let lower = name.to_lowercase();
    if let Some(word) = ["clyde", "discord"].iter().find(|w| lower.contains(**w)) {
        return Err(Answer::invalid_form(
            "name",
            "USERNAME_INVALID_CONTAINS",
            &format!("Username cannot contain \"{word}\""),
        ));
    }
    let there = inner
        .world
        .webhooks
        .values()
        .filter(|w| w.channel_id == channel_id)
        .count();
    if there >= MAX_PER_CHANNEL {
        return Err(Answer::error(400, 30007, "Maximum number of webhooks reached (15)"));
    }
    let id = inner.world.mint(call.now_us);
    let webhook = inner.world.add_webhook(id, channel_id, name, true);
    effects.dispatches.push(update(channel_id));
    Ok(Answer::json(200, &webhook_json(inner, &webhook, base_url, true)))
}

/// `DELETE /webhooks/{id}` as the bot, or with the token as anyone.
pub fn delete(
    inner: &mut Inner,
    call: &Call<'_>,
    id: u64,
    token: Option<&str>,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    let webhook = match token {
        Some(token) => by_token(inner, id, token)?,
        None => {
            call.bot_only()?;
            inner.world.webhooks.get(&id).ok_or_else(unknown_webhook)?
        }
    };
    let channel_id = webhook.channel_id;
    if token.is_none() {
        visible(inner, channel_id, Permission::ManageWebhooks)?;
    }
    inner.world.webhooks.remove(&id);
    effects.dispatches.push(update(channel_id));
    Ok(Answer::empty(204))
}

/// The event that tells that something about a channel's webhooks changed, but not what.
pub fn update(channel_id: u64) -> Dispatch {
    Dispatch {
        kind: "WEBHOOKS_UPDATE",
        data: json!({"guild_id": GUILD_ID.to_string(), "channel_id": channel_id.to_string()}),
        intents: intent::GUILD_WEBHOOKS,
    }
}
