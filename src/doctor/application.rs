//! The application in the developer portal: token, secret, redirects, scopes, intents, commands, sessions and the clock.

use rand::distr::{Alphanumeric, SampleString as _};

use super::{Check, Patient};
use crate::config::WireVersion;
use crate::discord::portal::Application;
use crate::discord::token_endpoint::{HttpTokenEndpoint, TokenEndpointSettings};
use crate::known_fault as known;
use crate::port::discord::{BotError, Resource, RevokeAnswer, TokenEndpoint as _};
use crate::port::later::Later;
use crate::secret::AccessToken;

/// Bits 18 and 19: message content, and the same for small applications.
const MESSAGE_CONTENT_FLAGS: u64 = 1 << 18 | 1 << 19;
/// Below so many the service begins none.
const FEW_SESSIONS: u64 = 50;
/// Codes live 100 s: a clock that is off by more is worth a word, although the service corrects it.
const CLOCK_MS: i64 = 5_000;

pub(super) async fn look(patient: &Patient<'_>) -> (Vec<Check>, Option<Application>) {
    let mut checks = Vec::new();
    let needs_bot = patient.secrets.bot_token.is_some();
    let application = match patient.portal.application().await {
        _ if !needs_bot => {
            checks.push(Check::skipped("token", "there is no bot token to look at"));
            None
        }
        Ok(application) => {
            checks.extend(of_application(patient, &application));
            Some(application)
        }
        Err(BotError::Unauthorized) => {
            checks.push(Check::fail(
                &known::TOKEN,
                "token",
                "Discord refuses CODEFERRY_BOT_TOKEN (401)",
            ));
            None
        }
        Err(error) => {
            let detail = format!("{}: {error}", patient.config.discord.api_base);
            checks.push(Check::fail(&known::UNREACHABLE, "Discord", detail));
            None
        }
    };
    if let Some(skew_ms) = patient.portal.skew_ms(patient.clock.now()) {
        let seconds = skew_ms.abs().div_euclid(1000);
        checks.push(if skew_ms.abs() < CLOCK_MS {
            Check::ok("clock", "agrees with Discord's")
        } else {
            let side = if skew_ms > 0 { "behind" } else { "ahead of" };
            Check::warn(
                &known::CLOCK,
                "clock",
                format!("this machine is {seconds} s {side} Discord"),
            )
        });
    }
    let another = application
        .as_ref()
        .is_some_and(|a| a.id != patient.config.discord.application_id);
    checks.push(if another {
        Check::skipped("client secret", "not tried with the id of another application")
    } else {
        of_secret(patient).await
    });
    if application.is_some() {
        checks.push(of_sessions(patient).await);
        checks.extend(of_guild(patient).await);
    }
    (checks, application)
}

fn of_application(patient: &Patient<'_>, application: &Application) -> Vec<Check> {
    let Application { id, name, bot, .. } = application;
    let config = patient.config;
    let mut checks = vec![if *id == config.discord.application_id {
        Check::ok("token", format!("\"{name}\" {id}, bot {bot}"))
    } else {
        let detail = format!(
            "the token belongs to \"{name}\" {id}, but discord.application_id is {}",
            config.discord.application_id
        );
        Check::fail(&known::APPLICATION, "token", detail)
    }];
    checks.push(of_redirect(&config.discord.redirect_uri, &application.redirect_uris));
    checks.extend(of_scopes(patient, application));
    let reads_content = config.intake.accept.contains(&WireVersion::V0);
    if reads_content && application.flags & MESSAGE_CONTENT_FLAGS == 0 {
        let detail = "intake.accept has \"v0\", and MESSAGE CONTENT INTENT is off";
        checks.push(Check::warn(&known::CONTENT_INTENT, "intents", detail));
    }
    if let (Some(command), Some(url)) = (&config.commands.connect, &application.interactions_endpoint) {
        let detail = format!("/{command} goes to {url} and never to codeferry");
        checks.push(Check::fail(&known::INTERACTIONS, "commands", detail));
    }
    if let Some(mentioned) = config.relay.bot_id.filter(|mentioned| mentioned != bot) {
        let detail = format!("it mentions {mentioned}, but this bot is {bot}");
        let cure = format!("Set relay.bot_id = \"{bot}\", in every relay.");
        checks.push(Check::fail(&known::BOT_ID, "relay", detail).cured_by(cure));
    } else if config.relay.bot_id.is_none() && bot.0 != id.0 && !config.intake.lanes.is_empty() {
        let detail = format!("it mentions {id}, but this bot is {bot}");
        let cure = format!("Set relay.bot_id = \"{bot}\", in every relay.");
        checks.push(Check::warn(&known::BOT_ID, "relay", detail).cured_by(cure));
    }
    checks
}

/// Letter by letter, as Discord compares.
fn of_redirect(wanted: &str, registered: &[String]) -> Check {
    if registered.iter().any(|uri| uri == wanted) {
        return Check::ok("redirect", format!("{wanted} is registered"));
    }
    let nearest = registered.iter().min_by_key(|uri| strsim::osa_distance(uri, wanted));
    let Some(nearest) = nearest else {
        let detail = format!("the application has no redirect, so {wanted} is refused");
        return Check::fail(&known::NO_REDIRECT, "redirect", detail);
    };
    let detail = format!(
        "{wanted} is not registered; the nearest is {nearest}: {}",
        difference(wanted, nearest)
    );
    Check::fail(&known::REDIRECT, "redirect", detail)
}

/// Where two texts differ first.
fn difference(ours: &str, theirs: &str) -> String {
    if theirs.strip_suffix('/') == Some(ours) {
        return "it has a final /".to_owned();
    }
    if ours.strip_suffix('/') == Some(theirs) {
        return "it lacks the final /".to_owned();
    }
    let at = ours.chars().zip(theirs.chars()).take_while(|(a, b)| a == b).count();
    let letter = |text: &str| text.chars().nth(at).map_or("nothing".to_owned(), |c| format!("`{c}`"));
    format!(
        "character {} is {} there and {} here",
        at + 1,
        letter(theirs),
        letter(ours)
    )
}

fn of_scopes(patient: &Patient<'_>, application: &Application) -> Vec<Check> {
    let config = patient.config;
    let scopes = &config.discord.scopes;
    let eligible = &application.eligible_scopes;
    let mut checks = Vec::new();
    for scope in scopes
        .iter()
        .filter(|scope| !eligible.is_empty() && !eligible.contains(scope))
    {
        let detail = format!("this application may not ask for `{scope}`");
        checks.push(Check::fail(&known::SCOPE_NOT_ELIGIBLE, "scopes", detail));
    }
    let lacks = |resource: &&Resource| !scopes.iter().any(|scope| scope == resource.scope());
    for resource in config.fetch.resources.iter().filter(lacks) {
        let (name, scope) = (resource.name(), resource.scope());
        let detail = format!("fetch.resources has \"{name}\", which needs the scope `{scope}`");
        checks.push(Check::fail(&known::SCOPE_OF_RESOURCE, "scopes", detail));
    }
    if checks.is_empty() {
        checks.push(Check::ok("scopes", scopes.join(" ")));
    }
    checks
}

/// A token that nobody has is revoked: Discord looks at the credentials first.
async fn of_secret(patient: &Patient<'_>) -> Check {
    let config = patient.config;
    let endpoint = HttpTokenEndpoint::new(&TokenEndpointSettings {
        api_base: patient.base.clone(),
        application: config.discord.application_id,
        secret: patient.secrets.client_secret.clone(),
        redirect_uri: config.discord.redirect_uri.clone(),
        exchange_timeout: config.stages.exchange.timeout,
        revoke_timeout: config.stages.revoke.timeout,
    });
    let Ok(endpoint) = endpoint else {
        return Check::skipped("client secret", "the HTTP client cannot be made");
    };
    let nobodys = Alphanumeric.sample_string(&mut rand::make_rng::<rand::rngs::StdRng>(), 30);
    match endpoint.revoke(&AccessToken::new(nobodys)).await.outcome {
        RevokeAnswer::Revoked => Check::ok("client secret", "accepted by Discord"),
        RevokeAnswer::CredentialsRefused => {
            let id = config.discord.application_id;
            let detail = format!("Discord refuses CODEFERRY_CLIENT_SECRET for application {id} (invalid_client)");
            Check::fail(&known::CLIENT_SECRET, "client secret", detail)
        }
        RevokeAnswer::Later(Later { reason, .. }) => Check::fail(
            &known::UNREACHABLE,
            "client secret",
            format!("it could not be checked: {reason}"),
        ),
    }
}

async fn of_sessions(patient: &Patient<'_>) -> Check {
    match patient.portal.sessions().await {
        Ok(sessions) if sessions.shards > 1 => {
            let detail = format!("Discord asks for {} shards", sessions.shards);
            Check::warn(&known::SHARDS, "gateway", detail)
        }
        Ok(sessions) if sessions.left < FEW_SESSIONS => {
            let detail = format!("{} sessions are left today", sessions.left);
            Check::warn(&known::SESSIONS, "gateway", detail)
        }
        Ok(sessions) => Check::ok("gateway", format!("{} sessions are left today", sessions.left)),
        Err(error) => Check::of_error("gateway", "the gateway", &error),
    }
}

/// The guild of the resource `member`.
async fn of_guild(patient: &Patient<'_>) -> Option<Check> {
    let guild = patient.config.discord.guild_id?;
    Some(match patient.portal.guild(guild).await {
        Ok(name) => Check::ok("guild", format!("\"{name}\" {guild}")),
        Err(BotError::NotFound { .. } | BotError::Forbidden { .. }) => {
            let detail = format!("the bot is not in discord.guild_id {guild}");
            Check::warn(&known::MEMBER_GUILD, "guild", detail)
        }
        Err(error) => Check::of_error("guild", "the guild", &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_of_two_redirects_is_named() {
        for (ours, theirs, said) in [
            ("https://a.example/cb", "https://a.example/cb/", "it has a final /"),
            ("https://a.example/cb/", "https://a.example/cb", "it lacks the final /"),
            (
                "https://a.example/cb",
                "http://a.example/cb",
                "character 5 is `:` there and `s` here",
            ),
            (
                "https://a.example/cb",
                "https://a.example/cbx",
                "character 21 is `x` there and nothing here",
            ),
        ] {
            assert_eq!(difference(ours, theirs), said);
        }
    }
}
