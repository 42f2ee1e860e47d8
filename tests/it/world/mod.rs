//! The world: every real actor over a real store, with a fake outside, on one virtual clock, from one seed. People click,
//! calls fail, clocks step, processes are killed, and every promise is checked while it goes on and at the end.

mod discord;
pub mod faults;
mod invariants;
mod launch;
mod model;
mod outside;
mod places;
pub mod run;
mod scenes;
pub mod script;
mod watched;
