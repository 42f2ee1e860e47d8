//! Reports when the configuration file was saved.
//!
//! The file is looked at, through every link, and not watched: a ConfigMap is swapped and a link rewritten in other
//! folders than the file's, and some mounts tell of no change at all.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::time::Pulse;

/// How often it is looked at.
const LOOK_EVERY: Duration = Pulse::BEAT.saturating_mul(2);
/// Editors write a file in several steps: unchanged for this long it counts as saved.
const SETTLES: Duration = Duration::from_millis(200);

/// Device, inode, length, and the time of the last change of content, name or mode.
type Looks = (u64, u64, u64, (i64, i64));

/// What the file looked like when it was last reported.
pub struct Saved {
    file: Option<PathBuf>,
    known: Option<Looks>,
    pulse: Pulse,
}

impl Saved {
    /// From now on.
    pub async fn watch(file: Option<&Path>) -> Self {
        let mut saved = Self {
            file: file.map(Path::to_owned),
            known: None,
            pulse: Pulse::of_this_thread(),
        };
        saved.known = saved.look().await;
        saved
    }

    /// Waits until the file was saved. Nothing is missed if the future is dropped.
    pub async fn next(&mut self) {
        loop {
            sleep_until(self.pulse.by(Instant::now() + LOOK_EVERY)).await;
            let mut seen = self.look().await;
            // Between two steps of an editor, or of a swap, there may be no file.
            while seen.is_some() && seen != self.known {
                sleep(SETTLES).await;
                let now = self.look().await;
                if now == seen {
                    self.known = now;
                    return;
                }
                seen = now;
            }
        }
    }

    async fn look(&self) -> Option<Looks> {
        let about = tokio::fs::metadata(self.file.as_ref()?).await.ok()?;
        let changed = (about.ctime(), about.ctime_nsec());
        Some((about.dev(), about.ino(), about.len(), changed))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    async fn noticed(saved: &mut Saved, how: &str) {
        assert!(timeout(SOON, saved.next()).await.is_ok(), "{how}");
        assert!(
            timeout(LOOK_EVERY * 2, saved.next()).await.is_err(),
            "{how}: told twice"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_or_replaced_is_noticed_and_its_neighbour_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("codeferry.toml");
        fs::write(&file, "one").expect("written");
        let mut saved = Saved::watch(Some(&file)).await;
        fs::write(folder.path().join("results.jsonl"), "a line").expect("written");
        assert!(timeout(LOOK_EVERY * 2, saved.next()).await.is_err());
        fs::write(&file, "second").expect("written");
        noticed(&mut saved, "written").await;
        let new = folder.path().join(".codeferry.toml.swp");
        fs::write(&new, "three").expect("written");
        fs::rename(&new, &file).expect("put in its place");
        noticed(&mut saved, "replaced").await;
    }

    /// As Kubernetes does it: the file is a link to `..data/FILE`, and `..data` a link that is replaced.
    #[tokio::test(start_paused = true)]
    async fn a_config_map_that_is_swapped_and_a_link_that_is_rewritten_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("codeferry.toml"), text).expect("written");
        }
        symlink("..1", at("..data")).expect("linked");
        symlink("..data/codeferry.toml", at("codeferry.toml")).expect("linked");
        let mut saved = Saved::watch(Some(&at("codeferry.toml"))).await;
        symlink("..2", at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
        noticed(&mut saved, "swapped").await;
        fs::write(at("..2/codeferry.toml"), "the third").expect("written");
        noticed(&mut saved, "written behind the links").await;
        fs::remove_file(at("codeferry.toml")).expect("removed");
        symlink("..1/codeferry.toml", at("codeferry.toml")).expect("linked");
        noticed(&mut saved, "rewritten").await;
    }
}
