//! What the machine gives: the lock against a second instance, the kind of file system, the reserve of room.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};

use super::error::OpenError;

/// The store's own lock: taken before anything is touched, freed by the kernel however the process ends.
#[derive(Debug)]
pub(super) struct InstanceLock {
    _file: File,
}

/// A lock that this very process has released lives on in a child that was forked meanwhile and has not begun its program
/// yet: the file is closed when it does.
const LET_GO_EVERY: Duration = Duration::from_millis(10);
const LET_GO_TRIES: u32 = 100;

impl InstanceLock {
    /// Takes the lock of a store's folder. Another process that holds it is told at once.
    pub fn take(root: &Path) -> Result<Self, OpenError> {
        let path = root.join("LOCK");
        let failed = |source| match source {
            e if is_not_writable(&e) => OpenError::NotWritable {
                path: path.clone(),
                source: e,
            },
            e => io_error("lock", &path, e),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let mut tries = 0;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(e) => return Err(failed(e.into())),
            }
            let holder = holder(&mut file);
            if holder != Some(std::process::id()) || tries == LET_GO_TRIES {
                return Err(OpenError::Locked {
                    path: root.to_owned(),
                    holder: holder.map(|process| process.to_string()),
                });
            }
            tries += 1;
            std::thread::sleep(LET_GO_EVERY);
        }
        // The number only helps a person; a full disk must not stop the start here.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        Ok(Self { _file: file })
    }
}

/// Whether a process that is alive has its number in the lock of a store's folder. Nothing is locked.
pub fn is_in_use(root: &Path) -> bool {
    let holder = File::open(root.join("LOCK"))
        .ok()
        .and_then(|mut file| holder(&mut file));
    let process = holder.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    process.is_some_and(|process| rustix::process::test_kill_process(process).is_ok())
}

/// The number in a lock file.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

/// What kind of file system a folder is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// It keeps locks and order.
    Local,
    /// It is kept in memory.
    Memory,
    /// It is reached over a network.
    Network(String),
    /// Nobody has tried.
    Unknown(String),
}

/// Finds out what file system a folder is on.
pub(super) fn file_system(dir: &Path) -> FileSystem {
    #[cfg(target_os = "linux")]
    {
        let Ok(stat) = rustix::fs::statfs(dir) else {
            return FileSystem::Unknown("unreadable".to_owned());
        };
        let kind = mount_kind(dir).unwrap_or_default();
        // The field's width and sign differ between machines; magic numbers have 32 bits.
        classify(stat.f_type as u32, &kind)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = dir;
        FileSystem::Local
    }
}

/// Judges by the magic number of statfs(2), and for FUSE by the name in the mount table.
fn classify(magic: u32, mounted_as: &str) -> FileSystem {
    const NETWORK: [(u32, &str); 10] = [
        (0x6969, "nfs"),
        (0x517B, "smb"),
        (0xFF53_4D42, "cifs"),
        (0xFE53_4D42, "smb2"),
        (0x5346_414F, "afs"),
        (0x6B41_4653, "afs"),
        (0x7375_7245, "coda"),
        (0x00C3_6400, "ceph"),
        (0x0BD0_0BD0, "lustre"),
        (0x564C, "ncp"),
    ];
    // ext2/3/4, xfs, btrfs, overlay (containers), zfs, f2fs, bcachefs, jfs, reiserfs.
    const LOCAL: [u32; 9] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x794C_7630,
        0x2FC1_2FC1,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x3153_464A,
        0x5265_4973,
    ];
    const MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58F6];
    const FUSE: u32 = 0x6573_5546;
    const FUSE_NETWORK: [&str; 14] = [
        "sshfs",
        "gluster",
        "ceph",
        "s3",
        "rclone",
        "dav",
        "gcs",
        "goofys",
        "blobfuse",
        "juicefs",
        "curlftpfs",
        "smb",
        "nfs",
        "seaweed",
    ];
    if let Some((_, name)) = NETWORK.iter().find(|(m, _)| *m == magic) {
        return FileSystem::Network((*name).to_owned());
    }
    if magic == FUSE && FUSE_NETWORK.iter().any(|name| mounted_as.contains(name)) {
        return FileSystem::Network(mounted_as.to_owned());
    }
    if LOCAL.contains(&magic) {
        FileSystem::Local
    } else if MEMORY.contains(&magic) {
        FileSystem::Memory
    } else if mounted_as.is_empty() {
        FileSystem::Unknown(format!("type {magic:#x}"))
    } else {
        FileSystem::Unknown(mounted_as.to_owned())
    }
}

/// The file system's name in the mount table, with FUSE's subtype.
#[cfg(target_os = "linux")]
fn mount_kind(dir: &Path) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    table
        .lines()
        .filter_map(|line| {
            // proc_pid_mountinfo(5): the mount point is the fifth field, the type follows a lone hyphen.
            let (front, back) = line.split_once(" - ")?;
            let at = PathBuf::from(front.split(' ').nth(4)?);
            dir.starts_with(&at)
                .then(|| (at.components().count(), back.split(' ').next().unwrap_or("").to_owned()))
        })
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, kind)| kind)
}

/// Where a journal is, or would be.
#[derive(Debug)]
pub struct Place {
    /// What is wrong with its file system, in words.
    pub kind: Option<String>,
    /// Room for this user.
    pub free_mb: u64,
}

/// Looks at the nearest folder that is there.
pub fn place(path: &Path) -> Place {
    let mut above = path.ancestors().filter(|above| !above.as_os_str().is_empty());
    let there = above.find(|above| above.is_dir()).unwrap_or(Path::new("."));
    Place {
        kind: match file_system(there) {
            FileSystem::Network(kind) => Some(format!("a network file system ({kind})")),
            FileSystem::Memory => Some("a file system that is kept in memory".to_owned()),
            FileSystem::Local | FileSystem::Unknown(_) => None,
        },
        free_mb: free_bytes(there).map_or(0, |bytes| bytes / 1_048_576),
    }
}

/// Free bytes on a folder's file system, for this user.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The engine writes a snapshot when it opens: less room would not help it.
const LEAST_RESERVE: u64 = 1024 * 1024;

/// A file that only takes room: given up when the disk is full, so that the next start can write its snapshot.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    pub fn new(root: &Path, bytes: u64) -> Self {
        Self {
            path: root.join("reserve"),
            bytes,
        }
    }

    /// How much room it takes now, in bytes.
    pub fn held(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    /// Takes the room, but at most a third of what is free: a reserve that fills the disk helps nobody, and after a
    /// start on freed room even a small one lets the start after that work. Says how much is held.
    pub fn take(&self) -> io::Result<u64> {
        let held = self.held();
        let free = free_bytes(self.path.parent().unwrap_or(Path::new(".")))?;
        let wanted = self.bytes.min((free + held) / 3);
        if held >= wanted || wanted < LEAST_RESERVE.min(self.bytes) {
            return Ok(held);
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        let filled = match fallocate(&file, FallocateFlags::empty(), 0, wanted) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                io::copy(&mut io::repeat(0).take(wanted), &mut &file).map(|_| ())
            }
            other => other.map_err(io::Error::from),
        };
        if filled.is_err() {
            self.free();
        }
        filled.map(|()| wanted)
    }

    /// Gives the room back; says whether there was any.
    pub fn free(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

pub(super) fn is_not_writable(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotADirectory
    )
}

pub(super) fn io_error(what: &str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io {
        what: what.to_owned(),
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_and_names_the_first() {
        let dir = tempfile::tempdir().expect("folder");
        let first = InstanceLock::take(dir.path()).expect("free");
        let refused = InstanceLock::take(dir.path()).expect_err("taken");
        assert!(refused.is_locked());
        let text = refused.to_string();
        assert!(
            text.contains(&format!("in use by process {}", std::process::id())),
            "{text}"
        );
        drop(first);
        InstanceLock::take(dir.path()).expect("free again");
    }

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        for (magic, name, expected) in [
            (0x6969, "nfs4", FileSystem::Network("nfs".into())),
            (0xFF53_4D42, "cifs", FileSystem::Network("cifs".into())),
            (0x6573_5546, "fuse.sshfs", FileSystem::Network("fuse.sshfs".into())),
            (0x6573_5546, "fuseblk", FileSystem::Unknown("fuseblk".into())),
            (0x0102_1997, "9p", FileSystem::Unknown("9p".into())),
            (0xEF53, "ext4", FileSystem::Local),
            (0x0102_1994, "tmpfs", FileSystem::Memory),
            (0x1234, "", FileSystem::Unknown("type 0x1234".into())),
        ] {
            assert_eq!(classify(magic, name), expected, "{name}");
        }
    }

    #[test]
    fn a_lock_that_this_process_lets_go_of_in_a_moment_is_waited_for() {
        let dir = tempfile::tempdir().expect("folder");
        let held = InstanceLock::take(dir.path()).expect("free");
        let letting_go = std::thread::spawn(move || {
            std::thread::sleep(LET_GO_EVERY * 5);
            drop(held);
        });
        let _again = InstanceLock::take(dir.path()).expect("free in a moment");
        letting_go.join().expect("it let go");
        let number = fs::read_to_string(dir.path().join("LOCK")).expect("a number");
        assert_eq!(number, std::process::id().to_string());
    }

    #[test]
    fn the_reserve_takes_its_room_and_gives_it_back() {
        let dir = tempfile::tempdir().expect("folder");
        let reserve = Reserve::new(dir.path(), 64 * 1024);
        assert_eq!(reserve.take().expect("taken"), 64 * 1024);
        assert_eq!(reserve.take().expect("kept"), 64 * 1024);
        assert_eq!(reserve.held(), 64 * 1024);
        assert!(reserve.free());
        assert_eq!(reserve.held(), 0);
    }
}
