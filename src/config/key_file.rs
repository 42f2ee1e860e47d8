//! Keys that are made once and kept in a file of 0600 in a folder of 0700. A key that is there is never overwritten:
//! links that are already out were made with it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng as _;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::error::{ConfigError, Location, describe};
use crate::lifecycle::Exit;
use crate::secret::Key;

/// The shortest key, in bytes: as long as the HMAC-SHA256 output (RFC 2104 section 3).
pub(super) const KEY_BYTES: usize = 32;

/// Reads the key `name` in `folder`, or makes it: 32 random bytes as base64url, so that the file's text can be given
/// to a relay as the variable's value. Synced, with its folder, before it is used.
pub(super) fn load_or_make(folder: &Path, name: &str) -> Result<Key, ConfigError> {
    let path = folder.join(name);
    let attempt = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder, &path).and_then(|()| read(&path)),
        other => other,
    };
    let text = attempt.map_err(|error| ConfigError {
        place: Location::File(path.clone(), None),
        key: None,
        problem: format!("the key can be neither read nor made: {}", describe(&error)),
        cure: "let this user write the data folder (the parent of `journal.path`), or set the key's variable".into(),
        exit: Exit::Store,
    })?;
    if text.len() < KEY_BYTES {
        return Err(ConfigError {
            place: Location::File(path, None),
            key: None,
            problem: format!("the key has {} bytes, fewer than {KEY_BYTES}", text.len()),
            cure: "bring the file back from a copy; or remove it, and links that are already out are refused".into(),
            exit: Exit::Store,
        });
    }
    Ok(Key::new(text.as_bytes()))
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        // Not refused: some volume drivers widen every file's mode.
        tracing::warn!(path = %path.display(), "a key can be read by other users: chmod 600 it");
    }
    Ok(Zeroizing::new(text.trim_end().to_owned()))
}

fn make(folder: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SysRng.try_fill_bytes(bytes.as_mut_slice()).map_err(io::Error::other)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    // Its own name for each process: two that start at once must not write into one file.
    let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        });
    // A link, not a rename: of two processes the first one's key stays, and the second reads it.
    let linked = written.and_then(|()| match fs::hard_link(&fresh, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&fresh)?;
    linked?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_in_private_and_stays() {
        let data = tempfile::tempdir().expect("temporary folder");
        let keys = data.path().join("data/keys");
        let first = load_or_make(&keys, "state.key").expect("made");
        assert_eq!(first.expose().len(), 43);
        assert_eq!(load_or_make(&keys, "state.key").expect("read"), first);
        assert_ne!(load_or_make(&keys, "pkce.key").expect("made"), first);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&keys), mode(&keys.join("state.key"))), (0o700, 0o600));
        let mut names: Vec<_> = fs::read_dir(&keys)
            .expect("listed")
            .map(|e| e.expect("entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, ["pkce.key", "state.key"]);
    }

    #[test]
    fn a_key_that_was_cut_short_is_refused_and_left_alone() {
        let data = tempfile::tempdir().expect("temporary folder");
        fs::write(data.path().join("state.key"), "short\n").expect("written");
        let error = load_or_make(data.path(), "state.key").expect_err("too short");
        assert_eq!(error.problem, "the key has 5 bytes, fewer than 32");
        assert_eq!(error.exit, Exit::Store);
        assert_eq!(
            fs::read_to_string(data.path().join("state.key")).expect("there"),
            "short\n"
        );
    }
}
