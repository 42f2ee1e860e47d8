//! What a known outcome owes: deliveries, the revocation, and when a grant may close.

use super::*;

#[test]
fn a_delivery_that_fails_for_a_day_is_parked_and_after_keep_parked_given_up() {
    let fail = || delivery_failed("a");
    let almost = Story::settling().after(secs(24 * 3600 - 1)).then(fail());
    assert_eq!(almost.sink("a").state, DeliveryState::Owed);
    let parked = almost.after(secs(1)).then(fail());
    assert_eq!(parked.sinks(), [DeliveryState::Parked, DeliveryState::Owed]);
    let kept = parked
        .then(Event::Revoked)
        .then(delivered("b"))
        .is("settling completed");
    let kept = kept.after(secs(7 * 24 * 3600 - 1)).then(Event::Aged);
    assert_eq!(kept.sink("a").state, DeliveryState::Parked);
    kept.after(secs(1)).then(Event::Aged).is("closed completed");
}

#[test]
fn a_delivery_whose_outcome_is_unknown_stays_uncertain() {
    let uncertain = Event::DeliveryFailed {
        sink: "a".to_owned(),
        after: None,
        uncertain: true,
    };
    let story = Story::settling().then(uncertain).then(delivery_failed("a"));
    assert!(story.sink("a").uncertain && !story.sink("b").uncertain);
    let restarted = Story::settling().then(delivered("a")).then(Event::FoundAtStart);
    assert!(
        !restarted.sink("a").uncertain && restarted.sink("b").uncertain,
        "a restart may have cut an owed delivery"
    );
}

#[test]
fn a_sink_that_is_gone_from_the_configuration_parks_its_deliveries() {
    let mut story = Story::settling();
    story.policy.sinks.remove(0);
    let mut story = story.then(Event::Aged);
    assert_eq!(story.sinks(), [DeliveryState::Parked, DeliveryState::Owed]);
    story.refuses(requeued(Some("a")));
    story.policy = policy();
    let story = story.then(requeued(Some("a")));
    assert_eq!(story.sinks(), [DeliveryState::Owed; 2]);
}

#[test]
fn a_requeued_delivery_is_owed_anew_and_only_parked_ones_are_requeued() {
    let story = Story::settling()
        .then(delivery_refused("a"))
        .then(delivery_refused("b"))
        .after(secs(60));
    let one = story.clone().then(requeued(Some("a")));
    assert_eq!(one.sinks(), [DeliveryState::Owed, DeliveryState::Parked]);
    assert_eq!(one.sink("a").attempts, Attempts::owed_since(one.now));
    one.refuses(requeued(Some("a")));
    one.refuses(requeued(Some("nobody")));
    assert_eq!(story.then(requeued(None)).sinks(), [DeliveryState::Owed; 2]);
    Story::new().refuses(requeued(None));
}

#[test]
fn a_revocation_is_never_given_up_only_spaced_out() {
    let mut story = Story::settling().then(delivered("a")).then(delivered("b"));
    for _ in 0..2000 {
        story = story.after(secs(3600)).then(event("revocation_failed"));
        let State::Settling(settling) = &story.grant.state else {
            panic!("closed while it held a token");
        };
        let Revocation::Owed { attempts, .. } = &settling.revocation else {
            panic!("given up");
        };
        // 10 min, spread by a tenth at most.
        assert!(attempts.not_before.since(story.now) <= secs(660));
    }
    story.then(Event::Revoked).is("closed completed");
}

#[test]
fn a_grant_that_holds_a_token_cannot_close() {
    let delivered_all = Story::settling().then(delivered("a")).then(delivered("b"));
    delivered_all.clone().is("settling completed");
    delivered_all
        .clone()
        .then(Event::Dropped)
        .then(Event::Aged)
        .is("settling completed");
    delivered_all.then(Event::Revoked).is("closed completed");
    let mut no_sinks = Story::exchanged();
    no_sinks.policy.sinks.clear();
    no_sinks
        .then(fetched(ASKED))
        .is("settling completed")
        .then(Event::Revoked)
        .is("closed completed");
}

#[test]
fn obligations_are_settled_in_any_order_and_twice_without_harm() {
    let story = Story::settling()
        .then(Event::Revoked)
        .then(Event::Revoked)
        .then(delivered("b"))
        .then(delivered("b"));
    assert!(!story.grant.holds_token());
    story.then(delivered("a")).is("closed completed");
}

#[test]
fn dropping_spares_neither_state_nor_token() {
    let dropped = Story::new().then(Event::Dropped);
    assert!(!dropped.grant.holds_token());
    dropped
        .then(delivered("a"))
        .then(delivered("b"))
        .is("closed dropped dropped_by_operator");
    // A request is on its way: what it brings must be known first.
    Story::new().then(Event::Began).refuses(Event::Dropped);
    let with_token = Story::exchanged().then(Event::Dropped);
    assert!(with_token.grant.holds_token());
    let settling = Story::settling().then(Event::Dropped);
    assert_eq!(settling.sinks(), [DeliveryState::GaveUp; 2]);
    settling.then(Event::Revoked).is("closed completed");
    let parked = Story::settling().then(delivery_refused("a")).then(Event::Dropped);
    assert_eq!(parked.sinks(), [DeliveryState::GaveUp; 2]);
}

#[test]
fn a_duplicate_closes_at_once_and_sends_no_result() {
    let story = Story::new().then(Event::Superseded).is("closed duplicate state_used");
    assert_eq!(due(&story), []);
}

#[test]
fn every_other_outcome_owes_a_result_to_every_sink() {
    let sent = [
        Story::new().then(Event::Expired),
        Story::new().then(Event::Dropped),
        Story::new().then(Event::Began).then(event("refused")),
        Story::new().then(Event::Began).then(Event::CutOff).then(Event::Expired),
        Story::settling(),
        Story::exchanged().then(fetched(OTHER)),
        Story::exchanged().then(event("fetch_refused")),
    ];
    for story in sent {
        assert_eq!(story.sinks(), [DeliveryState::Owed; 2], "{}", story.told());
    }
}

/// When each task may begin, in seconds from now.
fn due(story: &Story) -> Vec<(&'static str, u64)> {
    let due = story.grant.due(story.policy.at(story.now));
    due.map(|d| (d.task.name(), d.not_before.since(story.now).as_secs()))
        .collect()
}

#[test]
fn results_of_a_dead_code_wait_for_the_invitation_a_minute_at_most() {
    let story = Story::inviting();
    assert_eq!(due(&story), [("deliver", 60), ("deliver", 60), ("invite", 0)]);
    let sent = story.clone().after(secs(5)).then(Event::Invited);
    assert_eq!(sent.invitation(), Invitation::Sent);
    assert_eq!(due(&sent), [("deliver", 0), ("deliver", 0)]);
    sent.then(Event::Invited)
        .then(delivered("a"))
        .then(delivered("b"))
        .is("closed expired code_expired");
    let late = story.clone().after(secs(59)).then(Event::Aged);
    assert!(matches!(late.invitation(), Invitation::Owed(_)));
    assert_eq!(late.after(secs(1)).then(Event::Aged).invitation(), Invitation::Failed);
    let restarted = story.after(secs(60)).then(Event::FoundAtStart);
    assert_eq!(restarted.invitation(), Invitation::Failed);
}

#[test]
fn an_invitation_is_tried_again_while_there_is_time() {
    let mut story = Story::inviting();
    let mut tries = 0;
    while let Invitation::Owed(attempts) = story.invitation() {
        story = story.clone().after(attempts.not_before.since(story.now));
        assert!(
            story.now.since(START) <= secs(45),
            "the last attempt ends before the results go"
        );
        story = story.then(invitation_deferred(Uninvited::NoRoom));
        tries += 1;
    }
    assert_eq!(story.invitation(), Invitation::NoRoom);
    assert_eq!(tries, 8, "at 0, 1, 3, 7, 15, 25, 35 and 45 s");
    let far = Event::InvitationDeferred {
        after: Some(secs(50)),
        or: Uninvited::Failed,
    };
    assert_eq!(Story::inviting().then(far).invitation(), Invitation::Failed);
    let near = Event::InvitationDeferred {
        after: Some(secs(40)),
        or: Uninvited::Failed,
    };
    let waits = Story::inviting().then(near);
    assert_eq!(due(&waits)[2], ("invite", 40));
}

#[test]
fn an_invitation_that_is_refused_is_settled_and_cannot_be_settled_again() {
    for (why, is) in [
        (Uninvited::Closed, Invitation::Closed),
        (Uninvited::NoRoom, Invitation::NoRoom),
        (Uninvited::Failed, Invitation::Failed),
    ] {
        let story = Story::inviting().then(Event::InvitationRefused(why));
        assert_eq!(story.invitation(), is);
        for again in [
            Event::Invited,
            Event::InvitationRefused(why),
            invitation_deferred(why),
            Event::Superseded,
        ] {
            story.refuses(again);
        }
    }
    let needless = Story::inviting().then(Event::Superseded);
    assert_eq!(needless.invitation(), Invitation::NotNeeded);
}

#[test]
fn only_whom_a_signed_state_names_is_invited_once_and_for_a_dead_code_only() {
    let invites = |change: fn(&mut Story), events: Vec<Event>| {
        let mut story = Story::new();
        story.policy.reinvite = true;
        story.grant.requested.nonce = Some([1; 8]);
        change(&mut story);
        for event in events {
            story = story.then(event);
        }
        matches!(&story.grant.state, State::Settling(s) if matches!(s.invitation, Invitation::Owed(_)))
    };
    let expired = || vec![Event::Expired];
    let lost = || vec![Event::Began, Event::CutOff, Event::Expired];
    assert!(invites(|_| {}, expired()) && invites(|_| {}, lost()));
    assert!(!invites(|s| s.policy.reinvite = false, expired()));
    assert!(!invites(|s| s.grant.requested.again = true, expired()));
    assert!(!invites(|s| s.grant.requested.nonce = None, expired()));
    assert!(!invites(|s| s.grant.requested.user = None, expired()));
    for other in [
        vec![Event::Began, event("refused")],
        vec![Event::Dropped],
        vec![Event::Began, Event::CutOff, Event::Dropped],
        vec![Event::Began, token(), fetched(OTHER)],
        vec![Event::Began, token(), fetched(ASKED)],
        vec![Event::Began, token(), event("fetch_refused")],
    ] {
        assert!(!invites(|_| {}, other.clone()), "{other:?}");
    }
    let mut denied = Story::inviting().grant;
    denied.state = denied.settle(
        Outcome::Denied,
        Some("access_denied"),
        None,
        Story::inviting().policy.at(START),
    );
    let State::Settling(denied) = denied.state else {
        panic!("settling")
    };
    assert_eq!(denied.invitation, Invitation::NotNeeded);
}

#[test]
fn an_operator_who_drops_a_grant_or_switches_invitations_off_ends_them() {
    Story::inviting().then(Event::Dropped).is("closed expired code_expired");
    let mut story = Story::inviting();
    story.policy.reinvite = false;
    assert_eq!(story.clone().then(Event::FoundAtStart).invitation(), Invitation::Failed);
    assert_eq!(story.then(Event::Aged).invitation(), Invitation::Failed);
}

#[test]
fn a_grant_is_read_back_as_it_was_stored_with_an_invitation_and_without() {
    for story in [Story::new().then(Event::Expired), Story::inviting()] {
        let mut grant = story.grant;
        grant.origin.message = MessageId(1_536_343_372_988_416_000);
        let stored = postcard::to_stdvec(&grant).expect("it can be written");
        assert_eq!(postcard::from_bytes::<Grant>(&stored).expect("it can be read"), grant);
    }
}
