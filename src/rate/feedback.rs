//! What an answer says about limits: which budget is closed, for how long. Pure; sources are `Discord Docs/Rate Limits` and
//! what its edge was seen to send.

use std::time::Duration;

use tokio::time::Instant;

use crate::time::Timestamp;

/// Status, rate-limit headers and rate-limit fields of the body of one answer. Holds nothing secret.
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
    /// When its head came; the body may take its time.
    pub came: Option<Instant>,
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
        httpdate::parse_http_date(self.header("date")?)
            .ok()
            .map(Timestamp::from)
    }

    /// Discord's clock minus ours in milliseconds, 0 where they agree; `None` where the answer has no `Date`, or is not from
    /// the API. `now` is the time at which the answer's head came.
    pub fn skew_ms(&self, now: Timestamp) -> Option<i64> {
        self.header("via")?;
        // The header is cut to the second: on average half a second was lost.
        let skew = self.server_time()?.as_millis() + 500 - now.as_millis();
        Some(if skew.abs() <= TOLERANCE_MS { 0 } else { skew })
    }

    /// Adds `retry_after` and `global` of a 429's JSON body. They are read one by one: an odd field hides no other.
    pub fn add_body(&mut self, body: &[u8]) {
        let Ok(serde_json::Value::Object(map)) = serde_json::from_slice(body) else {
            return;
        };
        let wait = map.get("retry_after");
        let wait = wait.and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()));
        self.body_retry_after = wait.and_then(seconds);
        self.body_global = map.get("global").and_then(serde_json::Value::as_bool).unwrap_or(false);
    }

    /// `Retry-After` as it stands, in seconds, whole or with a fraction. A date counts as absent.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header_seconds("retry-after")
    }

    /// The wait that an answer names, between [`SHORTEST`] and [`LONGEST`]. The body is the more exact; the header is whole
    /// seconds, rounded up. Versions before 8 wrote milliseconds into either: where one is about a thousand times the
    /// other, the smaller is meant.
    pub fn named_wait(&self) -> Option<Duration> {
        let thousandfold = |large: Duration, small: Duration| {
            large > SECOND && large >= small.saturating_mul(500) && large <= small.saturating_mul(2000)
        };
        let agreed = match (self.body_retry_after, self.retry_after()) {
            (Some(body), Some(header)) if thousandfold(header, body) => Some(body),
            (Some(body), Some(header)) if thousandfold(body, header) => Some(header),
            (Some(body), Some(header)) if header <= body.saturating_add(SECOND) => Some(body),
            (body, header) => body.max(header),
        };
        let named = agreed.or_else(|| {
            self.header_seconds("x-ratelimit-reset-after")
                .filter(|_| self.status == 429)
        })?;
        // The API names no wait of hours on the routes used here: a number that large was milliseconds. The edge means it.
        let wait = if self.is_from_edge() { named } else { believable(named) };
        Some(wait.clamp(SHORTEST, LONGEST))
    }

    /// The wait after a 429, named or not.
    pub fn wait_after_limit(&self) -> Duration {
        let unnamed = if self.is_from_edge() { EDGE_UNNAMED } else { UNNAMED };
        self.named_wait().unwrap_or(unnamed)
    }

    /// Whether this 429 came from Discord's edge and not from its API: it has no `Via`, or is a page. One that carries
    /// rate-limit headers is the API's, even where a proxy took its `Via` away.
    pub fn is_from_edge(&self) -> bool {
        let is_page = self.header("content-type").is_some_and(|kind| {
            let kind = kind.trim_start().get(..9);
            kind.is_some_and(|k| k.eq_ignore_ascii_case("text/html"))
        });
        let is_counted = || self.headers.iter().any(|(name, _)| name.starts_with("x-ratelimit-"));
        self.status == 429 && (is_page || (self.header("via").is_none() && !is_counted()))
    }

    /// Whether the global limit was hit.
    pub fn is_global(&self) -> bool {
        self.body_global
            || self.has_scope("global")
            || self
                .header("x-ratelimit-global")
                .is_some_and(|v| v.trim().eq_ignore_ascii_case("true"))
    }

    fn has_scope(&self, scope: &str) -> bool {
        self.header("x-ratelimit-scope")
            .is_some_and(|v| v.trim().eq_ignore_ascii_case(scope))
    }

    fn header_seconds(&self, name: &str) -> Option<Duration> {
        seconds(self.header(name)?.trim().parse().ok()?)
    }
}

/// No wait is believed beyond this: after it, one call finds out.
pub const LONGEST: Duration = Duration::from_hours(1);

/// Below this a wait would turn an answer of `Retry-After: 0` into a busy loop.
const SHORTEST: Duration = Duration::from_millis(250);
/// The wait after a 429 of Discord's API that names none.
const UNNAMED: Duration = Duration::from_secs(5);
/// The wait after a 429 of Discord's edge that names none: its bans last minutes, a code lives 100 s.
const EDGE_UNNAMED: Duration = Duration::from_mins(1);
/// `Date` has whole seconds and the answer took its time: a smaller difference of the clocks says nothing.
const TOLERANCE_MS: i64 = 2_000;
const SECOND: Duration = Duration::from_secs(1);

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
        429 => !answer.has_scope("shared"),
        _ => false,
    }
}

/// What an answer closes, if anything.
pub fn closure(answer: &HttpFeedback) -> Option<Closure> {
    if answer.status != 429 {
        let spent = answer.header("x-ratelimit-remaining").map(str::trim) == Some("0");
        return spent
            .then(|| answer.header_seconds("x-ratelimit-reset-after"))
            .flatten()
            .map(|wait| Closure::Own(believable(wait)));
    }
    if answer.is_from_edge() {
        let named = answer.retry_after().or(answer.body_retry_after);
        return Some(Closure::Everything(named.map(|wait| wait.min(LONGEST))));
    }
    let wait = answer.wait_after_limit();
    if answer.is_global() {
        Some(Closure::Global(wait))
    } else {
        Some(Closure::Own(wait))
    }
}

/// Whether the governor learns anything from an answer.
pub fn matters(answer: &HttpFeedback) -> bool {
    is_invalid(answer) || closure(answer).is_some()
}

/// The API names no wait of hours on the routes used here, so a number that large was milliseconds.
fn believable(wait: Duration) -> Duration {
    if wait > LONGEST {
        (wait / 1000).min(LONGEST)
    } else {
        wait
    }
}

/// Seconds, whole or with a fraction. What is no length of time is as if absent.
fn seconds(value: f64) -> Option<Duration> {
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
            came: None,
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

    #[test]
    fn a_lasting_difference_is_seen_and_a_small_one_is_none() {
        let check = |now: i64, want: Option<i64>| {
            let dated = answer(200, &[VIA, ("date", "Tue, 14 Nov 2023 22:13:20 GMT")], None);
            assert_eq!(dated.skew_ms(Timestamp::from_millis(now)), want, "{now}");
        };
        check(1_700_000_000_000, Some(0));
        check(1_700_000_002_400, Some(0));
        check(1_700_000_060_500, Some(-60_000));
        check(1_699_999_940_500, Some(60_000));
        assert_eq!(HttpFeedback::default().skew_ms(Timestamp::from_millis(0)), None);
    }

    fn limited(headers: &[(&str, &str)], body: &str) -> HttpFeedback {
        let mut feedback = HttpFeedback {
            status: 429,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            ..HttpFeedback::default()
        };
        feedback.add_body(body.as_bytes());
        feedback
    }

    #[track_caller]
    fn check_wait(headers: &[(&str, &str)], body: &str, millis: u64) {
        assert_eq!(
            limited(headers, body).wait_after_limit(),
            Duration::from_millis(millis),
            "{headers:?} {body}"
        );
    }

    #[test]
    fn a_429_in_any_shape_names_a_sane_wait() {
        const API: (&str, &str) = ("via", "1.1 google");
        check_wait(&[API, ("retry-after", "2")], r#"{"retry_after":1.412}"#, 1412);
        check_wait(&[API], r#"{"retry_after":41.3,"global":false}"#, 41_300);
        check_wait(&[API], r#"{"retry_after":"41.3"}"#, 41_300);
        check_wait(&[API, ("x-ratelimit-reset-after", "1.5")], "", 1500);
        check_wait(&[API, ("retry-after", "43323")], "", 43_323);
        check_wait(&[API, ("retry-after", "43323")], r#"{"retry_after":43.323}"#, 43_323);
        check_wait(&[API, ("retry-after", "0")], "", 250);
        check_wait(&[API], "", 5000);
        check_wait(&[API, ("retry-after", "-1")], r#"{"retry_after":null}"#, 5000);
        check_wait(&[API, ("retry-after", "nan")], r#"{"retry_after":1e400}"#, 5000);
        check_wait(&[("retry-after", "30")], "error code: 1015", 30_000);
        check_wait(&[("retry-after", "86400")], "", 3_600_000);
        check_wait(&[], "<html>", 60_000);
    }

    #[test]
    fn a_wait_of_seconds_beside_milliseconds_is_not_taken_for_most_of_an_hour() {
        const API: (&str, &str) = ("via", "1.1 google");
        check_wait(&[API, ("retry-after", "3")], r#"{"retry_after":3000}"#, 3000);
        check_wait(&[API, ("retry-after", "2")], r#"{"retry_after":1412}"#, 2000);
        check_wait(&[API, ("retry-after", "1412")], r#"{"retry_after":1.412}"#, 1412);
    }

    #[test]
    fn odd_fields_of_a_429_do_not_hide_the_others() {
        let feedback = limited(&[], r#"{"retry_after":3,"global":"yes","message":7}"#);
        assert_eq!(feedback.body_retry_after, Some(Duration::from_secs(3)));
        assert!(!feedback.body_global);
        assert!(limited(&[], r#"{"retry_after":[],"global":true}"#).body_global);
    }
}
