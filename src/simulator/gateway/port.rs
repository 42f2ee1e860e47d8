//! The gateway's types for the rest of the simulator: settings, events, faults, and what it asks about the world.

use serde::{Deserialize, Serialize};

/// How the gateway behaves; the defaults are Discord's, as far as they are known.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// HELLO's `heartbeat_interval`, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long a session can be resumed after its connection ended, in seconds.
    pub resume_window_s: u64,
    /// Events kept for replay.
    pub replay_events: usize,
    /// IDENTIFYs allowed in all; a further one is answered with op 9.
    pub session_starts: u64,
    /// Frames allowed in a minute; a further one closes with 4008.
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

/// An event for the sessions with one of its intents.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The event's name, such as `MESSAGE_CREATE`.
    pub kind: &'static str,
    /// The event's data.
    pub data: serde_json::Value,
    /// Intents, of which one suffices; 0 sends it to every session.
    pub intents: u64,
}

/// What the gateway asks about the world.
pub trait Directory: Send + Sync {
    /// The bot that a token belongs to.
    fn bot(&self, token: &str) -> Option<BotIdentity>;
    /// Whether the bot may view a channel.
    fn may_view(&self, channel_id: u64) -> bool;
}

/// The bot of a session.
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
    /// Cuts every connection without a close frame.
    DropConnections,
    /// Refuses new connections with 503.
    Refuse {
        /// How long, in milliseconds.
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
    /// Heartbeats are no longer acknowledged.
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
    /// Sends a text frame to every connection.
    Raw {
        /// The text.
        text: String,
    },
    /// Ends all lasting faults.
    Clear,
}

/// Counts of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct GatewayStatus {
    /// Open connections.
    pub connections: usize,
    /// Sessions that are connected or can be resumed.
    pub sessions: usize,
    /// IDENTIFYs that began a session.
    pub identifies: u64,
    /// RESUMEs that succeeded.
    pub resumes: u64,
    /// Events published.
    pub published: u64,
    /// MESSAGE_CREATEs withheld.
    pub withheld: u64,
    /// Heartbeats received.
    pub heartbeats: u64,
}
