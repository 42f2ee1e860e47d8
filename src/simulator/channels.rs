//! Channels: the bot's permissions in them, reading one, direct messages.

use serde_json::Value;

use super::answer::{Answer, Reply};
use super::object;
use super::options::BotPermissions;
use super::request::Call;
use super::state::Inner;
use super::world::Channel;

/// The channel, if it exists and the bot may view it and holds the permission there: else 404 `10003`, 403 `50001`,
/// 403 `50013`.
pub fn visible(inner: &Inner, channel_id: u64, required: fn(&BotPermissions) -> bool) -> Result<&Channel, Answer> {
    let channel = inner.world.channels.get(&channel_id);
    let channel = channel.ok_or_else(|| Answer::error(404, 10003, "Unknown Channel"))?;
    let held = inner.world.held(channel);
    if !held.view {
        Err(Answer::error(403, 50001, "Missing Access"))
    } else if !required(&held) {
        Err(Answer::error(403, 50013, "Missing Permissions"))
    } else {
        Ok(channel)
    }
}

/// `GET /channels/{id}`.
pub fn channel(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let channel = visible(inner, call.ids[0], |held| held.view)?;
    Ok(Answer::json(200, &object::channel(&inner.world, channel)))
}

/// `POST /users/@me/channels`: the direct message channel with a user, the existing one if there is one.
pub fn open_dm(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let text = match call.json()?.get("recipient_id") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return Err(Answer::required("recipient_id")),
    };
    let Ok(recipient) = text.parse::<u64>() else {
        return Err(Answer::not_a_snowflake("recipient_id", &text));
    };
    let world = &mut inner.world;
    if !world.people.contains_key(&recipient) {
        return Err(Answer::error(404, 10013, "Unknown User"));
    }
    let existing = world.channels.values().find(|c| c.recipient == Some(recipient));
    let id = match existing {
        Some(channel) => channel.id,
        None => {
            let id = world.mint(call.now_us);
            world.add_channel(id, "", Some(recipient));
            id
        }
    };
    let channel = visible(inner, id, |held| held.view)?;
    Ok(Answer::json(200, &object::channel(&inner.world, channel)))
}
