//! All closed grants that are kept, in the order in which they closed: the newest in the tail, the others in segments.
//! It plans changes of the engine's records and appends to files; applying the records is the caller's part.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::super::disk::Disk;
use super::super::record::{sortable, unsortable};
use super::block::{self, Entry};
use super::segment::{self, Segment, Trouble};
use crate::crash;
use crate::grant::ClosedGrant;
use crate::ids::GrantId;
use crate::store::port::ClosedTotals;
use crate::time::Timestamp;

/// The second crash point of a sweep lies between its commit and the removal of files.
pub const SWEEP_POINT: [&str; 2] = ["sweep.before", "sweep.after"];
const APPEND_POINT: [&str; 2] = ["segment.before", "segment.after"];

/// When a block and a segment are full. Readers do not care: both may change from version to version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of records in a block, at most. The engine rewrites up to as much with each commit that closes something.
    pub block: usize,
    /// Bytes of a segment after which the next one begins.
    pub segment: u64,
    /// Time after which the next one begins: a segment goes as a whole, and only when its newest grant may.
    pub slice: Duration,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            block: 3_000,
            segment: 256 * 1024,
            slice: Duration::from_hours(1),
        }
    }
}

/// The engine's record of what is not yet in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// What closed before this moment is forgotten, wherever it still lies.
    pub swept_to: Timestamp,
    /// The number of the next segment. None is ever given again.
    pub next: u64,
    /// Records, oldest first, all of them kept.
    pub records: Vec<u8>,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            swept_to: Timestamp::from_millis(i64::MIN),
            next: 1,
            records: Vec::new(),
        }
    }
}

impl Tail {
    pub fn encode(&self) -> Vec<u8> {
        [
            &sortable(self.swept_to)[..],
            &self.next.to_be_bytes()[..],
            &self.records[..],
        ]
        .concat()
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (swept_to, rest) = bytes.split_first_chunk::<8>()?;
        let (next, records) = rest.split_first_chunk::<8>()?;
        block::entries(records)?;
        Some(Self {
            swept_to: unsortable(*swept_to),
            next: u64::from_be_bytes(*next),
            records: records.to_vec(),
        })
    }

    /// Its records.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        block::entries(&self.records).expect("what was written or decoded reads")
    }
}

/// What becomes of the engine's records.
#[derive(Debug)]
pub struct LogChange {
    pub tail: Tail,
    /// Segments that have grown, and segments that go.
    pub segments: BTreeMap<u64, Option<Segment>>,
    /// Counts of what a sweep has forgotten.
    pub forgotten: ClosedTotals,
}

/// See the file's head.
#[derive(Debug)]
pub struct Log {
    pub dir: PathBuf,
    pub sizes: Sizes,
    pub tail: Tail,
    pub segments: BTreeMap<u64, Segment>,
}

impl Log {
    /// Adds grants that close. Blocks that are full are on the disk when it returns; they count once the change is.
    pub fn append(&self, closing: &[&ClosedGrant], disk: &Disk) -> io::Result<LogChange> {
        let mut change = LogChange {
            tail: self.tail.clone(),
            segments: BTreeMap::new(),
            forgotten: ClosedTotals::default(),
        };
        let mut growing = None;
        let mut record = Vec::new();
        for closed in closing {
            record.clear();
            block::put(&mut record, closed, closed.closed_at.max(change.tail.swept_to));
            if change.tail.records.len() + record.len() > self.sizes.block {
                self.cut(&mut change, &mut growing, disk)?;
            }
            change.tail.records.extend_from_slice(&record);
        }
        self.write(&mut change, growing, disk)?;
        Ok(change)
    }

    /// Makes the tail a block of the segment that grows.
    fn cut(&self, change: &mut LogChange, growing: &mut Option<Growing>, disk: &Disk) -> io::Result<()> {
        let payload = std::mem::take(&mut change.tail.records);
        let entries = block::entries(&payload).expect("just written");
        let newest = entries.iter().map(|entry| entry.since).max();
        let mut grown = match growing.take() {
            Some(grown) => grown,
            None => self.newest().unwrap_or_else(|| Growing::new(&mut change.tail)),
        };
        let spans = newest.is_some_and(|newest| newest.since(grown.after.oldest) > self.sizes.slice);
        if !grown.after.is_empty() && (grown.after.bytes >= self.sizes.segment || spans) {
            self.write(change, Some(grown), disk)?;
            grown = Growing::new(&mut change.tail);
        }
        let before = grown.blocks.len();
        grown.after.tag = block::append(&mut grown.blocks, grown.after.tag, &payload);
        grown.after.bytes += (grown.blocks.len() - before) as u64;
        for entry in &entries {
            grown.after.count(entry);
        }
        *growing = Some(grown);
        Ok(())
    }

    fn newest(&self) -> Option<Growing> {
        self.segments.last_key_value().map(|(number, segment)| Growing {
            number: *number,
            before: *segment,
            after: *segment,
            blocks: Vec::new(),
        })
    }

    fn write(&self, change: &mut LogChange, growing: Option<Growing>, disk: &Disk) -> io::Result<()> {
        let Some(grown) = growing.filter(|grown| !grown.blocks.is_empty()) else {
            return Ok(());
        };
        crash::point(APPEND_POINT[0]);
        grown.before.append(&self.dir, grown.number, &grown.blocks, disk)?;
        crash::point(APPEND_POINT[1]);
        change.segments.insert(grown.number, Some(grown.after));
        Ok(())
    }

    /// Forgets what closed before a moment; `None` where that is nothing. Only segments of which a part goes are read.
    pub fn sweep(&self, before: Timestamp) -> Result<Option<LogChange>, Trouble> {
        let mut change = LogChange {
            tail: Tail {
                swept_to: self.tail.swept_to.max(before),
                records: Vec::new(),
                ..self.tail.clone()
            },
            segments: BTreeMap::new(),
            forgotten: ClosedTotals::default(),
        };
        for (number, segment) in &self.segments {
            if segment.newest < before {
                change.forgotten.add_all(&segment.kept);
                change.segments.insert(*number, None);
            } else if segment.oldest < before {
                let mut left = Segment {
                    oldest: Timestamp::from_millis(i64::MAX),
                    ..*segment
                };
                for entry in segment.read(&self.dir, *number)?.entries() {
                    if entry.since >= before {
                        left.oldest = left.oldest.min(entry.since);
                    } else if entry.since >= self.tail.swept_to {
                        left.kept.remove(entry.outcome);
                        change.forgotten.add(entry.outcome);
                    }
                }
                change.segments.insert(*number, Some(left));
            }
        }
        for entry in self.tail.entries() {
            if entry.since < before {
                change.forgotten.add(entry.outcome);
            } else {
                block::put(&mut change.tail.records, &entry.closed(), entry.since);
            }
        }
        let nothing = change.segments.is_empty() && change.forgotten.sum() == 0;
        Ok((!nothing).then_some(change))
    }

    /// What the engine's records say now.
    pub fn apply(&mut self, change: LogChange) {
        self.tail = change.tail;
        for (number, segment) in change.segments {
            match segment {
                Some(segment) => self.segments.insert(number, segment),
                None => self.segments.remove(&number),
            };
        }
    }

    /// A closed grant that is kept. Segments whose ids lie elsewhere are not read.
    pub fn find(&self, id: GrantId) -> Result<Option<ClosedGrant>, Trouble> {
        if let Some(entry) = self.tail.entries().iter().rev().find(|entry| entry.id == id) {
            return Ok(Some(entry.closed()));
        }
        for (number, segment) in self.segments.iter().rev() {
            if !(segment.lowest..=segment.highest).contains(&id) {
                continue;
            }
            let contents = segment.read(&self.dir, *number)?;
            let found = contents.entries().rev().find(|entry| entry.id == id);
            if let Some(entry) = found.filter(|entry| self.keeps(entry)) {
                return Ok(Some(entry.closed()));
            }
        }
        Ok(None)
    }

    /// The newest, last closed first.
    pub fn newest_closed(&self, limit: usize) -> Result<Vec<ClosedGrant>, Trouble> {
        let tail = self.tail.entries();
        let mut found: Vec<_> = tail.iter().rev().take(limit).map(Entry::closed).collect();
        for (number, segment) in self.segments.iter().rev() {
            if found.len() >= limit {
                break;
            }
            let contents = segment.read(&self.dir, *number)?;
            let kept = contents.entries().rev().filter(|entry| self.keeps(entry));
            found.extend(kept.take(limit - found.len()).map(|entry| entry.closed()));
        }
        Ok(found)
    }

    fn keeps(&self, entry: &Entry<'_>) -> bool {
        entry.since >= self.tail.swept_to
    }

    /// Reads every segment: each must be what its record says. `also` sees every id.
    pub fn check(&self, mut also: impl FnMut(GrantId)) -> Result<Vec<String>, Trouble> {
        let mut damage = Vec::new();
        for entry in self.tail.entries() {
            also(entry.id);
        }
        for (number, segment) in &self.segments {
            let contents = match segment.read(&self.dir, *number) {
                Ok(contents) => contents,
                Err(Trouble::Damage(what)) => {
                    damage.push(what);
                    continue;
                }
                Err(io) => return Err(io),
            };
            let mut kept = ClosedTotals::default();
            for entry in contents.entries() {
                also(entry.id);
                if self.keeps(&entry) {
                    kept.add(entry.outcome);
                }
            }
            if kept != segment.kept {
                let path = segment::path(&self.dir, *number);
                damage.push(format!(
                    "the file `{}` holds other grants than were counted",
                    path.display()
                ));
            }
        }
        Ok(damage)
    }

    /// Takes away what no record refers to: files of a sweep or an append that was cut off, and bytes of the latter.
    pub fn tidy(&self) -> io::Result<()> {
        for number in segment::numbers(&self.dir)? {
            let path = segment::path(&self.dir, number);
            match self.segments.get(&number) {
                None => match std::fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                },
                Some(segment) if std::fs::metadata(&path)?.len() > segment.bytes => {
                    std::fs::OpenOptions::new()
                        .write(true)
                        .open(&path)?
                        .set_len(segment.bytes)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Removes the files of segments that a change has dropped, after it is on the disk.
    pub fn unlink(&self, dropped: &[u64]) -> io::Result<()> {
        for number in dropped {
            std::fs::remove_file(segment::path(&self.dir, *number))?;
        }
        Ok(())
    }
}

/// A segment with blocks that are not in its file yet.
struct Growing {
    number: u64,
    before: Segment,
    after: Segment,
    blocks: Vec<u8>,
}

impl Growing {
    fn new(tail: &mut Tail) -> Self {
        let number = tail.next;
        tail.next += 1;
        Self {
            number,
            before: Segment::empty(number),
            after: Segment::empty(number),
            blocks: Vec::new(),
        }
    }
}
