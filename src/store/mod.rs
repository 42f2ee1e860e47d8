//! The durable journal; the only folder that names sled.
//!
//! A [`Store`] is driven by one thread (or inline in virtual-time tests) through a [`Committer`]: it gets batches of
//! typed changes, makes each batch durable as one transaction, and only then says so.

pub mod change;

pub use change::{Carrier, Change, Loaded, Problem, SeenCode, SeenMessage, UsedNonce};
