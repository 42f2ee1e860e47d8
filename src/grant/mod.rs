//! The life of one authorization code: pure, no I/O, no clock, no actix.

pub mod state;

pub use state::{ClosedGrant, Grant, Outcome, Reason, State};
