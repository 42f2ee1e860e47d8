//! The journal's memory and its store against a model of one page: what Discord knows of each code, and what was promised.
//!
//! Calls begin and end by themselves, so that those of one person overlap in every way; a crash loses what was in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use codeferry::actors::journal::open_grants::{Begun, Carried, Changed, OpenGrants, OpenGrantsRules, Redirected};
use codeferry::grant::event::Uninvited;
use codeferry::grant::retry::FETCH_GIVE_UP;
use codeferry::grant::state::{Requested, Token};
use codeferry::grant::{Event, Policy, Reason, Task};
use codeferry::ids::{ChannelId, CodeHash, GrantId, Lane, MessageId, UserId, snowflake_at};
use codeferry::intake::gate::GateRules;
use codeferry::secret::{AccessToken, AuthorizationCode, PersonalData};
use codeferry::store::{Change, Store, StoreOptions, Sync, open};
use codeferry::time::{Clock, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::SeedableRng;
use rand::rngs::StdRng;

const CODES: u8 = 8;
const PEOPLE: u64 = 2;
const TASKS: [Task; 5] = [
    Task::Exchange,
    Task::Fetch,
    Task::Deliver(0),
    Task::Revoke,
    Task::Invite,
];

#[derive(Debug, Clone)]
enum Op {
    /// A code is posted, again if it was posted before.
    Post(u8),
    Begin(Task),
    /// One of the calls under way ends.
    End(usize, Answer),
    /// The process dies: what is not on the disk is gone.
    Crash,
    /// A clean end and a start.
    Restart,
    Pass(u64),
    /// The wall clock is stepped by an hour, ahead or back, or to the true time again.
    Step(bool),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Fine,
    /// 429: nothing happened.
    Limited,
    /// It happened, and nobody was told.
    Cut,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..CODES).prop_map(Op::Post),
        8 => prop::sample::select(TASKS.to_vec()).prop_map(Op::Begin),
        8 => (any::<usize>(), prop_oneof![5 => Just(Answer::Fine), 1 => Just(Answer::Limited), 1 => Just(Answer::Cut)])
            .prop_map(|(which, answer)| Op::End(which, answer)),
        1 => Just(Op::Crash),
        1 => Just(Op::Restart),
        4 => (1..25_000_u64).prop_map(Op::Pass),
        1 => any::<bool>().prop_map(Op::Step),
    ]
}

/// The model: what is true of one code.
#[derive(Debug, Clone, Copy, Default)]
struct Fact {
    posted: bool,
    /// Discord has given a token for it.
    consumed: bool,
    /// The service has that token.
    received: bool,
    /// Since when, by the wall clock.
    received_at: Timestamp,
    /// The token is alive.
    alive: bool,
    /// The token is not needed any more.
    fetched: bool,
    outcomes: u32,
}

fn person(code: u8) -> UserId {
    UserId(80_000_000_000_000_001 + u64::from(code) % PEOPLE)
}

#[derive(Clone)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

struct Bench {
    folder: tempfile::TempDir,
    clock: Hand,
    store: Option<Box<dyn Store>>,
    open_grants: OpenGrants,
    /// Calls that have left: the task, the grant, and its code.
    under_way: Vec<(Task, GrantId, u8)>,
    facts: BTreeMap<u8, Fact>,
    /// The code of each grant.
    codes: BTreeMap<GrantId, u8>,
    messages: u64,
    starts: u64,
    /// The clock minus the true time, in milliseconds.
    off_ms: i64,
}

fn load(folder: &Path, clock: &Hand, chance: u64) -> (Box<dyn Store>, OpenGrants, Changed) {
    let options = StoreOptions {
        cache_mb: 1,
        sync: Sync::Counted,
        reserve_bytes: 4_096,
        log_bytes: crate::store::test_support::LOG_BYTES,
        closed_group: 4,
        ..StoreOptions::new(folder.join("journal"), Arc::new(clock.clone()))
    };
    let opened = open(&options).expect("it opens");
    let policy = Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: vec!["results".to_owned()],
        keep_parked: Duration::from_hours(168),
        reinvite: true,
    };
    let gate = GateRules::unlimited(policy.code_lifetime);
    let rules = OpenGrantsRules {
        policy,
        keep_messages: false,
        gate,
    };
    let (open_grants, changed) = OpenGrants::new(opened.loaded, rules, StdRng::seed_from_u64(chance), clock.now());
    (opened.store, open_grants, changed)
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Hand(Arc::new(AtomicI64::new(1_786_363_204_000)));
        let (store, open_grants, _) = load(folder.path(), &clock, 0);
        Self {
            folder,
            clock,
            store: Some(store),
            open_grants,
            under_way: Vec::new(),
            facts: (0..CODES).map(|code| (code, Fact::default())).collect(),
            codes: BTreeMap::new(),
            messages: 0,
            starts: 0,
            off_ms: 0,
        }
    }

    fn fact(&mut self, code: u8) -> &mut Fact {
        self.facts.get_mut(&code).expect("a code")
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn commit(&mut self, changed: Changed) {
        for change in &changed.changes {
            if let Change::PutGrant(grant) = change {
                self.codes.insert(grant.id, grant.code_hash.expect("a code").0[0]);
            }
        }
        for closed in &changed.closed {
            let fact = self.fact(self.codes[&closed.id]);
            fact.outcomes += 1;
            assert!(
                !(fact.received && fact.alive),
                "a grant with a live token closed: {closed:?}"
            );
        }
        let store = self.store.as_mut().expect("it is open");
        store.commit(&changed.changes).expect("it commits");
        self.open_grants
            .durable(&changed.grants, &changed.source_messages, self.now());
    }

    fn play(&mut self, op: Op) {
        match op {
            Op::Post(code) => self.post(code),
            Op::Begin(task) => self.begin(task),
            Op::End(_, _) if self.under_way.is_empty() => {}
            Op::End(which, answer) => self.end(which % self.under_way.len(), answer),
            Op::Crash => self.start_again(false),
            Op::Restart => self.start_again(true),
            Op::Pass(ms) => self.pass(ms),
            Op::Step(ahead) => {
                // At most an hour off: what waits for a moment waits longer by as much.
                let off = if self.off_ms != 0 {
                    0
                } else {
                    3_600_000 * if ahead { 1 } else { -1 }
                };
                self.clock.0.fetch_add(off - self.off_ms, Ordering::Relaxed);
                self.off_ms = off;
            }
        }
    }

    fn post(&mut self, code: u8) {
        self.messages += 1;
        self.fact(code).posted = true;
        let now = self.now();
        let carried = Carried {
            unread_lines: false,
            message: MessageId(snowflake_at(now) + self.messages),
            channel: ChannelId(1_536_000_000_000_000_011),
            lane: Lane(0),
            redirects: vec![Redirected {
                redirected_at: None,
                result: Ok((AuthorizationCode::new(format!("code-{code:012}")), CodeHash([code; 16]))),
                requested: Ok(Requested {
                    user: Some(person(code)),
                    nonce: Some([code; 8]),
                    ..Requested::default()
                }),
            }],
        };
        let (_, changed) = self.open_grants.append(vec![carried], now);
        self.commit(changed);
    }

    fn begin(&mut self, task: Task) {
        let now = self.now();
        let Some(grant) = self.open_grants.claim(task, 1, now).pop() else {
            return;
        };
        let changed = match self.open_grants.begin(grant.id, task, now) {
            (Begun::Stale, changed) => return self.commit(changed),
            (Begun::Go, changed) => changed,
        };
        self.commit(changed);
        let code = self.codes[&grant.id];
        let theirs = |task: Task| {
            self.under_way
                .iter()
                .any(|(t, _, c)| *t == task && person(*c) == person(code))
        };
        match task {
            Task::Exchange => {
                assert!(
                    !self.facts[&code].received,
                    "code {code} is presented after its token was received"
                );
                assert!(
                    !theirs(Task::Revoke),
                    "code {code} is presented while that person's token is revoked"
                );
            }
            Task::Revoke => {
                assert!(
                    !theirs(Task::Exchange),
                    "a token is revoked while that person's code is presented"
                );
                let in_use = |(other, fact): (&u8, &Fact)| {
                    person(*other) == person(code) && fact.received && !fact.fetched && fact.outcomes == 0
                };
                assert!(
                    !self.facts.iter().any(in_use),
                    "a token is revoked while one of that person is in use"
                );
            }
            Task::Invite => assert!(
                !self.facts[&code].fetched,
                "the person of code {code} is invited anew, and is in"
            ),
            Task::Fetch | Task::Deliver(_) => {}
        }
        self.under_way.push((task, grant.id, code));
    }

    fn end(&mut self, which: usize, answer: Answer) {
        let (task, id, code) = self.under_way.remove(which);
        let (mut data, user) = (None, person(code));
        let wait = Some(Duration::from_secs(5));
        let event = match (task, answer) {
            (Task::Exchange, Answer::Limited) => Event::Deferred { after: wait },
            (Task::Exchange, answer) if !self.facts[&code].consumed => {
                let (cut, now) = (matches!(answer, Answer::Cut), self.now());
                let fact = self.fact(code);
                (fact.consumed, fact.alive, fact.received, fact.received_at) = (true, true, !cut, now);
                let token = Token {
                    access: AccessToken::new(format!("token-{code}")),
                    scopes: Vec::new(),
                };
                if cut { Event::CutOff } else { Event::Exchanged(token) }
            }
            (Task::Exchange, _) => Event::Refused(Reason::new("invalid_grant")),
            (Task::Fetch, Answer::Fine) => {
                assert!(self.facts[&code].alive, "the fetch for code {code} was cut off");
                self.fact(code).fetched = true;
                data = Some(PersonalData::new("{}"));
                Event::Fetched {
                    person: user,
                    missing: Vec::new(),
                }
            }
            (Task::Fetch, _) => {
                let now = self.now();
                let fact = self.fact(code);
                // A fetch that has failed for so long is given up.
                fact.fetched = now.since(fact.received_at) >= FETCH_GIVE_UP;
                Event::FetchDeferred { after: wait }
            }
            (Task::Revoke, Answer::Limited) => Event::RevocationFailed { after: wait },
            (Task::Revoke, answer) => {
                let theirs = self.facts.iter_mut().filter(|(other, _)| person(**other) == user);
                theirs.for_each(|(_, fact)| fact.alive = false);
                if matches!(answer, Answer::Fine) {
                    Event::Revoked
                } else {
                    Event::RevocationFailed { after: None }
                }
            }
            (Task::Invite, Answer::Fine) => Event::Invited,
            (Task::Invite, Answer::Limited) => Event::InvitationDeferred {
                after: wait,
                or: Uninvited::NoRoom,
            },
            (Task::Invite, Answer::Cut) => Event::InvitationRefused(Uninvited::Closed),
            (Task::Deliver(_), Answer::Fine) => Event::Delivered {
                sink: "results".to_owned(),
            },
            (Task::Deliver(_), answer) => Event::DeliveryFailed {
                sink: "results".to_owned(),
                after: None,
                uncertain: matches!(answer, Answer::Cut),
            },
        };
        let failed = event.is_failure().then(|| event.name().to_owned());
        match self.open_grants.report(id, task, (event, failed), data, self.now()) {
            Ok(changed) => self.commit(changed),
            // The grant had moved on while the call was under way: whoever holds a token revokes it.
            Err(_) => self.fact(code).alive &= task != Task::Exchange,
        }
    }

    fn start_again(&mut self, cleanly: bool) {
        self.under_way.clear();
        let store = self.store.take().expect("it is open");
        if cleanly {
            store.close().expect("it closes");
        } else {
            drop(store);
        }
        self.starts += 1;
        let (store, open_grants, changed) = load(self.folder.path(), &self.clock, self.starts);
        (self.store, self.open_grants) = (Some(store), open_grants);
        self.commit(changed);
    }

    fn pass(&mut self, ms: u64) {
        self.clock.0.fetch_add(ms.cast_signed(), Ordering::Relaxed);
        let expired = self.open_grants.expire(self.now());
        self.commit(expired);
        let aged = self.open_grants.age(self.now());
        self.commit(aged);
    }

    /// Nothing fails any more: everything ends, and what was promised holds.
    fn settle(mut self) {
        let mut rounds = 0;
        while !self.open_grants.is_empty() {
            rounds += 1;
            assert!(
                rounds < 2_000,
                "it never ends: {:?}",
                self.open_grants.open().collect::<Vec<_>>()
            );
            while !self.under_way.is_empty() {
                self.end(0, Answer::Fine);
            }
            for task in TASKS {
                self.begin(task);
            }
            self.pass(5_000);
        }
        for (code, fact) in &self.facts {
            assert_eq!(
                fact.outcomes,
                u32::from(fact.posted),
                "outcomes of code {code}: {fact:?}"
            );
            assert!(
                !(fact.received && fact.alive),
                "the token of code {code} is left: {fact:?}"
            );
        }
        let any_time = self.now() + Duration::from_hours(10_000);
        for source_message in self.open_grants.claim_removals(usize::MAX, any_time) {
            let removed = self.open_grants.removed(source_message.message, None);
            self.commit(removed);
        }
        assert_eq!(
            (self.open_grants.outstanding(), self.open_grants.indexed()),
            ((0, 0), 0)
        );
        assert_eq!(self.store.expect("it is open").verify().expect("it answers"), []);
    }
}

/// The same cases in every normal run, others in every slow one.
fn seed() -> RngSeed {
    if std::env::var_os("CODEFERRY_SLOW").is_some() {
        RngSeed::Random
    } else {
        RngSeed::Fixed(1_786_363_204)
    }
}

fn cases() -> u32 {
    if std::env::var_os("CODEFERRY_SLOW").is_some() {
        5_000
    } else {
        100
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: seed(), ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn the_journal_keeps_its_promises_whatever_comes_in_whatever_order(ops in prop::collection::vec(op(), 1..120)) {
        let mut bench = Bench::new();
        for op in ops {
            bench.play(op);
        }
        bench.settle();
    }
}
