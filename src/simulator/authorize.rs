//! The consent page: what a user sees and decides, and the redirect that follows. It issues codes; it never exchanges them.

use std::fmt::Write;

use super::answer::{Answer, Reply};
use super::request::{Call, Fields};
use super::state::Inner;
use super::world::Code;

/// Scopes that an ordinary application may ask for (Discord Docs/Topics/OAuth2).
const SCOPES: &str = "identify email connections guilds guilds.join guilds.members.read guilds.channels.read gdm.join \
                      role_connections.write webhook.incoming bot applications.commands applications.entitlements openid";
/// What scopes let an application do, in the words of a consent page.
const WORDS: [(&str, &str); 8] = [
    ("identify", "Access your username, avatar and banner"),
    ("email", "Access your email address"),
    ("connections", "Access your third-party connections"),
    ("guilds", "Know what servers you’re in"),
    ("guilds.join", "Join servers for you"),
    ("guilds.members.read", "Read your member info in servers you’re in"),
    ("role_connections.write", "Update your connection and metadata"),
    ("openid", "Confirm who you are"),
];
/// A valid authorization request.
#[derive(Debug)]
pub struct Request {
    /// `None` if the request named none: the first registered one is used.
    pub redirect_uri: Option<String>,
    pub state: Option<String>,
    /// Requested scopes, separated by spaces.
    pub scope: String,
    /// The PKCE challenge.
    pub challenge: Option<String>,
}

/// `GET /oauth2/authorize`. A `user_id` in the query chooses who decides, unless the form chooses someone else.
pub fn page(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let request = check(inner, &call.query)?;
    let name = &inner.world.application.name;
    let chosen = call.query.get("user_id").unwrap_or_default();
    let mut people: Vec<_> = inner.world.people.values().collect();
    people.sort_by_key(|p| p.id);
    let mut options = String::new();
    for person in people.iter().take(100) {
        let (id, name) = (person.id.to_string(), escaped(&person.username));
        let selected = if id == chosen { " selected" } else { "" };
        let _ = write!(options, "<option value=\"{id}\"{selected}>{name}</option>");
    }
    let mut scopes = String::new();
    for scope in request.scope.split(' ') {
        let words = WORDS.iter().find(|(known, _)| *known == scope);
        let words = words.map_or_else(|| escaped(scope), |(_, words)| (*words).to_owned());
        let _ = write!(scopes, "<li>{words}</li>");
    }
    let back = request.redirect_uri.as_deref().unwrap_or_default();
    let back = url::Url::parse(back).map_or_else(|_| back.to_owned(), |back| back.origin().ascii_serialization());
    let icon: String = name.chars().take(1).collect();
    let html = include_str!("authorize/page.html")
        .replace("{options}", &options)
        .replace("{scopes}", &scopes)
        .replace("{icon}", &escaped(&icon))
        .replace("{back}", &escaped(&back))
        .replace("{name}", &escaped(name));
    Ok(Answer::html(200, &html))
}

/// `POST /oauth2/authorize`: the decision, with the parameters of the request in the query or in the body.
pub fn decide(inner: &mut Inner, call: &Call<'_>) -> Reply {
    let mut fields = Fields::from_json(&call.json()?);
    fields.append(&call.query);
    let request = check(inner, &fields)?;
    if fields.get("action") == Some("deny") {
        // Without a redirect URI Discord keeps the user on its own page: the application learns nothing.
        if request.redirect_uri.is_none() {
            return Ok(Answer::redirect(302, "/oauth2/error?error=access_denied".into()));
        }
        let description = "The resource owner or authorization server denied the request";
        return Ok(back(inner, &request, "access_denied", description));
    }
    let user_id = fields.get("user_id").unwrap_or("");
    let Some(user_id) = user_id.parse().ok().filter(|_| (17..=20).contains(&user_id.len())) else {
        return Err(Answer::not_a_snowflake("user_id", user_id));
    };
    let code = issue(inner, &request, user_id, call.now_us);
    Ok(redirect(inner, &request, &[("code", &code)]))
}

/// Issues a code for an approved request.
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

/// Checks the parameters. A wrong client or redirect URI ends on an error page; other errors go to the application.
fn check(inner: &Inner, fields: &Fields) -> Result<Request, Answer> {
    let application = &inner.world.application;
    let get = |name| fields.get(name).filter(|v| !v.is_empty());
    let client_id = get("client_id").unwrap_or_default();
    match client_id.parse::<u64>() {
        Ok(id) if id == application.id => {}
        Err(_) if !client_id.is_empty() => return Err(Answer::not_a_snowflake("client_id", client_id)),
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
    let scopes = get("scope").unwrap_or("").split([' ', '+']);
    let request = Request {
        redirect_uri,
        state: get("state").map(str::to_owned),
        scope: scopes.filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" "),
        challenge: get("code_challenge").map(str::to_owned),
    };
    let problem = problem(&request, get("response_type"), get("code_challenge_method"));
    match problem {
        Some((error, description)) => Err(back(inner, &request, error, description)),
        None => Ok(request),
    }
}

/// What Discord reports to the application about a request: error and description.
fn problem(
    request: &Request,
    response_type: Option<&str>,
    method: Option<&str>,
) -> Option<(&'static str, &'static str)> {
    match response_type {
        None => return Some(("invalid_request", "Missing response_type parameter.")),
        Some("code") => {}
        Some(_) => {
            let description = "The authorization server does not support this response type.";
            return Some(("unsupported_response_type", description));
        }
    }
    let with_pkce = request.challenge.is_some();
    let refused = |scope: &str| {
        // Discord deliberately refuses this scope together with PKCE.
        !SCOPES.split(' ').any(|s| s == scope) || with_pkce && scope == "role_connections.write"
    };
    if request.scope.split(' ').any(refused) {
        let description = "The requested scope is invalid, unknown, or malformed.";
        return Some(("invalid_scope", description));
    }
    if (with_pkce || method.is_some()) && method != Some("S256") {
        return Some(("invalid_request", "Unsupported \"code_challenge_method\""));
    }
    let is_base64url = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let fits = |challenge: &String| challenge.len() == 43 && challenge.bytes().all(is_base64url);
    let invalid = request.challenge.as_ref().is_some_and(|c| !fits(c));
    invalid.then_some(("invalid_request", "Invalid \"code_challenge\""))
}

/// Sends the user back to the application with an error.
fn back(inner: &Inner, request: &Request, error: &str, description: &str) -> Answer {
    let parameters = [("error", error), ("error_description", description)];
    redirect(inner, request, &parameters)
}

/// Sends the user back to the application.
fn redirect(inner: &Inner, request: &Request, parameters: &[(&str, &str)]) -> Answer {
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
