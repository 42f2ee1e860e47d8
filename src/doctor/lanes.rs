//! The lanes: each channel, who can read it, what the bot may do there, and its webhook.

use super::{Check, Patient};
use crate::config::LaneConfig;
use crate::discord::portal::{Application, GuildChannel, TEXT_CHANNEL};
use crate::ids::{ApplicationId, GuildId, UserId};
use crate::intake::message::AfterReceipt;
use crate::known_fault as known;
use crate::permission::{Permissions, Role, in_channel};
use crate::port::discord::BotError;

/// What an invitation asks for: see, read the history, remove spent messages.
const WANTED: Permissions = Permissions::VIEW_CHANNEL
    .and(Permissions::READ_MESSAGE_HISTORY)
    .and(Permissions::MANAGE_MESSAGES);

pub(super) async fn look(patient: &Patient<'_>, application: Option<&Application>) -> Vec<Check> {
    let mut checks = Vec::new();
    for lane in &patient.config.intake.lanes {
        let name = format!("lane {}", lane.lane);
        let Some(application) = application else {
            checks.push(Check::skipped(name, "not looked at without a good bot token"));
            continue;
        };
        let mut found = of_channel(patient, lane, application.bot, &name).await;
        found.extend(of_webhook(patient, lane, application.id, &name).await);
        if found.is_empty() {
            let detail = format!(
                "channel {}, webhook {}: private, readable, in place",
                lane.channel_id, lane.webhook_id
            );
            found.push(Check::ok(name, detail));
        }
        checks.extend(found);
    }
    checks
}

async fn of_channel(patient: &Patient<'_>, lane: &LaneConfig, bot: UserId, name: &str) -> Vec<Check> {
    let id = lane.channel_id;
    let channel = match patient.portal.channel(id).await {
        Ok(channel) => channel,
        Err(BotError::NotFound { .. }) => {
            let hint = if id.0 == lane.webhook_id.0 {
                ": that is the webhook's id"
            } else {
                ""
            };
            let detail = format!("there is no channel {id}{hint}");
            return vec![Check::fail(&known::CHANNEL_UNKNOWN, name, detail)];
        }
        Err(BotError::Forbidden { .. }) => {
            let invite = format!(
                "{}?client_id={}&scope=bot+applications.commands&permissions={}",
                patient.config.discord.authorize_url, patient.config.discord.application_id, WANTED.0
            );
            let cure = format!("{} The invitation: {invite}", known::CHANNEL_HIDDEN.cure);
            let detail = format!("the bot cannot see channel {id}");
            return vec![Check::fail(&known::CHANNEL_HIDDEN, name, detail).cured_by(cure)];
        }
        Err(error) => return vec![Check::of_error(name, &format!("channel {id}"), &error)],
    };
    let Some(guild) = channel.guild.filter(|_| channel.kind == TEXT_CHANNEL) else {
        let detail = format!(
            "#{} is a channel of type {}, not a text channel",
            channel.name, channel.kind
        );
        return vec![Check::fail(&known::CHANNEL_TYPE, name, detail)];
    };
    let roles = patient.portal.roles(guild).await;
    let theirs = patient.portal.roles_of(guild, bot).await;
    match (roles, theirs) {
        (Ok(roles), Ok(theirs)) => {
            let mut checks = of_readers(&channel, guild, &roles, &theirs, name);
            let held = in_channel(guild.0, Some(bot.0), &theirs, &roles, &channel.overwrites);
            checks.extend(of_permissions(patient, lane, &channel, held, name));
            checks
        }
        (Err(error), _) | (_, Err(error)) => vec![Check::of_error(name, "the server's roles", &error)],
    }
}

/// Who else can read along, by the names of roles.
fn of_readers(channel: &GuildChannel, guild: GuildId, roles: &[Role], bots: &[u64], name: &str) -> Vec<Check> {
    let reads = |theirs: &[u64]| {
        let held = in_channel(guild.0, None, theirs, roles, &channel.overwrites);
        held.holds(Permissions::VIEW_CHANNEL)
    };
    if reads(&[]) {
        let detail = format!("every member of the server can read #{}", channel.name);
        return vec![Check::fail(&known::CHANNEL_PUBLIC, name, detail)];
    }
    let administers = |role: &&Role| role.permissions.holds(Permissions::ADMINISTRATOR);
    let others = roles
        .iter()
        .filter(|role| role.id != guild.0 && !bots.contains(&role.id));
    // An administrator reads everything, and can be kept from nothing.
    let readers = others.filter(|role| !administers(role) && reads(&[role.id]));
    let check = |role: &Role| {
        let detail = format!(
            "#{} can be read by the role \"{}\": its members see codes",
            channel.name, role.name
        );
        let cure = format!("Edit Channel > Permissions > {} > View Channel: deny.", role.name);
        Check::warn(&known::CHANNEL_ROLE, name, detail).cured_by(cure)
    };
    readers.map(check).collect()
}

fn of_permissions(
    patient: &Patient<'_>,
    lane: &LaneConfig,
    channel: &GuildChannel,
    held: Permissions,
    name: &str,
) -> Vec<Check> {
    let mut checks = Vec::new();
    if !held.holds(Permissions::READ_MESSAGE_HISTORY) {
        let detail = format!(
            "the bot cannot read the history of #{}: codes that the gateway misses are lost",
            channel.name
        );
        checks.push(Check::fail(&known::NO_HISTORY, name, detail));
    }
    let has_token = patient.secrets.webhook_tokens.contains_key(&lane.webhook_id);
    match patient.config.intake.after_receipt {
        AfterReceipt::Delete if !has_token && !held.holds(Permissions::MANAGE_MESSAGES) => {
            let detail = format!(
                "the bot lacks Manage Messages in #{}: spent messages stay",
                channel.name
            );
            checks.push(Check::warn(&known::NO_REMOVAL, name, detail));
        }
        AfterReceipt::React if !held.holds(Permissions::ADD_REACTIONS) => {
            let detail = format!("the bot lacks Add Reactions in #{}", channel.name);
            checks.push(Check::warn(&known::NO_REACTION, name, detail));
        }
        AfterReceipt::Delete | AfterReceipt::React | AfterReceipt::Keep => {}
    }
    checks
}

async fn of_webhook(patient: &Patient<'_>, lane: &LaneConfig, own: ApplicationId, name: &str) -> Option<Check> {
    let id = lane.webhook_id;
    let token = patient.secrets.webhook_tokens.get(&id);
    let webhook = match patient.portal.webhook(id, token).await {
        Ok(webhook) => webhook,
        Err(BotError::NotFound { .. }) => {
            return Some(Check::fail(
                &known::WEBHOOK_UNKNOWN,
                name,
                format!("there is no webhook {id}"),
            ));
        }
        // Discord answers 401 to a wrong token of a webhook that exists.
        Err(BotError::Unauthorized) if token.is_some() => {
            let detail = format!("the token of webhook {id} in CODEFERRY_WEBHOOK_TOKENS is wrong");
            return Some(Check::fail(&known::WEBHOOK_TOKEN, name, detail));
        }
        // Without Manage Webhooks only its token opens it.
        Err(BotError::Forbidden { .. }) if token.is_none() => return None,
        Err(error) => return Some(Check::of_error(name, &format!("webhook {id}"), &error)),
    };
    if webhook.channel != lane.channel_id {
        let detail = format!(
            "webhook {id} posts into channel {}, not {}",
            webhook.channel, lane.channel_id
        );
        return Some(Check::fail(&known::WEBHOOK_ELSEWHERE, name, detail));
    }
    let foreign = webhook.application.filter(|application| *application != own)?;
    let detail = format!("webhook {id} belongs to application {foreign}, which can post through it");
    Some(Check::warn(&known::WEBHOOK_FOREIGN, name, detail))
}
