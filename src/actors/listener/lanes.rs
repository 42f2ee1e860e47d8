//! Which lanes can carry codes. One that cannot is taken out and comes back by itself; with none left, the operator is
//! needed. The journal makes no links for a lane that is out.

use std::rc::Rc;
use std::time::Duration;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{Fatal, Listener};
use crate::actors::journal::message::LaneWorks;
use crate::ids::{ChannelId, Lane, WebhookId};
use crate::port::discord::BotError;

/// How often each lane's webhook is looked at: a deleted one is noticed by nothing else, for no message comes.
pub(super) const LOOK_EVERY: Duration = Duration::from_mins(1);

/// What is wrong with a lane; nothing, as a rule.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    history: Option<String>,
    webhook: Option<String>,
}

impl Trouble {
    fn told(&self) -> Option<String> {
        self.history.clone().or_else(|| self.webhook.clone())
    }
}

impl Listener {
    /// A channel's history was refused for good.
    pub(super) fn history_refused(&mut self, channel: ChannelId, error: BotError, ctx: &mut Context<Self>) {
        let reason = format!("channel {channel} cannot be read: {error}");
        self.change(channel, ctx, |trouble| trouble.history = Some(reason));
        let unreadable = |listener: &Self| {
            let mut lanes = listener.settings.lanes.iter();
            lanes.all(|lane| listener.trouble.get(&lane.channel).is_some_and(|t| t.history.is_some()))
        };
        // A token that is refused is refused everywhere.
        if matches!(error, BotError::Unauthorized) || (!self.settings.other_way_in && unreadable(self)) {
            (self.settings.on_fatal)(Fatal::Bot { channel, error });
        }
    }

    /// A channel's history was read.
    pub(super) fn history_read(&mut self, channel: ChannelId, ctx: &mut Context<Self>) {
        self.change(channel, ctx, |trouble| trouble.history = None);
    }

    /// Looks whether every lane's webhook is there and posts where it should.
    pub(super) fn look_at_webhooks(&mut self, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        for lane in &self.settings.lanes {
            let (bot, channel, webhook) = (Rc::clone(&self.settings.bot), lane.channel, lane.webhook);
            let looked = async move { bot.webhook_channel(webhook).await };
            ctx.spawn(looked.into_actor(self).map(move |found, listener, ctx| {
                if let Some(reason) = judge(webhook, channel, &found) {
                    listener.change(channel, ctx, |trouble| trouble.webhook = reason);
                }
            }));
        }
    }

    fn change(&mut self, channel: ChannelId, ctx: &mut Context<Self>, change: impl FnOnce(&mut Trouble)) {
        let Some(lane) = self
            .settings
            .lanes
            .iter()
            .find(|lane| lane.channel == channel)
            .map(|l| l.lane)
        else {
            return;
        };
        let trouble = self.trouble.entry(channel).or_default();
        let before = trouble.told();
        change(trouble);
        let now = trouble.told();
        if before.is_some() != now.is_some() {
            self.tell(lane, now, ctx);
        }
    }

    fn tell(&self, lane: Lane, trouble: Option<String>, ctx: &mut Context<Self>) {
        let told = self.journal.send(LaneWorks { lane, trouble });
        ctx.spawn(told.into_actor(self).map(|_, _, _| ()));
    }
}

/// What a look at a webhook says of its lane; `None` where it says nothing: without MANAGE_WEBHOOKS it cannot be looked
/// at, and a fault that passes proves nothing.
#[expect(clippy::option_option, reason = "no word, good, or what is wrong")]
fn judge(webhook: WebhookId, channel: ChannelId, found: &Result<ChannelId, BotError>) -> Option<Option<String>> {
    match found {
        Ok(at) if *at == channel => Some(None),
        Ok(at) => Some(Some(format!("webhook {webhook} posts into channel {at} now"))),
        Err(BotError::NotFound { .. }) => Some(Some(format!("webhook {webhook} was deleted"))),
        Err(
            BotError::Forbidden { .. } | BotError::Unauthorized | BotError::Refused { .. } | BotError::Transient(_),
        ) => None,
    }
}
