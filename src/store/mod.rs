//! The durable journal.
//!
//! ```text
//! Committer      one thread, group commit, watchdog
//! Journal        the service's changes and records; closed grants go to their own log
//! Records        keys, bytes and sealing of typed records: the same on every engine, for the service and the relay
//! Engine         tables, keys, bytes: `SledEngine` behind a `WriteAhead` log, in a `Folder`
//! ```
//!
//! Nothing above `Engine` knows where bytes lie, and nothing below `Records` knows what they mean.

pub mod change;
pub mod closed;
pub mod committer;
mod disk;
pub mod durable;
pub mod engine;
pub mod error;
mod files;
mod folder;
mod host;
mod journal;
pub mod keys;
mod load;
mod open;
pub mod port;
mod record;
pub mod records;
mod seal;
pub mod sled_engine;
#[cfg(test)]
mod tests;
mod write_ahead;

pub use change::{Change, Loaded, Problem, SeenCode, SeenMessage, SourceMessage, UsedNonce};
pub use committer::{Committer, Handle, Health};
pub use disk::{Disk, Fault, Sync, copy_tree};
pub use durable::{Durable, Kind};
pub use error::{OpenError, StoreError};
pub use host::{Place, is_in_use, place};
pub use journal::{Opened, first_problem, open};
pub use load::read_values;
pub use open::{OpenedFolder, StoreOptions, open_folder};
pub use port::{ClosedTotals, CommitterHandle, Room, Store};
