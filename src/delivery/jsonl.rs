//! JSON Lines: one result a line, appended and synced before it counts as delivered.
//!
//! The file is open with `O_DSYNC`, so one write puts all waiting lines on the disk. A torn last line was never counted,
//! so it is cut off at opening. The path is the promise, not the open file: logrotate may move, remove or truncate it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    orders: mpsc::Sender<Order>,
}

enum Order {
    Write(Line),
    Reopen,
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
        let (orders, waiting) = mpsc::channel(BATCH * 4);
        std::thread::Builder::new()
            .name("codeferry-jsonl".to_owned())
            .spawn(move || file.write_all(waiting))
            .map_err(|source| CannotWrite {
                path: path.to_owned(),
                source,
            })?;
        Ok(Rc::new(Self { orders }))
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
            if self.orders.send(Order::Write(line)).await.is_err() {
                return failed("the thread that writes the file has ended");
            }
            match written.await {
                Ok(Ok(())) => DeliveryAnswer::Delivered,
                Ok(Err(reason)) => failed(reason),
                Err(_) => failed("the thread that writes the file has ended"),
            }
        }
        .boxed_local()
    }

    fn reopen(&self) {
        // Where so many lines wait that this finds no room, the path is looked at with the next of them.
        let _ = self.orders.try_send(Order::Reopen);
    }
}

struct LineFile {
    path: PathBuf,
    file: File,
    rotate_at: Option<u64>,
    recent: HashSet<GrantId>,
    clock: SharedClock,
}

impl LineFile {
    fn open(path: PathBuf, rotate_at: Option<u64>, clock: SharedClock) -> io::Result<Self> {
        make_folder(&path)?;
        let file = open(&path)?;
        let mut opened = Self {
            path,
            file,
            rotate_at,
            recent: HashSet::new(),
            clock,
        };
        opened.cut_and_remember()?;
        Ok(opened)
    }

    /// Cuts off a torn last line and remembers the ids of the last lines.
    fn cut_and_remember(&mut self) -> io::Result<()> {
        let from = self.length()?.saturating_sub(REMEMBERED_TAIL);
        self.file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        self.file.read_to_end(&mut tail)?;
        let kept = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if kept < tail.len() {
            // With no line break in the whole tail the file is not ours to cut.
            if kept == 0 && from > 0 {
                return Err(io::Error::other(
                    "its last megabyte has no line break: this is not a results file",
                ));
            }
            tracing::warn!(file = %self.path.display(), bytes = tail.len() - kept, "an incomplete last line was removed");
            self.file.set_len(from + kept as u64)?;
            self.file.sync_all()?;
        }
        self.recent
            .extend(tail[..kept].split(|b| *b == b'\n').filter_map(id_of));
        sync_folder(&self.path)
    }

    /// Opens the path again. What was written to the earlier file stays known.
    fn reopen(&mut self) -> io::Result<()> {
        make_folder(&self.path)?;
        let earlier = std::mem::replace(&mut self.file, open(&self.path)?);
        // A file that is not ours is not written into at the next attempt either.
        self.cut_and_remember().inspect_err(|_| self.file = earlier)
    }

    /// Opens the path again where another file stands there now, or none.
    fn follow_path(&mut self) -> io::Result<()> {
        let open = self.file.metadata()?;
        let there = fs::metadata(&self.path);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())) {
            return Ok(());
        }
        tracing::info!(file = %self.path.display(), "the file was moved or removed: results go to a new one");
        self.reopen()
    }

    /// As the disk has it: others may truncate the file.
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_all(mut self, mut waiting: mpsc::Receiver<Order>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(mut order) = waiting.blocking_recv() {
            let mut reopen = false;
            loop {
                match order {
                    Order::Write(line) => batch.push(line),
                    Order::Reopen => reopen = true,
                }
                match waiting.try_recv() {
                    Ok(next) if batch.len() < BATCH => order = next,
                    _ => break,
                }
            }
            let opened = if reopen { self.reopen() } else { Ok(()) };
            let outcome = opened.and_then(|()| self.append(&batch)).map_err(|error| {
                tracing::error!(file = %self.path.display(), %error, "results cannot be written");
                "the file cannot be written"
            });
            for line in batch.drain(..) {
                let _ = line.done.send(outcome);
            }
        }
    }

    fn append(&mut self, batch: &[Line]) -> io::Result<()> {
        self.follow_path()?;
        if self
            .rotate_at
            .is_some_and(|limit| self.length().is_ok_and(|length| length >= limit))
        {
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
        let whole = self.length()?;
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            // What was written of the batch is cut off, so that no line stands half written before the next one. The file
            // may have been truncated since: it is never made longer.
            let _ = self.file.set_len(whole.min(self.length()?));
            return Err(error);
        }
        crash::point("deliver.jsonl.after");
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
        self.reopen()
    }
}

/// Appends one line that is no result, beside a service that may have the file open: nothing is cut off or remembered.
pub fn append_test(path: &Path, line: &str) -> io::Result<()> {
    make_folder(path)?;
    let mut file = open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            return Err(io::Error::other("its last line is torn, or a result is being written"));
        }
    }
    file.write_all(format!("{line}\n").as_bytes())
}

fn make_folder(path: &Path) -> io::Result<()> {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .map_or(Ok(()), fs::create_dir_all)
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

    fn numbers(path: &Path) -> String {
        let text = fs::read_to_string(path).expect("reads");
        text.lines().map(|line| &line[line.len() - 2..line.len() - 1]).collect()
    }

    #[tokio::test]
    async fn results_go_to_the_path_when_its_file_was_moved_removed_or_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("out/results.jsonl"), folder.path().join("moved"));
        let sink = JsonLines::open(&path, None, SystemClock::shared()).expect("opens");
        assert_eq!(deliver(&sink, 1).await, DeliveryAnswer::Delivered);
        fs::rename(&path, &moved).expect("moved");
        assert_eq!(deliver(&sink, 2).await, DeliveryAnswer::Delivered);
        // What stands in the file that was moved is not written again.
        assert_eq!(deliver(&sink, 1).await, DeliveryAnswer::Delivered);
        assert_eq!((numbers(&moved), numbers(&path)), ("1".to_owned(), "2".to_owned()));
        fs::remove_dir_all(path.parent().expect("a folder")).expect("removed");
        assert_eq!(deliver(&sink, 3).await, DeliveryAnswer::Delivered);
        assert_eq!(numbers(&path), "3");
        fs::write(&moved, "").expect("written");
        fs::rename(&moved, &path).expect("replaced");
        assert_eq!(deliver(&sink, 4).await, DeliveryAnswer::Delivered);
        assert_eq!(numbers(&path), "4");
    }

    #[tokio::test]
    async fn a_file_that_was_moved_is_let_go_when_the_sink_is_told_to_reopen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.jsonl");
        let sink = JsonLines::open(&path, None, SystemClock::shared()).expect("opens");
        fs::rename(&path, folder.path().join("moved")).expect("moved");
        sink.reopen();
        for _ in 0..1_000 {
            if path.exists() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("there is no new file");
    }

    #[test]
    fn a_file_that_was_truncated_gets_no_nul_bytes_when_a_write_fails() {
        use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.jsonl");
        let memory = File::from(memfd_create("results", MemfdFlags::ALLOW_SEALING).expect("a file"));
        let there = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory));
        std::os::unix::fs::symlink(there, &path).expect("linked");
        let mut file = LineFile::open(path.clone(), None, SystemClock::shared()).expect("opens");
        let line = |n| Line {
            id: delivery(n).id,
            text: delivery(n).body,
            done: oneshot::channel().0,
        };
        file.append(&[line(1), line(2)]).expect("written");
        memory.set_len(0).expect("truncated");
        // From here on no write succeeds, as on a full disk; the length can be changed all the same.
        fcntl_add_seals(&memory, SealFlags::WRITE).expect("sealed");
        file.append(&[line(3)]).expect_err("it cannot be written");
        assert_eq!(fs::read(&path).expect("reads"), b"");
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
