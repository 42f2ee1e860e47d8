//! The resource server: what every kind of answer to a fetch is taken for.

use std::net::SocketAddr;
use std::time::Duration;

use codeferry::discord::resources::HttpResourceServer;
use codeferry::ids::{GuildId, UserId};
use codeferry::port::discord::{FetchAnswer, Resource, ResourceServer};
use codeferry::port::later::Later;
use codeferry::rate::feedback::HttpFeedback;
use codeferry::secret::AccessToken;

use tokio::time::Instant;

use super::fault_server::{FaultServer, Play, answer, endless_head, head, json};
use super::{TIMEOUT, base, base_at, check_silent};

const USER: &str = "{\"id\":\"80000000000000001\",\n \"username\":\"CANARY\", \"new_field\": [1.0, null]}\n";

fn client(server: &FaultServer) -> HttpResourceServer {
    client_at(server.address())
}

fn client_at(address: SocketAddr) -> HttpResourceServer {
    let guild = Some(GuildId(1_536_340_000_000_000_001));
    HttpResourceServer::new(&base_at(address), guild, TIMEOUT).expect("good settings")
}

async fn fetched(play: Play, resource: Resource) -> String {
    let server = FaultServer::start(vec![play]).await;
    fetch_at(server.address(), resource).await.0
}

/// The result of a fetch from a server, and what the governor learns from it.
pub async fn fetch_at(address: SocketAddr, resource: Resource) -> (String, Option<HttpFeedback>) {
    let client = client_at(address);
    let answered = client.fetch(&AccessToken::new("CANARY"), resource).await;
    check_silent(&format!("{answered:?}"));
    let name = match answered.outcome {
        FetchAnswer::Data { json, user } => format!("{} {}", user.map_or(0, |id| id.0), json.expose()),
        FetchAnswer::Unauthorized => "unauthorized".to_owned(),
        FetchAnswer::Refused(reason) => format!("refused {reason}"),
        FetchAnswer::Later(Later { after, reason }) => format!("retry {reason} {:?}", after.map(|d| d.as_millis())),
    };
    (name, answered.feedback)
}

#[tokio::test]
async fn each_resource_is_asked_for_with_the_persons_token_over_one_connection() {
    let server = FaultServer::start(vec![json(200, USER), json(200, "[]"), json(200, "[]"), json(200, "{}")]).await;
    let client = client(&server);
    let token = AccessToken::new("CANARY-token");
    for resource in [
        Resource::User,
        Resource::Connections,
        Resource::Guilds,
        Resource::Member,
    ] {
        let answered = client.fetch(&token, resource).await;
        let FetchAnswer::Data { user, .. } = answered.outcome else {
            panic!("{resource:?}: {answered:?}");
        };
        let expected = (resource == Resource::User).then_some(UserId(80_000_000_000_000_001));
        assert_eq!(user, expected);
    }
    let seen = server.seen().await;
    let lines: Vec<_> = seen.iter().map(|s| s.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v10/users/@me",
            "GET /api/v10/users/@me/connections",
            "GET /api/v10/users/@me/guilds",
            "GET /api/v10/users/@me/guilds/1536340000000000001/member",
        ]
    );
    assert!(
        seen.iter()
            .all(|s| s.header("authorization") == Some("Bearer CANARY-token"))
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn data_keeps_unknown_fields_and_stands_on_one_line() {
    assert_eq!(
        fetched(json(200, USER), Resource::User).await,
        r#"80000000000000001 {"id":"80000000000000001","username":"CANARY","new_field":[1.0,null]}"#
    );
}

#[tokio::test]
async fn a_member_without_a_configured_guild_is_refused_unsent() {
    let server = FaultServer::start(vec![json(200, "{}")]).await;
    let client = HttpResourceServer::new(&base(&server), None, Duration::from_secs(1)).expect("good settings");
    let answered = client.fetch(&AccessToken::new("x"), Resource::Member).await;
    assert!(matches!(answered.outcome, FetchAnswer::Refused(_)), "{answered:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn every_other_answer_is_told_apart() {
    let html = "<html>CANARY</html>";
    for (play, expected) in [
        (json(401, r#"{"message":"401: Unauthorized","code":0}"#), "unauthorized"),
        (json(403, r#"{"message":"CANARY","code":50026}"#), "refused http_403"),
        (json(404, r#"{"message":"CANARY","code":10004}"#), "refused http_404"),
        (json(200, r#"{"id":null}"#), "refused wrong_shape"),
        (json(200, r#"{"id":"42"}"#), "refused wrong_shape"),
        (json(200, r#"["80000000000000001"]"#), "refused wrong_shape"),
        (json(200, &USER[..40]), "retry not_json None"),
        (json(200, html), "retry not_json None"),
        (
            json(403, r#"{"message":"internal network error","code":40333}"#),
            "retry blocked_by_edge None",
        ),
        (answer(200, "text/html", "", html), "retry not_json None"),
        (answer(403, "text/html", "", html), "retry not_json None"),
        (answer(404, "text/html", "", html), "retry not_json None"),
        (answer(500, "", "", ""), "retry http_500 None"),
        (answer(503, "", "Retry-After: 3\r\n", ""), "retry http_503 Some(3000)"),
        (json(204, ""), "retry http_204 None"),
        (
            json(429, r#"{"retry_after":0.5,"global":true}"#),
            "retry rate_limited Some(500)",
        ),
        (
            Play::Answer(b"HTTP/1.1 429 X\r\nContent-Length: 16\r\n\r\nerror code: 1015".to_vec()),
            "retry rate_limited Some(60000)",
        ),
        (Play::Reset, "retry cut_off None"),
        (Play::Hang, "retry timeout None"),
        (Play::Drip(head(200, USER.len())), "retry timeout None"),
        (Play::Cut([head(200, 500), USER.into()].concat()), "retry cut_off None"),
        (Play::Flood(endless_head(200), 40), "retry too_large None"),
        (Play::Flood(head(200, 40 << 20), 40), "retry too_large None"),
    ] {
        let shown = format!("{play:?}");
        let began = Instant::now();
        assert_eq!(fetched(play, Resource::User).await, expected, "{shown}");
        assert!(began.elapsed() < Duration::from_secs(2), "{shown}");
    }
}

#[tokio::test]
async fn a_redirect_gets_no_token_elsewhere() {
    let trap = FaultServer::start(vec![json(200, USER)]).await;
    let location = format!("Location: http://{}/users/@me\r\n", trap.address());
    assert_eq!(
        fetched(answer(302, "", &location, ""), Resource::User).await,
        "retry redirect None"
    );
    assert_eq!(trap.connections(), 0);
}
