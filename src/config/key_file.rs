//! Keys that are made once and kept in a file. A key that is there is never overwritten: links that are already out were
//! made with it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::error::{ConfigError, Location, describe};
use crate::lifecycle::Exit;
use crate::secret::{Key, make_once, random_bytes};

/// The shortest key, in bytes: as long as the HMAC-SHA256 output (RFC 2104 section 3).
pub(super) const KEY_BYTES: usize = 32;

/// Reads a key's file, or makes it: 32 random bytes as base64url, so that the file's text can be given to a relay as
/// the variable's value. A new one is drawn until it fits.
pub(super) fn load_or_make(path: &Path, fits: impl Fn(&Key) -> bool) -> Result<Key, ConfigError> {
    let text = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path, fits).and_then(|()| read(path)),
        other => other,
    };
    let (problem, cure) = match text {
        Ok(text) if text.len() >= KEY_BYTES => return Ok(Key::new(text.as_bytes())),
        Ok(text) => (
            format!("the key has {} bytes, fewer than {KEY_BYTES}", text.len()),
            "bring the file back from a copy; or remove it, and links that are already out are refused",
        ),
        Err(error) => (
            format!("the key can be neither read nor made: {}", describe(&error)),
            "let this user write the data folder (the parent of `journal.path`), or set the key's variable",
        ),
    };
    Err(ConfigError {
        place: Location::File(path.to_owned(), None),
        key: None,
        problem,
        cure: cure.into(),
        exit: Exit::Store,
    })
}

fn make(path: &Path, fits: impl Fn(&Key) -> bool) -> io::Result<()> {
    loop {
        let key = Key::new(URL_SAFE_NO_PAD.encode(random_bytes()?));
        if fits(&key) {
            return make_once(path, &Zeroizing::new([key.expose(), b"\n"].concat()));
        }
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        // Not refused: some volume drivers widen every file's mode.
        tracing::warn!(path = %path.display(), "a key can be read by other users: chmod 600 it");
    }
    Ok(Zeroizing::new(text.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_in_private_and_stays() {
        let data = tempfile::tempdir().expect("temporary folder");
        let keys = data.path().join("data/keys");
        let first = load_or_make(&keys.join("state.key"), |_| true).expect("made");
        assert_eq!(first.expose().len(), 43);
        assert_eq!(load_or_make(&keys.join("state.key"), |_| true).expect("read"), first);
        assert_ne!(load_or_make(&keys.join("pkce.key"), |_| true).expect("made"), first);
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
        let error = load_or_make(&data.path().join("state.key"), |_| true).expect_err("too short");
        assert_eq!(error.problem, "the key has 5 bytes, fewer than 32");
        assert_eq!(error.exit, Exit::Store);
        assert_eq!(
            fs::read_to_string(data.path().join("state.key")).expect("there"),
            "short\n"
        );
    }
}
