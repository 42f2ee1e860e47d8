//! codeferry lets a Discord application use OAuth2 without a public web server.
//!
//! A person approves the application in the browser; the redirect goes to an event gateway, which posts the
//! authorization code through a webhook into a private channel. codeferry sees the message, exchanges the code,
//! fetches the person's data, delivers it and revokes the token. `docs/architecture.md` is the map.

#[cfg(test)]
#[path = "../tests/it/a_limit.rs"]
mod a_limit;
pub mod actors;
pub mod cli;
pub mod config;
pub mod control;
pub mod crash;
pub mod dashboard;
pub mod delivery;
pub mod discord;
pub mod doctor;
pub mod front;
pub mod grant;
pub mod http;
pub mod ids;
pub mod intake;
pub mod known_fault;
pub mod lifecycle;
pub mod metrics;
pub mod permission;
pub mod port;
pub mod rate;
pub mod relay;
pub mod secret;
pub mod server;
pub mod service;
pub mod simulator;
pub mod steps;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod text;
pub mod time;
