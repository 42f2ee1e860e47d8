//! Puts the running service together from a checked configuration, and takes it apart again.
//!
//! It owns the order of a start: the store with the journal first, which can be asked from then on; then who we are, then
//! the other actors with the history reading, and the gateway last; what can be checked beside that is checked while codes
//! already flow.

mod checks;
pub mod direct;
pub mod failure;
pub mod settings;
mod sinks;
pub mod wiring;

use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};

use self::checks::{reached, set_command, surroundings, unserved, who_we_are};
use self::failure::of_bot;
use self::wiring::{Core, Journalled, Outside, wire};
use crate::actors::governor::{Governor, Observe};
use crate::actors::journal::Journal;
use crate::actors::listener::Listener;
use crate::actors::pipeline::{Ended, Pipeline};
use crate::config::{Config, Secrets, WireVersion};
use crate::discord::api_base::ApiBase;
use crate::discord::bot::{BotSettings, HttpBotApi};
use crate::discord::gateway::{GatewaySession, GatewaySettings};
use crate::discord::icon::icon;
use crate::discord::resources::HttpResourceServer;
use crate::discord::token_endpoint::{HttpTokenEndpoint, TokenEndpointSettings};
use crate::front::face::Face;
use crate::ids::UserId;
use crate::lifecycle::{Exit, Failure};
use crate::port::contact::Contact;
use crate::port::discord::{ApplicationFacts, BotApi, GatewayNote, TokenEndpoint};
use crate::port::sink::Sink;
use crate::rate::feedback::HttpFeedback;
use crate::secret::{BotToken, Key};
use crate::store::{self, Committer, CommitterHandle, Loaded, StoreOptions};
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
    /// Looks again at what it could not read, after a reload.
    pub listener: Addr<Listener>,
    /// Supervises the actors; `Shutdown` drains.
    pub pipeline: Addr<Pipeline>,
    /// Why it ended by itself, once it has.
    pub ended: watch::Receiver<Option<Ended>>,
    /// The end of the start, beside which codes flow already: the gateway's session, or what is wrong with the
    /// surroundings.
    pub opened: oneshot::Receiver<Result<Opened, Failure>>,
    /// Where results go.
    pub sinks: Vec<Rc<dyn Sink>>,
    /// What Discord says of the application, where there is a bot.
    pub application: Option<ApplicationFacts>,
}

/// What a start came to.
pub struct Opened {
    /// The gateway's session; without a bot there is none.
    pub session: Option<GatewaySession>,
    /// What is not fine yet although codes are taken, in words for the operator.
    pub not_fine: Vec<String>,
}

impl Service {
    /// Waits for Discord and starts everything else. `on_ready` is called when a gateway session began. Once it has
    /// answered, only a drain may end it: exchanges may be under way.
    pub async fn start(
        config: &Config,
        secrets: &Secrets,
        core: &mut Core,
        clock: SharedClock,
        on_ready: Rc<dyn Fn()>,
    ) -> Result<Self, Failure> {
        let base = ApiBase::parse(config.discord.api_base.as_str())
            .map_err(|e| Failure::new(Exit::Usage, "discord.api_base cannot be used").source(e))?;
        let bot_token = secrets.bot_token.clone();
        if bot_token.is_none() && !config.intake.lanes.is_empty() {
            return Err(Failure::new(Exit::Usage, "no bot token").way_out("set CODEFERRY_BOT_TOKEN"));
        }
        let (feedback, mut observed) = mpsc::channel(256);
        let bot = Rc::new(bot_api(secrets, &base, feedback)?);
        let facts = match &bot_token {
            Some(_) => Some(who_we_are(&*bot, config).await?),
            None => None,
        };
        // All that can be refused comes before the first stage: once exchanges begin, only a drain may end them.
        let endpoint = token_endpoint(config, secrets, &base)?;
        let server =
            HttpResourceServer::new(&base, config.discord.guild_id, config.stages.fetch.timeout).map_err(no_client)?;
        let named = sinks::open(config, secrets, &base, &bot, &clock).await?;
        let sinks = named.iter().map(|(_, sink)| Rc::clone(sink)).collect();

        let (notes, noted) = mpsc::channel(NOTES);
        let (commands, uses) = config.commands.connect.as_ref().map(|_| mpsc::channel(USES)).unzip();
        let probe_token = Alphanumeric.sample_string(&mut rand::make_rng::<StdRng>(), 30);
        let actors = wire(
            config,
            secrets,
            core,
            Outside {
                endpoint: Rc::new(endpoint),
                server: Rc::new(server),
                bot: Rc::clone(&bot) as Rc<dyn BotApi>,
                contact: Rc::clone(&bot) as Rc<dyn Contact>,
                uses,
                bot_id: facts
                    .as_ref()
                    .map_or(UserId(config.discord.application_id.0), |f| f.bot),
                sinks: named,
                notes: noted,
            },
            on_ready,
        );
        let observer = actors.governor.clone();
        spawn(async move {
            while let Some(feedback) = observed.recv().await {
                let _ = observer.send(Observe(feedback)).await;
            }
        });

        let application = facts.clone();
        let gateway = bot_token.zip(facts).map(|(token, facts)| GatewaySettings {
            token,
            channels: settings::watched(config).iter().map(|l| l.channel).collect(),
            // Signed messages are read by their mention of the bot.
            message_content: facts.message_content && config.intake.accept.contains(&WireVersion::V0),
            commands,
        });
        let opened = finish_start(config, bot, Rc::clone(&actors.endpoint), probe_token, gateway, notes);
        Ok(Self {
            journal: actors.journal,
            governor: actors.governor,
            listener: actors.listener,
            pipeline: actors.pipeline,
            ended: actors.ended,
            opened,
            sinks,
            application,
        })
    }
}

/// Lets pages show the application as Discord does, where the configuration says nothing else.
pub async fn learn_face(face: Face, config: &Config, application: &ApplicationFacts) {
    let Ok(base) = ApiBase::parse(config.discord.api_base.as_str()) else {
        return;
    };
    let icon = match &application.icon {
        Some(hash) if face.shown_icon().is_none() => icon(&base, application.id, hash).await,
        _ => None,
    };
    face.learn(application.name.clone(), icon);
}

fn no_client(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::new(Exit::Usage, "the HTTP client cannot be created").source(error)
}

fn bot_api(secrets: &Secrets, base: &ApiBase, feedback: mpsc::Sender<HttpFeedback>) -> Result<HttpBotApi, Failure> {
    let settings = BotSettings {
        api_base: base.clone(),
        // Without a token nothing is asked as the bot: there are no lanes, no gateway and no webhook sinks.
        token: secrets.bot_token.clone().unwrap_or_else(|| BotToken::new("")),
        webhook_tokens: secrets.webhook_tokens.clone(),
        timeout: Duration::from_secs(10),
    };
    HttpBotApi::new(settings, feedback).map_err(no_client)
}

fn token_endpoint(config: &Config, secrets: &Secrets, base: &ApiBase) -> Result<HttpTokenEndpoint, Failure> {
    HttpTokenEndpoint::new(&TokenEndpointSettings {
        api_base: base.clone(),
        application: config.discord.application_id,
        secret: secrets.client_secret.clone(),
        redirect_uri: config.discord.redirect_uri.clone(),
        exchange_timeout: config.stages.exchange.timeout,
        revoke_timeout: config.stages.revoke.timeout,
    })
    .map_err(no_client)
}

/// Opens the store and starts what needs nothing of Discord.
pub fn open(config: &Config, secrets: &Secrets, clock: &SharedClock) -> Result<Core, Failure> {
    let (store, loaded, code_hash_key) = open_store(config, clock)?;
    let journalled = Journalled {
        store,
        loaded,
        code_hash_key,
    };
    Ok(Core::new(config, secrets, journalled, clock, rand::make_rng(), None))
}

/// Opens the store and starts its thread; answers what it held and the key under which codes are remembered.
fn open_store(config: &Config, clock: &SharedClock) -> Result<(CommitterHandle, Loaded, Key), Failure> {
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
    Ok((store, loaded, code_hash_key))
}

/// Ends the start while codes already flow: checks the surroundings, sets the slash command and opens the gateway.
fn finish_start(
    config: &Config,
    bot: Rc<HttpBotApi>,
    endpoint: Rc<dyn TokenEndpoint>,
    probe_token: String,
    gateway: Option<GatewaySettings>,
    notes: mpsc::Sender<GatewayNote>,
) -> oneshot::Receiver<Result<Opened, Failure>> {
    let command = set_command(Rc::clone(&bot), config.clone());
    let direct = config.intake.http.listen.is_some();
    let checks = surroundings(
        Rc::clone(&bot),
        settings::watched(config),
        direct,
        endpoint,
        probe_token,
    );
    let redirect = unserved(config.discord.redirect_uri.clone());
    let (told, opened) = oneshot::channel();
    spawn(async move {
        let session = async {
            let Some(settings) = gateway else {
                return Ok(None);
            };
            let session = reached(|| GatewaySession::start(&bot, settings.clone(), notes.clone())).await;
            session
                .map(Some)
                .map_err(|error| of_bot("the gateway cannot be found", error))
        };
        let redirect = async { Ok(redirect.await) };
        let opened = futures_util::future::try_join4(checks, command, redirect, session).await;
        let opened = opened.map(|(mut not_fine, command, redirect, session)| {
            not_fine.extend(command.into_iter().chain(redirect));
            Opened { session, not_fine }
        });
        // The receiver is gone where the service is draining.
        let _ = told.send(opened);
    });
    opened
}

/// Ends the gateway's session, waiting at most a moment.
pub async fn close_gateway(session: Option<GatewaySession>) {
    if let Some(session) = session {
        let _ = tokio::time::timeout(Duration::from_secs(2), session.shutdown()).await;
    }
}

/// Tasks of the start that belong to no actor end with the runtime.
fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(task);
}
