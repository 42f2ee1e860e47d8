//! The keys that live beside the store, never in it: one sealing key an hour, and the key of the code hashes.
//!
//! A sealing key is on the disk before anything is sealed with it, and is destroyed when no open grant needs it: what
//! the storage engine still holds in deleted places can then be opened by nobody.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::secret::{Key, make_once, random_bytes};
use crate::time::Timestamp;

use super::disk::{Disk, make_private_dir, parent};
use super::error::StoreError;
use super::seal::SealKey;

/// Why a key beside the store could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be made, read or written.
    #[error("cannot {what} the key `{}`", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file does not hold a key.
    #[error("`{}` holds {found} bytes where a key has 32: restore it from a backup", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        found: usize,
    },
}

/// The number of the hour in which a moment lies, which names its sealing key.
pub fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(3_600_000)
}

/// The key under which codes are hashed; made by chance at its first use, in `<data>/keys/code-hash`.
pub fn code_hash_key(data_dir: &Path) -> Result<Key, KeyError> {
    let path = data_dir.join("keys/code-hash");
    let failed = |what| {
        let path = path.clone();
        move |source| KeyError::Io { what, path, source }
    };
    if !path.exists() {
        let made = random_bytes().and_then(|key| make_once(&path, &key[..]));
        made.map_err(failed("make"))?;
    }
    let key = read_key(&path)?.ok_or_else(|| failed("read")(io::ErrorKind::NotFound.into()))?;
    Ok(Key::new(key.to_vec()))
}

impl From<KeyError> for StoreError {
    fn from(e: KeyError) -> Self {
        match e {
            KeyError::Io { what, path, source } => {
                Self::io(format!("cannot {what} the key `{}`", path.display()), &source)
            }
            length @ KeyError::Length { .. } => Self::damaged(length.to_string()),
        }
    }
}

/// Where sealing keys are kept, one for each hour: files beside an engine in a folder, rows in a database.
pub trait KeyStore: Send {
    /// The hours that have a key.
    fn hours(&self) -> Vec<i64>;

    /// An hour's key; `None` where there is none.
    fn get(&mut self, hour: i64) -> Result<Option<&SealKey>, KeyError>;

    /// An hour's key, made durable before its first use.
    fn ensure(&mut self, hour: i64) -> Result<&SealKey, KeyError>;

    /// Destroys an hour's key.
    fn destroy(&mut self, hour: i64) -> Result<(), KeyError>;

    /// What a person calls the key of an hour.
    fn name(&self, hour: i64) -> String;
}

/// Sealing keys in files.
#[derive(Debug)]
pub(super) struct KeyRing {
    dir: PathBuf,
    disk: Disk,
    /// Keys in use. Reading a file for every record would cost more than the sealing.
    loaded: HashMap<i64, SealKey>,
    /// Hours whose key is on the disk.
    on_disk: BTreeSet<i64>,
}

impl KeyRing {
    /// Opens `<data>/keys/seal`, making it where it is not there.
    pub fn open(data_dir: &Path, disk: Disk) -> Result<Self, KeyError> {
        let dir = data_dir.join("keys").join("seal");
        let failed = |what| {
            let path = dir.clone();
            move |source| KeyError::Io { what, path, source }
        };
        let is_new = !dir.exists();
        make_private_dir(&dir).map_err(failed("make the folder"))?;
        if is_new {
            disk.sync_dir(parent(&dir)).map_err(failed("sync the folder"))?;
        }
        let mut on_disk = BTreeSet::new();
        for entry in fs::read_dir(&dir).map_err(failed("list"))? {
            let entry = entry.map_err(failed("list"))?;
            // Anything else, such as a `.new` from a kill while a key was made, was never used.
            if let Some(hour) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                on_disk.insert(hour);
            }
        }
        Ok(Self {
            dir,
            disk,
            loaded: HashMap::new(),
            on_disk,
        })
    }

    fn path(&self, hour: i64) -> PathBuf {
        self.dir.join(hour.to_string())
    }
}

impl KeyStore for KeyRing {
    fn hours(&self) -> Vec<i64> {
        self.on_disk.iter().copied().collect()
    }

    fn get(&mut self, hour: i64) -> Result<Option<&SealKey>, KeyError> {
        if !self.loaded.contains_key(&hour) {
            match read_key(&self.path(hour))? {
                Some(key) => self.loaded.insert(hour, key),
                None => return Ok(None),
            };
        }
        Ok(self.loaded.get(&hour))
    }

    fn ensure(&mut self, hour: i64) -> Result<&SealKey, KeyError> {
        if self.get(hour)?.is_none() {
            let path = self.path(hour);
            let failed = |source| KeyError::Io {
                what: "write",
                path: path.clone(),
                source,
            };
            let key = random_bytes().map_err(failed)?;
            self.disk.write_whole(&path, &key[..]).map_err(failed)?;
            self.on_disk.insert(hour);
            self.loaded.insert(hour, key);
        }
        Ok(self.loaded.get(&hour).expect("it was just read or made"))
    }

    /// The file is overwritten, synced and unlinked, and the folder synced.
    fn destroy(&mut self, hour: i64) -> Result<(), KeyError> {
        let path = self.path(hour);
        self.loaded.remove(&hour);
        let destroy = || -> io::Result<()> {
            let mut file = match OpenOptions::new().write(true).open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            };
            file.write_all(&random_bytes()?[..])?;
            self.disk.sync_data(&file)?;
            fs::remove_file(&path)?;
            self.disk.sync_dir(&self.dir)
        };
        destroy().map_err(|source| KeyError::Io {
            what: "destroy",
            path: path.clone(),
            source,
        })?;
        self.on_disk.remove(&hour);
        Ok(())
    }

    fn name(&self, hour: i64) -> String {
        self.path(hour).display().to_string()
    }
}

fn read_key(path: &Path) -> Result<Option<SealKey>, KeyError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KeyError::Io {
                what: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    match <[u8; 32]>::try_from(bytes.as_slice()) {
        Ok(key) => Ok(Some(Zeroizing::new(key))),
        Err(_) => Err(KeyError::Length {
            path: path.to_owned(),
            found: bytes.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::Sync;
    use std::os::unix::fs::PermissionsExt;

    fn ring(dir: &Path) -> KeyRing {
        KeyRing::open(dir, Disk::new(Sync::Counted, None)).expect("opens")
    }

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().expect("folder");
        let one = code_hash_key(dir.path()).expect("made");
        assert_eq!(code_hash_key(dir.path()).expect("read"), one);
        let other = tempfile::tempdir().expect("folder");
        assert_ne!(code_hash_key(other.path()).expect("made"), one);
        let mode = |p: PathBuf| fs::metadata(p).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(dir.path().join("keys/code-hash")), 0o600);
        assert_eq!(mode(dir.path().join("keys")), 0o700);
        fs::write(dir.path().join("keys/code-hash"), b"short").expect("written");
        assert!(matches!(
            code_hash_key(dir.path()),
            Err(KeyError::Length { found: 5, .. })
        ));
    }

    #[test]
    fn a_sealing_key_survives_reopening_until_it_is_destroyed() {
        let dir = tempfile::tempdir().expect("folder");
        let key = ring(dir.path()).ensure(5).expect("made").clone();
        let mut again = ring(dir.path());
        assert_eq!(again.hours(), [5]);
        assert_eq!(again.get(5).expect("read"), Some(&key));
        assert_eq!(again.get(6).expect("read"), None);
        again.destroy(5).expect("destroyed");
        assert_eq!(again.get(5).expect("read"), None);
        assert!(again.hours().is_empty());
        assert!(!again.path(5).exists());
        again.destroy(5).expect("destroying twice is harmless");
    }

    #[test]
    fn hours_are_counted_from_the_epoch() {
        assert_eq!(hour_of(Timestamp::from_millis(3_599_999)), 0);
        assert_eq!(hour_of(Timestamp::from_millis(3_600_000)), 1);
        assert_eq!(hour_of(Timestamp::from_millis(-1)), -1);
    }
}
