//! The adapters that speak to Discord, against servers on loopback that misbehave in every way we could think of.

mod bot;
mod callback_post;
mod embedded;
pub mod fault_server;
mod gateway;
mod gateway_stub;
mod matrix;
mod resources;
mod token_endpoint;
mod webhook_post;

use std::net::SocketAddr;
use std::time::Duration;

use codeferry::discord::api_base::ApiBase;
use fault_server::FaultServer;

/// How long a call may take here. Short, because many tests wait it out.
const TIMEOUT: Duration = Duration::from_millis(600);

/// The API base of a server on loopback.
fn base(server: &FaultServer) -> ApiBase {
    base_at(server.address())
}

fn base_at(address: SocketAddr) -> ApiBase {
    ApiBase::parse(&format!("http://{address}/api/v10")).expect("loopback is accepted")
}

/// Fails if a text that must stay secret shows up in what a person or a log could see.
#[track_caller]
fn check_silent(shown: &str) {
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(!shown.contains("http://"), "{shown}");
}
