//! Closed grants in plain files that only grow, one for each hour of closing: `closed/496212` holds what closed in hour
//! 496212 since 1970, and goes as a whole. In memory each file has its length, its counts and the range of its ids.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::line;
use super::{ClosedLog, Mark, Marks};
use crate::crash;
use crate::grant::ClosedGrant;
use crate::ids::GrantId;
use crate::store::disk::{Disk, make_private_dir};
use crate::store::error::StoreError;
use crate::store::keys::hour_of;
use crate::store::port::ClosedTotals;
use crate::time::Timestamp;

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

/// The files, and what is known of each.
#[derive(Debug)]
pub struct ClosedFiles {
    dir: PathBuf,
    disk: Disk,
    hours: BTreeMap<i64, Hour>,
}

impl ClosedFiles {
    /// Reads every file up to its mark, and changes none: damage must be found before anything is removed.
    pub(in crate::store) fn open(dir: &Path, disk: &Disk, marks: &Marks) -> Result<Self, StoreError> {
        make_private_dir(dir).map_err(|e| failed("make", dir, &e))?;
        let mut files = Self {
            dir: dir.to_owned(),
            disk: disk.clone(),
            hours: BTreeMap::new(),
        };
        for (hour, mark) in marks {
            let mut found = Hour {
                mark: *mark,
                ..Hour::default()
            };
            files.scan(*hour, *mark, |closed| found.count(&closed))?;
            files.hours.insert(*hour, found);
        }
        Ok(files)
    }

    fn path(&self, hour: i64) -> PathBuf {
        self.dir.join(hour.to_string())
    }

    /// Reads a file up to its mark, one line at a time.
    fn scan(&self, hour: i64, mark: Mark, mut each: impl FnMut(ClosedGrant)) -> Result<(), StoreError> {
        let path = self.path(hour);
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
            let (text, here) = line::check(&bytes, sum)
                .filter(|(text, _)| read > 0 || *text == line::header(hour))
                .ok_or_else(|| damaged(&path, &format!("is not as it was written, from byte {read}")))?;
            if read > 0 {
                let closed = line::decode(text).filter(|closed| hour_of(closed.closed_at) == hour);
                each(closed.ok_or_else(|| damaged(&path, "holds a line that cannot be read"))?);
            }
            (read, sum) = (read + bytes.len() as u64, here);
        }
        if sum != mark.sum {
            return Err(damaged(&path, "is not the one that was acknowledged"));
        }
        Ok(())
    }

    fn write(&self, hour: i64, from: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(hour);
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

impl ClosedLog for ClosedFiles {
    fn append(&mut self, group: &[ClosedGrant]) -> Result<Marks, StoreError> {
        let mut by_hour: BTreeMap<i64, Vec<&ClosedGrant>> = BTreeMap::new();
        for closed in group {
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
        Ok(marks)
    }

    fn find(&self, id: GrantId) -> Result<Option<ClosedGrant>, StoreError> {
        let may_hold = |hour: &Hour| {
            hour.ids
                .is_some_and(|(lowest, highest)| (lowest..=highest).contains(&id))
        };
        let mut found = None;
        for (number, hour) in self.hours.iter().rev() {
            if found.is_none() && may_hold(hour) {
                self.scan(*number, hour.mark, |closed| {
                    if closed.id == id {
                        found = Some(closed);
                    }
                })?;
            }
        }
        Ok(found)
    }

    fn newest(&self, limit: usize) -> Result<Vec<ClosedGrant>, StoreError> {
        let mut found = Vec::new();
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

    fn totals(&self) -> ClosedTotals {
        let mut totals = ClosedTotals::default();
        for hour in self.hours.values() {
            totals.add_all(&hour.totals);
        }
        totals
    }

    fn sweep(&mut self, before: Timestamp) -> Vec<i64> {
        let kept = self.hours.split_off(&hour_of(before));
        std::mem::replace(&mut self.hours, kept).into_keys().collect()
    }

    fn tidy(&self) -> Result<(), StoreError> {
        let listed = fs::read_dir(&self.dir).map_err(|e| failed("list", &self.dir, &e))?;
        for entry in listed {
            let entry = entry.map_err(|e| failed("list", &self.dir, &e))?;
            // Files with other names are not ours.
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok()) else {
                continue;
            };
            let path = entry.path();
            let done = match self.hours.get(&number) {
                None => fs::remove_file(&path),
                Some(hour) => cut(&path, hour.mark.bytes),
            };
            done.map_err(|e| failed("tidy", &path, &e))?;
        }
        Ok(())
    }

    fn verify(&self, each: &mut dyn FnMut(GrantId)) -> Result<Vec<String>, StoreError> {
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

    fn size_bytes(&self) -> u64 {
        self.hours.values().map(|hour| hour.mark.bytes).sum()
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
