//! What the rest of the simulator knows of the gateway.

use serde::{Deserialize, Serialize};

/// How the gateway behaves; the defaults are what is known of Discord's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// HELLO's `heartbeat_interval`, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long a session without a connection can be resumed, in seconds.
    pub resume_window_s: u64,
    /// Events kept for replay.
    pub replay_events: usize,
    /// IDENTIFYs a day; one more is answered with op 9.
    pub session_starts: u64,
    /// Frames from the client a minute; one more closes with 4008.
    pub frames_per_minute: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 41_250,
            resume_window_s: 90,
            replay_events: 2048,
            session_starts: 1000,
            frames_per_minute: 120,
        }
    }
}

/// An event for the sessions that asked for it.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The event's name, such as `MESSAGE_CREATE`.
    pub kind: &'static str,
    /// The event's data.
    pub data: serde_json::Value,
    /// Intents of which any suffices; 0 sends it always.
    pub intents: u64,
}

/// What the gateway asks about the world.
pub trait Directory: Send + Sync {
    /// The bot that a token belongs to.
    fn bot(&self, token: &str) -> Option<BotIdentity>;
    /// Whether the bot may view a channel.
    fn may_view(&self, channel_id: u64) -> bool;
}

/// Who identified.
#[derive(Debug, Clone)]
pub struct BotIdentity {
    /// The bot's user object.
    pub user: serde_json::Value,
    /// The application's id.
    pub application_id: u64,
    /// The application's flags.
    pub application_flags: u64,
    /// Full `GUILD_CREATE` data.
    pub guilds: Vec<serde_json::Value>,
}

/// A fault of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum GatewayFault {
    /// Ends every TCP connection without a close frame.
    DropConnections,
    /// Ends every new connection at once, for this long.
    Refuse {
        /// In milliseconds.
        for_ms: u64,
    },
    /// Op 7.
    Reconnect,
    /// Op 9.
    Invalidate {
        /// Its `d`.
        resumable: bool,
    },
    /// A close frame with a code.
    Close {
        /// The code.
        code: u16,
    },
    /// A close frame without a code.
    CloseWithoutCode,
    /// Heartbeats are not acknowledged any more.
    StopAcks,
    /// The next events are sent twice.
    Duplicate {
        /// How many.
        count: u64,
    },
    /// The next MESSAGE_CREATEs are never delivered, and not replayed either.
    Withhold {
        /// How many.
        count: u64,
    },
    /// A frame as it stands, to every connection.
    Raw {
        /// The text.
        text: String,
    },
    /// Ends every fault that lasts.
    Clear,
}

/// What the gateway has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct GatewayStatus {
    /// Connections now.
    pub connections: usize,
    /// Sessions that can be resumed or are connected.
    pub sessions: usize,
    /// IDENTIFYs that began a session.
    pub identifies: u64,
    /// RESUMEs that were taken.
    pub resumes: u64,
    /// Events published.
    pub published: u64,
    /// MESSAGE_CREATEs withheld.
    pub withheld: u64,
    /// Heartbeats received.
    pub heartbeats: u64,
}
