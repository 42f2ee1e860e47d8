//! What answers close.

use super::*;

#[test]
fn a_shared_429_closes_one_channel_and_counts_for_nothing() {
    paused(|| async {
        let governor = usual();
        let shared = answer(429, &[("x-ratelimit-scope", "shared"), ("retry-after", "41")]);
        acquire(&governor, post_to(CHANNEL)).await.settle(Some(shared));
        about(wait_for(&governor, post_to(OTHER)).await, 0);
        let views = governor.send(Inspect).await.expect("alive");
        let blocked: Vec<_> = views
            .iter()
            .map(|v| (v.budget, v.lane, v.spent, v.blocked_until.is_some()))
            .collect();
        assert_eq!(
            blocked,
            [
                ("webhook", Some(Lane(0)), 1, true),
                ("webhook", None, 1, false),
                ("global", None, 0, false),
                ("oauth", None, 0, false),
                ("invalid_requests", None, 0, false),
            ]
        );
        about(wait_for(&governor, post_to(CHANNEL)).await, 41);
    });
}

#[test]
fn a_global_429_closes_all_but_webhooks() {
    paused(|| async {
        let governor = usual();
        sleep(Duration::from_secs(5)).await;
        let everywhere = answer(429, &[("x-ratelimit-scope", "global"), ("retry-after", "9")]);
        acquire(&governor, oauth(Urgency::Exchange))
            .await
            .settle(Some(everywhere));
        about(wait_for(&governor, post_to(CHANNEL)).await, 0);
        about(wait_for(&governor, global(Urgency::Fetch)).await, 9);
    });
}

#[test]
fn a_429_on_one_route_leaves_the_others() {
    paused(|| async {
        let governor = usual();
        sleep(Duration::from_secs(5)).await;
        let own = answer(429, &[("x-ratelimit-scope", "user"), ("retry-after", "7")]);
        acquire(&governor, global(Urgency::Fetch))
            .await
            .settle(Some(own.clone()));
        about(wait_for(&governor, oauth(Urgency::Exchange)).await, 0);
        about(wait_for(&governor, global(Urgency::Deliver)).await, 0);
        about(wait_for(&governor, global(Urgency::Fetch)).await, 7);
        acquire(&governor, oauth(Urgency::Exchange)).await.settle(Some(own));
        about(wait_for(&governor, oauth(Urgency::Revoke)).await, 7);
    });
}

#[test]
fn an_edge_refusal_closes_everything() {
    paused(|| async {
        let governor = usual();
        sleep(Duration::from_secs(5)).await;
        let edge = HttpFeedback {
            status: 429,
            headers: vec![("content-type".to_owned(), "text/plain".to_owned())],
            ..HttpFeedback::default()
        };
        governor.send(Observe(edge)).await.expect("alive");
        let (a, b, c) = tokio::join!(
            wait_for(&governor, post_to(CHANNEL)),
            wait_for(&governor, oauth(Urgency::Exchange)),
            wait_for(&governor, global(Urgency::Fetch)),
        );
        about(a, 60);
        about(b, 60);
        about(c, 60);
    });
}

#[test]
fn a_spent_bucket_of_discords_closes_until_its_reset() {
    paused(|| async {
        let governor = usual();
        let spent = answer(204, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "2")]);
        acquire(&governor, post_to(CHANNEL)).await.settle(Some(spent));
        about(wait_for(&governor, post_to(CHANNEL)).await, 2);
    });
}

#[test]
fn the_breaker_opens_and_closes() {
    paused(|| async {
        let limits = Limits {
            invalid_requests: 3,
            ..off()
        };
        let governor = governor(limits, &Disk::default(), wall());
        for status in [401, 403, 404, 500] {
            governor.send(Observe(answer(status, &[]))).await.expect("alive");
        }
        acquire(&governor, oauth(Urgency::Exchange))
            .await
            .settle(Some(answer(401, &[])));
        let views = governor.send(Inspect).await.expect("alive");
        let breaker = views.last().expect("the breaker is shown");
        assert_eq!(breaker.blocked_until, Some(Timestamp::from_secs(1_700_000_600)));
        about(wait_for(&governor, post_to(CHANNEL)).await, 600);
        assert!(governor.send(Idle).await.expect("alive"));
    });
}

#[test]
fn an_answer_to_any_call_sets_the_clock() {
    paused(|| async {
        // An hour ahead of the 14th of November 2023, 22:13:20.
        let told = || answer(200, &[("date", "Tue, 14 Nov 2023 22:13:20 GMT")]);
        let clock = wall();
        let governor = governor(off(), &Disk::default(), clock.clone());
        let is_set = || clock.now().since(Timestamp::from_secs(1_700_000_000)) < Duration::from_secs(1);
        for ask in [
            oauth(Urgency::Exchange),
            global(Urgency::Fetch),
            oauth(Urgency::Revoke),
            post_to(CHANNEL),
        ] {
            clock.step(3_600_000);
            acquire(&governor, ask).await.settle(Some(told()));
            assert!(is_set(), "{ask:?}: {}", clock.now());
        }
        // And one to the bot's, which needs no permit.
        clock.step(-3_600_000);
        governor.send(Observe(told())).await.expect("alive");
        assert!(is_set(), "{}", clock.now());
        assert!(clock.now() >= Timestamp::from_secs(1_700_000_000));
    });
}
