//! The running service's own interface: HTTP/1 with JSON over a unix socket, and what it can be asked.

pub mod ask;
pub mod client;
pub mod server;
pub mod stopped;

pub use ask::{Ask, LinkRequest, Refusal};
