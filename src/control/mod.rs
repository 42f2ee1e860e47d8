//! The running service's own interface: HTTP/1 with JSON over a unix socket, and what it can be asked.

pub mod ask;
pub mod client;
mod events;
pub mod openapi;
mod requests;
pub mod routes;
pub mod server;
pub mod stopped;

pub use ask::{Ask, LinkRequest, Refusal};
