//! Webhooks: what anyone with the token may do, and what the bot may do as their manager.

use serde_json::{Value, json};

use super::answer::{Answer, Reply};
use super::channels::visible;
use super::draft::{Author, Draft};
use super::ids::OWNER_ID;
use super::messages::posted;
use super::object;
use super::request::Call;
use super::state::Inner;
use super::world::Webhook;

/// Webhooks per channel (Discord Docs/Topics/Opcodes, error 30007).
const MAX_PER_CHANNEL: usize = 15;

/// The webhook in the path. A path without a token is the bot's alone.
fn named<'a>(inner: &'a Inner, call: &Call<'_>) -> Result<&'a Webhook, Answer> {
    let webhook = inner.world.webhooks.get(&call.ids[0]);
    let webhook = webhook.ok_or_else(|| Answer::error(404, 10015, "Unknown Webhook"))?;
    if call.text.is_empty() || webhook.token == call.text {
        Ok(webhook)
    } else {
        Err(Answer::error(401, 50027, "Invalid Webhook Token"))
    }
}

/// `POST /webhooks/{id}/{token}`: 204, or 200 and the message with `wait`.
pub fn execute(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let webhook = named(inner, call)?;
    let draft = Draft::read(&call.json()?)?;
    let (channel_id, author) = (webhook.channel_id, webhook.author(draft.username.as_deref()));
    let id = inner.post(channel_id, author, draft, call.now_us);
    if call.query.is_true("wait") {
        posted(inner, channel_id, id)
    } else {
        Ok(Answer::empty(204))
    }
}

/// The channel of the webhook in the path, if the message in the path is this webhook's.
fn channel_of_own_message(inner: &Inner, call: &Call<'_>) -> Result<u64, Answer> {
    let webhook = named(inner, call)?;
    let message = inner.world.message(webhook.channel_id, call.ids[1]);
    let own = message.is_some_and(|m| matches!(m.author, Author::Webhook { id, .. } if id == webhook.id));
    own.then_some(webhook.channel_id).ok_or_else(Answer::unknown_message)
}

/// `GET /webhooks/{id}/{token}/messages/{message}`: with its content, whatever the intents.
pub fn message(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel_id = channel_of_own_message(inner, call)?;
    posted(inner, channel_id, call.ids[1])
}

/// `DELETE /webhooks/{id}/{token}/messages/{message}`: needs no permission.
pub fn delete_message(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel_id = channel_of_own_message(inner, call)?;
    inner.remove_message(channel_id, call.ids[1]);
    Ok(Answer::empty(204))
}

/// The webhook as the bot sees it: with the user who created it.
fn with_user(inner: &Inner, webhook: &Webhook) -> Value {
    let creator = webhook
        .application_id
        .map_or(OWNER_ID, |_| inner.world.application.bot_id);
    let user = json!({"user": inner.world.user_json(creator)});
    object::with(object::webhook(webhook, &inner.base_url), user)
}

/// `GET /webhooks/{id}`, and without `user` `GET /webhooks/{id}/{token}`.
pub fn get(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let webhook = named(inner, call)?;
    if !call.text.is_empty() {
        return Ok(Answer::json(200, &object::webhook(webhook, &inner.base_url)));
    }
    if webhook.application_id.is_none() {
        visible(inner, webhook.channel_id, |held| held.manage_webhooks)?;
    }
    Ok(Answer::json(200, &with_user(inner, webhook)))
}

/// `GET /channels/{id}/webhooks`.
pub fn of_channel(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel_id = call.ids[0];
    visible(inner, channel_id, |held| held.manage_webhooks)?;
    let list = inner.world.webhooks.values().filter(|w| w.channel_id == channel_id);
    Ok(Answer::json(200, &list.map(|w| with_user(inner, w)).collect()))
}

/// `POST /channels/{id}/webhooks`.
pub fn create(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel_id = call.ids[0];
    visible(inner, channel_id, |held| held.manage_webhooks)?;
    let body = call.json()?;
    let name = body["name"].as_str().ok_or_else(|| Answer::required("name"))?;
    if !(1..=80).contains(&name.chars().count()) {
        return Err(Answer::bad_length("name", "between 1 and 80"));
    }
    let lower = name.to_lowercase();
    if let Some(word) = ["clyde", "discord"].iter().find(|w| lower.contains(**w)) {
        let message = format!("Username cannot contain \"{word}\"");
        return Err(Answer::invalid_form("name", "USERNAME_INVALID_CONTAINS", &message));
    }
    let webhooks = inner.world.webhooks.values();
    if webhooks.filter(|w| w.channel_id == channel_id).count() >= MAX_PER_CHANNEL {
        return Err(Answer::error(400, 30007, "Maximum number of webhooks reached (15)"));
    }
    let id = inner.world.mint(call.now_us);
    let webhook = inner.world.add_webhook(id, channel_id, name, true);
    inner.webhooks_changed(channel_id);
    Ok(Answer::json(200, &with_user(inner, &webhook)))
}

/// `DELETE /webhooks/{id}` for the bot, or with the token for anyone.
pub fn delete(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel_id = named(inner, call)?.channel_id;
    if call.text.is_empty() {
        visible(inner, channel_id, |held| held.manage_webhooks)?;
    }
    inner.world.webhooks.remove(&call.ids[0]);
    inner.webhooks_changed(channel_id);
    Ok(Answer::empty(204))
}
