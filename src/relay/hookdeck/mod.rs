//! Hookdeck: its API, what ought to stand in an account, and how that is put there.

pub mod api;
pub mod plan;
pub mod trial;
pub mod wanted;
