//! Tokens and what they open; the record that judges.

use reqwest::Method;
use serde_json::json;

use super::support::{Discord, PERSON, answer};
use codeferry::simulator::{AnswerFate, CodeRequest, Endpoint, Fault, FaultRule};

#[tokio::test]
async fn a_code_gives_a_token_that_opens_what_was_approved_and_nothing_else() {
    let discord = Discord::start();
    let token = discord.token(&["identify", "email", "guilds"]).await;
    let (status, me) = discord.get_as(&token, "/users/@me").await;
    assert_eq!((status, me["id"].as_str()), (200, Some("80000000000000001")));
    assert!(me.get("email").is_some());
    assert_eq!(discord.get_as(&token, "/users/@me/guilds").await.0, 200);
    let (status, refused) = discord.get_as(&token, "/users/@me/connections").await;
    assert_eq!((status, &refused["code"]), (401, &json!(40001)));
    let (status, refused) = discord
        .get_as(&token, &format!("/users/@me/guilds/{}/member", discord.about.guild_id))
        .await;
    assert_eq!((status, &refused["code"]), (401, &json!(40001)));
    let (status, about) = discord.get_as(&token, "/oauth2/@me").await;
    assert_eq!(
        (status, &about["scopes"]),
        (200, &json!(["identify", "email", "guilds"]))
    );

    assert_eq!(discord.revoke(&token).await, (200, json!({})));
    let (status, dead) = discord.get_as(&token, "/users/@me").await;
    assert_eq!(
        (status, dead),
        (401, json!({"message": "401: Unauthorized", "code": 0}))
    );

    let ledger = discord.simulator.ledger();
    assert!(!ledger.tokens[0].alive && ledger.tokens[0].received);
    assert_eq!(discord.simulator.summary().tokens_left, 0);
}

#[tokio::test]
async fn a_member_is_found_in_the_guild_only() {
    let discord = Discord::start();
    let token = discord.token(&["guilds.members.read"]).await;
    let path = |guild: &str| format!("/users/@me/guilds/{guild}/member");
    let (status, member) = discord.get_as(&token, &path(&discord.about.guild_id)).await;
    assert_eq!(
        (status, member["user"]["id"].as_str()),
        (200, Some("80000000000000001"))
    );
    let (status, unknown) = discord.get_as(&token, &path("290926798626999250")).await;
    assert_eq!((status, &unknown["code"]), (404, &json!(10004)));
}

#[tokio::test]
async fn only_a_form_is_read_by_the_token_endpoint() {
    let discord = Discord::start();
    let request = discord
        .request(Method::POST, "/oauth2/token")
        .basic_auth(&discord.about.application_id, Some(&discord.about.client_secret))
        .json(&json!({"grant_type": "authorization_code", "code": discord.code(&["identify"])}));
    let (status, body) = answer(request).await;
    assert_eq!((status, body), (400, json!({"error": "unsupported_grant_type"})));
    assert_eq!(answer(discord.request(Method::GET, "/oauth2/token")).await.0, 405);
}

#[tokio::test]
async fn the_bot_has_its_own_view() {
    let discord = Discord::start();
    let (status, me) = discord.get("/users/@me").await;
    assert_eq!((status, &me["bot"]), (200, &json!(true)));
    let (_, application) = discord.get("/applications/@me").await;
    assert_eq!(application["redirect_uris"], json!([discord.about.redirect_uri]));
    assert_eq!(application["flags"], 524_288);
    let (_, gateway) = discord.get("/gateway").await;
    assert_eq!(gateway["url"], discord.about.gateway_url);
    let wrong = discord
        .request(Method::GET, "/applications/@me")
        .header("Authorization", "Bot wrong");
    assert_eq!(answer(wrong).await.0, 401);
}

#[tokio::test]
async fn the_ledger_knows_a_whole_answer_from_a_lost_one() {
    let discord = Discord::start();
    let [whole, lost, spoiled] = ["whole", "lost", "spoiled"].map(|_| discord.code(&["identify"]));
    assert_eq!(discord.exchange(&whole).await.0, 200);
    discord
        .simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, Fault::LostAnswer).times(1));
    discord
        .exchange_request(&lost)
        .send()
        .await
        .expect_err("the connection is cut before any byte");
    discord
        .simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, Fault::HtmlAnswer).times(1));
    assert_eq!(discord.exchange(&spoiled).await.0, 200);
    for code in [&whole, &lost, &spoiled] {
        assert_eq!(discord.exchange(code).await.0, 400);
    }
    let ledger = discord.simulator.ledger();
    let fate = |code: &str| {
        let presented = &ledger.code(code).expect("a known code").presented;
        (presented[0].answer, presented[1].after_full_answer)
    };
    assert_eq!(fate(&whole), (AnswerFate::InFull, true));
    assert_eq!(fate(&lost), (AnswerFate::Cut, false));
    assert_eq!(fate(&spoiled), (AnswerFate::Spoiled, false));
    let summary = discord.simulator.summary();
    assert_eq!(
        (summary.presented_twice, summary.tokens_left, summary.orphans),
        (1, 1, 2)
    );
    assert_eq!(ledger.answer_count("token", 400), 3);

    let (status, body) = discord.control(Method::GET, "/ledger", json!(null)).await;
    assert_eq!(status, 200);
    assert_eq!(body["codes"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        body["codes"][1]["presented"][0]["answer"], "cut",
        "the record is the same over HTTP"
    );
}

#[tokio::test]
async fn many_codes_are_minted_at_once_and_each_works() {
    let discord = Discord::start();
    let codes = discord.simulator.mint_codes(&CodeRequest::of(PERSON).times(200));
    let (status, over_http) = discord
        .control(
            Method::POST,
            "/codes",
            json!({"user_id": PERSON.to_string(), "count": 3}),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(over_http["codes"].as_array().map(Vec::len), Some(3));
    for code in &codes {
        assert_eq!(discord.exchange(code).await.0, 200);
    }
    assert_eq!(discord.simulator.summary().tokens_left, 200);
    discord.simulator.withdraw(PERSON);
    assert_eq!(discord.simulator.summary().tokens_left, 0);
}
