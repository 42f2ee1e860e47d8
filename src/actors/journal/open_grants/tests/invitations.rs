//! Invitations: one fresh link at most for a consent, and none after its result was delivered.

use super::*;

/// Open grants with invitations on, and two codes of one consent.
fn two_codes_of_one_consent() -> (OpenGrants, Vec<GrantId>) {
    let mut open_grants = open_grants();
    open_grants.policy.reinvite = true;
    let codes = [1, 2].map(|n| {
        let mut carried = approved(n);
        if let Ok(requested) = &mut carried.redirects[0].requested {
            requested.nonce = Some([9; 8]);
        }
        carried
    });
    let (_, received) = open_grants.append(codes.into(), NOW);
    open_grants.durable(&received.grants, &received.source_messages, NOW);
    (open_grants, received.grants)
}

#[test]
fn nobody_is_invited_while_another_code_of_the_same_consent_may_yet_come_through_or_has() {
    let (mut open_grants, ids) = two_codes_of_one_consent();
    let grant = Arc::clone(&open_grants.entries[&ids[0]].grant);
    // The first one dies: its person is owed a link, unless the second one makes it.
    let next = grant
        .apply(Event::Expired, open_grants.policy.at(NOW))
        .expect("it may happen");
    let mut changed = Changed::default();
    open_grants.replace(next, NOW, &mut changed);
    open_grants.durable(&changed.grants, &changed.source_messages, NOW);
    assert_eq!(open_grants.claim(Task::Invite, 9, NOW).len(), 1);
    assert!(matches!(
        open_grants.begin(ids[0], Task::Invite, NOW),
        (Begun::Stale, _)
    ));
    assert!(matches!(&open_grants.entries[&ids[0]].grant.state,
        State::Settling(s) if matches!(s.invitation, Invitation::Owed(_))));
    // It has.
    open_grants.nonces.insert([9; 8], NOW);
    let later = NOW + Duration::from_secs(1);
    open_grants.offer(ids[0], later);
    assert_eq!(open_grants.claim(Task::Invite, 9, later).len(), 1);
    assert!(matches!(
        open_grants.begin(ids[0], Task::Invite, later),
        (Begun::Stale, _)
    ));
    assert!(matches!(&open_grants.entries[&ids[0]].grant.state,
        State::Settling(s) if s.invitation == Invitation::NotNeeded));
}

#[test]
fn a_result_goes_after_a_minute_and_then_nobody_is_invited_any_more() {
    let (mut open_grants, ids) = two_codes_of_one_consent();
    let dead = NOW + Duration::from_secs(100);
    let expired = open_grants.expire(dead);
    open_grants.durable(&expired.grants, &expired.source_messages, dead);
    assert_eq!(open_grants.claim(Task::Invite, 9, dead).len(), 2);
    assert_eq!(
        open_grants.claim(Task::Deliver(0), 9, dead).len(),
        0,
        "it waits for the invitation"
    );
    let over = dead + Duration::from_mins(1);
    assert_eq!(open_grants.claim(Task::Deliver(0), 9, over).len(), 2);
    assert!(matches!(
        open_grants.begin(ids[0], Task::Deliver(0), over),
        (Begun::Go, _)
    ));
    assert!(matches!(&open_grants.entries[&ids[0]].grant.state,
        State::Settling(s) if s.invitation == Invitation::Failed));
    assert!(matches!(
        open_grants.begin(ids[0], Task::Invite, over),
        (Begun::Stale, _)
    ));
    open_grants
        .report(ids[0], Task::Invite, (Event::Invited, None), None, over)
        .expect_err("the result has told otherwise");
}

/// A relay cannot know whether a post without a clear answer arrived. Its word about that code's death once ended a
/// sign-in that had completed as expired, and would have invited its person anew. The same word that arrives twice once made
/// two results, and took a place for a second link.
#[test]
fn a_relays_word_of_a_death_is_a_duplicate_where_the_code_has_come() {
    for completed in [false, true] {
        let mut open_grants = open_grants();
        let mut carried = approved(1);
        let nonce = [5; 8];
        carried.redirects[0].requested.as_mut().expect("good").nonce = Some(nonce);
        let (_, changed) = open_grants.append(vec![carried], NOW);
        open_grants.durable(&changed.grants, &changed.source_messages, NOW);
        if completed {
            open_grants.nonces.insert(nonce, NOW + Duration::from_mins(10));
        }
        let word = |nonce| Carried {
            redirects: vec![Redirected {
                redirected_at: None,
                result: Err(Reason::new(crate::intake::callback::RELAY_EXPIRED)),
                requested: Ok(Requested {
                    user: Some(UserId(7)),
                    nonce: Some(nonce),
                    ..Requested::default()
                }),
            }],
            ..approved(u64::from(nonce[0]))
        };
        let (_, changed) = open_grants.append(vec![word(nonce)], NOW);
        let outcomes: Vec<_> = changed.closed.iter().map(|closed| closed.outcome).collect();
        assert_eq!(outcomes, [Outcome::Duplicate]);
        let (_, changed) = open_grants.append(vec![word([6; 8])], NOW);
        let dead = open_grants.get(changed.grants[0]).expect("its result is owed");
        assert!(matches!(&dead.state, State::Settling(s) if s.outcome == Outcome::Expired));
        let (id, delivered) = (
            dead.id,
            Event::Delivered {
                sink: "results".to_owned(),
            },
        );
        open_grants.durable(&changed.grants, &changed.source_messages, NOW);
        assert_eq!(open_grants.claim(Task::Deliver(0), 9, NOW).len(), 1);
        step(&mut open_grants, id, Task::Deliver(0), delivered, None);
        assert!(open_grants.get(id).is_none(), "it is closed");
        // Told once more it is still one death, and its person is invited once.
        let again = Carried {
            unread_lines: false,
            message: MessageId(1_536_343_372_988_416_100),
            ..word([6; 8])
        };
        let (_, changed) = open_grants.append(vec![again], NOW);
        let outcomes: Vec<_> = changed.closed.iter().map(|closed| closed.outcome).collect();
        assert_eq!(outcomes, [Outcome::Duplicate]);
    }
}
