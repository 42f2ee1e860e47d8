//! Limits as they are seen from outside.

use reqwest::Method;
use serde_json::json;

use super::support::{Discord, header};
use codeferry::simulator::SimulatorOptions;
use codeferry::simulator::limits::{EdgeForm, LimitSettings, Rule};

fn limited(limits: LimitSettings) -> Discord {
    Discord::with(SimulatorOptions {
        limits,
        ..SimulatorOptions::default()
    })
}

#[tokio::test]
async fn the_sixth_post_within_two_seconds_is_refused_with_headers_and_body() {
    let discord = limited(LimitSettings::default());
    for left in ["4", "3", "2", "1", "0"] {
        let response = discord.post("x").await;
        assert_eq!(response.status(), 204);
        assert_eq!(header(&response, "x-ratelimit-remaining"), Some(left));
    }
    let refused = discord.post("x").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(header(&refused, "x-ratelimit-scope"), Some("user"));
    assert_eq!(header(&refused, "via"), Some("1.1 google"));
    let seconds: u64 = header(&refused, "retry-after")
        .and_then(|v| v.parse().ok())
        .expect("whole seconds");
    assert!(seconds <= 2);
    let body: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(body["global"], false);
    assert!(body["retry_after"].as_f64().is_some_and(|s| s <= 2.0));
}

#[tokio::test]
async fn the_hidden_channel_limit_holds_for_all_webhooks_of_a_channel_together() {
    let discord = limited(LimitSettings {
        webhook: Some(Rule {
            limit: 50,
            per_ms: 2_000,
        }),
        unauthenticated: None,
        ..LimitSettings::default()
    });
    let strange = discord.about.strange_webhook.clone().expect("a second webhook");
    for nth in 0..30 {
        let url = if nth % 2 == 0 {
            &strange.url
        } else {
            &discord.about.lanes[0].webhook.url
        };
        let posted = discord.http.post(url).json(&json!({"content": "x"})).send().await;
        assert_eq!(posted.expect("an answer").status(), 204);
    }
    let refused = discord.post("x").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(header(&refused, "x-ratelimit-scope"), Some("shared"));
    assert_ne!(
        header(&refused, "x-ratelimit-remaining"),
        Some("0"),
        "the visible bucket misleads"
    );
    let wait: u64 = header(&refused, "retry-after")
        .and_then(|v| v.parse().ok())
        .expect("seconds");
    assert!((40..=45).contains(&wait), "{wait}");

    let unversioned = strange.url.replace("/api/v10/", "/api/");
    let refused = discord
        .http
        .post(unversioned)
        .json(&json!({"content": "x"}))
        .send()
        .await;
    let refused = refused.expect("an answer");
    let wait: u64 = header(&refused, "retry-after")
        .and_then(|v| v.parse().ok())
        .expect("milliseconds");
    assert!((39_000..=45_000).contains(&wait), "{wait}");

    let elsewhere = discord
        .http
        .post(&discord.about.results.webhook.url)
        .json(&json!({"content": "x"}));
    assert_eq!(elsewhere.send().await.expect("an answer").status(), 204);
    assert_eq!(discord.simulator.summary().worst_minute, 30);
}

#[tokio::test]
async fn too_many_invalid_requests_end_in_a_ban_that_does_not_come_from_the_api() {
    let discord = limited(LimitSettings {
        invalid_requests: Some(Rule {
            limit: 20,
            per_ms: 600_000,
        }),
        ..LimitSettings::default()
    });
    for _ in 0..20 {
        assert_eq!(discord.get_as("dead", "/users/@me").await.0, 401);
    }
    let banned = discord.as_bot(Method::GET, "/gateway").send().await.expect("an answer");
    assert_eq!(banned.status(), 429);
    assert!(header(&banned, "via").is_none() && header(&banned, "retry-after").is_none());
    let body: serde_json::Value = banned.json().await.expect("JSON");
    assert_eq!(body["code"], 0);
    assert!(body.get("retry_after").is_none());

    discord.control(Method::DELETE, "/limits", json!(null)).await;
    assert_eq!(discord.get("/gateway").await.0, 200);
    discord.simulator.set_limits(LimitSettings {
        invalid_requests: Some(Rule {
            limit: 1,
            per_ms: 1_000,
        }),
        ban_form: EdgeForm::Text,
        ..LimitSettings::default()
    });
    assert_eq!(discord.get_as("dead", "/users/@me").await.0, 401);
    assert_eq!(discord.get("/gateway").await, (429, json!("error code: 1015")));
}

#[tokio::test]
async fn limits_that_are_off_refuse_nothing() {
    let discord = Discord::start();
    for _ in 0..100 {
        let response = discord.post("x").await;
        assert_eq!(response.status(), 204);
        assert!(header(&response, "x-ratelimit-limit").is_none());
    }
}
