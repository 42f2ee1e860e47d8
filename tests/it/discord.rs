//! The adapters that speak to Discord, against servers on loopback that misbehave in every way we could think of.

mod bot;
mod callback_post;
mod embedded;
mod fault_server;
mod gateway;
mod gateway_stub;
mod resources;
mod token_endpoint;
mod webhook_post;

use codeferry::discord::http::ApiBase;
use fault_server::FaultServer;

/// The API base of a server on loopback.
fn base(server: &FaultServer) -> ApiBase {
    ApiBase::parse(&format!("http://{}/api/v10", server.address())).expect("loopback is accepted")
}

/// Fails if a text that must stay secret shows up in what a person or a log could see.
#[track_caller]
fn check_silent(shown: &str) {
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(!shown.contains("http://"), "{shown}");
}
