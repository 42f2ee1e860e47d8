//! Messages as the bot reads, posts and deletes them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::answer::{Answer, Reply};
use super::channels::visible;
use super::draft::{Author, Draft};
use super::gateway::intent;
use super::ids::GUILD_ID;
use super::interactions::check_components;
use super::object;
use super::request::Call;
use super::state::Inner;
use crate::ids::snowflake_time;

/// Messages older than this cannot be deleted in bulk.
const TWO_WEEKS_MS: i64 = 14 * 24 * 3_600_000;
/// How many of the newest messages are searched for a repeated nonce.
const NONCE_REACH: usize = 100;

/// `GET /channels/{id}/messages`: newest first; `before`, `after` and `around` exclude each other and the message they
/// name (`around` includes it). Without `READ_MESSAGE_HISTORY` the list is empty.
pub fn list(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel = visible(inner, call.ids[0], |held| held.view)?;
    let limit = call.limit(50, 100)?;
    let cursors = [
        call.snowflake("around")?,
        call.snowflake("before")?,
        call.snowflake("after")?,
    ];
    if cursors.iter().flatten().count() > 1 {
        let message = "Only one of around, before and after may be given.";
        return Err(Answer::invalid_form("_misc", "MUTUALLY_EXCLUSIVE", message));
    }
    if visible(inner, call.ids[0], |held| held.read_history).is_err() {
        return Ok(Answer::json(200, &json!([])));
    }
    let all = &channel.messages;
    let up_from = |id: u64, most: usize| {
        let mut page: Vec<_> = all.range(id..).take(most).map(|(_, m)| m).collect();
        page.reverse();
        page
    };
    // A page after a cursor holds the messages closest to it.
    let page = match cursors {
        [Some(around), ..] => {
            let mut page = up_from(around, limit.div_ceil(2));
            let rest = limit - page.len();
            page.extend(all.range(..around).rev().take(rest).map(|(_, m)| m));
            page
        }
        [_, Some(before), _] => all.range(..before).rev().take(limit).map(|(_, m)| m).collect(),
        [_, _, Some(after)] => after
            .checked_add(1)
            .map_or_else(Vec::new, |first| up_from(first, limit)),
        _ => all.values().rev().take(limit).collect(),
    };
    let page = page.into_iter().map(|m| object::message_for_bot(&inner.world, m));
    Ok(Answer::json(200, &page.collect()))
}

/// `GET /channels/{id}/messages/{message}`.
pub fn get(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel = visible(inner, call.ids[0], |held| held.read_history)?;
    let message = channel.messages.get(&call.ids[1]);
    let message = message.ok_or_else(Answer::unknown_message)?;
    Ok(Answer::json(200, &object::message_for_bot(&inner.world, message)))
}

/// `POST /channels/{id}/messages`: `nonce` with `enforce_nonce` gives the earlier message again.
pub fn create(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel_id = call.ids[0];
    let channel = visible(inner, channel_id, |held| held.send)?;
    let draft = Draft::read(&call.json()?)?;
    check_components(&json!(draft.components))?;
    let closed = |user: u64| inner.world.people.get(&user).is_some_and(|p| p.direct_messages_closed);
    if channel.recipient.is_some_and(closed) {
        return Err(Answer::error(403, 50007, "Cannot send messages to this user"));
    }
    let mut newest = channel.messages.values().rev().take(NONCE_REACH);
    let repeated = newest
        .find(|m| draft.enforce_nonce && draft.nonce.is_some() && m.draft.nonce == draft.nonce)
        .map(|m| m.id);
    let id = repeated.unwrap_or_else(|| {
        let bot = Author::User(inner.world.application.bot_id);
        inner.post(channel_id, bot, draft, call.now_us)
    });
    posted(inner, channel_id, id)
}

/// A message with its content, as the one who posted it is answered.
pub fn posted(inner: &Inner, channel_id: u64, id: u64) -> Reply {
    let message = inner.world.message(channel_id, id);
    let message = message.ok_or_else(Answer::unknown_message)?;
    Ok(Answer::json(200, &object::message(&inner.world, message)))
}

/// `DELETE /channels/{id}/messages/{message}`: the bot's own, or anyone's with `MANAGE_MESSAGES`.
pub fn delete(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let [channel_id, id] = call.ids;
    let channel = visible(inner, channel_id, |held| held.view)?;
    let message = channel.messages.get(&id).ok_or_else(Answer::unknown_message)?;
    if !matches!(message.author, Author::User(author) if author == inner.world.application.bot_id) {
        visible(inner, channel_id, |held| held.manage_messages)?;
    }
    inner.remove_message(channel_id, id);
    Ok(Answer::empty(204))
}

/// `POST /channels/{id}/messages/bulk-delete`: 2 to 100 ids, none older than two weeks, none twice.
pub fn bulk_delete(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel_id = call.ids[0];
    visible(inner, channel_id, |held| held.manage_messages)?;
    let body = call.json()?;
    let id = |v: &Value| v.as_str()?.parse().ok();
    let ids = body["messages"].as_array().map(|list| list.iter().map(id).collect());
    let ids: Vec<u64> = ids.flatten().ok_or_else(|| Answer::required("messages"))?;
    if !(2..=100).contains(&ids.len()) {
        let message = "Provided too few or too many messages to delete. Must provide at least 2 and fewer than 100 messages to delete.";
        return Err(Answer::error(400, 50016, message));
    }
    let age_ms = |id: &u64| call.now_us / 1_000 - snowflake_time(*id).as_millis();
    if ids.iter().any(|id| age_ms(id) > TWO_WEEKS_MS) {
        let message = "You can only bulk delete messages that are under 14 days old.";
        return Err(Answer::error(400, 50034, message));
    }
    let mut different: BTreeSet<_> = ids.iter().copied().collect();
    if different.len() != ids.len() {
        let message = "The set already contains this value.";
        return Err(Answer::invalid_form(
            "messages",
            "SET_TYPE_ALREADY_CONTAINS_VALUE",
            message,
        ));
    }
    if let Some(channel) = inner.world.channels.get_mut(&channel_id) {
        different.retain(|id| channel.messages.remove(id).is_some());
    }
    let ids: Vec<_> = different.iter().map(ToString::to_string).collect();
    let data = json!({"ids": ids, "channel_id": channel_id.to_string(), "guild_id": GUILD_ID.to_string()});
    inner.dispatch("MESSAGE_DELETE_BULK", data, intent::GUILD_MESSAGES);
    Ok(Answer::empty(204))
}

/// `PUT /channels/{id}/messages/{message}/reactions/{emoji}/@me`.
pub fn react(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let ([channel_id, id], emoji) = (call.ids, &call.text);
    visible(inner, channel_id, |held| held.read_history && held.add_reactions)?;
    let bot_id = inner.world.application.bot_id;
    let channel = inner.world.channels.get_mut(&channel_id);
    let message = channel.and_then(|c| c.messages.get_mut(&id));
    let message = message.ok_or_else(Answer::unknown_message)?;
    if emoji.is_ascii() && !emoji.contains(':') {
        return Err(Answer::error(400, 10014, "Unknown Emoji"));
    }
    if !message.reactions.contains(emoji) {
        message.reactions.push(emoji.clone());
        let data = json!({"user_id": bot_id.to_string(), "type": 0, "message_id": id.to_string(),
            "channel_id": channel_id.to_string(), "guild_id": GUILD_ID.to_string(), "burst": false,
            "emoji": {"id": null, "name": emoji}});
        inner.dispatch("MESSAGE_REACTION_ADD", data, intent::GUILD_MESSAGE_REACTIONS);
    }
    Ok(Answer::empty(204))
}
