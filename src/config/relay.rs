//! `[relay]`: what `codeferry relay` is told, from the same file and environment as everything else. Its file needs no more
//! than a relay needs, and of the secrets only the relay's own are read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize as _;
use url::Url;

use super::check::{Checker, Named};
use super::checked::{FrontConfig, LogConfig, StateMode, WebhookLimit};
use super::environment::Environment;
use super::error::{ConfigErrors, shown};
use super::layers::Layers;
use super::load::Locator;
use super::raw::{RawConfig, RawId, RawRelay, RawRelayLane, RawState};
use super::secrets::Reader;
use super::sections::secs;
use super::walk::for_example;
use crate::ids::{ChannelId, UserId, WebhookId};
use crate::intake::network::Network;
use crate::secret::{Key, WebhookToken};

/// Everything a relay is told, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How it meets browsers.
    pub front: FrontConfig,
    /// The folder of its journal and keys.
    pub journal: PathBuf,
    /// The bot that messages mention.
    pub bot: UserId,
    /// The webhooks, in the order of the service's lanes; at least one.
    pub lanes: Vec<RelayLaneConfig>,
    /// `discord.api_base`.
    pub api_base: Url,
    /// `intake.code_lifetime`.
    pub code_lifetime: Duration,
    /// `limits.webhook`.
    pub limit: Option<WebhookLimit>,
    /// `shutdown.grace`.
    pub grace: Duration,
    /// `[log]`
    pub log: LogConfig,
}

/// One `[[relay.lanes]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayLaneConfig {
    /// The channel, where it is given.
    pub channel_id: Option<ChannelId>,
    /// The webhook; no two lanes share one.
    pub webhook_id: WebhookId,
    /// The most codes of a message, 1 to 18.
    pub pack: u8,
}

/// Every secret a relay uses: no bot token, no client secret, no PKCE key.
#[derive(Debug, Clone)]
pub struct RelaySecrets {
    /// `CODEFERRY_RELAY_KEY`: signs messages.
    pub relay_key: Key,
    /// `CODEFERRY_STATE_KEY`: checks states.
    pub state_key: Key,
    /// `CODEFERRY_WEBHOOK_TOKENS`: one for each lane.
    pub webhook_tokens: BTreeMap<WebhookId, WebhookToken>,
}

/// The parts of `[relay]` alone.
pub(super) struct Section {
    listen: SocketAddr,
    front: FrontConfig,
    journal: PathBuf,
    bot: UserId,
    lanes: Vec<RelayLaneConfig>,
}

/// Whether a configuration is a relay's and nobody else's: it has relay lanes, and nothing that a service needs.
pub fn is_relays_own(locator: &Locator) -> bool {
    RawConfig::deserialize(Layers::read(locator).root.to_value()).is_ok_and(|raw| {
        let direct = raw.intake.http.listen.as_ref().is_some_and(|l| !l.is_empty());
        !raw.relay.lanes.is_empty() && raw.intake.lanes.is_empty() && raw.delivery.is_empty() && !direct
    })
}

/// What is wrong with the section of a relay in a file that a service reads too.
pub(super) fn faults_of_section(layers: &Layers) -> ConfigErrors {
    let mut check = Checker {
        layers,
        faults: ConfigErrors::default(),
    };
    let raw = RawConfig::deserialize(layers.root.to_value()).unwrap_or_default();
    if !raw.relay.lanes.is_empty() {
        check.relay(&raw.relay, raw.discord.application_id.as_ref(), &raw.state);
    }
    check.faults
}

/// What a relay is told, and its secrets; all faults of both together.
pub fn load_relay(locator: &Locator) -> Result<(RelayConfig, RelaySecrets), ConfigErrors> {
    let layers = Layers::read(locator);
    let mut check = Checker {
        layers: &layers,
        faults: layers.faults.clone(),
    };
    // The walk has taken out whatever serde would refuse.
    let raw = RawConfig::deserialize(layers.root.to_value()).unwrap_or_default();
    let section = check.relay(&raw.relay, raw.discord.application_id.as_ref(), &raw.state);
    let api_base = check.given("discord.api_base", raw.discord.api_base.as_ref());
    let api_base = api_base.and_then(|text| check.base_url("discord.api_base", text));
    let code_lifetime = raw.intake.code_lifetime.as_ref();
    let code_lifetime = check.span("intake.code_lifetime", code_lifetime, secs(1), secs(600));
    let limits = check.limits(&raw.limits);
    let shutdown = check.shutdown(&raw.shutdown);
    let log = check.log(&raw.log);
    let build = || {
        let section = section?;
        Some(RelayConfig {
            listen: section.listen,
            front: section.front,
            journal: section.journal,
            bot: section.bot,
            lanes: section.lanes,
            api_base: api_base?,
            code_lifetime: code_lifetime?,
            limit: limits?.webhook,
            grace: shutdown?.grace,
            log: log?,
        })
    };
    let config = build();
    let webhooks = raw
        .relay
        .lanes
        .iter()
        .filter_map(|l| l.webhook_id.as_ref()?.0.parse().ok());
    let (secrets, of_secrets) = RelaySecrets::read(&webhooks.collect::<Vec<_>>(), &locator.environment);
    let mut faults = check.faults;
    faults.extend(of_secrets);
    faults.or(config.zip(secrets))
}

impl RelaySecrets {
    fn read(webhooks: &[WebhookId], environment: &Environment) -> (Option<Self>, ConfigErrors) {
        let mut read = Reader::new(environment);
        let relay_key = read.key("CODEFERRY_RELAY_KEY");
        if relay_key.is_none() {
            let cure = "set the same key of at least 32 bytes as the service's";
            read.missing(
                "CODEFERRY_RELAY_KEY",
                "messages to the service are signed with it",
                cure,
            );
        }
        let state_key = read.key("CODEFERRY_STATE_KEY");
        if state_key.is_none() {
            let cure = "set the same key as the service's, which lies in its `data/keys/state.key` unless it was given";
            read.missing("CODEFERRY_STATE_KEY", "links are checked with it", cure);
        }
        let webhook_tokens = read.webhook_tokens();
        for id in webhooks {
            if !webhook_tokens.contains_key(id) {
                read.fault(
                    "CODEFERRY_WEBHOOK_TOKENS",
                    &format!("has no token for webhook {id} of `relay.lanes`"),
                    "add `webhook_id:token`, separated by commas; both stand in the webhook's URL",
                );
            }
        }
        let secrets = relay_key.zip(state_key).map(|(relay_key, state_key)| Self {
            relay_key,
            state_key,
            webhook_tokens,
        });
        (secrets, read.faults)
    }
}

impl Checker<'_> {
    /// `[relay]` with what it takes from elsewhere.
    pub(super) fn relay(&mut self, raw: &RawRelay, application: Option<&RawId>, state: &RawState) -> Option<Section> {
        let listen = self.given("relay.listen", raw.listen.as_ref());
        let listen = match listen.ok_or(Named).and_then(|text| self.listen("relay.listen", text)) {
            Ok(None) => {
                self.bad("relay.listen", "is empty", for_example("relay.listen"));
                None
            }
            other => other.ok().flatten(),
        };
        let front = self.front("relay", raw.trusted_proxies.as_ref(), raw.pages.as_ref());
        let journal = self.given("relay.journal", raw.journal.as_ref());
        let journal = journal.and_then(|text| self.path("relay.journal", text));
        let bot = match (&raw.bot_id, application) {
            (Some(id), _) => self.id("relay.bot_id", id),
            (None, Some(id)) => self.id("discord.application_id", id),
            (None, None) => {
                let cure = "set it to the \"Application ID\" of the developer portal, which is the bot's user id too; \
                            for an old application whose bot has another id, set `relay.bot_id`";
                self.missing("discord.application_id", cure);
                None
            }
        };
        self.signed_for("relay.lanes", !raw.lanes.is_empty(), state);
        let lanes = self.relay_lanes(&raw.lanes);
        Some(Section {
            listen: listen?,
            front: front?,
            journal: journal?,
            bot: bot?,
            lanes: lanes?,
        })
    }

    fn relay_lanes(&mut self, raw: &[RawRelayLane]) -> Option<Vec<RelayLaneConfig>> {
        if raw.is_empty() {
            let cure = "add `[[relay.lanes]]` with `webhook_id`, one for each lane of the service, in the same order";
            self.missing("relay.lanes", cure);
            return None;
        }
        if raw.len() > 256 {
            self.bad(
                "relay.lanes",
                format!("has {} lanes, more than 256", raw.len()),
                "a state carries the lane in one byte",
            );
            return None;
        }
        let lanes: Vec<_> = raw.iter().enumerate().map(|(i, l)| self.relay_lane(i, l)).collect();
        let webhooks: Vec<_> = raw
            .iter()
            .enumerate()
            .map(|(i, lane)| lane.webhook_id.as_ref().map(|id| id.0.clone()).ok_or(i))
            .collect();
        self.once(&webhooks, |i| format!("relay.lanes[{i}].webhook_id"), "webhook");
        lanes.into_iter().collect()
    }

    fn relay_lane(&mut self, index: usize, raw: &RawRelayLane) -> Option<RelayLaneConfig> {
        let key = |name: &str| format!("relay.lanes[{index}].{name}");
        let channel_id = match &raw.channel_id {
            Some(id) => self.id(&key("channel_id"), id).map(Some).ok_or(Named),
            None => Ok(None),
        };
        let webhook_id = self.given(&key("webhook_id"), raw.webhook_id.as_ref());
        let webhook_id = webhook_id.and_then(|id| self.id(&key("webhook_id"), id));
        let pack = self.number(&key("pack"), raw.pack.unwrap_or(18), 1..=18);
        Some(RelayLaneConfig {
            channel_id: channel_id.ok()?,
            webhook_id: webhook_id?,
            pack: pack?,
        })
    }

    /// Trusted proxies and pages of `[relay]` or `[intake.http]`.
    pub(super) fn front(
        &mut self,
        section: &str,
        trusted_proxies: Option<&Vec<String>>,
        pages: Option<&String>,
    ) -> Option<FrontConfig> {
        let key = format!("{section}.trusted_proxies");
        let proxies = self.given(&key, trusted_proxies).map(|texts| {
            let read = texts.iter().enumerate().map(|(i, text)| {
                let network = text.parse::<Network>().ok();
                if network.is_none() {
                    self.bad(
                        &format!("{key}[{i}]"),
                        format!("is {}, neither an address nor a network", shown(text)),
                        "write for example \"127.0.0.1\" or \"10.0.0.0/8\"",
                    );
                }
                network
            });
            // Every one is looked at, so that every fault is named.
            let read: Vec<_> = read.collect();
            read.into_iter().collect::<Option<Vec<_>>>()
        });
        let key = format!("{section}.pages");
        let pages = self.given(&key, pages).and_then(|text| match text.as_str() {
            "" => Some(None),
            text => self.path(&key, text).map(Some),
        });
        Some(FrontConfig {
            trusted_proxies: proxies??,
            pages: pages?,
        })
    }

    /// Names a `state.mode` that a public callback cannot live with.
    pub(super) fn signed_for(&mut self, key: &str, wanted: bool, state: &RawState) {
        let mode = state.mode.as_deref().and_then(StateMode::from_word);
        if wanted && let Some(mode @ (StateMode::UserId | StateMode::Any)) = mode {
            self.bad(
                "state.mode",
                format!("is \"{mode}\", whose states nobody can check, but `{key}` takes callbacks from everybody"),
                "use \"signed\", or take the codes through another relay",
            );
        }
    }
}
