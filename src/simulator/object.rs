//! The objects that Discord shows, as JSON: application, guild, channel, webhook and message.
//! They are built from the world alone; the endpoints decide who may see them.

use serde_json::{Value, json};

use super::draft::{Author, Message};
use super::ids::{BOT_ROLE_ID, GUILD_ID, OTHER_BOT_ID, OWNER_ID};
use super::options::{FLAG_MESSAGE_CONTENT, FLAG_MESSAGE_CONTENT_LIMITED};
use super::person::{JOINED_AT, member_json};
use super::world::{Channel, Webhook, World};
use crate::ids::snowflake_time;
use crate::permission::Role;

/// An object with the fields of another one added.
pub fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut object, more) {
        fields.extend(more);
    }
    object
}

/// The application as other users see it.
pub fn application(world: &World) -> Value {
    let application = &world.application;
    json!({"id": application.id.to_string(), "name": application.name, "icon": application.icon, "description": "", "type": null,
        "bot": world.bot_json(), "bot_public": false, "bot_require_code_grant": false,
        "verify_key": "aa".repeat(32), "flags": application.flags, "flags_new": application.flags.to_string()})
}

/// The guild's roles.
pub fn roles(world: &World) -> Value {
    let role = |(position, role): (usize, &Role)| {
        json!({"id": role.id.to_string(), "name": role.name, "permissions": role.permissions.0.to_string(), "position": position,
            "color": 0, "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null}, "hoist": false,
            "managed": role.id == BOT_ROLE_ID, "mentionable": false, "icon": null, "unicode_emoji": null, "flags": 0})
    };
    world.roles.iter().enumerate().map(role).collect()
}

/// The bot as a member of the guild.
fn bot_member(world: &World) -> Value {
    member_json(&world.bot_json(), &[BOT_ROLE_ID.to_string()])
}

/// The two bots, and every user who is a member.
fn member_count(world: &World) -> usize {
    2 + world.people.values().filter(|p| p.member).count()
}

/// The guild as REST shows it.
pub fn guild(world: &World) -> Value {
    let guild = json!({"id": GUILD_ID.to_string(), "name": "The house", "icon": null, "description": null, "home_header": null,
        "splash": null, "discovery_splash": null, "features": [], "banner": null, "owner_id": OWNER_ID.to_string(),
        "application_id": null, "region": "rotterdam", "afk_channel_id": null, "afk_timeout": 300, "system_channel_id": null,
        "system_channel_flags": 0, "widget_enabled": false, "widget_channel_id": null, "verification_level": 0, "roles": roles(world),
        "default_message_notifications": 1, "mfa_level": 0, "explicit_content_filter": 0});
    // In two halves: all of it exceeds the macro's recursion limit.
    let rest = json!({"max_presences": null, "max_members": 500_000, "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25, "vanity_url_code": null,
        "premium_tier": 0, "premium_subscription_count": 0, "preferred_locale": "en-US", "rules_channel_id": null,
        "safety_alerts_channel_id": null, "public_updates_channel_id": null, "premium_progress_bar_enabled": false,
        "nsfw": false, "nsfw_level": 0, "emojis": [], "stickers": [],
        "incidents_data": null, "inventory_settings": null, "embed_enabled": false, "embed_channel_id": null,
        "hub_type": null, "latest_onboarding_question_id": null, "approximate_member_count": member_count(world),
        "approximate_presence_count": 1});
    with(guild, rest)
}

/// The guild's channels.
pub fn channels(world: &World) -> Vec<Value> {
    let channels = world.channels.values().filter(|c| c.recipient.is_none());
    channels.map(|c| channel(world, c)).collect()
}

/// The data of `GUILD_CREATE`: all channels, even those that the bot may not view.
pub fn guild_create(world: &World) -> Value {
    with(
        guild(world),
        json!({"joined_at": JOINED_AT, "large": false, "unavailable": false, "member_count": member_count(world),
            "voice_states": [], "members": [bot_member(world)], "channels": channels(world), "threads": [],
            "presences": [], "stage_instances": [], "guild_scheduled_events": [], "soundboard_sounds": []}),
    )
}

/// A member of the guild; `None` if the user is no member or does not exist.
pub fn member(world: &World, user_id: u64) -> Option<Value> {
    match user_id {
        OTHER_BOT_ID => Some(member_json(&world.user_json(user_id)?, &[])),
        id if id == world.application.bot_id => Some(bot_member(world)),
        id => Some(world.people.get(&id).filter(|p| p.member)?.member_json()),
    }
}

/// A channel.
pub fn channel(world: &World, channel: &Channel) -> Value {
    let last = channel.messages.keys().next_back().map(ToString::to_string);
    let about = json!({"id": channel.id.to_string(), "last_message_id": last, "flags": 0});
    if let Some(recipient) = channel.recipient {
        return with(about, json!({"type": 1, "recipients": [world.user_json(recipient)]}));
    }
    let position = world.channels.keys().position(|id| *id == channel.id).unwrap_or(0);
    let overwrites = channel.overwrites.iter().map(|over| {
        let is_role = world.roles.iter().any(|role| role.id == over.id);
        json!({"id": over.id.to_string(), "type": u8::from(!is_role), "allow": over.allow.0.to_string(),
            "deny": over.deny.0.to_string()})
    });
    let overwrites: Value = overwrites.collect();
    with(
        about,
        json!({"type": channel.kind, "guild_id": GUILD_ID.to_string(), "name": channel.name, "parent_id": null,
        "rate_limit_per_user": 0, "topic": null, "position": position, "nsfw": false,
        "permission_overwrites": overwrites}),
    )
}

/// A webhook, without `user`. Discord shows the token of an application's webhook to that application only: the bot is it.
pub fn webhook(webhook: &Webhook, base_url: &str) -> Value {
    json!({"id": webhook.id.to_string(), "type": 1, "guild_id": GUILD_ID.to_string(),
        "channel_id": webhook.channel_id.to_string(), "name": webhook.name, "avatar": null,
        "application_id": webhook.application_id.map(|id| id.to_string()), "token": webhook.token,
        "url": format!("{base_url}/api/webhooks/{}/{}", webhook.id, webhook.token)})
}

/// Whether the bot sees a message's content: by the portal's switch, in its own and in direct messages, or where it is
/// mentioned (Discord Docs/Events/Gateway, message content intent).
fn content_is_visible(world: &World, message: &Message) -> bool {
    let bot_id = world.application.bot_id;
    world.application.flags & (FLAG_MESSAGE_CONTENT | FLAG_MESSAGE_CONTENT_LIMITED) != 0
        || matches!(message.author, Author::User(id) if id == bot_id)
        || message.mentions.contains(&bot_id)
        || world.is_direct(message.channel_id)
}

/// A message as REST shows it to the bot.
pub fn message_for_bot(world: &World, message: &Message) -> Value {
    let mut shown = self::message(world, message);
    if !content_is_visible(world, message) {
        shown = with(shown, json!({"content": "", "embeds": [], "components": []}));
    }
    shown
}

/// A message with its content.
pub fn message(world: &World, message: &Message) -> Value {
    let draft = &message.draft;
    let mentions: Vec<_> = message.mentions.iter().filter_map(|id| world.user_json(*id)).collect();
    let mut shown = json!({
        "id": message.id.to_string(), "type": 0, "channel_id": message.channel_id.to_string(), "content": draft.content,
        "mentions": mentions, "mention_roles": [], "mention_everyone": false, "attachments": [], "embeds": draft.embeds,
        "components": components(&draft.components), "pinned": false, "tts": draft.tts, "flags": draft.flags,
        "timestamp": iso_micros(snowflake_time(message.id).as_millis()), "edited_timestamp": null,
    });
    match &message.author {
        Author::User(id) => shown["author"] = world.user_json(*id).unwrap_or_default(),
        Author::Webhook {
            id,
            name,
            application_id,
        } => {
            shown["author"] = json!({"id": id.to_string(), "username": name, "avatar": null, "discriminator": "0000",
                "bot": true, "global_name": null, "public_flags": 0, "flags": 0, "primary_guild": null});
            shown["webhook_id"] = json!(id.to_string());
            if let Some(application_id) = application_id {
                shown["application_id"] = json!(application_id.to_string());
            }
        }
    }
    if let Some(nonce) = &draft.nonce {
        shown["nonce"] = nonce.clone();
    }
    if !message.reactions.is_empty() {
        let reaction = |name: &String| {
            json!({"emoji": {"id": null, "name": name}, "count": 1, "count_details": {"burst": 0, "normal": 1},
                "burst_colors": [], "me_burst": false, "me": true})
        };
        shown["reactions"] = message.reactions.iter().map(reaction).collect();
    }
    shown
}

/// Components with the ids that Discord numbers them by.
fn components(given: &[Value]) -> Value {
    let mut rows = json!(given);
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

/// The data of `MESSAGE_CREATE`: the message, its place, and partial members for author and mentions.
pub fn message_create(world: &World, message: &Message) -> Value {
    let mut event = self::message(world, message);
    let direct = world.is_direct(message.channel_id);
    event["channel_type"] = json!(i32::from(direct));
    if direct {
        return event;
    }
    event["guild_id"] = json!(GUILD_ID.to_string());
    let member = json!({"roles": [], "joined_at": JOINED_AT, "mute": false, "deaf": false, "flags": 0, "nick": null});
    for mention in event["mentions"].as_array_mut().into_iter().flatten() {
        mention["member"] = member.clone();
    }
    // A webhook is no member.
    if matches!(message.author, Author::User(_)) {
        event["member"] = member;
    }
    event
}

/// A time as Discord writes it: microseconds and a numeric offset.
pub fn iso_micros(ms: i64) -> String {
    let text = crate::time::Timestamp::from_millis(ms).to_string();
    format!("{}000+00:00", text.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_discord_does() {
        assert_eq!(iso_micros(1_786_363_204_000), "2026-08-10T12:00:04.000000+00:00");
    }
}
