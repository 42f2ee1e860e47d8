//! What holds for a grant whatever happens to it.

use proptest::prelude::*;

use super::*;

fn any_event() -> impl Strategy<Value = Event> {
    let sink = || prop_oneof![Just("a"), Just("b"), Just("gone")];
    let wait = || prop::option::of((0..5000_u64).prop_map(secs));
    prop_oneof![
        6 => Just(Event::Began),
        2 => Just(token()),
        2 => prop_oneof![Just(ASKED), Just(OTHER)].prop_map(fetched),
        2 => sink().prop_map(delivered),
        1 => (sink(), wait(), any::<bool>()).prop_map(|(sink, after, uncertain)| Event::DeliveryFailed {
            sink: sink.to_owned(), after, uncertain,
        }),
        1 => sink().prop_map(delivery_refused),
        1 => prop::option::of(sink()).prop_map(requeued),
        1 => wait().prop_map(|after| Event::FetchDeferred { after }),
        1 => wait().prop_map(|after| Event::RevocationFailed { after }),
        1 => Just(Event::Revoked),
        1 => prop::sample::select(vec!["invited", "invitation_refused"]).prop_map(event),
        2 => wait().prop_map(|after| Event::InvitationDeferred { after, or: Uninvited::NoRoom }),
        8 => prop::sample::select(vec![
            "not_sent", "deferred", "unclear", "unreadable", "cut_off", "found_at_start", "refused",
            "credentials_refused", "unauthorized", "fetch_refused", "aged",
        ]).prop_map(event),
        1 => prop::sample::select(vec!["expired", "superseded", "dropped"]).prop_map(event),
    ]
}

fn outcome(grant: &Grant) -> Option<(Outcome, Option<Reason>)> {
    match &grant.state {
        State::Settling(s) => Some((s.outcome, s.reason.clone())),
        State::Closed(c) => Some((c.outcome, c.reason.clone())),
        _ => None,
    }
}

fn written(grant: &Grant) -> String {
    serde_json::to_string(grant).expect("a grant can be written")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn whatever_happens_the_promises_of_a_grant_hold(
        events in prop::collection::vec((any_event(), 0..200_000_u64), 1..80),
        past_by_relay in any::<bool>(),
        reinvite in any::<bool>(),
    ) {
        let policy = Policy { reinvite, ..policy() };
        let mut grant = received();
        grant.requested.nonce = Some([1; 8]);
        grant.redirected_at = past_by_relay.then(|| START - secs(200));
        let mut now = START;
        let mut has_token = false;
        for (event, wait) in events {
            now = now + Duration::from_millis(wait);
            let name = event.name();
            let is_first = matches!(grant.state, State::Received { .. } | State::Exchanging { .. });
            let Ok(next) = grant.apply(event, policy.at(now)) else { continue };
            prop_assert!(!matches!(grant.state, State::Closed(_)), "closed is final");
            if let Some(before) = outcome(&grant) {
                prop_assert_eq!(outcome(&next), Some(before), "an outcome stays");
            }
            let known_before = has_token;
            match name {
                "exchanged" => {
                    prop_assert!(is_first, "a token is received once");
                    has_token = true;
                }
                "revoked" => {
                    prop_assert!(matches!(grant.state, State::Settling(_)), "revoked only once the outcome is known");
                    has_token = false;
                }
                _ => prop_assert_eq!(known_before, has_token),
            }
            prop_assert_eq!(next.holds_token(), has_token, "a token is held until it is revoked");
            prop_assert_eq!(written(&next).contains(TOKEN), has_token, "and it is written as long, no longer");
            prop_assert_eq!(
                written(&next).contains(CODE),
                matches!(next.state, State::Received { .. } | State::Exchanging { .. }),
                "a code that is exchanged or dead is gone"
            );
            if has_token {
                prop_assert!(matches!(next.state, State::Exchanged { .. } | State::Settling(_)), "it cannot close");
            }
            let owed = |g: &Grant| matches!(&g.state, State::Settling(s) if matches!(s.invitation, Invitation::Owed(_)));
            if matches!(grant.state, State::Settling(_)) && !owed(&grant) {
                prop_assert!(!owed(&next), "a person is invited once, and only for a code that died");
            }
            prop_assert!(reinvite || !owed(&next));
            prop_assert_eq!(next.id, grant.id);
            grant = next;
        }
    }

    #[test]
    fn a_code_is_presented_six_times_at_most_with_an_unknown_answer(
        answers in prop::collection::vec(prop::sample::select(vec!["unclear", "cut_off", "found_at_start"]), 10),
    ) {
        let mut story = Story::new();
        let mut presented = 0;
        for answer in answers {
            if !matches!(story.grant.state, State::Received { .. }) {
                break;
            }
            presented += 1;
            story = story.then(Event::Began).then(event(answer));
        }
        prop_assert!(presented <= 6, "presented {presented} times");
        prop_assert!(story.told().starts_with("settling lost"), "{}", story.told());
    }
}
