//! Secret values. Each is zeroized when dropped, has no `Display`, and prints as `[redacted]`. And the files of keys.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rand::TryRng as _;
use rand::rngs::SysRng;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        ///
        /// Serde reads and writes the bare text: only the sealed part of a record may hold one.
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes ownership of the text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself. Never log it, never put it into an error.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}

secrets! {
    /// An OAuth2 authorization code (RFC 6749 section 1.3.1).
    AuthorizationCode,
    /// An OAuth2 access token (RFC 6749 section 1.4).
    AccessToken,
    /// The `state` parameter as it came back (RFC 6749 section 4.1.2).
    RawState,
    /// A PKCE code verifier (RFC 7636 section 4.1).
    CodeVerifier,
    /// The application's client secret.
    ClientSecret,
    /// The bot's token.
    BotToken,
    /// The token half of a webhook's URL.
    WebhookToken,
    /// An interaction's token: for 15 minutes its holder can answer in the bot's name.
    InteractionToken,
    /// The control interface's token on TCP.
    ControlToken,
    /// The key of a Hookdeck project.
    HookdeckKey,
    /// The signing secret of an HTTP callback (`whsec_…`, Standard Webhooks).
    CallbackSecret,
}

/// A symmetric key: the bytes of a text of at least 32 bytes, or random bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Key(Vec<u8>);

impl Key {
    /// Takes ownership of the bytes. The caller has checked their length.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes. Never log them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

/// A key that makes things, and perhaps a second one that is accepted beside it while keys are changed. Clones share
/// both, so that they can be replaced while the process runs.
#[derive(Clone)]
pub struct Keys(watch::Sender<(Key, Option<Key>)>);

impl Keys {
    /// Both keys.
    pub fn new(first: Key, second: Option<Key>) -> Self {
        Self(watch::Sender::new((first, second)))
    }

    /// The key that makes things.
    pub fn first(&self) -> Key {
        self.0.borrow().0.clone()
    }

    /// The key that is only accepted.
    pub fn second(&self) -> Option<Key> {
        self.0.borrow().1.clone()
    }

    /// The first of the two that fits.
    pub fn find(&self, fits: impl Fn(&Key) -> bool) -> Option<Key> {
        let keys = self.0.borrow();
        std::iter::once(&keys.0).chain(&keys.1).find(|key| fits(key)).cloned()
    }

    /// Puts others in their place, wherever they are used; whether they differ.
    pub fn replace(&self, by: &Self) -> bool {
        let new = by.0.borrow().clone();
        self.0
            .send_if_modified(|keys| std::mem::replace(keys, new.clone()) != new)
    }
}

impl From<&Key> for Keys {
    fn from(only: &Key) -> Self {
        Self::new(only.clone(), None)
    }
}

impl From<&Self> for Keys {
    fn from(shared: &Self) -> Self {
        shared.clone()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys([redacted])")
    }
}

/// Personal data as Discord sent it: JSON text that is delivered and never logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct PersonalData(String);

impl PersonalData {
    /// Takes ownership of the JSON text.
    pub fn new(json: impl Into<String>) -> Self {
        Self(json.into())
    }

    /// The JSON text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PersonalData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonalData([redacted], {} bytes)", self.0.len())
    }
}

/// A new key's bytes, from the operating system.
pub fn random_bytes() -> io::Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(&mut bytes[..]).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Makes a file, and its folder, for their owner alone; both are synced. A file that is there stays.
pub fn make_once(path: &Path, content: &[u8]) -> io::Result<()> {
    make_once_by(path, content, |from, to| fs::hard_link(from, to))
}

fn make_once_by(path: &Path, content: &[u8], link: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Its own name for each process: two that start at once must not write into one file.
    let mine = path.with_added_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&mine)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    // A link, not a rename: of two processes the first one's file stays, and the second reads it.
    let linked = written.and_then(|()| match link(&mine, path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // FAT, exFAT and many FUSE file systems have no links, each with an error of its own.
        Err(_) => renameat_with(CWD, &mine, CWD, path, RenameFlags::NOREPLACE).or_else(|error| match error {
            Errno::EXIST => Ok(()),
            // Nor this: who starts first still wins, but for two starts within a millisecond.
            _ if path.exists() => Ok(()),
            _ => fs::rename(&mine, path),
        }),
    });
    // Where it was renamed, or the disk is full, it is not there.
    let _ = fs::remove_file(&mine);
    linked?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_prints_itself() {
        let shown = format!(
            "{:?} {:?} {:?} {:?} {:?}",
            AuthorizationCode::new("CANARY1"),
            AccessToken::new("CANARY2"),
            Key::new(*b"CANARY3"),
            PersonalData::new("CANARY4"),
            Keys::new(Key::new(*b"CANARY5"), Some(Key::new(*b"CANARY6"))),
        );
        assert!(!shown.contains("CANARY"), "{shown}");
    }

    #[test]
    fn a_key_is_made_once_on_a_file_system_without_hard_links_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let no_links = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let path = folder.path().join("keys/state.key");
        for content in [b"first", b"later"] {
            make_once_by(&path, content, no_links).expect("made");
            assert_eq!(fs::read(&path).expect("there"), b"first");
        }
        let names = fs::read_dir(folder.path().join("keys")).expect("listed");
        assert_eq!(names.count(), 1, "nothing else is left");
    }
}
