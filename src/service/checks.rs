//! What is asked of Discord at a start: who we are, before the actors; and while codes already flow, whether credentials,
//! channels and webhooks are what the configuration says.

use std::rc::Rc;
use std::time::Duration;

use url::Url;

use super::failure::{of_bot, unreadable};
use crate::actors::listener::WatchedLane;
use crate::config::{Config, WireVersion};
use crate::discord::bot::HttpBotApi;
use crate::http::is_loopback;
use crate::known_fault as known;
use crate::lifecycle::{Exit, Failure};
use crate::port::contact::{Contact as _, MOST_CHOICES, OwnCommand};
use crate::port::discord::{ApplicationFacts, BotApi, BotError, RevokeAnswer, TokenEndpoint};
use crate::port::later::Later;
use crate::secret::AccessToken;

/// Retries until Discord can be reached: codes wait in the channel meanwhile.
pub(super) async fn reached<T>(ask: impl AsyncFn() -> Result<T, BotError>) -> Result<T, BotError> {
    let mut wait = Duration::from_millis(500);
    loop {
        match ask().await {
            Err(BotError::Transient(Later { reason, .. })) => {
                tracing::warn!(
                    reason,
                    wait_s = wait.as_secs_f32(),
                    "Discord cannot be reached: retrying"
                );
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(15));
            }
            clear => return clear,
        }
    }
}

/// Asks Discord who we are.
pub(super) async fn who_we_are(bot: &dyn BotApi, config: &Config) -> Result<ApplicationFacts, Failure> {
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
        .known_as(known::APPLICATION.id)
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
        .known_as(known::REDIRECT.id)
        .way_out("add it, character by character, under \"OAuth2\" > \"Redirects\" in the developer portal"));
    }
    if !facts.message_content && config.intake.accept.contains(&WireVersion::V0) {
        tracing::info!("MESSAGE_CONTENT is off for this application: messages are read by their mention of the bot");
    }
    tracing::info!(application = %facts.id, bot = %facts.bot, "Discord knows the bot");
    Ok(facts)
}

/// What can be checked while codes already flow; what is not fine yet is answered. A passing fault is no failure, for the
/// parts retry by themselves. Nor is a lane that does not work, which the listener takes out, while another one or direct
/// intake is a way in.
pub(super) async fn surroundings(
    bot: Rc<HttpBotApi>,
    lanes: Vec<WatchedLane>,
    direct: bool,
    endpoint: Rc<dyn TokenEndpoint>,
    nobodys_token: String,
) -> Result<Vec<String>, Failure> {
    let probe = async {
        match endpoint.revoke(&AccessToken::new(nobodys_token)).await.outcome {
            RevokeAnswer::CredentialsRefused => Err(Failure::new(
                Exit::Usage,
                "Discord refuses the application's credentials (invalid_client)",
            )
            .known_as(known::CLIENT_SECRET.id)
            .way_out("check discord.application_id and CODEFERRY_CLIENT_SECRET (page \"OAuth2\" of the portal)")),
            RevokeAnswer::Revoked => Ok(Vec::new()),
            RevokeAnswer::Later(Later { reason, .. }) => {
                Ok(vec![format!("the client secret could not be checked ({reason})")])
            }
        }
    };
    let looked = futures_util::future::join_all(lanes.iter().map(|lane| look_at(&bot, lane)));
    let (probed, looked) = futures_util::future::join(probe, looked).await;
    let mut not_fine = probed?;
    let mut wrong = Vec::new();
    for lane in looked {
        match lane {
            Ok(unsure) => not_fine.extend(unsure),
            Err(failure) => wrong.push(failure),
        }
    }
    if wrong.len() == lanes.len() && !wrong.is_empty() && !direct {
        return Err(wrong.swap_remove(0));
    }
    for failure in wrong {
        let id = failure.id().unwrap_or_default();
        tracing::error!(id, reason = %failure, "a lane does not work: codes come by the other ways");
        not_fine.push(failure.to_string());
    }
    Ok(not_fine)
}

/// A lane's channel, what the bot may do there, and its webhook.
async fn look_at(bot: &HttpBotApi, lane: &WatchedLane) -> Result<Vec<String>, Failure> {
    let mut not_fine = Vec::new();
    let mut unknown = |what: &str, later: Later| {
        not_fine.push(format!(
            "lane {}: {what} could not be checked ({})",
            lane.lane, later.reason
        ));
    };
    match bot.channel(lane.channel).await {
        Ok(()) => {}
        Err(BotError::Transient(later)) => unknown("the channel", later),
        Err(error) => return Err(of_bot(&unreadable(lane.channel), error)),
    }
    match bot.webhook_channel(lane.webhook).await {
        Ok(channel) if channel == lane.channel => {}
        Ok(channel) => {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "lane {}: webhook {} posts into channel {channel}, not {}",
                    lane.lane, lane.webhook, lane.channel
                ),
            )
            .known_as(known::WEBHOOK_ELSEWHERE.id)
            .way_out("correct intake.lanes, or move the webhook"));
        }
        // Without MANAGE_WEBHOOKS it cannot be looked at; the first message will show.
        Err(BotError::Forbidden { .. }) => {}
        Err(BotError::Transient(later)) => unknown("the webhook", later),
        Err(error) => return Err(of_bot(&format!("lane {}: webhook {}", lane.lane, lane.webhook), error)),
    }
    match bot.may_read_history(lane.channel).await {
        Ok(true) => {}
        Ok(false) => not_fine.push(format!(
            "lane {}: the bot lacks Read Message History in channel {}, so a code that the gateway misses is lost [{}]",
            lane.lane,
            lane.channel,
            known::NO_HISTORY.id
        )),
        Err(BotError::Transient(later)) => unknown("the history", later),
        Err(error) => return Err(of_bot(&unreadable(lane.channel), error)),
    }
    Ok(not_fine)
}

/// A redirect URI on this machine where nothing listens. A connection is opened and closed; nothing is asked.
pub(super) async fn unserved(redirect_uri: String) -> Option<String> {
    let uri = Url::parse(&redirect_uri).ok().filter(is_loopback)?;
    let address = (
        uri.host_str()?.trim_matches(['[', ']']).to_owned(),
        uri.port_or_known_default()?,
    );
    let connected = tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address)).await;
    (!matches!(connected, Ok(Ok(_)))).then(|| {
        format!(
            "nothing listens at discord.redirect_uri `{redirect_uri}`: start the relay, or set intake.http.listen [{}]",
            known::REDIRECT_CLOSED.id
        )
    })
}

/// Makes the slash command what the configuration says. Where Discord cannot be reached it is tried again beside
/// everything else: the command of the last start is still there.
pub(super) async fn set_command(bot: Rc<HttpBotApi>, config: Config) -> Result<Option<String>, Failure> {
    let Some(name) = config.commands.connect.clone() else {
        return Ok(None);
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
        Ok(()) => Ok(None),
        Err(BotError::Transient(Later { reason, .. })) => {
            tracing::warn!(reason, "the slash command could not be set: retrying");
            tokio::task::spawn_local(async move {
                if let Err(error) = reached(async || set(&bot).await).await {
                    tracing::error!(%error, "Discord refuses the slash command: users cannot use it until the next start");
                }
            });
            Ok(Some("the slash command is not set yet".to_owned()))
        }
        Err(error @ BotError::Unauthorized) => Err(of_bot("the slash command cannot be set", error)),
        // Codes need no command: the service works without it.
        Err(error) => {
            tracing::error!(%error, "Discord refuses the slash command: users cannot use it until the next start");
            Ok(Some(format!(
                "Discord refuses the slash command of commands.connect ({error})"
            )))
        }
    }
}
