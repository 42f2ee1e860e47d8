//! The callback's way out.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use codeferry::delivery::http::{HttpReply, HttpSink};
use codeferry::http::{CallFailure, Unsent};
use codeferry::secret::CallbackSecret;
use codeferry::time::SystemClock;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt as _;

use super::TIMEOUT;
use super::fault_server::{FaultServer, Play, answer, closed_port, endless_head};
use crate::patience::Finish as _;
use crate::service::tls::acceptor;

fn sink(url: &str) -> HttpSink {
    let secret = CallbackSecret::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
    let url = url.parse().expect("a URL");
    HttpSink::new(url, &secret, TIMEOUT, Arc::new(SystemClock)).expect("good settings")
}

async fn posted(play: Play) -> Result<HttpReply, CallFailure> {
    let server = FaultServer::start(vec![play]).await;
    let url = format!("http://{}/hook?x=1", server.address());
    sink(&url).post(&[], "{}").await
}

/// The result of a post to a URL.
pub async fn post_to(url: &str) -> String {
    match sink(url).post(&[], r#"{"user":"CANARY"}"#).await {
        Ok(reply) => format!("{} {:?}", reply.status, reply.retry_after.map(|d| d.as_millis())),
        Err(CallFailure::NotSent(_)) => "not sent".to_owned(),
        Err(_) => "unknown".to_owned(),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside answers in assertions")]
fn status(status: u16) -> Result<HttpReply, CallFailure> {
    Ok(HttpReply {
        status,
        retry_after: None,
    })
}

#[tokio::test]
async fn a_callback_is_posted_as_it_was_signed() {
    let server = FaultServer::start(vec![answer(204, "", "", "")]).await;
    let url = format!("http://{}/hook?x=1", server.address());
    let headers = [
        ("webhook-id", "01".to_owned()),
        ("webhook-signature", "v1,x".to_owned()),
    ];
    let body = r#"{"id": "01"}"#;
    let sink = sink(&url);
    for _ in 0..2 {
        assert_eq!(sink.post(&headers, body).await, status(204));
    }
    let seen = server.seen().await;
    assert_eq!(seen[0].line, "POST /hook?x=1");
    assert_eq!(seen[0].body, body);
    assert_eq!(seen[0].header("webhook-id"), Some("01"));
    assert_eq!(seen[0].header("webhook-signature"), Some("v1,x"));
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn every_other_answer_is_told_apart() {
    for (play, expected) in [
        (answer(500, "text/html", "", "<html>"), status(500)),
        (answer(302, "", "Location: http://127.0.0.1:1/\r\n", ""), status(302)),
        (Play::Flood(endless_head(200), 40), status(200)),
        (
            answer(503, "", "Retry-After: 90\r\n", ""),
            Ok(HttpReply {
                status: 503,
                retry_after: Some(Duration::from_secs(90)),
            }),
        ),
        (
            answer(503, "", "Retry-After: Tue, 14 Nov 2023 22:13:20 GMT\r\n", ""),
            status(503),
        ),
        (Play::Reset, Err(CallFailure::Cut)),
        (Play::Hang, Err(CallFailure::TimedOut)),
        (Play::Cut(b"HTTP/1.1 20".to_vec()), Err(CallFailure::Cut)),
    ] {
        let shown = format!("{play:?}");
        assert_eq!(posted(play).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn a_connection_that_was_never_opened_says_why() {
    let closed = closed_port().await;
    let check = async |url: &str, want: Unsent| {
        assert_eq!(
            sink(url).post(&[], "{}").await,
            Err(CallFailure::NotSent(want)),
            "{url}"
        );
    };
    check(&format!("http://{closed}/"), Unsent::Refused).await;
    check("https://codeferry.invalid/", Unsent::Dns).await;
    check("file:///etc/passwd", Unsent::Other).await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = plain.local_addr().expect("its address");
    let speak = async {
        let (mut connection, _) = plain.accept().await.expect("a client");
        let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection
    };
    let url = format!("https://{address}/");
    tokio::join!(speak, check(&url, Unsent::Tls));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_told_apart_from_other_tls() {
    let acceptor = acceptor();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}/", listener.local_addr().expect("its address"));
    let serve = async {
        let (connection, _) = listener.accept().await.expect("a client");
        acceptor.accept(connection).await.map(|_| ())
    };
    let sink = sink(&url);
    let (served, posted) = tokio::join!(serve, sink.post(&[], "{}"));
    assert!(served.is_err(), "the client goes on with it");
    assert_eq!(posted, Err(CallFailure::NotSent(Unsent::UnknownCa)));
}

const NO_FILES: &str = "CODEFERRY_TEST_NO_FILES";

/// Not a test by itself: what the test below starts, since the limit is the process's.
#[tokio::test]
async fn without_descriptors() {
    let Ok(url) = std::env::var(NO_FILES) else { return };
    let sink = sink(&url);
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(200);
    setrlimit(Resource::Nofile, limit).expect("it may be lowered");
    let open: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let posted = sink.post(&[], "{}").await;
    drop(open);
    println!("\nPOSTED {posted:?}");
}

#[tokio::test]
async fn a_process_without_descriptors_says_so() {
    let server = FaultServer::start(vec![answer(204, "", "", "")]).await;
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "discord::callback_post::without_descriptors", "--nocapture"])
        .env(NO_FILES, format!("http://{}/", server.address()))
        .finish();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("POSTED Err(NotSent(TooManyFiles))"), "{said}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_apart_from_a_network_that_is_down() {
    let through = async |play: Option<Play>| {
        let server = FaultServer::start(play.into_iter().collect()).await;
        let proxy = reqwest::Proxy::all(format!("http://{}", server.address())).expect("an address");
        let client = reqwest::Client::builder().proxy(proxy).build().expect("a client");
        let error = client
            .get("https://discord.com/")
            .send()
            .await
            .expect_err("no way through");
        CallFailure::from(error)
    };
    let forbidden = through(Some(answer(403, "", "", ""))).await;
    assert_eq!(forbidden, CallFailure::NotSent(Unsent::Proxy));
    assert_eq!(forbidden.name(), "proxy_refused");
}
