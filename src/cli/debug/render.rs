//! What `debug` prints for people: tables and relative times.

use serde_json::Value;

use crate::cli::out;
use crate::time::{Clock, SystemClock, Timestamp};

/// A list of grants.
pub fn listing(answer: &Value) -> String {
    let grants = answer["grants"].as_array().cloned().unwrap_or_default();
    let mut table = out::table();
    let header = "id|state|outcome|user|code|received|expires|attempts|deliveries|token";
    table.set_header(header.split('|'));
    let now = SystemClock.now();
    for grant in &grants {
        table.add_row([
            text(&grant["id"]),
            text(&grant["state"]),
            text(&grant["outcome"]),
            text(&grant["person"]),
            text(&grant["code_hash"]),
            relative(&grant["received_at"], now),
            relative(&grant["deadline"], now),
            text(&grant["attempts"]),
            deliveries(&grant["deliveries"]),
            text(&grant["revocation"]),
        ]);
    }
    let total = answer["total"].as_u64().unwrap_or_default();
    if grants.is_empty() {
        return format!("no matching grants; {total} in total");
    }
    format!("{table}\n{} of {total} grants shown", grants.len())
}

/// One grant, one line per field.
pub fn one(answer: &Value) -> String {
    let (mut table, now) = (out::table(), SystemClock.now());
    for (name, value) in answer.as_object().into_iter().flatten() {
        let shown = match name.as_str() {
            "deliveries" => deliveries(value),
            "next_attempts" => lines(
                value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(call, at)| format!("{call}: {}", relative(at, now))),
            ),
            "failed_calls" => lines(value.as_array().into_iter().flatten().map(|failed| {
                let ago = relative(&failed["at"], now);
                format!("{ago}, {}: {}", text(&failed["call"]), text(&failed["reason"]))
            })),
            _ => text(value),
        };
        table.add_row([name.replace('_', " "), shown]);
    }
    table.to_string()
}

/// Counts of grants, messages and callbacks.
pub fn stats(answer: &Value) -> String {
    let mut table = out::table();
    table.set_header(["", "grants"]);
    for (group, label) in [
        ("open", "open, "),
        ("closed", "closed, "),
        ("since_start", "closed since start, "),
        ("messages", "messages since start, "),
        ("callbacks", "callbacks since start, "),
    ] {
        for (name, count) in answer[group].as_object().into_iter().flatten() {
            if count.as_u64() != Some(0) {
                table.add_row([format!("{label}{}", name.replace('_', " ")), text(count)]);
            }
        }
    }
    for name in ["parked", "tokens_held", "source_messages", "links"] {
        table.add_row([name.replace('_', " "), text(&answer[name])]);
    }
    let oldest = relative(&answer["oldest_open"], SystemClock.now());
    let bytes = answer["store_bytes"].as_u64().unwrap_or_default();
    format!(
        "{table}\noldest open grant: {oldest}; journal: {:.1} MB",
        bytes as f64 / 1e6
    )
}

/// The rate limits.
pub fn budgets(answer: &Value) -> String {
    let mut table = out::table();
    table.set_header(["limit", "lane", "used", "of", "next call", "blocked until"]);
    let now = SystemClock.now();
    for view in answer.as_array().into_iter().flatten() {
        table.add_row([
            text(&view["budget"]),
            text(&view["lane"]),
            text(&view["spent"]),
            text(&view["limit"]),
            relative(&view["free_at"], now),
            relative(&view["blocked_until"], now),
        ]);
    }
    table.to_string()
}

/// What `verify` found.
pub fn verified(answer: &Value) -> String {
    let problems = answer["problems"].as_array().cloned().unwrap_or_default();
    if problems.is_empty() {
        return "every record, seal and index is intact".to_owned();
    }
    let mut table = out::table();
    table.set_header(["problem", "key", "detail"]);
    for problem in &problems {
        table.add_row([text(&problem["kind"]), text(&problem["key"]), text(&problem["detail"])]);
    }
    format!(
        "{table}\n{} problems; see docs/durability.md for what to do",
        problems.len()
    )
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn deliveries(value: &Value) -> String {
    let all = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(sink, state)| format!("{sink}: {}", text(state)));
    let shown: Vec<String> = all.collect();
    if shown.is_empty() {
        "-".to_owned()
    } else {
        shown.join(", ")
    }
}

/// One a line.
fn lines(all: impl Iterator<Item = String>) -> String {
    let shown: Vec<String> = all.collect();
    if shown.is_empty() {
        "-".to_owned()
    } else {
        shown.join("\n")
    }
}

fn relative(value: &Value, now: Timestamp) -> String {
    let at = value
        .as_str()
        .and_then(|t| humantime::parse_rfc3339(t).ok())
        .map(Timestamp::from);
    let Some(at) = at else { return text(value) };
    let (past, span) = if at <= now {
        (true, now.since(at))
    } else {
        (false, at.since(now))
    };
    let seconds = span.as_secs();
    let short = match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    };
    if past {
        format!("{short} ago")
    } else {
        format!("in {short}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_shown_relative_to_now() {
        let now = Timestamp::from_secs(1_700_000_000);
        let check = |at: i64, want: &str| assert_eq!(relative(&json!(Timestamp::from_secs(at).to_string()), now), want);
        check(1_700_000_000, "0 s ago");
        check(1_700_000_090, "in 90 s");
        check(1_699_999_000, "16 min ago");
        check(1_699_990_000, "2 h ago");
        check(1_699_000_000, "11 d ago");
        assert_eq!(relative(&Value::Null, now), "-");
    }
}
