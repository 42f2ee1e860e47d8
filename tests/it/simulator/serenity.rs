//! The client that speaks to Discord speaks to the simulator, and its typed models take the answers.

use serenity::all::{ChannelId, GuildId, Http, HttpBuilder, MessagePagination, UserId, WebhookId};
use serenity::json::json;

use super::support::Discord;

fn client(discord: &Discord) -> Http {
    HttpBuilder::new(&discord.about.bot_token)
        .client(discord.http.clone())
        .proxy(&discord.about.base_url)
        .ratelimiter_disabled(true)
        .build()
}

fn number(id: &str) -> u64 {
    id.parse().expect("an id")
}

#[tokio::test]
async fn every_answer_parses_as_serenitys_model() {
    let discord = Discord::start();
    let http = client(&discord);
    let channel = ChannelId::new(number(&discord.about.lanes[0].channel_id));
    let webhook = &discord.about.lanes[0].webhook;
    discord.post(&format!("<@{}> hello", discord.about.bot_id)).await;

    assert_eq!(
        http.get_gateway().await.expect("a gateway").url,
        discord.about.gateway_url
    );
    assert_eq!(http.get_bot_gateway().await.expect("a gateway").shards, 1);
    let application = http.get_current_application_info().await.expect("an application");
    assert_eq!(application.id.get(), number(&discord.about.application_id));
    assert!(http.get_current_user().await.expect("a user").bot);
    let guild = GuildId::new(number(&discord.about.guild_id));
    assert_eq!(
        http.get_guild(guild).await.expect("a guild").owner_id.get(),
        number(&discord.about.owner_id)
    );
    assert_eq!(http.get_channels(guild).await.expect("channels").len(), 2);
    let bot = UserId::new(number(&discord.about.bot_id));
    assert_eq!(http.get_member(guild, bot).await.expect("a member").user.id, bot);
    http.get_channel(channel)
        .await
        .expect("a channel")
        .guild()
        .expect("of a guild");
    assert_eq!(http.get_channel_webhooks(channel).await.expect("webhooks").len(), 2);
    let found = http
        .get_webhook(WebhookId::new(number(&webhook.id)))
        .await
        .expect("a webhook");
    assert_eq!(found.channel_id, Some(channel));

    let page = http
        .get_messages(channel, Some(MessagePagination::After(1_u64.into())), Some(100))
        .await
        .expect("messages");
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].webhook_id.map(WebhookId::get), Some(number(&webhook.id)));
    assert!(page[0].mentions.iter().any(|m| m.id == bot));
    let made = http
        .send_message(channel, Vec::new(), &json!({"content": "made"}))
        .await
        .expect("a message");
    assert_eq!(made.content, "made");
    http.create_reaction(channel, made.id, &'\u{2705}'.into())
        .await
        .expect("a reaction");
    http.delete_message(channel, made.id, None).await.expect("gone");
    let error = http
        .delete_message(channel, made.id, None)
        .await
        .expect_err("gone before");
    assert!(error.to_string().contains("Unknown Message"), "{error}");
    let dm = http
        .create_private_channel(&json!({"recipient_id": discord.about.people[0]}))
        .await
        .expect("a channel");
    assert_eq!(dm.recipient.id.get(), number(&discord.about.people[0]));
}
