//! Puts the running service together from a checked configuration, and takes it apart again.
//!
//! It owns the order of a start: the store first, then who we are, then the actors with the history reading, and the
//! gateway last; what can be checked beside that is checked while codes already flow.

pub mod direct;
mod link_issuer;
pub mod wiring;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};

use self::wiring::{Callbacks, IDENTIFIES_A_DAY, Journalled, Outside, watched, wire};
use crate::actors::governor::{Governor, Observe};
use crate::actors::journal::Journal;
use crate::actors::listener::{Fatal, WatchedLane};
use crate::actors::pipeline::{Ended, Pipeline};
use crate::config::{Config, LimitsConfig, Secrets, SinkKind};
use crate::delivery::discord_webhook::DiscordWebhook;
use crate::delivery::http::HttpSink;
use crate::delivery::jsonl::JsonLines;
use crate::discord::api_base::ApiBase;
use crate::discord::bot::{BotSettings, HttpBotApi};
use crate::discord::gateway::{GatewaySession, GatewaySettings};
use crate::discord::resources::HttpResourceServer;
use crate::discord::token_endpoint::{HttpTokenEndpoint, TokenEndpointSettings};
use crate::discord::webhook_post::HttpWebhookPost;
use crate::ids::{ChannelId, UserId, WebhookId};
use crate::lifecycle::{Exit, Failure};
use crate::port::contact::{Contact, MOST_CHOICES, OwnCommand};
use crate::port::discord::{ApplicationFacts, BotApi, BotError, RevokeAnswer, TokenEndpoint};
use crate::port::sink::Sink;
use crate::rate::limits::{Limits, RateLimit, WebhookLimit};
use crate::secret::{AccessToken, BotToken, Key};
use crate::store::{self, Committer, CommitterHandle, StoreOptions};
use crate::time::SharedClock;

/// A commit that takes longer than this is taken for a hung disk; the process is gone within 5 s.
const HUNG_AFTER: Duration = Duration::from_secs(4);
/// Notes of the gateway that wait for the listener; more are dropped, for the history has them.
const NOTES: usize = 4096;

/// Uses of slash commands that wait for the command responder; more are dropped.
const USES: usize = 256;

/// A running service.
pub struct Service {
    /// The journal, for the control interface.
    pub journal: Addr<Journal>,
    /// The governor, for the control interface and live limits.
    pub governor: Addr<Governor>,
    /// The actors' keeper: `Shutdown` drains.
    pub pipeline: Addr<Pipeline>,
    /// The store's handle.
    pub store: CommitterHandle,
    /// Why it ended by itself, once it has.
    pub ended: watch::Receiver<Option<Ended>>,
    /// The end of the start, beside which codes flow already: the gateway's session, or what is wrong with the
    /// surroundings. Without a bot there is no session.
    pub opened: oneshot::Receiver<Result<Option<GatewaySession>, Failure>>,
    /// Discord's time as far as it is known.
    pub clock: SharedClock,
    /// The key under which codes are remembered.
    pub code_hash_key: Key,
}

impl Service {
    /// Opens the store and starts everything. `on_ready` is called when a gateway session began. Once it has answered,
    /// only a drain may end it: exchanges may be under way.
    pub async fn start(
        config: &Config,
        secrets: &Secrets,
        clock: SharedClock,
        on_ready: Rc<dyn Fn()>,
    ) -> Result<Self, Failure> {
        let mut random: StdRng = rand::make_rng();
        let options = StoreOptions {
            cache_mb: config.journal.cache_mb,
            ..StoreOptions::new(&config.journal.path, clock.clone())
        };
        let opened = store::open(&options).map_err(|error| {
            let exit = if error.is_locked() { Exit::Failed } else { Exit::Store };
            Failure::new(exit, "the journal cannot be opened").source(error)
        })?;
        for notice in &opened.notices {
            tracing::warn!("{notice}");
        }
        let loaded = opened.loaded;
        tracing::info!(path = %config.journal.path.display(), open = loaded.grants.len(), closed = loaded.closed, "journal opened");
        let code_hash_key = store::keys::code_hash_key(config.data_folder())
            .map_err(|e| Failure::new(Exit::Store, "the key that hashes codes cannot be read").source(e))?;
        let store = Committer::spawn(opened.store, HUNG_AFTER)
            .map_err(|e| Failure::new(Exit::Bug, "the store's thread cannot be started").source(e))?;

        let setup = |e| Failure::new(Exit::Usage, "an HTTP client cannot be made").source(e);
        let base = ApiBase::parse(config.discord.api_base.as_str())
            .map_err(|e| Failure::new(Exit::Usage, "discord.api_base cannot be used").source(e))?;
        let bot_token = secrets.bot_token.clone();
        if bot_token.is_none() && !config.intake.lanes.is_empty() {
            return Err(Failure::new(Exit::Usage, "no bot token").way_out("set CODEFERRY_BOT_TOKEN"));
        }
        let (feedback, mut observed) = mpsc::channel(256);
        let bot = Rc::new(
            HttpBotApi::new(
                BotSettings {
                    api_base: base.clone(),
                    // Without a token nothing is asked as the bot: there are no lanes, no gateway and no webhook sinks.
                    token: bot_token.clone().unwrap_or_else(|| BotToken::new("")),
                    webhook_tokens: secrets.webhook_tokens.clone(),
                    timeout: Duration::from_secs(10),
                },
                feedback,
            )
            .map_err(setup)?,
        );
        let facts = match &bot_token {
            Some(_) => Some(who_we_are(&*bot, config).await?),
            None => None,
        };
        // All that can be refused comes before the first actor: once exchanges begin, only a drain may end them.
        let endpoint = HttpTokenEndpoint::new(&TokenEndpointSettings {
            api_base: base.clone(),
            application: config.discord.application_id,
            secret: secrets.client_secret.clone(),
            redirect_uri: config.discord.redirect_uri.clone(),
            exchange_timeout: config.stages.exchange.timeout,
            revoke_timeout: config.stages.revoke.timeout,
        })
        .map_err(setup)?;
        let server = HttpResourceServer::new(base.clone(), config.discord.guild_id, config.stages.fetch.timeout)
            .map_err(setup)?;
        let sinks = sinks(config, secrets, &base, &bot, &clock).await?;

        let (notes, noted) = mpsc::channel(NOTES);
        let (commands, uses) = config.commands.connect.as_ref().map(|_| mpsc::channel(USES)).unzip();
        let probe_token = Alphanumeric.sample_string(&mut random, 30);
        let actors = wire(
            config,
            secrets,
            Journalled {
                store: store.clone(),
                loaded,
                code_hash_key: code_hash_key.clone(),
            },
            Outside {
                endpoint: Rc::new(endpoint),
                server: Rc::new(server),
                bot: Rc::clone(&bot) as Rc<dyn BotApi>,
                contact: Rc::clone(&bot) as Rc<dyn Contact>,
                uses,
                bot_id: facts
                    .as_ref()
                    .map_or(UserId(config.discord.application_id.0), |f| f.bot),
                sinks,
                notes: noted,
                clock,
                random,
            },
            Callbacks {
                on_ready,
                on_closed: None,
            },
        );
        let observer = actors.governor.clone();
        spawn(async move {
            while let Some(feedback) = observed.recv().await {
                let _ = observer.send(Observe(feedback)).await;
            }
        });

        let lanes = watched(config);
        let command = set_command(Rc::clone(&bot), config.clone());
        let checks = surroundings(Rc::clone(&bot), lanes.clone(), Rc::clone(&actors.endpoint), probe_token);
        let (told, opened) = oneshot::channel();
        let gateway_settings = bot_token.zip(facts).map(|(token, facts)| GatewaySettings {
            token,
            channels: lanes.iter().map(|l| l.channel).collect::<BTreeSet<_>>(),
            message_content: facts.message_content,
            commands,
        });
        spawn(async move {
            let session = async {
                let Some(settings) = gateway_settings else {
                    return Ok(None);
                };
                let session = reached(|| GatewaySession::start(&bot, settings.clone(), notes.clone())).await;
                session
                    .map(Some)
                    .map_err(|error| of_bot("the gateway cannot be found", error))
            };
            let opened = futures_util::future::try_join3(checks, command, session).await;
            // Nobody waits for it any more where the service is draining.
            let _ = told.send(opened.map(|((), (), session)| session));
        });
        Ok(Self {
            journal: actors.journal,
            governor: actors.governor,
            pipeline: actors.pipeline,
            store,
            ended: actors.ended,
            opened,
            clock: actors.clock,
            code_hash_key,
        })
    }
}

/// Ends the gateway's session, waiting at most a moment.
pub async fn close_gateway(session: Option<GatewaySession>) {
    if let Some(session) = session {
        let _ = tokio::time::timeout(Duration::from_secs(2), session.shutdown()).await;
    }
}

/// Asks Discord something, for as long as it cannot be reached: codes wait in the channel meanwhile.
async fn reached<T>(ask: impl AsyncFn() -> Result<T, BotError>) -> Result<T, BotError> {
    let mut wait = Duration::from_millis(500);
    loop {
        match ask().await {
            Err(BotError::Transient { reason, .. }) => {
                tracing::warn!(
                    reason,
                    wait_s = wait.as_secs_f32(),
                    "Discord cannot be reached and is tried again"
                );
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(15));
            }
            clear => return clear,
        }
    }
}

/// Asks Discord who we are.
async fn who_we_are(bot: &dyn BotApi, config: &Config) -> Result<ApplicationFacts, Failure> {
    let facts = reached(|| bot.application()).await;
    let facts = facts.map_err(|error| of_bot("Discord does not accept the bot", error))?;
    if facts.id != config.discord.application_id {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "the bot token belongs to application {}, but discord.application_id is {}",
                facts.id, config.discord.application_id
            ),
        )
        .way_out("use the token and the id of one application, from its pages \"Bot\" and \"General Information\""));
    }
    if !facts.redirect_uris.is_empty() && !facts.redirect_uris.contains(&config.discord.redirect_uri) {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "discord.redirect_uri `{}` is not registered with the application",
                config.discord.redirect_uri
            ),
        )
        .way_out("add it, character by character, under \"OAuth2\" > \"Redirects\" in the developer portal"));
    }
    if !facts.message_content {
        tracing::info!("MESSAGE_CONTENT is off for this application: messages are read by their mention of the bot");
    }
    tracing::info!(application = %facts.id, bot = %facts.bot, "Discord knows the bot");
    Ok(facts)
}

/// What can be checked while codes already flow. A passing fault is no failure; the parts retry by themselves.
async fn surroundings(
    bot: Rc<HttpBotApi>,
    lanes: Vec<WatchedLane>,
    endpoint: Rc<dyn TokenEndpoint>,
    nobodys_token: String,
) -> Result<(), Failure> {
    let probe = async {
        match endpoint.revoke(&AccessToken::new(nobodys_token)).await.outcome {
            RevokeAnswer::CredentialsRefused => Err(Failure::new(
                Exit::Usage,
                "Discord refuses the application's credentials (invalid_client)",
            )
            .way_out("check discord.application_id and CODEFERRY_CLIENT_SECRET (page \"OAuth2\" of the portal)")),
            RevokeAnswer::Revoked | RevokeAnswer::Retry { .. } => Ok(()),
        }
    };
    let looked = lanes.iter().map(|lane| async {
        match bot.channel(lane.channel).await {
            Ok(()) | Err(BotError::Transient { .. }) => {}
            Err(error) => return Err(of_bot(&unreadable(lane.channel), error)),
        }
        match bot.webhook_channel(lane.webhook).await {
            Ok(channel) if channel == lane.channel => Ok(()),
            Ok(channel) => Err(Failure::new(
                Exit::Usage,
                format!(
                    "lane {}: webhook {} posts into channel {channel}, not {}",
                    lane.lane, lane.webhook, lane.channel
                ),
            )
            .way_out("correct intake.lanes, or move the webhook")),
            // Without MANAGE_WEBHOOKS it cannot be looked at; the first message will show.
            Err(BotError::Forbidden { .. } | BotError::Transient { .. }) => Ok(()),
            Err(error) => Err(of_bot(&format!("lane {}: webhook {}", lane.lane, lane.webhook), error)),
        }
    });
    let (probed, looked) = futures_util::future::join(probe, futures_util::future::join_all(looked)).await;
    probed?;
    looked.into_iter().collect()
}

/// Makes the slash command what the configuration says. Where Discord cannot be reached it is tried again beside
/// everything else: the command of the last start is still there.
async fn set_command(bot: Rc<HttpBotApi>, config: Config) -> Result<(), Failure> {
    let Some(name) = config.commands.connect.clone() else {
        return Ok(());
    };
    let purposes = &config.state.purposes;
    if let Some(unoffered) = purposes.get(MOST_CHOICES..).filter(|rest| !rest.is_empty()) {
        tracing::warn!(
            unoffered = unoffered.len(),
            "the slash command offers the first {MOST_CHOICES} of state.purposes: Discord shows no more choices"
        );
    }
    let set = async move |bot: &HttpBotApi| {
        let purposes = &config.state.purposes;
        let command = OwnCommand {
            name: &name,
            phrases: &config.commands.texts,
            // One that cannot be chosen differently needs no choice.
            purposes: if purposes.len() > 1 { purposes.as_slice() } else { &[] },
        };
        bot.set_command(config.discord.application_id, &command).await?;
        tracing::info!(command = %name, "the slash command is set");
        Ok(())
    };
    match set(&bot).await {
        Ok(()) => Ok(()),
        Err(BotError::Transient { reason, .. }) => {
            tracing::warn!(reason, "the slash command could not be set and is tried again");
            spawn(async move {
                if let Err(error) = reached(async || set(&bot).await).await {
                    tracing::error!(%error, "the slash command was refused: people cannot use it");
                }
            });
            Ok(())
        }
        Err(error) => Err(of_bot("the slash command of commands.connect cannot be set", error)),
    }
}

/// The same words whether the checks of the start find it or the reading of history.
fn unreadable(channel: ChannelId) -> String {
    format!("channel {channel} of intake.lanes cannot be read")
}

/// A bot route's refusal as a failure with its exit code and the way out.
pub fn of_bot(what: &str, error: BotError) -> Failure {
    let (exit, advice) = match &error {
        BotError::Unauthorized => (
            Exit::Usage,
            "check CODEFERRY_BOT_TOKEN (page \"Bot\" of the portal; reset it there if in doubt)",
        ),
        BotError::Forbidden { .. } => (
            Exit::Usage,
            "give the bot View Channel and Read Message History in that channel",
        ),
        // Unknown Webhook (Discord Docs/Topics/Opcodes and Status Codes).
        BotError::NotFound { code: 10015 } => (
            Exit::Usage,
            "check webhook_id; if the webhook was deleted, make a new one on the channel's page \"Integrations\"",
        ),
        BotError::Refused { .. } => (Exit::Usage, "see the code in Discord's documentation"),
        BotError::NotFound { .. } => (
            Exit::Usage,
            "check channel_id, and that the bot is a member of that server",
        ),
        BotError::Transient { .. } => (Exit::Failed, "check the network and discord.api_base, then start again"),
    };
    Failure::new(exit, what).source(error).way_out(advice)
}

/// What ended the service by itself, as a failure with its exit code and the way out.
pub fn of_end(ended: Ended) -> Failure {
    match ended {
        Ended::Store(error) => {
            let advice = if error.is_disk_full() {
                "free some room on the disk and start again; codes that came meanwhile are in the channel"
            } else {
                "look at the disk, then start again; `codeferry debug verify` checks the journal"
            };
            Failure::new(Exit::Store, "the journal cannot be written")
                .source(error)
                .way_out(advice)
        }
        Ended::Died(who) => Failure::new(Exit::Bug, format!("the {who} died; please report the lines above")),
        Ended::Operator(Fatal::Bot { channel, error }) => of_bot(&unreadable(channel), error),
        Ended::Operator(Fatal::TooManyIdentifies) => Failure::new(
            Exit::Failed,
            format!(
                "{IDENTIFIES_A_DAY} gateway sessions were begun within a day; at 1,000 Discord resets the bot's token"
            ),
        )
        .way_out("find out why the service restarts or loses its session so often, then start it tomorrow"),
        Ended::Operator(Fatal::Gateway(code)) => {
            let (message, advice) = match code {
                Some(4004) => (
                    "the gateway refused the bot's token (close code 4004)",
                    "check CODEFERRY_BOT_TOKEN",
                ),
                Some(4014) => (
                    "the gateway refused an intent (close code 4014)",
                    "switch on MESSAGE CONTENT INTENT on the page \"Bot\" of the portal and start again",
                ),
                _ => (
                    "the gateway closed the session for good",
                    "see the log; check the bot's page in the portal",
                ),
            };
            Failure::new(Exit::Usage, message).way_out(advice)
        }
    }
}

/// The governor's limits.
pub fn limits(config: &LimitsConfig) -> Limits {
    let rate = |r: crate::config::RateLimit| RateLimit {
        per_second: r.per_second,
        burst: r.burst,
    };
    Limits {
        webhook: config.webhook.map(|w| WebhookLimit {
            per_minute: w.per_minute,
            burst: w.burst,
        }),
        global: config.global.map(rate),
        oauth: config.oauth.map(rate),
        invalid_requests: config.invalid_requests,
    }
}

async fn sinks(
    config: &Config,
    secrets: &Secrets,
    base: &ApiBase,
    bot: &Rc<HttpBotApi>,
    clock: &SharedClock,
) -> Result<Vec<(String, Rc<dyn Sink>)>, Failure> {
    let setup = |e| Failure::new(Exit::Usage, "an HTTP client cannot be made").source(e);
    let timeout = config.stages.deliver.timeout;
    let tokens: &BTreeMap<WebhookId, _> = &secrets.webhook_tokens;
    let mut made: Vec<(String, Rc<dyn Sink>)> = Vec::new();
    for sink in &config.sinks {
        let made_one: Rc<dyn Sink> = match &sink.kind {
            SinkKind::Jsonl { path, rotate_mb } => {
                JsonLines::open(path, rotate_mb.map(|mb| mb * 1_000_000), clock.clone()).map_err(|e| {
                    Failure::new(Exit::Usage, format!("delivery `{}`", sink.name))
                        .source(e)
                        .way_out("correct the path, or let the user that runs codeferry write there")
                })?
            }
            SinkKind::Http { url } => {
                let secret = secrets.callback_secret.as_ref().ok_or_else(|| {
                    Failure::new(Exit::Usage, "no callback secret").way_out("set CODEFERRY_CALLBACK_SECRET")
                })?;
                let http = HttpSink::new(url.clone(), secret, timeout, clock.clone())
                    .map_err(|e| Failure::new(Exit::Usage, format!("delivery `{}`", sink.name)).source(e))?;
                Rc::new(http)
            }
            SinkKind::DiscordWebhook { webhook_id } => {
                let channel = reached(|| bot.webhook_channel(*webhook_id))
                    .await
                    .map_err(|e| of_bot(&format!("delivery `{}`: webhook {webhook_id}", sink.name), e))?;
                let posts =
                    HttpWebhookPost::new(base.clone(), tokens.clone(), timeout, Rc::clone(bot)).map_err(setup)?;
                Rc::new(DiscordWebhook::new(Rc::new(posts), channel, *webhook_id))
            }
        };
        made.push((sink.name.clone(), made_one));
    }
    Ok(made)
}

/// Tasks of the start that belong to no actor end with the runtime.
fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}
