//! The guild, the application and the Gateway's address, as the bot sees them.

use serde_json::{Value, json};

use super::answer::Answer;
use super::channels::channel_json;
use super::request::Call;
use super::state::Inner;
use super::world::{BOT_ROLE_ID, GUILD_ID, OTHER_BOT_ID, OWNER_ID, World};

/// Base permissions of a role that may add reactions, view, send and read, as Discord gives them.
const EVERYONE: &str = "2248473465835073";
/// Identifications that a day allows (Discord Docs/Events/Gateway).
const SESSION_STARTS: u32 = 1_000;

fn unknown_guild() -> Answer {
    Answer::error(404, 10004, "Unknown Guild")
}

/// The application object that others see.
pub fn application_json(world: &World) -> Value {
    let application = &world.application;
    json!({"id": application.id.to_string(), "name": application.name, "icon": null, "description": "", "type": null,
        "bot": world.user_json(application.bot_id), "bot_public": false, "bot_require_code_grant": false,
        "verify_key": "aa".repeat(32), "flags": application.flags, "flags_new": application.flags.to_string()})
}

/// `GET /applications/@me`.
pub fn application(inner: &mut Inner, call: &Call<'_>) -> Result<Answer, Answer> {
    call.bot_only()?;
    let world = &inner.world;
    let mut body = application_json(world);
    for (key, value) in [
        ("redirect_uris", json!(world.application.redirect_uris)),
        ("interactions_endpoint_url", Value::Null),
        ("role_connections_verification_url", Value::Null),
        ("owner", world.user_json(OWNER_ID).unwrap_or_default()),
        ("approximate_guild_count", json!(1)),
        ("approximate_user_install_count", json!(0)),
        ("approximate_user_authorization_count", json!(world.tokens_of.len())),
        ("explicit_content_filter", json!(0)),
        ("team", Value::Null),
        (
            "eligible_oauth2_scopes",
            json!([
                "identify",
                "email",
                "connections",
                "guilds",
                "guilds.join",
                "guilds.members.read",
                "role_connections.write",
                "webhook.incoming",
                "bot",
                "applications.commands"
            ]),
        ),
    ] {
        body[key] = value;
    }
    Ok(Answer::json(200, &body))
}

/// `GET /gateway` and `GET /gateway/bot`.
pub fn gateway(call: &Call<'_>, url: &str, for_bot: bool) -> Result<Answer, Answer> {
    if !for_bot {
        return Ok(Answer::json(200, &json!({"url": url})));
    }
    call.bot_only()?;
    Ok(Answer::json(
        200,
        &json!({"url": url, "shards": 1, "session_start_limit": {"total": SESSION_STARTS, "remaining": SESSION_STARTS,
            "reset_after": 14_400_000, "max_concurrency": 1}}),
    ))
}

fn roles() -> Value {
    let role = |id: u64, name: &str, position: u8, managed: bool| {
        json!({"id": id.to_string(), "name": name, "permissions": if managed { "0" } else { EVERYONE }, "position": position,
            "color": 0, "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null}, "hoist": false,
            "managed": managed, "mentionable": false, "icon": null, "unicode_emoji": null, "flags": 0})
    };
    json!([
        role(GUILD_ID, "@everyone", 0, false),
        role(BOT_ROLE_ID, "door", 1, true)
    ])
}

fn bot_member(world: &World) -> Value {
    json!({"user": world.user_json(world.application.bot_id), "nick": null, "avatar": null, "banner": null,
        "roles": [BOT_ROLE_ID.to_string()], "joined_at": "2026-08-01T09:00:00.000000+00:00", "premium_since": null,
        "pending": false, "mute": false, "deaf": false, "flags": 0, "communication_disabled_until": null})
}

fn guild_json(world: &World) -> Value {
    let mut guild = json!({"id": GUILD_ID.to_string(), "name": "The house", "icon": null, "description": null, "home_header": null,
        "splash": null, "discovery_splash": null, "features": [], "banner": null, "owner_id": OWNER_ID.to_string(),
        "application_id": null, "region": "rotterdam", "afk_channel_id": null, "afk_timeout": 300, "system_channel_id": null,
        "system_channel_flags": 0, "widget_enabled": false, "widget_channel_id": null, "verification_level": 0, "roles": roles(),
        "default_message_notifications": 1, "mfa_level": 0, "explicit_content_filter": 0});
    // In two halves: one would go past the macro's depth.
    let rest = json!({"max_presences": null, "max_members": 500_000, "max_stage_video_channel_users": 50, "max_video_channel_users": 25, "vanity_url_code": null,
        "premium_tier": 0, "premium_subscription_count": 0, "preferred_locale": "en-US", "rules_channel_id": null,
        "safety_alerts_channel_id": null, "public_updates_channel_id": null, "premium_progress_bar_enabled": false,
        "nsfw": false, "nsfw_level": 0, "emojis": [], "stickers": [],
        "incidents_data": null, "inventory_settings": null, "embed_enabled": false, "embed_channel_id": null,
        "hub_type": null, "latest_onboarding_question_id": null, "approximate_member_count": member_count(world),
        "approximate_presence_count": 1});
    if let (Value::Object(all), Value::Object(rest)) = (&mut guild, rest) {
        all.extend(rest);
    }
    guild
}

fn member_count(world: &World) -> usize {
    // The application's bot, the other bot, and every person who is a member.
    2 + world.people.values().filter(|p| p.member).count()
}

fn channel_list(world: &World) -> Vec<Value> {
    let channels = world.channels.values().filter(|c| c.recipient.is_none());
    channels.map(|c| channel_json(world, c)).collect()
}

/// The data of `GUILD_CREATE`: all channels, even those that the bot may not view.
pub fn create_event(world: &World) -> Value {
    let mut guild = guild_json(world);
    for (key, value) in [
        ("joined_at", json!("2026-08-01T09:00:00.000000+00:00")),
        ("large", json!(false)),
        ("unavailable", json!(false)),
        ("member_count", json!(member_count(world))),
        ("voice_states", json!([])),
        ("members", json!([bot_member(world)])),
        ("channels", json!(channel_list(world))),
        ("threads", json!([])),
        ("presences", json!([])),
        ("stage_instances", json!([])),
        ("guild_scheduled_events", json!([])),
        ("soundboard_sounds", json!([])),
    ] {
        guild[key] = value;
    }
    guild
}

/// `GET /guilds/{id}`.
pub fn guild(inner: &mut Inner, call: &Call<'_>, id: u64) -> Result<Answer, Answer> {
    call.bot_only()?;
    if id != GUILD_ID {
        return Err(unknown_guild());
    }
    Ok(Answer::json(200, &guild_json(&inner.world)))
}

/// `GET /guilds/{id}/channels`.
pub fn channels(inner: &mut Inner, call: &Call<'_>, id: u64) -> Result<Answer, Answer> {
    call.bot_only()?;
    if id != GUILD_ID {
        return Err(unknown_guild());
    }
    Ok(Answer::json(200, &Value::Array(channel_list(&inner.world))))
}

/// `GET /guilds/{id}/roles/member-counts`: every role but `@everyone`.
pub fn role_counts(call: &Call<'_>, id: u64) -> Result<Answer, Answer> {
    call.bot_only()?;
    if id != GUILD_ID {
        return Err(unknown_guild());
    }
    let mut counts = json!({});
    counts[BOT_ROLE_ID.to_string()] = json!(1);
    Ok(Answer::json(200, &counts))
}

/// `GET /guilds/{id}/members/{user}`.
pub fn member(inner: &mut Inner, call: &Call<'_>, id: u64, user_id: u64) -> Result<Answer, Answer> {
    call.bot_only()?;
    if id != GUILD_ID {
        return Err(unknown_guild());
    }
    let world = &inner.world;
    if user_id == world.application.bot_id {
        return Ok(Answer::json(200, &bot_member(world)));
    }
    if user_id == OTHER_BOT_ID {
        let mut member = bot_member(world);
        member["user"] = world.user_json(user_id).unwrap_or_default();
        member["roles"] = json!([]);
        return Ok(Answer::json(200, &member));
    }
    match world.people.get(&user_id) {
        Some(person) if person.member => Ok(Answer::json(200, &person.member_json())),
        Some(_) => Err(Answer::error(404, 10007, "Unknown Member")),
        None => Err(Answer::error(404, 10013, "Unknown User")),
    }
}
