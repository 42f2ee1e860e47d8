//! Takes a request through its stages: limits, faults, the endpoint's work, faults of the answer, the ledger.
//! It holds the table of endpoints and the order of the stages; nothing else.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use rand::RngExt;
use serde_json::Value;

use super::answer::{Answer, Reply};
use super::faults::{Endpoint, Fault, Phase};
use super::ledger::{AnswerFate, PostRecord};
use super::limits::{Bucket, CHANNEL_PENALTY_MS, Headers};
use super::request::{Auth, Call, Fields, percent_decoded};
use super::state::{Effects, Inner, State};
use super::{authorize, channels, guild, interactions, messages, token, users, webhooks};
use crate::ids::snowflake_time;

/// An endpoint's work.
type Work = fn(&mut Inner, &Call<'_>) -> Reply;

/// Whether an endpoint is for the bot alone.
#[derive(Clone, Copy)]
enum Access {
    Open,
    Bot,
}

/// Every endpoint: `{…_id}` in a path is a snowflake, `{token}` and `{emoji}` are texts.
#[rustfmt::skip]
const ROUTES: &[(&str, &str, Endpoint, Access, Work)] = {
    use Access::{Bot, Open};
    use Endpoint as E;
    &[
        ("GET", "/oauth2/authorize", E::Authorize, Open, authorize::page),
        ("POST", "/oauth2/authorize", E::Authorize, Open, authorize::decide),
        ("POST", "/oauth2/token", E::Token, Open, token::exchange),
        ("POST", "/oauth2/token/revoke", E::Revoke, Open, token::revoke),
        ("GET", "/oauth2/@me", E::OauthMe, Open, users::authorization),
        ("GET", "/oauth2/applications/@me", E::Application, Bot, guild::application),
        ("GET", "/users/@me", E::Me, Open, users::me),
        ("GET", "/users/@me/guilds", E::Guilds, Open, users::guilds),
        ("GET", "/users/@me/guilds/{guild_id}/member", E::Member, Open, users::member),
        ("GET", "/users/@me/connections", E::Connections, Open, users::connections),
        ("POST", "/users/@me/channels", E::DirectMessage, Bot, channels::open_dm),
        ("GET", "/applications/@me", E::Application, Bot, guild::application),
        ("GET", "/applications/{application_id}/commands", E::Commands, Bot, interactions::commands),
        ("POST", "/applications/{application_id}/commands", E::Commands, Bot, interactions::set_command),
        ("PUT", "/applications/{application_id}/commands", E::BulkCommands, Bot, interactions::set_all),
        ("POST", "/interactions/{interaction_id}/{token}/callback", E::Interaction, Open, interactions::answer),
        ("GET", "/app-icons/{application_id}/{token}", E::Icon, Open, guild::icon),
        ("GET", "/gateway", E::GatewayUrl, Open, guild::gateway),
        ("GET", "/gateway/bot", E::GatewayUrl, Bot, guild::gateway_for_bot),
        ("GET", "/guilds/{guild_id}", E::Guild, Bot, guild::guild),
        ("GET", "/guilds/{guild_id}/channels", E::Guild, Bot, guild::channels),
        ("GET", "/guilds/{guild_id}/roles", E::Guild, Bot, guild::roles),
        ("GET", "/guilds/{guild_id}/roles/member-counts", E::Guild, Bot, guild::role_counts),
        ("GET", "/guilds/{guild_id}/members/{user_id}", E::Guild, Bot, guild::member),
        ("GET", "/channels/{channel_id}", E::Channel, Bot, channels::channel),
        ("GET", "/channels/{channel_id}/webhooks", E::ChannelWebhooks, Bot, webhooks::of_channel),
        ("POST", "/channels/{channel_id}/webhooks", E::ChannelWebhooks, Bot, webhooks::create),
        ("GET", "/channels/{channel_id}/messages", E::Messages, Bot, messages::list),
        ("POST", "/channels/{channel_id}/messages", E::CreateMessage, Bot, messages::create),
        ("POST", "/channels/{channel_id}/messages/bulk-delete", E::BulkDelete, Bot, messages::bulk_delete),
        ("GET", "/channels/{channel_id}/messages/{message_id}", E::Message, Bot, messages::get),
        ("DELETE", "/channels/{channel_id}/messages/{message_id}", E::Delete, Bot, messages::delete),
        ("PUT", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me", E::Reaction, Bot, messages::react),
        ("GET", "/webhooks/{webhook_id}", E::WebhookItself, Bot, webhooks::get),
        ("DELETE", "/webhooks/{webhook_id}", E::WebhookItself, Bot, webhooks::delete),
        ("GET", "/webhooks/{webhook_id}/{token}", E::WebhookItself, Open, webhooks::get),
        ("DELETE", "/webhooks/{webhook_id}/{token}", E::WebhookItself, Open, webhooks::delete),
        ("POST", "/webhooks/{webhook_id}/{token}", E::Webhook, Open, webhooks::execute),
        ("GET", "/webhooks/{webhook_id}/{token}/messages/{message_id}", E::Message, Open, webhooks::message),
        ("DELETE", "/webhooks/{webhook_id}/{token}/messages/{message_id}", E::Delete, Open, webhooks::delete_message),
    ]
};

/// The endpoint that a request means, and the ids and the text in its path.
struct Route {
    endpoint: Endpoint,
    ids: [u64; 2],
    text: String,
    /// `Err` for a path that is refused whatever the request says.
    work: Result<(Access, Work), Answer>,
}

impl Route {
    /// The route of a path below the API's root.
    fn of(method: &str, path: &str) -> Self {
        Self::find(method, path).unwrap_or_else(|refusal| Self {
            endpoint: Endpoint::Unknown,
            ids: [0; 2],
            text: String::new(),
            work: Err(refusal),
        })
    }

    fn find(method: &str, path: &str) -> Result<Self, Answer> {
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let names = |pattern: &'static str| pattern.split('/').skip(1);
        let fits = |pattern| {
            let mut pairs = names(pattern).zip(&parts);
            names(pattern).count() == parts.len() && pairs.all(|(name, part)| name.starts_with('{') || name == *part)
        };
        // The first pattern that fits decides: `bulk-delete` is no message id.
        let first = ROUTES.iter().map(|(_, pattern, ..)| *pattern).find(|p| fits(p));
        let pattern = first.ok_or_else(|| Answer::error(404, 0, "404: Not Found"))?;
        let row = ROUTES.iter().find(|(m, p, ..)| *m == method && *p == pattern);
        let (.., endpoint, access, work) = row.ok_or_else(|| Answer::error(405, 0, "405: Method Not Allowed"))?;
        let (mut ids, mut text) = (Vec::new(), String::new());
        for (name, part) in names(pattern).zip(parts).filter(|(name, _)| name.starts_with('{')) {
            let name = name.trim_matches(['{', '}']);
            if name.ends_with("_id") {
                ids.push(part.parse().map_err(|_| Answer::not_a_snowflake(name, part))?);
            } else {
                text = percent_decoded(part);
            }
        }
        ids.resize(2, 0);
        Ok(Self {
            endpoint: *endpoint,
            ids: [ids[0], ids[1]],
            text,
            work: Ok((*access, *work)),
        })
    }
}

/// Answers one request to the API or the consent page.
pub async fn serve(state: Data<State>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let state = state.into_inner();
    let (path, versioned) = api_path(request.path());
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
    let route = Route::of(request.method().as_str(), path);
    let bot_token = state.lock().world.application.bot_token.clone();
    let mut call = Call {
        auth: Auth::read(header("authorization"), &bot_token),
        in_ms: !versioned,
        endpoint: route.endpoint,
        ids: route.ids,
        text: route.text,
        query: Fields::read(request.query_string().as_bytes()),
        content_type: header("content-type").unwrap_or(""),
        body: &body,
        now_us: state.now_us(),
    };
    let delay = state.lock().fault_in(Phase::Before, &call);
    if let Some(Fault::Delay { ms }) = delay {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        call.now_us = state.now_us();
    }
    let (answer, late_by) = answer(&state, &call, route.work);
    if let Some(late_by) = late_by {
        tokio::time::sleep(late_by).await;
    }
    let now = UNIX_EPOCH + Duration::from_micros(state.now_us().unsigned_abs());
    answer.with_header("Date", httpdate::fmt_http_date(now)).into_response()
}

/// The answer to a request, and how long it is held back.
fn answer(state: &Arc<State>, call: &Call<'_>, work: Result<(Access, Work), Answer>) -> (Answer, Option<Duration>) {
    let inner = &mut *state.lock();
    inner.effects = Effects::default();
    if call.endpoint == Endpoint::Token {
        token::record_presentation(inner, call);
    }
    let answer = decide(inner, call, work).unwrap_or_else(|refusal| refusal);
    let (mut answer, late_by) = finish(inner, call, answer);
    if let Some(presentation) = inner.effects.presentation {
        let issued = inner.effects.issued.take();
        let useful = issued.is_none() || carries_a_token(&answer);
        let state = Arc::clone(state);
        answer.watch = Some(Box::new(move |written| {
            let fate = match (written, useful) {
                (false, _) => AnswerFate::Cut,
                (true, true) => AnswerFate::InFull,
                (true, false) => AnswerFate::Spoiled,
            };
            state.lock().ledger.written(presentation, fate, issued.as_deref());
        }));
    }
    (answer, late_by)
}

/// Whether a client can read a token from an answer.
fn carries_a_token(answer: &Answer) -> bool {
    answer
        .value()
        .is_some_and(|v| v.get("access_token").is_some_and(Value::is_string))
}

/// The path below the API's root, and whether it named a version.
fn api_path(path: &str) -> (&str, bool) {
    let Some(rest) = path.strip_prefix("/api") else {
        return (path, true);
    };
    let version = rest
        .strip_prefix("/v")
        .and_then(|r| r.split_once('/'))
        .filter(|(v, _)| matches!(*v, "8" | "9" | "10"));
    match version {
        Some((_, below)) => (&rest[rest.len() - below.len() - 1..], true),
        None => (rest, false),
    }
}

fn decide(inner: &mut Inner, call: &Call<'_>, work: Result<(Access, Work), Answer>) -> Reply {
    // The consent page is no part of the API: its limits do not apply.
    if call.endpoint != Endpoint::Authorize {
        let caller = match call.auth {
            Auth::Bot => Some(Bucket::Global),
            Auth::None => Some(Bucket::Unauthenticated),
            _ => None,
        };
        inner.limits.enter(caller, call.in_ms, call.now_us as u64)?;
    }
    let fault = inner.fault_in(Phase::Instead, call);
    if let Some(answer) = fault.and_then(|f| f.answer(call.in_ms)) {
        return Ok(answer);
    }
    let (access, work) = work?;
    let headers = limit(inner, call)?;
    let mut answer = match (access, &call.auth) {
        (Access::Open, _) | (Access::Bot, Auth::Bot) => work(inner, call).unwrap_or_else(|refusal| refusal),
        _ => Answer::unauthorized(),
    };
    answer.headers.extend(headers);
    Ok(answer)
}

/// Counts a request towards the limits of its endpoint: the headers for the answer, or the refusal.
fn limit(inner: &mut Inner, call: &Call<'_>) -> Result<Headers, Answer> {
    let (now_us, [id, message]) = (call.now_us as u64, call.ids);
    let bucket = match call.endpoint {
        Endpoint::Webhook => Bucket::Webhook(id),
        Endpoint::CreateMessage => Bucket::CreateMessage(id),
        Endpoint::BulkDelete => Bucket::BulkDelete(id),
        Endpoint::Reaction => Bucket::Reaction(id),
        // With a webhook's token in the path, no limit is known.
        Endpoint::Delete if call.text.is_empty() => {
            let known = inner.world.message(id, message).is_some();
            match call.now_us / 1_000 - snowflake_time(message).as_millis() {
                1_209_600_001.. if known => Bucket::DeleteAncient(id),
                10_001.. if known => Bucket::DeleteOld(id),
                _ => Bucket::DeleteYoung(id),
            }
        }
        _ => return Ok(Vec::new()),
    };
    let headers = inner.limits.enter_bucket(bucket, call.in_ms, now_us)?;
    if call.endpoint == Endpoint::Webhook {
        let [least, most] = CHANNEL_PENALTY_MS;
        let penalty = inner.world.rng.random_range(least..=most);
        if let Some(channel_id) = inner.world.webhooks.get(&id).map(|w| w.channel_id) {
            let limits = &mut inner.limits;
            limits.enter_channel(channel_id, call.in_ms, penalty, &headers, now_us)?;
        }
    }
    Ok(headers)
}

/// Applies the faults that change the answer, and records it.
fn finish(inner: &mut Inner, call: &Call<'_>, mut answer: Answer) -> (Answer, Option<Duration>) {
    let (endpoint, now_us) = (call.endpoint, call.now_us);
    if let Some(fault) = inner.fault_in(Phase::Answer, call) {
        answer = fault.change(answer);
    }
    if let Some(fault) = inner.fault_in(Phase::Transport, call) {
        answer.transport = fault.transport();
    }
    let late_by = match inner.fault_in(Phase::After, call) {
        Some(Fault::DelayAnswer { ms }) => Some(Duration::from_millis(ms)),
        _ => None,
    };
    inner.limits.leave(&answer, now_us as u64);
    inner.ledger.count(endpoint.name(), answer.status);
    if let Some(presentation) = inner.effects.presentation {
        let error = answer.value().filter(|_| !answer.is_success());
        let error = error.and_then(|v| v.get("error")?.as_str().map(str::to_owned));
        inner.ledger.answered(presentation, answer.status, error);
    }
    if endpoint == Endpoint::Webhook {
        let webhook = inner.world.webhooks.get(&call.ids[0]);
        inner.ledger.posts.push(PostRecord {
            at_us: now_us,
            channel_id: webhook.map_or(0, |w| w.channel_id),
            webhook_id: call.ids[0],
            status: answer.status,
            message_id: inner.effects.message_id,
        });
    }
    (answer, late_by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_with_a_modern_version_tells_waits_in_seconds() {
        assert_eq!(api_path("/api/v10/webhooks/1/x"), ("/webhooks/1/x", true));
        assert_eq!(api_path("/api/webhooks/1/x"), ("/webhooks/1/x", false));
        assert_eq!(api_path("/api/v6/users/@me"), ("/v6/users/@me", false));
        assert_eq!(api_path("/oauth2/authorize"), ("/oauth2/authorize", true));
    }

    #[test]
    fn paths_become_routes_and_the_rest_is_refused_as_discord_does() {
        let found = |method, path| {
            let route = Route::of(method, path);
            (route.endpoint, route.ids, route.text)
        };
        assert_eq!(
            found("POST", "/webhooks/5/tok"),
            (Endpoint::Webhook, [5, 0], "tok".into())
        );
        assert_eq!(
            found("PUT", "/channels/1/messages/2/reactions/%E2%9C%85/@me"),
            (Endpoint::Reaction, [1, 2], "\u{2705}".into())
        );
        assert_eq!(
            found("POST", "/channels/1/messages/bulk-delete"),
            (Endpoint::BulkDelete, [1, 0], String::new())
        );
        let refused = |method, path| Route::of(method, path).work.err().map(|a| a.status);
        assert_eq!(refused("GET", "/oauth2/token"), Some(405));
        assert_eq!(refused("GET", "/nothing/here"), Some(404));
        let snowflake = Route::of("GET", "/channels/abc").work.err().expect("refused");
        assert_eq!(snowflake.value().expect("JSON")["code"], 50035);
    }
}
