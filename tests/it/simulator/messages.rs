//! Webhooks, messages, permissions, content blanking.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Discord, answer};
use codeferry::simulator::options::FLAG_MESSAGE_CONTENT_LIMITED;
use codeferry::simulator::{BotPermissions, PortalChange, PostAuthor, PostRequest};

async fn history(discord: &Discord, query: &str) -> (u16, Value) {
    discord
        .get(&format!("/channels/{}/messages{query}", discord.lane_channel()))
        .await
}

fn contents(page: &Value) -> Vec<&str> {
    let messages = page.as_array().expect("a list");
    messages.iter().filter_map(|m| m["content"].as_str()).collect()
}

#[tokio::test]
async fn a_post_is_answered_with_204_or_the_message_and_mentions_the_bot() {
    let discord = Discord::start();
    let content = format!("<@{}> hello", discord.about.bot_id);
    let response = discord.post(&content).await;
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["via"], "1.1 google");
    let webhook = &discord.about.lanes[0].webhook;
    let (status, message) = answer(
        discord
            .http
            .post(format!("{}?wait=true", webhook.url))
            .json(&json!({"content": content, "flags": 4})),
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(message["mentions"][0]["id"], discord.about.bot_id);
    assert_eq!(message["webhook_id"], webhook.id);
    assert_eq!(message["author"]["id"], webhook.id);
    assert_eq!(message["author"]["discriminator"], "0000");
    assert_eq!(message["application_id"], discord.about.application_id);
    assert_eq!(message["flags"], 4);
    assert!(message.get("member").is_none());
    assert_eq!(history(&discord, "").await.1.as_array().map(Vec::len), Some(2));
    let posts = discord.simulator.ledger().posts;
    assert_eq!(posts.iter().map(|p| p.status).collect::<Vec<_>>(), [204, 200]);
}

#[tokio::test]
async fn a_bad_post_is_refused_with_discords_codes() {
    let discord = Discord::start();
    let url = &discord.about.lanes[0].webhook.url;
    let post = |url: String, body: Value| answer(discord.http.post(url).json(&body));
    let check = |(status, body): (u16, Value), wanted: u16, code: i32| {
        assert_eq!((status, &body["code"]), (wanted, &json!(code)), "{body}");
    };
    check(post(url.clone(), json!({"event": "x"})).await, 400, 50006);
    check(
        post(url.clone(), json!({"content": "x".repeat(2_001)})).await,
        400,
        50035,
    );
    check(post(format!("{url}x"), json!({"content": "x"})).await, 401, 50027);
    let unknown = format!("{}/webhooks/1536343300000009999/x", discord.about.api_base);
    check(post(unknown, json!({"content": "x"})).await, 404, 10015);
    check(
        answer(
            discord
                .http
                .post(url)
                .header("content-type", "application/json")
                .body("{"),
        )
        .await,
        400,
        50109,
    );
    check(
        answer(discord.http.post(url).header("content-type", "text/plain").body("x")).await,
        400,
        50035,
    );
    assert_eq!(
        answer(discord.http.post(url).form(&[("content", "a form")])).await.0,
        204
    );
    assert_eq!(contents(&history(&discord, "").await.1), ["a form"]);
}

#[tokio::test]
async fn history_is_paged_newest_first_with_exclusive_cursors() {
    let discord = Discord::start();
    discord.simulator.post_to_lane(0, (0..120).map(|n| format!("m{n}")));
    let (_, page) = history(&discord, "?limit=100").await;
    assert_eq!(page.as_array().map(Vec::len), Some(100));
    assert_eq!(contents(&page)[0], "m119");
    let id = |nth: usize| page[nth]["id"].as_str().expect("an id").to_owned();
    let (_, before) = history(&discord, &format!("?limit=100&before={}", id(99))).await;
    assert_eq!(before.as_array().map(Vec::len), Some(20));
    assert_eq!(contents(&before)[0], "m19");
    let (_, after) = history(&discord, &format!("?limit=3&after={}", id(10))).await;
    assert_eq!(contents(&after), ["m112", "m111", "m110"]);
    let (_, around) = history(&discord, &format!("?limit=3&around={}", id(10))).await;
    assert_eq!(contents(&around), ["m110", "m109", "m108"]);
    assert_eq!(history(&discord, "").await.1.as_array().map(Vec::len), Some(50));
    for bad in ["?limit=101", "?limit=0", "?before=x", "?before=1&after=2"] {
        assert_eq!(history(&discord, bad).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn permissions_decide_what_is_seen() {
    let discord = Discord::start();
    let channel: u64 = discord.lane_channel().parse().expect("an id");
    discord.post("one").await;
    let (_, page) = history(&discord, "").await;
    let message = format!(
        "/channels/{channel}/messages/{}",
        page[0]["id"].as_str().expect("an id")
    );
    let all = BotPermissions::default();

    discord.simulator.permit(
        channel,
        BotPermissions {
            read_history: false,
            ..all
        },
    );
    assert_eq!(history(&discord, "").await, (200, json!([])));
    assert_eq!(discord.get(&message).await.1["code"], 50013);

    discord.simulator.permit(channel, BotPermissions { view: false, ..all });
    let (status, body) = history(&discord, "").await;
    assert_eq!((status, &body["code"]), (403, &json!(50001)));

    discord.simulator.permit(
        channel,
        BotPermissions {
            manage_messages: false,
            manage_webhooks: false,
            ..all
        },
    );
    assert_eq!(answer(discord.as_bot(Method::DELETE, &message)).await.1["code"], 50013);
    let webhooks = format!("/channels/{channel}/webhooks");
    assert_eq!(discord.get(&webhooks).await.1["code"], 50013);
    let webhook = &discord.about.lanes[0].webhook;
    let by_token = format!("{}/messages/{}", webhook.url, page[0]["id"].as_str().expect("an id"));
    assert_eq!(
        answer(discord.http.delete(&by_token)).await.0,
        204,
        "a webhook's token needs no permission"
    );
    assert_eq!(answer(discord.http.delete(&by_token)).await.1["code"], 10008);
    assert_eq!(discord.get("/channels/5").await.1["code"], 10003);
}

#[tokio::test]
async fn content_is_blanked_by_the_portal_switch_unless_mentioned_or_own() {
    let discord = Discord::start();
    let channel: u64 = discord.lane_channel().parse().expect("an id");
    let mention = format!("<@{}> pinged", discord.about.bot_id);
    discord.post("plain").await;
    discord.post(&mention).await;
    discord
        .simulator
        .post(PostRequest::new(channel, PostAuthor::Bot, "own"));
    assert_eq!(
        contents(&history(&discord, "").await.1),
        ["own", mention.as_str(), "plain"]
    );
    discord.simulator.change_portal(PortalChange {
        flags: Some(0),
        ..PortalChange::default()
    });
    let (_, page) = history(&discord, "").await;
    assert_eq!(contents(&page), ["own", mention.as_str(), ""]);
    let url = format!(
        "{}/messages/{}",
        discord.about.lanes[0].webhook.url,
        page[2]["id"].as_str().expect("an id")
    );
    assert_eq!(answer(discord.http.get(url)).await.1["content"], "plain");
    let (status, _) = discord
        .control(Method::POST, "/portal", json!({"flags": FLAG_MESSAGE_CONTENT_LIMITED}))
        .await;
    assert_eq!(status, 204);
    assert_eq!(contents(&history(&discord, "").await.1)[2], "plain");
}

#[tokio::test]
async fn spoofs_are_posted_as_anyone_from_anywhere() {
    let discord = Discord::start();
    let channel = discord.lane_channel();
    let strange = discord.about.strange_webhook.as_ref().expect("a second webhook");
    for author in [
        json!({"person": "80000000000000001"}),
        json!("other_bot"),
        json!({"webhook": strange.id}),
        json!({"webhook": discord.about.results.webhook.id}),
    ] {
        let body = json!({"channel_id": channel, "as": author, "content": "x".repeat(40_000)});
        let (status, body) = discord.control(Method::POST, "/post", body).await;
        assert_eq!(status, 200, "{body}");
    }
    let (_, page) = history(&discord, "").await;
    let page = page.as_array().expect("a list");
    assert_eq!(page[0]["webhook_id"], discord.about.results.webhook.id);
    assert_eq!(page[1]["webhook_id"], strange.id);
    assert_eq!(page[2]["author"]["id"], discord.about.other_bot_id);
    assert_eq!(page[3]["author"]["id"], "80000000000000001");
    assert_eq!(page[3]["content"].as_str().map(str::len), Some(40_000));
    let nowhere = json!({"channel_id": "1536340000000009999", "as": "bot", "content": "x"});
    assert_eq!(discord.control(Method::POST, "/post", nowhere).await.0, 404);
}

#[tokio::test]
async fn the_bot_makes_reacts_to_and_removes_messages() {
    let discord = Discord::start();
    let channel = discord.lane_channel();
    let messages = format!("/channels/{channel}/messages");
    let make = |content: &str| {
        answer(
            discord
                .as_bot(Method::POST, &messages)
                .json(&json!({"content": content, "nonce": "n1", "enforce_nonce": true})),
        )
    };
    let (status, first) = make("result").await;
    assert_eq!(status, 200);
    let (_, again) = make("result").await;
    assert_eq!(first["id"], again["id"], "a nonce makes repetitions one message");
    let one = format!("{messages}/{}", first["id"].as_str().expect("an id"));
    let reaction = discord.as_bot(Method::PUT, &format!("{one}/reactions/%E2%9C%85/@me"));
    assert_eq!(answer(reaction).await.0, 204);
    assert_eq!(discord.get(&one).await.1["reactions"][0]["emoji"]["name"], "\u{2705}");
    assert_eq!(answer(discord.as_bot(Method::DELETE, &one)).await.0, 204);
    assert_eq!(answer(discord.as_bot(Method::DELETE, &one)).await.1["code"], 10008);

    discord.simulator.post_to_lane(0, ["a", "b", "c"].map(String::from));
    let (_, page) = history(&discord, "").await;
    let ids: Vec<_> = page
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| m["id"].clone())
        .collect();
    let bulk = |ids: Value| {
        answer(
            discord
                .as_bot(Method::POST, &format!("{messages}/bulk-delete"))
                .json(&json!({"messages": ids})),
        )
    };
    assert_eq!(bulk(json!([ids[0]])).await.1["code"], 50016);
    assert_eq!(bulk(json!([ids[0], ids[0]])).await.1["code"], 50035);
    assert_eq!(bulk(json!([ids[0], "1000000000000000000"])).await.1["code"], 50034);
    assert_eq!(bulk(json!(ids)).await.0, 204);
    assert_eq!(history(&discord, "").await.1, json!([]));
}

#[tokio::test]
async fn webhooks_are_listed_made_and_deleted() {
    let discord = Discord::start();
    let path = format!("/channels/{}/webhooks", discord.lane_channel());
    let (_, list) = discord.get(&path).await;
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    let make = |name: &str| answer(discord.as_bot(Method::POST, &path).json(&json!({"name": name})));
    assert_eq!(make("Discord spy").await.1["code"], 50035);
    let (status, made) = make("intake two").await;
    assert_eq!(status, 200);
    assert_eq!(made["application_id"], discord.about.application_id);
    let own = format!(
        "/webhooks/{}/{}",
        made["id"].as_str().expect("an id"),
        made["token"].as_str().expect("a token")
    );
    let (_, seen) = answer(discord.request(Method::GET, &own)).await;
    assert!(seen.get("user").is_none());
    assert_eq!(answer(discord.request(Method::DELETE, &own)).await.0, 204);
    assert_eq!(answer(discord.request(Method::GET, &own)).await.1["code"], 10015);
}

#[tokio::test]
async fn a_direct_message_goes_to_a_person() {
    let discord = Discord::start();
    let open = |id: &str| {
        answer(
            discord
                .as_bot(Method::POST, "/users/@me/channels")
                .json(&json!({"recipient_id": id})),
        )
    };
    let (status, dm) = open("80000000000000001").await;
    assert_eq!((status, &dm["type"]), (200, &json!(1)));
    assert_eq!(open("80000000000000001").await.1["id"], dm["id"]);
    assert_eq!(open("80000000000000999").await.1["code"], 10013);
    let path = format!("/channels/{}/messages", dm["id"].as_str().expect("an id"));
    let (status, message) = answer(discord.as_bot(Method::POST, &path).json(&json!({"content": "hello"}))).await;
    assert_eq!((status, &message["content"]), (200, &json!("hello")));
}

#[tokio::test]
async fn a_link_in_a_message_is_called_by_the_crawler() {
    let discord = Discord::start();
    let link = format!("{}/nothing/here?code=x", discord.about.api_base);
    discord
        .post(&format!("<@{}> see {link} now", discord.about.bot_id))
        .await;
    assert_eq!(discord.simulator.ledger().answer_count("unknown", 404), 0);
    let called = async {
        while discord.simulator.ledger().answer_count("unknown", 404) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), called)
        .await
        .expect("the crawler calls within seconds");
}
