//! JSON Lines: one result a line, appended and synced before it counts as delivered.
//!
//! The file is open with `O_DSYNC`, so one write puts all waiting lines on the disk. A torn last line was never counted,
//! so it is cut off at opening.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use rustix::fs::OFlags;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::crash;
use crate::ids::GrantId;
use crate::port::later::Later;
use crate::port::permit::Permit;
use crate::port::sink::{Delivery, DeliveryAnswer, Sink};
use crate::secret::PersonalData;
use crate::time::SharedClock;

/// Ids of this many bytes of the file's end are remembered, so that a repeat after a crash is not written again.
const REMEMBERED_TAIL: u64 = 1 << 20;
/// Lines that share one write, at most.
const BATCH: usize = 256;

/// A file of results.
pub struct JsonLines {
    lines: mpsc::Sender<Line>,
}

struct Line {
    id: GrantId,
    text: PersonalData,
    done: oneshot::Sender<Result<(), &'static str>>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot write results to `{path}`")]
pub struct CannotWrite {
    /// The file.
    pub path: PathBuf,
    /// The operating system's error.
    #[source]
    pub source: io::Error,
}

impl JsonLines {
    /// Opens the file, making it and its folder where they are missing. `rotate_at` is in bytes.
    ///
    /// The writer is a thread of its own: a disk may hang, and the actors' thread must not.
    pub fn open(path: &Path, rotate_at: Option<u64>, clock: SharedClock) -> Result<Rc<Self>, CannotWrite> {
        let file = LineFile::open(path.to_owned(), rotate_at, clock).map_err(|source| CannotWrite {
            path: path.to_owned(),
            source,
        })?;
        let (lines, waiting) = mpsc::channel(BATCH * 4);
        std::thread::Builder::new()
            .name("codeferry-jsonl".to_owned())
            .spawn(move || file.write_all(waiting))
            .map_err(|source| CannotWrite {
                path: path.to_owned(),
                source,
            })?;
        Ok(Rc::new(Self { lines }))
    }
}

impl Sink for JsonLines {
    fn deliver<'a>(&'a self, delivery: &'a Delivery, permit: Permit) -> LocalBoxFuture<'a, DeliveryAnswer> {
        drop(permit);
        async move {
            let (done, written) = oneshot::channel();
            let line = Line {
                id: delivery.id,
                text: delivery.body.clone(),
                done,
            };
            let failed = |reason: &str| DeliveryAnswer::Later {
                later: Later::because(reason),
                uncertain: false,
            };
            if self.lines.send(line).await.is_err() {
                return failed("the file's writer is gone");
            }
            match written.await {
                Ok(Ok(())) => DeliveryAnswer::Delivered,
                Ok(Err(reason)) => failed(reason),
                Err(_) => failed("the file's writer is gone"),
            }
        }
        .boxed_local()
    }
}

struct LineFile {
    path: PathBuf,
    file: File,
    length: u64,
    rotate_at: Option<u64>,
    recent: HashSet<GrantId>,
    clock: SharedClock,
}

impl LineFile {
    fn open(path: PathBuf, rotate_at: Option<u64>, clock: SharedClock) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut file = open(&path)?;
        let full = file.metadata()?.len();
        let from = full.saturating_sub(REMEMBERED_TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let kept = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if kept < tail.len() {
            // With no line break in the whole tail the file is not ours to cut.
            if kept == 0 && from > 0 {
                return Err(io::Error::other(
                    "its last megabyte is one line: it is no file of results",
                ));
            }
            tracing::warn!(file = %path.display(), bytes = tail.len() - kept, "a torn last line was cut off");
            file.set_len(from + kept as u64)?;
            file.sync_all()?;
        }
        let recent = tail[..kept].split(|b| *b == b'\n').filter_map(id_of).collect();
        sync_folder(&path)?;
        Ok(Self {
            path,
            file,
            length: from + kept as u64,
            rotate_at,
            recent,
            clock,
        })
    }

    fn write_all(mut self, mut waiting: mpsc::Receiver<Line>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            batch.clear();
            if waiting.blocking_recv().map(|line| batch.push(line)).is_none() {
                return;
            }
            while batch.len() < BATCH
                && let Ok(line) = waiting.try_recv()
            {
                batch.push(line);
            }
            let outcome = self.append(&batch).map_err(|error| {
                tracing::error!(file = %self.path.display(), %error, "results cannot be written");
                // What was written of the batch is cut off, so that no line stands half written before the next one.
                let _ = self.file.set_len(self.length);
                "the file cannot be written"
            });
            for line in batch.drain(..) {
                let _ = line.done.send(outcome);
            }
        }
    }

    fn append(&mut self, batch: &[Line]) -> io::Result<()> {
        if self.rotate_at.is_some_and(|limit| self.length >= limit) {
            self.rotate()?;
        }
        let new = || batch.iter().filter(|line| !self.recent.contains(&line.id));
        let length = new().map(|line| line.text.expose().len() + 1).sum();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for line in new() {
            text.push_str(line.text.expose());
            text.push('\n');
        }
        crash::point("deliver.jsonl.before");
        self.file.write_all(text.as_bytes())?;
        crash::point("deliver.jsonl.after");
        self.length += text.len() as u64;
        if self.recent.len() > 20_000 {
            self.recent.clear();
        }
        self.recent.extend(batch.iter().map(|line| line.id));
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let stamp = self.clock.now().to_string().replace([':', '.'], "-");
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let old = self.path.with_file_name(format!("{stem}.{stamp}.jsonl"));
        if old.exists() {
            return Ok(());
        }
        fs::rename(&self.path, &old)?;
        self.file = open(&self.path)?;
        self.length = 0;
        sync_folder(&self.path)
    }
}

/// Opens a file of results. What a write has put into it is on the disk when the write returns.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::DSYNC.bits().cast_signed())
        .open(path)
}

/// Makes a new or renamed file's name durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The id of a line: it stands first, as `{"id":"01J…"`.
fn id_of(line: &[u8]) -> Option<GrantId> {
    let rest = line.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|b| *b == b'"')?;
    str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{SystemClock, Timestamp};

    fn delivery(n: u128) -> Delivery {
        let id = GrantId::new(Timestamp::from_secs(1_700_000_000), n);
        Delivery {
            id,
            kind: "authorization.completed".to_owned(),
            body: PersonalData::new(format!("{{\"id\":\"{id}\",\"n\":{n}}}")),
            user: None,
            settled_at: Timestamp::from_secs(1_700_000_000),
            uncertain: false,
        }
    }

    async fn deliver(sink: &JsonLines, n: u128) -> DeliveryAnswer {
        sink.deliver(&delivery(n), Permit::unlimited()).await
    }

    #[tokio::test]
    async fn a_torn_last_line_is_cut_off_and_a_repeat_is_not_written_twice() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out/results.jsonl");
        let sink = JsonLines::open(&path, None, SystemClock::shared()).expect("opens");
        assert_eq!(deliver(&sink, 1).await, DeliveryAnswer::Delivered);
        assert_eq!(deliver(&sink, 2).await, DeliveryAnswer::Delivered);
        drop(sink);
        let mut torn = OpenOptions::new().append(true).open(&path).expect("opens");
        torn.write_all(b"{\"id\":\"torn").expect("writes");
        drop(torn);
        let sink = JsonLines::open(&path, None, SystemClock::shared()).expect("opens");
        assert_eq!(deliver(&sink, 2).await, DeliveryAnswer::Delivered);
        assert_eq!(deliver(&sink, 3).await, DeliveryAnswer::Delivered);
        let text = fs::read_to_string(&path).expect("reads");
        let numbers: Vec<_> = text.lines().map(|l| l.rsplit_once(':').expect("a field").1).collect();
        assert_eq!(numbers, ["1}", "2}", "3}"]);
    }

    #[tokio::test]
    async fn a_file_that_has_grown_is_rotated_and_nothing_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.jsonl");
        let sink = JsonLines::open(&path, Some(100), SystemClock::shared()).expect("opens");
        for n in 0..10 {
            assert_eq!(deliver(&sink, n).await, DeliveryAnswer::Delivered);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let files: Vec<_> = fs::read_dir(folder.path())
            .expect("lists")
            .map(|f| f.expect("a file").path())
            .collect();
        let lines: usize = files
            .iter()
            .map(|f| fs::read_to_string(f).expect("reads").lines().count())
            .sum();
        assert!(files.len() > 2, "{files:?}");
        assert_eq!(lines, 10);
    }

    #[test]
    fn a_line_is_on_the_disk_when_its_write_returns() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = LineFile::open(folder.path().join("results.jsonl"), Some(1), SystemClock::shared());
        let mut file = file.expect("opens");
        let synced = |file: &LineFile| {
            let flags = rustix::fs::fcntl_getfl(&file.file).expect("flags");
            flags.contains(OFlags::DSYNC)
        };
        assert!(synced(&file));
        file.rotate().expect("rotates");
        assert!(synced(&file), "after a rotation");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_named() {
        let error = JsonLines::open(Path::new("/proc/nowhere/x.jsonl"), None, SystemClock::shared()).err();
        assert!(error.expect("refused").to_string().contains("/proc/nowhere/x.jsonl"));
    }
}
