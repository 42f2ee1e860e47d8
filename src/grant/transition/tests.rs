//! The transition function: the table of every event in every state, and the rules of exchange and fetch as sentences.

use std::time::Duration;

use super::super::event::Uninvited;
use super::super::retry::Policy;
use super::super::state::Origin;
use super::*;
use crate::ids::{CodeHash, GrantId, Lane, MessageId};

mod properties;
mod settling;

const CODE: &str = "code-of-this-test";
const TOKEN: &str = "token-of-this-test";
const ASKED: UserId = UserId(80_000_000_000_000_001);
const OTHER: UserId = UserId(80_000_000_000_000_002);
const START: Timestamp = Timestamp::from_secs(1_700_000_000);

fn policy() -> Policy {
    Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: vec!["a".to_owned(), "b".to_owned()],
        keep_parked: Duration::from_hours(24 * 7),
        reinvite: false,
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn received() -> Grant {
    Grant {
        id: GrantId::new(START, 0),
        origin: Origin {
            lane: Lane(0),
            message: MessageId(1),
            index: 0,
        },
        received_at: START,
        deadline: START + secs(100),
        redirected_at: None,
        code_hash: Some(CodeHash([7; 16])),
        requested: Requested {
            user: Some(ASKED),
            ..Requested::default()
        },
        person: Some(ASKED),
        state: State::Received {
            code: AuthorizationCode::new(CODE),
            presentations: Presentations::default(),
        },
        failed: Vec::new(),
    }
}

fn token() -> Event {
    Event::Exchanged(Token {
        access: AccessToken::new(TOKEN),
        scopes: vec!["identify".to_owned()],
    })
}

fn fetched(person: UserId) -> Event {
    Event::Fetched {
        person,
        missing: vec!["guilds".to_owned()],
    }
}

fn delivered(sink: &str) -> Event {
    Event::Delivered { sink: sink.to_owned() }
}

fn delivery_failed(sink: &str) -> Event {
    Event::DeliveryFailed {
        sink: sink.to_owned(),
        after: None,
        uncertain: false,
    }
}

fn delivery_refused(sink: &str) -> Event {
    Event::DeliveryRefused { sink: sink.to_owned() }
}

fn requeued(sink: Option<&str>) -> Event {
    Event::Requeued {
        sink: sink.map(str::to_owned),
    }
}

fn invitation_deferred(or: Uninvited) -> Event {
    Event::InvitationDeferred { after: None, or }
}

/// One event of every kind, with the name under which the table knows it.
fn event(name: &str) -> Event {
    let event = match name {
        "began" => Event::Began,
        "not_sent" => Event::NotSent,
        "deferred" => Event::Deferred { after: Some(secs(5)) },
        "unclear" => Event::Unclear,
        "unreadable" => Event::Unreadable,
        "cut_off" => Event::CutOff,
        "found_at_start" => Event::FoundAtStart,
        "exchanged" => token(),
        "refused" => Event::Refused(Reason::new("invalid_grant")),
        "credentials_refused" => Event::CredentialsRefused,
        "expired" => Event::Expired,
        "superseded" => Event::Superseded,
        "unauthorized" => Event::Unauthorized,
        "fetch_deferred" => Event::FetchDeferred { after: None },
        "fetch_refused" => Event::FetchRefused(Reason::new("forbidden")),
        "fetched" => fetched(ASKED),
        "delivered" => delivered("a"),
        "delivery_failed" => delivery_failed("a"),
        "delivery_refused" => delivery_refused("a"),
        "requeued" => requeued(None),
        "revoked" => Event::Revoked,
        "revocation_failed" => Event::RevocationFailed { after: None },
        "invited" => Event::Invited,
        "invitation_deferred" => invitation_deferred(Uninvited::Failed),
        "invitation_refused" => Event::InvitationRefused(Uninvited::Closed),
        "dropped" => Event::Dropped,
        "aged" => Event::Aged,
        other => panic!("no event is called `{other}`"),
    };
    assert_eq!(event.name(), name);
    event
}

/// A grant and its clock, moved by events.
#[derive(Clone)]
struct Story {
    grant: Grant,
    now: Timestamp,
    policy: Policy,
}

impl Story {
    fn new() -> Self {
        Self {
            grant: received(),
            now: START,
            policy: policy(),
        }
    }

    /// The grant after a token was received.
    fn exchanged() -> Self {
        Self::new().then(Event::Began).then(token())
    }

    /// The grant with everything owed.
    fn settling() -> Self {
        Self::exchanged().then(fetched(ASKED))
    }

    /// The grant of a code that died, whose person is to be sent a fresh link.
    fn inviting() -> Self {
        let mut story = Self::new();
        story.policy.reinvite = true;
        story.grant.requested.nonce = Some([1; 8]);
        story.then(Event::Expired)
    }

    #[track_caller]
    fn then(mut self, event: Event) -> Self {
        self.grant = self.grant.apply(event, self.policy.at(self.now)).expect("legal");
        self
    }

    fn after(mut self, wait: Duration) -> Self {
        self.now = self.now + wait;
        self
    }

    fn told(&self) -> String {
        told(&self.grant)
    }

    #[track_caller]
    fn is(self, expected: &str) -> Self {
        assert_eq!(self.told(), expected);
        self
    }

    #[track_caller]
    fn refuses(&self, event: Event) {
        let name = event.name();
        let refused = self
            .grant
            .apply(event, self.policy.at(self.now))
            .expect_err("illegal here");
        assert_eq!((refused.state, refused.event), (self.grant.state.name(), name));
    }

    /// Seconds until the code, or the fetch, may be tried again.
    #[track_caller]
    fn waits(&self) -> u64 {
        let until = match &self.grant.state {
            State::Received { presentations, .. } => presentations.not_before,
            State::Exchanged { attempts, .. } => attempts.not_before,
            _ => panic!("nothing waits in {}", self.told()),
        };
        until.since(self.now).as_secs()
    }

    #[track_caller]
    fn sink(&self, name: &str) -> Delivery {
        let State::Settling(settling) = &self.grant.state else {
            panic!("nothing is delivered in {}", self.told());
        };
        settling.deliveries[name]
    }

    #[track_caller]
    fn invitation(&self) -> Invitation {
        let State::Settling(settling) = &self.grant.state else {
            panic!("nobody is invited in {}", self.told());
        };
        settling.invitation
    }

    #[track_caller]
    fn sinks(&self) -> [DeliveryState; 2] {
        [self.sink("a").state, self.sink("b").state]
    }
}

/// A grant's state in words: the state, the outcome, and the reason.
fn told(grant: &Grant) -> String {
    match &grant.state {
        State::Settling(s) => words("settling", s.outcome, s.reason.as_ref()),
        State::Closed(c) => words("closed", c.outcome, c.reason.as_ref()),
        other => other.name().to_owned(),
    }
}

fn words(state: &str, outcome: Outcome, reason: Option<&Reason>) -> String {
    match reason {
        Some(reason) => format!("{state} {outcome} {reason}"),
        None => format!("{state} {outcome}"),
    }
}

/// Checks one row of the table: what an event makes of each state, `-` where it cannot happen.
#[track_caller]
fn check(row: &str) {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let mut all_parked = Story::settling();
    for sink in ["a", "b"] {
        all_parked = all_parked.then(delivery_refused(sink));
    }
    let closed = Story::new().then(Event::Superseded);
    let starts = [
        Story::new(),
        Story::new().then(Event::Began),
        Story::exchanged(),
        Story::settling(),
        all_parked,
        Story::new().then(Event::Dropped),
        Story::inviting(),
        closed,
    ];
    assert_eq!(cells.len(), starts.len() + 1, "{row}");
    for (start, expected) in starts.iter().zip(&cells[1..]) {
        let result = start.grant.apply(event(cells[0]), start.policy.at(start.now));
        let got = result.map_or("-".to_owned(), |next| told(&next));
        assert_eq!(&got, expected, "`{}` in {}", cells[0], start.told());
    }
}

#[test]
fn every_event_in_every_state_leads_where_the_table_says() {
    let dropped = "settling dropped dropped_by_operator";
    let died = "settling expired code_expired";
    // Settling stands four times: with everything owed, with every delivery parked, with no token received, and with an
    // invitation owed.
    let rows = [
        "began               | exchanging            | -                              | -          | -                  | -                  | -     | - | -",
        "not_sent            | -                     | received                       | -          | -                  | -                  | -     | - | -",
        "deferred            | -                     | received                       | -          | -                  | -                  | -     | - | -",
        "unclear             | -                     | received                       | -          | -                  | -                  | -     | - | -",
        "unreadable          | -                     | settling lost answer_unreadable | -         | -                  | -                  | -     | - | -",
        "cut_off             | -                     | received                       | -          | -                  | -                  | -     | - | -",
        "found_at_start      | -                     | received                       | -          | settling completed | settling completed | DROP  | DEAD | -",
        "exchanged           | -                     | exchanged                      | -          | -                  | -                  | -     | - | -",
        "refused             | -                     | settling refused invalid_grant | -          | -                  | -                  | -     | - | -",
        "credentials_refused | -                     | received                       | -          | -                  | -                  | -     | - | -",
        "expired             | settling expired code_expired | -                      | -          | -                  | -                  | -     | - | -",
        "superseded          | closed duplicate state_used   | -                      | -          | -                  | -                  | -     | DEAD | -",
        "unauthorized        | -                     | -                              | exchanged  | -                  | -                  | -     | - | -",
        "fetch_deferred      | -                     | -                              | exchanged  | -                  | -                  | -     | - | -",
        "fetch_refused       | -                     | -                              | settling failed forbidden | -   | -                  | -     | - | -",
        "fetched             | -                     | -                              | settling completed | -          | -                  | -     | - | -",
        "delivered           | -                     | -                              | -          | settling completed | settling completed | DROP  | DEAD | -",
        "delivery_failed     | -                     | -                              | -          | settling completed | -                  | DROP  | DEAD | -",
        "delivery_refused    | -                     | -                              | -          | settling completed | -                  | DROP  | DEAD | -",
        "requeued            | -                     | -                              | -          | -                  | settling completed | -     | - | -",
        "revoked             | -                     | -                              | -          | settling completed | settling completed | -     | - | -",
        "revocation_failed   | -                     | -                              | -          | settling completed | settling completed | -     | - | -",
        "invited             | -                     | -                              | -          | -                  | -                  | -     | DEAD | -",
        "invitation_deferred | -                     | -                              | -          | -                  | -                  | -     | DEAD | -",
        "invitation_refused  | -                     | -                              | -          | -                  | -                  | -     | DEAD | -",
        "dropped             | DROP                  | -                              | DROP       | settling completed | settling completed | closed dropped dropped_by_operator | closed expired code_expired | -",
        "aged                | received              | exchanging                     | exchanged  | settling completed | settling completed | DROP  | DEAD | -",
    ];
    for row in rows {
        check(&row.replace("DROP", dropped).replace("DEAD", died));
    }
}

#[test]
fn an_unclear_answer_is_presented_again_after_1_2_4_and_8_seconds_and_then_lost() {
    let mut story = Story::new();
    for wait in [1, 2, 4, 8] {
        story = story.then(Event::Began).then(Event::Unclear).is("received");
        assert_eq!(story.waits(), wait);
        story = story.after(secs(wait));
    }
    story
        .then(Event::Began)
        .then(Event::Unclear)
        .is("settling lost answer_unclear");
}

#[test]
fn a_cut_off_presentation_is_repeated_once_after_two_seconds_and_then_lost() {
    let story = Story::new().then(Event::Began).then(Event::CutOff).is("received");
    assert_eq!(story.waits(), 2);
    let again = story.after(secs(2)).then(Event::Began);
    again.clone().then(Event::CutOff).is("settling lost answer_lost");
    again.clone().then(Event::FoundAtStart).is("settling lost answer_lost");
    again.then(token()).is("exchanged");
}

#[test]
fn a_code_that_was_answered_with_200_is_never_presented_again() {
    let began = Story::new().then(Event::Began);
    began.then(Event::Unreadable).is("settling lost answer_unreadable");
}

#[test]
fn an_exchange_found_at_start_is_repeated_once_at_once() {
    let story = Story::new().then(Event::Began).then(Event::FoundAtStart).is("received");
    assert_eq!(story.waits(), 0);
    story
        .then(Event::Began)
        .then(Event::FoundAtStart)
        .is("settling lost answer_lost");
}

#[test]
fn a_refusal_after_an_unknown_answer_is_lost_and_without_one_refused() {
    for unknown in [Event::Unclear, Event::CutOff, Event::FoundAtStart] {
        let story = Story::new().then(Event::Began).then(unknown).then(Event::Began);
        story.then(event("refused")).is("settling lost answer_lost");
    }
    for known in [Event::NotSent, Event::CredentialsRefused, event("deferred")] {
        let story = Story::new().then(Event::Began).then(known).then(Event::Began);
        story.then(event("refused")).is("settling refused invalid_grant");
    }
}

#[test]
fn a_refusal_past_the_codes_life_is_expired() {
    let at = |wait| {
        Story::new()
            .then(Event::Began)
            .after(wait)
            .then(event("refused"))
            .told()
    };
    assert_eq!(at(Duration::from_millis(99_999)), "settling refused invalid_grant");
    assert_eq!(at(secs(100)), "settling expired code_expired");
}

#[test]
fn a_code_that_dies_after_an_unknown_answer_is_lost_and_not_expired() {
    let cut = Story::new().then(Event::Began).then(Event::CutOff).after(secs(100));
    cut.clone().then(Event::Expired).is("settling lost answer_lost");
    cut.then(Event::Dropped).is("settling lost answer_lost");
    let unsent = Story::new().then(Event::Began).then(Event::NotSent).after(secs(100));
    unsent.then(Event::Expired).is("settling expired code_expired");
}

#[test]
fn a_code_that_the_relays_clock_calls_dead_is_presented_once() {
    let mut suspect = Story::new();
    suspect.grant.redirected_at = Some(START - secs(100));
    let began = suspect.then(Event::Began);
    began.clone().then(Event::Unclear).is("settling lost answer_unclear");
    began.clone().then(Event::CutOff).is("settling lost answer_lost");
    began.clone().then(Event::FoundAtStart).is("settling lost answer_lost");
    began.clone().then(token()).is("exchanged");
    // These answers say that it was not presented at all.
    began.clone().then(Event::NotSent).is("received");
    began.then(event("deferred")).is("received");
}

#[test]
fn what_was_not_presented_waits_and_costs_no_retry() {
    let told = |after| Event::Deferred { after: Some(after) };
    let mut story = Story::new();
    for _ in 0..20 {
        story = story.then(Event::Began).then(told(secs(3))).is("received");
        assert_eq!(story.waits(), 3);
        story = story.then(Event::Began).then(Event::CredentialsRefused);
    }
    story = story.then(Event::Began).then(told(secs(1_000_000)));
    assert_eq!(story.waits(), 3600);
}

#[test]
fn a_fresh_token_that_is_refused_is_tried_again_after_1_and_3_seconds_and_then_dead() {
    let once = Story::exchanged().then(Event::Unauthorized);
    assert_eq!(once.waits(), 1);
    let twice = once.then(Event::Unauthorized).is("exchanged");
    assert_eq!(twice.waits(), 3);
    let dead = twice.then(Event::Unauthorized).is("settling failed token_dead");
    assert!(dead.grant.holds_token(), "a token thought dead is revoked all the same");
}

#[test]
fn fetching_gives_up_after_ten_minutes_and_the_token_is_still_revoked() {
    let later = || Event::FetchDeferred { after: None };
    let almost = Story::exchanged().after(secs(599)).then(later()).is("exchanged");
    let over = almost.after(secs(1)).then(later()).is("settling failed fetch_gave_up");
    assert!(over.grant.holds_token());
}

#[test]
fn somebody_elses_approval_is_wrong_person_and_belongs_to_them() {
    let story = Story::exchanged()
        .then(fetched(OTHER))
        .is("settling wrong_person wrong_person");
    assert_eq!(story.grant.person, Some(OTHER));
    let State::Settling(settling) = &story.grant.state else {
        panic!("settling");
    };
    assert!(!settling.has_data, "data of somebody who was not asked is not kept");
    assert!(story.grant.holds_token());
    let mut any = Story::exchanged();
    any.grant.requested.user = None;
    any.then(fetched(OTHER)).is("settling completed");
}
