//! Reads the channels' history: the live window first and every time, the gap between it and the cursor in the
//! background. What it reads it hands to the listener, and the cursor follows only where nothing is left out.

use std::collections::HashSet;
use std::rc::Rc;

use actix::{ActorFutureExt, Addr, AsyncContext, Context, WrapFuture};

use super::history::{ReadError, read_range};
use super::progress::{Plan, Shown};
use super::{Listener, TakeIn};
use crate::actors::journal::Journal;
use crate::actors::journal::message::{Cursor, MoveCursor, Position};
use crate::ids::{ChannelId, MessageId};
use crate::port::discord::{BotApi, BotError, ChannelMessage};

impl Listener {
    pub(super) fn read_all(&mut self, ctx: &mut Context<Self>) {
        for n in 0..self.settings.lanes.len() {
            self.read_channel(self.settings.lanes[n].channel, ctx);
        }
    }

    pub(super) fn read_channel(&mut self, channel: ChannelId, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let watched = self.watched(channel);
        if std::mem::replace(&mut watched.reading, true) {
            watched.read_again = true;
            return;
        }
        let asked = self.journal.send(Cursor(channel)).into_actor(self);
        ctx.spawn(asked.map(move |position, listener, ctx| match position {
            Ok(position) => listener.read_window(channel, position, ctx),
            // Without a journal the process is about to end.
            Err(_) => listener.watched(channel).reading = false,
        }));
    }

    fn read_window(&mut self, channel: ChannelId, position: Position, ctx: &mut Context<Self>) {
        let code_lifetime = self.settings.code_lifetime;
        let watched = self.watched(channel);
        let plan = watched.progress.plan(position, code_lifetime);
        watched.memory.forget_up_to(plan.from);
        let reading = read_window(Rc::clone(&self.settings.bot), ctx.address(), channel, plan.window);
        ctx.spawn(reading.into_actor(self).map(move |outcome, listener, ctx| {
            let watched = listener.watched(channel);
            watched.reading = false;
            let again = std::mem::take(&mut watched.read_again);
            match outcome {
                Ok(read) => {
                    listener.history_read(channel, ctx);
                    listener.finish_window(channel, plan, &read, ctx);
                }
                Err(error) => listener.broke_off(channel, error, ctx),
            }
            if again {
                listener.read_channel(channel, ctx);
            }
            listener.remove_source_messages(ctx);
        }));
    }

    fn finish_window(
        &mut self,
        channel: ChannelId,
        mut plan: Plan,
        read: &HashSet<MessageId>,
        ctx: &mut Context<Self>,
    ) {
        let watched = self.watched(channel);
        // What the history does not show any more was removed by somebody.
        watched.unread.retain(|id| read.contains(id));
        let unread = watched.unread.first().map_or(u64::MAX, |id| id.0 - 1);
        if watched.progress.window_read(&plan, read) == Shown::Lacking
            && !std::mem::replace(&mut watched.lack_named, true)
        {
            tracing::error!(
                channel = %channel,
                "the gateway brings messages that the channel's history does not show: the bot lacks READ_MESSAGE_HISTORY \
                 there; give it that permission, or a code that the gateway misses is lost"
            );
        }
        if plan.has_gap() {
            if let Some(newest) = read.iter().max() {
                plan.shows(*newest);
            }
            self.read_gap(channel, plan, ctx);
        } else if let Some(read_to) = plan.cursor_at(unread) {
            let moved = self.journal.send(MoveCursor { channel, read_to }).into_actor(self);
            ctx.spawn(moved.map(|_, _, _| ()));
        }
    }

    fn read_gap(&mut self, channel: ChannelId, plan: Plan, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.watched(channel).reading_gap, true) {
            return;
        }
        let reading = read_gap(
            Rc::clone(&self.settings.bot),
            ctx.address(),
            self.journal.clone(),
            channel,
            plan,
        );
        ctx.spawn(reading.into_actor(self).map(move |outcome, listener, ctx| {
            let watched = listener.watched(channel);
            watched.reading_gap = false;
            match outcome {
                Ok((plan, messages)) => watched.progress.gap_read(&plan, messages),
                Err(error) => listener.broke_off(channel, error, ctx),
            }
            listener.remove_source_messages(ctx);
        }));
    }

    fn broke_off(&mut self, channel: ChannelId, error: ReadError, ctx: &mut Context<Self>) {
        self.watched(channel).progress.broke_off();
        match error {
            ReadError::Bot(error @ BotError::Transient(_)) => {
                tracing::warn!(channel = %channel, %error, "reading the history failed: retrying");
            }
            ReadError::Bot(error) => {
                tracing::error!(channel = %channel, %error, "the channel's history cannot be read");
                self.history_refused(channel, error, ctx);
            }
            // It was said where it happened.
            ReadError::Journal(_) | ReadError::Draining => {}
        }
    }
}

/// Reads a channel from the window's begin on; answers what it shows.
async fn read_window(
    bot: Rc<dyn BotApi>,
    listener: Addr<Listener>,
    channel: ChannelId,
    after: u64,
) -> Result<HashSet<MessageId>, ReadError> {
    let mut read = HashSet::new();
    let mut enter = async |page: Vec<ChannelMessage>, _: Option<u64>| {
        read.extend(page.iter().map(|m| m.id));
        enter(&listener, page).await
    };
    read_range(&*bot, channel, after, u64::MAX, &mut enter).await?;
    Ok(read)
}

/// Reads the gap below the window, and lets the cursor follow page by page: a long one need not be begun anew.
/// Answers
/// the plan with what is known now, and how many messages the gap held.
async fn read_gap(
    bot: Rc<dyn BotApi>,
    listener: Addr<Listener>,
    journal: Addr<Journal>,
    channel: ChannelId,
    mut plan: Plan,
) -> Result<(Plan, usize), ReadError> {
    let (from, window) = (plan.from, plan.window);
    let mut messages = 0;
    let mut enter = async |page: Vec<ChannelMessage>, whole_to: Option<u64>| {
        messages += page.len();
        if let Some(newest) = page.last() {
            plan.shows(newest.id);
        }
        enter(&listener, page).await?;
        if let Some(whole_to) = whole_to {
            follow(&journal, channel, &plan, whole_to).await;
        }
        Ok(())
    };
    read_range(&*bot, channel, from, window, &mut enter).await?;
    follow(&journal, channel, &plan, window).await;
    Ok((plan, messages))
}

async fn follow(journal: &Addr<Journal>, channel: ChannelId, plan: &Plan, whole_to: u64) {
    if let Some(read_to) = plan.cursor_at(whole_to) {
        // A cursor that stays behind costs a reading, no code.
        let _ = journal.send(MoveCursor { channel, read_to }).await;
    }
}

async fn enter(listener: &Addr<Listener>, page: Vec<ChannelMessage>) -> Result<(), ReadError> {
    if page.is_empty() {
        return Ok(());
    }
    listener.send(TakeIn(page)).await.unwrap_or(Err(ReadError::Draining))
}
