//! The configuration as the plain settings that the parts take: the one place that turns one into the other.

use crate::actors::journal::open_grants::OpenGrantsRules;
use crate::actors::listener::WatchedLane;
use crate::config::{Config, Secrets, WireVersion};
use crate::delivery::result::ResultFormat;
use crate::grant::Policy;
use crate::intake::gate::GateRules;
use crate::intake::link::{LinkSettings, with_pkce};
use crate::intake::message::{Accept, AfterReceipt};
use crate::intake::mint::Minter;
use crate::intake::state::{StateKey, StateMode, StateRules};
use crate::secret::Keys;

/// The configured lanes as the listener watches them.
pub fn watched(config: &Config) -> Vec<WatchedLane> {
    let lanes = config.intake.lanes.iter().map(|l| WatchedLane {
        lane: l.lane,
        channel: l.channel_id,
        webhook: l.webhook_id,
    });
    lanes.collect()
}

/// The rules of open grants.
pub fn open_grants_rules(config: &Config) -> OpenGrantsRules {
    OpenGrantsRules {
        policy: Policy {
            code_lifetime: config.intake.code_lifetime,
            sinks: config.delivery.iter().map(|s| s.name.clone()).collect(),
            keep_parked: config.journal.keep_parked,
            reinvite: config.reinvite.enabled,
        },
        keep_messages: config.intake.after_receipt == AfterReceipt::Keep,
        gate: gate(config),
    }
}

/// How many links may be outstanding.
pub fn gate(config: &Config) -> GateRules {
    GateRules {
        packs: config.intake.lanes.iter().map(|lane| lane.pack).collect(),
        direct: config.intake.http.listen.is_some(),
        webhook: config.limits.webhook.map(|w| (w.per_minute, w.burst)),
        oauth_per_second: config.limits.oauth.map(|oauth| oauth.per_second),
        code_lifetime: config.intake.code_lifetime,
        share_permille: config.gate.share.0,
        links_per_person: config.gate.links_per_person,
    }
}

/// What this configuration's links are made with.
pub fn minter(config: &Config, state_keys: &Keys, pkce_keys: &Keys) -> Minter {
    Minter {
        settings: LinkSettings {
            authorize_url: config.discord.authorize_url.clone(),
            client_id: config.discord.application_id.0,
            redirect_uri: config.discord.redirect_uri.clone(),
            scopes: config.discord.scopes.clone(),
        },
        mode: config.state.mode,
        state_key: StateKey::new(state_keys),
        pkce_keys: pkce_keys.clone(),
        lifetime: config.state.lifetime,
    }
}

/// Which messages are read.
pub fn accept(config: &Config, secrets: &Secrets) -> Accept {
    let accepts = |version| config.intake.accept.contains(&version);
    Accept {
        v0: accepts(WireVersion::V0),
        v1: secrets.relay_keys.clone().filter(|_| accepts(WireVersion::V1)),
    }
}

/// How states are read.
pub fn states(config: &Config, secrets: &Secrets) -> StateRules {
    StateRules {
        mode: config.state.mode,
        key: StateKey::new(&secrets.state_keys),
        code_lifetime: config.intake.code_lifetime,
        purposes: config.state.purposes.len(),
        with_pkce: with_pkce(&config.discord.scopes),
    }
}

/// What a result says.
pub fn result_format(config: &Config) -> ResultFormat {
    ResultFormat {
        purposes: config.state.purposes.clone().into(),
        with_raw_state: config.state.mode != StateMode::Signed,
        with_invitation: config.reinvite.enabled,
    }
}
