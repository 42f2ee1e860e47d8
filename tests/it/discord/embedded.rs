//! Every adapter against the embedded Discord, in the order of a grant's life.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use codeferry::discord::api_base::ApiBase;
use codeferry::discord::bot::{BotSettings, HttpBotApi};
use codeferry::discord::gateway::{GatewaySession, GatewaySettings};
use codeferry::discord::resources::HttpResourceServer;
use codeferry::discord::token_endpoint::{HttpTokenEndpoint, TokenEndpointSettings};
use codeferry::discord::webhook_post::HttpWebhookPost;
use codeferry::ids::{ApplicationId, ChannelId, GuildId, MessageId, UserId, WebhookId};
use codeferry::port::discord::{
    BotApi, BotError, ExchangeAnswer, FetchAnswer, GatewayNote, HistoryPage, Resource, ResourceServer, RevokeAnswer,
    TokenEndpoint,
};
use codeferry::port::webhook::{PostAnswer, WebhookPost};
use codeferry::secret::{AccessToken, AuthorizationCode, BotToken, ClientSecret, WebhookToken};
use codeferry::simulator::gateway::GatewayFault;
use codeferry::simulator::{CodeRequest, Description, PostRequest, Simulator, SimulatorOptions};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

const TIMEOUT: Duration = Duration::from_secs(5);
const PERSON: u64 = 80_000_000_000_000_001;

struct Discord {
    simulator: Simulator,
    described: Description,
    base: ApiBase,
    channel: ChannelId,
    webhook: WebhookId,
    webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
}

impl Discord {
    fn start() -> Self {
        let simulator = Simulator::start(SimulatorOptions::default()).expect("a port is free");
        let described = simulator.describe();
        let lane = &described.lanes[0];
        let webhook = lane.webhook.id.parse().expect("an id");
        Self {
            base: ApiBase::parse(&described.api_base).expect("loopback"),
            channel: lane.channel_id.parse().expect("an id"),
            webhook,
            webhook_tokens: BTreeMap::from([(webhook, WebhookToken::new(lane.webhook.token.clone()))]),
            simulator,
            described,
        }
    }

    fn token_endpoint(&self, secret: &str) -> HttpTokenEndpoint {
        HttpTokenEndpoint::new(&TokenEndpointSettings {
            api_base: self.base.clone(),
            application: self.application(),
            secret: ClientSecret::new(secret),
            redirect_uri: self.described.redirect_uri.clone(),
            exchange_timeout: TIMEOUT,
            revoke_timeout: TIMEOUT,
        })
        .expect("good settings")
    }

    fn application(&self) -> ApplicationId {
        self.described.application_id.parse().expect("an id")
    }

    fn bot(&self, token: &str) -> HttpBotApi {
        let settings = BotSettings {
            api_base: self.base.clone(),
            token: BotToken::new(token),
            webhook_tokens: self.webhook_tokens.clone(),
            timeout: TIMEOUT,
        };
        HttpBotApi::new(settings, mpsc::channel(100).0).expect("good settings")
    }

    async fn session(&self, message_content: bool) -> (GatewaySession, mpsc::Receiver<GatewayNote>) {
        let (sender, notes) = mpsc::channel(100);
        let settings = GatewaySettings {
            token: BotToken::new(self.described.bot_token.clone()),
            channels: BTreeSet::from([self.channel]),
            message_content,
            commands: None,
        };
        let session = GatewaySession::start(&self.bot(&self.described.bot_token), settings, sender).await;
        (session.expect("the gateway is there"), notes)
    }
}

#[tokio::test]
async fn a_code_becomes_a_token_the_token_data_and_then_it_dies() {
    let discord = Discord::start();
    let endpoint = discord.token_endpoint(&discord.described.client_secret);
    let request = CodeRequest::of(PERSON).with_scopes(&["identify", "guilds", "connections"]);
    let code = AuthorizationCode::new(discord.simulator.mint_codes(&request).remove(0));

    let ExchangeAnswer::Token(token) = endpoint.exchange(&code, None).await.outcome else {
        panic!("no token");
    };
    assert_eq!(
        token.scopes.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(["connections", "guilds", "identify"])
    );
    let again = endpoint.exchange(&code, None).await.outcome;
    assert!(
        matches!(&again, ExchangeAnswer::Refused(r) if r.as_str() == "invalid_grant"),
        "{again:?}"
    );

    let guild: GuildId = discord.described.guild_id.parse().expect("an id");
    let resources = HttpResourceServer::new(&discord.base, Some(guild), TIMEOUT).expect("good settings");
    for resource in [Resource::User, Resource::Connections, Resource::Guilds] {
        let answered = resources.fetch(&token.access, resource).await;
        let FetchAnswer::Data { user, .. } = answered.outcome else {
            panic!("{resource:?}: {answered:?}");
        };
        assert_eq!(user, (resource == Resource::User).then_some(UserId(PERSON)));
        assert!(answered.feedback.and_then(|f| f.server_time()).is_some(), "a `Date`");
    }
    for _ in 0..2 {
        let revoked = endpoint.revoke(&token.access).await.outcome;
        assert!(matches!(revoked, RevokeAnswer::Revoked), "{revoked:?}");
    }
    let dead = resources.fetch(&token.access, Resource::User).await.outcome;
    assert!(matches!(dead, FetchAnswer::Unauthorized), "{dead:?}");
}

#[tokio::test]
async fn wrong_credentials_are_told_apart_from_a_bad_code_and_a_bad_token() {
    let discord = Discord::start();
    let stranger = discord.token_endpoint("wrong");
    let code = AuthorizationCode::new("nobody-knows-this-code");
    let refused = stranger.exchange(&code, None).await.outcome;
    assert!(matches!(refused, ExchangeAnswer::CredentialsRefused), "{refused:?}");
    let probe = AccessToken::new("nobody-knows-this-token");
    let refused = stranger.revoke(&probe).await.outcome;
    assert!(matches!(refused, RevokeAnswer::CredentialsRefused), "{refused:?}");
    let ours = discord.token_endpoint(&discord.described.client_secret);
    let fine = ours.revoke(&probe).await.outcome;
    assert!(matches!(fine, RevokeAnswer::Revoked), "{fine:?}");
    let refused = discord.bot("wrong").application().await;
    assert_eq!(refused.err(), Some(BotError::Unauthorized));
}

#[tokio::test]
async fn the_bot_sees_its_portal_its_channel_and_its_source_messages() {
    let discord = Discord::start();
    let bot = discord.bot(&discord.described.bot_token);
    let facts = bot.application().await.expect("the record");
    assert_eq!(facts.id, discord.application());
    assert_eq!(facts.bot.to_string(), discord.described.bot_id);
    assert!(facts.redirect_uris.contains(&discord.described.redirect_uri));
    bot.channel(discord.channel).await.expect("visible");
    assert_eq!(bot.webhook_channel(discord.webhook).await, Ok(discord.channel));

    let content = format!("<@{}> hello", discord.described.bot_id);
    let source_message = PostRequest::webhook(discord.webhook.0, content.clone());
    let id = MessageId(discord.simulator.post(source_message).expect("posted"));
    let page = bot
        .history(discord.channel, HistoryPage::After(0))
        .await
        .expect("a page");
    let message = page.iter().find(|m| m.id == id).expect("in the history");
    assert_eq!(
        (message.webhook, message.content.as_str()),
        (Some(discord.webhook), content.as_str())
    );
    bot.react(discord.channel, id).await.expect("marked");
    for _ in 0..2 {
        bot.delete_message(discord.channel, discord.webhook, id)
            .await
            .expect("gone");
    }
    let page = bot
        .history(discord.channel, HistoryPage::After(0))
        .await
        .expect("a page");
    assert!(page.iter().all(|m| m.id != id));
    let nowhere = bot.channel(ChannelId(1_536_340_000_000_009_999)).await;
    assert!(
        matches!(nowhere, Err(BotError::NotFound { .. } | BotError::Forbidden { .. })),
        "{nowhere:?}"
    );
}

#[tokio::test]
async fn a_post_is_made_once_and_found_again_by_its_footer() {
    let discord = Discord::start();
    let bot = Rc::new(discord.bot(&discord.described.bot_token));
    let tokens = discord.webhook_tokens.clone();
    let poster = HttpWebhookPost::new(discord.base.clone(), tokens, TIMEOUT, bot).expect("good settings");
    let body = json!({"embeds": [{"title": "x", "footer": {"text": "mark-1"}}]});
    let answered = poster.execute(discord.webhook, &body).await;
    let PostAnswer::Posted(id) = answered.outcome else {
        panic!("{answered:?}");
    };
    let posts = poster
        .recent(discord.channel, discord.webhook, id.0 - 1)
        .await
        .expect("posts");
    let found: Vec<_> = posts
        .iter()
        .filter(|p| p.footers.iter().any(|f| f == "mark-1"))
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, id);
}

async fn until(notes: &mut mpsc::Receiver<GatewayNote>, what: &str) -> GatewayNote {
    let wanted = async {
        loop {
            let note = notes.recv().await.expect("the session lives");
            if format!("{note:?}").starts_with(what) {
                return note;
            }
        }
    };
    // Two IDENTIFYs lie 5 s apart.
    timeout(4 * TIMEOUT, wanted).await.expect("the note in time")
}

#[tokio::test]
async fn the_gateway_brings_source_messages_and_survives_its_faults() {
    let discord = Discord::start();
    let (session, mut notes) = discord.session(false).await;
    until(&mut notes, "Ready").await;
    let post = |text: &str| {
        let content = format!("<@{}> {text}", discord.described.bot_id);
        discord
            .simulator
            .post(PostRequest::webhook(discord.webhook.0, content))
            .expect("posted")
    };
    for (fault, what) in [
        (None, "first"),
        (Some(GatewayFault::DropConnections), "second"),
        (Some(GatewayFault::Reconnect), "third"),
        (Some(GatewayFault::CloseWithoutCode), "fourth"),
    ] {
        if let Some(fault) = fault {
            discord.simulator.gateway_fault(fault);
            until(&mut notes, "Resumed").await;
        }
        let id = post(what);
        let GatewayNote::Message(message) = until(&mut notes, "Message").await else {
            panic!("no message");
        };
        assert_eq!((message.id.0, message.webhook), (id, Some(discord.webhook)));
        assert!(message.content.ends_with(what));
    }
    assert_eq!(discord.simulator.gateway_status().identifies, 1);
    session.shutdown().await;
}

#[tokio::test]
async fn an_intent_that_the_portal_forbids_is_done_without_once_and_then_fatal_with_its_code() {
    let discord = Discord::start();
    let allowed = discord
        .bot(&discord.described.bot_token)
        .application()
        .await
        .expect("the record")
        .message_content;
    discord.simulator.change_portal(codeferry::simulator::PortalChange {
        flags: Some(0),
        ..Default::default()
    });
    let facts = discord
        .bot(&discord.described.bot_token)
        .application()
        .await
        .expect("the record");
    assert!(!facts.message_content, "was {allowed} before");
    let (session, mut notes) = discord.session(true).await;
    // The pace of IDENTIFYs lies between the refusal and the session without the intent.
    until(&mut notes, "Disconnected").await;
    until(&mut notes, "Ready").await;
    discord.simulator.gateway_fault(GatewayFault::Close { code: 4014 });
    let note = until(&mut notes, "Fatal").await;
    assert!(matches!(note, GatewayNote::Fatal { code: 4014 }), "{note:?}");
    session.shutdown().await;
}
