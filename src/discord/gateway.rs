//! The gateway session. It only brings hints, and connects nowhere but where the configured API and the gateway itself
//! point.
//!
//! A connection that ends is followed by one that resumes the session: first at the address that READY named, then at
//! the API's. Only if both fail is a session begun anew, and only while Discord has sessions left for this bot: a
//! thousand are allowed a day, after one more Discord resets the bot's token. Below [`KEPT_STARTS`], and after a close
//! code that forbids it, nothing is begun: codes then come from the history alone.

pub mod close_code;
pub mod connection;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use self::close_code::{CloseCode, WayOut, look_up};
use self::connection::{Connection, End, Events, Session};
use super::bot::HttpBotApi;
use super::bot_call::{Call, Caller, Route, odd};
use super::gateway_event;
use crate::http;
use crate::ids::ChannelId;
use crate::port::contact::CommandUse;
use crate::port::discord::{BotError, GatewayNote};
use crate::rate::gateway_pace::Pace;
use crate::secret::BotToken;

/// For TCP, TLS, the WebSocket's handshake and HELLO.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// For the session to end when it is told to.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(2500);
/// So many of the day's sessions are left to the bot's other programs, and to a restart by hand.
const KEPT_STARTS: u64 = 50;
/// `GUILDS`, `GUILD_MESSAGES`.
const INTENTS: u64 = 1 << 0 | 1 << 9;
const MESSAGE_CONTENT: u64 = 1 << 15;

/// What a session is made from.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// The bot's token.
    pub token: BotToken,
    /// The channels whose messages pass.
    pub channels: BTreeSet<ChannelId>,
    /// Whether to ask for `MESSAGE_CONTENT`; without the portal's leave the gateway closes with 4014.
    pub message_content: bool,
    /// Who hears of slash commands; dropped where that is full, for they are answered within 3 s or not at all.
    pub commands: Option<mpsc::Sender<CommandUse>>,
}

/// A running session. Dropping it ends it without waiting.
pub struct GatewaySession {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
    dropped: Arc<AtomicU64>,
}

impl GatewaySession {
    /// Asks the API where the gateway is, refuses on any error, and starts the session there.
    ///
    /// Message notes are dropped where `notes` is full: the history has them. The session ends by itself after a
    /// [`GatewayNote::Fatal`] and when `notes` is closed.
    pub async fn start(
        api: &HttpBotApi,
        settings: GatewaySettings,
        notes: mpsc::Sender<GatewayNote>,
    ) -> Result<Self, BotError> {
        let caller = Arc::clone(api.caller());
        let place = Place::ask(&caller).await?;
        let (stop, stopped) = watch::channel(false);
        let (ending, ended) = oneshot::channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let gateway = Gateway {
            caller,
            intents: if settings.message_content {
                INTENTS | MESSAGE_CONTENT
            } else {
                INTENTS
            },
            token: settings.token,
            notes: notes.clone(),
            listener: Forwarder {
                notes,
                channels: settings.channels,
                commands: settings.commands,
                dropped: Arc::clone(&dropped),
                working: false,
            },
            session: None,
            failed_resumes: 0,
            pace: Pace::default(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "`stop` ends it, and so does the drop of its sender"
        )]
        tokio::spawn(async move {
            gateway.supervise(place, stopped).await;
            let _ = ending.send(());
        });
        Ok(Self { stop, ended, dropped })
    }

    /// Message notes dropped so far because the listener was behind.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Closes the connection and waits for that, 2.5 s at most.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if timeout(SHUTDOWN_TIMEOUT, self.ended).await.is_err() {
            tracing::debug!("the gateway connection did not close in time and was abandoned");
        }
    }
}

/// Where the gateway is, and how many sessions may still be begun.
struct Place {
    url: Url,
    /// `None` where the API does not tell.
    starts_left: Option<u64>,
    /// Until the count begins anew.
    reset_after: Duration,
}

impl Place {
    /// `GET /gateway/bot`; where an API has no such route, `GET /gateway`.
    async fn ask(caller: &Caller) -> Result<Self, BotError> {
        let call = |path| Call::as_bot(Method::GET, Route("gateway", 0), path);
        let answer = match caller.json(call("/gateway/bot")).await {
            Err(BotError::NotFound { .. }) => caller.json(call("/gateway")).await?,
            answer => answer?,
        };
        let url = answer.get("url").and_then(Value::as_str).unwrap_or_default();
        let url = Url::parse(url).map_err(|_| odd("`GET /gateway/bot` named no URL"))?;
        let url = checked(url)
            .ok_or_else(|| odd("`GET /gateway/bot` named an address that is neither `wss` nor on this machine"))?;
        let limit = |field: &str| answer.get("session_start_limit")?.get(field)?.as_u64();
        Ok(Self {
            url,
            starts_left: limit("remaining"),
            reset_after: Duration::from_millis(limit("reset_after").unwrap_or(0)),
        })
    }
}

/// `wss` anywhere, since the API named it over TLS; plain `ws` on this machine only.
fn checked(mut url: Url) -> Option<Url> {
    let fine = match url.scheme() {
        "wss" => url.has_host(),
        "ws" => http::is_loopback(&url),
        _ => false,
    };
    url.set_query(None);
    url.set_fragment(None);
    fine.then_some(url)
}

/// What is decided between connections.
struct Gateway {
    caller: Arc<Caller>,
    token: BotToken,
    intents: u64,
    notes: mpsc::Sender<GatewayNote>,
    listener: Forwarder,
    session: Option<Session>,
    failed_resumes: u32,
    pace: Pace,
}

/// Nobody reads the notes any more, or the session is over.
struct Over;

impl Gateway {
    async fn supervise(mut self, place: Place, mut stopped: watch::Receiver<bool>) {
        let mut place = Some(place);
        loop {
            let connection = tokio::select! {
                connection = self.connect(&mut place) => connection,
                _ = stopped.changed() => return,
            };
            let mut connection = match connection {
                Ok(Some(connection)) => connection,
                Ok(None) => continue,
                Err(Over) => return,
            };
            let end = tokio::select! {
                end = connection.run(&mut self.session, &mut self.listener) => end,
                _ = stopped.changed() => return connection.close().await,
            };
            drop(connection);
            if self.take_end(end).await.is_err() {
                return;
            }
        }
    }

    /// Waits until a connection may be made, makes it, and says who we are. `None` if that failed.
    async fn connect(&mut self, place: &mut Option<Place>) -> Result<Option<Connection>, Over> {
        if let Some(session) = self.session.clone() {
            sleep(self.pace.wait_to_resume(Instant::now())).await;
            let named = session
                .url
                .clone()
                .and_then(checked)
                .filter(|_| self.failed_resumes == 0);
            let url = match named {
                Some(url) => url,
                None => match self.place(place).await? {
                    Some(place) => place.url,
                    None => return Ok(None),
                },
            };
            self.pace.trying(Instant::now());
            return match self.open(&url).await {
                Ok(mut connection) => match connection.resume(&self.token, &session).await {
                    Ok(()) => Ok(Some(connection)),
                    Err(end) => self.take_end(end).await.map(|()| None),
                },
                Err(why) => self.take_end(End::Lost(why)).await.map(|()| None),
            };
        }
        sleep(self.pace.wait_to_begin(Instant::now())).await;
        let Some(place) = self.place(place).await? else {
            return Ok(None);
        };
        if place.starts_left.is_some_and(|left| left < KEPT_STARTS) {
            let left = place.starts_left.unwrap_or(0);
            let why = format!("{left} gateway sessions are left of those that Discord allows the bot in a day");
            self.tell(GatewayNote::HistoryOnly(why)).await?;
            sleep(place.reset_after.max(Duration::from_mins(1))).await;
            return Ok(None);
        }
        match self.open(&place.url).await {
            Ok(mut connection) => {
                self.pace.identifying(Instant::now());
                match connection.identify(&self.token, self.intents).await {
                    Ok(()) => Ok(Some(connection)),
                    Err(end) => self.take_end(end).await.map(|()| None),
                }
            }
            Err(why) => {
                self.pace.trying(Instant::now());
                self.tell(GatewayNote::Disconnected(why)).await.map(|()| None)
            }
        }
    }

    async fn open(&self, url: &Url) -> Result<Connection, Cow<'static, str>> {
        let opened = timeout(CONNECT_TIMEOUT, Connection::open(self.caller.http(), url)).await;
        opened.unwrap_or(Err("the gateway did not answer within 20 s".into()))
    }

    /// What the start already asked, or what the API says now.
    async fn place(&mut self, first: &mut Option<Place>) -> Result<Option<Place>, Over> {
        if let Some(first) = first.take() {
            return Ok(Some(first));
        }
        match Place::ask(&self.caller).await {
            Ok(place) => Ok(Some(place)),
            Err(error) => {
                self.pace.trying(Instant::now());
                let why = format!("cannot get the gateway's address from Discord: {error}");
                self.tell(GatewayNote::Disconnected(why.into())).await?;
                Ok(None)
            }
        }
    }

    /// Decides what follows the end of a connection, and says so.
    async fn take_end(&mut self, end: End) -> Result<(), Over> {
        let (why, way_out) = match end {
            End::Closed(code) => {
                let known = look_up(code);
                if code == Some(4014) && self.intents & MESSAGE_CONTENT != 0 {
                    // The switch in the portal was turned off since we asked for the flags. The mention is enough to
                    // read a code, so the session goes on without the content of other messages.
                    self.intents &= !MESSAGE_CONTENT;
                    tracing::warn!(
                        "the gateway refused MESSAGE_CONTENT (close code 4014): messages are read by their mention of the bot"
                    );
                    (known.meaning.into(), WayOut::Begin)
                } else if matches!(known.way_out, WayOut::History | WayOut::Stop) {
                    return self.give_up(known).await;
                } else {
                    (known.meaning.into(), known.way_out)
                }
            }
            End::Moved => ("the gateway asked for a new connection".into(), WayOut::Resume),
            End::Invalidated { resumable: true } => ("the gateway interrupted the session".into(), WayOut::Resume),
            End::Invalidated { resumable: false } => ("the gateway ended the session".into(), WayOut::Begin),
            End::Lost(why) => (why, WayOut::Resume),
        };
        if self.listener.resumed_or_ready() {
            self.pace.worked();
            self.failed_resumes = 0;
        } else {
            self.failed_resumes += 1;
        }
        if way_out == WayOut::Begin || self.failed_resumes >= 2 {
            self.session = None;
        }
        if self.session.is_some() && self.failed_resumes == 0 {
            tracing::info!(%why, "the gateway disconnected: resuming the session");
            return Ok(());
        }
        self.tell(GatewayNote::Disconnected(why)).await
    }

    async fn give_up(&self, known: &'static CloseCode) -> Result<(), Over> {
        let note = match known.way_out {
            WayOut::Stop => GatewayNote::Fatal { code: known.code },
            _ => GatewayNote::HistoryOnly(format!(
                "the gateway closed the session (close code {}: {}); {}",
                known.code, known.meaning, known.cure
            )),
        };
        let _ = self.tell(note).await;
        Err(Over)
    }

    async fn tell(&self, note: GatewayNote) -> Result<(), Over> {
        self.notes.send(note).await.map_err(|_| Over)
    }
}

/// Turns events into notes.
struct Forwarder {
    notes: mpsc::Sender<GatewayNote>,
    channels: BTreeSet<ChannelId>,
    commands: Option<mpsc::Sender<CommandUse>>,
    dropped: Arc<AtomicU64>,
    /// Whether the session was begun or resumed on the connection under way.
    working: bool,
}

impl Forwarder {
    /// Whether the connection that ended had got so far as to bring events.
    fn resumed_or_ready(&mut self) -> bool {
        std::mem::take(&mut self.working)
    }
}

impl Events for Forwarder {
    async fn take(&mut self, kind: &str, data: &RawValue) {
        if let Some(commands) = &self.commands
            && let Some(used) = gateway_event::command_use(kind, data)
        {
            let _ = commands.try_send(used);
            return;
        }
        match gateway_event::note(kind, data, &self.channels) {
            None => {}
            Some(note @ (GatewayNote::Ready | GatewayNote::Resumed)) => {
                self.working = true;
                // A session's begin must not be lost: the listener reads the history then.
                let _ = self.notes.send(note).await;
            }
            Some(hint) => {
                let lost = self.notes.try_send(hint).is_err();
                self.dropped.fetch_add(u64::from(lost), Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_websockets_are_accepted_on_this_machine_only() {
        let check = |text: &str| checked(Url::parse(text).expect("a URL")).map(String::from);
        assert_eq!(
            check("wss://gateway.discord.gg").as_deref(),
            Some("wss://gateway.discord.gg/")
        );
        assert_eq!(
            check("ws://127.0.0.1:8/gateway?v=9").as_deref(),
            Some("ws://127.0.0.1:8/gateway")
        );
        for bad in [
            "ws://gateway.discord.gg",
            "ws://10.0.0.1/",
            "https://gateway.discord.gg",
            "file:///x",
        ] {
            assert_eq!(check(bad), None, "{bad}");
        }
    }
}
