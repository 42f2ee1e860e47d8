//! The life of one authorization code: pure, no I/O, no clock, no actix.
//!
//! `state` is what is, `event` what can happen, `transition` the one total function between them, `retry` what an
//! answer means for the next attempt, `schedule` who goes first, `person` the rule for several sign-ins of one person.

pub mod event;
pub mod person;
pub mod retry;
pub mod schedule;
pub mod state;
pub mod transition;

pub use event::{Event, IllegalTransition};
pub use retry::{At, Policy};
pub use schedule::{Due, Schedule, Task};
pub use state::{ClosedGrant, FailedCall, Grant, Outcome, Reason, State};
