//! Where results go; one file per kind of sink.

pub mod discord_webhook;
pub mod http;
pub mod jsonl;
pub mod result;
pub mod schema;
