//! What an answer says about limits: which budget is closed, for how long. Pure; sources are `Discord Docs/Rate Limits` and
//! what its edge was seen to send.

use std::time::{Duration, SystemTime};

use actix_web::http::header::HttpDate;

use crate::time::Timestamp;

/// Status, rate-limit headers and the body's own word of one answer. Holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpFeedback {
    /// The status code.
    pub status: u16,
    /// The headers that matter to limits, names in lower case: `retry-after`, `x-ratelimit-*`, `via`, `date`, `content-type`.
    pub headers: Vec<(String, String)>,
    /// `retry_after` of a JSON body.
    pub body_retry_after: Option<Duration>,
    /// `global` of a JSON body.
    pub body_global: bool,
}

impl HttpFeedback {
    /// Names of the headers worth keeping.
    pub fn is_relevant(name: &str) -> bool {
        matches!(name, "retry-after" | "via" | "date" | "content-type") || name.starts_with("x-ratelimit-")
    }

    /// A header's value by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The server's own time, to the second, from the `Date` header.
    pub fn server_time(&self) -> Option<Timestamp> {
        let date: HttpDate = self.header("date")?.parse().ok()?;
        Some(Timestamp::from(SystemTime::from(date)))
    }

    /// Whether one wait is about a thousand times the other: the same one, in milliseconds, as versions before 8 wrote it
    /// into header, body or both.
    pub fn is_thousandfold(large: Duration, small: Duration) -> bool {
        large > Duration::from_secs(1) && large >= small.saturating_mul(500) && large <= small.saturating_mul(2000)
    }

    /// Whether this 429 came from Discord's edge and not from its API: the API always sends `Via`.
    pub fn is_from_edge(&self) -> bool {
        self.status == 429 && self.header("via").is_none()
    }
}

/// No wait is believed beyond this: after it, one call finds out.
pub const LONGEST: Duration = Duration::from_hours(1);

/// The wait of a 429 that names none.
const UNNAMED: Duration = Duration::from_secs(5);

/// What to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closure {
    /// Discord's edge refused this address: everything, for the named time.
    Everything(Option<Duration>),
    /// Whatever counts against the global limit.
    Global(Duration),
    /// The budget the call was charged to.
    Own(Duration),
}

/// Whether an answer counts towards the ban of an address: 401, 403, and 429 unless its scope is `shared`.
pub fn is_invalid(answer: &HttpFeedback) -> bool {
    match answer.status {
        401 | 403 => true,
        429 => !is_shared(answer),
        _ => false,
    }
}

/// What an answer closes, if anything.
pub fn closure(answer: &HttpFeedback) -> Option<Closure> {
    if answer.status != 429 {
        let spent = answer.header("x-ratelimit-remaining").map(str::trim) == Some("0");
        return spent
            .then(|| seconds(answer, "x-ratelimit-reset-after"))
            .flatten()
            .map(|wait| Closure::Own(believable(wait)));
    }
    if is_from_edge(answer) {
        let named = seconds(answer, "retry-after").or(answer.body_retry_after);
        return Some(Closure::Everything(named.map(|wait| wait.min(LONGEST))));
    }
    let wait = believable(named_wait(answer));
    if is_global(answer) {
        Some(Closure::Global(wait))
    } else {
        Some(Closure::Own(wait))
    }
}

/// Whether the governor learns anything from an answer.
pub fn matters(answer: &HttpFeedback) -> bool {
    is_invalid(answer) || closure(answer).is_some()
}

/// A 429 of the edge has no `Via`, or is a page. One that carries rate-limit headers is the API's, even where a proxy took
/// its `Via` away.
fn is_from_edge(answer: &HttpFeedback) -> bool {
    let is_page = answer.header("content-type").is_some_and(|kind| {
        kind.trim_start()
            .get(..9)
            .is_some_and(|k| k.eq_ignore_ascii_case("text/html"))
    });
    let is_counted = answer.headers.iter().any(|(name, _)| name.starts_with("x-ratelimit-"));
    is_page || (answer.is_from_edge() && !is_counted)
}

fn is_shared(answer: &HttpFeedback) -> bool {
    has_scope(answer, "shared")
}

fn is_global(answer: &HttpFeedback) -> bool {
    answer.body_global
        || has_scope(answer, "global")
        || answer
            .header("x-ratelimit-global")
            .is_some_and(|v| v.trim().eq_ignore_ascii_case("true"))
}

fn has_scope(answer: &HttpFeedback, scope: &str) -> bool {
    answer
        .header("x-ratelimit-scope")
        .is_some_and(|v| v.trim().eq_ignore_ascii_case(scope))
}

/// The wait a 429 names. The body is the more exact; the header is whole seconds, rounded up. Versions before 8 wrote
/// milliseconds into either: where one is about a thousand times the other, the smaller is meant.
fn named_wait(answer: &HttpFeedback) -> Duration {
    match (answer.body_retry_after, seconds(answer, "retry-after")) {
        (Some(body), Some(header)) if HttpFeedback::is_thousandfold(header, body) => body,
        (Some(body), Some(header)) if HttpFeedback::is_thousandfold(body, header) => header,
        (Some(body), Some(header)) if header <= body + Duration::from_secs(1) => body,
        (Some(body), Some(header)) => body.max(header),
        (body, header) => body
            .or(header)
            .or_else(|| seconds(answer, "x-ratelimit-reset-after"))
            .unwrap_or(UNNAMED),
    }
}

/// The API names no wait of hours on the routes used here, so a number that large was milliseconds.
fn believable(wait: Duration) -> Duration {
    if wait > LONGEST {
        (wait / 1000).min(LONGEST)
    } else {
        wait
    }
}

/// A header of seconds, whole or with a fraction. Anything else is as if absent.
fn seconds(answer: &HttpFeedback, name: &str) -> Option<Duration> {
    let value: f64 = answer.header(name)?.trim().parse().ok()?;
    // `min` would turn what is not a number into the bound.
    let value = if value.is_nan() { return None } else { value.min(1e9) };
    Duration::try_from_secs_f64(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: Option<f64>) -> HttpFeedback {
        HttpFeedback {
            status,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            body_retry_after: body.map(Duration::from_secs_f64),
            body_global: false,
        }
    }

    #[track_caller]
    fn check(status: u16, headers: &[(&str, &str)], body: Option<f64>, expected: impl Into<Option<Closure>>) {
        assert_eq!(closure(&answer(status, headers, body)), expected.into());
    }

    fn own(s: f64) -> Closure {
        Closure::Own(Duration::from_secs_f64(s))
    }

    const VIA: (&str, &str) = ("via", "1.1 google");

    #[test]
    fn a_429_closes_its_own_budget_for_the_wait_it_names() {
        check(429, &[VIA, ("retry-after", "2")], Some(1.412), own(1.412));
        check(429, &[VIA, ("retry-after", "2")], None, own(2.0));
        check(429, &[VIA, ("retry-after", "40")], Some(1.0), own(40.0));
        check(429, &[VIA, ("x-ratelimit-reset-after", "0.7")], None, own(0.7));
        check(429, &[VIA], None, own(5.0));
        check(429, &[VIA, ("retry-after", "soon")], None, own(5.0));
        check(429, &[VIA, ("retry-after", "-3")], None, own(5.0));
        check(429, &[VIA, ("retry-after", "NaN")], None, own(5.0));
    }

    #[test]
    fn milliseconds_in_place_of_seconds_are_recognised() {
        check(429, &[VIA, ("retry-after", "43323")], Some(43.323), own(43.323));
        check(429, &[VIA, ("retry-after", "44")], Some(43_323.0), own(44.0));
        check(429, &[VIA, ("retry-after", "43323")], Some(43_323.0), own(43.323));
        check(429, &[VIA, ("retry-after", "1e300")], None, own(3600.0));
    }

    #[test]
    fn waits_beyond_counting_close_for_an_hour_and_panic_nothing() {
        let hour = Some(Closure::Own(LONGEST));
        check(429, &[VIA, ("retry-after", "5")], Some(1e19), hour);
        check(429, &[VIA, ("retry-after", "1e19")], Some(1e19), hour);
    }

    #[test]
    fn a_spent_bucket_closes_until_its_reset() {
        let spent = [VIA, ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "1.5")];
        check(204, &spent, None, own(1.5));
        check(
            200,
            &[VIA, ("x-ratelimit-remaining", "1"), ("x-ratelimit-reset-after", "1.5")],
            None,
            None,
        );
        check(200, &[VIA, ("x-ratelimit-remaining", "0")], None, None);
    }

    #[test]
    fn global_and_edge_answers_are_told_apart() {
        let global = Some(Closure::Global(Duration::from_millis(700)));
        check(429, &[VIA, ("x-ratelimit-global", "true")], Some(0.7), global);
        check(429, &[VIA, ("x-ratelimit-scope", "global")], Some(0.7), global);
        check(
            429,
            &[VIA, ("content-type", "text/html; charset=UTF-8")],
            None,
            Some(Closure::Everything(None)),
        );
        check(
            429,
            &[("content-type", "text/plain"), ("retry-after", "90")],
            None,
            Some(Closure::Everything(Some(Duration::from_secs(90)))),
        );
        check(
            429,
            &[("retry-after", "86400")],
            None,
            Some(Closure::Everything(Some(LONGEST))),
        );
        check(429, &[("x-ratelimit-scope", "user")], Some(0.7), own(0.7));
    }

    #[test]
    fn only_what_discord_counts_is_invalid() {
        assert!(is_invalid(&answer(401, &[], None)));
        assert!(is_invalid(&answer(403, &[], None)));
        assert!(is_invalid(&answer(429, &[], None)));
        assert!(!is_invalid(&answer(429, &[VIA, ("x-ratelimit-scope", "shared")], None)));
        assert!(!is_invalid(&answer(404, &[], None)));
        assert!(!is_invalid(&answer(500, &[], None)));
    }

    #[test]
    fn the_servers_time_is_read_from_the_date_header() {
        let dated = |date: &str| HttpFeedback {
            headers: vec![("date".to_owned(), date.to_owned())],
            ..HttpFeedback::default()
        };
        assert_eq!(
            dated("Tue, 14 Nov 2023 22:13:20 GMT").server_time(),
            Some(Timestamp::from_secs(1_700_000_000))
        );
        assert_eq!(dated("yesterday").server_time(), None);
        assert_eq!(HttpFeedback::default().server_time(), None);
    }
}
