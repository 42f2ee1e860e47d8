//! The embedded Discord's gateway, version 10: sessions that outlive their connections, over real WebSockets.
//!
//! `hub` holds the sessions and their replay buffers, `connection` speaks the protocol on one socket, `port` holds
//! the types that the rest of the simulator uses.

mod connection;
mod hub;
mod port;

pub use connection::serve;
pub use hub::Gateway;
pub use port::{BotIdentity, Directory, Dispatch, GatewayFault, GatewaySettings, GatewayStatus};

#[cfg(test)]
mod tests;
