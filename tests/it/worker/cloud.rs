//! The Worker on the bare engine, with just what of Cloudflare's runtime it uses, in virtual time.

use std::collections::BTreeMap;

use codeferry::front::pages::Pages;
use codeferry::ids::{Lane, UserId};
use codeferry::intake::entry::Entry;
use codeferry::intake::message::{self, Accept};
use codeferry::intake::state::{StateKey, StateToken};
use codeferry::relay::script;
use codeferry::secret::Key;
use codeferry::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::conformance::engine::{Engine, literal};

/// The relay key and the state key.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";
/// The bot.
pub const BOT: u64 = 1_536_000_000_000_000_002;
/// The moment at which everything begins, in milliseconds.
pub const START: u64 = 1_795_000_000_000;

/// A post as Discord saw it.
#[derive(Debug, Clone, Deserialize)]
pub struct Post {
    /// When, in milliseconds.
    pub at: u64,
    /// Where.
    pub channel: String,
    /// Through which webhook.
    pub webhook: String,
    /// Its text.
    pub content: String,
    /// Whom it may ping.
    pub mentions: Value,
    /// Its flags.
    pub flags: u32,
    /// How Discord answered; 0 is not at all.
    pub status: u16,
    /// Whether it came beyond Discord's limits.
    pub limited: bool,
}

/// What a browser was answered.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    /// When, in milliseconds.
    pub at: u64,
    /// The status.
    pub status: u16,
    /// The document.
    pub html: String,
    /// The headers, in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Seen {
    /// The page's name.
    pub fn page(&self) -> &str {
        let rest = self.html.split_once("<main id=\"").map_or("", |(_, rest)| rest);
        rest.split('"').next().unwrap_or_default()
    }
}

/// Cloudflare, with the Worker deployed.
pub struct Cloud {
    engine: Engine,
}

impl Cloud {
    /// The Worker with so many lanes, each of them a channel with a message of at most `pack` lines.
    pub fn new(lanes: u64, pack: u8) -> Self {
        let lanes: Vec<Value> = (0..lanes)
            .map(|n| json!({ "webhook_id": webhook(n), "channel_id": channel(n), "pack": pack }))
            .collect();
        Self::with(
            &script::worker(&Pages::load(None, codeferry::front::face::Face::default()).expect("built in"))
                .expect("a script"),
            &lanes,
        )
    }

    /// A script with these lanes.
    pub fn with(script: &str, lanes: &[Value]) -> Self {
        let engine = Engine::bare();
        let hmac = include_str!("../../../src/relay/script/hmac.js");
        // The language's own helpers that the Worker defines again in its module.
        let utf8 = "var utf8 = (text) => [...unescape(encodeURIComponent(text))].map((c) => c.charCodeAt(0));";
        for part in [utf8, hmac, include_str!("cloud.js")] {
            engine.run(&format!("{part}\n''")).expect("it loads");
        }
        engine.module("worker", script).expect("the Worker loads");
        let tokens: Vec<String> = lanes
            .iter()
            .map(|lane| {
                format!(
                    "{}:token-of-{}",
                    lane["webhook_id"].as_str().expect("an id"),
                    lane["webhook_id"].as_str().expect("an id")
                )
            })
            .collect();
        let cloud = Self { engine };
        cloud.set("CODEFERRY_RELAY_KEY", KEY);
        cloud.set("CODEFERRY_STATE_KEY", KEY);
        cloud.set("CODEFERRY_WEBHOOK_TOKENS", &tokens.join(","));
        cloud.set("CODEFERRY_LANES", &json!(lanes).to_string());
        cloud.set("CODEFERRY_API_BASE", "https://discord.test/api/v10");
        cloud.set("CODEFERRY_BOT", &BOT.to_string());
        cloud.set("CODEFERRY_CODE_LIFETIME", "100");
        cloud.set("CODEFERRY_PER_MINUTE", "30");
        cloud.set("CODEFERRY_BURST", "5");
        cloud.js(&format!("clock = {START}"));
        cloud
    }

    /// Sets one of the Worker's settings; an empty one is taken away.
    pub fn set(&self, name: &str, value: &str) {
        self.js(&format!("env[{}] = {} || undefined", literal(name), literal(value)));
    }

    /// Runs a statement.
    pub fn js(&self, statement: &str) {
        self.engine.run(&format!("{statement};\n''")).expect(statement);
        self.engine.settle();
    }

    /// The value of an expression.
    pub fn value(&self, expression: &str) -> Value {
        let text = self
            .engine
            .run(&format!("JSON.stringify({expression})"))
            .expect(expression);
        serde_json::from_str(&text).expect("JSON")
    }

    /// A browser comes at a moment, with a path and its query.
    pub fn visit(&self, name: &str, at: u64, path: &str) {
        self.come(name, at, path, "GET", "");
    }

    /// The same with a method and the browser's languages.
    pub fn come(&self, name: &str, at: u64, path: &str, method: &str, languages: &str) {
        let [name, path, method, languages] = [name, path, method, languages].map(literal);
        self.js(&format!("visit({name}, {at}, {path}, {method}, {languages})"));
    }

    /// Lets everything happen up to a moment.
    pub fn run(&self, until: u64) {
        while self.engine.run(&format!("step({until})")).expect("a step") == "more" {
            self.engine.settle();
        }
        self.js(&format!("clock = Math.max(clock, {until})"));
    }

    /// The posts that Discord saw.
    pub fn posts(&self) -> Vec<Post> {
        serde_json::from_value(self.value("posts")).expect("posts")
    }

    /// What the browsers were answered, by name.
    pub fn seen(&self) -> BTreeMap<String, Seen> {
        serde_json::from_value(self.value("seen")).expect("answers")
    }

    /// The log: moment, level, text.
    pub fn said(&self) -> Vec<(u64, String, String)> {
        serde_json::from_value(self.value("said")).expect("a log")
    }

    /// Every line that Discord took, with its moment.
    pub fn lines(&self) -> Vec<(u64, Entry)> {
        let posts = self.posts();
        let taken = posts.iter().filter(|post| (200..300).contains(&post.status));
        taken
            .flat_map(|post| read(&post.content).into_iter().map(|entry| (post.at, entry)))
            .collect()
    }
}

/// The lines of a message, as the service reads them.
pub fn read(content: &str) -> Vec<Entry> {
    let accept = Accept {
        v0: false,
        v1: Some((&Key::new(KEY.as_bytes())).into()),
    };
    let parsed = message::parse(content, UserId(BOT), &accept).expect("the service takes it");
    assert_eq!(parsed.malformed_lines, 0);
    parsed.entries
}

/// A lane's webhook.
pub fn webhook(lane: u64) -> String {
    (1_536_000_000_000_001_000 + lane).to_string()
}

/// A lane's channel.
pub fn channel(lane: u64) -> String {
    (1_536_000_000_000_002_000 + lane).to_string()
}

/// The way back of one person with a good state, ten minutes from the start.
pub fn callback(person: u64, lane: u8) -> String {
    format!(
        "/callback?code={}&state={}",
        code(person),
        state(person, lane, START / 1_000 + 600)
    )
}

/// One person's code.
pub fn code(person: u64) -> String {
    format!("{person:030}")
}

/// A state that expires at a moment, in seconds.
pub fn state(person: u64, lane: u8, expires_at: u64) -> String {
    link(person, person, lane, expires_at)
}

/// The state of one of a person's links.
pub fn link(person: u64, nonce: u64, lane: u8, expires_at: u64) -> String {
    StateKey::new(&Key::new(KEY.as_bytes())).mint(&StateToken {
        user: UserId(80_000_000_000_000_000 + person),
        expires_at: Timestamp::from_secs(expires_at as i64),
        lane: Lane(lane),
        purpose: 0,
        pkce: true,
        again: false,
        nonce: nonce.to_be_bytes(),
    })
}
