//! The Hookdeck transformation on the bare engine, called as Hookdeck calls it.

use serde_json::{Value, json};

use super::engine::{Engine, literal};
use super::{Case, Made, Sender, Table};

/// The script, loaded again for each transformation, as Hookdeck may do.
pub struct Script {
    code: String,
    env: Value,
}

impl Script {
    /// The script with the table's keys.
    pub fn new(code: &str, table: &Table) -> Self {
        let env = json!({
            "CODEFERRY_RELAY_KEY": table.key,
            "CODEFERRY_STATE_KEY": table.key,
            "CODEFERRY_BOT": table.bot,
            "CODEFERRY_LANES": table.lanes.to_string(),
            "CODEFERRY_CODE_LIFETIME": table.code_lifetime.to_string(),
        });
        Self {
            code: code.to_owned(),
            env,
        }
    }
}

/// Runs a transformation; `now` is in Unix seconds, or the engine's own time.
pub fn transform(code: &str, env: &Value, request: &Value, now: Option<i64>) -> Result<Value, String> {
    let engine = Engine::bare();
    let clock = now.map_or_else(String::new, |now| {
        format!("Date.now = function () {{ return {now}000; }};")
    });
    engine.run(&format!(
        "{clock} var process = {{ env: {env} }}; var handler;
         function addHandler(name, f) {{ if (name !== 'transform') throw new Error(name); handler = f; }} ''"
    ))?;
    engine.run(&format!("{code}\n''"))?;
    let context = "{ connection: { name: 'c' } }";
    let request = literal(&request.to_string());
    let out = engine.run(&format!(
        "JSON.stringify(handler(JSON.parse({request}), {context})) || 'null'"
    ))?;
    serde_json::from_str(&out).map_err(|error| error.to_string())
}

impl Sender for Script {
    fn name(&self) -> &'static str {
        "hookdeck"
    }

    fn make(&mut self, table: &Table, case: &Case) -> Made {
        let request = json!({
            "headers": { "user-agent": "a browser", "cookie": "a=b", "x-hookdeck-original-ip": "192.0.2.1" },
            "body": {},
            "path": "/",
            "query": case.query,
            "parsed_query": {},
        });
        let out = transform(&self.code, &self.env, &request, Some(case.at))
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(out["query"], "", "{}", case.name);
        let headers = out["headers"].as_object().expect("headers");
        assert_eq!(headers["content-type"], "application/json", "{}", case.name);
        if headers["x-codeferry-lane"] == "none" {
            assert_eq!((headers.len(), &out["body"]), (3, &json!({})), "{}", case.name);
            let why = headers["x-codeferry-refusal"].as_str().map(ToOwned::to_owned);
            return Made {
                message: None,
                refusal: why,
                lane: None,
                page: None,
            };
        }
        assert_eq!(headers.len(), 2, "{}: the browser's headers stay behind", case.name);
        let lane = headers["x-codeferry-lane"].as_str().and_then(|lane| lane.parse().ok());
        assert!(lane.is_some(), "{}: the mark is a lane", case.name);
        assert_eq!(
            out["body"]["allowed_mentions"],
            json!({ "users": [table.bot] }),
            "{}",
            case.name
        );
        assert_eq!(
            (&out["body"]["flags"], out["body"].as_object().map(serde_json::Map::len)),
            (&json!(4), Some(3))
        );
        let message = out["body"]["content"].as_str().map(ToOwned::to_owned);
        Made {
            message,
            refusal: None,
            lane,
            page: None,
        }
    }
}

#[test]
fn a_missing_setting_is_an_error_that_names_it_and_no_key() {
    let table = super::table();
    let mut script = Script::new(&codeferry::relay::script::hookdeck(), &table);
    script.env["CODEFERRY_RELAY_KEY"] = Value::Null;
    let request = json!({ "headers": {}, "body": {}, "path": "/", "query": table.cases[0].query });
    let error = transform(&script.code, &script.env, &request, None).expect_err("no key");
    assert!(
        error.contains("CODEFERRY_RELAY_KEY is not set") && !error.contains(&table.key),
        "{error}"
    );
    assert!(!script.code.contains(&table.key));
}

#[test]
fn a_request_without_a_query_or_with_its_question_mark_is_no_error() {
    let table = super::table();
    let script = Script::new(&codeferry::relay::script::hookdeck(), &table);
    let lane = |query: Value| {
        let request = json!({ "headers": {}, "path": "/", "query": query });
        let out = transform(&script.code, &script.env, &request, Some(table.cases[0].at)).expect("no error");
        out["headers"]["x-codeferry-lane"].clone()
    };
    assert_eq!(lane(Value::Null), "none");
    assert_eq!(lane(json!({ "code": "x" })), "none");
    assert_eq!(lane(json!(format!("?{}", table.cases[0].query))), "0");
}

#[test]
fn a_state_under_either_of_two_keys_is_taken() {
    let table = super::table();
    let mut script = Script::new(&codeferry::relay::script::hookdeck(), &table);
    let request = json!({ "headers": {}, "path": "/", "query": table.cases[0].query });
    let mut lane = |first: &str, second: Value| {
        script.env["CODEFERRY_STATE_KEY"] = first.into();
        script.env["CODEFERRY_STATE_KEY_2"] = second;
        let out = transform(&script.code, &script.env, &request, Some(table.cases[0].at)).expect("no error");
        out["headers"]["x-codeferry-lane"].clone()
    };
    let other = "another-key-0123456789abcdef0123";
    assert_eq!(lane(&table.key, other.into()), "0");
    assert_eq!(lane(other, table.key.as_str().into()), "0");
    assert_eq!(lane(other, Value::Null), "none");
}

/// Rules that the table must notice when they are broken, each with what stands in the script and what takes its place.
const BROKEN: [(&str, &str, &str); 12] = [
    ("the MAC is not compared", "return same(", "return true || same("),
    (
        "only half of the MAC is compared",
        ".slice(0, 16)",
        ".slice(0, 8).concat(found.mac.slice(8))",
    ),
    ("the age is not looked at", "now >= acceptedUntil", "false"),
    (
        "the last second is too long",
        "now >= acceptedUntil",
        "now > acceptedUntil",
    ),
    ("any lane is taken", "lane >= lanes", "false"),
    (
        "doubled parameters are taken",
        "if (found[name] !== undefined)",
        "if (false)",
    ),
    (
        "an error beside a code is ignored",
        "found.code && found.error",
        "false",
    ),
    ("any text is a code", "!/^[A-Za-z0-9._~-]{16,512}$/.test(word)", "false"),
    (
        "a relay's own word may come from outside",
        "word.indexOf(\"relay_\") === 0",
        "false",
    ),
    ("spare bits of base64url are ignored", "leftover !== 0", "false"),
    (
        "a query may be of any length",
        "if (longerThan(query, LONGEST_QUERY))",
        "if (false)",
    ),
    (
        "bytes are counted as characters",
        "if (text.length * 3 <= most) return false;",
        "return false;",
    ),
];

#[test]
fn the_table_notices_every_broken_rule() {
    let good = codeferry::relay::script::hookdeck();
    for (what, rule, broken) in BROKEN {
        assert_eq!(good.matches(rule).count(), 1, "{what}: `{rule}` stands once");
        let wrong = super::differences(&mut Script::new(&good.replace(rule, broken), &super::table()));
        assert!(!wrong.is_empty(), "nothing noticed that {what}");
    }
}
