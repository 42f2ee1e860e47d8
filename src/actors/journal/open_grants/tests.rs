//! The journal's memory where no actor is needed to see it.

mod invitations;
mod places;
mod removals;

use std::time::Duration;

use rand::SeedableRng;

use super::*;
use crate::grant::Reason;
use crate::grant::state::{Invitation, Requested, Token};
use crate::ids::{Lane, snowflake_at};
use crate::secret::{AccessToken, AuthorizationCode};
use crate::steps::{Exchange, Fetch, Revoke, Step as _};
use crate::testing::logged;

const NOW: Timestamp = Timestamp::from_secs(1_786_363_204);

fn open_grants() -> OpenGrants {
    OpenGrants::new(Loaded::default(), rules(), StdRng::seed_from_u64(1), NOW).0
}

fn rules() -> OpenGrantsRules {
    let policy = Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: vec!["results".to_owned()],
        keep_parked: Duration::from_hours(168),
        reinvite: false,
    };
    let gate = GateRules::unlimited(policy.code_lifetime);
    OpenGrantsRules {
        policy,
        keep_messages: false,
        gate,
    }
}

/// A denial is spent from the start, and the channel holds the only other copy of it. A message was once removed while
/// its receipt was still on the way to the disk: a kill at that moment left no trace of it anywhere.
#[test]
fn a_message_is_not_removed_before_what_it_brought_is_durable() {
    let mut open_grants = open_grants();
    let denied = Carried {
        unread_lines: false,
        message: MessageId(1_536_343_372_988_416_000),
        channel: ChannelId(1),
        lane: Lane(0),
        redirects: vec![Redirected {
            redirected_at: None,
            result: Err(Reason::new("access_denied")),
            requested: Ok(Requested::default()),
        }],
    };
    let (_, changed) = open_grants.append(vec![denied], NOW);
    assert_eq!(open_grants.claim_removals(4, NOW), []);
    open_grants.durable(&changed.grants, &changed.source_messages, NOW);
    assert_eq!(open_grants.claim_removals(4, NOW).len(), 1);
}

fn approved(n: u64) -> Carried {
    Carried {
        unread_lines: false,
        message: MessageId(1_536_343_372_988_416_000 + n),
        channel: ChannelId(1),
        lane: Lane(0),
        redirects: vec![Redirected {
            redirected_at: None,
            result: Ok((AuthorizationCode::new(format!("code-{n}")), CodeHash([n as u8; 16]))),
            requested: Ok(Requested {
                user: Some(UserId(7)),
                ..Requested::default()
            }),
        }],
    }
}

fn step(open_grants: &mut OpenGrants, id: GrantId, task: Task, event: Event, data: Option<PersonalData>) -> Changed {
    let (Begun::Go, begun) = open_grants.begin(id, task, NOW) else {
        panic!("{task:?} of {id} may begin")
    };
    open_grants.durable(&begun.grants, &begun.source_messages, NOW);
    open_grants
        .report(id, task, (event, None), data, NOW)
        .expect("it may happen")
}

/// Two sign-ins of one person, both with their token on the disk.
fn two_exchanged(open_grants: &mut OpenGrants) -> Vec<GrantId> {
    let (_, received) = open_grants.append(vec![approved(1), approved(2)], NOW);
    open_grants.durable(&received.grants, &received.source_messages, NOW);
    let ids: Vec<GrantId> = open_grants.claim(Task::Exchange, 2, NOW).iter().map(|g| g.id).collect();
    for id in &ids {
        let token = Token {
            access: AccessToken::new(format!("token-{id}")),
            scopes: Vec::new(),
        };
        let stored = step(open_grants, *id, Task::Exchange, Event::Exchanged(token), None);
        open_grants.durable(&stored.grants, &stored.source_messages, NOW);
    }
    ids
}

/// A kill takes back what is on its way to the disk. A fetch changes nothing outside, so it may begin before; a revocation
/// would end a token that the disk still has in use.
#[test]
fn no_task_but_a_fetch_is_offered_before_the_last_change_of_its_grant_is_durable() {
    let mut open_grants = open_grants();
    let (_, received) = open_grants.append(vec![approved(1)], NOW);
    open_grants.durable(&received.grants, &received.source_messages, NOW);
    let id = open_grants.claim(Task::Exchange, 1, NOW)[0].id;
    let token = Token {
        access: AccessToken::new("token"),
        scopes: Vec::new(),
    };
    let stored = step(&mut open_grants, id, Task::Exchange, Event::Exchanged(token), None);
    assert_eq!(open_grants.claim(Task::Fetch, 1, NOW).len(), 1);
    let fetched = Event::Fetched {
        person: UserId(7),
        missing: Vec::new(),
    };
    let settled = step(
        &mut open_grants,
        id,
        Task::Fetch,
        fetched,
        Some(PersonalData::new("{}")),
    );
    let claimed = |open_grants: &mut OpenGrants| {
        [Task::Deliver(0), Task::Revoke].map(|task| open_grants.claim(task, 1, NOW).len())
    };
    assert_eq!(claimed(&mut open_grants), [0, 0]);
    open_grants.durable(&stored.grants, &stored.source_messages, NOW);
    assert_eq!(claimed(&mut open_grants), [0, 0]);
    open_grants.durable(&settled.grants, &settled.source_messages, NOW);
    assert_eq!(claimed(&mut open_grants), [1, 1]);
}

#[test]
fn a_step_whose_beginning_cannot_happen_does_not_begin() {
    let mut open_grants = open_grants();
    let id = two_exchanged(&mut open_grants)[0];
    let exchanged = Arc::clone(&open_grants.entries[&id].grant);
    open_grants.leases.insert((id, Task::Exchange));
    let mut changed = Changed::default();
    let log = logged(|| {
        assert!(!open_grants.advance(&exchanged, Task::Exchange, Event::Began, NOW, &mut changed));
    });
    assert!(log.contains("cannot begin"), "{log}");
    assert!(changed.changes.is_empty() && open_grants.leases.is_empty());
}

#[test]
fn a_grant_that_holds_no_secret_gives_no_work() {
    let mut open_grants = open_grants();
    let id = two_exchanged(&mut open_grants)[0];
    let exchanged = &open_grants.entries[&id].grant;
    assert!(Fetch::work(exchanged, None).is_some());
    assert!(Exchange::work(exchanged, None).is_none() && Revoke::work(exchanged, None).is_none());
    let (_, received) = open_grants.append(vec![approved(3)], NOW);
    assert!(Fetch::work(&open_grants.entries[&received.grants[0]].grant, None).is_none());
}

/// Presented together with its receipt, a crash before the request left would have ended it as `lost`: it has no second
/// presentation.
#[test]
fn a_code_that_the_relays_clock_calls_dead_is_offered_once_its_receipt_is_durable() {
    let mut open_grants = open_grants();
    let seen_by_relay = |before| {
        let mut carried = approved(before);
        carried.redirects[0].redirected_at = Some(NOW - Duration::from_secs(before));
        carried
    };
    let (_, received) = open_grants.append(vec![seen_by_relay(1), seen_by_relay(100)], NOW);
    assert_eq!(open_grants.claim(Task::Exchange, 9, NOW).len(), 1);
    open_grants.durable(&received.grants, &received.source_messages, NOW);
    assert_eq!(open_grants.claim(Task::Exchange, 9, NOW).len(), 1);
}

/// The result is delivered again under the same id, and a token is revoked again: neither holds anything else up.
#[test]
fn what_was_delivered_or_revoked_may_wait_and_holds_no_other_task_up() {
    let mut open_grants = open_grants();
    let ids = two_revocations_claimed(&mut open_grants);
    assert_eq!(open_grants.claim(Task::Deliver(0), 1, NOW).len(), 1);
    open_grants.release(ids[0], Task::Revoke, NOW);
    let sink = "results".to_owned();
    let delivered = step(
        &mut open_grants,
        ids[0],
        Task::Deliver(0),
        Event::Delivered { sink },
        None,
    );
    assert!(delivered.may_wait);
    assert_eq!(open_grants.claim(Task::Revoke, 9, NOW).len(), 1);
    let revoked = step(&mut open_grants, ids[0], Task::Revoke, Event::Revoked, None);
    assert!(revoked.may_wait);
    assert!(matches!(revoked.changes[0], Change::Close(_)), "{:?}", revoked.changes);
}

/// Two sign-ins of one person. The first one's revocation once left while the second one's data was still on the way to
/// the disk: a kill at that moment left a dead token in use there, and the sign-in failed with `token_dead`.
#[test]
fn a_revocation_waits_until_no_token_of_that_person_is_in_use_on_the_disk() {
    let mut open_grants = open_grants();
    let now = NOW;
    let ids = two_exchanged(&mut open_grants);
    assert_eq!(open_grants.claim(Task::Fetch, 2, now).len(), 2);
    let fetched = Event::Fetched {
        person: UserId(7),
        missing: Vec::new(),
    };
    let data = || Some(PersonalData::new("{}"));
    let first = step(&mut open_grants, ids[0], Task::Fetch, fetched.clone(), data());
    let second = step(&mut open_grants, ids[1], Task::Fetch, fetched, data());
    open_grants.durable(&first.grants, &first.source_messages, now);
    assert_eq!(open_grants.claim(Task::Revoke, 2, now).len(), 1);
    assert!(matches!(
        open_grants.begin(ids[0], Task::Revoke, now),
        (Begun::Stale, _)
    ));
    open_grants.durable(&second.grants, &second.source_messages, now);
    assert_eq!(
        open_grants.claim(Task::Revoke, 2, now).len(),
        2,
        "it is offered again at once"
    );
    assert!(matches!(open_grants.begin(ids[0], Task::Revoke, now), (Begun::Go, _)));
}

/// While draining, a waiting code holds no revocation up. One whose answer was cut off waits in memory alone until that is
/// on the disk: the revocation once left before, while the disk still had the code presented.
#[test]
fn a_revocation_waits_while_draining_until_a_cut_off_answer_is_on_the_disk() {
    let mut open_grants = open_grants();
    let (_, received) = open_grants.append(vec![approved(1), approved(2)], NOW);
    open_grants.durable(&received.grants, &received.source_messages, NOW);
    let ids: Vec<GrantId> = open_grants.claim(Task::Exchange, 2, NOW).iter().map(|g| g.id).collect();
    let token = Token {
        access: AccessToken::new("token"),
        scopes: Vec::new(),
    };
    let exchanged = step(&mut open_grants, ids[0], Task::Exchange, Event::Exchanged(token), None);
    open_grants.durable(&exchanged.grants, &exchanged.source_messages, NOW);
    assert_eq!(open_grants.claim(Task::Fetch, 1, NOW).len(), 1);
    let fetched = Event::Fetched {
        person: UserId(7),
        missing: Vec::new(),
    };
    let data = Some(PersonalData::new("{}"));
    let fetched = step(&mut open_grants, ids[0], Task::Fetch, fetched, data);
    open_grants.durable(&fetched.grants, &fetched.source_messages, NOW);
    open_grants.drain(NOW);
    let cut_off = step(&mut open_grants, ids[1], Task::Exchange, Event::CutOff, None);
    assert_eq!(open_grants.claim(Task::Revoke, 1, NOW).len(), 1);
    let begun = open_grants.begin(ids[0], Task::Revoke, NOW);
    assert!(matches!(begun, (Begun::Stale, _)), "not before it is on the disk");
    open_grants.durable(&cut_off.grants, &cut_off.source_messages, NOW);
    assert_eq!(open_grants.claim(Task::Revoke, 1, NOW).len(), 1);
    assert!(matches!(open_grants.begin(ids[0], Task::Revoke, NOW), (Begun::Go, _)));
}

/// Somebody else had approved the second link, and the fetch that would have told failed. The first one's revocation once
/// settled it as well: it was of the same person by its state, and its token stayed alive.
#[test]
fn a_token_whose_owner_is_not_known_is_revoked_by_itself() {
    let mut open_grants = open_grants();
    let ids = two_exchanged(&mut open_grants);
    assert_eq!(open_grants.claim(Task::Fetch, 2, NOW).len(), 2);
    let fetched = Event::Fetched {
        person: UserId(7),
        missing: Vec::new(),
    };
    let refused = Event::FetchRefused(Reason::new("http_403"));
    let data = Some(PersonalData::new("{}"));
    for (id, event, data) in [(ids[0], fetched, data), (ids[1], refused, None)] {
        let stored = step(&mut open_grants, id, Task::Fetch, event, data);
        open_grants.durable(&stored.grants, &stored.source_messages, NOW);
    }
    assert_eq!(open_grants.claim(Task::Revoke, 2, NOW).len(), 2);
    let revoked = step(&mut open_grants, ids[0], Task::Revoke, Event::Revoked, None);
    open_grants.durable(&revoked.grants, &revoked.source_messages, NOW);
    let holds_token = |open_grants: &OpenGrants, id| open_grants.get(id).expect("open").holds_token();
    assert!(!holds_token(&open_grants, ids[0]));
    assert!(holds_token(&open_grants, ids[1]));
    step(&mut open_grants, ids[1], Task::Revoke, Event::Revoked, None);
    assert!(open_grants.outstanding().0 == 0);
}

/// Both sign-ins fetched, and both revocations claimed.
fn two_revocations_claimed(open_grants: &mut OpenGrants) -> Vec<GrantId> {
    let ids = two_exchanged(open_grants);
    assert_eq!(open_grants.claim(Task::Fetch, 2, NOW).len(), 2);
    for id in &ids {
        let fetched = Event::Fetched {
            person: UserId(7),
            missing: Vec::new(),
        };
        let stored = step(open_grants, *id, Task::Fetch, fetched, Some(PersonalData::new("{}")));
        open_grants.durable(&stored.grants, &stored.source_messages, NOW);
    }
    assert_eq!(open_grants.claim(Task::Revoke, 2, NOW).len(), 2);
    ids
}

/// The tokens that are left once the first one's revocation was answered.
fn left_after_a_revocation(open_grants: &mut OpenGrants, first: GrantId, now: Timestamp) -> usize {
    let (Begun::Go, _) = open_grants.begin(first, Task::Revoke, now) else {
        panic!("it may begin")
    };
    let revoked = open_grants
        .report(first, Task::Revoke, (Event::Revoked, None), None, now)
        .expect("it may happen");
    open_grants.durable(&revoked.grants, &revoked.source_messages, now);
    open_grants.outstanding().0
}

#[test]
fn one_revocation_ends_every_token_that_a_person_had_when_it_left() {
    let mut open_grants = open_grants();
    let ids = two_revocations_claimed(&mut open_grants);
    assert_eq!(left_after_a_revocation(&mut open_grants, ids[0], NOW), 0);
    assert!(open_grants.doubtful.is_empty());
}

/// The first revocation had done its work when the process was killed. Made again, of a token that was dead by then, it ended
/// nothing; and yet it once settled the token of a code that was exchanged in between, which stayed alive.
#[test]
fn a_revocation_that_an_earlier_process_may_have_made_settles_no_other_token() {
    let mut open_grants = open_grants();
    two_revocations_claimed(&mut open_grants);
    let grants = open_grants.open().cloned().collect();
    let loaded = Loaded {
        grants,
        ..Loaded::default()
    };
    let (mut open_grants, changed) = OpenGrants::new(loaded, rules(), StdRng::seed_from_u64(1), NOW);
    open_grants.durable(&changed.grants, &changed.source_messages, NOW);
    let ids: Vec<GrantId> = open_grants.claim(Task::Revoke, 2, NOW).iter().map(|g| g.id).collect();
    assert_eq!(left_after_a_revocation(&mut open_grants, ids[0], NOW), 1);
    assert_eq!(left_after_a_revocation(&mut open_grants, ids[1], NOW), 0);
    assert!(open_grants.doubtful.is_empty(), "a new sign-in is beyond doubt");
}

/// The same by an answer that was lost, and by a stage that died with the revocation on its way.
#[test]
fn a_revocation_after_one_without_an_answer_settles_no_other_token() {
    for stage_dies in [false, true] {
        let mut open_grants = open_grants();
        let ids = two_revocations_claimed(&mut open_grants);
        if stage_dies {
            assert!(matches!(open_grants.begin(ids[0], Task::Revoke, NOW), (Begun::Go, _)));
            open_grants.release_stage(Task::Revoke, NOW);
        } else {
            let event = Event::RevocationFailed { after: None };
            let stored = step(&mut open_grants, ids[0], Task::Revoke, event, None);
            open_grants.durable(&stored.grants, &stored.source_messages, NOW);
        }
        let later = NOW + Duration::from_hours(1);
        open_grants.ready(Task::Revoke, later);
        while !open_grants.claim(Task::Revoke, 2, later).is_empty() {}
        assert_eq!(left_after_a_revocation(&mut open_grants, ids[0], later), 1);
        assert_eq!(left_after_a_revocation(&mut open_grants, ids[1], later), 0);
        assert!(open_grants.doubtful.is_empty());
    }
}

/// Forgetting once went by the wall clock alone: stepped an hour ahead, a code that the relay posted again was taken in
/// a second time.
#[test]
fn a_wall_clock_that_is_stepped_ahead_forgets_no_code_that_may_be_posted_again() {
    let after = |seconds| NOW + Duration::from_secs(seconds);
    let posted = |code, seconds| Carried {
        unread_lines: false,
        message: MessageId(snowflake_at(after(seconds))),
        ..approved(code)
    };
    let mut open_grants = open_grants();
    open_grants.append(vec![posted(1, 0), posted(2, 60)], after(60));
    open_grants.move_cursor(ChannelId(1), posted(2, 60).message);
    let an_hour_ahead = after(3_600 + 61);
    open_grants.age(an_hour_ahead);
    let (again, _) = open_grants.append(vec![posted(1, 62)], an_hour_ahead);
    assert_eq!((again.received, again.known), (0, 1));
    // A channel that is read on forgets what no history reading can bring back.
    open_grants.move_cursor(ChannelId(1), posted(3, 3_600).message);
    let forgotten = open_grants.age(after(3_700)).changes;
    let [Change::Forget { codes, .. }] = &forgotten[..] else {
        panic!("{forgotten:?}")
    };
    assert_eq!(codes.len(), 2);
}
