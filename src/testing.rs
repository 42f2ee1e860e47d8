//! Helpers shared by the unit tests of several modules.
#![expect(clippy::disallowed_types, reason = "a log writer is shared with the subscriber")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use url::Url;

use crate::intake::link::LinkSettings;
use crate::intake::mint::Minter;
use crate::intake::state::{StateKey, StateMode};
use crate::secret::{Key, Keys};

/// A link minter for tests.
pub fn minter() -> Minter {
    let key = Key::new(*b"0123456789abcdef0123456789abcdef");
    Minter {
        settings: LinkSettings {
            authorize_url: Url::parse("https://discord.com/oauth2/authorize").expect("a URL"),
            client_id: 1_536_000_000_000_000_001,
            redirect_uri: "https://relay.example/callback".into(),
            scopes: vec!["identify".into(), "guilds".into()],
        },
        mode: StateMode::Signed,
        state_key: StateKey::new(&key),
        pkce_keys: Keys::from(&key),
        lifetime: Duration::from_mins(5),
    }
}

/// Runs a test in paused time, with actors.
pub fn paused<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let system = actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    });
    system.block_on(async { test().await })
}

/// Collects a log.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// The log's text.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text")
    }
}

/// Captures this thread's log.
pub fn logged(act: impl FnOnce()) -> String {
    // A line that another thread reaches first, without a subscriber, may be taken for one that nobody ever wants.
    static ALL_ARE_WANTED: std::sync::Once = std::sync::Once::new();
    ALL_ARE_WANTED.call_once(|| drop(tracing::subscriber::set_global_default(tracing_subscriber::registry())));
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    captured.text()
}
