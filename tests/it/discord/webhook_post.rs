//! Posting through a webhook: a post whose outcome is unknown is never called refused or done.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use codeferry::discord::webhook_post::HttpWebhookPost;
use codeferry::ids::{ChannelId, MessageId, WebhookId};
use codeferry::port::webhook::{PostAnswer, WebhookPost};
use codeferry::rate::feedback::HttpFeedback;
use codeferry::secret::WebhookToken;
use serde_json::json as value;

use super::bot::bot_at;
use super::fault_server::{FaultServer, Play, answer, endless_head, head, json};
use super::{TIMEOUT, base_at, check_silent};

const CHANNEL: ChannelId = ChannelId(1_536_340_000_000_000_002);
const WEBHOOK: WebhookId = WebhookId(1_536_343_300_000_000_001);

async fn poster(plays: Vec<Play>) -> (FaultServer, HttpWebhookPost) {
    let server = FaultServer::start(plays).await;
    let poster = poster_at(server.address());
    (server, poster)
}

fn poster_at(address: SocketAddr) -> HttpWebhookPost {
    let (bot, _told) = bot_at(address, true);
    let tokens = BTreeMap::from([(WEBHOOK, WebhookToken::new("CANARY-hook"))]);
    HttpWebhookPost::new(base_at(address), tokens, TIMEOUT, Rc::new(bot)).expect("good settings")
}

async fn posted(play: Play) -> String {
    let server = FaultServer::start(vec![play]).await;
    post_at(server.address()).await.0
}

/// The result of a post to a server, and what the governor learns from it.
pub async fn post_at(address: SocketAddr) -> (String, Option<HttpFeedback>) {
    let poster = poster_at(address);
    let answered = poster.execute(WEBHOOK, &value!({"content": "CANARY"})).await;
    check_silent(&format!("{answered:?}"));
    let name = match answered.outcome {
        PostAnswer::Posted(id) => format!("posted {id}"),
        PostAnswer::NotSent(_) => "not sent".to_owned(),
        PostAnswer::Later(later) => format!("deferred {}", later.after.expect("a wait").as_millis()),
        PostAnswer::Unknown(reason) => format!("unknown {reason}"),
        PostAnswer::Refused { reason, code } => format!("refused {reason} {code}"),
    };
    (name, answered.feedback)
}

#[tokio::test]
async fn a_post_waits_for_its_message_and_carries_no_other_credentials() {
    let (server, poster) = poster(vec![json(200, r#"{"id":"1536343372988416000","odd":{}}"#)]).await;
    let body = value!({"content": "hello", "allowed_mentions": {"parse": []}});
    for _ in 0..2 {
        let answered = poster.execute(WEBHOOK, &body).await;
        assert_eq!(
            answered.outcome,
            PostAnswer::Posted(MessageId(1_536_343_372_988_416_000))
        );
    }
    let seen = server.seen().await;
    assert_eq!(
        seen[0].line,
        "POST /api/v10/webhooks/1536343300000000001/CANARY-hook?wait=true"
    );
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].body, body.to_string());
    assert_eq!(server.connections(), 1);

    let unknown = poster.execute(WebhookId(1), &body).await;
    assert!(matches!(unknown.outcome, PostAnswer::Refused { .. }), "{unknown:?}");
    assert_eq!(server.seen().await.len(), 2);
}

#[tokio::test]
async fn every_other_answer_is_told_apart() {
    let html = "<html>CANARY</html>";
    for (play, expected) in [
        (
            json(404, r#"{"message":"Unknown Webhook","code":10015}"#),
            "refused http_404 10015",
        ),
        (
            json(401, r#"{"message":"Invalid Webhook Token","code":50027}"#),
            "refused http_401 50027",
        ),
        (json(400, r#"{"code":50006}"#), "refused http_400 50006"),
        (json(400, "[]"), "refused http_400 0"),
        (json(429, r#"{"retry_after":41.3,"global":false}"#), "deferred 41300"),
        (answer(429, "text/html", "Retry-After: 12\r\n", html), "deferred 12000"),
        (answer(404, "text/html", "", html), "unknown not_json"),
        (answer(200, "text/html", "", html), "unknown not_json"),
        (answer(204, "", "", ""), "unknown not_json"),
        (json(200, r#"{"id":null}"#), "unknown no_message_id"),
        (answer(502, "", "", ""), "unknown http_502"),
        (
            answer(307, "", "Location: http://127.0.0.1:1/\r\n", ""),
            "unknown http_307",
        ),
        (Play::Reset, "unknown cut_off"),
        (Play::Hang, "unknown timeout"),
        (Play::Drip(head(200, 20)), "unknown timeout"),
        (Play::Flood(endless_head(200), 40), "unknown too_large"),
    ] {
        let shown = format!("{play:?}");
        assert_eq!(posted(play).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn recent_posts_are_read_back_even_where_the_bot_sees_no_content() {
    let page = r#"[
        {"id":"1536343372988416003","webhook_id":"1536343300000000001","embeds":[]},
        {"id":"1536343372988416002","webhook_id":"1536343300000000001",
         "embeds":[{"footer":{"text":"mark-2"}},{"footer":null},{}]},
        {"id":"1536343372988416001","webhook_id":"1536343300000000009","embeds":[{"footer":{"text":"other"}}]},
        {"id":"1536343372988416000","webhook_id":"1536343300000000001","embeds":[{"footer":{"text":"old"}}]}
    ]"#;
    let whole = r#"{"id":"1536343372988416003","embeds":[{"footer":{"text":"mark-3"}}]}"#;
    let (server, poster) = poster(vec![json(200, page), json(200, whole)]).await;
    let posts = poster
        .recent(CHANNEL, WEBHOOK, 1_536_343_372_988_416_000)
        .await
        .expect("posts");
    let read: Vec<_> = posts.iter().map(|p| (p.id.0 % 10, p.footers.join("+"))).collect();
    assert_eq!(read, [(2, "mark-2".to_owned()), (3, "mark-3".to_owned())]);
    let seen = server.seen().await;
    assert_eq!(
        seen[1].line,
        "GET /api/v10/webhooks/1536343300000000001/CANARY-hook/messages/1536343372988416003"
    );
}
