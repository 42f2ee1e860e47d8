//! The sessions: their connections, the events they were sent, and what can be replayed.
#![expect(
    clippy::disallowed_types,
    reason = "the web server's threads and tests publish to the same sessions; the lock is never held across an await"
)]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::port::{BotIdentity, Directory, Dispatch, GatewayFault, GatewaySettings, GatewayStatus};

/// `MESSAGE_CONTENT`.
const MESSAGE_CONTENT: u64 = 1 << 15;
/// Intents that exist, up to polls in direct messages.
const KNOWN_INTENTS: u64 = (1 << 26) - 1;
/// Application flags: message content, for few and for many guilds.
const CONTENT_FLAGS: u64 = 1 << 18 | 1 << 19;
/// Application flags: guild members, for few and for many guilds.
const MEMBER_FLAGS: u64 = 1 << 14 | 1 << 15;
/// `GUILD_MEMBERS`.
const GUILD_MEMBERS: u64 = 1 << 1;

/// What a connection has to send, or how it has to end.
#[derive(Debug, Clone)]
pub(super) enum Out {
    Text(Arc<str>),
    Close(Option<u16>),
    Drop,
}

struct Session {
    bot: BotIdentity,
    intents: u64,
    seq: u64,
    sent: VecDeque<(u64, Arc<str>)>,
    connection: Option<(u64, UnboundedSender<Out>)>,
    detached_at: Instant,
}

#[derive(Default)]
struct Hub {
    sessions: HashMap<String, Session>,
    connections: HashMap<u64, UnboundedSender<Out>>,
    next_id: u64,
    refuse_until: Option<Instant>,
    no_acks: bool,
    duplicate: u64,
    withhold: u64,
    status: GatewayStatus,
}

/// The gateway; clones share it.
#[derive(Clone)]
pub struct Gateway {
    settings: Arc<GatewaySettings>,
    directory: Arc<dyn Directory>,
    hub: Arc<Mutex<Hub>>,
}

impl Gateway {
    /// A gateway without sessions.
    pub fn new(settings: GatewaySettings, directory: Arc<dyn Directory>) -> Self {
        Self {
            settings: Arc::new(settings),
            directory,
            hub: Arc::default(),
        }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> &GatewaySettings {
        &self.settings
    }

    /// Whether a fault refuses new connections now.
    pub(super) fn refuses(&self) -> bool {
        self.hub().refuse_until.is_some_and(|until| Instant::now() < until)
    }

    /// Publishes an event to every session that asked for it, if the bot may view its channel.
    pub fn publish(&self, dispatch: Dispatch) {
        let channel = dispatch
            .data
            .get("channel_id")
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok());
        // The bot gets an interaction even from a channel that it may not view.
        let seen_anyway = dispatch.kind == "INTERACTION_CREATE";
        if !seen_anyway && channel.is_some_and(|id| !self.directory.may_view(id)) {
            return;
        }
        let mut hub = self.hub();
        hub.status.published += 1;
        if dispatch.kind == "MESSAGE_CREATE" && hub.withhold > 0 {
            hub.withhold -= 1;
            hub.status.withheld += 1;
            return;
        }
        let copies = if hub.duplicate > 0 {
            hub.duplicate -= 1;
            2
        } else {
            1
        };
        for session in hub.sessions.values_mut() {
            if dispatch.intents != 0 && dispatch.intents & session.intents == 0 {
                continue;
            }
            for _ in 0..copies {
                session.send(dispatch.kind, &dispatch.data, self.settings.replay_events);
            }
        }
    }

    /// Causes a fault.
    pub fn fault(&self, fault: GatewayFault) {
        let mut hub = self.hub();
        let to_all = match fault {
            GatewayFault::DropConnections => Out::Drop,
            GatewayFault::Reconnect => text(&json!({ "op": 7, "d": null, "s": null, "t": null })),
            GatewayFault::Invalidate { resumable } => {
                if !resumable {
                    hub.sessions.clear();
                }
                text(&json!({ "op": 9, "d": resumable, "s": null, "t": null }))
            }
            GatewayFault::Close { code } => {
                if matches!(code, 4007 | 4009) {
                    hub.sessions.clear();
                }
                Out::Close(Some(code))
            }
            GatewayFault::CloseWithoutCode => Out::Close(None),
            GatewayFault::Raw { text } => Out::Text(text.into()),
            GatewayFault::Refuse { for_ms } => {
                hub.refuse_until = Some(Instant::now() + Duration::from_millis(for_ms));
                return;
            }
            GatewayFault::StopAcks => {
                hub.no_acks = true;
                return;
            }
            GatewayFault::Duplicate { count } => {
                hub.duplicate = count;
                return;
            }
            GatewayFault::Withhold { count } => {
                hub.withhold = count;
                return;
            }
            GatewayFault::Clear => {
                (hub.no_acks, hub.duplicate, hub.withhold, hub.refuse_until) = (false, 0, 0, None);
                return;
            }
        };
        for connection in hub.connections.values() {
            let _ = connection.send(to_all.clone());
        }
    }

    /// Counts since the start.
    pub fn status(&self) -> GatewayStatus {
        let hub = self.hub();
        GatewayStatus {
            connections: hub.connections.len(),
            sessions: hub.sessions.len(),
            ..hub.status
        }
    }

    pub(super) fn connect(&self, out: UnboundedSender<Out>) -> u64 {
        let mut hub = self.hub();
        hub.next_id += 1;
        let id = hub.next_id;
        hub.connections.insert(id, out);
        id
    }

    /// Removes a connection. After a clean close by the client its session ends too.
    pub(super) fn disconnect(&self, id: u64, ends_session: bool) {
        let mut hub = self.hub();
        hub.connections.remove(&id);
        hub.sessions.retain(|_, session| {
            let own = session
                .connection
                .as_ref()
                .is_some_and(|(connection, _)| *connection == id);
            if own {
                session.connection = None;
                session.detached_at = Instant::now();
            }
            !(own && ends_session)
        });
    }

    /// Counts a heartbeat; returns whether it is acknowledged.
    pub(super) fn heartbeat(&self) -> bool {
        let mut hub = self.hub();
        hub.status.heartbeats += 1;
        !hub.no_acks
    }

    /// Begins a session. `Err` is what the client gets instead.
    pub(super) fn identify(&self, connection: u64, out: &UnboundedSender<Out>, d: &Value) -> Result<(), Out> {
        let token = d["token"].as_str().unwrap_or_default().trim_start_matches("Bot ");
        let bot = self.directory.bot(token).ok_or(Out::Close(Some(4004)))?;
        let intents = d["intents"].as_u64().ok_or(Out::Close(Some(4013)))?;
        if intents & !KNOWN_INTENTS != 0 {
            return Err(Out::Close(Some(4013)));
        }
        let lacks = |intent: u64, flags: u64| intents & intent != 0 && bot.application_flags & flags == 0;
        if lacks(MESSAGE_CONTENT, CONTENT_FLAGS) || lacks(GUILD_MEMBERS, MEMBER_FLAGS) {
            return Err(Out::Close(Some(4014)));
        }
        let mut hub = self.hub();
        if hub.status.identifies >= self.settings.session_starts {
            return Err(text(&json!({ "op": 9, "d": false, "s": null, "t": null })));
        }
        hub.status.identifies += 1;
        let id = format!(
            "{:032x}",
            u128::from(hub.status.identifies) << 64 | u128::from(connection)
        );
        let guilds: Vec<Value> = bot
            .guilds
            .iter()
            .map(|g| json!({ "id": g["id"], "unavailable": true }))
            .collect();
        let ready = json!({
            "v": 10,
            "user": bot.user,
            "guilds": guilds,
            "session_id": id,
            "session_type": "normal",
            "resume_gateway_url": "ws://127.0.0.1/",
            "private_channels": [],
            "relationships": [],
            "user_settings": {},
            "geo_ordered_rtc_regions": ["rotterdam"],
            "shard": [0, 1],
            "application": {
                "id": bot.application_id.to_string(),
                "flags": bot.application_flags,
                "flags_new": bot.application_flags.to_string(),
            },
            "_trace": ["[\"gateway-prd-simulated\"]"],
        });
        let guilds = if intents & 1 == 1 {
            bot.guilds.clone()
        } else {
            Vec::new()
        };
        let mut session = Session {
            bot,
            intents,
            seq: 0,
            sent: VecDeque::new(),
            connection: Some((connection, out.clone())),
            detached_at: Instant::now(),
        };
        session.send("READY", &ready, self.settings.replay_events);
        for guild in guilds {
            session.send("GUILD_CREATE", &guild, self.settings.replay_events);
        }
        hub.sessions.insert(id, session);
        Ok(())
    }

    /// Resumes a session and replays the missed events. `Err` is what the client gets instead.
    pub(super) fn resume(&self, connection: u64, out: &UnboundedSender<Out>, d: &Value) -> Result<(), Out> {
        let token = d["token"].as_str().unwrap_or_default().trim_start_matches("Bot ");
        self.directory.bot(token).ok_or(Out::Close(Some(4004)))?;
        let invalid = text(&json!({ "op": 9, "d": false, "s": null, "t": null }));
        let mut hub = self.hub();
        let window = Duration::from_secs(self.settings.resume_window_s);
        hub.sessions
            .retain(|_, s| s.connection.is_some() || s.detached_at.elapsed() < window);
        let seq = d["seq"].as_u64().unwrap_or_default();
        let session = d["session_id"]
            .as_str()
            .and_then(|id| hub.sessions.get_mut(id))
            .ok_or(invalid.clone())?;
        if seq > session.seq {
            return Err(Out::Close(Some(4007)));
        }
        let missed = session.seq - seq;
        if missed > session.sent.len() as u64 {
            return Err(invalid);
        }
        session.connection = Some((connection, out.clone()));
        for (_, frame) in session.sent.iter().filter(|(s, _)| *s > seq) {
            let _ = out.send(Out::Text(Arc::clone(frame)));
        }
        session.send("RESUMED", &json!({ "_trace": [] }), self.settings.replay_events);
        hub.status.resumes += 1;
        Ok(())
    }
}

impl Session {
    fn send(&mut self, kind: &str, data: &Value, keep: usize) {
        self.seq += 1;
        let blank = kind.starts_with("MESSAGE_") && data.get("content").is_some() && !self.may_read(data);
        let blanked = blank.then(|| {
            let mut data = data.clone();
            data["content"] = json!("");
            for list in ["embeds", "attachments", "components"] {
                data[list] = json!([]);
            }
            data
        });
        let frame = json!({ "op": 0, "t": kind, "s": self.seq, "d": blanked.as_ref().unwrap_or(data) });
        let frame: Arc<str> = frame.to_string().into();
        if self.sent.len() == keep {
            self.sent.pop_front();
        }
        self.sent.push_back((self.seq, Arc::clone(&frame)));
        if let Some((_, connection)) = &self.connection {
            let _ = connection.send(Out::Text(frame));
        }
    }

    /// Whether the bot gets a message's content: with the intent, if mentioned, in its own and in direct messages.
    fn may_read(&self, data: &Value) -> bool {
        let me = &self.bot.user["id"];
        let mentioned = data["mentions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|m| m["id"] == *me));
        self.intents & MESSAGE_CONTENT != 0 || mentioned || data["author"]["id"] == *me || data["guild_id"].is_null()
    }
}

pub(super) fn text(frame: &Value) -> Out {
    Out::Text(frame.to_string().into())
}
