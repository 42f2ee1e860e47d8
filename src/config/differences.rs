//! What changed between two configurations: what a running service applies, and what waits for a restart.

use super::checked::Config;

/// The keys that changed, dotted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Applied at once: `[limits]` and `[log]`.
    pub applied: Vec<String>,
    /// Noted only: these need a restart.
    pub needs_restart: Vec<String>,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.needs_restart.is_empty()
    }
}

impl Config {
    /// What a new configuration would change.
    pub fn differences(&self, new: &Self) -> Changes {
        // Taken apart without `..`, so that a new section does not compile until it is compared here.
        let Self {
            discord,
            intake,
            state,
            gate,
            fetch,
            limits,
            stages,
            sinks,
            journal,
            control,
            commands,
            reinvite,
            hookdeck,
            // Only other relays' settings follow it.
            relay_bot: _,
            shutdown,
            log,
            file: _,
        } = self;
        let mut applied = Vec::new();
        let mut needs_restart = Vec::new();
        let mut compare = |key: &str, changed: bool| {
            if changed {
                let live = key.starts_with("limits.") || key.starts_with("log.");
                let list = if live { &mut applied } else { &mut needs_restart };
                list.push(key.to_owned());
            }
        };
        compare("discord.api_base", discord.api_base != new.discord.api_base);
        compare(
            "discord.authorize_url",
            discord.authorize_url != new.discord.authorize_url,
        );
        compare(
            "discord.application_id",
            discord.application_id != new.discord.application_id,
        );
        compare("discord.redirect_uri", discord.redirect_uri != new.discord.redirect_uri);
        compare("discord.scopes", discord.scopes != new.discord.scopes);
        compare("discord.guild_id", discord.guild_id != new.discord.guild_id);
        compare("intake.code_lifetime", intake.code_lifetime != new.intake.code_lifetime);
        compare("intake.accept", intake.accept != new.intake.accept);
        compare("intake.after_receipt", intake.after_receipt != new.intake.after_receipt);
        compare("intake.poll_every", intake.poll_every != new.intake.poll_every);
        compare("intake.lanes", intake.lanes != new.intake.lanes);
        compare("intake.http.listen", intake.http_listen != new.intake.http_listen);
        let (front, new_front) = (&intake.http_front, &new.intake.http_front);
        compare(
            "intake.http.trusted_proxies",
            front.trusted_proxies != new_front.trusted_proxies,
        );
        compare("intake.http.pages", front.pages != new_front.pages);
        compare("state.mode", state.mode != new.state.mode);
        compare("state.lifetime", state.lifetime != new.state.lifetime);
        compare("state.purposes", state.purposes != new.state.purposes);
        compare("gate.share", gate.share_permille != new.gate.share_permille);
        compare("fetch.resources", fetch.resources != new.fetch.resources);
        compare("limits.webhook", limits.webhook != new.limits.webhook);
        compare("limits.global", limits.global != new.limits.global);
        compare("limits.oauth", limits.oauth != new.limits.oauth);
        compare(
            "limits.invalid_requests",
            limits.invalid_requests != new.limits.invalid_requests,
        );
        for (name, old, new) in [
            ("exchange", stages.exchange, new.stages.exchange),
            ("fetch", stages.fetch, new.stages.fetch),
            ("deliver", stages.deliver, new.stages.deliver),
            ("revoke", stages.revoke, new.stages.revoke),
        ] {
            compare(&format!("stages.{name}.slots"), old.slots != new.slots);
            compare(&format!("stages.{name}.timeout"), old.timeout != new.timeout);
        }
        compare("delivery", *sinks != new.sinks);
        compare("journal.path", journal.path != new.journal.path);
        compare("journal.cache_mb", journal.cache_mb != new.journal.cache_mb);
        compare("journal.max_open", journal.max_open != new.journal.max_open);
        compare(
            "journal.closed_retention",
            journal.closed_retention != new.journal.closed_retention,
        );
        compare("journal.keep_parked", journal.keep_parked != new.journal.keep_parked);
        compare("control.socket", control.socket != new.control.socket);
        compare("control.listen", control.listen != new.control.listen);
        compare("commands.connect", commands.connect != new.commands.connect);
        compare("commands.texts", commands.texts != new.commands.texts);
        compare("reinvite.enabled", reinvite.enabled != new.reinvite.enabled);
        compare("reinvite.text", reinvite.text != new.reinvite.text);
        compare("reinvite.button", reinvite.button != new.reinvite.button);
        compare("hookdeck.api_base", hookdeck.api_base != new.hookdeck.api_base);
        compare("hookdeck.name", hookdeck.name != new.hookdeck.name);
        compare("shutdown.grace", shutdown.grace != new.shutdown.grace);
        compare("log.level", log.level != new.log.level);
        compare("log.format", log.format != new.log.format);
        Changes { applied, needs_restart }
    }
}
