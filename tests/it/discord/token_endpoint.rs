//! The token endpoint: what every kind of answer to an exchange or a revocation is taken for.

use std::net::SocketAddr;
use std::time::Duration;

use codeferry::discord::token_endpoint::{HttpTokenEndpoint, TokenEndpointSettings};
use codeferry::ids::ApplicationId;
use codeferry::port::discord::{Answered, ExchangeAnswer, RevokeAnswer, TokenEndpoint};
use codeferry::port::later::Later;
use codeferry::rate::feedback::HttpFeedback;
use codeferry::secret::{AccessToken, AuthorizationCode, ClientSecret, CodeVerifier};

use tokio::time::Instant;

use super::fault_server::{FaultServer, Play, answer, closed_port, endless_head, head, json};
use super::{TIMEOUT, base_at, check_silent};

const TOKEN: &str = r#"{"token_type":"Bearer","access_token":"CANARY-token","expires_in":604800,
    "refresh_token":"CANARY-refresh","scope":"identify guilds"}"#;

fn endpoint_at(address: SocketAddr) -> HttpTokenEndpoint {
    HttpTokenEndpoint::new(&TokenEndpointSettings {
        api_base: base_at(address),
        application: ApplicationId(1_536_000_000_000_000_001),
        secret: ClientSecret::new("CANARY-secret"),
        redirect_uri: "https://hooks.example.net/oauth?x=1".to_owned(),
        exchange_timeout: TIMEOUT,
        revoke_timeout: TIMEOUT,
    })
    .expect("good settings")
}

async fn exchange_with(endpoint: &HttpTokenEndpoint) -> Answered<ExchangeAnswer> {
    let code = AuthorizationCode::new("CANARY-code");
    endpoint.exchange(&code, None).await
}

async fn exchanged(play: Play) -> String {
    let server = FaultServer::start(vec![play]).await;
    exchange_at(server.address()).await.0
}

/// The result of an exchange with a server, and what the governor learns from it.
pub async fn exchange_at(address: SocketAddr) -> (String, Option<HttpFeedback>) {
    let answered = exchange_with(&endpoint_at(address)).await;
    check_silent(&format!("{answered:?}"));
    (named(&answered.outcome), answered.feedback)
}

fn named(answer: &ExchangeAnswer) -> String {
    match answer {
        ExchangeAnswer::Token(token) => format!("token for {}", token.scopes.join("+")),
        ExchangeAnswer::NotSent(_) => "not sent".to_owned(),
        ExchangeAnswer::Later(later) => format!("deferred {}", later.after.expect("a wait").as_millis()),
        ExchangeAnswer::Unclear(reason) => format!("unclear {reason}"),
        ExchangeAnswer::Unreadable => "unreadable".to_owned(),
        ExchangeAnswer::CutOff(_) => "cut off".to_owned(),
        ExchangeAnswer::Refused(reason) => format!("refused {reason}"),
        ExchangeAnswer::CredentialsRefused => "credentials refused".to_owned(),
    }
}

async fn revoked(play: Play) -> String {
    let server = FaultServer::start(vec![play]).await;
    revoke_at(server.address()).await.0
}

/// The same of a revocation.
pub async fn revoke_at(address: SocketAddr) -> (String, Option<HttpFeedback>) {
    let answered = endpoint_at(address).revoke(&AccessToken::new("CANARY-token")).await;
    check_silent(&format!("{answered:?}"));
    let name = match answered.outcome {
        RevokeAnswer::Revoked => "revoked".to_owned(),
        RevokeAnswer::Later(Later { after, reason }) => format!("retry {reason} {:?}", after.map(|d| d.as_millis())),
        RevokeAnswer::CredentialsRefused => "credentials refused".to_owned(),
    };
    (name, answered.feedback)
}

#[tokio::test]
async fn an_exchange_is_sent_as_discord_documents_it() {
    let server = FaultServer::start(vec![json(200, TOKEN)]).await;
    let endpoint = endpoint_at(server.address());
    let code = AuthorizationCode::new("CANARY code/+");
    let verifier = CodeVerifier::new("RXm2ypwD08Zjq_SBfVYjy4atAohkxP3AKQzKfn9BK44");
    let answered = endpoint.exchange(&code, Some(&verifier)).await;
    let ExchangeAnswer::Token(token) = answered.outcome else {
        panic!("no token");
    };
    assert_eq!(token.access.expose(), "CANARY-token");
    assert_eq!(token.scopes, ["identify", "guilds"]);

    let seen = server.seen().await;
    let [request] = seen.as_slice() else {
        panic!("{} requests", seen.len());
    };
    assert_eq!(request.line, "POST /api/v10/oauth2/token");
    // Base64 of `1536000000000000001:CANARY-secret`.
    assert_eq!(
        request.header("authorization"),
        Some("Basic MTUzNjAwMDAwMDAwMDAwMDAwMTpDQU5BUlktc2VjcmV0")
    );
    assert_eq!(
        request.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    assert!(
        request
            .header("user-agent")
            .is_some_and(|ua| ua.starts_with("DiscordBot ("))
    );
    let form: Vec<_> = url::form_urlencoded::parse(request.body.as_bytes()).collect();
    for (key, value) in [
        ("grant_type", "authorization_code"),
        ("code", "CANARY code/+"),
        ("redirect_uri", "https://hooks.example.net/oauth?x=1"),
        ("code_verifier", "RXm2ypwD08Zjq_SBfVYjy4atAohkxP3AKQzKfn9BK44"),
    ] {
        let found: Vec<_> = form.iter().filter(|(k, _)| k == key).map(|(_, v)| &**v).collect();
        assert_eq!(found, [value], "{key}");
    }
}

#[tokio::test]
async fn a_token_is_taken_whatever_else_the_answer_holds() {
    for body in [
        r#"{"access_token":"CANARY"}"#,
        r#"{"access_token":"CANARY","token_type":null,"expires_in":"soon","scope":null,"refresh_token":7}"#,
        r#"{"access_token":"CANARY","token_type":"mac","webhook":{"token":"CANARY"},"guild":[],"scope":5}"#,
    ] {
        assert_eq!(exchanged(json(200, body)).await, "token for ", "{body}");
    }
    assert_eq!(
        exchanged(json(200, r#"{"access_token":"CANARY","scope":["identify","guilds"]}"#)).await,
        "token for identify+guilds"
    );
    assert_eq!(exchanged(json(201, TOKEN)).await, "token for identify+guilds");
    assert_eq!(
        exchanged(answer(200, "application/json; charset=utf-8", "", TOKEN)).await,
        "token for identify+guilds"
    );
    assert_eq!(
        exchanged(answer(200, "", "", TOKEN)).await,
        "token for identify+guilds",
        "without a content type"
    );
}

#[tokio::test]
async fn a_complete_answer_that_does_not_tell_is_unclear() {
    let html = "<html><title>CANARY</title></html>";
    for (play, expected) in [
        (json(500, r#"{"message":"500: Internal","code":0}"#), "unclear http_500"),
        (json(500, r#"{"error":"invalid_grant"}"#), "unclear http_500"),
        (answer(502, "text/html", "", html), "unclear http_502"),
        (answer(503, "text/html", "", html), "unclear http_503"),
        (answer(504, "", "", ""), "unclear http_504"),
        (answer(522, "text/html", "", html), "unclear http_522"),
        (answer(403, "text/html", "", html), "unclear not_json"),
        (
            json(403, r#"{"message":"internal network error","code":40333}"#),
            "unclear no_token",
        ),
        (
            json(404, r#"{"message":"404: Not Found","code":0}"#),
            "unclear no_token",
        ),
        (json(400, r#"{"error":{"CANARY":1}}"#), "unclear no_token"),
        (
            json(400, r#"{"error":"temporarily_unavailable"}"#),
            "unclear temporarily_unavailable",
        ),
    ] {
        let shown = format!("{play:?}");
        assert_eq!(exchanged(play).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn an_oauth_error_refuses_the_code_and_invalid_client_refuses_us() {
    for (status, body, expected) in [
        (
            400,
            r#"{"error":"invalid_grant","error_description":"Invalid \"code\" in request."}"#,
            "refused invalid_grant",
        ),
        (
            400,
            r#"{"error":"invalid_request","error_description":null}"#,
            "refused invalid_request",
        ),
        (
            400,
            r#"{"error":"invalid_grant","error_description":["CANARY"],"x":1}"#,
            "refused invalid_grant",
        ),
        (400, r#"{"error":"CANARY Text"}"#, "refused other"),
        (401, r#"{"error":"access_denied"}"#, "refused access_denied"),
        (401, r#"{"error":"invalid_client"}"#, "credentials refused"),
        (400, r#"{"error":"invalid_client"}"#, "credentials refused"),
        (
            403,
            r#"{"error":"invalid_client","error_description":5}"#,
            "credentials refused",
        ),
    ] {
        assert_eq!(exchanged(json(status, body)).await, expected, "{status} {body}");
    }
}

#[tokio::test]
async fn a_429_or_a_503_with_retry_after_defers() {
    let limited = |headers: &str, body: &str| answer(429, "application/json", headers, body);
    for (play, expected) in [
        (limited("Retry-After: 2\r\n", r#"{"retry_after":1.4}"#), "deferred 1400"),
        (limited("", r#"{"retry_after":41.3,"global":false}"#), "deferred 41300"),
        (limited("Retry-After: 43323\r\n", "{}"), "deferred 43323"),
        (limited("", "not even json"), "deferred 5000"),
        (answer(429, "text/html", "", "<html>"), "deferred 60000"),
        (
            Play::Answer(
                b"HTTP/1.1 429 X\r\nContent-Type: text/plain\r\nContent-Length: 16\r\n\r\nerror code: 1015".to_vec(),
            ),
            "deferred 60000",
        ),
        (
            Play::Cut(b"HTTP/1.1 429 X\r\nVia: x\r\nRetry-After: 3\r\nContent-Length: 90\r\n\r\n{".to_vec()),
            "deferred 3000",
        ),
        (
            answer(503, "text/html", "Retry-After: 7\r\n", "<html>"),
            "deferred 7000",
        ),
    ] {
        let shown = format!("{play:?}");
        assert_eq!(exchanged(play).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_cut_off_within_the_timeout() {
    for play in [
        Play::Reset,
        Play::Hang,
        Play::Cut(Vec::new()),
        Play::Cut(b"HTTP/1.1 200 OK\r\nContent-".to_vec()),
        Play::Drip(Vec::new()),
        Play::Answer(b"\x00\x01 this is not HTTP\r\n\r\n".to_vec()),
        Play::Flood(b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec(), 1),
    ] {
        let shown = format!("{play:?}");
        let began = Instant::now();
        assert_eq!(exchanged(play).await, "cut off", "{shown}");
        assert!(began.elapsed() < Duration::from_secs(2), "{shown}");
    }
    let server = FaultServer::resetting().await;
    let answered = exchange_with(&endpoint_at(server.address())).await;
    assert!(matches!(answered.outcome, ExchangeAnswer::CutOff(_)), "{answered:?}");
    assert!(answered.feedback.is_none());
    assert_eq!(server.connections(), 1, "a code is never sent twice on its own");
}

#[tokio::test]
async fn success_without_a_readable_token_has_spent_the_code() {
    let html = "<html><title>CANARY</title></html>";
    for play in [
        answer(200, "text/html", "", html),
        json(200, html),
        json(200, "{}"),
        json(200, ""),
        json(200, r#"["CANARY"]"#),
        json(200, r#"{"access_token":null}"#),
        json(200, r#"{"access_token":""}"#),
        json(200, r#"{"access_token":{"CANARY":1}}"#),
        json(200, r#"{"access_token":"CANARY-tok"#),
        json(200, r#"{"error":"invalid_grant"}"#),
        json(200, r#"{"error":"invalid_client"}"#),
        json(201, r#"{"error":"server_error"}"#),
        Play::Cut(head(200, 500)),
        Play::Drip(head(200, 500)),
        Play::Flood(endless_head(200), 40),
        Play::Flood(head(200, 40 << 20), 40),
    ] {
        let shown = format!("{play:?}");
        let began = Instant::now();
        assert_eq!(exchanged(play).await, "unreadable", "{shown}");
        assert!(began.elapsed() < Duration::from_secs(2), "{shown}");
    }
}

#[tokio::test]
async fn a_token_is_taken_as_soon_as_it_is_there_whatever_becomes_of_the_rest() {
    let token = r#"{"token_type":"Bearer","access_token":"CANARY","expires_in":604800"#;
    let scoped = format!(r#"{token},"scope":"identify bot","guild":{{"name":""#);
    let begun = |body: &str| [head(200, 8 << 20), body.as_bytes().to_vec()].concat();
    for (play, expected) in [
        (Play::Cut(begun(token)), "token for "),
        (Play::Cut(begun(&scoped)), "token for identify+bot"),
        (Play::Flood(begun(&scoped), 7), "token for identify+bot"),
        (answer(200, "text/html", "", TOKEN), "token for identify+guilds"),
        (json(200, &scoped), "token for identify+bot"),
    ] {
        let shown: String = format!("{play:?}").chars().take(200).collect();
        assert_eq!(exchanged(play).await, expected, "{shown}");
    }
    // Nothing more is waited for.
    let began = Instant::now();
    assert_eq!(exchanged(Play::Drip(begun(&scoped))).await, "token for identify+bot");
    assert!(began.elapsed() < TIMEOUT / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_of_three_megabytes_with_its_token_last_is_read() {
    let roles = format!(r#"{{"name":"{}"}},"#, "r".repeat(100)).repeat(3 << 13);
    let body = format!(r#"{{"guild":{{"roles":[{roles}{{}}]}},"scope":"identify bot","access_token":"CANARY"}}"#);
    assert!((2 << 20..4 << 20).contains(&body.len()), "{}", body.len());
    assert_eq!(exchanged(json(200, &body)).await, "token for identify+bot");
}

#[tokio::test]
async fn a_connection_that_never_opened_is_not_sent() {
    let answered = exchange_with(&endpoint_at(closed_port().await)).await;
    assert!(matches!(answered.outcome, ExchangeAnswer::NotSent(_)), "{answered:?}");
    check_silent(&format!("{answered:?}"));
}

#[tokio::test]
async fn a_redirect_is_unclear_and_nothing_is_sent_where_it_points() {
    let trap = FaultServer::start(vec![json(200, TOKEN)]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: http://{}/api/v10/oauth2/token\r\n", trap.address());
        let told = answer(status, "application/json", &location, TOKEN);
        assert_eq!(exchanged(told.clone()).await, "unclear redirect", "{status}");
        assert_eq!(revoked(told).await, "retry redirect None", "{status}");
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn an_exchange_opens_its_own_connection_and_revocations_share_one() {
    let server = FaultServer::start(vec![json(200, TOKEN)]).await;
    let endpoint = endpoint_at(server.address());
    for _ in 0..3 {
        exchange_with(&endpoint).await;
    }
    assert_eq!(server.connections(), 3);
    for _ in 0..3 {
        endpoint.revoke(&AccessToken::new("CANARY-token")).await;
    }
    assert_eq!(server.connections(), 4);
    let seen = server.seen().await;
    let last = seen.last().expect("requests were made");
    assert_eq!(last.line, "POST /api/v10/oauth2/token/revoke");
    assert_eq!(last.body, "token=CANARY-token&token_type_hint=access_token");
    assert!(last.header("authorization").is_some_and(|a| a.starts_with("Basic ")));
}

#[tokio::test]
async fn a_revocation_is_done_only_where_the_answer_says_so() {
    for (play, expected) in [
        (json(200, "{}"), "revoked"),
        (answer(200, "", "", ""), "revoked"),
        (json(400, r#"{"error":"invalid_token"}"#), "revoked"),
        (
            json(
                400,
                r#"{"error":"invalid_request","error_description":"Invalid \"token\" in request."}"#,
            ),
            "revoked",
        ),
        (
            json(400, r#"{"error":"invalid_request"}"#),
            "retry invalid_request None",
        ),
        (
            json(400, r#"{"error":"unsupported_token_type"}"#),
            "retry unsupported_token_type None",
        ),
        (json(401, r#"{"error":"invalid_client"}"#), "credentials refused"),
        (json(400, r#"{"error":"invalid_client"}"#), "credentials refused"),
        (answer(200, "text/html", "", "<html>"), "retry not_json None"),
        (answer(502, "text/html", "", "<html>"), "retry http_502 None"),
        (
            answer(503, "", "Retry-After: 4\r\n", ""),
            "retry rate_limited Some(4000)",
        ),
        (
            answer(429, "", "Retry-After: 4\r\n", ""),
            "retry rate_limited Some(4000)",
        ),
        (Play::Reset, "retry cut_off None"),
        (Play::Hang, "retry timeout None"),
        (Play::Flood(endless_head(200), 40), "retry too_large None"),
        (Play::Drip(head(200, 10)), "retry timeout None"),
    ] {
        let shown = format!("{play:?}");
        assert_eq!(revoked(play).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn the_answers_headers_reach_the_governor() {
    let date = "Date: Tue, 14 Nov 2023 22:13:20 GMT\r\nX-RateLimit-Scope: shared\r\nSet-Cookie: CANARY=1\r\n";
    let play = answer(429, "application/json", date, r#"{"retry_after":1.5,"global":true}"#);
    let server = FaultServer::start(vec![play]).await;
    let answered = exchange_with(&endpoint_at(server.address())).await;
    check_silent(&format!("{answered:?}"));
    let feedback = answered.feedback.expect("an answer came");
    assert_eq!(feedback.status, 429);
    assert_eq!(feedback.header("x-ratelimit-scope"), Some("shared"));
    assert_eq!(feedback.body_retry_after, Some(Duration::from_millis(1500)));
    assert!(feedback.body_global);
    assert_eq!(
        feedback.server_time().map(|t| t.to_string()).as_deref(),
        Some("2023-11-14T22:13:20.000Z")
    );
}
