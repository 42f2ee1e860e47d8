//! Channels: who may do what in them, their objects, direct messages.

use serde_json::{Value, json};

use super::answer::Answer;
use super::options::BotPermissions;
use super::request::Call;
use super::state::Inner;
use super::world::{Channel, GUILD_ID, World};

/// What a call needs beside seeing the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing.
    View,
    /// `READ_MESSAGE_HISTORY`.
    ReadHistory,
    /// `SEND_MESSAGES`.
    Send,
    /// `MANAGE_MESSAGES`.
    ManageMessages,
    /// `MANAGE_WEBHOOKS`.
    ManageWebhooks,
    /// `READ_MESSAGE_HISTORY` and `ADD_REACTIONS`.
    React,
}

/// The channel, if it exists and the bot may do there what is needed: 404 `10003`, 403 `50001`, 403 `50013`.
pub fn visible(inner: &Inner, channel_id: u64, need: Permission) -> Result<&Channel, Answer> {
    let channel = inner
        .world
        .channels
        .get(&channel_id)
        .ok_or_else(|| Answer::error(404, 10003, "Unknown Channel"))?;
    let held = if channel.recipient.is_some() {
        BotPermissions {
            manage_messages: false,
            manage_webhooks: false,
            ..BotPermissions::default()
        }
    } else {
        channel.permissions
    };
    if !held.view {
        return Err(Answer::error(403, 50001, "Missing Access"));
    }
    let may = match need {
        Permission::View => true,
        Permission::ReadHistory => held.read_history,
        Permission::Send => held.send,
        Permission::ManageMessages => held.manage_messages,
        Permission::ManageWebhooks => held.manage_webhooks,
        Permission::React => held.read_history && held.add_reactions,
    };
    if may {
        Ok(channel)
    } else {
        Err(Answer::error(403, 50013, "Missing Permissions"))
    }
}

/// The channel object. Overwrites say what the bot may do: everyone is shut out, the bot's role is let in.
pub fn channel_json(world: &World, channel: &Channel) -> Value {
    let last = channel.messages.keys().next_back().map(ToString::to_string);
    if let Some(recipient) = channel.recipient {
        return json!({"id": channel.id.to_string(), "type": 1, "last_message_id": last, "flags": 0,
            "recipients": [world.user_json(recipient)]});
    }
    let position = world.channels.keys().position(|id| *id == channel.id).unwrap_or(0);
    json!({"id": channel.id.to_string(), "type": 0, "last_message_id": last, "flags": 0, "guild_id": GUILD_ID.to_string(),
    "name": channel.name, "parent_id": null, "rate_limit_per_user": 0, "topic": null, "position": position, "nsfw": false,
    "permission_overwrites": [
        {"id": GUILD_ID.to_string(), "type": 0, "allow": "0", "deny": (1_u64 << 10).to_string()},
        {"id": world.application.bot_id.to_string(), "type": 1, "allow": channel.permissions.bits().to_string(),
            "deny": (BotPermissions::default().bits() & !channel.permissions.bits()).to_string()},
    ]})
}

/// `GET /channels/{id}`.
pub fn channel(inner: &mut Inner, call: &Call<'_>, id: u64) -> Result<Answer, Answer> {
    call.bot_only()?;
    let channel = visible(inner, id, Permission::View)?;
    Ok(Answer::json(200, &channel_json(&inner.world, channel)))
}

/// `POST /users/@me/channels`: the direct message channel with a person, the existing one if there is one.
pub fn open_dm(inner: &mut Inner, call: &Call<'_>) -> Result<Answer, Answer> {
    call.bot_only()?;
    let body = call.json()?;
    let text = match body.get("recipient_id") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => {
            return Err(Answer::invalid_form(
                "recipient_id",
                "BASE_TYPE_REQUIRED",
                "This field is required",
            ));
        }
    };
    let Ok(recipient) = text.parse::<u64>() else {
        return Err(Answer::not_a_snowflake("recipient_id", &text));
    };
    if !inner.world.people.contains_key(&recipient) {
        return Err(Answer::error(404, 10013, "Unknown User"));
    }
    let existing = inner
        .world
        .channels
        .values()
        .find(|c| c.recipient == Some(recipient))
        .map(|c| c.id);
    let id = existing.unwrap_or_else(|| {
        let id = inner.world.mint(call.now_us);
        inner
            .world
            .add_channel(id, "", Some(recipient), BotPermissions::default());
        id
    });
    let channel = visible(inner, id, Permission::View)?;
    Ok(Answer::json(200, &channel_json(&inner.world, channel)))
}
