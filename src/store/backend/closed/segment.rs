//! One segment file: what the engine knows of it, appending to it, and reading it back with every check.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::disk::Disk;
use super::super::meta::{decode_totals, encode_totals};
use super::super::record::{sortable, unsortable};
use super::block::{self, Entry, HEADER, Tag};
use crate::ids::GrantId;
use crate::store::port::ClosedTotals;
use crate::time::Timestamp;

/// What the engine's record says of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its length. Bytes beyond it were never acknowledged.
    pub bytes: u64,
    /// The tag of its last block.
    pub tag: Tag,
    /// The lowest and the highest id in it.
    pub lowest: GrantId,
    pub highest: GrantId,
    /// The earliest and the latest moment that a sweep must pass to forget one of it, of those that are kept.
    pub oldest: Timestamp,
    pub newest: Timestamp,
    /// Those of it that no sweep has forgotten.
    pub kept: ClosedTotals,
}

/// Why a segment could not be read.
#[derive(Debug)]
pub enum Trouble {
    /// The system refused.
    Io(PathBuf, io::Error),
    /// It is not what was written.
    Damage(String),
}

impl Segment {
    /// One without blocks, which nothing refers to yet.
    pub fn empty(number: u64) -> Self {
        Self {
            bytes: HEADER as u64,
            tag: block::first_tag(number),
            lowest: GrantId(ulid::Ulid(u128::MAX)),
            highest: GrantId(ulid::Ulid(0)),
            oldest: Timestamp::from_millis(i64::MAX),
            newest: Timestamp::from_millis(i64::MIN),
            kept: ClosedTotals::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == HEADER as u64
    }

    /// Counts an entry in.
    pub fn count(&mut self, entry: &Entry<'_>) {
        self.lowest = self.lowest.min(entry.id);
        self.highest = self.highest.max(entry.id);
        self.oldest = self.oldest.min(entry.since);
        self.newest = self.newest.max(entry.since);
        self.kept.add(entry.outcome);
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.tag);
        out.extend_from_slice(&self.lowest.0.to_bytes());
        out.extend_from_slice(&self.highest.0.to_bytes());
        out.extend_from_slice(&sortable(self.oldest));
        out.extend_from_slice(&sortable(self.newest));
        encode_totals(&self.kept, &mut out);
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (tag, rest) = rest.split_first_chunk::<16>()?;
        let (lowest, rest) = rest.split_first_chunk::<16>()?;
        let (highest, rest) = rest.split_first_chunk::<16>()?;
        let (oldest, rest) = rest.split_first_chunk::<8>()?;
        let (newest, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            bytes: u64::from_be_bytes(*length),
            tag: *tag,
            lowest: GrantId(ulid::Ulid::from_bytes(*lowest)),
            highest: GrantId(ulid::Ulid::from_bytes(*highest)),
            oldest: unsortable(*oldest),
            newest: unsortable(*newest),
            kept: decode_totals(rest)?,
        })
    }

    /// Writes what follows the acknowledged bytes, and sees to it that it is on the disk. Whatever an append that was cut
    /// off has left there is written over.
    pub fn append(&self, dir: &Path, number: u64, blocks: &[u8], disk: &Disk) -> io::Result<()> {
        let path = path(dir, number);
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        if !self.is_empty() {
            let file = options.open(path)?;
            file.write_all_at(blocks, self.bytes)?;
            return disk.sync_data(&file);
        }
        // What an earlier attempt may have left was never acknowledged.
        let file = options.create(true).truncate(true).open(path)?;
        file.write_all_at(&[&block::header(number)[..], blocks].concat(), 0)?;
        disk.sync_data(&file)?;
        disk.sync_dir(dir)
    }

    /// Its acknowledged bytes, checked from the header to the last block's tag.
    pub fn read(&self, dir: &Path, number: u64) -> Result<Contents, Trouble> {
        let path = path(dir, number);
        let damage = |what: &str| Err(Trouble::Damage(format!("the file `{}` {what}", path.display())));
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return damage("is missing"),
            Err(e) => return Err(Trouble::Io(path, e)),
            Ok(file) => file,
        };
        let mut bytes = Vec::new();
        if let Err(e) = file.take(self.bytes).read_to_end(&mut bytes) {
            return Err(Trouble::Io(path, e));
        }
        if bytes.len() as u64 != self.bytes {
            return damage("is shorter than what was acknowledged");
        }
        let mut ends = Vec::new();
        let mut tag = block::first_tag(number);
        if bytes.get(..HEADER) != Some(&block::header(number)[..]) {
            return damage("does not begin as its kind does");
        }
        let mut rest = &bytes[HEADER..];
        while !rest.is_empty() {
            let Some((next, payload)) = block::take(&mut rest, tag) else {
                return damage("is not as it was written: a block's tag does not fit");
            };
            if block::entries(payload).is_none() {
                return damage("holds a record that cannot be read");
            }
            tag = next;
            ends.push(bytes.len() - rest.len());
        }
        if tag != self.tag {
            return damage("is not the one that was acknowledged");
        }
        Ok(Contents { bytes, ends })
    }
}

/// A segment's checked bytes.
pub struct Contents {
    bytes: Vec<u8>,
    /// Where each block ends.
    ends: Vec<usize>,
}

impl Contents {
    /// All records, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        let starts = std::iter::once(HEADER).chain(self.ends.iter().copied());
        let blocks: Vec<_> = starts.zip(self.ends.iter().copied()).collect();
        blocks.into_iter().flat_map(|(start, end)| {
            let payload = &self.bytes[start + block::BLOCK_HEAD..end];
            block::entries(payload).expect("checked when it was read")
        })
    }
}

/// The file of a segment.
pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(number.to_string())
}

/// The numbers of the files in a folder of segments.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        // Files of other names are none of ours, and stay.
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(found)
}
