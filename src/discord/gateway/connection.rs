//! One connection to the gateway: the WebSocket, HELLO, heartbeats, IDENTIFY or RESUME, and what is dispatched
//! ([Discord Docs/Gateway](https://docs.discord.com/developers/events/gateway)).

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{StatusCode, Upgraded};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha1::{Digest, Sha1};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use url::Url;

use crate::http::CallFailure;
use crate::secret::BotToken;

/// For one payload to be taken by the network.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// For the close handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Discord's interval is 41.25 s. Shorter ones would be a busy loop, longer ones a gateway that is never missed.
const HEARTBEATS: std::ops::RangeInclusive<u64> = 100..=120_000;

/// A session that may be gone on with.
#[derive(Clone)]
pub struct Session {
    /// Its id, as READY told it.
    pub id: String,
    /// Where to connect for it.
    pub url: Option<Url>,
    /// The number of the last event.
    pub sequence: u64,
}

/// How a connection ended.
#[derive(Debug)]
pub enum End {
    /// The gateway closed it, with this code.
    Closed(Option<u16>),
    /// The gateway asked for another connection (op 7).
    Moved,
    /// The gateway does not know the session (op 9), or may know it.
    Invalidated {
        /// Whether it may be resumed.
        resumable: bool,
    },
    /// Nothing was heard for too long, or the network failed.
    Lost(Cow<'static, str>),
}

/// What the gateway sends. Only the fields that matter, and the data as it came.
#[derive(Deserialize)]
pub struct Payload<'a> {
    op: u8,
    s: Option<u64>,
    #[serde(borrow)]
    t: Option<Cow<'a, str>>,
    #[serde(borrow)]
    d: Option<&'a RawValue>,
}

impl<'a> Payload<'a> {
    /// Reads a payload's text.
    pub fn read(text: &'a str) -> Option<Self> {
        // serde would read a list as the fields in their order.
        text.trim_start()
            .starts_with('{')
            .then(|| serde_json::from_str(text).ok())
            .flatten()
    }

    /// The name and the data of an event.
    pub fn event(&self) -> Option<(&str, &'a RawValue)> {
        (self.op == 0).then_some(())?;
        Some((self.t.as_deref()?, self.d?))
    }
}

/// Told of each event, by its name and data.
pub trait Events {
    /// An event came.
    fn take(&mut self, kind: &str, data: &RawValue) -> impl Future<Output = ()> + Send;
}

/// An open connection whose gateway has said HELLO.
pub struct Connection {
    socket: WebSocketStream<Upgraded>,
    interval: Duration,
}

impl Connection {
    /// Opens a WebSocket and waits for HELLO; the caller sets the time limit.
    pub async fn open(http: &reqwest::Client, url: &Url) -> Result<Self, Cow<'static, str>> {
        let mut socket = upgrade(http, url).await?;
        let hello = socket.next().await;
        let hello = hello
            .and_then(Result::ok)
            .ok_or("the connection was cut before HELLO")?;
        let interval = hello.as_text().and_then(Payload::read).and_then(|payload| {
            let data: Value = serde_json::from_str(payload.d?.get()).ok()?;
            (payload.op == 10).then_some(data.get("heartbeat_interval")?.as_u64()?)
        });
        let interval = interval
            .filter(|ms| HEARTBEATS.contains(ms))
            .ok_or("the gateway's first payload is not HELLO")?;
        Ok(Self {
            socket,
            interval: Duration::from_millis(interval),
        })
    }

    /// Begins a session.
    pub async fn identify(&mut self, token: &BotToken, intents: u64) -> Result<(), End> {
        let properties = json!({"os": std::env::consts::OS, "browser": "codeferry", "device": "codeferry"});
        let identify = json!({"op": 2, "d": {"token": token.expose(), "intents": intents, "properties": properties,
            "compress": false, "shard": [0, 1]}});
        self.send(&identify).await
    }

    /// Goes on with a session.
    pub async fn resume(&mut self, token: &BotToken, session: &Session) -> Result<(), End> {
        let resume =
            json!({"op": 6, "d": {"token": token.expose(), "session_id": session.id, "seq": session.sequence}});
        self.send(&resume).await
    }

    /// Reads until the connection ends. `session` is kept at what came last.
    pub async fn run(&mut self, session: &mut Option<Session>, events: &mut impl Events) -> End {
        let mut beat = Instant::now() + self.interval.mul_f64(rand::random());
        let mut heard = Instant::now();
        let mut acknowledged = true;
        loop {
            let silent = heard + self.interval.mul_f32(1.5);
            let received = tokio::select! {
                received = timeout_at(silent, self.socket.next()) => received,
                () = sleep_until(beat) => {
                    if !acknowledged {
                        return End::Lost("a heartbeat was not acknowledged".into());
                    }
                    if let Err(end) = self.beat(session.as_ref()).await {
                        return end;
                    }
                    acknowledged = false;
                    beat = Instant::now() + self.interval;
                    continue;
                }
            };
            let Ok(received) = received else {
                return End::Lost("nothing was received for one and a half heartbeats".into());
            };
            let message = match received {
                Some(Ok(message)) => message,
                Some(Err(_)) => return End::Lost("the connection was cut".into()),
                None => return End::Closed(None),
            };
            heard = Instant::now();
            if let Some((code, _)) = message.as_close() {
                // 1005 and 1006 stand for a frame without a code (RFC 6455 section 7.4.1).
                let code = Some(u16::from(code)).filter(|code| !matches!(code, 1005 | 1006));
                // No answer: a close frame of ours with 1000 would end the session.
                return End::Closed(code);
            }
            let Some(text) = message.as_text() else {
                continue;
            };
            let Some(payload) = Payload::read(text) else {
                tracing::warn!("a payload of the gateway could not be read");
                continue;
            };
            if let (Some(session), Some(sequence)) = (session.as_mut(), payload.s) {
                session.sequence = sequence;
            }
            match payload.op {
                0 => {
                    if let Some((kind, data)) = payload.event() {
                        if kind == "READY" {
                            *session = begun(data, payload.s);
                        }
                        events.take(kind, data).await;
                    }
                }
                1 => {
                    if let Err(end) = self.beat(session.as_ref()).await {
                        return end;
                    }
                }
                7 => return End::Moved,
                9 => {
                    let resumable = payload.d.is_some_and(|data| data.get() == "true");
                    return End::Invalidated { resumable };
                }
                11 => acknowledged = true,
                _ => {}
            }
        }
    }

    /// Ends the session and the connection.
    pub async fn close(mut self) {
        let close = async {
            let code = tokio_websockets::CloseCode::NORMAL_CLOSURE;
            if self.socket.send(Message::close(Some(code), "")).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        let _ = timeout(CLOSE_TIMEOUT, close).await;
    }

    async fn beat(&mut self, session: Option<&Session>) -> Result<(), End> {
        self.send(&json!({"op": 1, "d": session.map(|s| s.sequence)})).await
    }

    async fn send(&mut self, payload: &Value) -> Result<(), End> {
        match timeout(SEND_TIMEOUT, self.socket.send(Message::text(payload.to_string()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Lost("the connection was cut".into())),
            Err(_) => Err(End::Lost("sending timed out".into())),
        }
    }
}

/// What READY tells that a later RESUME needs.
fn begun(data: &RawValue, sequence: Option<u64>) -> Option<Session> {
    let ready: Value = serde_json::from_str(data.get()).ok()?;
    let url = ready.get("resume_gateway_url").and_then(Value::as_str);
    Some(Session {
        id: ready.get("session_id")?.as_str()?.to_owned(),
        url: url.and_then(|url| Url::parse(url).ok()),
        sequence: sequence.unwrap_or(0),
    })
}

/// The opening handshake (RFC 6455 section 4.1), by the client of every other call: its roots, its proxy and its
/// time limits hold here too.
async fn upgrade(http: &reqwest::Client, url: &Url) -> Result<WebSocketStream<Upgraded>, Cow<'static, str>> {
    let mut url = url.clone();
    let scheme = if url.scheme() == "wss" { "https" } else { "http" };
    url.set_scheme(scheme)
        .map_err(|()| "the gateway's address is not a WebSocket URL")?;
    url.set_query(Some("v=10&encoding=json"));
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let asked = http
        .get(url)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, &key);
    let failed = |e| format!("the gateway cannot be reached: {}", CallFailure::from(e));
    let response = asked.send().await.map_err(failed)?;
    let accepted = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let told = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS || told.is_none_or(|told| told != &accepted) {
        return Err(format!(
            "the gateway answered {} instead of a WebSocket",
            response.status().as_u16()
        )
        .into());
    }
    let stream = response.upgrade().await.map_err(|_| "the connection was cut")?;
    Ok(ClientBuilder::new().take_over(stream))
}
