//! The consent page: what a person sees and decides, and the redirect that follows. It issues codes; it never exchanges them.

use std::fmt::Write;

use super::answer::Answer;
use super::request::{Call, Fields};
use super::state::Inner;
use super::world::Code;

/// Scopes that an ordinary application may ask for (Discord Docs/Topics/OAuth2).
const SCOPES: [&str; 14] = [
    "identify",
    "email",
    "connections",
    "guilds",
    "guilds.join",
    "guilds.members.read",
    "guilds.channels.read",
    "gdm.join",
    "role_connections.write",
    "webhook.incoming",
    "bot",
    "applications.commands",
    "applications.entitlements",
    "openid",
];

/// A request to authorize that may be put to a person.
#[derive(Debug)]
pub struct Request {
    /// Where the answer goes; `None` if the request did not say.
    pub redirect_uri: Option<String>,
    /// Echoed.
    pub state: Option<String>,
    /// Wanted scopes.
    pub scope: String,
    /// The PKCE challenge.
    pub challenge: Option<String>,
}

/// `GET /oauth2/authorize`.
pub fn page(inner: &mut Inner, call: &Call<'_>) -> Result<Answer, Answer> {
    let request = check(inner, &call.query)?;
    let name = escaped(&inner.world.application.name);
    let mut people: Vec<_> = inner.world.people.values().collect();
    people.sort_by_key(|p| p.id);
    let mut options = String::new();
    for person in people.iter().take(100) {
        let _ = write!(
            options,
            "<option value=\"{}\">{}</option>",
            person.id,
            escaped(&person.username)
        );
    }
    let mut hidden = String::new();
    for field in [
        "client_id",
        "redirect_uri",
        "response_type",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
    ] {
        if let Some(value) = call.query.get(field) {
            let _ = write!(
                hidden,
                "<input type=\"hidden\" name=\"{field}\" value=\"{}\">",
                escaped(value)
            );
        }
    }
    Ok(Answer::html(
        200,
        &format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Authorize {name}</title></head><body>\
             <h1>{name} wants to access your account</h1><p>Scopes: {}</p>\
             <form method=\"post\" action=\"/oauth2/authorize\">{hidden}<label>You are <select name=\"user_id\">{options}</select></label> \
             <button name=\"action\" value=\"approve\">Authorize</button> <button name=\"action\" value=\"deny\">Cancel</button></form>\
             <p>This is a simulated Discord.</p></body></html>",
            escaped(&request.scope)
        ),
    ))
}

/// `POST /oauth2/authorize`: what a person decided, with the query's parameters in the query or in the body.
pub fn decide(inner: &mut Inner, call: &Call<'_>) -> Result<Answer, Answer> {
    let mut fields = Fields::from_json(&call.json()?);
    fields.append(&call.query);
    let request = check(inner, &fields)?;
    if fields.get("action") == Some("deny") {
        return Ok(match &request.redirect_uri {
            Some(_) => back(
                inner,
                &request,
                &[
                    ("error", "access_denied"),
                    (
                        "error_description",
                        "The resource owner or authorization server denied the request",
                    ),
                ],
            ),
            // Discord keeps the person on its own page; the application hears nothing.
            None => Answer::redirect(302, "/oauth2/error?error=access_denied".into()),
        });
    }
    let user_id = fields.get("user_id").unwrap_or("");
    let Some(user_id) = user_id.parse().ok().filter(|_| (17..=20).contains(&user_id.len())) else {
        return Err(Answer::not_a_snowflake("user_id", user_id));
    };
    let code = issue(inner, &request, user_id, call.now_us);
    Ok(back(inner, &request, &[("code", &code)]))
}

/// Issues a code for a request that a person approved.
pub fn issue(inner: &mut Inner, request: &Request, user_id: u64, now_us: i64) -> String {
    inner.world.person(user_id);
    let code = inner.world.issue_code(Code {
        redirect_uri: request.redirect_uri.clone(),
        challenge: request.challenge.clone(),
        scope: request.scope.clone(),
        user_id,
        issued_us: now_us,
        spent: false,
        tokens: Vec::new(),
    });
    inner.ledger.issued(&code, user_id, now_us);
    code
}

/// Checks the parameters. What concerns the client or the redirect URI ends on an error page; the rest goes back to the application.
fn check(inner: &Inner, fields: &Fields) -> Result<Request, Answer> {
    let application = &inner.world.application;
    let get = |name| fields.get(name).filter(|v| !v.is_empty());
    match get("client_id").map(str::parse::<u64>) {
        Some(Ok(id)) if id == application.id => {}
        Some(Err(_)) => {
            return Err(Answer::not_a_snowflake(
                "client_id",
                get("client_id").unwrap_or_default(),
            ));
        }
        _ => return Err(error_page("Unknown Application")),
    }
    let redirect_uri = get("redirect_uri").map(str::to_owned);
    let registered = match &redirect_uri {
        Some(uri) => application.redirect_uris.contains(uri),
        None => !application.redirect_uris.is_empty(),
    };
    if !registered {
        return Err(error_page("Invalid OAuth2 redirect_uri"));
    }
    let request = Request {
        redirect_uri,
        state: get("state").map(str::to_owned),
        scope: get("scope")
            .unwrap_or("")
            .split([' ', '+'])
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
        challenge: get("code_challenge").map(str::to_owned),
    };
    let refuse = |error, text| Err(back(inner, &request, &[("error", error), ("error_description", text)]));
    match get("response_type") {
        None => return refuse("invalid_request", "Missing response_type parameter."),
        Some("code") => {}
        Some(_) => {
            return refuse(
                "unsupported_response_type",
                "The authorization server does not support this response type.",
            );
        }
    }
    let wanted: Vec<_> = request.scope.split(' ').collect();
    let with_pkce = request.challenge.is_some();
    // Discord refuses the pair on purpose.
    let refused_pair = with_pkce && wanted.contains(&"role_connections.write");
    if refused_pair || wanted.iter().any(|s| !SCOPES.contains(s)) {
        return refuse(
            "invalid_scope",
            "The requested scope is invalid, unknown, or malformed.",
        );
    }
    if (with_pkce || get("code_challenge_method").is_some()) && get("code_challenge_method") != Some("S256") {
        return refuse("invalid_request", "Unsupported \"code_challenge_method\"");
    }
    if let Some(challenge) = &request.challenge {
        let fits = challenge.len() == 43
            && challenge
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !fits {
            return refuse("invalid_request", "Invalid \"code_challenge\"");
        }
    }
    Ok(request)
}

/// Sends the person back to the application.
fn back(inner: &Inner, request: &Request, parameters: &[(&str, &str)]) -> Answer {
    let first = inner.world.application.redirect_uris.first().map_or("", String::as_str);
    let target = request.redirect_uri.as_deref().unwrap_or(first);
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters);
    if let Some(state) = &request.state {
        query.append_pair("state", state);
    }
    let joint = if target.contains('?') { '&' } else { '?' };
    Answer::redirect(302, format!("{target}{joint}{}", query.finish()))
}

fn error_page(text: &str) -> Answer {
    Answer::html(
        400,
        &format!("<!DOCTYPE html><html><head><title>Discord</title></head><body><h1>{text}</h1></body></html>"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
