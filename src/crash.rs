//! Crash points: named places at which a test ends the process as `kill -9` would, before and after every durable commit
//! and every outside call. They exist in test builds alone; anywhere else each of these functions is empty.
//!
//! `CRASH_AT=exchange.after` kills at the first arrival there, `CRASH_AT=exchange.after:3` at the third.

/// A place in the code. Its name is the call's or the commit's, and `before` or `after`.
pub fn point(name: &str) {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    armed::pass(name);
    let _ = name;
}

/// The points of a commit: one for each kind of change that is in it, such as `commit.token.before`.
pub fn commit<'k>(kinds: impl Iterator<Item = &'k str>, when: &str) {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    armed::pass_commit(kinds, when);
    #[cfg(not(all(feature = "failpoints", debug_assertions)))]
    let _ = (kinds, when);
}

/// Looks whether a test wants the process dead somewhere.
pub fn arm() {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    armed::arm();
}

// A release build has no points even where a benchmark brings the feature in: its binary may end up in use.
#[cfg(all(feature = "failpoints", debug_assertions))]
mod armed {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static ARMED: AtomicBool = AtomicBool::new(false);

    pub fn arm() {
        let Ok(at) = std::env::var("CRASH_AT") else { return };
        let (name, nth) = at.split_once(':').unwrap_or((&at, "1"));
        let nth: u64 = nth.parse().expect("CRASH_AT is `point` or `point:n`");
        let passed = AtomicU64::new(0);
        let die = move || {
            if passed.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                let _ = kill_process(getpid(), Signal::KILL);
                // The signal may take this thread a moment later, and nothing more may happen here.
                std::thread::park();
            }
        };
        fail::cfg_callback(name, die).expect("a callback is a valid action");
        ARMED.store(true, Ordering::SeqCst);
    }

    pub fn pass(name: &str) {
        if ARMED.load(Ordering::Relaxed) {
            fail::fail_point!(name);
        }
    }

    pub fn pass_commit<'k>(kinds: impl Iterator<Item = &'k str>, when: &str) {
        if !ARMED.load(Ordering::Relaxed) {
            return;
        }
        for kind in kinds.collect::<BTreeSet<_>>() {
            pass(&format!("commit.{kind}.{when}"));
        }
    }
}
