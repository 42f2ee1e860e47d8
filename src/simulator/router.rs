//! The way of a request: edge, limits, faults, work, faults again, record, answer. It decides the order and nothing else.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::answer::Answer;
use super::faults::{Endpoint, Fault};
use super::ledger::{AnswerFate, PostRecord};
use super::limits::{Bucket, Caller};
use super::request::{Auth, Call, Fields, Route};
use super::state::{Effects, Inner, State};
use super::{authorize, channels, guild, interactions, messages, token, users, webhooks};
use crate::ids::snowflake_time;
use rand::RngExt;

/// Answers one request to the API or the consent page.
pub async fn serve(state: Data<Arc<State>>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let state = Arc::clone(state.get_ref());
    let now_us = state.now_us();
    let (path, versioned) = api_path(request.path());
    let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
    let content_type_header = header("content-type").unwrap_or("");
    let mut call = Call {
        auth: Auth::None,
        caller: Caller {
            address: request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |a| a.ip()),
            bot: false,
            authenticated: header("authorization").is_some(),
            milliseconds: !versioned,
        },
        query: Fields::read(request.query_string().as_bytes()),
        content_type: content_type_header
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase(),
        content_type_header,
        body: &body,
        now_us,
    };
    let route = Route::of(request.method(), path);
    let webhook = match &route {
        Ok(Route::Execute(id, _)) => Some(*id),
        _ => None,
    };
    let endpoint = route.as_ref().map_or(Endpoint::Unknown, Route::endpoint);

    let delay = {
        let mut inner = state.lock();
        call.auth = Auth::read(header("authorization"), &inner.world.application.bot_token);
        call.caller.bot = matches!(call.auth, Auth::Bot);
        inner.fault(endpoint, now_us, |f| matches!(f, Fault::Delay { .. }))
    };
    if let Some(Fault::Delay { ms }) = delay {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        call.now_us = state.now_us();
    }

    let mut effects = Effects::default();
    let (mut answer, late_by) = {
        let mut inner = state.lock();
        if endpoint == Endpoint::Token {
            token::record_presentation(&mut inner, &call, &mut effects);
        }
        let answer = decide(&mut inner, &call, route, endpoint, &state, &mut effects);
        let finished = finish(&mut inner, &call, endpoint, answer, &effects);
        if let Some(webhook) = webhook {
            record_post(&mut inner, webhook, finished.0.status, effects.message_id, call.now_us);
        }
        finished
    };
    if let Some(presentation) = effects.presentation {
        let issued = effects.issued.take();
        let useful = issued.is_some() && carries_a_token(&answer);
        let state = Arc::clone(&state);
        answer.watch = Some(Box::new(move |written| {
            let fate = match (written, useful || issued.is_none()) {
                (false, _) => AnswerFate::Cut,
                (true, true) => AnswerFate::InFull,
                (true, false) => AnswerFate::Spoiled,
            };
            state.lock().ledger.written(presentation, fate, issued.as_deref());
        }));
    }
    state.release(&mut effects);
    if let Some(late_by) = late_by {
        tokio::time::sleep(late_by).await;
    }
    answer.into_response()
}

/// Only a token that stands in a whole JSON answer can be had by anyone.
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

fn decide(
    inner: &mut Inner,
    call: &Call<'_>,
    route: Result<Route, Answer>,
    endpoint: Endpoint,
    state: &State,
    effects: &mut Effects,
) -> Answer {
    // The consent page is no part of the API and has its own door.
    if endpoint != Endpoint::Authorize
        && let Err(refusal) = inner.limits.enter(&call.caller, call.now_us as u64)
    {
        return refusal;
    }
    if let Some(answer) = inner
        .fault(endpoint, call.now_us, Fault::replaces_work)
        .and_then(|f| f.answer(call.caller.milliseconds))
    {
        return answer;
    }
    let route = match route {
        Ok(route) => route,
        Err(refusal) => return refusal,
    };
    let headers = match limit(inner, call, &route) {
        Ok(headers) => headers,
        Err(refusal) => return refusal,
    };
    let mut answer = work(inner, call, route, state, effects).unwrap_or_else(|refusal| refusal);
    answer.headers.extend(headers);
    answer
}

fn limit(inner: &mut Inner, call: &Call<'_>, route: &Route) -> Result<Vec<(&'static str, String)>, Answer> {
    let now_us = call.now_us as u64;
    let bucket = match route {
        Route::Token => return inner.limits.enter_token(&call.caller, now_us).map(|()| Vec::new()),
        Route::Execute(webhook, _) => Bucket::Webhook(*webhook),
        Route::CreateMessage(channel) => Bucket::CreateMessage(*channel),
        Route::BulkDelete(channel) => Bucket::BulkDelete(*channel),
        Route::React(channel, ..) => Bucket::Reaction(*channel),
        Route::Messages(channel) => Bucket::History(*channel),
        Route::DeleteMessage(channel, message) => {
            let known = inner
                .world
                .channels
                .get(channel)
                .is_some_and(|c| c.messages.contains_key(message));
            match call.now_us / 1_000 - snowflake_time(*message).as_millis() {
                1_209_600_001.. if known => Bucket::DeleteAncient(*channel),
                10_001.. if known => Bucket::DeleteOld(*channel),
                _ => Bucket::DeleteYoung(*channel),
            }
        }
        _ => return Ok(Vec::new()),
    };
    let headers = inner.limits.enter_bucket(bucket, &call.caller, now_us)?;
    if let Route::Execute(webhook, _) = route {
        let [least, most] = inner.limits.settings.channel_penalty_ms;
        let penalty = inner.world.rng.random_range(least..=most.max(least));
        if let Some(channel_id) = inner.world.webhooks.get(webhook).map(|w| w.channel_id) {
            inner
                .limits
                .enter_channel(channel_id, &call.caller, penalty, &headers, now_us)?;
        }
    }
    Ok(headers)
}

fn work(
    inner: &mut Inner,
    call: &Call<'_>,
    route: Route,
    state: &State,
    effects: &mut Effects,
) -> Result<Answer, Answer> {
    match route {
        Route::AuthorizePage => authorize::page(inner, call),
        Route::AuthorizeDecision => authorize::decide(inner, call),
        Route::Token => token::exchange(inner, call, effects),
        Route::Revoke => token::revoke(inner, call),
        Route::OauthMe => users::authorization(inner, call, effects),
        Route::Me => users::me(inner, call, effects),
        Route::MyGuilds => users::guilds(inner, call, effects),
        Route::MyConnections => users::connections(inner, call, effects),
        Route::MyMember(guild_id) => users::member(inner, call, guild_id, effects),
        Route::OpenDm => channels::open_dm(inner, call),
        Route::Application => guild::application(inner, call),
        Route::GatewayUrl => guild::gateway(call, &state.gateway_url(), false),
        Route::GatewayBot => guild::gateway(call, &state.gateway_url(), true),
        Route::Guild(id) => guild::guild(inner, call, id),
        Route::GuildChannels(id) => guild::channels(inner, call, id),
        Route::RoleCounts(id) => guild::role_counts(call, id),
        Route::GuildMember(id, user) => guild::member(inner, call, id, user),
        Route::Channel(id) => channels::channel(inner, call, id),
        Route::ChannelWebhooks(id) => webhooks::of_channel(inner, call, id, state.base_url()),
        Route::CreateWebhook(id) => webhooks::create(inner, call, id, state.base_url(), effects),
        Route::Messages(id) => messages::list(inner, call, id),
        Route::CreateMessage(id) => messages::create(inner, call, id, effects),
        Route::Message(channel, id) => messages::get(inner, call, channel, id),
        Route::DeleteMessage(channel, id) => messages::delete(inner, call, channel, id, effects),
        Route::BulkDelete(id) => messages::bulk_delete(inner, call, id, effects),
        Route::React(channel, id, emoji) => messages::react(inner, call, channel, id, emoji, effects),
        Route::Webhook(id) => webhooks::get(inner, call, id, None, state.base_url()),
        Route::WebhookByToken(id, token) => webhooks::get(inner, call, id, Some(&token), state.base_url()),
        Route::DeleteWebhook(id, token) => webhooks::delete(inner, call, id, token.as_deref(), effects),
        Route::Execute(id, token) => webhooks::execute(inner, call, id, &token, effects),
        Route::WebhookMessage(id, token, message) => webhooks::message(inner, id, &token, message),
        Route::Commands(id) => interactions::commands(inner, call, id),
        Route::SetCommand(id) => interactions::set_command(inner, call, id),
        Route::SetCommands(id) => interactions::set_all(inner, call, id),
        Route::Answer(id, token) => interactions::answer(inner, call, id, &token),
        Route::DeleteWebhookMessage(id, token, message) => {
            webhooks::delete_message(inner, id, &token, message, effects)
        }
    }
}

/// Applies what changes the answer and records it.
fn finish(
    inner: &mut Inner,
    call: &Call<'_>,
    endpoint: Endpoint,
    mut answer: Answer,
    effects: &Effects,
) -> (Answer, Option<Duration>) {
    if let Some(fault) = inner.fault(endpoint, call.now_us, Fault::changes_answer) {
        answer = fault.change(answer);
    }
    if let Some(fault) = inner.fault(endpoint, call.now_us, Fault::changes_transport) {
        answer.transport = fault.transport();
    }
    let late_by = match inner.fault(endpoint, call.now_us, |f| matches!(f, Fault::DelayAnswer { .. })) {
        Some(Fault::DelayAnswer { ms }) => Some(Duration::from_millis(ms)),
        _ => None,
    };
    inner.limits.leave(&call.caller, &answer, call.now_us as u64);
    let name = endpoint.name();
    inner.ledger.count(&name, answer.status);
    if let Some(presentation) = effects.presentation {
        let error = (!answer.is_success())
            .then(|| answer.value()?.get("error")?.as_str().map(str::to_owned))
            .flatten();
        inner.ledger.answered(presentation, answer.status, error);
    }
    if let Some(token) = &effects.used {
        inner.ledger.used(token, &name, answer.status, call.now_us);
    }
    (answer, late_by)
}

/// Records an execution of a webhook, made or refused.
fn record_post(inner: &mut Inner, webhook_id: u64, status: u16, message_id: Option<u64>, now_us: i64) {
    let channel_id = inner.world.webhooks.get(&webhook_id).map_or(0, |w| w.channel_id);
    inner.ledger.posts.push(PostRecord {
        at_us: now_us,
        channel_id,
        webhook_id,
        status,
        message_id,
    });
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
}
