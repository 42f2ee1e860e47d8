//! Folders and file systems of tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::patience::Finish as _;

/// Copies a folder with its folders and files, as a kill would leave it; sockets stay.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("its kind");
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// A file system of the test's own; unmounted when dropped.
pub struct Mounted {
    at: PathBuf,
    _folder: Option<TempDir>,
}

impl Mounted {
    /// In a folder of its own; `None`, after a line that says so, where this user may not mount.
    pub fn new(words: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("mounted");
        Self::mount(&at, words, Some(folder))
    }

    /// Over a folder, which is made.
    pub fn over(at: &Path, words: &[&str]) -> Option<Self> {
        Self::mount(at, words, None)
    }

    fn mount(at: &Path, words: &[&str], folder: Option<TempDir>) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let output = Command::new("mount").args(words).arg(at).finish();
        if output.status.success() {
            return Some(Self {
                at: at.to_owned(),
                _folder: folder,
            });
        }
        let why = String::from_utf8_lossy(&output.stderr);
        eprintln!("SKIPPED: no file system can be mounted here: {}", why.trim());
        None
    }

    /// Mounts it again with other options.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.at).finish();
        assert!(done.status.success(), "{done:?}");
    }

    /// Where it is.
    pub fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.at).finish();
    }
}
