//! Message formats, state tokens and PKCE: pure, no I/O, no clock, no actix.

pub mod callback;
pub mod entry;
pub mod gate;
pub mod hash;
pub mod link;
pub mod message;
pub mod mint;
pub mod pkce;
pub mod state;
pub mod v0;
pub mod v1;
