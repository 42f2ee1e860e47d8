//! What stays of grants that owe nothing any more. There are many of them, none ever changes, and they go by age. So
//! the engine keeps only the newest, and they move in groups to plain files that only grow, one for each hour of
//! closing: `closed/496212` holds what closed in hour 496212 since 1970, and goes as a whole.
//!
//! A grant that closes becomes a row of the engine, in the batch that removes its record. Later
//! [`ClosedGrants::hand_over`] appends the rows to the files and syncs them; only then one batch removes the rows and
//! writes the files' new marks. A crash in between leaves both the rows and bytes beyond the marks: those bytes are
//! dropped, and the rows are handed over again. So every closed grant is kept exactly once.

mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::disk::{Disk, make_private_dir};
use super::error::StoreError;
use super::keys::hour_of;
use super::port::ClosedTotals;
use crate::crash;
use crate::grant::ClosedGrant;
use crate::ids::GrantId;
use crate::time::Timestamp;

/// What the engine remembers of one hour's file: bytes beyond it were never acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Mark {
    /// The file's length.
    pub bytes: u64,
    /// The sum at the end of its last line, over the whole file.
    pub sum: u32,
}

/// The marks by hour since 1970.
pub type Marks = BTreeMap<i64, Mark>;

/// What is known of one hour's file.
#[derive(Debug, Clone, Copy, Default)]
struct Hour {
    mark: Mark,
    totals: ClosedTotals,
    /// The lowest and the highest id. An id tells when its grant was received, and most close within seconds, so hardly
    /// any file but the right one has to be read for an id.
    ids: Option<(GrantId, GrantId)>,
}

impl Hour {
    fn count(&mut self, closed: &ClosedGrant) {
        let (lowest, highest) = self.ids.unwrap_or((closed.id, closed.id));
        self.ids = Some((lowest.min(closed.id), highest.max(closed.id)));
        self.totals.add(closed.outcome);
    }
}

/// All closed grants that are kept: the newest, which are rows of the engine, and those in the files.
#[derive(Debug)]
pub struct ClosedGrants {
    /// In the order in which they closed.
    recent: Vec<ClosedGrant>,
    dir: PathBuf,
    disk: Disk,
    hours: BTreeMap<i64, Hour>,
}

impl ClosedGrants {
    /// Takes the rows that the engine holds, in any order, and reads every file up to its mark. It changes none: damage
    /// must be found before anything is removed.
    pub fn open(dir: PathBuf, disk: &Disk, marks: &Marks, mut recent: Vec<ClosedGrant>) -> Result<Self, StoreError> {
        make_private_dir(&dir).map_err(|e| failed("make", &dir, &e))?;
        recent.sort_by_key(|closed| (closed.closed_at, closed.id));
        let mut opened = Self {
            recent,
            dir,
            disk: disk.clone(),
            hours: BTreeMap::new(),
        };
        for (number, mark) in marks {
            let mut hour = Hour {
                mark: *mark,
                ..Hour::default()
            };
            opened.scan(*number, *mark, |closed| hour.count(&closed))?;
            opened.hours.insert(*number, hour);
        }
        Ok(opened)
    }

    /// A row that the engine has committed.
    pub fn add(&mut self, closed: ClosedGrant) {
        self.recent.push(closed);
    }

    /// Rows that are not yet handed over.
    pub fn recent(&self) -> usize {
        self.recent.len()
    }

    /// Moves every row to the files, on the disk when it returns; the caller commits one batch that removes these rows
    /// and writes these marks.
    pub fn hand_over(&mut self) -> Result<(Vec<GrantId>, Marks), StoreError> {
        let mut by_hour: BTreeMap<i64, Vec<&ClosedGrant>> = BTreeMap::new();
        for closed in &self.recent {
            by_hour.entry(hour_of(closed.closed_at)).or_default().push(closed);
        }
        crash::point("closed.before");
        let mut marks = Marks::new();
        for (number, group) in by_hour {
            let mut hour = self.hours.get(&number).copied().unwrap_or_default();
            let (from, mut bytes) = (hour.mark.bytes, Vec::new());
            if from == 0 {
                hour.mark.sum = line::append(&mut bytes, 0, &line::header(number));
            }
            for closed in group {
                hour.mark.sum = line::append(&mut bytes, hour.mark.sum, &line::encode(closed));
                hour.count(closed);
            }
            self.write(number, from, &bytes)?;
            hour.mark.bytes += bytes.len() as u64;
            marks.insert(number, hour.mark);
            self.hours.insert(number, hour);
        }
        crash::point("closed.after");
        Ok((self.recent.drain(..).map(|closed| closed.id).collect(), marks))
    }

    /// One that is kept.
    pub fn find(&self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError> {
        let mut found = self.recent.iter().find(|closed| closed.id == id).cloned();
        for (number, hour) in self.hours.iter().rev() {
            let may_hold = hour
                .ids
                .is_some_and(|(lowest, highest)| (lowest..=highest).contains(&id));
            if found.is_none() && may_hold {
                self.scan(*number, hour.mark, |closed| {
                    if closed.id == id {
                        found = Some(closed);
                    }
                })?;
            }
        }
        Ok(found)
    }

    /// The newest, the last closed first.
    pub fn newest(&self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError> {
        let mut found: Vec<_> = self.recent.iter().rev().take(limit).cloned().collect();
        for (number, hour) in self.hours.iter().rev() {
            let more = limit - found.len();
            if more == 0 {
                break;
            }
            let mut last = VecDeque::new();
            self.scan(*number, hour.mark, |closed| {
                if last.len() == more {
                    last.pop_front();
                }
                last.push_back(closed);
            })?;
            found.extend(last.into_iter().rev());
        }
        Ok(found)
    }

    /// How many are kept, by outcome; its cost does not grow with their number.
    pub fn totals(&self) -> ClosedTotals {
        let mut totals = ClosedTotals::default();
        self.hours.values().for_each(|hour| totals.add_all(&hour.totals));
        self.recent.iter().for_each(|closed| totals.add(closed.outcome));
        totals
    }

    /// Forgets the hours that had ended at a moment, and returns them. Their files stay until [`ClosedGrants::tidy`]:
    /// the engine must have removed their marks before.
    pub fn sweep(&mut self, before: Timestamp) -> Vec<i64> {
        let kept = self.hours.split_off(&hour_of(before));
        std::mem::replace(&mut self.hours, kept).into_keys().collect()
    }

    /// Removes the files and bytes that no mark covers: what a sweep has forgotten, and what a crash has left.
    pub fn tidy(&self) -> Result<(), StoreError> {
        let unlisted = |e| failed("list", &self.dir, &e);
        for entry in fs::read_dir(&self.dir).map_err(unlisted)? {
            let entry = entry.map_err(unlisted)?;
            // Files with other names are not ours.
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let path = entry.path();
            let tidied = match self.hours.get(&number) {
                None => fs::remove_file(&path),
                Some(hour) => cut(&path, hour.mark.bytes),
            };
            tidied.map_err(|e| failed("tidy", &path, &e))?;
        }
        Ok(())
    }

    /// Reads every file again: passes each id on, and returns what is damaged.
    pub fn verify(&self, mut each: impl FnMut(GrantId)) -> Result<Vec<String>, StoreError> {
        let mut damage = Vec::new();
        for (number, hour) in &self.hours {
            match self.scan(*number, hour.mark, |closed| each(closed.id)) {
                Ok(()) => {}
                Err(StoreError::Damaged { what }) => damage.push(what),
                Err(other) => return Err(other),
            }
        }
        Ok(damage)
    }

    /// Bytes on the disk.
    pub fn size_bytes(&self) -> u64 {
        self.hours.values().map(|hour| hour.mark.bytes).sum()
    }

    fn path(&self, number: i64) -> PathBuf {
        self.dir.join(number.to_string())
    }

    /// Reads a file up to its mark, one line at a time.
    fn scan(&self, number: i64, mark: Mark, mut each: impl FnMut(ClosedGrant)) -> Result<(), StoreError> {
        let path = self.path(number);
        let unread = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => damaged(&path, "is missing"),
            _ => failed("read", &path, &e),
        };
        let mut file = BufReader::new(File::open(&path).map_err(unread)?).take(0);
        let (mut read, mut sum, mut bytes) = (0, 0, Vec::new());
        while read < mark.bytes {
            bytes.clear();
            file.set_limit(line::LONGEST.min(mark.bytes - read));
            file.read_until(b'\n', &mut bytes).map_err(unread)?;
            let checked = line::check(&bytes, sum).and_then(|(text, here)| match read {
                0 => (text == line::header(number)).then_some((here, None)),
                _ => Some((here, Some(line::decode(text)?))),
            });
            let (here, closed) = checked
                .filter(|(_, closed)| closed.as_ref().is_none_or(|c| hour_of(c.closed_at) == number))
                .ok_or_else(|| damaged(&path, &format!("is not as it was written, from byte {read}")))?;
            closed.into_iter().for_each(&mut each);
            (read, sum) = (read + bytes.len() as u64, here);
        }
        if sum != mark.sum {
            return Err(damaged(&path, "is not the one that was acknowledged"));
        }
        Ok(())
    }

    fn write(&self, number: i64, from: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(number);
        let write = || {
            let new = from == 0;
            let mut options = OpenOptions::new();
            options.write(true).create(new).truncate(new).mode(0o600);
            let file = options.open(&path)?;
            file.write_all_at(bytes, from)?;
            self.disk.sync_data(&file)?;
            if new { self.disk.sync_dir(&self.dir) } else { Ok(()) }
        };
        write().map_err(|e| failed("append to", &path, &e))
    }
}

/// Takes away what follows the acknowledged bytes.
fn cut(path: &Path, bytes: u64) -> io::Result<()> {
    if fs::metadata(path)?.len() > bytes {
        OpenOptions::new().write(true).open(path)?.set_len(bytes)?;
    }
    Ok(())
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::damaged(format!("the file `{}` of closed grants {what}", path.display()))
}

fn failed(what: &str, path: &Path, e: &io::Error) -> StoreError {
    StoreError::io(format!("failed to {what} `{}`", path.display()), e)
}
