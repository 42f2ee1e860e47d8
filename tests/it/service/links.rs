//! Links: made by a running service and over a stopped store, gated, and worth nothing to a thief.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use codeferry::intake::state::{StateKey, StateToken};
use codeferry::intake::v1::Redirect;
use codeferry::secret::Key;
use codeferry::simulator::people::browser;
use codeferry::simulator::{CodeRequest, Endpoint, Fault, FaultBody, FaultRule, SimulatorOptions};
use serde_json::{Value, json};
use url::Url;

use super::test_support::{KEY, PERSON, Site, exits, redirect};
use crate::patience::until;

/// An answer of the control interface: status, headers in small letters, body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
}

/// Sends a body to a path of the control interface, as a program in any language would.
pub fn post(site: &Site, path: &str, body: &[u8]) -> Answer {
    post_at(&site.path("data/control.sock"), path, body).expect("an answer")
}

/// The same at a socket; `None` where no service answers.
pub fn post_at(socket: &Path, path: &str, body: &[u8]) -> Option<Answer> {
    let mut socket = UnixStream::connect(socket).ok()?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: codeferry\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status"),
        head: head.to_lowercase(),
        body: serde_json::from_str(body).unwrap_or(Value::Null),
    })
}

/// Asks for a link for a person.
pub fn ask(site: &Site, person: u64) -> Answer {
    post(
        site,
        "/v1/links",
        json!({ "user_id": person.to_string() }).to_string().as_bytes(),
    )
}

/// The state in a link.
pub fn state_of(url: &str) -> String {
    let url = Url::parse(url).expect("a URL");
    let mut pairs = url.query_pairs();
    pairs.find(|(name, _)| name == "state").expect("a state").1.into_owned()
}

#[test]
fn a_link_asked_for_over_the_control_interface_says_where_until_when_and_by_which_lane() {
    let site = Site::without_limits("[state]\npurposes = [\"default\", \"linked-role\"]\n");
    let service = site.run_ready();
    let answer = ask(&site, PERSON);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(
        answer.body["url"]
            .as_str()
            .is_some_and(|url| url.contains("code_challenge="))
    );
    assert!(answer.body["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')));
    assert_eq!(answer.body["lane"], 0);
    let with_purpose = json!({ "user_id": PERSON.to_string(), "purpose": "linked-role" }).to_string();
    assert_eq!(post(&site, "/v1/links", with_purpose.as_bytes()).status, 200);
    for (body, says) in [
        (json!({ "user_id": "12" }).to_string(), "17 to 20 digits"),
        // What JavaScript makes of 80000000000000001 is the id of somebody else.
        (
            json!({ "user_id": 80_000_000_000_000_000_u64 }).to_string(),
            "as a string",
        ),
        (
            json!({ "user_id": PERSON.to_string(), "purpose": "nothing" }).to_string(),
            "use one of: default, linked-role",
        ),
        (
            json!({ "user_id": PERSON.to_string(), "people": 3 }).to_string(),
            "unknown field `people`",
        ),
        ("{}".to_owned(), "missing field `user_id`"),
        ("{\"user_id\":".to_owned(), "EOF"),
        (String::new(), "EOF"),
        ("\u{0}\u{1}".repeat(1000), "expected value"),
    ] {
        let answer = post(&site, "/v1/links", body.as_bytes());
        assert_eq!(answer.status, 400, "{body}");
        let error = answer.body["error"].as_str().expect("an error");
        assert!(error.contains(says), "{body}: {error}");
    }
    assert_eq!(post(&site, "/v1/links", b"\xff\xfe").status, 400);
    assert_eq!(site.json(&["debug", "queue", "stats"])["links"], 2);
    drop(service);
}

#[test]
fn a_full_gate_answers_429_with_the_seconds_to_wait_and_opens_for_each_code_that_arrives() {
    let site = Site::new(SimulatorOptions::without_limits(), "[gate]\nshare = 0.1\n");
    let service = site.run_ready();
    // 0.1 x (5 + 25/60 x 85) = 4.
    let links: Vec<Answer> = (0..4).map(|n| ask(&site, PERSON + n)).collect();
    assert!(links.iter().all(|answer| answer.status == 200));
    let refused = ask(&site, PERSON + 4);
    assert_eq!(refused.status, 429);
    let seconds = refused.body["retry_after"].as_u64().expect("seconds");
    assert!((1..=400).contains(&seconds), "{seconds}");
    assert!(
        refused.head.contains(&format!("retry-after: {seconds}")),
        "{}",
        refused.head
    );
    let (_, error) = exits(&site.codeferry(&["link", &(PERSON + 5).to_string()]), 1);
    assert!(error.contains("try again in"), "{error}");
    // One approves, one denies: two places.
    let states: Vec<String> = links
        .iter()
        .map(|l| state_of(l.body["url"].as_str().expect("a URL")))
        .collect();
    let code = site.code(PERSON, &states[0]);
    let denied = redirect(Err("access_denied".to_owned()), &states[1]);
    site.post(0, site.sign(&[redirect(Ok(code), &states[0]), denied]));
    until(Duration::from_secs(20), "both results", || site.results().len() == 2);
    assert_eq!(
        (ask(&site, PERSON + 4).status, ask(&site, PERSON + 5).status),
        (200, 200)
    );
    assert_eq!(ask(&site, PERSON + 6).status, 429);
    drop(service);
}

#[test]
fn places_outlive_a_kill_and_a_stopped_store_gives_links_under_the_same_gate() {
    let mut site = Site::new(SimulatorOptions::without_limits(), "[gate]\nshare = 0.1\n");
    let service = site.run_ready();
    assert_eq!((ask(&site, PERSON).status, ask(&site, PERSON + 1).status), (200, 200));
    drop(service);
    let link = |site: &Site, n: u64| site.codeferry(&["link", &(PERSON + n).to_string(), "--json"]);
    let (third, _) = exits(&link(&site, 2), 0);
    let third: Value = serde_json::from_str(&third).expect("JSON");
    assert_eq!(third["lane"], 0);
    exits(&link(&site, 3), 0);
    let (_, error) = exits(&link(&site, 4), 1);
    assert!(error.contains("try again in"), "{error}");
    // Killed once the place is durable: no user got that link, and its place ends with it.
    site.variables
        .insert("CRASH_AT".to_owned(), "commit.link.after".to_owned());
    site.configure("[gate]\nshare = 0.2\n");
    let mut service = site.run_ready();
    let socket = UnixStream::connect(site.path("data/control.sock")).expect("a socket");
    let body = json!({ "user_id": (PERSON + 5).to_string() }).to_string();
    (&socket)
        .write_all(
            format!(
                "POST /v1/links HTTP/1.1\r\nHost: c\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
        .expect("sent");
    let mut answer = Vec::new();
    let _ = (&socket).read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    until(Duration::from_secs(10), "its end", || service.ended().is_some());
    site.variables.remove("CRASH_AT");
    assert_eq!(site.json(&["debug", "queue", "stats"])["links"], 5);
}

#[test]
fn a_link_from_before_a_restart_completes_after_it_though_the_scopes_changed_in_between() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let minted = ask(&site, PERSON);
    let url = minted.body["url"].as_str().expect("a URL").to_owned();
    let state = state_of(&url);
    drop(service);
    let text = std::fs::read_to_string(site.file()).expect("a configuration");
    // These scopes are minted without PKCE: the state of the older link says that it had it.
    let scopes = "[discord]\nscopes = [\"identify\", \"role_connections.write\"]\n";
    std::fs::write(site.file(), text.replacen("[discord]\n", scopes, 1)).expect("written");
    let service = site.run_ready();
    let code = site.code(PERSON, &state);
    site.post(0, site.message(&[(code, state)]));
    until(Duration::from_secs(20), "a result", || site.results().len() == 1);
    assert_eq!(site.results_of("completed"), 1, "{:?}", site.results());
    let without = ask(&site, PERSON + 1);
    assert!(!without.body["url"].as_str().expect("a URL").contains("code_challenge"));
    drop(service);
}

#[test]
fn a_signed_state_without_pkce_is_never_presented_where_links_are_made_with_it() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let token = StateToken {
        pkce: false,
        ..site.token(PERSON)
    };
    let state = StateKey::new(&Key::new(KEY.as_bytes())).mint(&token);
    let code = site.simulator.mint_codes(&CodeRequest::of(PERSON)).remove(0);
    site.post(0, site.message(&[(code.clone(), state)]));
    until(Duration::from_secs(20), "a result", || site.results().len() == 1);
    let result = &site.results()[0];
    assert_eq!(
        (&result["type"], &result["reason"]),
        (&json!("authorization.refused"), &json!("pkce_missing"))
    );
    let ledger = site.simulator.ledger();
    assert!(ledger.code(&code).expect("issued").presented.is_empty());
    drop(service);
}

#[test]
fn a_thief_with_everything_from_the_channel_and_the_client_secret_cannot_exchange_a_code() {
    let site = Site::without_limits("");
    let link = site.json(&["link", &PERSON.to_string()]);
    let url = Url::parse(link["url"].as_str().expect("a URL")).expect("a URL");
    let query = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
    let (state, challenge) = (query("state").expect("a state"), query("code_challenge").expect("PKCE"));
    let request = CodeRequest::of(PERSON).with_challenge(challenge.clone());
    let code = site.simulator.mint_codes(&request).remove(0);
    site.post(0, site.message(&[(code.clone(), state.clone())]));
    // No service takes the code before the thief does, who tries what stands in the message and in the link.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        for verifier in [None, Some(state), Some(challenge), Some("A".repeat(43))] {
            let mut form = vec![
                ("grant_type", "authorization_code".to_owned()),
                ("code", code.clone()),
                ("redirect_uri", site.about.redirect_uri.clone()),
                ("client_id", site.about.application_id.clone()),
                ("client_secret", site.about.client_secret.clone()),
            ];
            form.extend(verifier.map(|v| ("code_verifier", v)));
            let token_url = format!("{}/oauth2/token", site.about.api_base);
            let answer = browser().post(token_url).form(&form).send().await.expect("an answer");
            assert_eq!(answer.status(), 400);
            let body = answer.json::<Value>().await.expect("JSON");
            assert!(
                body["error"].as_str().is_some_and(|e| e.starts_with("invalid_")),
                "{body}"
            );
        }
    });
    assert_eq!(site.simulator.summary().tokens_left, 0);
}

#[test]
fn a_relay_tells_that_a_code_died_there_and_the_person_is_told_apart_from_one_who_refused() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let state = state_of(ask(&site, PERSON).body["url"].as_str().expect("a URL"));
    let dead: Redirect = redirect(Err("relay_expired".to_owned()), &state);
    site.post(0, site.sign(&[dead]));
    until(Duration::from_secs(20), "a result", || site.results().len() == 1);
    let result = &site.results()[0];
    assert_eq!(
        (&result["type"], &result["reason"]),
        (&json!("authorization.expired"), &json!("relay_expired"))
    );
    assert_eq!(site.json(&["debug", "queue", "stats"])["links"], 0);
    drop(service);
}

#[test]
fn a_link_of_a_service_that_stops_or_does_not_run_says_so() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    // A token that cannot be revoked holds the drain up.
    let down = Fault::Status {
        status: 503,
        body: FaultBody::Html,
        retry_after: None,
        after_work: false,
    };
    site.simulator.faults().add(FaultRule::on(Endpoint::Revoke, down));
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "a token is held", || {
        site.results_of("completed") == 1
    });
    service.signal(rustix::process::Signal::TERM);
    service.logs("draining: press Ctrl-C again");
    let link = || site.codeferry(&["link", &PERSON.to_string()]);
    let mut last = link();
    until(Duration::from_secs(10), "no link is made any more", || {
        last = link();
        !last.status.success()
    });
    let (_, error) = exits(&last, 1);
    assert!(
        error.contains("the service is stopping: ask again when it runs"),
        "{error}"
    );
    let answer = ask(&site, PERSON);
    assert_eq!((answer.status, answer.body["retry_after"].as_u64()), (503, Some(10)));
    site.simulator.faults().clear();
    let mut service = service;
    assert_eq!(service.ends(Duration::from_secs(40)), 0, "{}", service.log());
    let (url, error) = exits(&link(), 0);
    assert!(
        url.starts_with("http") && error.contains("the service is not running: start it"),
        "{error}"
    );
}
