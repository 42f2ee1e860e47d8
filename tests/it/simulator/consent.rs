//! The consent page, as a browser walks it.

use super::support::{Discord, header};
use reqwest::Response;

fn parameters<'a>(about: &'a codeferry::simulator::Description, redirect: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("client_id", &about.application_id),
        ("response_type", "code"),
        ("scope", "identify"),
        ("redirect_uri", redirect),
        ("state", "s1.x.y"),
    ]
}

async fn decide(discord: &Discord, redirect: &str, action: &str) -> Response {
    discord
        .http
        .post(&discord.about.authorize_url)
        .query(&parameters(&discord.about, redirect))
        .form(&[("action", action), ("user_id", "80000000000000001")])
        .send()
        .await
        .expect("an answer")
}

#[tokio::test]
async fn an_approval_brings_a_code_that_can_be_exchanged() {
    let discord = Discord::start();
    let redirect = discord.about.redirect_uri.clone();
    let page = discord
        .http
        .get(&discord.about.authorize_url)
        .query(&parameters(&discord.about, &redirect))
        .send()
        .await
        .expect("a page");
    assert_eq!(page.status(), 200);
    let html = page.text().await.expect("a page");
    assert!(html.contains("<form method=\"post\">") && html.contains("80000000000000001"));

    let back = decide(&discord, &redirect, "approve").await;
    assert_eq!(back.status(), 302);
    let location = header(&back, "location").expect("a location").to_owned();
    let code = location
        .strip_prefix(&format!("{redirect}?code="))
        .and_then(|rest| rest.strip_suffix("&state=s1.x.y"))
        .expect("code and state");
    assert_eq!(code.len(), 30);
    assert_eq!(discord.exchange(code).await.0, 200);
}

#[tokio::test]
async fn a_denial_comes_back_with_discords_own_words() {
    let discord = Discord::start();
    let back = decide(&discord, &discord.about.redirect_uri.clone(), "deny").await;
    assert_eq!(back.status(), 302);
    assert_eq!(
        header(&back, "location").expect("a location"),
        format!(
            "{}?error=access_denied&error_description=The+resource+owner+or+authorization+server+denied+the+request&state=s1.x.y",
            discord.about.redirect_uri
        )
    );
    assert_eq!(discord.simulator.ledger().codes.len(), 0);
}

#[tokio::test]
async fn an_unregistered_redirect_uri_stays_on_discords_page() {
    let discord = Discord::start();
    let answer = decide(&discord, "https://example.org/", "approve").await;
    assert_eq!(answer.status(), 400);
    assert!(header(&answer, "location").is_none());
}

#[tokio::test]
async fn cancelling_without_a_redirect_uri_goes_nowhere_but_approving_takes_the_first() {
    let discord = Discord::start();
    let decide = |action: &'static str| {
        discord
            .http
            .post(&discord.about.authorize_url)
            .json(&serde_json::json!({"client_id": discord.about.application_id, "response_type": "code", "scope": "identify",
                "action": action, "user_id": "80000000000000001"}))
            .send()
    };
    let denied = decide("deny").await.expect("an answer");
    assert_eq!(header(&denied, "location"), Some("/oauth2/error?error=access_denied"));
    let approved = decide("approve").await.expect("an answer");
    assert!(header(&approved, "location").is_some_and(|l| l.starts_with(&discord.about.redirect_uri)));
}
