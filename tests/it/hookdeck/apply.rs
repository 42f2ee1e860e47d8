//! What is created, what is updated, and that a second time changes nothing.

use serde_json::json;

use super::test_support::{Account, RELAY_KEY};

#[test]
fn a_plan_changes_nothing_and_an_apply_does_it_once() {
    let place = Account::new();
    place.configure(2, "https://relay.example/callback");
    let plan = place.fine(&["plan"]);
    for line in [
        "create transformation codeferry\n",
        "create connection codeferry-0\n",
        "create connection codeferry-1\n",
    ] {
        assert!(plan.contains(line), "{plan}");
    }
    assert_eq!(place.api.puts(), [""; 0]);

    let applied = place.fine(&["apply"]);
    assert!(applied.contains("created connection codeferry-1"), "{applied}");
    assert_eq!(
        place.api.puts(),
        [
            "transformations codeferry",
            "connections codeferry-0",
            "connections codeferry-1"
        ]
    );
    let url = place
        .api
        .project(|p| p.sources[0]["url"].as_str().expect("a URL").to_owned());
    assert!(
        applied.contains(&format!(
            "It does not match `discord.redirect_uri` (`https://relay.example/callback`). Add `{url}`"
        )),
        "{applied}"
    );

    let again = place.fine(&["apply"]);
    assert!(again.starts_with("nothing changed"), "{again}");
    assert!(place.fine(&["plan"]).starts_with("nothing would change"));
    assert_eq!(place.api.puts(), [""; 0]);

    place.configure(2, &url);
    let report = place.json(&["plan"]);
    assert_eq!(report["changes"], json!([]));
    assert_eq!(report["redirect_uri"], json!({ "configured": url, "matches": true }));
    assert_eq!(report["source"], json!({ "name": "codeferry", "url": url }));
}

#[test]
fn what_is_put_is_what_discord_and_a_code_of_100_seconds_need() {
    let place = Account::new();
    place.fine(&["apply"]);
    place.api.project(|p| {
        assert_eq!((p.sources.len(), p.destinations.len(), p.connections.len()), (1, 1, 1));
        assert_eq!(p.sources[0]["config"]["allowed_http_methods"], json!(["GET"]));
        let config = &p.destinations[0]["config"];
        assert_eq!(
            config["url"],
            "https://discord.com/api/v10/webhooks/1536000000000000004/token-CANARY-0?wait=true"
        );
        assert_eq!(
            (&config["http_method"], &config["path_forwarding_disabled"]),
            (&json!("POST"), &json!(true))
        );
        assert_eq!(
            (&config["rate_limit"], &config["rate_limit_period"]),
            (&json!(28), &json!("minute"))
        );
        let rules = p.connections[0]["rules"].as_array().expect("rules");
        let kinds: Vec<_> = rules.iter().map(|r| r["type"].as_str().expect("a type")).collect();
        assert_eq!(kinds, ["deduplicate", "transform", "filter", "retry"]);
        assert_eq!(rules[2]["headers"], json!({ "x-codeferry-lane": "0" }));
        assert_eq!(rules[3]["response_status_codes"], json!(["429", "500-599"]));
        let shown = json!([p.transformations, p.connections[0]["description"], p.sources]).to_string();
        assert!(!shown.contains("CANARY"), "a key stands where it is not encrypted");
    });
}

#[test]
fn only_what_differs_is_put() {
    let mut place = Account::new();
    place.fine(&["apply"]);
    place.api.puts();

    // A lane more: the transformation has to know how many there are.
    place.configure(2, "https://relay.example/callback");
    let report = place.json(&["apply"]);
    assert_eq!(
        report["done"],
        json!([
            "transformation codeferry",
            "connection codeferry-0",
            "connection codeferry-1"
        ])
    );
    place.api.puts();

    // Another token of one webhook.
    place.set(
        "CODEFERRY_WEBHOOK_TOKENS",
        "1536000000000000004:token-CANARY-9,1536000000000000006:token-CANARY-1",
    );
    let plan = place.fine(&["plan"]);
    assert!(
        plan.contains("update connection codeferry-0: destination's URL (webhook or its token)"),
        "{plan}"
    );
    place.fine(&["apply"]);
    assert_eq!(place.api.puts(), ["connections codeferry-0"]);

    // Another key, which Hookdeck does not give back.
    place.set("CODEFERRY_RELAY_KEY", &RELAY_KEY.replace('1', "2"));
    let plan = place.fine(&["plan"]);
    assert!(plan.contains("update transformation codeferry: environment"), "{plan}");
    place.fine(&["apply"]);
    assert_eq!(place.api.puts().len(), 3);
    assert!(place.fine(&["plan"]).starts_with("nothing would change"));

    // Somebody's hand in the dashboard.
    place.api.project(|p| {
        p.transformations[0]["code"] = json!("addHandler('transform', r => r)");
        p.connections[1]["rules"][0] = json!({ "type": "deduplicate", "window": 1000, "include_fields": ["query"] });
        p.connections[0]["rules"].as_array_mut().expect("rules").rotate_right(1);
        p.connections[0]["paused_at"] = json!("2026-01-01T00:00:00Z");
    });
    let report = place.json(&["plan"]);
    let names = |r: &serde_json::Value| {
        r["changes"]
            .as_array()
            .expect("changes")
            .iter()
            .map(|c| c["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&report),
        ["codeferry", "codeferry-1"],
        "a retry rule may stand anywhere"
    );
    assert!(
        report["notes"][0]
            .as_str()
            .is_some_and(|n| n.contains("codeferry-0` is paused")),
        "{report}"
    );
    place.fine(&["apply"]);
    assert_eq!(
        place.api.puts(),
        ["transformations codeferry", "connections codeferry-1"]
    );

    // A lane less is said and not removed.
    place.configure(1, "https://relay.example/callback");
    let report = place.json(&["plan"]);
    assert!(
        report["notes"]
            .to_string()
            .contains("`codeferry-1` of this source belongs to no lane"),
        "{report}"
    );
}

#[test]
fn a_project_is_set_up_before_the_redirect_uri_is_known() {
    let place = Account::new();
    place.configure_without_redirect();
    let plan = place.fine(&["plan"]);
    assert!(plan.contains("create connection codeferry-0\n"), "{plan}");
    let applied = place.fine(&["apply"]);
    assert!(
        applied.contains("`discord.redirect_uri` is not set yet. Add `https://"),
        "{applied}"
    );
    assert!(!applied.contains("redirect.invalid"), "{applied}");
    let redirect = &place.json(&["plan"])["redirect_uri"];
    assert_eq!(redirect, &json!({ "configured": null, "matches": null }));
}

#[test]
fn the_printed_script_is_the_one_that_is_put_and_holds_no_key() {
    let place = Account::new();
    place.fine(&["apply"]);
    let printed = place.fine(&["script"]);
    place.api.project(|p| assert_eq!(p.transformations[0]["code"], printed));
}
