//! The bot's routes: lenient reading, limits, and what an error is taken for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use codeferry::discord::bot::{BotSettings, HttpBotApi};
use codeferry::ids::{ApplicationId, ChannelId, MessageId, UserId, WebhookId};
use codeferry::port::discord::{BotApi, BotError, HistoryPage};
use codeferry::port::later::Later;
use codeferry::rate::feedback::HttpFeedback;
use codeferry::secret::{BotToken, WebhookToken};
use tokio::sync::mpsc;

use tokio::time::Instant;

use super::fault_server::{FaultServer, Play, Seen, answer, endless_head, json};
use super::{TIMEOUT, base_at, check_silent};

const CHANNEL: ChannelId = ChannelId(1_536_340_000_000_000_002);
const WEBHOOK: WebhookId = WebhookId(1_536_343_300_000_000_001);
const MESSAGE: MessageId = MessageId(1_536_343_372_988_416_000);
const GONE: &str = r#"{"message":"Unknown Message","code":10008}"#;

/// A client of a server with these plays, with or without the webhook's token.
async fn bot(plays: Vec<Play>, token: bool) -> (FaultServer, HttpBotApi, mpsc::Receiver<HttpFeedback>) {
    let server = FaultServer::start(plays).await;
    let (api, told) = bot_at(server.address(), token);
    (server, api, told)
}

pub fn bot_at(address: SocketAddr, token: bool) -> (HttpBotApi, mpsc::Receiver<HttpFeedback>) {
    let (feedback, told) = mpsc::channel(100);
    let tokens = token.then(|| (WEBHOOK, WebhookToken::new("CANARY-hook")));
    let settings = BotSettings {
        api_base: base_at(address),
        token: BotToken::new("CANARY.bot"),
        webhook_tokens: BTreeMap::from_iter(tokens),
        timeout: TIMEOUT,
    };
    let api = HttpBotApi::new(settings, feedback).expect("good settings");
    (api, told)
}

/// The result of reading the history from a server, and what the governor learns from it.
pub async fn history_at(address: SocketAddr) -> (String, Option<HttpFeedback>) {
    let (api, mut told) = bot_at(address, false);
    let name = match api.history(CHANNEL, HistoryPage::After(1)).await {
        Ok(messages) => format!("{} messages", messages.len()),
        Err(error) => error_name(&error),
    };
    let mut last = None;
    while let Ok(feedback) = told.try_recv() {
        last = Some(feedback);
    }
    (name, last)
}

async fn failed(play: Play) -> String {
    let (_server, api, _told) = bot(vec![play], false).await;
    error_name(&api.channel(CHANNEL).await.expect_err("a fault"))
}

fn error_name(error: &BotError) -> String {
    check_silent(&format!("{error:?} {error}"));
    match error {
        BotError::Unauthorized => "unauthorized".to_owned(),
        BotError::Forbidden { code } => format!("forbidden {code}"),
        BotError::Refused { code } => format!("refused {code}"),
        BotError::NotFound { code } => format!("not found {code}"),
        BotError::Transient(Later { after, .. }) => format!("transient {:?}", after.map(|d| d.as_millis())),
    }
}

fn lines(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|s| s.line.as_str()).collect()
}

#[tokio::test]
async fn odd_fields_never_hide_a_message() {
    let page = r#"[
        {"id":"1536343372988416000","channel_id":"1536340000000000002","webhook_id":"1536343300000000001",
         "content":"one","timestamp":7,"author":null,"embeds":{"x":1},"new":true},
        {"id":1536343372988416001,"webhook_id":null,"content":null,"type":"odd"},
        {"id":"1536343372988416002","webhook_id":{"a":1},"content":["CANARY"]},
        {"content":"without an id"}, null, 7
    ]"#;
    let (server, api, mut told) = bot(vec![json(200, page)], false).await;
    let messages = api.history(CHANNEL, HistoryPage::After(5)).await.expect("a page");
    let read: Vec<_> = messages
        .iter()
        .map(|m| (m.id.0, m.webhook, m.content.as_str()))
        .collect();
    assert_eq!(
        read,
        [
            (1_536_343_372_988_416_000, Some(WEBHOOK), "one"),
            (1_536_343_372_988_416_001, None, ""),
            (1_536_343_372_988_416_002, None, ""),
        ]
    );
    assert!(messages.iter().all(|m| m.channel == CHANNEL));
    api.history(CHANNEL, HistoryPage::Before(9)).await.expect("a page");
    let seen = server.seen().await;
    assert_eq!(
        lines(&seen),
        [
            "GET /api/v10/channels/1536340000000000002/messages?limit=100&after=5",
            "GET /api/v10/channels/1536340000000000002/messages?limit=100&before=9",
        ]
    );
    assert!(seen.iter().all(|s| s.header("authorization") == Some("Bot CANARY.bot")));
    assert_eq!(server.connections(), 1);
    assert_eq!(told.recv().await.map(|f| f.status), Some(200));
}

#[tokio::test]
async fn the_applications_record_is_read_leniently() {
    let record = r#"{"id":"1536000000000000001","flags":524288,"bot":{"id":"1536000000000000009"},
        "redirect_uris":["https://a.example/x",null],"owner":7}"#;
    let (_server, api, _told) = bot(vec![json(200, record)], false).await;
    let facts = api.application().await.expect("a record");
    assert_eq!(facts.id, ApplicationId(1_536_000_000_000_000_001));
    assert_eq!(facts.bot, UserId(1_536_000_000_000_000_009));
    assert!(facts.message_content);
    assert_eq!(facts.redirect_uris, ["https://a.example/x"]);

    let bare = json(200, r#"{"id":"1536000000000000001","flags":null,"redirect_uris":null}"#);
    let user = json(200, r#"{"id":"1536000000000000009"}"#);
    let (server, api, _told) = bot(vec![bare, user], false).await;
    let facts = api.application().await.expect("a record");
    assert_eq!(facts.bot, UserId(1_536_000_000_000_000_009));
    assert!(!facts.message_content);
    assert_eq!(
        lines(&server.seen().await),
        ["GET /api/v10/applications/@me", "GET /api/v10/users/@me"]
    );
}

#[tokio::test]
async fn errors_decide_only_where_the_api_itself_answered() {
    let html = "<html>CANARY</html>";
    for (play, expected) in [
        (json(401, r#"{"message":"401: Unauthorized","code":0}"#), "unauthorized"),
        (
            json(403, r#"{"message":"Missing Access","code":50001}"#),
            "forbidden 50001",
        ),
        (
            json(404, r#"{"message":"Unknown Channel","code":10003}"#),
            "not found 10003",
        ),
        (json(404, r#"{"code":"odd"}"#), "not found 0"),
        (
            json(403, r#"{"message":"internal network error","code":40333}"#),
            "transient None",
        ),
        (answer(401, "text/html", "", html), "transient None"),
        (answer(403, "text/html", "", html), "transient None"),
        (answer(404, "text/html", "", html), "transient None"),
        (answer(200, "text/html", "", html), "transient None"),
        (json(200, html), "transient None"),
        (json(200, "{}"), "transient None"),
        (json(400, r#"{"code":50035,"message":"CANARY"}"#), "transient None"),
        (answer(503, "", "Retry-After: 9\r\n", ""), "transient Some(9000)"),
        (json(429, r#"{"retry_after":41.5}"#), "transient Some(41500)"),
        (
            Play::Answer(b"HTTP/1.1 429 X\r\nContent-Length: 16\r\n\r\nerror code: 1015".to_vec()),
            "transient Some(60000)",
        ),
        (
            answer(302, "", "Location: http://127.0.0.1:1/CANARY\r\n", ""),
            "transient None",
        ),
        (Play::Reset, "transient None"),
        (Play::Hang, "transient None"),
        (Play::Drip(endless_head(200)), "transient None"),
        (Play::Flood(endless_head(200), 40), "transient None"),
        (
            answer(
                200,
                "application/json",
                "X-RateLimit-Reset-After: -1\r\nX-RateLimit-Limit: many\r\n",
                "{}",
            ),
            "transient None",
        ),
    ] {
        let shown = format!("{play:?}");
        assert_eq!(failed(play).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_short_429_is_waited_out_and_every_answer_is_told() {
    let limited = json(429, r#"{"retry_after":0.3,"global":false}"#);
    let (server, api, mut told) = bot(vec![limited, json(200, "[]")], false).await;
    let began = Instant::now();
    let messages = api.history(CHANNEL, HistoryPage::After(1)).await.expect("a page");
    assert!(messages.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.seen().await.len(), 2);
    let first = told.recv().await.expect("told");
    assert_eq!(
        (first.status, first.body_retry_after),
        (429, Some(Duration::from_millis(300)))
    );
    assert_eq!(told.recv().await.map(|f| f.status), Some(200));
}

#[tokio::test]
async fn a_long_429_closes_its_route_and_a_global_one_closes_all() {
    let closed = [
        (r#"{"retry_after":30,"global":false}"#, 2),
        (r#"{"retry_after":30,"global":true}"#, 1),
    ];
    for (body, requests) in closed {
        let (server, api, _told) = bot(vec![json(429, body), json(200, "[]")], false).await;
        for _ in 0..2 {
            let error = api.history(CHANNEL, HistoryPage::After(1)).await.expect_err("closed");
            assert!(
                matches!(error, BotError::Transient(Later { after: Some(wait), .. }) if wait > Duration::from_secs(25)),
                "{error:?}"
            );
        }
        let other = ChannelId(CHANNEL.0 + 1);
        let elsewhere = api.history(other, HistoryPage::After(1)).await;
        assert_eq!(elsewhere.is_ok(), requests == 2, "{body}");
        assert_eq!(server.seen().await.len(), requests, "{body}");
    }
}

#[tokio::test]
async fn an_exhausted_bucket_is_not_called_before_its_reset() {
    let spent = "X-RateLimit-Limit: 1\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset-After: 0.4\r\n";
    let (_server, api, _told) = bot(vec![answer(200, "application/json", spent, "[]")], false).await;
    let began = Instant::now();
    api.history(CHANNEL, HistoryPage::After(1)).await.expect("a page");
    assert!(began.elapsed() < Duration::from_millis(350));
    api.history(CHANNEL, HistoryPage::After(1)).await.expect("a page");
    assert!(began.elapsed() >= Duration::from_millis(390));
}

#[tokio::test]
async fn a_source_message_is_removed_with_the_webhooks_token_or_as_the_bot() {
    let (server, api, _told) = bot(vec![answer(204, "", "", ""), json(404, GONE)], true).await;
    for _ in 0..2 {
        api.delete_message(CHANNEL, WEBHOOK, MESSAGE).await.expect("gone");
    }
    let seen = server.seen().await;
    let by_webhook = "DELETE /api/v10/webhooks/1536343300000000001/CANARY-hook/messages/1536343372988416000";
    assert_eq!(lines(&seen), [by_webhook, by_webhook]);
    assert!(seen.iter().all(|s| s.header("authorization").is_none()));

    let (server, api, _told) = bot(vec![json(404, GONE)], false).await;
    api.delete_message(CHANNEL, WEBHOOK, MESSAGE).await.expect("gone");
    let as_bot = "DELETE /api/v10/channels/1536340000000000002/messages/1536343372988416000";
    assert_eq!(lines(&server.seen().await), [as_bot]);

    for (status, code) in [(404, 10015), (401, 50027)] {
        let refused = json(status, &format!(r#"{{"message":"x","code":{code}}}"#));
        let (server, api, _told) = bot(vec![refused, answer(204, "", "", "")], true).await;
        api.delete_message(CHANNEL, WEBHOOK, MESSAGE)
            .await
            .expect("removed as the bot");
        assert_eq!(lines(&server.seen().await), [by_webhook, as_bot], "{code}");
    }

    let refused = json(403, r#"{"message":"Missing Permissions","code":50013}"#);
    let (_server, api, _told) = bot(vec![refused], false).await;
    let error = api.delete_message(CHANNEL, WEBHOOK, MESSAGE).await;
    assert_eq!(error, Err(BotError::Forbidden { code: 50013 }));
}

#[tokio::test]
async fn a_webhooks_channel_is_read_and_a_message_is_marked() {
    let record = json(
        200,
        r#"{"id":"1536343300000000001","channel_id":"1536340000000000002"}"#,
    );
    for (token, line) in [
        (true, "GET /api/v10/webhooks/1536343300000000001/CANARY-hook"),
        (false, "GET /api/v10/webhooks/1536343300000000001"),
    ] {
        let (server, api, _told) = bot(vec![record.clone()], token).await;
        assert_eq!(api.webhook_channel(WEBHOOK).await, Ok(CHANNEL));
        assert_eq!(lines(&server.seen().await), [line]);
    }
    let (server, api, _told) = bot(vec![answer(204, "", "", "")], false).await;
    api.react(CHANNEL, MESSAGE).await.expect("marked");
    let seen = server.seen().await;
    assert_eq!(
        lines(&seen),
        ["PUT /api/v10/channels/1536340000000000002/messages/1536343372988416000/reactions/%E2%9C%85/@me"]
    );
    assert_eq!(seen[0].header("content-length"), Some("0"));
}
