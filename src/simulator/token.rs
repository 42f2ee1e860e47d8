//! The token and the revocation endpoint, with Discord's reading of RFC 6749, 7636 and 7009. All rules about codes and
//! tokens are here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::{Answer, Reply};
use super::faults::Fault;
use super::ids::OWNER_ID;
use super::request::{Auth, Call, Fields};
use super::state::Inner;
use super::world::{Code, TOKEN_LIFETIME_S};

/// `POST /oauth2/token`.
pub fn exchange(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let unsupported = || Answer::oauth_error(400, "unsupported_grant_type");
    // Discord answers a body that is no form as if the grant type were missing.
    let form = call.form().ok_or_else(unsupported)?;
    let get = |name| form.get(name).filter(|v| !v.is_empty());
    let grant: fn(&mut Inner, &Call<'_>, &Fields) -> Reply = match get("grant_type") {
        Some("authorization_code") => by_code,
        Some("refresh_token") => by_refresh,
        Some("client_credentials") => for_owner,
        _ => return Err(unsupported()),
    };
    let code = get("code").filter(|_| get("grant_type") == Some("authorization_code"));
    let pkce = code.is_some() && get("code_verifier").is_some();
    let result = authenticate(inner, call, &form, pkce).and_then(|()| grant(inner, call, &form));
    if let (Err(_), Some(code)) = (&result, code) {
        let burns = |f: &Fault| *f == Fault::FailedExchangeBurns;
        if inner.world.codes.contains_key(code) && inner.fault(call.endpoint, call.now_us, burns).is_some() {
            inner.world.spend(code);
        }
    }
    result
}

/// Records the code that a request presents, whatever the answer will be.
pub fn record_presentation(inner: &mut Inner, call: &Call<'_>) {
    if let Some(code) = call.form().as_ref().and_then(|form| form.get("code")) {
        inner.effects.presentation = inner.ledger.presented(code, call.now_us);
    }
}

/// Checks the client: HTTP Basic, or id and secret in the form. An exchange with PKCE may omit the secret.
fn authenticate(inner: &mut Inner, call: &Call<'_>, form: &Fields, pkce: bool) -> Result<(), Answer> {
    let (id, secret) = match &call.auth {
        Auth::Basic(id, secret) => (Some(id.as_str()), Some(secret.as_str())),
        _ => (form.get("client_id"), form.get("client_secret")),
    };
    if let Some(id) = id.filter(|id| id.parse::<u64>().is_err()) {
        return Err(Answer::not_a_snowflake("client_id", id));
    }
    let refused = |f: &Fault| matches!(f, Fault::InvalidClient { .. });
    if let Some(Fault::InvalidClient { status }) = inner.fault(call.endpoint, call.now_us, refused) {
        return Err(Answer::oauth_error(status, "invalid_client"));
    }
    let application = &inner.world.application;
    let right_id = id.is_some_and(|id| id == application.id.to_string());
    if right_id && secret.map_or(pkce, |secret| secret == application.client_secret) {
        Ok(())
    } else {
        Err(Answer::oauth_error(401, "invalid_client"))
    }
}

fn by_code(inner: &mut Inner, call: &Call<'_>, form: &Fields) -> Reply {
    let name = form.get("code").unwrap_or("").to_owned();
    let lifetime_us = i64::try_from(inner.options.code_lifetime_ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let no_such_code = || Answer::oauth_refusal("invalid_grant", "Invalid \"code\" in request.");
    let code = inner.world.codes.get(&name).ok_or_else(no_such_code)?;
    if code.spent {
        revoke_reused(inner, call, &name);
        return Err(no_such_code());
    }
    if call.now_us - code.issued_us > lifetime_us {
        return Err(no_such_code());
    }
    check_redirect_uri(inner, code, form)?;
    check_verifier(code, form)?;
    let (user_id, scope) = (code.user_id, code.scope.clone());
    let live = inner.world.tokens_of.get(&user_id).and_then(|live| live.last());
    let again = live.filter(|token| inner.world.tokens.get(*token).is_some_and(|t| t.scope == scope));
    let again = again.cloned();
    let same = |f: &Fault| *f == Fault::SameToken;
    let access = match again {
        Some(access) if inner.fault(call.endpoint, call.now_us, same).is_some() => access,
        _ => inner.world.issue_token(user_id, &scope, call.now_us, true),
    };
    if let Some(code) = inner.world.spend(&name) {
        code.tokens.push(access.clone());
    }
    inner.ledger.token(&access, user_id, Some(&name), call.now_us);
    inner.effects.issued = Some(access.clone());
    Ok(token_answer(inner, &access))
}

/// With the fault, presenting a spent code revokes the tokens issued from it.
fn revoke_reused(inner: &mut Inner, call: &Call<'_>, code: &str) {
    let revokes = |f: &Fault| *f == Fault::ReuseRevokes;
    if inner.fault(call.endpoint, call.now_us, revokes).is_none() {
        return;
    }
    let code = inner.world.codes.get_mut(code);
    for token in code.map(|code| std::mem::take(&mut code.tokens)).unwrap_or_default() {
        inner.world.remove_token(&token);
        inner.ledger.killed(&token, call.now_us);
    }
}

fn check_redirect_uri(inner: &Inner, code: &Code, form: &Fields) -> Result<(), Answer> {
    let first = inner.world.application.redirect_uris.first();
    let expected = code.redirect_uri.as_ref().or(first);
    // It is optional according to Discord's staff, and required in practice.
    if form
        .get("redirect_uri")
        .is_some_and(|uri| expected.is_some_and(|e| e == uri))
    {
        return Ok(());
    }
    let description = "Invalid \"redirect_uri\" in request.";
    Err(Answer::oauth_refusal("invalid_grant", description))
}

/// PKCE (RFC 7636 section 4.6); a verifier of the wrong form is refused even where no challenge was given.
fn check_verifier(code: &Code, form: &Fields) -> Result<(), Answer> {
    let refused = |description| Answer::oauth_refusal("invalid_request", description);
    let invalid = || refused("Invalid \"code_verifier\"");
    let verifier = form.get("code_verifier");
    if verifier.is_some_and(|v| !is_verifier(v)) {
        return Err(invalid());
    }
    let Some(challenge) = &code.challenge else {
        return Ok(());
    };
    let verifier = verifier.ok_or_else(|| refused("Missing \"code_verifier\""))?;
    if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())) == *challenge {
        Ok(())
    } else {
        Err(invalid())
    }
}

/// RFC 7636 section 4.1, which Discord enforces.
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

fn token_answer(inner: &Inner, access: &str) -> Answer {
    let token = inner.world.tokens.get(access);
    let mut body = json!({"token_type": "Bearer", "access_token": access, "expires_in": TOKEN_LIFETIME_S,
        "scope": token.map_or("", |t| t.scope.as_str())});
    if let Some(refresh) = token.and_then(|t| t.refresh.as_ref()) {
        body["refresh_token"] = Value::String(refresh.clone());
    }
    Answer::json(200, &body)
}

/// A refresh issues new tokens; the old refresh token ends, the old access token stays live.
fn by_refresh(inner: &mut Inner, call: &Call<'_>, form: &Fields) -> Reply {
    let refresh = form.get("refresh_token").unwrap_or("");
    let no_such_token = || Answer::oauth_refusal("invalid_grant", "Invalid \"refresh_token\" in request");
    let old = inner.world.refresh_tokens.remove(refresh).ok_or_else(no_such_token)?;
    let token = inner.world.tokens.get_mut(&old).ok_or_else(no_such_token)?;
    token.refresh = None;
    let (user_id, scope) = (token.user_id, token.scope.clone());
    let access = inner.world.issue_token(user_id, &scope, call.now_us, true);
    inner.ledger.token(&access, user_id, None, call.now_us);
    Ok(token_answer(inner, &access))
}

/// `client_credentials`: a token for the application's owner, without a refresh token.
fn for_owner(inner: &mut Inner, call: &Call<'_>, form: &Fields) -> Reply {
    let scope = form.get("scope").unwrap_or("");
    if scope.is_empty() {
        return Err(Answer::oauth_error(400, "invalid_scope"));
    }
    let access = inner.world.issue_token(OWNER_ID, scope, call.now_us, false);
    inner.ledger.token(&access, OWNER_ID, None, call.now_us);
    Ok(token_answer(inner, &access))
}

/// `POST /oauth2/token/revoke`: revoking any token of a user revokes every token of that user.
pub fn revoke(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let invalid = || Answer::oauth_error(400, "invalid_request");
    let form = call.form().ok_or_else(invalid)?;
    authenticate(inner, call, &form, false)?;
    let token = form.get("token").filter(|t| !t.is_empty()).ok_or_else(invalid)?;
    let hint = form.get("token_type_hint");
    if !matches!(hint, None | Some("access_token" | "refresh_token")) {
        return Err(Answer::oauth_error(400, "unsupported_token_type"));
    }
    let access = inner.world.refresh_tokens.get(token).map_or(token, String::as_str);
    // RFC 7009 section 2.2: an unknown token is no error. Discord does not document its behaviour.
    if let Some(user_id) = inner.world.tokens.get(access).map(|t| t.user_id) {
        revoke_all(inner, user_id, call.now_us);
    }
    Ok(Answer::json(200, &json!({})))
}

/// Revokes every token of a user.
pub fn revoke_all(inner: &mut Inner, user_id: u64, now_us: i64) {
    for token in inner.world.tokens_of.remove(&user_id).unwrap_or_default() {
        inner.world.remove_token(&token);
        inner.ledger.killed(&token, now_us);
    }
}

#[cfg(test)]
mod tests;
