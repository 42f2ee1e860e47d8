use super::*;

fn header<'a>(headers: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(k, _)| *k == name).map(|(_, v)| v.as_str())
}

#[test]
fn a_webhook_takes_five_posts_in_two_seconds() {
    let mut limits = Limits::new(LimitSettings::default());
    for left in ["4", "3", "2", "1", "0"] {
        let headers = limits
            .enter_bucket(Bucket::Webhook(1), false, 1_000_000)
            .expect("within the limit");
        assert_eq!(header(&headers, "X-RateLimit-Remaining"), Some(left));
        assert_eq!(header(&headers, "X-RateLimit-Limit"), Some("5"));
    }
    let refused = limits
        .enter_bucket(Bucket::Webhook(1), false, 1_500_000)
        .expect_err("the sixth is refused");
    assert_eq!(refused.status, 429);
    assert_eq!(header(&refused.headers, "X-RateLimit-Scope"), Some("user"));
    assert_eq!(header(&refused.headers, "Retry-After"), Some("2"));
    assert_eq!(refused.value().expect("JSON")["retry_after"], 1.5);
    assert!(limits.enter_bucket(Bucket::Webhook(2), false, 1_500_000).is_ok());
    assert!(limits.enter_bucket(Bucket::Webhook(1), false, 3_000_000).is_ok());
}

#[test]
fn a_channel_that_is_hit_stays_closed_for_its_penalty_and_headers_mislead() {
    let mut limits = Limits::new(LimitSettings::default());
    let visible = vec![("X-RateLimit-Remaining", "3".to_owned())];
    for _ in 0..30 {
        assert!(limits.enter_channel(9, false, 41_300, &visible, 1).is_ok());
    }
    let refused = limits.enter_channel(9, false, 41_300, &visible, 2).expect_err_answer();
    assert_eq!(header(&refused.headers, "X-RateLimit-Scope"), Some("shared"));
    assert_eq!(header(&refused.headers, "X-RateLimit-Remaining"), Some("3"));
    assert_eq!(header(&refused.headers, "Retry-After"), Some("42"));
    assert_eq!(refused.value().expect("JSON")["retry_after"], 41.3);
    assert!(limits.enter_channel(9, false, 41_300, &visible, 41_000_000).is_err());
    assert!(limits.enter_channel(9, false, 41_300, &visible, 41_300_002).is_ok());
}

#[test]
fn an_unversioned_path_tells_waits_in_milliseconds() {
    let refused = refusal(Scope::Shared, 43_323_000, true);
    assert_eq!(header(&refused.headers, "Retry-After"), Some("43323"));
    assert_eq!(refused.value().expect("JSON")["retry_after"], 43_323);
}

#[test]
fn invalid_requests_end_in_a_ban_but_shared_refusals_do_not_count() {
    let mut limits = Limits::new(LimitSettings {
        invalid_requests: Some(rule(20, 600_000)),
        ..LimitSettings::default()
    });
    for _ in 0..100 {
        limits.leave(&refusal(Scope::Shared, 1, false), 1);
    }
    assert!(limits.enter(None, false, 2).is_ok());
    for _ in 0..19 {
        limits.leave(&Answer::unauthorized(), 3);
    }
    assert!(limits.enter(None, false, 4).is_ok());
    limits.leave(&Answer::unauthorized(), 5);
    let banned = limits.enter(None, false, 6).expect_err_answer();
    assert!(banned.edge);
    assert!(banned.headers.is_empty());
    limits.reset();
    assert!(limits.enter(None, false, 7).is_ok());
}

#[test]
fn the_global_limit_is_fifty_a_second_per_bot() {
    let mut limits = Limits::new(LimitSettings::default());
    for _ in 0..50 {
        assert!(limits.enter(Some(Bucket::Global), false, 1).is_ok());
    }
    let refused = limits.enter(Some(Bucket::Global), false, 300_001).expect_err_answer();
    assert_eq!(header(&refused.headers, "X-RateLimit-Global"), Some("true"));
    assert_eq!(refused.value().expect("JSON")["global"], true);
    assert!(header(&refused.headers, "X-RateLimit-Bucket").is_none());
    let mut off = Limits::new(LimitSettings::off());
    for _ in 0..1_000 {
        assert!(off.enter(Some(Bucket::Global), false, 1).is_ok());
        assert!(
            off.enter_bucket(Bucket::Webhook(1), false, 1)
                .is_ok_and(|h| h.is_empty())
        );
    }
}

trait ExpectErr {
    fn expect_err_answer(self) -> Answer;
}

impl ExpectErr for Result<(), Answer> {
    #[track_caller]
    fn expect_err_answer(self) -> Answer {
        self.expect_err("refused")
    }
}
