//! The embedded back-end, on sled 0.34: the only place that names that crate.
//!
//! What sled does not do is done around it, each point from a measured failure: its flush is not durable (own
//! `fdatasync`), it loses records silently after damage (content digest and high-water mark), a kill while it opens
//! can make it unopenable (torn snapshots are removed, files are copied first), its deleted values stay in the file
//! (they are sealed, and the key is destroyed). One thread owns it: its transactions deadlock from several.

mod closed;
pub(in crate::store) mod disk;
mod files;
#[cfg(test)]
mod format_tests;
mod host;
mod inspect;
mod mark;
mod meta;
mod open;
mod record;
mod sled_store;
mod write;

pub use closed::Sizes;
pub use disk::{Fault, Sync, copy_tree};
pub use inspect::read_values;
pub use open::{Opened, StoreOptions, open};
