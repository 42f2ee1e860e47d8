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
    assert!(story.grant.due(story.now, &story.policy).is_empty());
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
