//! Faults as a client meets them.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use super::support::{Discord, answer, header};
use codeferry::simulator::limits::{EdgeForm, Scope};
use codeferry::simulator::{Endpoint, Fault, FaultBody, FaultRule};

fn once(endpoint: Endpoint, fault: Fault) -> FaultRule {
    FaultRule::on(endpoint, fault).times(1)
}

#[tokio::test]
async fn a_status_replaces_the_work_or_follows_it() {
    let discord = Discord::start();
    let code = discord.code(&["identify"]);
    let status = |after_work| Fault::Status {
        status: 502,
        body: FaultBody::Html,
        retry_after: None,
        after_work,
    };
    discord.simulator.faults().add(once(Endpoint::Token, status(false)));
    let response = discord.exchange_request(&code).send().await.expect("an answer");
    assert_eq!(response.status(), 502);
    assert!(header(&response, "content-type").is_some_and(|t| t.starts_with("text/html")));
    assert_eq!(discord.exchange(&code).await.0, 200, "the code was not touched");

    let code = discord.code(&["identify"]);
    discord.simulator.faults().add(once(Endpoint::Token, status(true)));
    assert_eq!(discord.exchange(&code).await.0, 502);
    assert_eq!(discord.exchange(&code).await.0, 400, "the code was spent");
    assert_eq!(discord.simulator.summary().orphans, 1);
}

#[tokio::test]
async fn faults_are_set_listed_and_cleared_over_http() {
    let discord = Discord::start();
    let rules = json!([
        {"endpoint": "me", "times": 1, "fault": {"fault": "status", "status": 503, "body": "empty", "retry_after": 7}},
        {"endpoint": "messages", "fault": {"fault": "empty_list"}},
        {"endpoint": "delete", "fault": {"fault": "forbidden"}},
        {"endpoint": "guilds", "times": 1, "fault": {"fault": "rate_limited", "scope": "shared", "retry_after_ms": 1500}},
        {"endpoint": "connections", "times": 1, "fault": {"fault": "redirect", "status": 307, "location": "http://127.0.0.1:1/"}},
    ]);
    assert_eq!(discord.control(Method::POST, "/faults", rules).await.0, 204);
    let token = discord.token(&["identify", "guilds", "connections"]).await;
    let me = discord
        .request(Method::GET, "/users/@me")
        .bearer_auth(&token)
        .send()
        .await;
    let me = me.expect("an answer");
    assert_eq!((me.status().as_u16(), header(&me, "retry-after")), (503, Some("7")));
    assert_eq!(discord.get_as(&token, "/users/@me").await.0, 200);
    let (status, body) = discord.get_as(&token, "/users/@me/guilds").await;
    assert_eq!((status, &body["retry_after"]), (429, &json!(1.5)));
    assert_eq!(discord.get_as(&token, "/users/@me/connections").await.0, 307);
    discord.post("x").await;
    let path = format!("/channels/{}/messages", discord.lane_channel());
    assert_eq!(discord.get(&path).await, (200, json!([])));
    assert_eq!(
        answer(discord.as_bot(Method::DELETE, &format!("{path}/5"))).await.1["code"],
        50013
    );

    let (_, list) = discord.control(Method::GET, "/faults", json!(null)).await;
    assert_eq!(list[0]["struck"], 1);
    assert_eq!(discord.control(Method::DELETE, "/faults", json!(null)).await.0, 204);
    assert_eq!(discord.get(&path).await.1.as_array().map(Vec::len), Some(1));
    assert_eq!(
        discord
            .control(Method::POST, "/faults", json!({"endpoint": "nowhere"}))
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn an_answer_is_cut_in_the_body_or_lost_whole() {
    let discord = Discord::start();
    for (fault, expectation) in [(Fault::LostAnswer, "no head"), (Fault::CutAnswer, "a head")] {
        discord.simulator.faults().add(once(Endpoint::Token, fault));
        let code = discord.code(&["identify"]);
        let head = discord.exchange_request(&code).send().await;
        match head {
            Err(_) => assert_eq!(expectation, "no head"),
            Ok(response) => {
                assert_eq!(expectation, "a head");
                assert_eq!(response.status(), 200);
                response.text().await.expect_err("the body breaks off");
            }
        }
        assert_eq!(discord.exchange(&code).await.0, 400, "the work was done");
    }
    assert_eq!(discord.simulator.summary().orphans, 2);
}

#[tokio::test]
async fn bodies_are_spoiled_in_every_way() {
    let discord = Discord::start();
    let token = discord.token(&["identify"]).await;
    let me = || discord.request(Method::GET, "/users/@me").bearer_auth(&token);
    let faults = discord.simulator.faults();

    faults.add(once(Endpoint::Me, Fault::HtmlAnswer));
    assert!(answer(me()).await.1.as_str().is_some_and(|t| t.contains("<html>")));
    faults.add(once(Endpoint::Me, Fault::TruncatedJson));
    assert!(answer(me()).await.1.is_string());
    faults.add(once(Endpoint::Me, Fault::UnknownFields));
    assert!(answer(me()).await.1["x_unheard_of"].is_object());
    faults.add(once(
        Endpoint::Me,
        Fault::NullFields {
            fields: vec!["avatar".into()],
        },
    ));
    assert_eq!(answer(me()).await.1["avatar"], json!(null));
    faults.add(once(Endpoint::Me, Fault::HugeAnswer { megabytes: 40 }));
    let huge = me().send().await.expect("an answer").bytes().await.expect("all of it");
    assert!(huge.len() >= 40 << 20);
    faults.add(once(Endpoint::Me, Fault::Drip { ms: 1 }));
    assert_eq!(answer(me()).await.1["id"], "80000000000000001");
    faults.add(once(Endpoint::Me, Fault::TransientUnauthorized { ms: 60_000 }));
    assert_eq!(answer(me()).await.0, 401);
    assert_eq!(answer(me()).await.0, 200);
}

#[tokio::test]
async fn a_delay_holds_up_the_one_request_and_no_other() {
    let discord = Discord::start();
    let token = discord.token(&["identify"]).await;
    let delay = Duration::from_millis(300);
    for fault in [Fault::Delay { ms: 300 }, Fault::DelayAnswer { ms: 300 }] {
        discord.simulator.faults().add(once(Endpoint::Me, fault));
        let started = Instant::now();
        let slow = discord.get_as(&token, "/users/@me");
        let quick = async {
            assert_eq!(discord.get("/gateway").await.0, 200);
            started.elapsed()
        };
        let ((status, _), quick) = tokio::join!(slow, quick);
        assert_eq!(status, 200);
        assert!(started.elapsed() >= delay);
        assert!(quick < delay, "{quick:?}");
    }
}

#[tokio::test]
async fn every_shape_of_429_is_told_apart_by_its_headers() {
    let discord = Discord::start();
    let edge = |form, retry_after| Fault::Edge { form, retry_after };
    let limited = |scope| Fault::RateLimited {
        scope,
        retry_after_ms: 1_412,
    };
    // The fault, then `Via`, `Retry-After` and `X-RateLimit-Scope`.
    let cases = [
        (limited(Scope::User), (true, Some("2"), Some("user"))),
        (limited(Scope::Shared), (true, Some("2"), Some("shared"))),
        (limited(Scope::Global), (true, Some("2"), Some("global"))),
        (edge(EdgeForm::Json, None), (false, None, None)),
        (edge(EdgeForm::Text, None), (false, None, None)),
        (edge(EdgeForm::Html, Some(3_600)), (false, Some("3600"), None)),
    ];
    for (fault, wanted) in cases {
        discord.simulator.faults().add(once(Endpoint::Token, fault.clone()));
        let response = discord.exchange_request("x").send().await.expect("an answer");
        assert_eq!(response.status(), 429);
        let seen = (
            header(&response, "via").is_some(),
            header(&response, "retry-after"),
            header(&response, "x-ratelimit-scope"),
        );
        assert_eq!(seen, wanted, "{fault:?}");
    }
}
