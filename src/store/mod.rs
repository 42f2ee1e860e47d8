//! The durable journal; the only folder that names sled.
//!
//! A [`Store`] is driven by one thread (or inline in virtual-time tests) through a [`Committer`]: it gets batches of
//! typed changes, makes each batch durable as one transaction, and only then says so.

pub mod backend;
pub mod change;
pub mod closed;
pub mod committer;
pub mod error;
pub mod keys;
pub mod port;
mod seal;

pub use backend::{Fault, Opened, Sizes, StoreOptions, Sync, copy_tree, open, read_values};
pub use change::{Change, Loaded, Problem, SeenCode, SeenMessage, SourceMessage, UsedNonce};
pub use committer::{Committer, CommitterHandle, Health};
pub use error::{OpenError, StoreError};
pub use port::{ClosedTotals, Room, Store};
