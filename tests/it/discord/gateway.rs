//! The gateway session against a stub that breaks off in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use codeferry::discord::api_base::ApiBase;
use codeferry::discord::bot::{BotSettings, HttpBotApi};
use codeferry::discord::gateway::{GatewaySession, GatewaySettings};
use codeferry::ids::ChannelId;
use codeferry::port::discord::{BotError, GatewayNote};
use codeferry::secret::BotToken;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::check_silent;
use super::fault_server::{FaultServer, Play, answer, closed_port, json as told};
use super::gateway_stub::{GatewayStub, Order};

const CHANNEL: u64 = 1_536_340_000_000_000_002;
const BOUND: Duration = Duration::from_secs(4);

fn api(address: SocketAddr) -> HttpBotApi {
    let settings = BotSettings {
        api_base: ApiBase::parse(&format!("http://{address}/api/v10")).expect("loopback"),
        token: BotToken::new("CANARY.bot"),
        webhook_tokens: BTreeMap::new(),
        timeout: Duration::from_secs(2),
    };
    HttpBotApi::new(settings, mpsc::channel(10).0).expect("good settings")
}

fn settings(message_content: bool) -> GatewaySettings {
    GatewaySettings {
        token: BotToken::new("CANARY.bot"),
        channels: BTreeSet::from([ChannelId(CHANNEL)]),
        message_content,
        commands: None,
    }
}

async fn session(stub: &GatewayStub, room: usize) -> (GatewaySession, mpsc::Receiver<GatewayNote>) {
    let (sender, notes) = mpsc::channel(room);
    let session = GatewaySession::start(&api(stub.address()), settings(false), sender).await;
    (session.expect("the stub is there"), notes)
}

async fn next(notes: &mut mpsc::Receiver<GatewayNote>) -> GatewayNote {
    timeout(BOUND, notes.recv())
        .await
        .expect("a note in time")
        .expect("the session lives")
}

#[track_caller]
fn check_note(note: &GatewayNote, expected: &str) {
    let shown = format!("{note:?}");
    assert!(shown.starts_with(expected), "{shown} is not {expected}");
    check_silent(&shown);
}

async fn until_ready(stub: &mut GatewayStub, notes: &mut mpsc::Receiver<GatewayNote>) -> Value {
    let identify = timeout(BOUND, stub.payload(2)).await.expect("an IDENTIFY in time");
    check_note(&next(notes).await, "Ready");
    identify
}

fn message(channel: u64, content: &str) -> Value {
    json!({"id": "1536343372988416000", "channel_id": channel.to_string(), "content": content,
        "webhook_id": "1536343300000000001", "embeds": "odd on purpose"})
}

#[tokio::test]
async fn a_session_brings_the_messages_of_watched_channels() {
    let mut stub = GatewayStub::start();
    let (session, mut notes) = session(&stub, 100).await;
    let identify = until_ready(&mut stub, &mut notes).await;
    assert_eq!(identify["intents"], 513);
    assert!(identify["token"].as_str().is_some_and(|t| t.ends_with("CANARY.bot")));

    stub.dispatch(2, "MESSAGE_CREATE", &message(CHANNEL + 1, "CANARY elsewhere"));
    stub.dispatch(3, "MESSAGE_CREATE", &json!({"content": "CANARY"}));
    let GatewayNote::Unparsed(kind) = next(&mut notes).await else {
        panic!("not unparsed");
    };
    assert_eq!(kind, "MESSAGE_CREATE");
    stub.dispatch(4, "MESSAGE_CREATE", &message(CHANNEL, "CANARY here"));
    let note = next(&mut notes).await;
    check_note(&note, "Message");
    let GatewayNote::Message(message) = note else {
        panic!("no message");
    };
    assert_eq!(message.content, "CANARY here");
    assert_eq!(message.webhook.map(|w| w.0), Some(1_536_343_300_000_000_001));

    let began = Instant::now();
    session.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(timeout(BOUND, stub.close()).await.expect("a close frame"), Some(1000));
    assert!(notes.recv().await.is_none(), "nothing is left behind");
}

#[tokio::test]
async fn message_content_is_asked_for_where_told() {
    let mut stub = GatewayStub::start();
    let (sender, mut notes) = mpsc::channel(10);
    let session = GatewaySession::start(&api(stub.address()), settings(true), sender).await;
    let identify = until_ready(&mut stub, &mut notes).await;
    assert_eq!(identify["intents"], 33_281);
    session.expect("started").shutdown().await;
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_session() {
    for code in [4004, 4013, 4014] {
        let stub = GatewayStub::start();
        stub.refuse_identify(code);
        let (session, mut notes) = session(&stub, 10).await;
        let note = next(&mut notes).await;
        assert!(matches!(note, GatewayNote::Fatal { code: c } if c == code), "{note:?}");
        assert!(timeout(BOUND, notes.recv()).await.expect("it ends").is_none());
        let began = Instant::now();
        session.shutdown().await;
        assert!(began.elapsed() < Duration::from_millis(500));
    }
}

#[tokio::test]
async fn a_code_that_forbids_a_reconnect_leaves_the_history_and_says_so() {
    for (code, meaning) in [
        (4010, "invalid shard"),
        (4011, "2,500 servers"),
        (4012, "invalid API version"),
    ] {
        let mut stub = GatewayStub::start();
        let (session, mut notes) = session(&stub, 10).await;
        until_ready(&mut stub, &mut notes).await;
        stub.order(Order::Close(Some(code)));
        let GatewayNote::HistoryOnly(why) = next(&mut notes).await else {
            panic!("{code} is not told");
        };
        assert!(why.contains(&code.to_string()) && why.contains(meaning), "{why}");
        assert!(timeout(BOUND, notes.recv()).await.expect("it ends").is_none());
        session.shutdown().await;
    }
}

#[tokio::test]
async fn a_session_that_timed_out_is_begun_anew_and_other_codes_resume_it() {
    let mut stub = GatewayStub::start();
    let address = stub.address();
    stub.behave(|b| b.resume_url = format!("ws://{address}/socket"));
    let (session, mut notes) = session(&stub, 10).await;
    until_ready(&mut stub, &mut notes).await;
    for code in [4000, 4008] {
        stub.order(Order::Close(Some(code)));
        timeout(BOUND, stub.payload(6)).await.expect("a RESUME in time");
        while !matches!(next(&mut notes).await, GatewayNote::Resumed) {}
    }
    stub.order(Order::Close(Some(4009)));
    check_note(&next(&mut notes).await, "Disconnected");
    timeout(Duration::from_secs(9), stub.payload(2))
        .await
        .expect("an IDENTIFY in time");
    check_note(&next(&mut notes).await, "Ready");
    session.shutdown().await;
}

#[tokio::test]
async fn a_dropped_connection_is_resumed_without_a_new_identify() {
    let mut stub = GatewayStub::start();
    let (session, mut notes) = session(&stub, 10).await;
    until_ready(&mut stub, &mut notes).await;
    for order in [
        Order::Drop,
        Order::Send(json!({"op": 7, "d": null}).to_string()),
        Order::Send(json!({"op": 9, "d": true}).to_string()),
        Order::Close(None),
    ] {
        stub.order(order);
        let resume = timeout(BOUND, stub.payload(6)).await.expect("a RESUME in time");
        assert_eq!(resume["session_id"], "0123456789abcdef");
        // Nobody listens where READY said that sessions are resumed.
        check_note(&next(&mut notes).await, "Disconnected");
        check_note(&next(&mut notes).await, "Resumed");
    }
    let began = Instant::now();
    session.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_session_is_resumed_where_ready_says() {
    let (mut stub, mut elsewhere) = (GatewayStub::start(), GatewayStub::start());
    stub.behave(|b| b.resume_url = format!("ws://{}/socket", elsewhere.address()));
    let (session, mut notes) = session(&stub, 10).await;
    until_ready(&mut stub, &mut notes).await;
    stub.order(Order::Drop);
    let resume = timeout(BOUND, elsewhere.payload(6)).await.expect("a RESUME in time");
    assert_eq!(resume["seq"], 1);
    check_note(&next(&mut notes).await, "Resumed");
    session.shutdown().await;
}

#[tokio::test]
async fn a_gateway_that_accepts_and_says_nothing_is_left_and_asked_again() {
    let mut stub = GatewayStub::start();
    let (session, mut notes) = session(&stub, 10).await;
    until_ready(&mut stub, &mut notes).await;
    stub.behave(|b| b.silent = true);
    stub.order(Order::Send(json!({"op": 7, "d": null}).to_string()));
    check_note(&next(&mut notes).await, "Disconnected");
    let note = timeout(Duration::from_secs(25), notes.recv()).await;
    check_note(
        &note.expect("given up in time").expect("the session lives"),
        "Disconnected",
    );
    stub.behave(|b| b.silent = false);
    timeout(Duration::from_secs(20), stub.payload(2))
        .await
        .expect("an IDENTIFY in time");
    check_note(&next(&mut notes).await, "Ready");
    session.shutdown().await;
}

#[tokio::test]
async fn a_gateway_that_falls_silent_is_left_after_one_and_a_half_heartbeats() {
    let mut stub = GatewayStub::start();
    stub.behave(|b| b.heartbeat_ms = 400);
    let (session, mut notes) = session(&stub, 10).await;
    until_ready(&mut stub, &mut notes).await;
    timeout(BOUND, stub.payload(1)).await.expect("a heartbeat in time");
    timeout(BOUND, stub.payload(1))
        .await
        .expect("another, since the first was acknowledged");
    let began = Instant::now();
    stub.order(Order::Deafen);
    timeout(BOUND, stub.payload(6)).await.expect("a RESUME in time");
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    session.shutdown().await;
}

#[tokio::test]
async fn below_fifty_sessions_left_none_is_begun_until_the_reset() {
    let mut stub = GatewayStub::start();
    stub.behave(|b| b.starts_left = 49);
    let (session, mut notes) = session(&stub, 10).await;
    let GatewayNote::HistoryOnly(why) = next(&mut notes).await else {
        panic!("it is not told");
    };
    assert!(why.starts_with("49 "), "{why}");
    let identify = timeout(Duration::from_secs(1), stub.payload(2)).await;
    assert!(identify.is_err(), "an IDENTIFY left");
    session.shutdown().await;
}

#[tokio::test]
async fn an_invalidated_session_identifies_anew_five_seconds_later() {
    let mut stub = GatewayStub::start();
    let (session, mut notes) = session(&stub, 10).await;
    until_ready(&mut stub, &mut notes).await;
    let began = Instant::now();
    stub.order(Order::Send(json!({"op": 9, "d": false}).to_string()));
    check_note(&next(&mut notes).await, "Disconnected");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let note = timeout(Duration::from_secs(7), notes.recv()).await.expect("in time");
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
    check_note(&note.expect("the session lives"), "Ready");
    session.shutdown().await;
}

#[tokio::test]
async fn hints_are_dropped_and_counted_when_nobody_reads() {
    let mut stub = GatewayStub::start();
    let (session, mut notes) = session(&stub, 2).await;
    until_ready(&mut stub, &mut notes).await;
    for n in 0..10 {
        stub.dispatch(2 + n, "MESSAGE_CREATE", &message(CHANNEL, "x"));
    }
    timeout(BOUND, async {
        while session.dropped() < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("eight of ten find no room");
    session.shutdown().await;
}

#[tokio::test]
async fn without_an_address_from_the_configured_api_nothing_is_connected() {
    let html = "<html>CANARY</html>";
    for play in [
        told(500, "{}"),
        told(404, r#"{"message":"x","code":0}"#),
        answer(200, "text/html", "", html),
        told(200, "{}"),
        told(200, r#"{"url":null}"#),
        told(200, r#"{"url":"gateway"}"#),
        told(200, r#"{"url":"ws://gateway.discord.gg"}"#),
        told(200, r#"{"url":"https://127.0.0.1/CANARY"}"#),
        Play::Reset,
        Play::Hang,
    ] {
        let shown = format!("{play:?}");
        let server = FaultServer::start(vec![play]).await;
        check_refused(server.address(), &shown).await;
        assert_eq!(server.seen().await[0].line, "GET /api/v10/gateway/bot");
    }
    check_refused(closed_port().await, "nobody there").await;
    let server = FaultServer::start(vec![told(401, r#"{"message":"401: Unauthorized","code":0}"#)]).await;
    let error = check_refused(server.address(), "401").await;
    assert_eq!(error, BotError::Unauthorized);
}

async fn check_refused(address: SocketAddr, case: &str) -> BotError {
    let (sender, mut notes) = mpsc::channel(10);
    let started = GatewaySession::start(&api(address), settings(false), sender).await;
    let Err(error) = started else {
        panic!("started with {case}");
    };
    check_silent(&format!("{error:?} {error}"));
    assert!(notes.recv().await.is_none(), "{case}");
    error
}

#[tokio::test]
async fn a_gateway_that_cannot_be_reached_is_reported_and_left_quickly() {
    let nobody = closed_port().await;
    let server = FaultServer::start(vec![told(200, &format!(r#"{{"url":"ws://{nobody}"}}"#))]).await;
    let (sender, mut notes) = mpsc::channel(10);
    let session = GatewaySession::start(&api(server.address()), settings(false), sender).await;
    check_note(
        &next(&mut notes).await,
        "Disconnected(\"the gateway cannot be reached: the connection could not be opened: ",
    );
    let began = Instant::now();
    session.expect("started").shutdown().await;
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(notes.recv().await.is_none());
}
