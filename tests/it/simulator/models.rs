//! A client's typed models, written by others, take every answer.

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twilight_model::channel::{Channel, Message, Webhook};
use twilight_model::gateway::connection_info::{BotConnectionInfo, ConnectionInfo};
use twilight_model::guild::{Guild, Member};
use twilight_model::oauth::Application;
use twilight_model::user::CurrentUser;

use super::support::{Discord, answer};

#[track_caller]
fn typed<T: DeserializeOwned>((status, body): (u16, Value)) -> T {
    assert_eq!(status, 200, "{body}");
    serde_json::from_value(body.clone()).unwrap_or_else(|e| panic!("{e}: {body}"))
}

async fn get<T: DeserializeOwned>(discord: &Discord, path: &str) -> T {
    typed(answer(discord.as_bot(Method::GET, path)).await)
}

async fn post<T: DeserializeOwned>(discord: &Discord, path: &str, body: &Value) -> T {
    typed(answer(discord.as_bot(Method::POST, path).json(body)).await)
}

#[tokio::test]
async fn every_answer_parses_as_a_clients_model() {
    let discord = Discord::start();
    let about = &discord.about;
    let (channel, guild, bot) = (&about.lanes[0].channel_id, &about.guild_id, &about.bot_id);
    let webhook = &about.lanes[0].webhook.id;
    discord.post(&format!("<@{bot}> hello")).await;

    let gateway: ConnectionInfo = get(&discord, "/gateway").await;
    assert_eq!(gateway.url, about.gateway_url);
    let gateway: BotConnectionInfo = get(&discord, "/gateway/bot").await;
    assert_eq!((gateway.shards, gateway.session_start_limit.remaining), (1, 1000));
    let application: Application = get(&discord, "/applications/@me").await;
    assert_eq!(application.id.to_string(), about.application_id);
    assert!(get::<CurrentUser>(&discord, "/users/@me").await.bot);
    let found: Guild = get(&discord, &format!("/guilds/{guild}")).await;
    assert_eq!(found.owner_id.to_string(), about.owner_id);
    let channels: Vec<Channel> = get(&discord, &format!("/guilds/{guild}/channels")).await;
    assert_eq!(channels.len(), 2);
    let member: Member = get(&discord, &format!("/guilds/{guild}/members/{bot}")).await;
    assert_eq!(&member.user.id.to_string(), bot);
    let found: Channel = get(&discord, &format!("/channels/{channel}")).await;
    assert_eq!(found.guild_id.map(|id| id.to_string()).as_ref(), Some(guild));
    let webhooks: Vec<Webhook> = get(&discord, &format!("/channels/{channel}/webhooks")).await;
    assert_eq!(webhooks.len(), 2);
    let found: Webhook = get(&discord, &format!("/webhooks/{webhook}")).await;
    assert_eq!(found.channel_id.map(|id| id.to_string()).as_ref(), Some(channel));

    let messages = format!("/channels/{channel}/messages");
    let page: Vec<Message> = get(&discord, &format!("{messages}?after=1&limit=100")).await;
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].webhook_id.map(|id| id.to_string()).as_ref(), Some(webhook));
    assert!(page[0].mentions.iter().any(|m| &m.id.to_string() == bot));
    let made: Message = post(&discord, &messages, &json!({"content": "made"})).await;
    assert_eq!(made.content, "made");
    let person = &about.people[0];
    let direct: Channel = post(&discord, "/users/@me/channels", &json!({"recipient_id": person})).await;
    let recipients = direct.recipients.unwrap_or_default();
    assert_eq!(&recipients[0].id.to_string(), person);
}
