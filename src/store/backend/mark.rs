//! The high-water mark: the number of the last acknowledged commit, outside sled. It catches a silently lost tail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::disk::Disk;

/// Slots lie in different blocks, so that one torn write never hits both.
const SLOT_EVERY: u64 = 4096;

/// The sidecar file with its two alternating slots: number (8 bytes), check (8 bytes).
#[derive(Debug)]
pub(super) struct HighWaterMark {
    file: File,
}

impl HighWaterMark {
    /// Makes the file with the mark at 0.
    pub fn create(path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        // At its full length from the start: later syncs then have no metadata to write.
        file.write_all_at(&[0; 2 * SLOT_EVERY as usize], 0)?;
        file.write_all_at(&slot(0), 0)
    }

    /// Opens the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file })
    }

    /// The highest number in a sound slot; `None` where neither is sound.
    pub fn read(&self) -> io::Result<Option<u64>> {
        let mut highest = None;
        for at in [0, SLOT_EVERY] {
            let mut bytes = [0; 16];
            match self.file.read_exact_at(&mut bytes, at) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
                other => other?,
            }
            let number = u64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
            if slot(number) == bytes {
                highest = highest.max(Some(number));
            }
        }
        Ok(highest)
    }

    /// Moves the mark, durably.
    pub fn advance(&self, number: u64, disk: &Disk) -> io::Result<()> {
        self.file.write_all_at(&slot(number), (number % 2) * SLOT_EVERY)?;
        disk.sync_data(&self.file)
    }
}

fn slot(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    let check = Sha256::new()
        .chain_update(b"codeferry high-water mark")
        .chain_update(number.to_be_bytes())
        .finalize();
    bytes[8..].copy_from_slice(&check[..8]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::disk::Sync;
    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_mark_before_it() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("mark");
        HighWaterMark::create(&path).expect("made");
        let mark = HighWaterMark::open(&path).expect("opens");
        assert_eq!(mark.read().expect("reads"), Some(0));
        let disk = Disk::new(Sync::Counted, None);
        for n in 1..=7 {
            mark.advance(n, &disk).expect("moves");
            assert_eq!(mark.read().expect("reads"), Some(n));
        }
        mark.file
            .write_all_at(&[9; 5], SLOT_EVERY)
            .expect("tears the slot of 7");
        assert_eq!(mark.read().expect("reads"), Some(6));
        mark.file.set_len(0).expect("cuts");
        assert_eq!(mark.read().expect("reads"), None);
        assert_eq!(disk.syncs(), 7);
    }
}
