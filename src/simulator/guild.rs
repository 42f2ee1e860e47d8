//! The guild, the application and the Gateway's address, as the bot sees them.
#![expect(
    clippy::unnecessary_wraps,
    reason = "all endpoints have the signature of the router's table"
)]

use serde_json::{Value, json};

use super::answer::{Answer, Reply};
use super::ids::{BOT_ROLE_ID, GUILD_ID, OWNER_ID};
use super::object;
use super::request::Call;
use super::state::Inner;

/// `GET /applications/@me`.
pub fn application(inner: &mut Inner, _call: &Call<'_>) -> Reply {
    let world = &inner.world;
    let scopes = "identify email connections guilds guilds.join guilds.members.read role_connections.write \
                  webhook.incoming bot applications.commands";
    let more = json!({"redirect_uris": world.application.redirect_uris, "interactions_endpoint_url": world.application.interactions_endpoint_url,
        "role_connections_verification_url": null, "owner": world.user_json(OWNER_ID), "approximate_guild_count": 1,
        "approximate_user_install_count": 0, "approximate_user_authorization_count": world.tokens_of.len(),
        "explicit_content_filter": 0, "team": null, "eligible_oauth2_scopes": scopes.split(' ').collect::<Vec<_>>()});
    Ok(Answer::json(200, &object::with(object::application(world), more)))
}

/// The application's icon, as Discord's CDN has it: a door.
pub fn icon(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let application = &inner.world.application;
    let asked = call.text.strip_suffix(".png");
    if call.ids[0] != application.id || asked != application.icon.as_deref() || asked.is_none() {
        return Err(Answer::error(404, 0, "404: Not Found"));
    }
    Ok(Answer::bytes(200, "image/png", include_bytes!("door.png").to_vec()))
}

/// `GET /gateway`.
pub fn gateway(inner: &mut Inner, _call: &Call<'_>) -> Reply {
    Ok(Answer::json(200, &json!({"url": inner.gateway_url()})))
}

/// `GET /gateway/bot`.
pub fn gateway_for_bot(inner: &mut Inner, _call: &Call<'_>) -> Reply {
    let allowed = inner.options.gateway.session_starts;
    let left = allowed.saturating_sub(inner.hub.status.identifies);
    let starts = json!({"total": allowed, "remaining": left, "reset_after": 14_400_000, "max_concurrency": 1});
    let body = json!({"url": inner.gateway_url(), "shards": 1, "session_start_limit": starts});
    Ok(Answer::json(200, &body))
}

/// Refuses any guild but the one that exists.
fn known(call: &Call<'_>) -> Result<(), Answer> {
    if call.ids[0] == GUILD_ID {
        Ok(())
    } else {
        Err(Answer::error(404, 10004, "Unknown Guild"))
    }
}

/// `GET /guilds/{id}`.
pub fn guild(inner: &mut Inner, call: &Call<'_>) -> Reply {
    known(call)?;
    Ok(Answer::json(200, &object::guild(&inner.world)))
}

/// `GET /guilds/{id}/channels`.
pub fn channels(inner: &mut Inner, call: &Call<'_>) -> Reply {
    known(call)?;
    Ok(Answer::json(200, &Value::Array(object::channels(&inner.world))))
}

/// `GET /guilds/{id}/roles`.
pub fn roles(inner: &mut Inner, call: &Call<'_>) -> Reply {
    known(call)?;
    Ok(Answer::json(200, &object::roles(&inner.world)))
}

/// `GET /guilds/{id}/roles/member-counts`: every role but `@everyone`.
pub fn role_counts(_inner: &mut Inner, call: &Call<'_>) -> Reply {
    known(call)?;
    Ok(Answer::json(200, &json!({BOT_ROLE_ID.to_string(): 1})))
}

/// `GET /guilds/{id}/members/{user}`.
pub fn member(inner: &mut Inner, call: &Call<'_>) -> Reply {
    known(call)?;
    let user_id = call.ids[1];
    match object::member(&inner.world, user_id) {
        Some(member) => Ok(Answer::json(200, &member)),
        None if inner.world.people.contains_key(&user_id) => Err(Answer::error(404, 10007, "Unknown Member")),
        None => Err(Answer::error(404, 10013, "Unknown User")),
    }
}
