//! Removes or marks carrier messages whose codes are spent. Only messages that the journal has a record of are touched,
//! and those came from a lane's own webhook.

use std::rc::Rc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{AfterReceipt, Listener};
use crate::actors::journal::message::{ClaimRemovals, Removed};
use crate::crash;
use crate::grant::retry::LONGEST_WAIT;
use crate::ids::WebhookId;
use crate::steps::port::{BotApi, BotError};
use crate::store::Carrier;

/// Removals under way at once; Discord's limit on deletions is a few a second.
const REMOVALS: usize = 4;

impl Listener {
    pub(super) fn remove_carriers(&mut self, ctx: &mut Context<Self>) {
        if self.removing >= REMOVALS || self.after_receipt == AfterReceipt::Keep {
            return;
        }
        let free = REMOVALS - self.removing;
        self.removing += free;
        let asked = self.journal.send(ClaimRemovals(free)).into_actor(self);
        ctx.spawn(asked.map(move |carriers, listener, ctx| {
            let carriers = carriers.unwrap_or_default();
            listener.removing -= free - carriers.len();
            for carrier in carriers {
                listener.remove_carrier(carrier, ctx);
            }
        }));
    }

    fn remove_carrier(&mut self, carrier: Carrier, ctx: &mut Context<Self>) {
        let (channel, message) = (carrier.channel, carrier.message);
        if let Some(watched) = self.channels.get_mut(&channel) {
            watched.progress.removing(message);
        }
        let webhook = self.lanes.iter().find(|l| l.channel == channel).map(|l| l.webhook);
        let after_receipt = if self.kept.contains(&channel) {
            AfterReceipt::Keep
        } else {
            self.after_receipt
        };
        let journal = self.journal.clone();
        let removal = remove(Rc::clone(&self.bot), carrier, webhook, after_receipt);
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
                    "Discord refused to remove a carrier message (403): spent messages stay in the channel; give the bot \
                     MANAGE_MESSAGES, or the webhook's token in CODEFERRY_WEBHOOK_TOKENS, or set \
                     intake.after_receipt = \"keep\""
                );
            }
            listener.remove_carriers(ctx);
        }));
    }
}

/// Removes or marks one carrier message: when to try again, if at all, and whether Discord refused it for good.
async fn remove(
    bot: Rc<dyn BotApi>,
    carrier: Carrier,
    webhook: Option<WebhookId>,
    after_receipt: AfterReceipt,
) -> (Option<Duration>, bool) {
    let Carrier { channel, message, .. } = carrier;
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
        Err(BotError::Transient { after, .. }) => {
            let backoff = Duration::from_secs(1 << carrier.attempts.min(9));
            (Some(backoff.max(after.unwrap_or_default()).min(LONGEST_WAIT)), false)
        }
    }
}
