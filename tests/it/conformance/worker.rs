//! The Cloudflare Worker on the bare engine: its front, its Durable Object and what Discord is posted.

use serde_json::{Value, json};

use super::{Case, Made, Sender, Table};
use crate::worker::cloud::{Cloud, webhook};

/// The Worker, deployed again for each callback.
pub struct Script {
    code: String,
}

impl Script {
    /// The script.
    pub fn new(code: &str) -> Self {
        Self { code: code.to_owned() }
    }
}

impl Sender for Script {
    fn name(&self) -> &'static str {
        "worker"
    }

    fn make(&mut self, table: &Table, case: &Case) -> Made {
        let lanes: Vec<Value> = (0..table.lanes as u64)
            .map(|lane| json!({ "webhook_id": webhook(lane), "pack": 18 }))
            .collect();
        let cloud = Cloud::with(&self.code, &lanes);
        cloud.set("CODEFERRY_RELAY_KEY", &table.key);
        cloud.set("CODEFERRY_STATE_KEY", &table.key);
        cloud.set("CODEFERRY_BOT", &table.bot);
        cloud.set("CODEFERRY_CODE_LIFETIME", &table.code_lifetime.to_string());
        let at = case.at as u64 * 1_000;
        cloud.js(&format!("clock = {at}"));
        cloud.visit("browser", at, &format!("/callback?{}", case.query));
        cloud.run(at + 999);
        let posts = cloud.posts();
        assert!(posts.len() <= 1, "{}: one message", case.name);
        for post in &posts {
            assert_eq!((post.status, post.flags), (200, 4), "{}", case.name);
            assert_eq!(post.mentions, json!({ "users": [table.bot] }), "{}", case.name);
        }
        let refusal = cloud.said().into_iter().find_map(|(_, _, text)| {
            let refusal = text.strip_prefix("a callback is refused: ")?;
            Some(refusal.to_owned())
        });
        Made {
            message: posts.first().map(|post| post.content.clone()),
            refusal,
            lane: posts.first().map(|post| {
                let lane = (0..table.lanes as u64).find(|lane| webhook(*lane) == post.webhook);
                lane.expect("one of the lanes") as u8
            }),
            page: Some(cloud.seen()["browser"].page().to_owned()),
        }
    }
}

/// Rules that are the Worker's own and that the table must notice when they are broken.
const BROKEN: [(&str, &str, &str); 4] = [
    ("the state's MAC is not compared", "if (!isSigned)", "if (false)"),
    (
        "only half of the MAC is compared",
        "mac.subarray(0, 16), found.mac",
        "mac.subarray(0, 8), found.mac.slice(0, 8)",
    ),
    (
        "a denial is said to be a success",
        "const page = error === undefined ?",
        "const page = true ?",
    ),
    (
        "a message is not signed",
        "hmacSha256(this.settings.relayKey",
        "hmacSha256(this.settings.bot",
    ),
];

#[test]
fn the_table_notices_every_broken_rule_of_the_worker() {
    let good = super::worker_script();
    for (what, rule, broken) in BROKEN {
        assert_eq!(good.matches(rule).count(), 1, "{what}: `{rule}` stands once");
        let wrong = super::differences(&mut Script::new(&good.replace(rule, broken)));
        assert!(!wrong.is_empty(), "nothing noticed that {what}");
    }
}
