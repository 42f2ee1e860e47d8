//! Every key of the configuration: its name, type, default, rule, help, and whether a running service applies it. This is
//! the only place; the schema, `config/default.toml`, variables, `config show` and reloads follow from it.
//!
//! A line reads `name: Type = default, rule, example value;`. Default and example are TOML; a key without a default is
//! required unless its rule is `optional`. The comment above a key is its help, to which the rule adds its bounds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use url::Url;

use super::check::At;
use super::rules::{
    Permille, Rule, address, base_url, colour, id, lanes, limit, list, log_level, name, optional, or_none, path,
    proxies, section, share, some_of, span, switch, title, verbatim_url, whole, word,
};
use super::scopes::scope;
use super::section::{Changes, Section, keys};
use super::shape::{Key, Shape, below};
use super::sinks::{SinkConfig, sinks};
use super::texts::{command_name, message, texts};
use crate::ids::{ApplicationId, ChannelId, GuildId, Lane, UserId, WebhookId};
use crate::intake::message::AfterReceipt;
use crate::intake::state::StateMode;
use crate::port::discord::Resource;
use crate::rate::limits::{Limits, RateLimit, WebhookLimit};
use crate::text::{LONGEST_LABEL, LONGEST_MESSAGE, Phrases, Template};

/// The whole table.
pub(super) static ROOT: LazyLock<Shape> = LazyLock::new(|| Shape::Table(Config::keys()));

const MS_100: Duration = Duration::from_millis(100);
/// A century: more than anybody means, and far from overflowing a timestamp.
const CENTURY: Duration = Duration::from_hours(100 * 8_766);

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

keys! {
    /// The configuration without its secrets. It exists only if every rule holds.
    pub struct Config(file: Option<PathBuf> = At::file, "The file it was read from, if there was one.") {
        /// The application, and where Discord is.
        discord: DiscordConfig, section();
        /// How codes come in.
        intake: IntakeConfig, section();
        /// Only `codeferry relay` reads this section, but for bot_id, which the settings of other relays follow too.
        relay: RelaySection, section().unread();
        /// The OAuth2 state.
        state: StateConfig, section();
        /// How many links may be outstanding.
        gate: GateConfig, section();
        /// The data that is fetched.
        fetch: FetchConfig, section();
        /// Rate limits; a change applies without a restart.
        limits: Limits, section().live();
        /// How many grants each step works on at once, and for how long.
        stages: StagesConfig, section();
        /// One block for each place where results go. At least one is required.
        delivery: Vec<SinkConfig>, sinks(), example [
            { name = "results", kind = "jsonl", path = "data/results.jsonl", rotate_mb = 100 },
            { name = "callback", kind = "http", url = "https://app.example/codeferry", allow_http = false },
            { name = "channel", kind = "discord_webhook", webhook_id = "1536000000000000005" },
        ];
        /// The store.
        journal: JournalConfig, section();
        /// The control interface of the running service.
        control: ControlConfig, section();
        /// The bot's slash command.
        commands: CommandsConfig, section();
        /// What happens when a code expires.
        reinvite: ReinviteConfig, section();
        /// The Hookdeck project; only `codeferry hookdeck` uses it.
        hookdeck: HookdeckConfig, section();
        /// What the pages show of the application. A relay reads it too; `codeferry worker script` writes it into the script.
        pages: PagesConfig, section();
        /// Whom calls trust. A relay reads it too.
        tls: TlsConfig, section();
        /// How the service ends.
        shutdown: ShutdownConfig, section();
        /// Logging; a change applies without a restart.
        log: LogConfig, section().live();
    }

    /// `[discord]`
    pub struct DiscordConfig {
        /// URL of Discord's API with its version. Plain http is accepted for loopback addresses only.
        api_base: Url = "https://discord.com/api/v10", base_url();
        /// URL of the page on which a user approves the application.
        authorize_url: Url = "https://discord.com/oauth2/authorize", base_url();
        /// Id of the application: "Application ID" in the developer portal.
        application_id: ApplicationId, id().or_say(
            "set it to the \"Application ID\" of the developer portal, page General Information"
        ), example "1536000000000000001";
        /// The redirect URI exactly as registered in the developer portal, letter by letter.
        redirect_uri: String, verbatim_url().or_say(
            "set it to the redirect of the developer portal, page OAuth2: your relay's URL"
        ), example "https://relay.example/callback";
        /// The OAuth2 scopes that links ask for. "identify" is needed to know who approved.
        scopes: Vec<String> = ["identify"], some_of("scope", usize::MAX, scope());
        /// Id of the guild whose member object is fetched; only needed for the resource "member".
        guild_id: Option<GuildId>, optional(id()), example "1536000000000000002";
    }

    /// `[intake]`
    pub struct IntakeConfig {
        /// How long an authorization code lives, from the moment its message was posted. Discord's staff say 100 s.
        code_lifetime: Duration = "100s", span(secs(1), secs(600));
        /// The message versions that are accepted: "v1" is signed with CODEFERRY_RELAY_KEY, "v0" comes from the classic
        /// relay script and is unsigned.
        accept: Vec<WireVersion> = ["v1"], some_of("version", usize::MAX, word());
        /// What happens to a message whose codes are all spent; "react" adds a check mark.
        after_receipt: AfterReceipt = "delete", word();
        /// How often each channel's history is read, beside the gateway's hints.
        poll_every: Duration = "10s", span(MS_100, secs(60));
        /// One block for each channel through which codes arrive, numbered from 0 in this order. At least one is
        /// required, unless [intake.http] listens.
        lanes: Vec<LaneConfig>, lanes(&[("channel_id", "channel"), ("webhook_id", "webhook")]), example [
            { channel_id = "1536000000000000003", webhook_id = "1536000000000000004", pack = 1 },
        ];
        /// Direct intake: redirects without a relay.
        http: HttpIntakeConfig, section();
    }

    /// One `[[intake.lanes]]`: a channel and the webhook that may post codes into it.
    pub struct LaneConfig(lane: Lane = At::lane, "Its place in the file, from 0.") {
        /// Id of the private channel.
        channel_id: ChannelId, id();
        /// Id of the webhook that posts into it. All other messages are ignored.
        webhook_id: WebhookId, id();
        /// How many codes the relay may put into one message; 18 fit into Discord's 2,000 characters.
        pack: u8 = 1, whole(1, 18);
    }

    /// `[intake.http]`
    pub struct HttpIntakeConfig {
        /// Address and port ("127.0.0.1:8080") that takes redirects directly instead of through a relay; "" = none. It
        /// speaks plain HTTP: put a reverse proxy with TLS before it. `state.mode` must be "signed".
        listen: Option<SocketAddr> = "", or_none(address());
        /// Addresses and networks of the proxies whose X-Forwarded-For is trusted, such as "10.0.0.0/8".
        trusted_proxies: Vec<IpNet> = [], proxies();
        /// Folder with pages of your own, such as success.html or denied.de.html; "" = none. docs/relays.md explains them.
        pages: Option<PathBuf> = "", or_none(path());
    }

    /// `[relay]`
    pub struct RelaySection {
        /// Address and port that takes redirects; plain HTTP, as for [intake.http].
        listen: SocketAddr = "127.0.0.1:8080", address();
        /// Addresses and networks of the proxies whose X-Forwarded-For is trusted.
        trusted_proxies: Vec<IpNet> = [], proxies();
        /// Folder of the relay's own journal, with its keys.
        journal: PathBuf = "data/relay", path();
        /// Folder with pages of your own; "" = none.
        pages: Option<PathBuf> = "", or_none(path());
        /// The bot's user id, which the messages of every relay mention. Only needed where it differs from
        /// discord.application_id.
        bot_id: Option<UserId>, optional(id()), example "1536000000000000001";
        /// One block for each webhook, in the order of the service's [[intake.lanes]]. A relay needs at least one, and
        /// the webhook's token in CODEFERRY_WEBHOOK_TOKENS.
        lanes: Vec<RelayLaneConfig>, lanes(&[("webhook_id", "webhook")]), example [
            { channel_id = "1536000000000000003", webhook_id = "1536000000000000004", pack = 18 },
        ];
    }

    /// One `[[relay.lanes]]`.
    pub struct RelayLaneConfig {
        /// Id of the webhook's channel. Needed where two webhooks post into one channel, which share its limit.
        channel_id: Option<ChannelId>, optional(id());
        /// Id of the webhook.
        webhook_id: WebhookId, id();
        /// How many codes may share a message when the rate limit leaves few posts.
        pack: u8 = 18, whole(1, 18);
    }

    /// `[state]`
    pub struct StateConfig {
        /// What the OAuth2 state must be: a signed token of ours, the bare user id, or anything.
        mode: StateMode = "signed", word();
        /// How long a link may be used before it is refused.
        lifetime: Duration = "5m", span(secs(1), secs(86_400));
        /// Up to 256 names for what links are made for. A link carries the index, so only append.
        purposes: Vec<String> = ["default"], some_of("name", 256, name());
    }

    /// `[gate]`
    pub struct GateConfig {
        /// How much of the capacity that the limits leave is used for links. A lane may have
        /// pack x (burst + refill per second x (code_lifetime - 15 s)) x share of them outstanding, all lanes together
        /// oauth per second / 2 x (code_lifetime - 15 s) x share. Beyond that, users are told when to come back. Above
        /// 0, up to 1.
        share: Permille = 0.8, share();
        /// How many new links one user may get in ten minutes.
        links_per_person: usize = 6, whole(1, 1000);
    }

    /// `[fetch]`
    pub struct FetchConfig {
        /// What is read with a token. "user" is always needed; each needs its scope.
        resources: Vec<Resource> = ["user"], list("resource", word());
    }

    /// `[stages]`
    pub struct StagesConfig {
        /// Exchanging codes for tokens.
        exchange: StageConfig = { slots = 32, timeout = "10s" }, section();
        /// Reading data with a token.
        fetch: StageConfig = { slots = 32, timeout = "10s" }, section();
        /// Delivering results.
        deliver: StageConfig = { slots = 16, timeout = "10s" }, section();
        /// Revoking tokens.
        revoke: StageConfig = { slots = 16, timeout = "10s" }, section();
    }

    /// `[stages.*]`
    pub struct StageConfig {
        /// How many grants this step works on at once.
        slots: usize, whole(1, 1024);
        /// The longest that one call may take, connecting included.
        timeout: Duration, span(MS_100, secs(120));
    }

    /// `[journal]`
    pub struct JournalConfig {
        /// Folder of the store. Its parent is the data folder: keys and the control socket live there too.
        path: PathBuf = "data/journal", path();
        /// Cache of the store in megabytes (10^6 bytes).
        cache_mb: u64 = 2, whole(1, 4096);
        /// Open grants at which intake stops until some close; codes wait in the channel.
        max_open: u64 = 100000, whole(1, 100_000_000);
        /// How long a closed grant's id, times and outcome are kept.
        closed_retention: Duration = "24h", span(Duration::ZERO, CENTURY);
        /// How long a delivery that keeps failing stays parked before it is given up.
        keep_parked: Duration = "7d", span(Duration::ZERO, CENTURY);
    }

    /// `[control]`
    pub struct ControlConfig {
        /// Unix socket of the control interface; "" = none. Only its owner may use it.
        socket: Option<PathBuf> = "data/control.sock", or_none(path());
        /// Address and port for the same over TCP, which needs CODEFERRY_CONTROL_TOKEN; "" = none. A client
        /// with CODEFERRY_METRICS_TOKEN gets the metrics alone.
        listen: Option<SocketAddr> = "", or_none(address());
        /// Whether listen may be an address that other machines reach. The interface is plain http: what it answers and
        /// the token cross the network readable, unless a tunnel or a proxy encrypts them.
        insecure_network: bool = false, switch();
    }

    /// `[commands]`
    pub struct CommandsConfig {
        /// Name of the bot's slash command, which gives its user a link; "" = none.
        connect: Option<String> = "", or_none(command_name());
        /// One block for each language whose texts differ from the built-in ones, which are English and German. What a
        /// block in one of these leaves out stays built in; in another language every key is required but `purpose` and
        /// `gone`, which are English then. Texts are templates (minijinja): {{ minutes }} and {{ seconds }} are filled in.
        texts: Vec<Phrases>, texts(), example [{
            locale = "fr",
            description = "Relier ton compte",
            purpose = "Pour quoi",
            link = "Ouvre ce lien pour relier ton compte.{% if minutes %} Il est valable {{ minutes }} min.{% endif %}",
            button = "Relier",
            later = "Beaucoup de monde en ce moment. Essaie encore dans {{ seconds }} s.",
            failed = "Cela n'a pas marché. Essaie encore plus tard.",
            gone = "Ce choix n'existe plus. Relance la commande.",
        }];
    }

    /// `[reinvite]`
    pub struct ReinviteConfig {
        /// Whether a user whose code expired or was lost is sent a direct message with a fresh link, once. Needs
        /// state.mode = "signed".
        enabled: bool = false, switch();
        /// The message, a template (minijinja). A text that uses {{ link }} has the link in it, any other has it on a
        /// button below; {{ minutes }} tells how long the link may be used, where it expires.
        text: Template = "Your account could not be connected in time. Please open this new link{% if minutes %} within {{ minutes }} min{% endif %}.",
            message(&["link", "minutes"], LONGEST_MESSAGE);
        /// The text on the button.
        button: Template = "Connect", message(&[], LONGEST_LABEL);
    }

    /// `[hookdeck]`
    pub struct HookdeckConfig {
        /// URL of Hookdeck's API with its version. Plain http is accepted for loopback addresses only.
        api_base: Url = "https://api.hookdeck.com/2025-07-01", base_url();
        /// Name of the source and the transformation in the project; connections and destinations add their lane's number.
        name: String = "codeferry", name();
    }

    /// `[pages]`
    pub struct PagesConfig {
        /// The application's name; left out: the service takes it from Discord, and a relay shows none.
        name: Option<String>, optional(title()), example "My application";
        /// File with its icon (PNG, JPEG, GIF or WebP, at most 64 KiB); "" = the service takes it from Discord.
        icon: Option<PathBuf> = "", or_none(path());
        /// Colour of the button.
        accent: String = "#4752c4", colour();
        /// Where the button leads: for example a channel, https://discord.com/channels/GUILD/CHANNEL.
        back_url: String = "https://discord.com/app", verbatim_url();
    }

    /// `[tls]`
    pub struct TlsConfig {
        /// File (PEM) of certificate authorities that are trusted beside the compiled-in ones; "" = none. So are those of the
        /// variables SSL_CERT_FILE and SSL_CERT_DIR.
        extra_ca: Option<PathBuf> = "", or_none(path());
    }

    /// `[shutdown]`
    pub struct ShutdownConfig {
        /// How long work in hand may take to end after the first Ctrl-C or SIGTERM.
        grace: Duration = "30s", span(Duration::ZERO, secs(600));
    }

    /// `[log]`
    pub struct LogConfig {
        /// The least important level that is written.
        level: LevelFilter = "info", log_level();
        /// "text" for people, "json" for machines: one object a line.
        format: LogFormat = "text", word();
    }
}

keys!(impl Limits {
    /// Webhook posts for each channel, a strict total for any 60 seconds, or "off". burst may go at once, and is less than
    /// per_minute. Discord's hidden limit is 30 a minute.
    webhook: Option<WebhookLimit> = { per_minute = 30, burst = 5 }, limit();
    /// Calls a second to anything but webhooks, and how many at once, or "off". Discord's limit is 50 a second.
    global: Option<RateLimit> = { per_second = 45, burst = 5 }, limit();
    /// Calls a second to the OAuth2 endpoints, within global, or "off".
    oauth: Option<RateLimit> = { per_second = 10, burst = 10 }, limit();
    /// Responses of 401, 403 and 429 within ten minutes at which all calls stop; 0 = never. Discord bans an address at
    /// 10,000.
    invalid_requests: u32 = 5000, whole(0, 9_999);
});

keys!(impl WebhookLimit {
    /// The total of any minute.
    per_minute: u32, whole(2, 1_000_000);
    /// How many may go at once; less than per_minute.
    burst: u32, whole(1, 1_000_000);
});

keys!(impl RateLimit {
    /// The refill.
    per_second: u32, whole(1, 1_000_000);
    /// How many may go at once.
    burst: u32, whole(1, 1_000_000);
});

/// A version of the message that carries codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireVersion {
    /// The classic relay script's JSON, unauthenticated.
    V0,
    /// Ours, with a MAC.
    V1,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The folder that holds all of codeferry's data: the parent of `journal.path`.
    pub fn data_folder(&self) -> &Path {
        self.journal.path.parent().unwrap_or(Path::new("."))
    }

    /// The bot that a relay's messages mention: `relay.bot_id`, or the application's id, which is its bot's since 2016.
    pub fn relay_bot(&self) -> UserId {
        let of_application = UserId(self.discord.application_id.0);
        self.relay.bot_id.unwrap_or(of_application)
    }

    /// What a new configuration would change.
    pub fn differences(&self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        Section::differences(self, new, "", &mut changes);
        changes
    }
}
