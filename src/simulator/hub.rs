//! The sessions: their connections, the events they were sent, and what can be replayed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::gateway::{Dispatch, GatewayFault, GatewaySettings, GatewayStatus, intent};
use super::object;
use super::options::{FLAG_MESSAGE_CONTENT, FLAG_MESSAGE_CONTENT_LIMITED};
use super::world::World;

/// `MESSAGE_CONTENT`.
const MESSAGE_CONTENT: u64 = 1 << 15;
/// Intents that exist, up to polls in direct messages.
const KNOWN_INTENTS: u64 = (1 << 26) - 1;
/// Application flags: guild members, for few and for many guilds.
const MEMBER_FLAGS: u64 = 1 << 14 | 1 << 15;
/// `GUILD_MEMBERS`.
const GUILD_MEMBERS: u64 = 1 << 1;

/// How long a session can be resumed after its connection ended.
const RESUME_WINDOW: Duration = Duration::from_secs(90);

/// What a connection has to send, or how it has to end.
#[derive(Debug, Clone)]
pub enum Out {
    Text(Arc<str>),
    Close(Option<u16>),
    Drop,
}

impl Out {
    /// A frame that is no event.
    pub fn op(op: u8, d: &Value) -> Self {
        Self::Text(json!({ "op": op, "d": d, "s": null, "t": null }).to_string().into())
    }

    /// A close frame with a code.
    pub fn close(code: u16) -> Self {
        Self::Close(Some(code))
    }
}

struct Session {
    bot_id: String,
    intents: u64,
    seq: u64,
    sent: VecDeque<(u64, Arc<str>)>,
    /// The most events in `sent`.
    keep: usize,
    connection: Option<(u64, UnboundedSender<Out>)>,
    detached_at: Instant,
}

/// The sessions and connections of the gateway.
#[derive(Default)]
pub struct Hub {
    pub(super) settings: GatewaySettings,
    /// Where READY says that a session is resumed.
    resume_url: String,
    sessions: HashMap<String, Session>,
    connections: HashMap<u64, UnboundedSender<Out>>,
    next_id: u64,
    refuse_until: Option<Instant>,
    mute_until: Option<Instant>,
    pub(super) no_acks: bool,
    duplicate: u64,
    withhold: u64,
    /// Counts since the start.
    pub status: GatewayStatus,
}

impl Hub {
    /// A gateway without sessions.
    pub fn new(settings: GatewaySettings, resume_url: String) -> Self {
        Self {
            settings,
            resume_url,
            ..Self::default()
        }
    }

    /// Whether a fault refuses new connections now.
    pub fn refuses(&self) -> bool {
        self.refuse_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether a fault keeps new connections without HELLO.
    pub fn is_mute(&self) -> bool {
        self.mute_until.is_some_and(|until| Instant::now() < until)
    }

    /// Publishes an event to every session that asked for it, if the bot may view its channel.
    pub fn publish(&mut self, world: &World, dispatch: &Dispatch) {
        let channel = dispatch.data.get("channel_id").and_then(Value::as_str);
        let channel = channel.and_then(|id| id.parse::<u64>().ok());
        let visible = |id| world.channels.get(&id).is_some_and(|c| world.held(c).view);
        // The bot gets an interaction even from a channel that it may not view.
        if dispatch.kind != "INTERACTION_CREATE" && channel.is_some_and(|id| !visible(id)) {
            return;
        }
        if dispatch.kind == "MESSAGE_CREATE" && self.withhold > 0 {
            self.withhold -= 1;
            self.status.withheld += 1;
            return;
        }
        let copies = 1 + self.duplicate.min(1);
        self.duplicate = self.duplicate.saturating_sub(1);
        for session in self.sessions.values_mut() {
            if dispatch.intents != 0 && dispatch.intents & session.intents == 0 {
                continue;
            }
            for _ in 0..copies {
                session.send(dispatch.kind, &dispatch.data);
            }
        }
    }

    /// Causes a fault.
    pub fn fault(&mut self, fault: GatewayFault) {
        match fault {
            GatewayFault::DropConnections => self.to_all(&Out::Drop),
            GatewayFault::Reconnect => self.to_all(&Out::op(7, &Value::Null)),
            GatewayFault::Invalidate { resumable } => {
                if !resumable {
                    self.sessions.clear();
                }
                self.to_all(&Out::op(9, &json!(resumable)));
            }
            GatewayFault::Close { code } => {
                if matches!(code, 4007 | 4009) {
                    self.sessions.clear();
                }
                self.to_all(&Out::close(code));
            }
            GatewayFault::CloseWithoutCode => self.to_all(&Out::Close(None)),
            GatewayFault::Raw { text } => self.to_all(&Out::Text(text.into())),
            GatewayFault::Refuse { for_ms } => {
                self.refuse_until = Some(Instant::now() + Duration::from_millis(for_ms));
            }
            GatewayFault::Mute { for_ms } => self.mute_until = Some(Instant::now() + Duration::from_millis(for_ms)),
            GatewayFault::StopAcks => self.no_acks = true,
            GatewayFault::Duplicate { count } => self.duplicate = count,
            GatewayFault::Withhold { count } => self.withhold = count,
            GatewayFault::Clear => {
                (self.no_acks, self.duplicate, self.withhold) = (false, 0, 0);
                (self.refuse_until, self.mute_until) = (None, None);
            }
        }
    }

    fn to_all(&self, out: &Out) {
        for connection in self.connections.values() {
            let _ = connection.send(out.clone());
        }
    }

    /// Adds a connection; returns its number.
    pub fn connect(&mut self, out: UnboundedSender<Out>) -> u64 {
        self.next_id += 1;
        self.connections.insert(self.next_id, out);
        self.next_id
    }

    /// Removes a connection. After a clean close by the client its session ends too.
    pub fn disconnect(&mut self, id: u64, ends_session: bool) {
        self.connections.remove(&id);
        self.sessions.retain(|_, session| {
            let own = session.connection.take_if(|(connection, _)| *connection == id);
            if own.is_some() {
                session.detached_at = Instant::now();
            }
            own.is_none() || !ends_session
        });
    }

    /// Begins a session. `Err` is what the client gets instead.
    pub fn identify(
        &mut self,
        world: &World,
        connection: u64,
        out: &UnboundedSender<Out>,
        d: &Value,
    ) -> Result<(), Out> {
        check_token(world, d)?;
        let application = &world.application;
        let intents = d["intents"].as_u64().ok_or(Out::close(4013))?;
        if intents & !KNOWN_INTENTS != 0 {
            return Err(Out::close(4013));
        }
        let lacks = |intent: u64, flags: u64| intents & intent != 0 && application.flags & flags == 0;
        let content_flags = FLAG_MESSAGE_CONTENT | FLAG_MESSAGE_CONTENT_LIMITED;
        if lacks(MESSAGE_CONTENT, content_flags) || lacks(GUILD_MEMBERS, MEMBER_FLAGS) {
            return Err(Out::close(4014));
        }
        if self.status.identifies >= self.settings.session_starts {
            return Err(Out::op(9, &json!(false)));
        }
        self.status.identifies += 1;
        let id = u128::from(self.status.identifies) << 64 | u128::from(connection);
        let id = format!("{id:032x}");
        let guild = object::guild_create(world);
        let ready = json!({
            "v": 10,
            "user": world.bot_json(),
            "guilds": [{ "id": guild["id"], "unavailable": true }],
            "session_id": id,
            "session_type": "normal",
            "resume_gateway_url": self.resume_url,
            "private_channels": [],
            "relationships": [],
            "user_settings": {},
            "geo_ordered_rtc_regions": ["rotterdam"],
            "shard": [0, 1],
            "application": {
                "id": application.id.to_string(),
                "flags": application.flags,
                "flags_new": application.flags.to_string(),
            },
            "_trace": ["[\"gateway-prd-simulated\"]"],
        });
        let mut session = Session {
            bot_id: application.bot_id.to_string(),
            intents,
            seq: 0,
            sent: VecDeque::new(),
            keep: self.settings.replay_events,
            connection: Some((connection, out.clone())),
            detached_at: Instant::now(),
        };
        session.send("READY", &ready);
        if intents & intent::GUILDS != 0 {
            session.send("GUILD_CREATE", &guild);
        }
        self.sessions.insert(id, session);
        Ok(())
    }

    /// Resumes a session and replays the missed events. `Err` is what the client gets instead.
    pub fn resume(&mut self, world: &World, connection: u64, out: &UnboundedSender<Out>, d: &Value) -> Result<(), Out> {
        check_token(world, d)?;
        let invalid = || Out::op(9, &json!(false));
        self.sessions
            .retain(|_, s| s.connection.is_some() || s.detached_at.elapsed() < RESUME_WINDOW);
        let seq = d["seq"].as_u64().unwrap_or_default();
        let session = d["session_id"].as_str().and_then(|id| self.sessions.get_mut(id));
        let session = session.ok_or_else(invalid)?;
        if seq > session.seq {
            return Err(Out::close(4007));
        }
        let missed = session.seq - seq;
        if missed > session.sent.len() as u64 {
            return Err(invalid());
        }
        session.connection = Some((connection, out.clone()));
        for (_, frame) in session.sent.iter().filter(|(s, _)| *s > seq) {
            let _ = out.send(Out::Text(Arc::clone(frame)));
        }
        session.send("RESUMED", &json!({ "_trace": [] }));
        self.status.resumes += 1;
        Ok(())
    }
}

fn check_token(world: &World, d: &Value) -> Result<(), Out> {
    let token = d["token"].as_str().unwrap_or_default();
    if token.trim_start_matches("Bot ") == world.application.bot_token {
        Ok(())
    } else {
        Err(Out::close(4004))
    }
}

impl Session {
    fn send(&mut self, kind: &str, data: &Value) {
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
        if self.sent.len() == self.keep {
            self.sent.pop_front();
        }
        self.sent.push_back((self.seq, Arc::clone(&frame)));
        if let Some((_, connection)) = &self.connection {
            let _ = connection.send(Out::Text(frame));
        }
    }

    /// Whether the bot gets a message's content: with the intent, if mentioned, in its own and in direct messages.
    fn may_read(&self, data: &Value) -> bool {
        let me = self.bot_id.as_str();
        let mut mentions = data["mentions"].as_array().into_iter().flatten();
        self.intents & MESSAGE_CONTENT != 0
            || mentions.any(|m| m["id"] == me)
            || data["author"]["id"] == me
            || data["guild_id"].is_null()
    }
}

#[cfg(test)]
mod tests;
