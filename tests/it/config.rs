//! The configuration: every bad value and what is said of it, which layer wins, the shipped files, secrets.

mod differences;
mod faults;
mod layers;
mod needs;
mod secrets;
mod shipped;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codeferry::config::{self, Config, ConfigErrors, Environment, LinkKeys, Locator, Secrets, SinkKind};
use codeferry::lifecycle::Exit;
use tracing::level_filters::LevelFilter;

const FILE: &str = "/etc/codeferry/codeferry.toml";

/// A good configuration, one section a part, so that a test can replace the one it is about.
const GOOD: [(&str, &str); 3] = [
    (
        "[discord]",
        "application_id = 1536000000000000001\nredirect_uri = \"https://relay.example/callback\"",
    ),
    (
        "[[intake.lanes]]",
        "channel_id = 1536000000000000003\nwebhook_id = 1536000000000000004",
    ),
    (
        "[[delivery]]",
        "name = \"results\"\nkind = \"jsonl\"\npath = \"results.jsonl\"",
    ),
];

/// The good configuration with some parts replaced by header, and others added at the end.
fn good_but(changes: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (header, body) in GOOD {
        let body = changes.iter().find(|(h, _)| *h == header).map_or(body, |(_, b)| b);
        if !body.is_empty() {
            writeln!(text, "{header}\n{body}").expect("a string takes all");
        }
    }
    for (header, body) in changes.iter().filter(|(h, _)| GOOD.iter().all(|(g, _)| g != h)) {
        writeln!(text, "{header}\n{body}").expect("a string takes all");
    }
    text
}

fn read<const K: usize>(text: &str, environment: [(&str, &str); K]) -> Result<Config, ConfigErrors> {
    Config::from_text(text, Path::new(FILE), &environment.into())
}

fn rendered(errors: &ConfigErrors) -> Vec<String> {
    errors
        .errors()
        .iter()
        .map(|e| {
            e.to_string()
                .replace(&format!("{FILE}: "), "file: ")
                .replace(&format!("{FILE}:"), "")
        })
        .collect()
}

#[track_caller]
fn says(changes: &[(&str, &str)], expected: &[&str]) {
    let text = good_but(changes);
    let errors = read(&text, []).expect_err("it is a bad configuration");
    assert_eq!(rendered(&errors), expected, "\n{text}");
}

#[track_caller]
fn of_variables(variables: &[(&str, &str)], expected: &[&str]) {
    let environment: Environment = variables.iter().copied().collect();
    let errors = Config::from_text(&good_but(&[]), Path::new(FILE), &environment).expect_err("it is a bad environment");
    assert_eq!(rendered(&errors), expected);
}

/// The defaults with the keys that have none: lines that start with `#` and no space.
fn full_defaults() -> String {
    let lines: Vec<_> = include_str!("../../config/default.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
            _ => line,
        })
        .collect();
    lines.join("\n")
}
