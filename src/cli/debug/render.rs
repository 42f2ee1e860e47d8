//! What `debug` prints for people: tables and relative times.

use std::fmt::Write as _;

use serde_json::Value;

use crate::actors::journal::view::Filter;
use crate::cli::out;
use crate::time::{Clock, SystemClock, Timestamp};

/// The columns of a list of grants.
const COLUMNS: [&str; 10] = [
    "id",
    "state",
    "outcome",
    "user",
    "code",
    "received",
    "expires",
    "attempts",
    "deliveries",
    "token",
];
/// Those that are left out first where a terminal is narrow; the id never is.
const LEFT_OUT: [&str; 9] = [
    "code",
    "attempts",
    "token",
    "user",
    "received",
    "deliveries",
    "outcome",
    "expires",
    "state",
];

/// A list of grants.
pub fn listing(answer: &Value) -> String {
    let grants = answer["grants"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (table, left_out) = grants_within(grants, out::size().map(|(columns, _)| columns));
    let total = answer["total"].as_u64().unwrap_or_default();
    let more = total.saturating_sub(grants.len() as u64);
    let mut told = format!("{table}\n{} of {total} grants shown", grants.len());
    if more > 0 {
        told.push_str("; --limit 0 shows all");
    }
    if !left_out.is_empty() {
        write!(told, "\nno room for: {}; --json has them", left_out.join(", ")).expect("text");
    }
    told
}

/// What is said where no grant is listed.
pub fn nothing(filter: &Filter, stats: &Value) -> String {
    let count = |group: &str| -> u64 {
        let counts = stats[group].as_object().into_iter().flatten();
        counts.filter_map(|(_, n)| n.as_u64()).sum()
    };
    let (open, closed) = (count("open"), count("closed"));
    let all = filter.state.is_none() && !filter.parked;
    match (all, closed) {
        (true, 0) => "0 open, 0 closed".to_owned(),
        (true, _) => format!("0 open, {closed} closed: --state closed"),
        (false, _) => format!("no grant matches; {open} open, {closed} closed"),
    }
}

/// A table of grants of at most so many columns of text, and what was left out for it.
pub fn grants_within(grants: &[Value], width: Option<usize>) -> (String, Vec<&'static str>) {
    let now = SystemClock.now();
    let rows: Vec<[String; 10]> = grants
        .iter()
        .map(|grant| {
            [
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
            ]
        })
        .collect();
    for n in 0..=LEFT_OUT.len() {
        let left_out = &LEFT_OUT[..n];
        let shown: Vec<usize> = (0..COLUMNS.len())
            .filter(|i| !left_out.contains(&COLUMNS[*i]))
            .collect();
        let mut table = out::table();
        table.set_header(shown.iter().map(|i| COLUMNS[*i]));
        for row in &rows {
            table.add_row(shown.iter().map(|i| row[*i].clone()));
        }
        let table = table.to_string();
        let widest = table.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        if width.is_none_or(|width| widest <= width) || n == LEFT_OUT.len() {
            return (table, left_out.to_vec());
        }
    }
    unreachable!("the loop returns at its end")
}

/// Everything in so many columns and rows: counts, rate limits, and as many grants as there is room for.
pub fn screen(title: &str, [stats, budgets, listing]: [&Value; 3], (columns, rows): (usize, usize)) -> String {
    let mut lines = vec![title.to_owned(), String::new()];
    let counted = |group: &str| {
        let counts = stats[group].as_object().into_iter().flatten();
        let some = counts.filter(|(_, n)| n.as_u64() != Some(0));
        let told: Vec<String> = some
            .map(|(name, n)| format!("{} {n}", name.replace('_', " ")))
            .collect();
        if told.is_empty() {
            "none".to_owned()
        } else {
            told.join(", ")
        }
    };
    let oldest = relative(&stats["oldest_open"], SystemClock.now());
    let megabytes = stats["store_bytes"].as_u64().unwrap_or_default() as f64 / 1e6;
    lines.push(format!("open      {}; the oldest {oldest}", counted("open")));
    lines.push(format!("closed    {}", counted("closed")));
    lines.push(format!("messages  {}", counted("messages")));
    lines.push(format!(
        "held      tokens {}, links {}, parked {}, source messages {}; journal {megabytes:.1} MB",
        stats["tokens_held"], stats["links"], stats["parked"], stats["source_messages"]
    ));
    let budgets = budgets.as_array().map(Vec::as_slice).unwrap_or_default();
    let room = (rows / 4).max(1);
    lines.extend(budgets.iter().take(room).map(budget_line));
    if budgets.len() > room {
        lines.push(format!(
            "          and {} more limits: codeferry debug budget",
            budgets.len() - room
        ));
    }
    lines.push(String::new());
    let grants = listing["grants"].as_array().map(Vec::as_slice).unwrap_or_default();
    // The table's own four lines, the line below it, and the one with the cursor.
    let shown = grants.len().min(rows.saturating_sub(lines.len() + 6));
    let (table, left_out) = grants_within(&grants[..shown], Some(columns));
    lines.extend(table.lines().map(str::to_owned));
    let mut last = format!("{shown} of {} open", listing["total"]);
    if !left_out.is_empty() {
        write!(last, "; no room for: {}", left_out.join(", ")).expect("text");
    }
    lines.push(last);
    lines.truncate(rows.saturating_sub(1));
    let cut = lines.iter().map(|line| match line.char_indices().nth(columns) {
        Some(_) => line.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
        None => line.clone(),
    });
    cut.collect::<Vec<String>>().join("\n")
}

fn budget_line(view: &Value) -> String {
    let now = SystemClock.now();
    let lane = view["lane"].as_u64().map(|lane| format!(" {lane}")).unwrap_or_default();
    let of = view["limit"]
        .as_u64()
        .map(|limit| format!(" of {limit}"))
        .unwrap_or_default();
    let mut line = format!(
        "limit     {}{lane}: {}{of}",
        text(&view["budget"]).replace('_', " "),
        text(&view["spent"])
    );
    for (name, what) in [("free_at", "next call"), ("blocked_until", "blocked")] {
        if view[name].is_string() {
            write!(line, "; {what} {}", relative(&view[name], now)).expect("text");
        }
    }
    line
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

    fn grant(n: usize) -> Value {
        json!({
            "id": format!("01J0000000000000000000{n:04}"), "state": "exchanging", "outcome": "wrong_person",
            "person": "80000000000000001", "code_hash": "abcdef", "received_at": "2026-01-01T00:00:00.000Z",
            "deadline": "2026-01-01T00:01:40.000Z", "attempts": 12, "revocation": "not_needed",
            "deliveries": { "callback": "parked", "results": "done", "a_long_name_of_a_sink": "gave_up" },
        })
    }

    #[test]
    fn a_table_fits_its_terminal_and_names_what_it_left_out() {
        let grants: Vec<Value> = (0..3).map(grant).collect();
        let (whole, left_out) = grants_within(&grants, None);
        assert!(left_out.is_empty() && whole.contains("a_long_name_of_a_sink"));
        for width in [200, 120, 100, 80, 60, 40] {
            let (table, left_out) = grants_within(&grants, Some(width));
            assert!(
                table.lines().all(|line| line.chars().count() <= width),
                "{width}:\n{table}"
            );
            let header = table.lines().nth(1).expect("a header");
            for column in COLUMNS {
                let shown = header.split('|').any(|cell| cell.trim() == column);
                assert_eq!(shown, !left_out.contains(&column), "{width}: {column}\n{table}");
            }
        }
    }

    #[test]
    fn the_screen_of_watch_fits_80_by_24_whatever_there_is() {
        let many: Vec<Value> = (0..40).map(grant).collect();
        let outcomes = crate::grant::Outcome::ALL.map(|o| (o.name().to_owned(), json!(1_234_567)));
        let stats = json!({
            "open": { "received": 10, "exchanging": 10, "exchanged": 10, "settling": 10 },
            "closed": serde_json::Map::from_iter(outcomes), "messages": { "accepted": 1_234_567, "foreign": 3 },
            "tokens_held": 12, "links": 3, "parked": 1, "source_messages": 2, "store_bytes": 4_000_000,
            "oldest_open": "2026-01-01T00:00:00.000Z",
        });
        let budgets: Vec<Value> = (0..32)
            .map(|lane| {
                json!({ "budget": "webhook", "lane": lane, "spent": 29, "limit": 30,
                "free_at": "2026-01-01T00:00:00.000Z", "blocked_until": null })
            })
            .collect();
        for (columns, rows) in [(80, 24), (132, 50), (40, 15)] {
            let listing = json!({ "total": 40, "grants": many });
            let shown = screen(
                "2026 service running",
                [&stats, &json!(budgets), &listing],
                (columns, rows),
            );
            assert!(shown.lines().count() < rows, "{rows}:\n{shown}");
            assert!(
                shown.lines().all(|line| line.chars().count() <= columns),
                "{columns}:\n{shown}"
            );
            assert!(shown.contains("more limits: codeferry"), "{shown}");
        }
        let listing = json!({ "total": 40, "grants": many });
        let shown = screen("2026 service running", [&stats, &json!(budgets), &listing], (80, 24));
        assert!(shown.contains(" of 40 open; no room for: code"), "{shown}");
    }

    #[test]
    fn an_empty_list_says_what_there_is_and_how_to_see_it() {
        let stats = json!({ "open": { "received": 2 }, "closed": { "completed": 2, "denied": 1 } });
        let none = json!({ "open": {}, "closed": { "completed": 2, "denied": 1 } });
        assert_eq!(nothing(&Filter::default(), &none), "0 open, 3 closed: --state closed");
        assert_eq!(nothing(&Filter::default(), &json!({})), "0 open, 0 closed");
        let parked = Filter {
            parked: true,
            ..Filter::default()
        };
        assert_eq!(nothing(&parked, &stats), "no grant matches; 2 open, 3 closed");
    }

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
