//! Closed grants: kept outside the engine, which does not reuse the room beside records that stay (4.9 kB for each of
//! them, measured). They lie in segment files that only grow; the engine holds the newest few, and what each file must be.
//!
//! ```text
//! engine: closed_tail          what was swept, the next segment's number, the newest records: less than a block
//! engine: closed_segments      one record for each file: length, tag of its last block, bounds, counts
//! closed/<n>                   header, then blocks of records, each with a tag over itself and all before it
//! ```
//!
//! A commit that fills the tail first appends it to the file as a block and syncs that, and then replaces the tail and the
//! file's record in its one transaction. A kill in between leaves bytes beyond the length that the engine knows: they
//! count for nothing, and the next append writes over them. So nothing can be lost without a tag, a length or the
//! engine's own digest telling.

mod block;
mod log;
mod migrate;
mod segment;

pub use log::{Log, LogChange, SWEEP_POINT, Sizes, Tail};
pub use segment::{Segment, Trouble};
