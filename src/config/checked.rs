//! The checked configuration. A [`Config`] exists only if every rule held; its fields are plain and typed.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::ids::{ApplicationId, ChannelId, GuildId, Lane, UserId, WebhookId};
use crate::intake::network::Network;
use crate::port::discord::Resource;
use crate::text::{Phrases, Template};

/// Everything the operator decided, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[discord]`
    pub discord: DiscordConfig,
    /// `[intake]`
    pub intake: IntakeConfig,
    /// `[state]`
    pub state: StateConfig,
    /// `[gate]`; its limits are `limits`, and follow them.
    pub gate: GateConfig,
    /// `[fetch]`
    pub fetch: FetchConfig,
    /// `[limits]`; applied without a restart.
    pub limits: LimitsConfig,
    /// `[stages]`
    pub stages: StagesConfig,
    /// `[[delivery]]`: at least one, names unique.
    pub sinks: Vec<SinkConfig>,
    /// `[journal]`
    pub journal: JournalConfig,
    /// `[control]`
    pub control: ControlConfig,
    /// `[commands]`
    pub commands: CommandsConfig,
    /// `[reinvite]`
    pub reinvite: ReinviteConfig,
    /// `[hookdeck]`
    pub hookdeck: HookdeckConfig,
    /// Whom a relay's messages mention: `relay.bot_id`, or the application's id, which is its bot's since 2016.
    pub relay_bot: UserId,
    /// `[shutdown]`
    pub shutdown: ShutdownConfig,
    /// `[log]`; applied without a restart.
    pub log: LogConfig,
    /// The file it was read from; `None` where there was none and the environment said everything.
    pub file: Option<PathBuf>,
}

impl Config {
    /// The folder that holds all of codeferry's data: the parent of `journal.path`.
    pub fn data_folder(&self) -> &Path {
        self.journal.path.parent().unwrap_or(Path::new("."))
    }
}

/// `[discord]`: the application and where Discord is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscordConfig {
    /// The API with its version, without query or fragment; no slash at the end unless the path is empty.
    pub api_base: Url,
    /// The page on which a person approves, without query or fragment.
    pub authorize_url: Url,
    /// The application, which is also OAuth2's `client_id`.
    pub application_id: ApplicationId,
    /// The redirect URI exactly as written: Discord compares it letter by letter.
    pub redirect_uri: String,
    /// The scopes asked for: at least one, each once.
    pub scopes: Vec<String>,
    /// The guild whose `member` resource is fetched.
    pub guild_id: Option<GuildId>,
}

/// `[intake]`: how codes come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeConfig {
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// The message versions that are accepted: at least one, each once.
    pub accept: Vec<WireVersion>,
    /// What happens to a source message whose codes are spent.
    pub after_receipt: AfterReceipt,
    /// How often each channel's history is read.
    pub poll_every: Duration,
    /// The lanes, in order, at most 256; empty only if `http_listen` is set.
    pub lanes: Vec<LaneConfig>,
    /// `[intake.http] listen`: direct intake.
    pub http_listen: Option<SocketAddr>,
    /// `[intake.http]`: how it meets browsers.
    pub http_front: FrontConfig,
}

/// How browsers are met, by the relay and by direct intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontConfig {
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The folder of own pages.
    pub pages: Option<PathBuf>,
}

/// One `[[intake.lanes]]`: a channel and the webhook that may post codes into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneConfig {
    /// Its place in the file, from 0.
    pub lane: Lane,
    /// The channel; no two lanes share one.
    pub channel_id: ChannelId,
    /// The webhook; no two lanes share one.
    pub webhook_id: WebhookId,
    /// How many codes the relay may put into one message, 1 to 18.
    pub pack: u8,
}

/// `[state]`: the OAuth2 `state` parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// What a state must be.
    pub mode: StateMode,
    /// How long a link may be used.
    pub lifetime: Duration,
    /// The purposes' names; a token carries the index. 1 to 256.
    pub purposes: Vec<String>,
}

impl StateConfig {
    /// A purpose's index, which a state token carries.
    pub fn purpose_index(&self, name: &str) -> Option<u8> {
        let index = self.purposes.iter().position(|p| p == name);
        index.and_then(|i| u8::try_from(i).ok())
    }
}

impl From<StateMode> for crate::intake::state::StateMode {
    fn from(mode: StateMode) -> Self {
        match mode {
            StateMode::Signed => Self::Signed,
            StateMode::UserId => Self::UserId,
            StateMode::Any => Self::Any,
        }
    }
}

/// `[gate]`: how many links may be outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateConfig {
    /// `gate.share` in thousandths, 1 to 1,000.
    pub share_permille: u16,
}

/// `[fetch]`: what is read with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchConfig {
    /// The resources, each once; `user` is always among them.
    pub resources: Vec<Resource>,
}

impl FetchConfig {
    /// Whether a resource is asked for.
    pub fn wants(&self, resource: Resource) -> bool {
        self.resources.contains(&resource)
    }
}

/// `[limits]`. `None` stands for `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Webhook posts, for each channel.
    pub webhook: Option<WebhookLimit>,
    /// Every call that is not a webhook post.
    pub global: Option<RateLimit>,
    /// The OAuth2 endpoints, within `global`.
    pub oauth: Option<RateLimit>,
    /// Answers of 401, 403 and 429 within ten minutes at which everything stops; 0 never stops.
    pub invalid_requests: u32,
}

/// A strict total: never more than `per_minute` in any 60 s, of which `burst` may go at once; `burst < per_minute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookLimit {
    /// The total of any minute.
    pub per_minute: u32,
    /// How many may go at once after a pause.
    pub burst: u32,
}

/// A plain rate: `burst` at once, refilled `per_second`; both at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The refill.
    pub per_second: u32,
    /// The depth.
    pub burst: u32,
}

/// `[stages]`: one for each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StagesConfig {
    /// `[stages.exchange]`
    pub exchange: StageConfig,
    /// `[stages.fetch]`
    pub fetch: StageConfig,
    /// `[stages.deliver]`
    pub deliver: StageConfig,
    /// `[stages.revoke]`
    pub revoke: StageConfig,
}

/// How much one stage does at once, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageConfig {
    /// Grants held at the same time, at least 1.
    pub slots: usize,
    /// The longest that one outside call may take.
    pub timeout: Duration,
}

/// One `[[delivery]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// Its name: 1 to 32 of `[a-z0-9_-]`; stored with each delivery, so a renamed sink is a new one.
    pub name: String,
    /// Where it delivers to.
    pub kind: SinkKind,
}

/// Where a sink delivers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// A file of JSON lines.
    Jsonl {
        /// The file.
        path: PathBuf,
        /// Megabytes (10^6 bytes) at which a new file is begun; `None` never.
        rotate_mb: Option<u64>,
    },
    /// A signed HTTP callback (Standard Webhooks).
    Http {
        /// Where to post; https, or http on loopback.
        url: Url,
    },
    /// A message in a Discord channel.
    DiscordWebhook {
        /// The webhook; never one of the lanes'.
        webhook_id: WebhookId,
    },
}

impl SinkKind {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Jsonl { .. } => "jsonl",
            Self::Http { .. } => "http",
            Self::DiscordWebhook { .. } => "discord_webhook",
        }
    }
}

/// `[journal]`: the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalConfig {
    /// The store's folder; its parent is the data folder.
    pub path: PathBuf,
    /// The store's cache in megabytes (10^6 bytes).
    pub cache_mb: u64,
    /// Open grants at which intake stops.
    pub max_open: u64,
    /// How long a closed grant's id, times and outcome are kept.
    pub closed_retention: Duration,
    /// How long a parked delivery is kept before it is given up.
    pub keep_parked: Duration,
}

/// `[control]`: the running service's own interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlConfig {
    /// The unix socket; `None` = none.
    pub socket: Option<PathBuf>,
    /// The TCP address, which needs a token; `None` = none.
    pub listen: Option<SocketAddr>,
}

/// `[commands]`: the bot's own slash command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandsConfig {
    /// Its name; `None` = there is none.
    pub connect: Option<String>,
    /// Its texts, each language once; the first ones are `en`, for everybody who reads none of the others.
    pub texts: Vec<Phrases>,
}

/// `[reinvite]`: what is done when a code dies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReinviteConfig {
    /// Whether its person is sent a fresh link.
    pub enabled: bool,
    /// The message; knows `link`, which is on a button where the text does not use it, and `minutes`.
    pub text: Template,
    /// What stands on the button, 1 to 80 characters.
    pub button: Template,
}

/// `[hookdeck]`: the project that `codeferry hookdeck` sets up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookdeckConfig {
    /// The API with its version.
    pub api_base: Url,
    /// Begins the name of everything in the project.
    pub name: String,
}

/// `[shutdown]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// How long work in hand may take to end.
    pub grace: Duration,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important level that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every word, in order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word for it in the configuration.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What a word means.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    )+};
}

words! {
    /// A version of the message that carries codes.
    WireVersion {
        /// The classic relay script's JSON, unauthenticated.
        V0 = "v0",
        /// Ours, with a MAC.
        V1 = "v1",
    }
    /// What happens to a source message whose codes are spent.
    AfterReceipt {
        /// It is removed.
        Delete = "delete",
        /// It gets a reaction.
        React = "react",
        /// Nothing.
        Keep = "keep",
    }
    /// What a state must be.
    StateMode {
        /// A signed token of ours.
        Signed = "signed",
        /// A bare user id, as the classic relay script has it.
        UserId = "user_id",
        /// Anything, also nothing.
        Any = "any",
    }
    /// A log level.
    LogLevel {
        /// Nothing.
        Off = "off",
        /// What failed for good.
        Error = "error",
        /// What an operator should look at.
        Warn = "warn",
        /// What an operator wants to see.
        Info = "info",
        /// What a developer wants to see.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
    /// How a log line looks.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
