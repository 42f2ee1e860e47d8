//! What can go wrong with a store, while it runs and when it is opened. No message carries content of a record.

use std::io;
use std::path::PathBuf;

/// Why a running store can do nothing more. The first one stays: every later call is answered with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk or the quota is full. The reserve file has been freed, so that the next start works.
    #[error("the disk is full")]
    Full,
    /// The disk or the file system failed.
    #[error("{what}: {detail}")]
    Io {
        /// What was being done.
        what: String,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The system's own words.
        detail: String,
    },
    /// A commit has taken too long: whether it is on the disk is unknown.
    #[error("a commit hangs: the disk does not answer")]
    Hung,
    /// A record is not as it was written.
    #[error("the store is damaged: {what}")]
    Damaged {
        /// Which record, and in what way.
        what: String,
    },
    /// A record could not be sealed or unsealed.
    #[error("cannot seal or unseal: {what}")]
    Sealing {
        /// Which record or key, and why.
        what: String,
    },
    /// The storage engine panicked.
    #[error("the storage engine panicked")]
    Panicked,
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether room on the disk is what is missing.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Full)
    }

    pub(super) fn io(what: impl Into<String>, e: &io::Error) -> Self {
        if is_full(e.kind()) {
            return Self::Full;
        }
        Self::Io {
            what: what.into(),
            kind: e.kind(),
            detail: e.to_string(),
        }
    }

    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

/// Whether an I/O error means that there is no room: `ulimit -f` and quotas count like a full disk.
pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Why a store could not be opened. Nothing has been wiped.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the journal `{}` is in use{}: stop that one first, or ask it through its control socket", path.display(), holder_text(holder.as_deref()))]
    Locked {
        /// The store's folder.
        path: PathBuf,
        /// The holder's process id, where it is known.
        holder: Option<String>,
    },
    /// The folder cannot be made or written.
    #[error("cannot write to `{}`: the user that runs codeferry must own the folder, on a file system that is not read-only", path.display())]
    NotWritable {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is no room to open it.
    #[error("the disk that holds `{}` is full: nothing was lost; free at least 32 MB and start again", path.display())]
    DiskFull {
        /// The store's folder.
        path: PathBuf,
    },
    /// What is on the disk is not what was acknowledged.
    #[error("the journal is damaged: {what}; its files are kept in `{}`; {cure}", kept_where.display())]
    Damaged {
        /// What is wrong.
        what: String,
        /// Where the files are, as they were before this attempt.
        kept_where: PathBuf,
        /// What to do.
        cure: String,
    },
    /// A network file system keeps neither locks nor order.
    #[error("`{}` is on a network file system ({kind}), which keeps neither locks nor the order of writes: set `journal.path` to a folder on a local disk", path.display())]
    NetworkFileSystem {
        /// The store's folder.
        path: PathBuf,
        /// The file system's name.
        kind: String,
    },
    /// A newer codeferry has written it.
    #[error("the journal `{}` was written in format {found}, this codeferry knows format {known}: use the codeferry that wrote it", path.display())]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format known.
        known: u32,
    },
    /// Something else failed.
    #[error("cannot open the journal: {what} `{}`", path.display())]
    Io {
        /// What was being done.
        what: String,
        /// With which file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

fn holder_text(holder: Option<&str>) -> String {
    holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

impl OpenError {
    /// Whether a second instance is the cause (exit code 1; every other one is 74).
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. })
    }
}
