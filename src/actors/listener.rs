//! The `Listener`: owns the gateway session, the reading of history, what may enter, and the removal of source messages.
//!
//! A gateway event is only a hint: a session that cannot be resumed replays nothing, and Discord promises no
//! event. The channel's history is the truth, read at start, on READY, on RESUMED and every few seconds:
//! the live window first, and what lies between it and the cursor in the background.

pub mod gatekeeper;
pub mod history;
mod lanes;
mod memory;
mod progress;
mod reading;
mod source_messages;
mod unreadable;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use actix::fut::ready;
use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseActFuture, StreamHandler, WrapFuture,
};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use self::gatekeeper::{Admission, Faults, Gatekeeper};
use self::history::ReadError;
use self::memory::Memory;
use self::progress::Progress;
use self::unreadable::Unreadable;
use super::every::every;
use super::journal::Journal;
use super::journal::message::{Append, JournalError};
use super::journal::open_grants::Appended;
use crate::ids::{ChannelId, Lane, MessageId, WebhookId};
use crate::intake::message::AfterReceipt;
use crate::metrics::{self, MessageResult};
use crate::port::discord::{BotApi, BotError, ChannelMessage, GatewayNote};
use crate::time::{JumpWatch, Pulse, SharedClock};

/// Gateway messages that are taken in together, at most: one append is one transaction, whose memory grows with it.
const TOGETHER: usize = 32;

/// Messages without content from a lane's own webhook after which the cause is named: one may be somebody's test.
const BLANKS: usize = 3;

/// One lane to listen on.
#[derive(Debug, Clone, Copy)]
pub struct WatchedLane {
    /// Its number.
    pub lane: Lane,
    /// Its channel.
    pub channel: ChannelId,
    /// The only webhook whose messages count.
    pub webhook: WebhookId,
}

/// What the listener is made of.
pub struct ListenerSettings {
    /// The lanes.
    pub lanes: Vec<WatchedLane>,
    /// Codes come by another way too, so that lanes which cannot be read are not the end.
    pub other_way_in: bool,
    /// Decides what enters.
    pub gatekeeper: Gatekeeper,
    /// Bot routes.
    pub bot: Rc<dyn BotApi>,
    /// Discord's time as far as it is known.
    pub clock: SharedClock,
    /// This machine's clock, to notice its jumps.
    pub wall: SharedClock,
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// How often the history is read.
    pub poll_every: Duration,
    /// What becomes of spent source messages.
    pub after_receipt: AfterReceipt,
    /// Told of a close code that ends the session for good, or of a channel that cannot be read.
    pub on_fatal: Rc<dyn Fn(Fatal)>,
    /// Told of READY.
    pub on_ready: Rc<dyn Fn()>,
}

/// Something that only an operator can put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fatal {
    /// The gateway closed for good, with this code.
    Gateway(u16),
    /// A channel's history was refused for good.
    Bot {
        /// The channel.
        channel: ChannelId,
        /// The refusal.
        error: BotError,
    },
}

/// See the file's head.
pub struct Listener {
    settings: ListenerSettings,
    notes: Option<mpsc::Receiver<GatewayNote>>,
    journal: Addr<Journal>,
    channels: HashMap<ChannelId, Watched>,
    /// What is wrong with a lane, by its channel.
    trouble: HashMap<ChannelId, lanes::Trouble>,
    removing: usize,
    /// Channels in which a removal was refused: there messages are kept.
    kept: HashSet<ChannelId>,
    unreadable: Unreadable,
    /// It was said that the journal is full.
    full_named: bool,
    draining: bool,
}

/// One channel.
#[derive(Default)]
struct Watched {
    progress: Progress,
    memory: Memory,
    /// Live messages of ours that could not be read: the cursor stays below them, so that a restart looks again.
    unread: BTreeSet<MessageId>,
    /// The window is being read; a second reading at once would only race the first.
    reading: bool,
    /// To be read again as soon as the reading under way ends.
    read_again: bool,
    /// The gap below the window is being read.
    reading_gap: bool,
    /// The missing permission was named.
    lack_named: bool,
    /// Messages of ours without content, until that is named.
    blanks: usize,
}

impl Watched {
    fn set_unread(&mut self, message: MessageId, unread: bool) {
        if unread {
            self.unread.insert(message);
        } else {
            self.unread.remove(&message);
        }
    }
}

/// Stops intake, for good: nothing is handed to the journal any more. Removals under way go on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainIntake;

/// Looks again at what could not be read: keys or configuration may be others now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LookAgain;

/// A page of history to take in; the readings send it to their own actor, so that one place decides.
#[derive(Message)]
#[rtype(result = "Result<(), ReadError>")]
struct TakeIn(Vec<ChannelMessage>);

/// Where a message was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Gateway,
    History,
}

impl Listener {
    /// A listener, with the notes of the gateway session; it reads history as soon as it is started.
    pub fn new(settings: ListenerSettings, notes: mpsc::Receiver<GatewayNote>, journal: Addr<Journal>) -> Self {
        let channels = settings.lanes.iter().map(|l| (l.channel, Watched::default())).collect();
        Self {
            settings,
            notes: Some(notes),
            journal,
            channels,
            trouble: HashMap::new(),
            removing: 0,
            kept: HashSet::new(),
            unreadable: Unreadable::default(),
            full_named: false,
            draining: false,
        }
    }

    fn watched(&mut self, channel: ChannelId) -> &mut Watched {
        self.channels.entry(channel).or_default()
    }

    /// Takes in messages of one channel; answered once they are in the journal. What was taken before costs nothing.
    fn take_in(
        &mut self,
        messages: &[ChannelMessage],
        source: Source,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Result<(), ReadError>> {
        if self.draining {
            return Box::pin(ready(Err(ReadError::Draining)));
        }
        let now = self.settings.clock.now();
        let mut taken = Vec::new();
        for message in messages {
            let (channel, id) = (message.channel, message.id);
            let lives = now < id.created_at() + self.settings.code_lifetime;
            let watched = self.channels.entry(channel).or_default();
            if watched.memory.is_done(id) {
                continue;
            }
            match self.settings.gatekeeper.admit(message, now) {
                Admission::Foreign => {
                    if watched.memory.look(id) {
                        metrics::message(MessageResult::Foreign);
                    }
                    watched.memory.done(id);
                }
                Admission::Blank if source == Source::Gateway => self.read_channel(channel, ctx),
                Admission::Blank => {
                    watched.set_unread(id, lives);
                    if watched.memory.look(id) {
                        metrics::message(MessageResult::Malformed);
                        watched.blanks += 1;
                        name_blanks(channel, watched.blanks);
                    }
                }
                // It stays until `doctor` has seen it. If `doctor` left it behind, it is removed once a code would be dead.
                Admission::Probe(carried) if source == Source::History => {
                    if !lives {
                        watched.set_unread(id, false);
                        taken.push(carried);
                    } else if watched.unread.insert(id) {
                        metrics::message(MessageResult::ProbeByHistory);
                    }
                }
                Admission::Probe(_) => {
                    metrics::message(MessageResult::ProbeByGateway);
                    self.read_channel(channel, ctx);
                }
                Admission::Carried { carried, faults } => {
                    if watched.memory.look(id) {
                        self.unreadable.name(&carried, faults, now);
                    }
                    let unsure = source == Source::Gateway && watched.progress.hint(id) && !watched.reading;
                    let stays = lives && matches!(faults, Faults::Whole(_));
                    watched.set_unread(id, stays);
                    if !stays {
                        taken.push(carried);
                    }
                    if unsure {
                        self.read_channel(channel, ctx);
                    }
                }
            }
        }
        if taken.is_empty() {
            return Box::pin(ready(Ok(())));
        }
        let ids: Vec<_> = taken.iter().map(|c| (c.channel, c.message)).collect();
        let appended = self.journal.send(Append(taken)).into_actor(self);
        Box::pin(appended.map(move |outcome, listener, ctx| {
            let outcome = outcome.unwrap_or_else(|_| Err(JournalError::Refused("the journal has ended".to_owned())));
            let kept = listener.appended(&ids, outcome);
            listener.remove_source_messages(ctx);
            kept
        }))
    }

    fn appended(
        &mut self,
        ids: &[(ChannelId, MessageId)],
        outcome: Result<Appended, JournalError>,
    ) -> Result<(), ReadError> {
        let outcome = outcome.and_then(|appended| {
            metrics::messages(MessageResult::Accepted, appended.received as u64);
            metrics::messages(MessageResult::Duplicate, appended.known as u64);
            for (channel, message) in &ids[..ids.len() - appended.left_out] {
                self.watched(*channel).memory.done(*message);
            }
            if appended.left_out == 0 {
                Ok(())
            } else {
                Err(JournalError::Full)
            }
        });
        match &outcome {
            Ok(()) => self.full_named = false,
            Err(JournalError::Full) => {
                if !std::mem::replace(&mut self.full_named, true) {
                    tracing::warn!(
                        "the journal is full (journal.max_open): codes stay in the channel until it has room"
                    );
                }
            }
            // The journal has said so itself.
            Err(JournalError::NoRoom | JournalError::Store(_)) => {}
            Err(error @ (JournalError::Refused(_) | JournalError::Stopping)) => {
                tracing::warn!(%error, "a message could not be journalled: the history will bring it again");
            }
        }
        Ok(outcome?)
    }
}

fn name_blanks(channel: ChannelId, blanks: usize) {
    if blanks == BLANKS {
        tracing::error!(
            channel = %channel,
            "messages of the lane's own webhook come without their content, so their codes cannot be read: let the relay \
             begin each message with a mention of the bot, or switch on MESSAGE CONTENT INTENT on the page \"Bot\" of the \
             portal and start again"
        );
    }
}

impl Listener {
    fn take_note(&mut self, note: GatewayNote, ctx: &mut Context<Self>) {
        match note {
            GatewayNote::Message(_) => {}
            GatewayNote::Ready => {
                tracing::info!("the gateway session began");
                (self.settings.on_ready)();
                self.read_all(ctx);
            }
            GatewayNote::Resumed => {
                tracing::info!("the gateway session was resumed");
                self.read_all(ctx);
            }
            GatewayNote::Unparsed(kind) => {
                tracing::warn!(kind, "a gateway event could not be parsed: the history is read instead");
                metrics::message(MessageResult::Malformed);
                self.read_all(ctx);
            }
            GatewayNote::Disconnected(why) => {
                tracing::warn!(%why, "the gateway disconnected: reconnecting");
            }
            GatewayNote::HistoryOnly(why) => {
                let every_s = self.settings.poll_every.as_secs();
                tracing::error!(%why, every_s, "no gateway connection: codes are read from the channels' history alone, and slash commands are not answered");
                (self.settings.on_ready)();
            }
            GatewayNote::Fatal { code } => (self.settings.on_fatal)(Fatal::Gateway(code)),
        }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.read_all(ctx);
        self.look_at_webhooks(ctx);
        every(self.settings.poll_every, ctx, Self::read_all);
        every(Pulse::BEAT, ctx, Self::remove_source_messages);
        every(lanes::LOOK_EVERY, ctx, Self::look_at_webhooks);
        let watch = JumpWatch::new(self.settings.wall.clone());
        every(JumpWatch::LOOK_EVERY, ctx, move |listener, ctx| {
            if let Some(by_ms) = watch.jumped() {
                tracing::warn!(
                    by_ms,
                    "this machine was suspended, or its clock was set: the history is read, and its answer corrects the time"
                );
                listener.read_all(ctx);
            }
        });
        if let Some(mut notes) = self.notes.take() {
            let notes = futures_util::stream::poll_fn(move |cx| notes.poll_recv(cx));
            ctx.add_stream(notes.ready_chunks(TOGETHER));
        }
    }
}

impl StreamHandler<Vec<GatewayNote>> for Listener {
    fn handle(&mut self, notes: Vec<GatewayNote>, ctx: &mut Self::Context) {
        let mut messages = Vec::new();
        for note in notes {
            match note {
                GatewayNote::Message(message) => messages.push(message),
                other => self.take_note(other, ctx),
            }
        }
        if !messages.is_empty() {
            // Whatever came of it was said, and the history brings what was not taken.
            let taken = self.take_in(&messages, Source::Gateway, ctx);
            ctx.spawn(taken.map(|_, _, _| ()));
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The session ended; history goes on being read until the pipeline decides.
    }
}

impl Handler<TakeIn> for Listener {
    type Result = ResponseActFuture<Self, Result<(), ReadError>>;

    fn handle(&mut self, TakeIn(page): TakeIn, ctx: &mut Self::Context) -> Self::Result {
        self.take_in(&page, Source::History, ctx)
    }
}

impl Handler<LookAgain> for Listener {
    type Result = ();

    fn handle(&mut self, _: LookAgain, ctx: &mut Self::Context) {
        self.read_all(ctx);
    }
}

impl Handler<DrainIntake> for Listener {
    type Result = ();

    fn handle(&mut self, _: DrainIntake, _: &mut Self::Context) {
        self.draining = true;
    }
}

#[cfg(test)]
mod tests;
