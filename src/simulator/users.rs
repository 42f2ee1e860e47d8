//! What a person's token opens: the person, their guilds, connections and membership. Reads only.

use serde_json::{Value, json};

use super::answer::Answer;
use super::faults::{Endpoint, Fault};
use super::message::iso_millis;
use super::request::{Auth, Call};
use super::state::{Effects, Inner};
use super::world::GUILD_ID;

/// The person and scopes behind a good token.
struct Bearer {
    user_id: u64,
    scope: String,
    expires_us: i64,
}

impl Bearer {
    fn has(&self, scope: &str) -> bool {
        self.scope.split(' ').any(|s| s == scope)
    }
}

/// Checks the token: alive, not expired, with a scope.
fn bearer(
    inner: &mut Inner,
    call: &Call<'_>,
    endpoint: Endpoint,
    scope: Option<&str>,
    effects: &mut Effects,
) -> Result<Bearer, Answer> {
    let Auth::Bearer(access) = &call.auth else {
        return Err(Answer::unauthorized());
    };
    effects.used = Some(access.clone());
    let token = inner.world.tokens.get(access).ok_or_else(Answer::unauthorized)?;
    let lifetime_us = i64::try_from(inner.options.token_lifetime_s.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
    let bearer = Bearer {
        user_id: token.user_id,
        scope: token.scope.clone(),
        expires_us: token.issued_us.saturating_add(lifetime_us),
    };
    let age_us = call.now_us - token.issued_us;
    let young =
        |f: &Fault| matches!(f, Fault::TransientUnauthorized { ms } if age_us < (*ms as i64).saturating_mul(1_000));
    if call.now_us > bearer.expires_us || inner.fault(endpoint, call.now_us, young).is_some() {
        return Err(Answer::unauthorized());
    }
    match scope {
        Some(scope) if !bearer.has(scope) => Err(if inner.options.missing_scope_is_forbidden {
            Answer::error(403, 50026, "Missing required OAuth2 scope")
        } else {
            Answer::error(401, 40001, "Unauthorized")
        }),
        _ => Ok(bearer),
    }
}

/// `GET /users/@me`, for a person or the bot.
pub fn me(inner: &mut Inner, call: &Call<'_>, effects: &mut Effects) -> Result<Answer, Answer> {
    if matches!(call.auth, Auth::Bot) {
        let bot_id = inner.world.application.bot_id;
        let mut bot = inner.world.user_json(bot_id).unwrap_or_default();
        for (key, value) in [
            ("mfa_enabled", json!(true)),
            ("locale", json!("en-US")),
            ("verified", json!(true)),
        ] {
            bot[key] = value;
        }
        bot["email"] = Value::Null;
        return Ok(Answer::json(200, &bot));
    }
    let bearer = bearer(inner, call, Endpoint::Me, Some("identify"), effects)?;
    let with_email = bearer.has("email");
    Ok(Answer::json(
        200,
        &inner.world.person(bearer.user_id).own_json(with_email),
    ))
}

/// `GET /users/@me/guilds`. The bot is in one guild.
pub fn guilds(inner: &mut Inner, call: &Call<'_>, effects: &mut Effects) -> Result<Answer, Answer> {
    let user_id = match call.auth {
        Auth::Bot => super::world::OWNER_ID,
        _ => bearer(inner, call, Endpoint::Guilds, Some("guilds"), effects)?.user_id,
    };
    let number = |name: &str| match call.query.get(name) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| Answer::not_a_snowflake(name, text)),
    };
    let (before, after) = (number("before")?, number("after")?);
    let limit = number("limit")?.unwrap_or(200);
    if !(1..=200).contains(&limit) {
        return Err(Answer::invalid_form(
            "limit",
            "NUMBER_TYPE_MAX",
            "int value should be between 1 and 200.",
        ));
    }
    let mut guilds = inner
        .world
        .person(user_id)
        .guilds_json(call.query.is_true("with_counts"));
    if matches!(call.auth, Auth::Bot) {
        let own = GUILD_ID.to_string();
        guilds.retain(|g| g["id"] == own);
        for guild in &mut guilds {
            guild["owner"] = json!(false);
        }
    }
    let id = |guild: &Value| guild["id"].as_str().and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    let page: Vec<_> = guilds
        .into_iter()
        .filter(|g| before.is_none_or(|b| id(g) < b) && after.is_none_or(|a| id(g) > a))
        .take(limit as usize)
        .collect();
    Ok(Answer::json(200, &Value::Array(page)))
}

/// `GET /users/@me/connections`.
pub fn connections(inner: &mut Inner, call: &Call<'_>, effects: &mut Effects) -> Result<Answer, Answer> {
    let bearer = bearer(inner, call, Endpoint::Connections, Some("connections"), effects)?;
    let connections = inner.world.person(bearer.user_id).connections_json();
    Ok(Answer::json(200, &Value::Array(connections)))
}

/// `GET /users/@me/guilds/{guild}/member`.
pub fn member(inner: &mut Inner, call: &Call<'_>, guild_id: u64, effects: &mut Effects) -> Result<Answer, Answer> {
    let bearer = bearer(inner, call, Endpoint::Member, Some("guilds.members.read"), effects)?;
    let person = inner.world.person(bearer.user_id);
    if guild_id == GUILD_ID && person.member {
        Ok(Answer::json(200, &person.member_json()))
    } else {
        Err(Answer::error(404, 10004, "Unknown Guild"))
    }
}

/// `GET /oauth2/@me`.
pub fn authorization(inner: &mut Inner, call: &Call<'_>, effects: &mut Effects) -> Result<Answer, Answer> {
    let bearer = bearer(inner, call, Endpoint::OauthMe, None, effects)?;
    let mut body = json!({
        "application": super::guild::application_json(&inner.world),
        "scopes": bearer.scope.split(' ').collect::<Vec<_>>(),
        "expires": iso_millis(bearer.expires_us / 1_000),
    });
    if bearer.has("identify") {
        body["user"] = inner.world.person(bearer.user_id).public_json();
    }
    Ok(Answer::json(200, &body))
}
