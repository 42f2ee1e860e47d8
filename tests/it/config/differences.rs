//! What changes between two configurations.

use super::*;

#[test]
fn differences_tell_what_is_applied_and_what_waits() {
    let old = read(&good_but(&[]), []).expect("good");
    assert!(old.differences(&old).is_empty());
    let new = read(
        &good_but(&[
            ("[limits]", "oauth = \"off\"\ninvalid_requests = 1"),
            ("[log]", "level = \"debug\""),
            ("[journal]", "cache_mb = 17"),
            ("[stages.fetch]", "slots = 1"),
            (
                "[[delivery]]",
                "name = \"other\"\nkind = \"jsonl\"\npath = \"results.jsonl\"",
            ),
        ]),
        [],
    )
    .expect("good");
    let changes = old.differences(&new);
    assert_eq!(
        changes.applied,
        ["limits.oauth", "limits.invalid_requests", "log.level"]
    );
    assert_eq!(
        changes.needs_restart,
        ["stages.fetch.slots", "delivery", "journal.cache_mb"]
    );
}

#[test]
fn every_single_key_is_seen_to_differ() {
    let old = read(&full_defaults(), []).expect("good");
    let others = [
        ("CODEFERRY_DISCORD__API_BASE", "https://other.example"),
        ("CODEFERRY_DISCORD__AUTHORIZE_URL", "https://other.example"),
        ("CODEFERRY_DISCORD__APPLICATION_ID", "1536000000000000099"),
        ("CODEFERRY_DISCORD__REDIRECT_URI", "https://other.example"),
        ("CODEFERRY_DISCORD__SCOPES", "[\"identify\", \"email\"]"),
        ("CODEFERRY_DISCORD__GUILD_ID", "1536000000000000099"),
        ("CODEFERRY_INTAKE__CODE_LIFETIME", "99s"),
        ("CODEFERRY_INTAKE__ACCEPT", "[\"v0\"]"),
        ("CODEFERRY_INTAKE__AFTER_RECEIPT", "keep"),
        ("CODEFERRY_INTAKE__POLL_EVERY", "9s"),
        ("CODEFERRY_INTAKE__LANES__0__PACK", "2"),
        ("CODEFERRY_INTAKE__HTTP__LISTEN", "127.0.0.1:1"),
        ("CODEFERRY_INTAKE__HTTP__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("CODEFERRY_INTAKE__HTTP__PAGES", "pages"),
        ("CODEFERRY_STATE__MODE", "any"),
        ("CODEFERRY_STATE__LIFETIME", "9m"),
        ("CODEFERRY_STATE__PURPOSES", "[\"x\"]"),
        ("CODEFERRY_GATE__SHARE", "0.7"),
        ("CODEFERRY_LIMITS__WEBHOOK", "off"),
        ("CODEFERRY_LIMITS__GLOBAL", "off"),
        ("CODEFERRY_LIMITS__OAUTH", "off"),
        ("CODEFERRY_LIMITS__INVALID_REQUESTS", "9"),
        ("CODEFERRY_STAGES__EXCHANGE__SLOTS", "9"),
        ("CODEFERRY_STAGES__EXCHANGE__TIMEOUT", "9s"),
        ("CODEFERRY_STAGES__FETCH__SLOTS", "9"),
        ("CODEFERRY_STAGES__FETCH__TIMEOUT", "9s"),
        ("CODEFERRY_STAGES__DELIVER__SLOTS", "9"),
        ("CODEFERRY_STAGES__DELIVER__TIMEOUT", "9s"),
        ("CODEFERRY_STAGES__REVOKE__SLOTS", "9"),
        ("CODEFERRY_STAGES__REVOKE__TIMEOUT", "9s"),
        ("CODEFERRY_DELIVERY__0__ROTATE_MB", "9"),
        ("CODEFERRY_JOURNAL__PATH", "elsewhere/journal"),
        ("CODEFERRY_JOURNAL__CACHE_MB", "9"),
        ("CODEFERRY_JOURNAL__MAX_OPEN", "9"),
        ("CODEFERRY_JOURNAL__CLOSED_RETENTION", "9h"),
        ("CODEFERRY_JOURNAL__KEEP_PARKED", "9h"),
        ("CODEFERRY_CONTROL__SOCKET", "\"\""),
        ("CODEFERRY_CONTROL__LISTEN", "127.0.0.1:1"),
        ("CODEFERRY_CONTROL__INSECURE_NETWORK", "true"),
        ("CODEFERRY_COMMANDS__CONNECT", "verbinden"),
        ("CODEFERRY_COMMANDS__TEXTS__0__BUTTON", "Relie"),
        ("CODEFERRY_REINVITE__ENABLED", "true"),
        ("CODEFERRY_REINVITE__TEXT", "Again: {{ link }}"),
        ("CODEFERRY_REINVITE__BUTTON", "Again"),
        ("CODEFERRY_SHUTDOWN__GRACE", "9s"),
        ("CODEFERRY_LOG__LEVEL", "trace"),
        ("CODEFERRY_LOG__FORMAT", "json"),
    ];
    for (name, value) in others {
        let new = read(&full_defaults(), [(name, value)]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let changes = old.differences(&new);
        let seen: Vec<_> = changes.applied.iter().chain(&changes.needs_restart).collect();
        assert_eq!(seen.len(), 1, "{name}: {seen:?}");
        let live = name.starts_with("CODEFERRY_LIMITS") || name.starts_with("CODEFERRY_LOG");
        assert_eq!(changes.applied.len(), usize::from(live), "{name}");
    }
}
