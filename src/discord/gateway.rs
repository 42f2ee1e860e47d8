//! The gateway session: serenity's shard, driven by us on a thread of its own. It only brings hints and must never
//! connect anywhere but where the configured API's `GET /gateway` points.
//!
//! serenity's `Client` is not used. It falls back to Discord's public gateway when `GET /gateway` fails, hides when
//! it identifies (1,000 a day reset the bot's token), and its shard manager waits 5 s for every restart. So each
//! connection is one [`ShardRunner`], and what happens between connections is decided here. The shard manager that a
//! runner insists on is kept without a usable address: it can start nothing itself.
//!
//! Why a thread: after a close frame without a code a runner polls the ended stream without ever yielding until its
//! next heartbeat is due, up to 41 s; in the runtime of the actors it would stop every one of them. A watchdog ends it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serenity::gateway::{
    GatewayError, Shard, ShardManager, ShardManagerOptions, ShardMessenger, ShardRunner, ShardRunnerOptions,
};
use serenity::http::Http;
use serenity::model::event::Event;
use serenity::model::gateway::{GatewayIntents, ShardInfo};
use serenity::model::id::ShardId;
use serenity::model::user::OnlineStatus;
use serenity::prelude::{Context, RawEventHandler, RwLock, TypeMap};
use tokio::runtime::RuntimeMetrics;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::bot::HttpBotApi;
use super::bot_call::odd;
use super::gateway_event;
use crate::http;
use crate::ids::ChannelId;
use crate::port::contact::CommandUse;
use crate::port::discord::{BotError, GatewayNote};
use crate::rate::gateway_pace::Pace;
use crate::secret::BotToken;

/// For TCP, TLS and the WebSocket upgrade; serenity sets no limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the close handshake; a runner looks at its orders every 500 ms.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1500);
/// For the thread to end, whatever serenity is doing.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(2500);
/// A runtime whose thread has not rested for this long is kept from it by a runner that spins.
const STALL: Duration = Duration::from_secs(1);

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
        let url = api.gateway_url().await?;
        let url = checked(url)
            .ok_or_else(|| odd("`GET /gateway` named an address that is neither `wss` nor on this machine"))?;
        let (stop, stopped) = watch::channel(false);
        let (ending, ended) = oneshot::channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let (watched, messengers) = watch::channel(None);
        let session = Session {
            http: Arc::new(api.for_shards(&settings.token)),
            ws_url: Arc::new(Mutex::new(url.into())),
            intents: intents(settings.message_content),
            handler: Arc::new(Handler {
                notes: notes.clone(),
                channels: settings.channels,
                commands: settings.commands,
                dropped: Arc::clone(&dropped),
            }),
            notes,
            stopped,
            watched,
        };
        let no_thread = |_| odd("the gateway's thread could not be started");
        thread::Builder::new()
            .name("gateway".to_owned())
            .spawn(move || run(session, messengers, ending))
            .map_err(no_thread)?;
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
            tracing::debug!("the gateway's thread is left behind");
        }
    }
}

/// `wss` anywhere, since the API named it over TLS; plain `ws` on this machine only.
fn checked(mut url: Url) -> Option<Url> {
    let fine = match url.scheme() {
        "wss" => url.has_host(),
        "ws" => http::is_loopback(&url),
        _ => false,
    };
    // serenity appends `?v=10` to the text.
    url.set_query(None);
    url.set_fragment(None);
    fine.then_some(url)
}

fn intents(message_content: bool) -> GatewayIntents {
    let needed = GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES;
    if message_content {
        needed | GatewayIntents::MESSAGE_CONTENT
    } else {
        needed
    }
}

struct Session {
    http: Arc<Http>,
    ws_url: Arc<Mutex<String>>,
    intents: GatewayIntents,
    handler: Arc<Handler>,
    notes: mpsc::Sender<GatewayNote>,
    stopped: watch::Receiver<bool>,
    watched: watch::Sender<Option<ShardMessenger>>,
}

/// How one connection ended.
enum End {
    Stopped,
    Lost,
    Fatal(u16),
}

/// The thread's whole life.
fn run(session: Session, messengers: watch::Receiver<Option<ShardMessenger>>, ending: oneshot::Sender<()>) {
    let notes = session.notes.clone();
    let over = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let watched = runtime.and_then(|runtime| {
        let (metrics, over) = (runtime.metrics(), Arc::clone(&over));
        let body = move || watch_for_spinning(&metrics, &over, &messengers);
        let watchdog = thread::Builder::new().name("gateway watchdog".to_owned()).spawn(body)?;
        Ok((runtime, watchdog))
    });
    if let Ok((runtime, watchdog)) = watched {
        runtime.block_on(session.supervise());
        over.store(true, Ordering::Relaxed);
        watchdog.thread().unpark();
        // Not dropped: that would wait for a name being looked up.
        runtime.shutdown_background();
    } else {
        // A full channel has a reader, who will find it closed.
        let _ = notes.try_send(GatewayNote::Fatal { code: None });
    }
    let _ = ending.send(());
}

/// Orders a spinning runner to send something: that fails on an ended stream, and the failure ends the runner. On a
/// stream that lives after all (a machine that was suspended) it is an idle presence update. A runner that waits parks
/// its thread twice a second, so the watchdog counts that and wakes nobody.
fn watch_for_spinning(
    metrics: &RuntimeMetrics,
    over: &AtomicBool,
    messengers: &watch::Receiver<Option<ShardMessenger>>,
) {
    loop {
        let before = metrics.worker_park_count(0);
        thread::park_timeout(STALL);
        if over.load(Ordering::Relaxed) {
            return;
        }
        if metrics.worker_park_count(0) == before
            && let Some(messenger) = &*messengers.borrow()
        {
            messenger.set_status(OnlineStatus::Online);
        }
    }
}

impl Session {
    /// Connects again and again, at a pace that respects the daily limit, until told to stop or refused for good.
    async fn supervise(mut self) {
        let manager = self.inert_manager();
        let mut stopped = self.stopped.clone();
        let mut pace = Pace::default();
        loop {
            let wait = pace.wait(Instant::now());
            tokio::select! {
                () = sleep(wait) => {}
                _ = stopped.changed() => return,
            }
            let shard = tokio::select! {
                shard = timeout(CONNECT_TIMEOUT, self.connect()) => shard,
                _ = stopped.changed() => return,
            };
            let end = if let Ok(Ok(shard)) = shard {
                // The shard identifies as soon as the gateway says hello. Counted before, in case it never says so.
                pace.identifying(Instant::now());
                if self.notes.send(GatewayNote::Identifying).await.is_err() {
                    return;
                }
                self.drive(shard, &manager, &mut stopped).await
            } else {
                pace.unreachable(Instant::now());
                End::Lost
            };
            let note = match end {
                End::Stopped => return,
                End::Lost => GatewayNote::Disconnected,
                // The switch in the portal was turned off since we asked for the flags. The mention is enough to read
                // a code, so the session goes on without the content of other messages.
                End::Fatal(4014) if self.intents.contains(GatewayIntents::MESSAGE_CONTENT) => {
                    self.intents.remove(GatewayIntents::MESSAGE_CONTENT);
                    tracing::warn!(
                        "the gateway refused MESSAGE_CONTENT (close code 4014): messages are read by their mention of the bot"
                    );
                    GatewayNote::Disconnected
                }
                End::Fatal(code) => GatewayNote::Fatal { code: Some(code) },
            };
            let over = matches!(note, GatewayNote::Fatal { .. });
            if self.notes.send(note).await.is_err() || over {
                return;
            }
        }
    }

    async fn connect(&self) -> serenity::Result<Shard> {
        let info = ShardInfo {
            id: ShardId(0),
            total: 1,
        };
        Shard::new(Arc::clone(&self.ws_url), self.http.token(), info, self.intents, None).await
    }

    /// Runs one connection to its end; serenity resumes within it by itself.
    async fn drive(&self, shard: Shard, manager: &Arc<ShardManager>, stopped: &mut watch::Receiver<bool>) -> End {
        let mut runner = ShardRunner::new(ShardRunnerOptions {
            data: empty_data(),
            event_handlers: Vec::new(),
            raw_event_handlers: vec![Arc::clone(&self.handler) as Arc<dyn RawEventHandler>],
            manager: Arc::clone(manager),
            shard,
            http: Arc::clone(&self.http),
        });
        let messenger = ShardMessenger::new(&runner);
        self.watched.send_replace(Some(messenger.clone()));
        #[expect(
            clippy::disallowed_methods,
            reason = "the task is awaited or aborted below; apart it cannot take the session with it when it panics"
        )]
        let mut running = tokio::spawn(async move { Box::pin(runner.run()).await });
        let end = tokio::select! {
            ended = &mut running => match ended {
                Ok(Err(serenity::Error::Gateway(e))) => close_code(&e).map_or(End::Lost, End::Fatal),
                _ => End::Lost,
            },
            _ = stopped.changed() => {
                // After our close frame is answered serenity would resume: without an address it gives up at once.
                self.ws_url.lock().await.clear();
                messenger.shutdown_clean();
                let _ = timeout(CLOSE_TIMEOUT, &mut running).await;
                running.abort();
                End::Stopped
            }
        };
        self.watched.send_replace(None);
        end
    }

    /// A manager that knows no runner and no address: all it does is to let a runner end when that wants a restart.
    fn inert_manager(&self) -> Arc<ShardManager> {
        let (manager, _) = ShardManager::new(ShardManagerOptions {
            data: empty_data(),
            event_handlers: Vec::new(),
            raw_event_handlers: Vec::new(),
            shard_index: 0,
            shard_init: 0,
            shard_total: 1,
            ws_url: Arc::default(),
            http: Arc::clone(&self.http),
            intents: self.intents,
            presence: None,
        });
        // A runner that asks for its restart waits up to 5 s for somebody to report its end, and then reports one more
        // itself. With one report ahead of it, it never waits.
        manager.shutdown_finished(ShardId(0));
        manager
    }
}

fn empty_data() -> Arc<RwLock<TypeMap>> {
    Arc::new(RwLock::new(TypeMap::new()))
}

fn close_code(e: &GatewayError) -> Option<u16> {
    match e {
        GatewayError::InvalidAuthentication => Some(4004),
        GatewayError::InvalidGatewayIntents => Some(4013),
        GatewayError::DisallowedGatewayIntents => Some(4014),
        _ => None,
    }
}

/// Turns events into notes. serenity runs it in a task per event, so their order is not kept.
struct Handler {
    notes: mpsc::Sender<GatewayNote>,
    channels: BTreeSet<ChannelId>,
    commands: Option<mpsc::Sender<CommandUse>>,
    dropped: Arc<AtomicU64>,
}

#[serenity::async_trait]
impl RawEventHandler for Handler {
    async fn raw_event(&self, _: Context, event: Event) {
        if let Some(commands) = &self.commands
            && let Some(used) = gateway_event::command_use(&event)
        {
            let _ = commands.try_send(used);
            return;
        }
        match gateway_event::note(event, &self.channels) {
            None => {}
            Some(note @ (GatewayNote::Ready | GatewayNote::Resumed)) => {
                // A session's begin must not be lost: the listener reads the history then.
                let _ = self.notes.send(note).await;
            }
            Some(hint) => {
                let sent = self.notes.try_send(hint);
                if sent.is_err() {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
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

    #[test]
    fn message_content_is_asked_for_only_where_told() {
        assert_eq!(intents(false).bits(), 513);
        assert_eq!(intents(true).bits(), 33_281);
    }
}
