//! The table: each fault, what each call takes it for, and what it closes at the governor.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::fault_server::{Play, answer, edge, endless_head, head, json};

/// What happens to the connection.
#[derive(Debug, Clone)]
pub enum Serves {
    Play(Play),
    /// It is reset before anything is read.
    ResetAtOnce,
    /// Nobody listens.
    Nobody,
}

/// What the governor closes on such an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closes {
    Nothing,
    /// The call's own budget, for this long; it counts as refused, unless it is `shared`.
    Own(Duration),
    Shared(Duration),
    Global(Duration),
    /// Every call, at least for this long.
    Everything(Duration),
    /// Nothing by itself, but too many of them do.
    Refused,
}

/// One line of the table.
pub struct Fault {
    pub name: &'static str,
    pub serves: Serves,
    /// In the order of `CALLS`: exchange, fetch, revoke, callback, webhook post, history.
    pub expected: [String; 6],
    pub closes: Closes,
}

/// A fault that closes nothing.
fn fault(name: &'static str, play: Play, expected: [String; 6]) -> Fault {
    Fault {
        name,
        serves: Serves::Play(play),
        expected,
        closes: Closes::Nothing,
    }
}

/// A 429 with the wait that is read from it, in milliseconds, and what the callback makes of its head alone.
fn limit(name: &'static str, play: Play, ms: u64, callback: &str, closes: fn(Duration) -> Closes) -> Fault {
    let expected = [
        format!("deferred {ms}"),
        format!("retry rate_limited Some({ms})"),
        format!("retry rate_limited Some({ms})"),
        callback.to_owned(),
        format!("deferred {ms}"),
        format!("transient Some({ms})"),
    ];
    Fault {
        closes: closes(Duration::from_millis(ms)),
        ..fault(name, play, expected)
    }
}

/// A complete answer that says nothing, for this reason.
fn mute(reason: &str, callback: &str) -> [String; 6] {
    [
        format!("unclear {reason}"),
        format!("retry {reason} None"),
        format!("retry {reason} None"),
        callback.to_owned(),
        format!("unknown {reason}"),
        "transient None".to_owned(),
    ]
}

/// No complete answer, for this reason.
fn broken(reason: &str, callback: &str) -> [String; 6] {
    let mut expected = mute(reason, callback);
    "cut off".clone_into(&mut expected[0]);
    expected
}

/// The same for an answer that began with 200: an exchange has spent the code.
fn spent(mut expected: [String; 6]) -> [String; 6] {
    "unreadable".clone_into(&mut expected[0]);
    expected
}

fn texts(expected: [&str; 6]) -> [String; 6] {
    expected.map(str::to_owned)
}

/// Every fault; redirects point to `elsewhere`.
pub fn faults(elsewhere: SocketAddr) -> Vec<Fault> {
    [limits(), statuses(elsewhere), transports()]
        .into_iter()
        .flatten()
        .collect()
}

fn limits() -> Vec<Fault> {
    let limited = |headers: &str, body: &str| answer(429, "application/json", headers, body);
    let html = "<html><title>CANARY</title></html>";
    let unnamed = |_| Closes::Everything(Duration::from_mins(1));
    vec![
        limit(
            "429 by its body",
            limited("", r#"{"retry_after":41.3,"global":false}"#),
            41_300,
            "429 None",
            Closes::Own,
        ),
        limit(
            "429 by its header",
            limited("Retry-After: 41\r\nX-RateLimit-Scope: user\r\n", "{}"),
            41_000,
            "429 Some(41000)",
            Closes::Own,
        ),
        limit(
            "429 in milliseconds",
            limited("Retry-After: 41300\r\n", r#"{"retry_after":41300}"#),
            41_300,
            "429 Some(41300000)",
            Closes::Own,
        ),
        limit(
            "429 in seconds and milliseconds",
            limited("Retry-After: 3\r\n", r#"{"retry_after":3000}"#),
            3_000,
            "429 Some(3000)",
            Closes::Own,
        ),
        limit(
            "429 of scope shared",
            limited("Retry-After: 41\r\nX-RateLimit-Scope: shared\r\n", "{}"),
            41_000,
            "429 Some(41000)",
            Closes::Shared,
        ),
        limit(
            "429 of scope global",
            limited(
                "X-RateLimit-Global: true\r\nX-RateLimit-Scope: global\r\n",
                r#"{"retry_after":9,"global":true}"#,
            ),
            9_000,
            "429 None",
            Closes::Global,
        ),
        limit("429 by HTML", edge("text/html", "", html), 60_000, "429 None", unnamed),
        limit(
            "429 by HTML that came by a proxy",
            answer(429, "text/html", "", html),
            60_000,
            "429 None",
            unnamed,
        ),
        limit(
            "429 by `error code: 1015`",
            edge("text/plain", "", "error code: 1015"),
            60_000,
            "429 None",
            unnamed,
        ),
        limit(
            "429 without Via",
            edge("application/json", "", r#"{"code":0,"message":"CANARY"}"#),
            60_000,
            "429 None",
            unnamed,
        ),
        limit(
            "429 without Via that names its wait",
            edge("text/plain", "Retry-After: 90\r\n", "error code: 1015"),
            90_000,
            "429 Some(90000)",
            Closes::Everything,
        ),
    ]
}

fn statuses(elsewhere: SocketAddr) -> Vec<Fault> {
    let html = "<html><title>CANARY</title></html>";
    let to = format!("Location: http://{elsewhere}/api/v10/oauth2/token\r\n");
    let mut found = mute("redirect", "302 None");
    "unknown http_302".clone_into(&mut found[4]);
    let mut temporary = mute("redirect", "307 None");
    "unknown http_307".clone_into(&mut temporary[4]);
    // A revocation is done by its 200: there is nothing to read (RFC 7009 section 2.2).
    let mut compressed = spent(mute("not_json", "200 None"));
    "revoked".clone_into(&mut compressed[2]);
    let refused = |name, play, expected| Fault {
        closes: Closes::Refused,
        ..fault(name, play, texts(expected))
    };
    vec![
        fault(
            "500",
            json(500, r#"{"message":"CANARY","code":0}"#),
            mute("http_500", "500 None"),
        ),
        fault("501", answer(501, "", "", ""), mute("http_501", "501 None")),
        fault("502", answer(502, "text/html", "", html), mute("http_502", "502 None")),
        fault("503", answer(503, "text/html", "", html), mute("http_503", "503 None")),
        fault(
            "503 that names its wait",
            answer(503, "", "Retry-After: 7\r\n", ""),
            texts([
                "deferred 7000",
                "retry http_503 Some(7000)",
                "retry rate_limited Some(7000)",
                "503 Some(7000)",
                "unknown http_503",
                "transient Some(7000)",
            ]),
        ),
        fault("504", answer(504, "", "", ""), mute("http_504", "504 None")),
        refused(
            "401",
            json(401, r#"{"message":"401: Unauthorized","code":0}"#),
            [
                "unclear no_token",
                "unauthorized",
                "retry no_token None",
                "401 None",
                "refused http_401 0",
                "unauthorized",
            ],
        ),
        refused(
            "403",
            json(403, r#"{"message":"CANARY","code":50013}"#),
            [
                "unclear no_token",
                "refused http_403",
                "retry no_token None",
                "403 None",
                "refused http_403 50013",
                "forbidden 50013",
            ],
        ),
        fault(
            "200 with a page",
            answer(200, "text/html", "", html),
            spent(mute("not_json", "200 None")),
        ),
        fault("302 elsewhere", answer(302, "application/json", &to, "{}"), found),
        fault("307 elsewhere", answer(307, "application/json", &to, "{}"), temporary),
        fault(
            "compressed",
            // The client did not ask for it and does not decode it.
            answer(
                200,
                "application/json",
                "Content-Encoding: gzip\r\n",
                "\u{1f}\u{b}\u{8}\u{0}CANARY",
            ),
            compressed,
        ),
    ]
}

fn transports() -> Vec<Fault> {
    let half = br#"{"access_token":"CANARY","id":"80000000000"#;
    // The token is there already.
    let mut truncated = broken("cut_off", "200 None");
    "token for ".clone_into(&mut truncated[0]);
    vec![
        fault(
            "dripping head",
            Play::Drip(b"HTTP/1.1 200 OK\r\nX-Slow: ".to_vec()),
            broken("timeout", "unknown"),
        ),
        // The callback's answer is its head.
        fault(
            "dripping body",
            Play::Drip(head(200, 500)),
            spent(broken("timeout", "200 None")),
        ),
        fault(
            "truncated",
            Play::Cut([head(200, 500), half.to_vec()].concat()),
            truncated,
        ),
        fault(
            "10 MB",
            Play::Flood(endless_head(200), 10),
            spent(broken("too_large", "200 None")),
        ),
        fault(
            "an answer after 15 s",
            Play::Late([head(200, 2), b"{}".to_vec()].concat(), Duration::from_secs(15)),
            broken("timeout", "unknown"),
        ),
        fault("reset after the request", Play::Reset, broken("cut_off", "unknown")),
        Fault {
            serves: Serves::ResetAtOnce,
            ..fault("reset before the request", Play::Reset, broken("cut_off", "unknown"))
        },
        Fault {
            serves: Serves::Nobody,
            ..fault(
                "nobody there",
                Play::Reset,
                texts([
                    "not sent",
                    "retry connection_refused None",
                    "retry connection_refused None",
                    "not sent",
                    "not sent",
                    "transient None",
                ]),
            )
        },
    ]
}
