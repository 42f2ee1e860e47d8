//! Removes or marks source messages whose codes are spent. Only messages that the journal has a record of are touched,
//! and those came from a lane's own webhook.

use std::rc::Rc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::Listener;
use crate::actors::journal::message::{ClaimRemovals, Removed};
use crate::crash;
use crate::grant::retry::LONGEST_WAIT;
use crate::ids::WebhookId;
use crate::intake::message::AfterReceipt;
use crate::port::discord::{BotApi, BotError};
use crate::port::later::Later;
use crate::store::SourceMessage;

/// Removals under way at once; Discord's limit on deletions is a few a second.
const REMOVALS: usize = 4;

impl Listener {
    pub(super) fn remove_source_messages(&mut self, ctx: &mut Context<Self>) {
        if self.removing >= REMOVALS || self.settings.after_receipt == AfterReceipt::Keep {
            return;
        }
        let free = REMOVALS - self.removing;
        self.removing += free;
        let asked = self.journal.send(ClaimRemovals(free)).into_actor(self);
        ctx.spawn(asked.map(move |source_messages, listener, ctx| {
            let source_messages = source_messages.unwrap_or_default();
            listener.removing -= free - source_messages.len();
            for source_message in source_messages {
                listener.remove_source_message(source_message, ctx);
            }
        }));
    }

    fn remove_source_message(&mut self, source_message: SourceMessage, ctx: &mut Context<Self>) {
        let (channel, message) = (source_message.channel, source_message.message);
        if let Some(watched) = self.channels.get_mut(&channel) {
            watched.progress.removing(message);
        }
        let webhook = self
            .settings
            .lanes
            .iter()
            .find(|l| l.channel == channel)
            .map(|l| l.webhook);
        let after_receipt = if self.kept.contains(&channel) {
            AfterReceipt::Keep
        } else {
            self.settings.after_receipt
        };
        let journal = self.journal.clone();
        let removal = remove(Rc::clone(&self.settings.bot), source_message, webhook, after_receipt);
        let settled = async move {
            let (again_in, refused) = removal.await;
            let _ = journal.send(Removed { message, again_in }).await;
            refused
        };
        ctx.spawn(settled.into_actor(self).map(move |refused, listener, ctx| {
            listener.removing -= 1;
            if refused && listener.kept.insert(channel) {
                tracing::error!(
                    channel = %channel,
                    "Discord refused to remove a source message (403): spent messages stay in the channel; give the bot \
                     MANAGE_MESSAGES, or the webhook's token in CODEFERRY_WEBHOOK_TOKENS, or set \
                     intake.after_receipt = \"keep\""
                );
            }
            listener.remove_source_messages(ctx);
        }));
    }
}

/// Removes or marks one source message: when to try again, if at all, and whether Discord refused it for good.
async fn remove(
    bot: Rc<dyn BotApi>,
    source_message: SourceMessage,
    webhook: Option<WebhookId>,
    after_receipt: AfterReceipt,
) -> (Option<Duration>, bool) {
    let SourceMessage { channel, message, .. } = source_message;
    crash::point("removal.before");
    let outcome = match (after_receipt, webhook) {
        // Without its lane in the configuration it is not ours any more.
        (AfterReceipt::Keep, _) | (_, None) => Ok(()),
        (AfterReceipt::React, Some(_)) => bot.react(channel, message).await,
        (AfterReceipt::Delete, Some(webhook)) => bot.delete_message(channel, webhook, message).await,
    };
    crash::point("removal.after");
    match outcome {
        Ok(()) | Err(BotError::NotFound { .. }) => (None, false),
        Err(BotError::Forbidden { .. }) => (None, true),
        Err(BotError::Unauthorized | BotError::Refused { .. }) => (Some(Duration::from_mins(1)), false),
        Err(BotError::Transient(Later { after, .. })) => {
            let backoff = Duration::from_secs(1 << source_message.attempts.min(9));
            (Some(backoff.max(after.unwrap_or_default()).min(LONGEST_WAIT)), false)
        }
    }
}
