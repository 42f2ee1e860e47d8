//! Reports when the configuration file was saved.

use std::path::Path;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Editors write a file in several steps: this long after the last one it counts as saved.
const SETTLES: Duration = Duration::from_millis(200);

/// Watches one file until it is dropped.
pub struct Saved {
    /// Keeps the thread alive; `None` if the file cannot be watched.
    _watcher: Option<RecommendedWatcher>,
    touched: mpsc::Receiver<()>,
}

impl Saved {
    /// Watches a file through its folder, since some editors replace the file.
    pub fn watch(file: Option<&Path>) -> Self {
        let (touch, touched) = mpsc::channel(1);
        let watcher = file.and_then(|file| match start(file, touch) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "cannot watch the configuration file: send SIGHUP after a change");
                None
            }
        });
        Self {
            _watcher: watcher,
            touched,
        }
    }

    /// Waits until the file was saved. If the future is dropped, a save may be missed until the next one.
    pub async fn next(&mut self) {
        if self.touched.recv().await.is_none() {
            return std::future::pending().await;
        }
        while let Ok(Some(())) = tokio::time::timeout(SETTLES, self.touched.recv()).await {}
    }
}

fn start(file: &Path, touch: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = file.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let Ok(event) = event else { return };
        let written = matches!(event.kind, EventKind::Create(_) | EventKind::Modify(_));
        if written && event.paths.iter().any(|path| path.file_name() == name.as_deref()) {
            // If the channel is full, a save is already reported.
            let _ = touch.try_send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_is_noticed_and_its_neighbour_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("codeferry.toml");
        std::fs::write(&file, "one").expect("written");
        let mut saved = Saved::watch(Some(&file));
        let soon = Duration::from_secs(10);
        std::fs::write(folder.path().join("results.jsonl"), "a line").expect("written");
        assert!(tokio::time::timeout(SETTLES * 2, saved.next()).await.is_err());
        std::fs::write(&file, "two").expect("written");
        tokio::time::timeout(soon, saved.next()).await.expect("noticed");
        let new = folder.path().join(".codeferry.toml.swp");
        std::fs::write(&new, "three").expect("written");
        std::fs::rename(&new, &file).expect("put in its place");
        tokio::time::timeout(soon, saved.next()).await.expect("noticed");
    }
}
