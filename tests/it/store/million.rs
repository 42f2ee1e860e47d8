//! A million grants through the journal's memory and the store: each leaves one short line on the disk, and the process
//! does not grow. The normal run takes 4,000, `CODEFERRY_SLOW=1` takes 1,000,000 (15 min on an idle machine).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use codeferry::actors::journal::open_grants::{Begun, Carried, Changed, OpenGrants, OpenGrantsRules, Redirected};
use codeferry::grant::state::{Requested, Token};
use codeferry::grant::{Event, Grant, Policy, Task};
use codeferry::ids::{CodeHash, Lane, MessageId, UserId, snowflake_at};
use codeferry::intake::gate::GateRules;
use codeferry::secret::{AccessToken, AuthorizationCode, PersonalData};
use codeferry::store::{Store, StoreOptions, open};
use codeferry::time::{Clock, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;

use tokio::time::Instant;

use super::test_support::{CHANNEL, NOON, hash, id_at, options, person};
use crate::patience::Finish as _;

const FOLDER: &str = "CODEFERRY_TEST_MILLION_CHILD";
const GRANTS: &str = "CODEFERRY_TEST_MILLION_GRANTS";
/// Grants that are open at once.
const AT_ONCE: u64 = 500;
/// A million of them take just under the 24 h for which closed grants are kept: none is swept.
const BETWEEN: Duration = Duration::from_secs(43);
/// Larger groups than the committer's: the test measures what stays, not the committing.
const MOST_CHANGES: usize = 1_000;
/// Bytes that may be on the disk, and bytes of memory that the process may have.
const MOST_DISK: u64 = 128 << 20;
const MOST_MEMORY: u64 = 40 << 20;

struct Moving(AtomicI64);

impl Clock for Moving {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

struct Journal {
    open_grants: OpenGrants,
    store: Box<dyn Store>,
    now: Timestamp,
}

impl Journal {
    /// Makes changes durable, in groups as large as the committer's.
    fn commit(&mut self, all: Vec<Changed>) {
        let (mut changes, mut grants, mut source_messages) = (Vec::new(), Vec::new(), Vec::new());
        for changed in all {
            changes.extend(changed.changes);
            grants.extend(changed.grants);
            source_messages.extend(changed.source_messages);
            if changes.len() >= MOST_CHANGES {
                self.store.commit(&changes).expect("commits");
                changes.clear();
            }
        }
        self.store.commit(&changes).expect("commits");
        self.store.maintain().expect("maintains");
        self.open_grants.durable(&grants, &source_messages, self.now);
    }

    /// Takes everything that wants a task through it.
    fn step(&mut self, task: Task, event: impl Fn(&Grant) -> (Event, Option<PersonalData>)) {
        let claimed = self.open_grants.claim(task, AT_ONCE as usize, self.now);
        assert_eq!(claimed.len() as u64, AT_ONCE, "{task:?}");
        let begun = claimed
            .iter()
            .map(|grant| match self.open_grants.begin(grant.id, task, self.now) {
                (Begun::Go, changed) => changed,
                (Begun::Stale, _) => panic!("{task:?} may begin"),
            });
        let begun = begun.collect();
        self.commit(begun);
        let reported = claimed.iter().map(|grant| {
            let (event, data) = event(grant);
            self.open_grants
                .report(grant.id, task, (event, None), data, self.now)
                .expect("it may happen")
        });
        let reported = reported.collect();
        self.commit(reported);
    }

    /// Fifty sign-ins from the message to the end.
    fn sign_ins(&mut self, first: u64) {
        let carried = (first..first + AT_ONCE).map(|n| Carried {
            unread_lines: false,
            message: MessageId(snowflake_at(self.now) + n % AT_ONCE),
            channel: CHANNEL,
            lane: Lane(0),
            redirects: vec![Redirected {
                redirected_at: Some(self.now),
                result: Ok((AuthorizationCode::new(format!("code-{n:025}")), hash_of(n))),
                requested: Ok(Requested {
                    user: Some(UserId(80_000_000_000_000_001 + n)),
                    purpose: Some(0),
                    ..Requested::default()
                }),
            }],
        });
        let carried = carried.collect();
        let (_, received) = self.open_grants.append(carried, self.now);
        self.commit(vec![received]);
        self.step(Task::Exchange, |grant| {
            let token = Token {
                access: AccessToken::new(format!("token-{}", grant.id)),
                scopes: vec!["identify".to_owned()],
            };
            (Event::Exchanged(token), None)
        });
        self.step(Task::Fetch, |grant| {
            let fetched = Event::Fetched {
                person: grant.person.expect("the state names it"),
                missing: Vec::new(),
            };
            (fetched, Some(PersonalData::new(person(0, 400))))
        });
        let sink = "results".to_owned();
        self.step(Task::Deliver(0), |_| (Event::Delivered { sink: sink.clone() }, None));
        self.step(Task::Revoke, |_| (Event::Revoked, None));
        let removals = self.open_grants.claim_removals(AT_ONCE as usize, self.now);
        let removed = removals
            .iter()
            .map(|source_message| self.open_grants.removed(source_message.message, None));
        let mut last: Vec<Changed> = removed.collect();
        last.push(self.open_grants.move_cursor(CHANNEL, MessageId(snowflake_at(self.now))));
        last.push(self.open_grants.age(self.now));
        self.commit(last);
        assert!(self.open_grants.is_empty() && self.open_grants.source_messages() == 0);
    }
}

fn hash_of(n: u64) -> CodeHash {
    hash(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Bytes of memory that are this process's own: the pages of a test program's file are not counted.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let own = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .expect("a number");
    let kilobytes = own.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok());
    kilobytes.expect("kB") << 10
}

/// Not a test by itself: the process whose memory is measured.
#[test]
fn million_child() {
    let Ok(dir) = std::env::var(FOLDER) else { return };
    let grants: u64 = std::env::var(GRANTS).expect("given").parse().expect("a number");
    let clock = Arc::new(Moving(AtomicI64::new(NOON.as_millis())));
    let opened = open(&StoreOptions {
        sync: codeferry::store::Sync::Counted,
        ..StoreOptions::new(std::path::Path::new(&dir).join("journal"), clock.clone())
    });
    let opened = opened.unwrap_or_else(|e| panic!("it should open: {e}"));
    let policy = Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: vec!["results".to_owned()],
        keep_parked: Duration::from_hours(168),
        reinvite: false,
    };
    let gate = GateRules::unlimited(policy.code_lifetime);
    let rules = OpenGrantsRules {
        policy,
        keep_messages: false,
        gate,
    };
    let (open_grants, at_start) = OpenGrants::new(opened.loaded, rules, StdRng::seed_from_u64(1), NOON);
    let mut journal = Journal {
        open_grants,
        store: opened.store,
        now: NOON,
    };
    journal.commit(vec![at_start]);
    let mut peak = 0;
    for first in (0..grants).step_by(AT_ONCE as usize) {
        peak = peak.max(memory());
        journal.sign_ins(first);
        journal.now = journal.now + BETWEEN;
        clock.0.store(journal.now.as_millis(), Ordering::Relaxed);
    }
    let closed = journal.store.closed_totals().expect("counts").sum();
    assert_eq!(journal.store.verify().expect("verifies"), []);
    // One that ended long ago, and one that was never here, in the middle of all that were.
    let mut look_up = Duration::ZERO;
    let oldest = journal
        .store
        .newest_closed(usize::MAX)
        .expect("lists")
        .pop()
        .expect("some");
    for id in [oldest.id, id_at(NOON + BETWEEN * (grants / AT_ONCE / 2) as u32, 1)] {
        let began = Instant::now();
        let found = journal.store.closed(id).expect("reads").is_some();
        assert_eq!(found, id == oldest.id);
        look_up = look_up.max(began.elapsed());
    }
    let disk = journal.store.size_bytes();
    journal.store.close().expect("closes");
    let began = Instant::now();
    let again = open(&options(std::path::Path::new(&dir))).unwrap_or_else(|e| panic!("it should open: {e}"));
    assert_eq!(again.loaded.closed, closed);
    println!(
        "\nMEASURED closed {closed} disk {disk} memory {peak} look_up_ms {} open_ms {}",
        look_up.as_millis(),
        began.elapsed().as_millis()
    );
}

#[test]
fn a_great_many_grants_leave_the_journal_and_the_process_small() {
    let slow = std::env::var_os("CODEFERRY_SLOW").is_some();
    let grants: u64 = if slow { 1_000_000 } else { 4_000 };
    let dir = tempfile::tempdir().expect("folder");
    let output = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "store::million::million_child", "--nocapture"])
        .env(FOLDER, dir.path())
        .env(GRANTS, grants.to_string())
        .finish_within(Duration::from_mins(if slow { 180 } else { 5 }));
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let measured = text.lines().find(|line| line.starts_with("MEASURED"));
    let measured = measured.unwrap_or_else(|| panic!("{text}\n{said}"));
    eprintln!("{grants} grants: {measured}");
    let numbers: Vec<u64> = measured.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [closed, disk, memory, look_up, _] = numbers[..] else {
        panic!("{measured}")
    };
    assert_eq!(closed, grants);
    assert!(disk < MOST_DISK && memory < MOST_MEMORY && look_up < 500, "{measured}");
}
