//! What can go wrong with the surroundings, as failures with an exit code and a way out.

use crate::actors::listener::Fatal;
use crate::actors::pipeline::Ended;
use crate::discord::gateway::close_code;
use crate::ids::ChannelId;
use crate::known_fault as known;
use crate::lifecycle::{Exit, Failure};
use crate::port::discord::BotError;

/// The same words whether the checks of the start find it or the reading of history.
pub(super) fn unreadable(channel: ChannelId) -> String {
    format!("channel {channel} of intake.lanes cannot be read")
}

/// A bot route's refusal as a failure with its exit code and the way out.
pub fn of_bot(what: &str, error: BotError) -> Failure {
    let (exit, known, advice) = match &error {
        BotError::Unauthorized => (
            Exit::Usage,
            Some(known::TOKEN.id),
            "check CODEFERRY_BOT_TOKEN (page \"Bot\" of the portal; reset it there if in doubt)",
        ),
        BotError::Forbidden { .. } => (
            Exit::Usage,
            Some(known::CHANNEL_HIDDEN.id),
            "give the bot View Channel and Read Message History in that channel",
        ),
        // Unknown Webhook (Discord Docs/Topics/Opcodes and Status Codes).
        BotError::NotFound { code: 10015 } => (
            Exit::Usage,
            Some(known::WEBHOOK_UNKNOWN.id),
            "check webhook_id; if the webhook was deleted, make a new one on the channel's page \"Integrations\"",
        ),
        BotError::Refused { .. } => (Exit::Usage, None, "see the code in Discord's documentation"),
        BotError::NotFound { .. } => (
            Exit::Usage,
            Some(known::CHANNEL_UNKNOWN.id),
            "check channel_id, and that the bot is a member of that server",
        ),
        BotError::Transient(_) => (
            Exit::Failed,
            Some(known::UNREACHABLE.id),
            "check the network and discord.api_base, then start again",
        ),
    };
    let failure = Failure::new(exit, what).source(error).way_out(advice);
    known.into_iter().fold(failure, Failure::known_as)
}

/// What ended the service by itself, as a failure with its exit code and the way out.
pub fn of_end(ended: Ended) -> Failure {
    match ended {
        Ended::Store(error) => {
            let advice = if error.is_disk_full() {
                "free some room on the disk and start again; codes that arrived meanwhile are in the channel"
            } else {
                "check the disk, then start again; `codeferry debug verify` checks the journal"
            };
            Failure::new(Exit::Store, "the journal cannot be written")
                .source(error)
                .way_out(advice)
        }
        Ended::Died(who) => Failure::new(Exit::Bug, format!("the {who} died; please report the lines above")),
        Ended::Operator(Fatal::Bot { channel, error }) => of_bot(&unreadable(channel), error),
        Ended::Operator(Fatal::Gateway(code)) => {
            let known = close_code::look_up(Some(code));
            let message = format!(
                "the gateway closed the session for good (close code {code}): {}",
                known.meaning
            );
            Failure::new(Exit::Usage, message).way_out(known.cure)
        }
    }
}
