//! A stand-in for the Gateway that accepts what the rest of the simulator publishes and drops it.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

/// Settings of the Gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewaySettings {
    /// The heartbeat interval, in milliseconds.
    pub heartbeat_interval_ms: u64,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 41_250,
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

/// What the Gateway asks about the world.
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

/// A fault of the Gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum GatewayFault {
    /// Nothing.
    None,
}

/// What the Gateway is doing.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct GatewayStatus {
    /// Events published.
    pub published: u64,
}

/// The Gateway.
#[derive(Clone)]
pub struct Gateway {
    published: Arc<std::sync::atomic::AtomicU64>,
}

impl Gateway {
    /// A Gateway.
    pub fn new(_settings: GatewaySettings, _directory: Arc<dyn Directory>) -> Self {
        Self {
            published: Arc::default(),
        }
    }

    /// The WebSocket handler.
    pub async fn serve(&self, _request: HttpRequest, _payload: web::Payload) -> Result<HttpResponse, actix_web::Error> {
        Ok(HttpResponse::NotImplemented().finish())
    }

    /// Publishes an event.
    pub fn publish(&self, _dispatch: Dispatch) {
        self.published.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Makes a fault happen.
    pub fn fault(&self, _fault: GatewayFault) {}

    /// What it is doing.
    pub fn status(&self) -> GatewayStatus {
        GatewayStatus {
            published: self.published.load(std::sync::atomic::Ordering::Relaxed),
        }
    }
}
