//! What an answer's head and body say of limits.

use std::collections::BTreeMap;
use std::time::Duration;

use codeferry::ids::ChannelId;
use codeferry::rate::budgets::{Budgets, Verdict};
use codeferry::rate::feedback::HttpFeedback;
use codeferry::rate::feedback::{Closure, LONGEST, closure};
use codeferry::rate::limits::{Budget, Limits, Need, Urgency};
use codeferry::rate::moment::Moment;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::mutate::pick;
use super::run::Target;

const CHANNEL: ChannelId = ChannelId(1_536_340_000_000_000_002);

/// Header lines, an empty line, a body: as they come.
fn feedback(status: u16, input: &[u8]) -> HttpFeedback {
    let text = String::from_utf8_lossy(input);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut feedback = HttpFeedback {
        status,
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .filter(|(name, _)| HttpFeedback::is_relevant(name))
            .collect(),
        ..HttpFeedback::default()
    };
    feedback.add_body(body.as_bytes());
    feedback
}

pub fn headers() {
    let corpus = [
        "Via: 1.1 google\nRetry-After: 41\nX-RateLimit-Scope: user\n\n{\"retry_after\":41.3,\"global\":false}",
        "Retry-After: 65\nContent-Type: text/plain\n\nerror code: 1015",
        "Via: x\nX-RateLimit-Limit: 5\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset-After: 1.5\nDate: Tue, 14 Nov 2023 22:13:20 GMT\n\n",
        "Via: x\nX-RateLimit-Global: true\nRetry-After: 1412\n\n{\"retry_after\":1.412,\"global\":true,\"code\":0}",
        "Via: x\nX-RateLimit-Scope: shared\nRetry-After: 1e19\n\n{\"retry_after\":\"1e19\"}",
    ];
    let needs = [
        (Budget::OAuth, Urgency::Exchange),
        (Budget::Global, Urgency::Fetch),
        (Budget::Global, Urgency::Deliver),
        (Budget::Webhook(CHANNEL), Urgency::Deliver),
    ]
    .map(|(budget, urgency)| Need { budget, urgency });
    let tries = |input: &[u8], random: &mut StdRng| {
        let status = *pick(&[200, 204, 401, 403, 429, 429, 429, 500, 503], random);
        let feedback = feedback(status, input);
        let hour = Duration::from_hours(1);
        assert!(feedback.named_wait().is_none_or(|wait| wait <= hour));
        assert!(feedback.wait_after_limit() <= hour);
        assert_eq!(LONGEST, hour);
        match closure(&feedback) {
            Some(Closure::Own(wait) | Closure::Global(wait) | Closure::Everything(Some(wait))) => {
                assert!(wait <= hour, "{wait:?}: {feedback:?}");
            }
            Some(Closure::Everything(None)) | None => {}
        }
        let _ = feedback.server_time();

        let mut budgets = Budgets::new(Limits::default(), &BTreeMap::new(), Moment::START);
        let mut now = Moment::START + Duration::from_secs(5);
        for _ in 0..4 {
            let charged = random.random_bool(0.7).then(|| *pick(&needs, random));
            if let Some((_, until)) = budgets.observe(&feedback, charged, now) {
                assert!(until.since(now) <= hour, "{feedback:?}");
            }
            now = now + Duration::from_millis(random.random_range(0..90_000));
        }
        // Whatever it was, an hour later everything goes on.
        let later = now + hour + Duration::from_secs(1);
        for need in needs {
            let verdict = budgets.take(need, later);
            assert!(!matches!(verdict, Verdict::NotBefore(_)), "{verdict:?} {feedback:?}");
        }
    };
    Target {
        test: "no_rate_header_harms_the_governor",
        name: "rate headers",
        corpus: corpus.map(|text| text.as_bytes().to_vec()).into(),
        share: 100,
        tries: &tries,
    }
    .run();
}
