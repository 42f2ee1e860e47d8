//! When a link's place is free again, and whose codes go first.

use super::*;
use crate::intake::gate::GateChange;
use crate::intake::mint::Wanted;
use crate::testing::minter;

fn wanted(n: u64) -> Wanted {
    Wanted {
        user: UserId(n),
        purpose: 0,
        again: false,
    }
}

/// A link for a user; its nonce.
fn link(open_grants: &mut OpenGrants, n: u64) -> [u8; 8] {
    let (_, changed) = open_grants.mint(&minter(), wanted(n), NOW);
    let held = changed.changes.iter().find_map(|change| match change {
        Change::Gate(GateChange::Hold(place)) => Some(place.token.nonce),
        _ => None,
    });
    held.expect("a place")
}

const FIRST: u64 = 1_536_343_372_988_416_000;

/// What came of a link, so many milliseconds after others: a code of this number, or an error.
fn came(n: u64, nonce: [u8; 8], result: Result<u8, &str>) -> Carried {
    let code = |n: u8| (AuthorizationCode::new(format!("code-{n}")), CodeHash([n; 16]));
    Carried {
        unread_lines: false,
        message: MessageId(FIRST + (n << 22)),
        channel: ChannelId(1),
        lane: Lane(0),
        redirects: vec![Redirected {
            redirected_at: None,
            result: result.map(code).map_err(Reason::new),
            requested: Ok(Requested {
                user: Some(UserId(n)),
                nonce: Some(nonce),
                ..Requested::default()
            }),
        }],
    }
}

fn append(open_grants: &mut OpenGrants, carried: Carried) {
    let (_, changed) = open_grants.append(vec![carried], NOW);
    open_grants.durable(&changed.grants, &changed.source_messages, NOW);
}

fn refuse(open_grants: &mut OpenGrants, id: GrantId) -> Changed {
    let refused = Event::Refused(Reason::new("invalid_grant"));
    let changed = step(open_grants, id, Task::Exchange, refused, None);
    open_grants.durable(&changed.grants, &changed.source_messages, NOW);
    changed
}

#[test]
fn a_code_that_arrives_frees_no_place_until_discord_has_answered() {
    let mut open_grants = open_grants();
    let nonce = link(&mut open_grants, 1);
    append(&mut open_grants, came(1, nonce, Ok(1)));
    append(&mut open_grants, came(2, nonce, Ok(2)));
    assert_eq!(open_grants.links(), 1);
    let ids: Vec<GrantId> = open_grants.claim(Task::Exchange, 2, NOW).iter().map(|g| g.id).collect();
    refuse(&mut open_grants, ids[0]);
    assert_eq!(
        open_grants.links(),
        1,
        "another code of the link is still to be presented"
    );
    let changed = refuse(&mut open_grants, ids[1]);
    assert_eq!(open_grants.links(), 0);
    let freed = |change: &Change| matches!(change, Change::Gate(GateChange::Free(freed)) if *freed == nonce);
    assert!(changed.changes.iter().any(freed), "durably");
}

#[test]
fn a_place_is_freed_when_its_sign_in_completes() {
    let mut open_grants = open_grants();
    let nonce = link(&mut open_grants, 1);
    append(&mut open_grants, came(1, nonce, Ok(1)));
    let id = open_grants.claim(Task::Exchange, 1, NOW)[0].id;
    let token = Token {
        access: AccessToken::new("token"),
        scopes: Vec::new(),
    };
    let stored = step(&mut open_grants, id, Task::Exchange, Event::Exchanged(token), None);
    open_grants.durable(&stored.grants, &stored.source_messages, NOW);
    assert_eq!(open_grants.links(), 1);
    assert_eq!(open_grants.claim(Task::Fetch, 1, NOW).len(), 1);
    let fetched = Event::Fetched {
        person: UserId(1),
        missing: Vec::new(),
    };
    step(
        &mut open_grants,
        id,
        Task::Fetch,
        fetched,
        Some(PersonalData::new("{}")),
    );
    assert_eq!(open_grants.links(), 0);
}

#[test]
fn a_place_is_freed_by_the_links_first_denial_and_by_its_end() {
    let mut open_grants = open_grants();
    let denied = link(&mut open_grants, 1);
    link(&mut open_grants, 2);
    append(&mut open_grants, came(1, denied, Err("access_denied")));
    assert_eq!(open_grants.links(), 1);
    open_grants.age(NOW + Duration::from_secs(399));
    assert_eq!(open_grants.links(), 1);
    open_grants.age(NOW + Duration::from_secs(400));
    assert_eq!(open_grants.links(), 0);
}

#[test]
fn a_code_whose_state_is_refused_frees_no_place() {
    let mut open_grants = open_grants();
    let nonce = link(&mut open_grants, 1);
    let mut carried = came(1, nonce, Ok(1));
    let requested = carried.redirects[0].requested.clone().expect("good so far");
    carried.redirects[0].requested = Err((requested, Reason::new("state_unknown_purpose")));
    append(&mut open_grants, carried);
    assert_eq!(open_grants.links(), 1);
}

#[test]
fn later_codes_of_a_link_are_exchanged_after_everybody_elses_first() {
    let mut open_grants = open_grants();
    let (one, two, over) = (
        link(&mut open_grants, 1),
        link(&mut open_grants, 2),
        link(&mut open_grants, 3),
    );
    append(&mut open_grants, came(1, one, Ok(1)));
    append(&mut open_grants, came(2, one, Ok(2)));
    // Its place was freed.
    append(&mut open_grants, came(3, over, Err("access_denied")));
    append(&mut open_grants, came(4, over, Ok(4)));
    append(&mut open_grants, came(5, two, Ok(5)));
    let claimed = open_grants.claim(Task::Exchange, 4, NOW);
    let order: Vec<u64> = claimed.iter().map(|g| (g.origin.message.0 - FIRST) >> 22).collect();
    assert_eq!(order, [1, 5, 2, 4]);
}

#[test]
fn a_user_who_is_told_to_wait_has_a_place_kept_over_a_restart() {
    let mut rules = rules();
    rules.gate = GateRules {
        webhook: Some((30, 5)),
        share_permille: 1,
        ..rules.gate
    };
    let mut open_grants = OpenGrants::new(Loaded::default(), rules.clone(), StdRng::seed_from_u64(1), NOW).0;
    let (_, first) = open_grants.mint(&minter(), wanted(1), NOW);
    let (told, second) = open_grants.mint(&minter(), wanted(2), NOW);
    let mut loaded = Loaded::default();
    for change in first.changes.into_iter().chain(second.changes) {
        match change {
            Change::Gate(GateChange::Hold(place)) => loaded.places.push(place),
            Change::Gate(GateChange::Keep(account)) => loaded.accounts.push(account),
            other => panic!("{other:?}"),
        }
    }
    let mut open_grants = OpenGrants::new(loaded, rules, StdRng::seed_from_u64(1), NOW).0;
    let (other, _) = open_grants.mint(&minter(), wanted(3), NOW);
    assert_ne!(other, told, "that place is kept for somebody else");
    assert_eq!(open_grants.mint(&minter(), wanted(2), NOW).0, told);
}
