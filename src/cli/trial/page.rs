//! What the page shows: the way of every code in Discord's eyes, and the results. Neither codes nor tokens.

use serde_json::{Value, json};

use crate::simulator::{AnswerFate, Ledger};

/// Results shown, newest first.
const RESULTS_SHOWN: usize = 5;

/// The object of `/live`. Moments are milliseconds since the Unix epoch, or as results write them.
pub fn live(names: &[(u64, String)], ledger: &Ledger, results: &str) -> Value {
    let name = |id: u64| {
        let known = names.iter().find(|(known, _)| *known == id);
        known.map_or_else(|| id.to_string(), |(_, name)| name.clone())
    };
    let mut steps = Vec::new();
    let mut step = |at: Value, who: &str, what: &str| steps.push(json!({ "at": at, "who": who, "what": what }));
    for code in &ledger.codes {
        let who = name(code.user_id);
        step(
            json!(code.issued_at_us / 1_000),
            &who,
            "approved: Discord issued a code",
        );
        for presented in &code.presented {
            let answer = match (presented.status, presented.answer) {
                (0, _) => "the service presents the code",
                (200, AnswerFate::InFull) => "the service presented the code and got a token",
                _ => "the service presented the code; Discord refused it",
            };
            step(json!(presented.at_us / 1_000), &who, answer);
        }
    }
    for token in &ledger.tokens {
        if let Some(at) = token.revoked_at_us {
            step(json!(at / 1_000), &name(token.user_id), "the service revoked the token");
        }
    }
    let results: Vec<Value> = results
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for result in &results {
        let user = result["state"]["user_id"].as_str().and_then(|id| id.parse().ok());
        let who = user.map_or_else(String::new, name);
        let kind = result["type"].as_str().unwrap_or_default();
        step(
            result["received_at"].clone(),
            &who,
            "the browser came back: the service has it on disk",
        );
        step(result["settled_at"].clone(), &who, &format!("result written: {kind}"));
    }
    let people: Vec<Value> = names
        .iter()
        .map(|(id, name)| json!({ "id": id.to_string(), "name": name }))
        .collect();
    let shown: Vec<&Value> = results.iter().rev().take(RESULTS_SHOWN).collect();
    json!({ "people": people, "steps": steps, "results": shown, "count": results.len() })
}
