//! What browsers are answered, and what is wrong with the settings.

use std::fs;

use super::cloud::{Cloud, KEY, START, callback, webhook};
use codeferry::front::pages::Pages;
use codeferry::relay::script;
use serde_json::json;

#[test]
fn one_code_is_posted_at_once_and_its_page_allows_nothing_but_itself() {
    let cloud = Cloud::new(1, 18);
    cloud.visit("one", START, &callback(1, 0));
    cloud.visit("two", START + 5_000, &callback(2, 0));
    cloud.run(START + 10_000);
    let seen = cloud.seen();
    let (one, two) = (&seen["one"], &seen["two"]);
    assert_eq!((one.status, one.page(), one.at), (200, "success", START));
    let nonce = |policy: &str| {
        policy
            .split("'nonce-")
            .nth(1)
            .and_then(|n| n.split('\'').next())
            .map(ToOwned::to_owned)
    };
    let own = nonce(&one.headers["content-security-policy"]).expect("a nonce");
    assert_eq!(one.html.matches(&format!("nonce=\"{own}\"")).count(), 2, "{}", one.html);
    assert_ne!(Some(own), nonce(&two.headers["content-security-policy"]));
    assert!(one.html.contains("history.replaceState") && !one.html.contains("codeferry-nonce"));
    assert_eq!(
        [
            "referrer-policy",
            "cache-control",
            "x-content-type-options",
            "x-frame-options",
            "vary"
        ]
        .map(|h| one.headers[h].as_str()),
        ["no-referrer", "no-store", "nosniff", "DENY", "Accept-Language"]
    );
    let moments: Vec<u64> = cloud.posts().iter().map(|post| post.at).collect();
    assert_eq!(moments, [START + 75, START + 5_075]);
}

#[test]
fn a_page_is_in_the_browsers_language_as_the_relays_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let wipe = "<html><head>{{ wipe }}</head><main id=\"{{ page }}\">{{ lang }} {{ error }}</main></html>";
    for name in ["denied.pt-br.html", "denied.html", "success.fr.html"] {
        fs::write(folder.path().join(name), wipe).expect("written");
    }
    let pages = Pages::load(Some(folder.path()), codeferry::front::face::Face::default()).expect("they work");
    let lanes = [json!({ "webhook_id": webhook(0), "pack": 18 })];
    let cloud = Cloud::with(&script::worker(&pages).expect("a script"), &lanes);
    let headers = [
        "",
        "de",
        "de-AT,de;q=0.9,en;q=0.8",
        "fr-FR,fr;q=0.9,de;q=0.3,en;q=0.5",
        "fr, de;q=0.1",
        "de;q=0, en;q=0.1",
        "*;q=1, ;;;, de;q=abc",
        "pt-BR",
        "pt",
        "en-GB",
        "xx, pt-br;q=0.2, de;q=0.1",
    ];
    let state = super::cloud::state(1, 0, START / 1_000 + 600);
    for error in ["access_denied", "server_error"] {
        for header in headers {
            let path = format!("/callback?error={error}&state={state}");
            cloud.come("browser", START, &path, "HEAD", header);
            cloud.run(START);
            let made = &cloud.seen()["browser"];
            let wanted = pages.render(codeferry::front::page::Page::Denied, header, Some(error));
            assert_eq!(made.headers["content-language"], wanted.language, "{header}");
            // HEAD has no body: the page itself is looked at below.
            assert_eq!(made.html, "", "{header}");
            cloud.come("browser", START, &path, "GET", header);
            cloud.run(START);
            let strip = |html: &str| {
                let mut parts: Vec<&str> = html.split('"').collect();
                for at in 1..parts.len() {
                    if parts[at - 1].ends_with("nonce=") {
                        parts[at] = "";
                    }
                }
                parts.concat()
            };
            assert_eq!(
                strip(&cloud.seen()["browser"].html),
                strip(&wanted.html),
                "{header} {error}"
            );
        }
    }
    assert_eq!(cloud.posts().len(), 0, "nothing was due yet");
}

#[test]
fn what_is_no_callback_is_refused_and_reaches_nothing() {
    let cloud = Cloud::new(1, 18);
    let good = callback(1, 0);
    let cases = [
        ("GET", "/", 200),
        ("GET", "/callback/", 404),
        ("GET", "/Callback?code=x", 404),
        ("POST", good.as_str(), 405),
        ("PUT", "/healthz", 405),
        ("GET", "/callback", 400),
        ("HEAD", "/callback?code=a", 400),
        ("GET", "/callback?state=s1.x&code=y?z", 400),
    ];
    for (n, (method, path, status)) in cases.into_iter().enumerate() {
        cloud.come(&n.to_string(), START, path, method, "");
        cloud.run(START + 1);
        assert_eq!(cloud.seen()[&n.to_string()].status, status, "{method} {path}");
    }
    for n in 0..1_000 {
        let forged = callback(n, 0).replace("state=s1.", "state=s1.B");
        cloud.visit("junk", START, &forged);
    }
    cloud.run(START + 60_000);
    assert_eq!(
        cloud.value("writes"),
        0,
        "nobody who is not signed wakes the Durable Object"
    );
    assert_eq!(cloud.value("instance"), json!(null));
}

#[test]
fn looking_twice_spends_nothing() {
    let cloud = Cloud::new(1, 18);
    let path = callback(1, 0);
    for (n, method) in ["HEAD", "GET", "GET", "HEAD", "GET"].into_iter().enumerate() {
        cloud.come(&n.to_string(), START + n as u64 * 3_000, &path, method, "");
    }
    cloud.run(START + 60_000);
    let seen = cloud.seen();
    assert!(seen.values().all(|one| one.status == 200), "{seen:?}");
    assert_eq!(cloud.posts().len(), 1);
    assert!(cloud.posts()[0].at > START + 3_000, "HEAD has brought nothing");
}

#[test]
fn a_link_brings_four_different_callbacks_and_no_more() {
    let cloud = Cloud::new(1, 18);
    let state = super::cloud::state(1, 0, START / 1_000 + 600);
    for n in 0..8 {
        let path = format!("/callback?code={n:030}&state={state}");
        cloud.visit(&n.to_string(), START + n * 10, &path);
    }
    cloud.run(START + 30_000);
    let pages: Vec<String> = cloud
        .seen()
        .values()
        .map(|one| format!("{} {}", one.status, one.page()))
        .collect();
    let expected = [["200 success"; 4], ["429 limited"; 4]].concat();
    assert_eq!(pages, expected);
    assert_eq!(cloud.lines().len(), 4);
    // Another link of the same person is another one.
    let other = super::cloud::link(1, 2, 0, START / 1_000 + 600);
    cloud.visit(
        "other",
        START + 40_000,
        &format!("/callback?code={:030}&state={other}", 9),
    );
    cloud.run(START + 41_000);
    assert_eq!(cloud.seen()["other"].page(), "success");
}

#[test]
fn health_names_the_setting_that_is_wrong_and_shows_no_key() {
    let cases = [
        ("CODEFERRY_RELAY_KEY", "", "CODEFERRY_RELAY_KEY is not set"),
        ("CODEFERRY_STATE_KEY", "", "CODEFERRY_STATE_KEY is not set"),
        (
            "CODEFERRY_RELAY_KEY",
            "0123456789abcdef0123456789abcdef\n",
            "CODEFERRY_RELAY_KEY has white space or a quote at an end",
        ),
        (
            "CODEFERRY_STATE_KEY_2",
            "\"0123456789abcdef0123456789abcdef\"",
            "CODEFERRY_STATE_KEY_2 has white space or a quote at an end",
        ),
        ("CODEFERRY_WEBHOOK_TOKENS", "", "CODEFERRY_WEBHOOK_TOKENS is not set"),
        (
            "CODEFERRY_WEBHOOK_TOKENS",
            "1:secret",
            "CODEFERRY_WEBHOOK_TOKENS has no token for webhook 1536000000000001000",
        ),
        ("CODEFERRY_LANES", "[", "CODEFERRY_LANES is not JSON"),
        ("CODEFERRY_LANES", "[]", "CODEFERRY_LANES is not a list of lanes"),
        ("CODEFERRY_LANES", "{}", "CODEFERRY_LANES is not a list of lanes"),
        ("CODEFERRY_LANES", "[{}]", "CODEFERRY_LANES: lane 0 has no webhook_id"),
        ("CODEFERRY_LANES", "[null]", "CODEFERRY_LANES: lane 0 has no webhook_id"),
        (
            "CODEFERRY_LANES",
            "[{\"webhook_id\":\"1536000000000001000\"}]",
            "CODEFERRY_LANES: lane 0 has no pack of 1 to 18",
        ),
        (
            "CODEFERRY_CODE_LIFETIME",
            "soon",
            "CODEFERRY_CODE_LIFETIME is not a whole number from 1 on",
        ),
        (
            "CODEFERRY_PER_MINUTE",
            "-1",
            "CODEFERRY_PER_MINUTE is not a whole number from 0 on",
        ),
        (
            "CODEFERRY_BURST",
            "30",
            "CODEFERRY_BURST is not below CODEFERRY_PER_MINUTE",
        ),
        ("CODEFERRY_BOT", "", "CODEFERRY_BOT is not set"),
        ("CODEFERRY_API_BASE", "", "CODEFERRY_API_BASE is not set"),
    ];
    for (name, value, error) in cases {
        let cloud = Cloud::new(1, 18);
        cloud.set(name, value);
        cloud.visit("health", START, "/healthz");
        cloud.visit("person", START, &callback(1, 0));
        cloud.run(START + 1_000);
        let seen = cloud.seen();
        let told: serde_json::Value = serde_json::from_str(&seen["health"].html).expect("JSON");
        assert_eq!((seen["health"].status, told["error"].as_str()), (503, Some(error)));
        assert_eq!((seen["person"].status, seen["person"].page()), (503, "busy"), "{error}");
        assert!(
            cloud
                .said()
                .iter()
                .any(|(_, level, text)| level == "error" && text == error),
            "{error}"
        );
    }
    let cloud = Cloud::new(2, 18);
    cloud.visit("health", START, "/healthz");
    cloud.run(START);
    let version = env!("CARGO_PKG_VERSION");
    let told: serde_json::Value = serde_json::from_str(&cloud.seen()["health"].html).expect("JSON");
    assert_eq!(told, json!({ "ok": true, "version": version, "lanes": 2 }));
}

#[test]
fn a_state_under_either_of_two_keys_is_taken() {
    let other = "another-key-0123456789abcdef0123";
    for (first, second, page) in [(KEY, other, "success"), (other, KEY, "success"), (other, "", "invalid")] {
        let cloud = Cloud::new(1, 18);
        cloud.set("CODEFERRY_STATE_KEY", first);
        cloud.set("CODEFERRY_STATE_KEY_2", second);
        cloud.visit("person", START, &callback(1, 0));
        cloud.run(START + 1_000);
        assert_eq!(cloud.seen()["person"].page(), page);
    }
}
