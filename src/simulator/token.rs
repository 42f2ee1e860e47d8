//! The token and the revocation endpoint (RFC 6749, 7636, 7009 as Discord has them). All rules about codes and tokens are here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::Answer;
use super::faults::{Endpoint, Fault};
use super::ledger::Revocation;
use super::request::{Auth, Call, Fields};
use super::state::{Effects, Inner};
use super::world::OWNER_ID;

/// `POST /oauth2/token`.
pub fn exchange(inner: &mut Inner, call: &Call<'_>, effects: &mut Effects) -> Result<Answer, Answer> {
    let form = form(call)?;
    let get = |name| form.get(name).filter(|v| !v.is_empty());
    let code = get("code").filter(|_| get("grant_type") == Some("authorization_code"));
    let result = match get("grant_type") {
        Some("authorization_code") => authenticate(inner, call, &form, Endpoint::Token, get("code_verifier").is_some())
            .and_then(|()| by_code(inner, call, &form, effects)),
        Some("refresh_token") => {
            authenticate(inner, call, &form, Endpoint::Token, false).and_then(|()| by_refresh(inner, call, &form))
        }
        Some("client_credentials") => {
            authenticate(inner, call, &form, Endpoint::Token, false).and_then(|()| for_owner(inner, call, &form))
        }
        _ => Err(Answer::oauth_error(400, "unsupported_grant_type", None)),
    };
    if let (Err(_), Some(code)) = (&result, code) {
        let burns = |f: &Fault| *f == Fault::FailedExchangeBurns;
        if inner.world.codes.contains_key(code) && inner.fault(Endpoint::Token, call.now_us, burns).is_some() {
            spend(inner, code);
        }
    }
    result
}

/// Records the code that a request presents, whatever becomes of the request.
pub fn record_presentation(inner: &mut Inner, call: &Call<'_>, effects: &mut Effects) {
    if let Some(code) = form(call).ok().as_ref().and_then(|form| form.get("code")) {
        effects.presentation = inner.ledger.presented(code, call.now_us);
    }
}

/// Only a form is read. Discord answers anything else as if the grant type were missing.
fn form(call: &Call<'_>) -> Result<Fields, Answer> {
    if call.content_type == "application/x-www-form-urlencoded" {
        Ok(Fields::read(call.body))
    } else {
        Err(Answer::oauth_error(400, "unsupported_grant_type", None))
    }
}

/// Checks the client: HTTP Basic, or id and secret in the form. A public exchange with PKCE may leave the secret out.
fn authenticate(
    inner: &mut Inner,
    call: &Call<'_>,
    form: &Fields,
    endpoint: Endpoint,
    pkce: bool,
) -> Result<(), Answer> {
    let (id, secret) = match &call.auth {
        Auth::Basic(id, secret) => (Some(id.as_str()), Some(secret.as_str())),
        _ => (form.get("client_id"), form.get("client_secret")),
    };
    if let Some(id) = id.filter(|id| id.parse::<u64>().is_err()) {
        return Err(Answer::not_a_snowflake("client_id", id));
    }
    let refused = |f: &Fault| matches!(f, Fault::InvalidClient { .. });
    if let Some(Fault::InvalidClient { status }) = inner.fault(endpoint, call.now_us, refused) {
        return Err(Answer::oauth_error(status, "invalid_client", None));
    }
    let application = &inner.world.application;
    let right_id = id.is_some_and(|id| id == application.id.to_string());
    let right_secret = match secret {
        Some(secret) => secret == application.client_secret,
        None => pkce,
    };
    if right_id && right_secret {
        Ok(())
    } else {
        Err(Answer::oauth_error(401, "invalid_client", None))
    }
}

fn by_code(inner: &mut Inner, call: &Call<'_>, form: &Fields, effects: &mut Effects) -> Result<Answer, Answer> {
    let name = form.get("code").unwrap_or("").to_owned();
    let lifetime_us = i64::try_from(inner.options.code_lifetime_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let no_such_code = || Answer::oauth_error(400, "invalid_grant", Some("Invalid \"code\" in request."));
    let bad_request = |text| Answer::oauth_error(400, "invalid_request", Some(text));

    let code = inner.world.codes.get(&name).ok_or_else(no_such_code)?;
    if code.spent {
        let kills = |f: &Fault| *f == Fault::ReuseRevokes;
        if inner.fault(Endpoint::Token, call.now_us, kills).is_some() {
            let tokens = std::mem::take(
                &mut inner
                    .world
                    .codes
                    .get_mut(&name)
                    .expect("the code was found above")
                    .tokens,
            );
            for token in tokens {
                inner.world.kill_token(&token);
                inner.ledger.killed(&token, Revocation::CodeReused, call.now_us);
            }
        }
        return Err(no_such_code());
    }
    if call.now_us - code.issued_us > lifetime_us {
        return Err(no_such_code());
    }
    let first = inner.world.application.redirect_uris.first();
    let meant = code.redirect_uri.as_ref().or(first);
    let same_redirect = match form.get("redirect_uri") {
        Some(uri) => meant.is_some_and(|m| m == uri),
        None => !inner.options.redirect_uri_required,
    };
    if !same_redirect {
        return Err(Answer::oauth_error(
            400,
            "invalid_grant",
            Some("Invalid \"redirect_uri\" in request."),
        ));
    }
    let verifier = form.get("code_verifier");
    if verifier.is_some_and(|v| !is_verifier(v)) {
        return Err(bad_request("Invalid \"code_verifier\""));
    }
    if let Some(challenge) = &code.challenge {
        let verifier = verifier.ok_or_else(|| bad_request("Missing \"code_verifier\""))?;
        if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())) != *challenge {
            return Err(bad_request("Invalid \"code_verifier\""));
        }
    }

    let (user_id, scope) = (code.user_id, code.scope.clone());
    let same = |f: &Fault| *f == Fault::SameToken;
    let again = inner
        .world
        .tokens_of
        .get(&user_id)
        .and_then(|live| live.last())
        .filter(|token| inner.world.tokens.get(*token).is_some_and(|t| t.scope == scope))
        .cloned();
    let access = match again {
        Some(access) if inner.fault(Endpoint::Token, call.now_us, same).is_some() => access,
        _ => inner.world.issue_token(user_id, &scope, call.now_us, true),
    };
    spend(inner, &name);
    if let Some(code) = inner.world.codes.get_mut(&name) {
        code.tokens.push(access.clone());
    }
    inner.ledger.token(&access, user_id, Some(&name), call.now_us);
    effects.issued = Some(access.clone());
    Ok(token_answer(inner, &access))
}

fn spend(inner: &mut Inner, code: &str) {
    if let Some(code) = inner.world.codes.get_mut(code) {
        code.spent = true;
    }
}

/// RFC 7636 section 4.1, which Discord enforces.
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

fn token_answer(inner: &Inner, access: &str) -> Answer {
    let token = inner.world.tokens.get(access);
    let mut body = json!({"token_type": "Bearer", "access_token": access, "expires_in": inner.options.token_lifetime_s,
        "scope": token.map_or("", |t| t.scope.as_str())});
    if let Some(refresh) = token.and_then(|t| t.refresh.as_ref()) {
        body["refresh_token"] = Value::String(refresh.clone());
    }
    Answer::json(200, &body)
}

/// A refresh gives new tokens; the old refresh token stops working, the old access token lives on.
fn by_refresh(inner: &mut Inner, call: &Call<'_>, form: &Fields) -> Result<Answer, Answer> {
    let refresh = form.get("refresh_token").unwrap_or("");
    let no_such_token = || Answer::oauth_error(400, "invalid_grant", Some("Invalid \"refresh_token\" in request"));
    let old = inner.world.refresh_tokens.remove(refresh).ok_or_else(no_such_token)?;
    let token = inner.world.tokens.get_mut(&old).ok_or_else(no_such_token)?;
    token.refresh = None;
    let (user_id, scope) = (token.user_id, token.scope.clone());
    let access = inner.world.issue_token(user_id, &scope, call.now_us, true);
    inner.ledger.token(&access, user_id, None, call.now_us);
    Ok(token_answer(inner, &access))
}

/// `client_credentials`: a token of the application's owner, without a refresh token.
fn for_owner(inner: &mut Inner, call: &Call<'_>, form: &Fields) -> Result<Answer, Answer> {
    let scope = form.get("scope").unwrap_or("");
    if scope.is_empty() {
        return Err(Answer::oauth_error(400, "invalid_scope", None));
    }
    let access = inner.world.issue_token(OWNER_ID, scope, call.now_us, false);
    inner.ledger.token(&access, OWNER_ID, None, call.now_us);
    Ok(token_answer(inner, &access))
}

/// `POST /oauth2/token/revoke`: whatever token of a person is named, every token of that person dies.
pub fn revoke(inner: &mut Inner, call: &Call<'_>) -> Result<Answer, Answer> {
    if call.content_type != "application/x-www-form-urlencoded" {
        return Err(Answer::oauth_error(400, "invalid_request", None));
    }
    let form = Fields::read(call.body);
    authenticate(inner, call, &form, Endpoint::Revoke, false)?;
    let Some(token) = form.get("token").filter(|t| !t.is_empty()) else {
        return Err(Answer::oauth_error(400, "invalid_request", None));
    };
    if !matches!(
        form.get("token_type_hint"),
        None | Some("access_token" | "refresh_token")
    ) {
        return Err(Answer::oauth_error(400, "unsupported_token_type", None));
    }
    let access = inner.world.refresh_tokens.get(token).map_or(token, String::as_str);
    match inner.world.tokens.get(access).map(|t| t.user_id) {
        Some(user_id) => {
            kill_tokens_of(inner, user_id, Revocation::Revoked, call.now_us);
            Ok(Answer::json(200, &json!({})))
        }
        None if inner.options.unknown_token_revocation_status == 200 => Ok(Answer::json(200, &json!({}))),
        None => Err(Answer::oauth_error(
            inner.options.unknown_token_revocation_status,
            "invalid_request",
            None,
        )),
    }
}

/// Kills every token of a person.
pub fn kill_tokens_of(inner: &mut Inner, user_id: u64, by: Revocation, now_us: i64) {
    for token in inner.world.tokens_of.remove(&user_id).unwrap_or_default() {
        inner.world.kill_token(&token);
        inner.ledger.killed(&token, by, now_us);
    }
}

#[cfg(test)]
mod tests;
