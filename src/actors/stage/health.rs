//! Whether the calls of a stage work: one line when they begin to fail, and one when they work again.

use std::time::Duration;

use tokio::time::Instant;

use crate::grant::Task;

/// Calls that fail now and then beside others that work are one trouble, not many.
const QUIET: Duration = Duration::from_secs(10);
/// Kinds of failure that are told of while one trouble lasts.
const MOST_KINDS: usize = 8;

/// How the calls of a stage go.
#[derive(Default)]
pub(super) struct Health(Option<Failing>);

struct Failing {
    since: Instant,
    last: Instant,
    calls: u64,
    /// The kinds of failure that were told of.
    kinds: Vec<String>,
    /// A call worked after the last one that failed.
    works: bool,
}

impl Health {
    /// Takes note of a call, and why it failed where it did.
    pub(super) fn note(&mut self, task: Task, sink: Option<&str>, failed: Option<&str>) {
        let Some(kind) = failed else {
            if let Some(failing) = &mut self.0 {
                failing.works = true;
            }
            return self.look(task, sink);
        };
        let now = Instant::now();
        let failing = self.0.get_or_insert_with(|| Failing {
            since: now,
            last: now,
            calls: 0,
            kinds: Vec::new(),
            works: false,
        });
        failing.calls += 1;
        failing.last = now;
        failing.works = false;
        if failing.kinds.len() < MOST_KINDS && !failing.kinds.iter().any(|known| known == kind) {
            failing.kinds.push(kind.to_owned());
            tracing::warn!(call = task.name(), sink, reason = kind, "a call fails: retrying");
        }
    }

    /// Says that the calls work again, once none has failed for a while.
    pub(super) fn look(&mut self, task: Task, sink: Option<&str>) {
        if let Some(failing) = &self.0
            && failing.works
            && failing.last.elapsed() >= QUIET
        {
            let for_s = (failing.last - failing.since).as_secs();
            tracing::info!(
                call = task.name(),
                sink,
                failed = failing.calls,
                for_s,
                "the call works again"
            );
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{logged, paused};

    #[test]
    fn a_trouble_is_told_of_when_it_begins_and_when_it_is_over_and_not_in_between() {
        let said = logged(|| {
            paused(async || {
                let mut health = Health::default();
                let mut call = async |failed: Option<&str>| {
                    health.note(Task::Deliver(0), Some("callback"), failed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    health.look(Task::Deliver(0), Some("callback"));
                };
                call(None).await;
                for _ in 0..30 {
                    call(Some("http_503")).await;
                    call(None).await;
                }
                call(Some("connection_refused")).await;
                for _ in 0..30 {
                    call(None).await;
                }
                call(Some("http_503")).await;
            });
        });
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 4, "{said}");
        for (line, parts) in lines.iter().zip([
            ["WARN", "sink=\"callback\" reason=\"http_503\""],
            ["WARN", "reason=\"connection_refused\""],
            [
                "INFO",
                "works again call=\"deliver\" sink=\"callback\" failed=31 for_s=60",
            ],
            ["WARN", "reason=\"http_503\""],
        ]) {
            assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        }
    }
}
