//! Messages as the bot reads, makes and removes them.

use serde_json::{Value, json};

use super::answer::Answer;
use super::channels::{Permission, visible};
use super::gateway::Dispatch;
use super::message::{Author, Draft};
use super::request::Call;
use super::state::{Effects, Inner, intent};
use super::world::GUILD_ID;
use crate::ids::snowflake_time;

/// Two weeks in milliseconds: messages older than that are not deleted in bulk.
const TWO_WEEKS_MS: i64 = 14 * 24 * 3_600_000;
/// How many of the newest messages are searched for a repeated nonce.
const NONCE_REACH: usize = 100;

fn unknown_message() -> Answer {
    Answer::error(404, 10008, "Unknown Message")
}

/// `GET /channels/{id}/messages`: newest first; `before`, `after` and `around` exclude each other and the message they name
/// (`around` includes it). Without `READ_MESSAGE_HISTORY` the list is empty.
pub fn list(inner: &mut Inner, call: &Call<'_>, channel_id: u64) -> Result<Answer, Answer> {
    call.bot_only()?;
    let channel = visible(inner, channel_id, Permission::View)?;
    let limit = match call.query.get("limit").map(str::parse::<usize>) {
        None => 50,
        Some(Ok(limit @ 1..=100)) => limit,
        Some(_) => {
            return Err(Answer::invalid_form(
                "limit",
                "NUMBER_TYPE_MAX",
                "int value should be between 1 and 100.",
            ));
        }
    };
    let cursor = |name: &'static str| match call.query.get(name) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(|id| Some((name, id)))
            .map_err(|_| Answer::not_a_snowflake(name, text)),
    };
    let cursors: Vec<_> = [cursor("around")?, cursor("before")?, cursor("after")?]
        .into_iter()
        .flatten()
        .collect();
    if cursors.len() > 1 {
        return Err(Answer::invalid_form(
            "_misc",
            "MUTUALLY_EXCLUSIVE",
            "Only one of around, before and after may be given.",
        ));
    }
    if visible(inner, channel_id, Permission::ReadHistory).is_err() {
        return Ok(Answer::json(200, &json!([])));
    }
    let all = &channel.messages;
    // A page after a cursor holds the messages closest to it.
    let page: Vec<_> = match cursors.first() {
        None => all.values().rev().take(limit).collect(),
        Some(("before", id)) => all.range(..*id).rev().take(limit).map(|(_, m)| m).collect(),
        Some(("after", id)) => {
            let Some(start) = id.checked_add(1) else {
                return Ok(Answer::json(200, &json!([])));
            };
            let mut page: Vec<_> = all.range(start..).take(limit).map(|(_, m)| m).collect();
            page.reverse();
            page
        }
        Some((_, id)) => {
            let mut page: Vec<_> = all.range(*id..).take(limit.div_ceil(2)).map(|(_, m)| m).collect();
            page.reverse();
            page.extend(all.range(..*id).rev().take(limit - page.len()).map(|(_, m)| m));
            page
        }
    };
    let page: Vec<_> = page
        .into_iter()
        .map(|m| m.json(&inner.world, m.content_is_visible(&inner.world)))
        .collect();
    Ok(Answer::json(200, &Value::Array(page)))
}

/// `GET /channels/{id}/messages/{message}`.
pub fn get(inner: &mut Inner, call: &Call<'_>, channel_id: u64, id: u64) -> Result<Answer, Answer> {
    call.bot_only()?;
    let channel = visible(inner, channel_id, Permission::ReadHistory)?;
    let message = channel.messages.get(&id).ok_or_else(unknown_message)?;
    Ok(Answer::json(
        200,
        &message.json(&inner.world, message.content_is_visible(&inner.world)),
    ))
}

/// `POST /channels/{id}/messages`: `nonce` with `enforce_nonce` gives the earlier message again.
pub fn create(inner: &mut Inner, call: &Call<'_>, channel_id: u64, effects: &mut Effects) -> Result<Answer, Answer> {
    call.bot_only()?;
    let channel = visible(inner, channel_id, Permission::Send)?;
    let draft = Draft::read(&call.json()?)?;
    super::interactions::check_components(&json!(draft.components))?;
    let closed = |user: u64| inner.world.people.get(&user).is_some_and(|p| p.direct_messages_closed);
    if channel.recipient.is_some_and(closed) {
        return Err(Answer::error(403, 50007, "Cannot send messages to this user"));
    }
    let repeated = channel
        .messages
        .values()
        .rev()
        .take(NONCE_REACH)
        .find(|m| draft.enforce_nonce && draft.nonce.is_some() && m.draft.nonce == draft.nonce)
        .map(|m| m.id);
    let id = repeated.unwrap_or_else(|| {
        let bot = Author::User(inner.world.application.bot_id);
        inner.post(channel_id, bot, draft, call.now_us, effects)
    });
    let channel = visible(inner, channel_id, Permission::View)?;
    let message = channel.messages.get(&id).ok_or_else(unknown_message)?;
    Ok(Answer::json(200, &message.json(&inner.world, true)))
}

/// `DELETE /channels/{id}/messages/{message}`: one's own, or anyone's with `MANAGE_MESSAGES`.
pub fn delete(
    inner: &mut Inner,
    call: &Call<'_>,
    channel_id: u64,
    id: u64,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    call.bot_only()?;
    let channel = visible(inner, channel_id, Permission::View)?;
    let message = channel.messages.get(&id).ok_or_else(unknown_message)?;
    if !matches!(message.author, Author::User(author) if author == inner.world.application.bot_id) {
        visible(inner, channel_id, Permission::ManageMessages)?;
    }
    remove(inner, channel_id, id, effects);
    Ok(Answer::empty(204))
}

/// Takes a message away and tells so.
pub fn remove(inner: &mut Inner, channel_id: u64, id: u64, effects: &mut Effects) {
    let Some(channel) = inner.world.channels.get_mut(&channel_id) else {
        return;
    };
    channel.messages.remove(&id);
    let mut data = json!({"id": id.to_string(), "channel_id": channel_id.to_string()});
    let intents = if channel.recipient.is_some() {
        intent::DIRECT_MESSAGES
    } else {
        data["guild_id"] = json!(GUILD_ID.to_string());
        intent::GUILD_MESSAGES
    };
    effects.dispatches.push(Dispatch {
        kind: "MESSAGE_DELETE",
        data,
        intents,
    });
}

/// `POST /channels/{id}/messages/bulk-delete`: 2 to 100 ids, none older than two weeks, none twice.
pub fn bulk_delete(
    inner: &mut Inner,
    call: &Call<'_>,
    channel_id: u64,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    call.bot_only()?;
    visible(inner, channel_id, Permission::ManageMessages)?;
    let body = call.json()?;
    let ids: Option<Vec<u64>> = body.get("messages").and_then(Value::as_array).and_then(|list| {
        list.iter()
            .map(|v| v.as_str().map_or_else(|| v.as_u64(), |text| text.parse::<u64>().ok()))
            .collect()
    });
    let Some(mut ids) = ids else {
        return Err(Answer::invalid_form(
            "messages",
            "BASE_TYPE_REQUIRED",
            "This field is required",
        ));
    };
    if !(2..=100).contains(&ids.len()) {
        return Err(Answer::error(
            400,
            50016,
            "Provided too few or too many messages to delete. Must provide at least 2 and fewer than 100 messages to delete.",
        ));
    }
    if ids
        .iter()
        .any(|id| call.now_us / 1_000 - snowflake_time(*id).as_millis() > TWO_WEEKS_MS)
    {
        return Err(Answer::error(
            400,
            50034,
            "You can only bulk delete messages that are under 14 days old.",
        ));
    }
    ids.sort_unstable();
    let wanted = ids.len();
    ids.dedup();
    if ids.len() != wanted {
        return Err(Answer::invalid_form(
            "messages",
            "SET_TYPE_ALREADY_CONTAINS_VALUE",
            "The set already contains this value.",
        ));
    }
    if let Some(channel) = inner.world.channels.get_mut(&channel_id) {
        ids.retain(|id| channel.messages.remove(id).is_some());
    }
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    effects.dispatches.push(Dispatch {
        kind: "MESSAGE_DELETE_BULK",
        data: json!({"ids": ids, "channel_id": channel_id.to_string(), "guild_id": GUILD_ID.to_string()}),
        intents: intent::GUILD_MESSAGES,
    });
    Ok(Answer::empty(204))
}

/// `PUT /channels/{id}/messages/{message}/reactions/{emoji}/@me`.
pub fn react(
    inner: &mut Inner,
    call: &Call<'_>,
    channel_id: u64,
    id: u64,
    emoji: String,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    call.bot_only()?;
    visible(inner, channel_id, Permission::React)?;
    let bot_id = inner.world.application.bot_id;
    let message = inner
        .world
        .channels
        .get_mut(&channel_id)
        .and_then(|c| c.messages.get_mut(&id));
    let message = message.ok_or_else(unknown_message)?;
    if emoji.is_ascii() && !emoji.contains(':') {
        return Err(Answer::error(400, 10014, "Unknown Emoji"));
    }
    if !message.reactions.contains(&emoji) {
        message.reactions.push(emoji.clone());
        effects.dispatches.push(Dispatch {
            kind: "MESSAGE_REACTION_ADD",
            data: json!({"user_id": bot_id.to_string(), "type": 0, "message_id": id.to_string(),
                "channel_id": channel_id.to_string(), "guild_id": GUILD_ID.to_string(), "burst": false,
                "emoji": {"id": null, "name": emoji}}),
            intents: intent::GUILD_MESSAGE_REACTIONS,
        });
    }
    Ok(Answer::empty(204))
}
