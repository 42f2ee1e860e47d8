//! What a user's token gives access to: the user, their guilds, connections and membership. Reads only.

use serde_json::{Value, json};

use super::answer::{Answer, Reply};
use super::faults::Fault;
use super::ids::{GUILD_ID, OWNER_ID};
use super::object;
use super::request::{Auth, Call};
use super::state::Inner;
use super::world::Token;

/// The token of a request: live, not expired, with the scope.
fn bearer(inner: &mut Inner, call: &Call<'_>, scope: Option<&str>) -> Result<Token, Answer> {
    let Auth::Bearer(access) = &call.auth else {
        return Err(Answer::unauthorized());
    };
    let token = inner.world.tokens.get(access).ok_or_else(Answer::unauthorized)?.clone();
    let age_ms = (call.now_us - token.issued_us).cast_unsigned() / 1_000;
    let young = |f: &Fault| matches!(f, Fault::TransientUnauthorized { ms } if age_ms < *ms);
    if call.now_us > token.expires_us() || inner.fault(call.endpoint, call.now_us, young).is_some() {
        return Err(Answer::unauthorized());
    }
    match scope {
        Some(scope) if !token.has(scope) => Err(Answer::error(401, 40001, "Unauthorized")),
        _ => Ok(token),
    }
}

/// `GET /users/@me`, for a user or the bot.
pub fn me(inner: &mut Inner, call: &Call<'_>) -> Reply {
    if matches!(call.auth, Auth::Bot) {
        let bot = inner.world.bot_json();
        let more = json!({"mfa_enabled": true, "locale": "en-US", "verified": true, "email": null});
        return Ok(Answer::json(200, &object::with(bot, more)));
    }
    let bearer = bearer(inner, call, Some("identify"))?;
    let user = inner.world.person(bearer.user_id).own_json(bearer.has("email"));
    Ok(Answer::json(200, &user))
}

/// `GET /users/@me/guilds`. The bot is in one guild.
pub fn guilds(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let is_bot = matches!(call.auth, Auth::Bot);
    let user_id = if is_bot {
        OWNER_ID
    } else {
        bearer(inner, call, Some("guilds"))?.user_id
    };
    let (before, after) = (call.snowflake("before")?, call.snowflake("after")?);
    let limit = call.limit(200, 200)?;
    let with_counts = call.query.is_true("with_counts");
    let mut guilds = inner.world.person(user_id).guilds_json(with_counts);
    let id = |guild: &Value| guild["id"].as_str().and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    if is_bot {
        guilds.retain(|g| id(g) == GUILD_ID);
        for guild in &mut guilds {
            guild["owner"] = json!(false);
        }
    }
    guilds.retain(|g| before.is_none_or(|b| id(g) < b) && after.is_none_or(|a| id(g) > a));
    guilds.truncate(limit);
    Ok(Answer::json(200, &Value::Array(guilds)))
}

/// `GET /users/@me/connections`.
pub fn connections(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let bearer = bearer(inner, call, Some("connections"))?;
    let connections = inner.world.person(bearer.user_id).connections_json();
    Ok(Answer::json(200, &Value::Array(connections)))
}

/// `GET /users/@me/guilds/{guild}/member`.
pub fn member(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let bearer = bearer(inner, call, Some("guilds.members.read"))?;
    let person = inner.world.person(bearer.user_id);
    if call.ids[0] == GUILD_ID && person.member {
        Ok(Answer::json(200, &person.member_json()))
    } else {
        Err(Answer::error(404, 10004, "Unknown Guild"))
    }
}

/// `GET /oauth2/@me`.
pub fn authorization(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let bearer = bearer(inner, call, None)?;
    let mut body = json!({
        "application": object::application(&inner.world),
        "scopes": bearer.scope.split(' ').collect::<Vec<_>>(),
        "expires": object::iso_micros(bearer.expires_us() / 1_000),
    });
    if bearer.has("identify") {
        body["user"] = inner.world.person(bearer.user_id).public_json();
    }
    Ok(Answer::json(200, &body))
}
