//! The embedded Discord's gateway, version 10, as the rest of the simulator knows it: settings, events, faults, counts.
//! `hub` holds the sessions, which outlive their connections; `connection` speaks the protocol on one socket.

use serde::{Deserialize, Serialize};

/// How the gateway behaves; the defaults are Discord's, as far as they are known.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// HELLO's `heartbeat_interval`, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Events kept for replay.
    pub replay_events: usize,
    /// Sessions that may be begun in all, as `GET /gateway/bot` tells; a further IDENTIFY is answered with op 9.
    pub session_starts: u64,
    /// Frames allowed in a minute; a further one closes with 4008.
    pub frames_per_minute: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 41_250,
            replay_events: 2048,
            session_starts: 1000,
            frames_per_minute: 120,
        }
    }
}

/// A session receives an event if it asked for any of the event's intents (Discord Docs/Events/Gateway).
pub(super) mod intent {
    pub const GUILDS: u64 = 1;
    pub const GUILD_WEBHOOKS: u64 = 1 << 5;
    pub const GUILD_MESSAGES: u64 = 1 << 9;
    pub const GUILD_MESSAGE_REACTIONS: u64 = 1 << 10;
    pub const DIRECT_MESSAGES: u64 = 1 << 12;
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

/// A fault of the gateway.
#[expect(missing_docs, reason = "a variant says what its fields are")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum GatewayFault {
    /// Cuts every connection without a close frame.
    DropConnections,
    /// Refuses new connections with 503 for this many milliseconds.
    Refuse { for_ms: u64 },
    /// Accepts new connections and says nothing on them, for this many milliseconds.
    Mute { for_ms: u64 },
    /// Op 7.
    Reconnect,
    /// Op 9.
    Invalidate { resumable: bool },
    /// A close frame with a code.
    Close { code: u16 },
    /// A close frame without a code.
    CloseWithoutCode,
    /// Heartbeats are no longer acknowledged.
    StopAcks,
    /// The next events are sent twice.
    Duplicate { count: u64 },
    /// The next MESSAGE_CREATEs are never delivered, and not replayed either.
    Withhold { count: u64 },
    /// Sends a text frame to every connection.
    Raw { text: String },
    /// Ends all lasting faults.
    Clear,
}

/// Counts of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct GatewayStatus {
    /// IDENTIFYs that began a session.
    pub identifies: u64,
    /// RESUMEs that succeeded.
    pub resumes: u64,
    /// MESSAGE_CREATEs withheld.
    pub withheld: u64,
}
