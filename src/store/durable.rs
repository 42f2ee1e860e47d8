//! What the committer drives, whatever kind of changes it makes durable.

use super::error::StoreError;

/// What a [`Committer`](super::Committer) drives: something that makes batches of its own kind of changes durable.
pub trait Durable: Send {
    /// One change of a batch.
    type Change: Kind + Send + 'static;

    /// Applies all changes as one transaction, in order; they are on the disk when it returns. After the first error every
    /// later call is answered with it.
    fn commit(&mut self, changes: &[Self::Change]) -> Result<(), StoreError>;

    /// Work that follows an answered commit: destroys the keys of hours whose last record has gone, makes room in the log,
    /// watches the size. Costs nothing when there is nothing to do.
    fn maintain(&mut self) -> Result<(), StoreError>;

    /// Nothing has come for a quarter of a second after a commit: writes down that everything was acknowledged.
    fn rest(&mut self) -> Result<(), StoreError>;

    /// Ends cleanly: destroys every key without a record and leaves the marker of a clean end.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Names the kind of a change: crash points are named after it.
pub trait Kind {
    /// A short name, such as `token`.
    fn kind(&self) -> &'static str;
}
