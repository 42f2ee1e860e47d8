//! The file of the write-ahead log: which bytes lie where, and what a start can tell from them. It knows no records.
//!
//! ```text
//! 0        header, in two slots of 4096 bytes that are written in turn: of two sound ones the newer counts
//! 8192     frames, each from a multiple of 64 bytes on; bytes of earlier epochs follow the last one
//!
//! header   "codeferry log 1\n" | epoch (8) | base (8) | acknowledged (8) | file's length (8) | CRC-32
//! frame    "cfwa" | CRC-32 of all that follows | payload's length (4) | 0 (4) | epoch (8) | commit (8) | payload
//! ```
//!
//! The file keeps its length and is full of zeros from the start, so that syncing a frame writes no metadata. An epoch begins
//! when everything of the one before is in the engine; its frames then overwrite the older ones. A frame is written only
//! after the one before it was synced, so a crash can tear the last frame alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::disk::Disk;
use crate::store::engine::Writes;
use crate::store::error::StoreError;

const MAGIC: &[u8; 16] = b"codeferry log 1\n";
const FRAME_MAGIC: &[u8; 4] = b"cfwa";
const SLOT: u64 = 4096;
const HEADER: usize = 52;
const FRAMES_AT: usize = 2 * SLOT as usize;
const FRAME_HEAD: usize = 32;
const ALIGN: usize = 64;
/// Read and written at once where it is much.
const PIECE: usize = 16 * 1024;
/// The length that says that a key is removed.
const REMOVED: u32 = u32::MAX;

/// What stands at the head of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Rises each time the log starts again.
    pub epoch: u64,
    /// The last commit before the first frame: the engine has it and all before it.
    pub base: u64,
    /// A commit that was surely acknowledged. It is written when nothing else is to do.
    pub acknowledged: u64,
}

/// The log's file, with the place of the next frame.
pub struct LogFile {
    file: File,
    path: PathBuf,
    length: usize,
    header: Header,
    /// The slot that the next header goes to.
    slot: u64,
    end: usize,
    /// The next frame's bytes; kept so that a commit allocates nothing.
    frame: Vec<u8>,
}

/// What a log holds.
pub struct Found {
    pub header: Header,
    /// The number of the last sound frame; `base` where there is none.
    pub last: u64,
    /// The frames' writes, the last of each key.
    pub writes: Writes,
}

impl LogFile {
    /// Makes the file. The caller syncs it.
    pub fn create(path: &Path, length: usize) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let header = Header {
            epoch: 1,
            base: 0,
            acknowledged: 0,
        };
        let whole = length.max(FRAMES_AT + ALIGN);
        file.write_all_at(&header_bytes(header, whole), 0)?;
        // In pieces: once one block of this size is freed, glibc keeps up to twice as much of what is freed later.
        let zeros = [0; PIECE];
        for at in (HEADER..whole).step_by(zeros.len()) {
            file.write_all_at(&zeros[..zeros.len().min(whole - at)], at as u64)?;
        }
        Ok(())
    }

    /// Opens the file and reads what it holds. `epoch` is the one that the engine names: with it a header that is missing is
    /// told from one that was never written.
    pub fn open(path: &Path, epoch: u64) -> Result<(Self, Found), StoreError> {
        let unread = |e| StoreError::io(format!("failed to read `{}`", path.display()), &e);
        let damaged = |what: String| StoreError::damaged(format!("high_water_mark: `{}` {what}", path.display()));
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(unread)?;
        let bytes = file.metadata().map_err(unread)?.len();
        let heads = read(&file, 0, FRAMES_AT).map_err(unread)?;
        let slots = [0, 1].map(|slot: usize| read_header(heads.get(slot * SLOT as usize..)?));
        let newest = |slot: &usize| slots[*slot].map(|(header, _)| (header.epoch, header.acknowledged));
        let slot = usize::from(newest(&1) > newest(&0));
        let Some((header, length)) = slots[slot] else {
            return Err(damaged("has no sound header".to_owned()));
        };
        if bytes != length {
            return Err(damaged(format!("has {bytes} bytes where it had {length}")));
        }
        let mut found = Found {
            header,
            last: header.base,
            writes: Writes::new(),
        };
        let mut end = FRAMES_AT;
        while let Some((frame, payload)) = read_frame(&file, end).map_err(unread)?
            && (frame.epoch, frame.commit) == (header.epoch, found.last + 1)
        {
            decode(&payload, &mut found.writes)
                .ok_or_else(|| damaged(format!("holds a commit {} that cannot be read", frame.commit)))?;
            found.last = frame.commit;
            end = frame.end;
        }
        if let Some(commit) = commit_behind(&file, end, header.epoch).map_err(unread)? {
            return Err(damaged(format!(
                "ends with commit {}, and commit {commit} stands behind it",
                found.last
            )));
        }
        if found.last < header.acknowledged {
            return Err(damaged(format!(
                "ends with commit {} where commit {} was acknowledged",
                found.last, header.acknowledged
            )));
        }
        // Between the engine's last step into a new epoch and the header of it a crash leaves the header one behind.
        if header.epoch != epoch && header.epoch + 1 != epoch {
            return Err(damaged(format!(
                "is of epoch {} where the engine is in {epoch}",
                header.epoch
            )));
        }
        let log = Self {
            file,
            path: path.to_owned(),
            length: length as usize,
            header,
            slot: 1 - slot as u64,
            end,
            frame: Vec::new(),
        };
        Ok((log, found))
    }

    /// What the file holds now.
    pub fn reread(&self, epoch: u64) -> Result<Found, StoreError> {
        Self::open(&self.path, epoch).map(|(_, found)| found)
    }

    /// The header as it is on the disk.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Whether no frame stands in this epoch.
    pub fn is_empty(&self) -> bool {
        self.end == FRAMES_AT
    }

    /// Whether half of the room is used.
    pub fn is_half_full(&self) -> bool {
        2 * (self.end - FRAMES_AT) > self.length - FRAMES_AT
    }

    /// Whether a log that is empty has room for these writes.
    pub fn could_take(&self, writes: &Writes) -> bool {
        frame_length(writes) <= self.length - FRAMES_AT
    }

    /// Whether there is room for these writes now.
    pub fn takes(&self, writes: &Writes) -> bool {
        frame_length(writes) <= self.length - self.end
    }

    /// Appends a frame with one write to the file. The caller syncs it.
    pub fn append(&mut self, commit: u64, writes: &Writes) -> Result<(), StoreError> {
        self.frame.clear();
        self.frame.resize(FRAME_HEAD, 0);
        encode(writes, &mut self.frame);
        let payload = (self.frame.len() - FRAME_HEAD) as u32;
        self.frame[..4].copy_from_slice(FRAME_MAGIC);
        self.frame[8..12].copy_from_slice(&payload.to_be_bytes());
        self.frame[16..24].copy_from_slice(&self.header.epoch.to_be_bytes());
        self.frame[24..32].copy_from_slice(&commit.to_be_bytes());
        let sum = crc32fast::hash(&self.frame[8..]);
        self.frame[4..8].copy_from_slice(&sum.to_be_bytes());
        self.frame.resize(self.frame.len().next_multiple_of(ALIGN), 0);
        self.file
            .write_all_at(&self.frame, self.end as u64)
            .map_err(|e| self.failed("write", &e))?;
        self.end += self.frame.len();
        Ok(())
    }

    /// Makes the frames durable.
    pub fn sync(&self, disk: &Disk) -> Result<(), StoreError> {
        disk.sync_data(&self.file).map_err(|e| self.failed("sync", &e))
    }

    /// Writes a new header, durably. A new epoch has no frames.
    pub fn write_header(&mut self, header: Header, disk: &Disk) -> Result<(), StoreError> {
        let bytes = header_bytes(header, self.length);
        self.file
            .write_all_at(&bytes, self.slot * SLOT)
            .map_err(|e| self.failed("write", &e))?;
        self.sync(disk)?;
        if header.epoch != self.header.epoch {
            self.end = FRAMES_AT;
            self.frame.shrink_to(FRAMES_AT);
        }
        self.header = header;
        self.slot = 1 - self.slot;
        Ok(())
    }

    fn failed(&self, what: &str, e: &io::Error) -> StoreError {
        StoreError::io(format!("failed to {what} `{}`", self.path.display()), e)
    }
}

fn header_bytes(header: Header, length: usize) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..16].copy_from_slice(MAGIC);
    let numbers = [header.epoch, header.base, header.acknowledged, length as u64];
    for (to, number) in bytes[16..48].chunks_exact_mut(8).zip(numbers) {
        to.copy_from_slice(&number.to_be_bytes());
    }
    let sum = crc32fast::hash(&bytes[..48]);
    bytes[48..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A slot's header and the file's length; `None` where it is not sound.
fn read_header(slot: &[u8]) -> Option<(Header, u64)> {
    let bytes = slot.first_chunk::<HEADER>()?;
    let sound = bytes[..16] == *MAGIC && bytes[48..] == crc32fast::hash(&bytes[..48]).to_be_bytes();
    let header = Header {
        epoch: number(&bytes[16..])?,
        base: number(&bytes[24..])?,
        acknowledged: number(&bytes[32..])?,
    };
    sound.then_some((header, number(&bytes[40..])?))
}

#[derive(Clone, Copy)]
struct Frame {
    epoch: u64,
    commit: u64,
    /// Where the next one begins.
    end: usize,
}

/// So many bytes from a place on, or what there is of them. Nothing reads the whole file: see [`LogFile::create`].
fn read(mut file: &File, at: usize, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at as u64))?;
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The sound frame that begins here.
fn read_frame(file: &File, at: usize) -> io::Result<Option<(Frame, Vec<u8>)>> {
    let head = read(file, at, FRAME_HEAD)?;
    let Some(length) = payload_length(&head) else {
        return Ok(None);
    };
    let payload = read(file, at + FRAME_HEAD, length)?;
    let mut sum = crc32fast::Hasher::new();
    sum.update(&head[8..]);
    sum.update(&payload);
    let sound = payload.len() == length && head[4..8] == sum.finalize().to_be_bytes();
    let frame = || {
        Some(Frame {
            epoch: number(&head[16..])?,
            commit: number(&head[24..])?,
            end: at + (FRAME_HEAD + length).next_multiple_of(ALIGN),
        })
    };
    Ok(sound.then(frame).flatten().map(|frame| (frame, payload)))
}

fn payload_length(head: &[u8]) -> Option<usize> {
    let head = head.first_chunk::<FRAME_HEAD>()?;
    let length = u32::from_be_bytes(head[8..12].try_into().ok()?);
    (head[..4] == *FRAME_MAGIC).then_some(length as usize)
}

/// The commit of a sound frame of this epoch or a later one, anywhere from here on.
fn commit_behind(file: &File, end: usize, epoch: u64) -> io::Result<Option<u64>> {
    let mut from = end;
    loop {
        let piece = read(file, from, PIECE)?;
        for at in (0..piece.len()).step_by(ALIGN) {
            if piece[at..].starts_with(FRAME_MAGIC)
                && let Some((frame, _)) = read_frame(file, from + at)?
                && frame.epoch >= epoch
            {
                return Ok(Some(frame.commit));
            }
        }
        if piece.len() < PIECE {
            return Ok(None);
        }
        from += PIECE;
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

fn frame_length(writes: &Writes) -> usize {
    let value = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    let payload: usize = writes.iter().map(|(key, v)| 5 + key.len() + value(v)).sum();
    (FRAME_HEAD + payload).next_multiple_of(ALIGN)
}

/// Each write: the key's length (1), the key, the value's length (4), the value.
fn encode(writes: &Writes, to: &mut Vec<u8>) {
    for (key, value) in writes {
        to.push(u8::try_from(key.len()).expect("keys are short"));
        to.extend_from_slice(key);
        let length = value.as_ref().map_or(REMOVED, |value| value.len() as u32);
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(value.as_deref().unwrap_or_default());
    }
}

fn decode(mut rest: &[u8], to: &mut Writes) -> Option<()> {
    while let Some((length, after)) = rest.split_first() {
        let (key, after) = after.split_at_checked(usize::from(*length))?;
        let (length, after) = after.split_first_chunk()?;
        let length = u32::from_be_bytes(*length);
        let (value, after) = match length {
            REMOVED => (None, after),
            _ => after
                .split_at_checked(length as usize)
                .map(|(value, after)| (Some(value.to_vec()), after))?,
        };
        to.insert(key.to_vec(), value);
        rest = after;
    }
    Some(())
}
