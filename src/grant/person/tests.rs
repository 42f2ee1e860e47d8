//! The rule's sentences, and a life of one person's sign-ins in which no two may cut each other's legs off.

use proptest::prelude::*;

use super::super::event::Event;
use super::super::retry::Policy;
use super::super::state::{Origin, Presentations, Requested, Token};
use super::*;
use crate::ids::{GrantId, Lane, MessageId, UserId};
use crate::secret::{AccessToken, AuthorizationCode};

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
const PERSON: UserId = UserId(80_000_000_000_000_001);

fn policy() -> Policy {
    Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: Vec::new(),
        keep_parked: Duration::from_hours(1),
        reinvite: false,
    }
}

/// A moment, in milliseconds after the start.
fn at(ms: u64) -> Timestamp {
    START + Duration::from_millis(ms)
}

fn received(ms: u64) -> Grant {
    Grant {
        id: GrantId::new(at(ms), u128::from(ms)),
        origin: Origin {
            lane: Lane(0),
            message: MessageId(1),
            index: 0,
        },
        received_at: at(ms),
        deadline: at(ms + 100_000),
        redirected_at: None,
        code_hash: None,
        requested: Requested::default(),
        person: Some(PERSON),
        state: State::Received {
            code: AuthorizationCode::new("code"),
            presentations: Presentations::default(),
        },
        failed: Vec::new(),
    }
}

#[track_caller]
fn apply(grant: &Grant, event: Event, ms: u64) -> Grant {
    grant.apply(event, policy().at(at(ms))).expect("legal")
}

fn exchanging(ms: u64) -> Grant {
    apply(&received(ms), Event::Began, ms)
}

fn exchanged(ms: u64) -> Grant {
    let token = Token {
        access: AccessToken::new("token"),
        scopes: Vec::new(),
    };
    apply(&exchanging(ms), Event::Exchanged(token), ms)
}

/// A grant whose revocation is owed since that moment.
fn owed(ms: u64) -> Grant {
    let fetched = Event::Fetched {
        person: PERSON,
        missing: Vec::new(),
    };
    apply(&exchanged(ms), fetched, ms)
}

fn revocation(theirs: &[Grant], ms: u64) -> bool {
    revocation_may_begin(theirs, [], at(ms))
}

#[test]
fn a_revocation_waits_for_a_code_on_the_wire_and_for_a_token_in_use_however_long() {
    for busy in [exchanging(0), exchanged(0)] {
        for ms in [0, 20_001, 600_000] {
            assert!(
                !revocation(&[owed(0), busy.clone()], ms),
                "{} at {ms}",
                busy.state.name()
            );
        }
    }
    assert!(revocation(&[owed(0)], 0));
    assert!(
        revocation(&[owed(0), owed(5)], 5),
        "others that are owed are served by it"
    );
}

#[test]
fn a_revocation_waits_for_a_waiting_code_twenty_seconds_at_most() {
    let theirs = [owed(0), received(100)];
    assert!(!revocation(&theirs, 20_000));
    assert!(revocation(&theirs, 20_001));
    let newer = [owed(0), received(19_999)];
    assert!(revocation(&newer, 20_001), "a later code does not begin the wait anew");
    let older_owed = [owed(5_000), owed(0), received(10_000)];
    assert!(revocation(&older_owed, 20_001), "the oldest owed revocation counts");
}

#[test]
fn an_exchange_waits_for_a_revocation_on_the_wire() {
    assert!(!exchange_may_begin([], true, START));
    assert!(exchange_may_begin([], false, START));
}

#[test]
fn an_exchange_waits_for_a_revocation_that_has_been_owed_for_twenty_seconds() {
    let others = [owed(0), owed(30_000)];
    assert!(exchange_may_begin(&others, false, at(20_000)));
    assert!(!exchange_may_begin(&others, false, at(20_001)));
}

#[test]
fn other_codes_and_tokens_of_a_person_hold_no_exchange_up() {
    let others = [received(0), exchanging(0), exchanged(0)];
    assert!(exchange_may_begin(&others, false, at(90_000)));
    let closed = apply(&owed(0), Event::Revoked, 1);
    assert!(exchange_may_begin(&[closed], false, at(90_000)));
}

#[test]
fn unknown_people_in_flight_hold_a_revocation_up_for_fifteen_seconds_at_most() {
    let begins = |unknown: Grant, ms| revocation_may_begin(&[owed(1_000)], &[unknown], at(ms));
    for in_flight in [exchanging(500), exchanged(500), exchanged(1_000)] {
        assert!(!begins(in_flight.clone(), 16_000));
        assert!(begins(in_flight, 16_001));
    }
    assert!(
        begins(exchanging(1_001), 1_001),
        "it came after the revocation was owed"
    );
    assert!(begins(received(0), 1_000), "a code that waits is not in flight");
}

/// A grant that waits for its turn: a code on the wire or a token in use is itself under way.
fn any_waiting() -> impl Strategy<Value = Grant> {
    (any::<bool>(), 0..60_000_u64).prop_map(|(code, ms)| if code { received(ms) } else { owed(ms) })
}

/// A grant in any state, for those whose person is unknown.
fn any_grant() -> impl Strategy<Value = Grant> {
    (0..4, 0..60_000_u64).prop_map(|(kind, ms)| match kind {
        0 => received(ms),
        1 => exchanging(ms),
        2 => exchanged(ms),
        _ => owed(ms),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// Neither waits for the other: one of what is pending may begin within 20 s, whatever else there is.
    #[test]
    fn something_of_a_person_may_always_begin_within_twenty_seconds(
        theirs in prop::collection::vec(any_waiting(), 1..6),
        unknown in prop::collection::vec(any_grant(), 0..3),
        ms in 60_000..200_000_u64,
    ) {
        // A code that waits holds no other up, so that it may stand among the others here.
        let soon = at(ms) + REVOCATION_YIELDS_FOR;
        let begins = |now| {
            theirs.iter().any(|grant| match grant.state {
                State::Received { .. } => {
                    exchange_may_begin(&theirs, false, now)
                }
                _ => revocation_may_begin(&theirs, &unknown, now),
            })
        };
        prop_assert!(begins(at(ms)) || begins(soon));
    }

    /// Exchanges, fetches and revocations of chosen lengths, begun whenever the rule lets them: no revocation meets
    /// a token in use or a code on the wire, no code waits past its life for a revocation, and all comes to its end.
    #[test]
    fn sign_ins_of_one_person_never_cut_each_others_legs_off(
        arrivals in prop::collection::vec((0..40_000_u64, 50..10_000_u64, 50..10_000_u64), 1..7),
        revoking_takes in 50..10_000_u64,
        exchange_first in any::<bool>(),
    ) {
        let mut life = Life::new(arrivals, revoking_takes);
        for ms in (0..400_000).step_by(250) {
            if life.grants.iter().all(|g| matches!(g.state, State::Closed(_))) {
                break;
            }
            life.finish_what_is_due(ms);
            for exchanges in [exchange_first, !exchange_first] {
                if exchanges { life.begin_exchanges(ms) } else { life.begin_revocation(ms) }
            }
            prop_assert!(
                life.revoking.is_none() || life.grants.iter().all(|g| {
                    !matches!(g.state, State::Exchanging { .. } | State::Exchanged { .. })
                }),
                "a revocation on the wire kills a token in use"
            );
        }
        prop_assert!(life.grants.iter().all(|g| matches!(g.state, State::Closed(_))), "something waits for ever");
        prop_assert!(life.longest_wait <= 40_250, "a code waited {} ms of its 100 s", life.longest_wait);
    }
}

/// One person's sign-ins over time; every call takes as long as was drawn for it.
struct Life {
    grants: Vec<Grant>,
    arrivals: Vec<(u64, u64, u64)>,
    revoking_takes: u64,
    /// When each grant's running call ends.
    ends: Vec<Option<u64>>,
    revoking: Option<u64>,
    longest_wait: u64,
}

impl Life {
    fn new(arrivals: Vec<(u64, u64, u64)>, revoking_takes: u64) -> Self {
        Self {
            grants: arrivals
                .iter()
                .enumerate()
                .map(|(n, (ms, ..))| Grant {
                    id: GrantId::new(at(*ms), n as u128),
                    ..received(*ms)
                })
                .collect(),
            ends: vec![None; arrivals.len()],
            arrivals,
            revoking_takes,
            revoking: None,
            longest_wait: 0,
        }
    }

    fn arrived(&self, ms: u64) -> Vec<Grant> {
        let there = self.grants.iter().filter(|g| g.received_at <= at(ms));
        there.cloned().collect()
    }

    fn begin_exchanges(&mut self, ms: u64) {
        for n in 0..self.grants.len() {
            let grant = &self.grants[n];
            let waits = matches!(grant.state, State::Received { .. }) && grant.received_at <= at(ms);
            let others = self
                .arrived(ms)
                .into_iter()
                .filter(|g| g.id != grant.id)
                .collect::<Vec<_>>();
            if waits && exchange_may_begin(&others, self.revoking.is_some(), at(ms)) {
                self.longest_wait = self.longest_wait.max(ms - self.arrivals[n].0);
                self.grants[n] = apply(grant, Event::Began, ms);
                self.ends[n] = Some(ms + self.arrivals[n].1);
            }
        }
    }

    fn begin_revocation(&mut self, ms: u64) {
        let theirs = self.arrived(ms);
        let is_owed = theirs.iter().any(|g| revocation_owed_since(g).is_some());
        if is_owed && self.revoking.is_none() && revocation_may_begin(&theirs, [], at(ms)) {
            self.revoking = Some(ms + self.revoking_takes);
        }
    }

    fn finish_what_is_due(&mut self, ms: u64) {
        if self.revoking.is_some_and(|end| end <= ms) {
            self.revoking = None;
            for grant in &mut self.grants {
                if revocation_owed_since(grant).is_some() {
                    *grant = apply(grant, Event::Revoked, ms);
                }
            }
        }
        for n in 0..self.grants.len() {
            if self.ends[n].is_none_or(|end| end > ms) {
                continue;
            }
            let grant = &self.grants[n];
            (self.grants[n], self.ends[n]) = if let State::Exchanging { .. } = grant.state {
                let token = Token {
                    access: AccessToken::new("token"),
                    scopes: Vec::new(),
                };
                let fetch_ends = ms + self.arrivals[n].2;
                (apply(grant, Event::Exchanged(token), ms), Some(fetch_ends))
            } else {
                let fetched = Event::Fetched {
                    person: PERSON,
                    missing: Vec::new(),
                };
                (apply(grant, fetched, ms), None)
            };
        }
    }
}
