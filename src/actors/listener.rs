//! The `Listener`: owns the gateway session, the reading of history, what may enter, and the removal of carriers.
//!
//! A gateway event is only a hint: serenity loses its session on a missed heartbeat or a refused reconnect, and Discord
//! then replays nothing. The channel's history is the truth, read at start, on READY, on RESUMED and every few seconds.

pub mod gatekeeper;
pub mod history;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, StreamHandler, WrapFuture};
use tokio::sync::mpsc;

use self::gatekeeper::{Admission, Gatekeeper};
use self::history::{ReadError, read_range};
use super::journal::Journal;
use super::journal::book::Carried;
use super::journal::message::{Append, ClaimRemovals, Cursor, JournalError, MoveCursor, Removed};
use crate::grant::retry::LONGEST_WAIT;
use crate::ids::{ChannelId, Lane, MessageId, WebhookId, snowflake_at};
use crate::metrics::{self, MessageResult};
use crate::steps::port::{BotApi, BotError, ChannelMessage, GatewayNote};
use crate::store::{Change, CommitterHandle};
use crate::time::{SharedClock, Timestamp};

/// Ids newer than this may still be joined by older ones: messages become visible out of id order.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// How far back the first start looks.
const FIRST_LOOK_BACK: Duration = Duration::from_mins(15);
/// Removals under way at once; Discord's limit on deletions is a few a second.
const REMOVALS: usize = 4;

/// What becomes of a carrier message once its codes are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterReceipt {
    /// It is deleted.
    Delete,
    /// It gets a check mark.
    React,
    /// Nothing.
    Keep,
}

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
pub struct Settings {
    /// The lanes.
    pub lanes: Vec<WatchedLane>,
    /// Decides what enters.
    pub gatekeeper: Gatekeeper,
    /// Bot routes.
    pub bot: Rc<dyn BotApi>,
    /// Notes of the gateway session.
    pub notes: mpsc::Receiver<GatewayNote>,
    /// The wall clock.
    pub clock: SharedClock,
    /// How long a code lives.
    pub code_lifetime: Duration,
    /// How often the history is read.
    pub poll_every: Duration,
    /// What becomes of spent carrier messages.
    pub after_receipt: AfterReceipt,
    /// Told of a close code that ends the session for good, or of a channel that cannot be read.
    pub on_fatal: Rc<dyn Fn(Fatal)>,
    /// Told of READY.
    pub on_ready: Rc<dyn Fn()>,
    /// Counts IDENTIFYs across restarts.
    pub identifies: Identifies,
}

/// IDENTIFYs of the last day, across restarts: at 1,000 a day Discord resets the bot's token.
pub struct Identifies {
    at: Vec<Timestamp>,
    most: usize,
    store: CommitterHandle,
}

impl Identifies {
    /// Goes on from what the store held.
    pub fn new(at: Vec<Timestamp>, most: usize, store: CommitterHandle) -> Self {
        Self { at, most, store }
    }

    /// Counts one; whether that is still fine, and the change that makes it durable.
    fn count(&mut self, now: Timestamp) -> (bool, Change) {
        self.at.retain(|at| now.since(*at) < Duration::from_hours(24));
        self.at.push(now);
        (self.at.len() <= self.most, Change::PutIdentifies(self.at.clone()))
    }
}

/// Something that only an operator can put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fatal {
    /// The gateway closed for good, with this code.
    Gateway(Option<u16>),
    /// A bot route was refused for good.
    Bot(BotError),
    /// So many sessions were begun that the bot's token is in danger.
    TooManyIdentifies,
}

/// See the file's head.
pub struct Listener {
    lanes: Vec<WatchedLane>,
    gatekeeper: Rc<Gatekeeper>,
    bot: Rc<dyn BotApi>,
    notes: Option<mpsc::Receiver<GatewayNote>>,
    clock: SharedClock,
    code_lifetime: Duration,
    poll_every: Duration,
    after_receipt: AfterReceipt,
    on_fatal: Rc<dyn Fn(Fatal)>,
    on_ready: Rc<dyn Fn()>,
    identifies: Identifies,
    journal: Addr<Journal>,
    /// Channels whose history is being read; a second reading at once would only race the first.
    reading: HashSet<ChannelId>,
    /// Channels to read again as soon as the reading under way ends.
    read_again: HashSet<ChannelId>,
    /// Messages that only the gateway has shown so far.
    unconfirmed: HashMap<ChannelId, HashSet<MessageId>>,
    /// Channels for which the missing permission was named.
    named: HashSet<ChannelId>,
    removing: usize,
    /// Removals were refused once: from then on messages are kept.
    removal_refused: bool,
    draining: bool,
}

/// Stops intake, for good. Removals under way go on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DrainIntake;

/// Reads every channel's history now; answered when the live window was read once.
#[derive(Message)]
#[rtype(result = "Result<(), BotError>")]
pub struct ReadHistory;

impl Listener {
    /// A listener; it reads history as soon as it is started.
    pub fn new(settings: Settings, journal: Addr<Journal>) -> Self {
        Self {
            lanes: settings.lanes,
            gatekeeper: Rc::new(settings.gatekeeper),
            bot: settings.bot,
            notes: Some(settings.notes),
            clock: settings.clock,
            code_lifetime: settings.code_lifetime,
            poll_every: settings.poll_every,
            after_receipt: settings.after_receipt,
            on_fatal: settings.on_fatal,
            on_ready: settings.on_ready,
            identifies: settings.identifies,
            journal,
            reading: HashSet::new(),
            read_again: HashSet::new(),
            unconfirmed: HashMap::new(),
            named: HashSet::new(),
            removing: 0,
            removal_refused: false,
            draining: false,
        }
    }

    fn channels(&self) -> Vec<ChannelId> {
        self.lanes.iter().map(|l| l.channel).collect()
    }

    fn read_all(&mut self, ctx: &mut Context<Self>) {
        for channel in self.channels() {
            self.read_channel(channel, ctx);
        }
    }

    fn read_channel(&mut self, channel: ChannelId, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        if !self.reading.insert(channel) {
            self.read_again.insert(channel);
            return;
        }
        let expected = self.unconfirmed.get(&channel).cloned().unwrap_or_default();
        let reading = read_one(
            Rc::clone(&self.bot),
            Rc::clone(&self.gatekeeper),
            self.journal.clone(),
            channel,
            self.clock.now(),
            self.code_lifetime,
        );
        ctx.spawn(reading.into_actor(self).map(move |outcome, listener, ctx| {
            listener.reading.remove(&channel);
            listener.finish_reading(channel, outcome, &expected);
            if listener.read_again.remove(&channel) {
                listener.read_channel(channel, ctx);
            }
            listener.remove_carriers(ctx);
        }));
    }

    fn finish_reading(
        &mut self,
        channel: ChannelId,
        outcome: Result<HashSet<MessageId>, ReadError>,
        expected: &HashSet<MessageId>,
    ) {
        match outcome {
            Ok(read) => {
                let unconfirmed = self.unconfirmed.entry(channel).or_default();
                let lacking = expected
                    .iter()
                    .filter(|id| unconfirmed.contains(id) && !read.contains(id))
                    .count();
                unconfirmed.retain(|id| !expected.contains(id));
                // One message may have been deleted by somebody between the two; nothing at all is a missing permission.
                if lacking > 0 && read.is_empty() && self.named.insert(channel) {
                    tracing::error!(
                        channel = %channel,
                        "the gateway brought a message that the channel's history does not show: the bot lacks \
                         READ_MESSAGE_HISTORY there; give it that permission, or a code that the gateway misses is lost"
                    );
                }
            }
            Err(ReadError::Bot(
                error @ (BotError::Unauthorized | BotError::Forbidden { .. } | BotError::NotFound { .. }),
            )) => {
                tracing::error!(channel = %channel, %error, "the channel's history cannot be read");
                (self.on_fatal)(Fatal::Bot(error));
            }
            Err(ReadError::Bot(error @ BotError::Transient { .. })) => {
                tracing::warn!(channel = %channel, %error, "reading the history failed and will be tried again");
            }
            Err(ReadError::Journal(JournalError::Full)) => {
                tracing::warn!("the journal is full: codes stay in the channel until it has room");
            }
            Err(ReadError::Journal(error)) => tracing::warn!(%error, "what was read could not be journalled"),
        }
    }

    fn admit(&mut self, message: ChannelMessage, ctx: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let channel = message.channel;
        match self.gatekeeper.admit(&message, self.clock.now()) {
            Admission::Foreign => metrics::message(MessageResult::Foreign),
            // Blanked content is in the history once the permission is there; the history reading says what is wrong.
            Admission::Blank => self.read_channel(channel, ctx),
            Admission::Carried(carried) => {
                self.unconfirmed.entry(channel).or_default().insert(message.id);
                let journal = self.journal.clone();
                let append = append(journal, vec![carried]).into_actor(self);
                ctx.spawn(append.map(|outcome, listener, ctx| {
                    if let Err(error) = outcome {
                        tracing::warn!(%error, "a message could not be journalled: the history will bring it again");
                    }
                    listener.remove_carriers(ctx);
                }));
            }
        }
    }

    fn remove_carriers(&mut self, ctx: &mut Context<Self>) {
        if self.removing >= REMOVALS || self.after_receipt == AfterReceipt::Keep || self.removal_refused {
            return;
        }
        let free = REMOVALS - self.removing;
        self.removing += free;
        let asked = self.journal.send(ClaimRemovals(free)).into_actor(self);
        ctx.spawn(asked.map(move |carriers, listener, ctx| {
            let carriers = carriers.unwrap_or_default();
            listener.removing -= free - carriers.len();
            for carrier in carriers {
                listener.unconfirmed.entry(carrier.channel).or_default().remove(&carrier.message);
                let webhook = listener.lanes.iter().find(|l| l.channel == carrier.channel).map(|l| l.webhook);
                let removal = remove(
                    Rc::clone(&listener.bot),
                    listener.journal.clone(),
                    carrier,
                    webhook,
                    listener.after_receipt,
                );
                ctx.spawn(removal.into_actor(listener).map(|refused, listener, ctx| {
                    listener.removing -= 1;
                    if refused && !std::mem::replace(&mut listener.removal_refused, true) {
                        tracing::error!(
                            "Discord refused to remove a carrier message (403): spent messages stay in the channel; give \
                             the bot MANAGE_MESSAGES, or the webhook's token in CODEFERRY_WEBHOOK_TOKENS, or set \
                             intake.after_receipt = \"keep\""
                        );
                    }
                    listener.remove_carriers(ctx);
                }));
            }
        }));
    }
}

/// Appends in order and counts.
async fn append(journal: Addr<Journal>, carried: Vec<Carried>) -> Result<(), JournalError> {
    if carried.is_empty() {
        return Ok(());
    }
    match journal.send(Append(carried)).await {
        Ok(Ok(appended)) => {
            metrics::messages(MessageResult::Accepted, appended.received as u64);
            metrics::messages(MessageResult::Duplicate, appended.known as u64);
            Ok(())
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(JournalError::Refused("the journal is gone".to_owned())),
    }
}

/// Reads a channel's live window, then any gap below it, and moves the cursor over what has no gap.
async fn read_one(
    bot: Rc<dyn BotApi>,
    gatekeeper: Rc<Gatekeeper>,
    journal: Addr<Journal>,
    channel: ChannelId,
    now: Timestamp,
    code_lifetime: Duration,
) -> Result<HashSet<MessageId>, ReadError> {
    let cursor = journal.send(Cursor(channel)).await.unwrap_or_default();
    let first = snowflake_at(now - FIRST_LOOK_BACK);
    let from = cursor.map_or(first, |c| c.0);
    let window = snowflake_at(now - code_lifetime - Duration::from_secs(30));
    let live_from = from.max(window);
    let mut read = HashSet::new();
    let mut highest = None;
    let settled = MessageId(snowflake_at(now - SETTLES_WITHIN));
    // The live window first: its codes are alive. The gap below it holds dead ones, which still get their outcome.
    for (after, up_to) in [(live_from, u64::MAX), (from, live_from)] {
        if after >= up_to {
            continue;
        }
        let mut enter = async |page: Vec<ChannelMessage>| {
            let mut carried = Vec::new();
            for message in &page {
                read.insert(message.id);
                if message.id <= settled {
                    highest = highest.max(Some(message.id));
                }
                match gatekeeper.admit(message, now) {
                    Admission::Carried(c) => carried.push(c),
                    Admission::Foreign | Admission::Blank => {}
                }
            }
            append(journal.clone(), carried).await.map_err(ReadError::Journal)
        };
        read_range(&*bot, channel, after, up_to, &mut enter).await?;
    }
    if let Some(read_to) = highest {
        let _ = journal.send(MoveCursor { channel, read_to }).await;
    }
    Ok(read)
}

/// Removes or marks one carrier message; `true` where Discord refused it for good.
async fn remove(
    bot: Rc<dyn BotApi>,
    journal: Addr<Journal>,
    carrier: crate::store::Carrier,
    webhook: Option<WebhookId>,
    after_receipt: AfterReceipt,
) -> bool {
    let message = carrier.message;
    let outcome = match (after_receipt, webhook) {
        (AfterReceipt::Keep, _) => Ok(()),
        (AfterReceipt::React, _) => bot.react(carrier.channel, message).await,
        // The lane is gone from the configuration: its messages are not ours any more.
        (AfterReceipt::Delete, None) => Ok(()),
        (AfterReceipt::Delete, Some(webhook)) => bot.delete_message(carrier.channel, webhook, message).await,
    };
    let (again_in, refused) = match outcome {
        Ok(()) | Err(BotError::NotFound { .. }) => (None, false),
        Err(BotError::Forbidden { .. }) => (None, true),
        Err(BotError::Unauthorized) => (Some(Duration::from_mins(1)), false),
        Err(BotError::Transient { after, .. }) => {
            let backoff = Duration::from_secs(1 << carrier.attempts.min(9));
            (Some(backoff.max(after.unwrap_or_default()).min(LONGEST_WAIT)), false)
        }
    };
    let _ = journal.send(Removed { message, again_in }).await;
    refused
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.read_all(ctx);
        ctx.run_interval(self.poll_every, Self::read_all);
        ctx.run_interval(Duration::from_secs(1), Self::remove_carriers);
        if let Some(mut notes) = self.notes.take() {
            ctx.add_stream(futures_util::stream::poll_fn(move |cx| notes.poll_recv(cx)));
        }
    }
}

impl StreamHandler<GatewayNote> for Listener {
    fn handle(&mut self, note: GatewayNote, ctx: &mut Self::Context) {
        match note {
            GatewayNote::Message(message) => self.admit(message, ctx),
            GatewayNote::Ready => {
                tracing::info!("the gateway session began");
                (self.on_ready)();
                self.read_all(ctx);
            }
            GatewayNote::Resumed => {
                tracing::info!("the gateway session was resumed");
                self.read_all(ctx);
            }
            GatewayNote::Identifying => {
                let (fine, change) = self.identifies.count(self.clock.now());
                let durable = self.identifies.store.commit(vec![change]);
                ctx.spawn(durable.into_actor(self).map(|_, _, _| ()));
                if !fine {
                    (self.on_fatal)(Fatal::TooManyIdentifies);
                }
            }
            GatewayNote::Unparsed(kind) => {
                tracing::warn!(kind, "a gateway event could not be parsed: the history is read instead");
                metrics::message(MessageResult::Malformed);
                self.read_all(ctx);
            }
            GatewayNote::Disconnected => tracing::warn!("the gateway connection is gone and will be made again"),
            GatewayNote::Fatal { code } => (self.on_fatal)(Fatal::Gateway(code)),
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The session ended; history goes on being read until the pipeline decides.
    }
}

impl Handler<DrainIntake> for Listener {
    type Result = ();

    fn handle(&mut self, _: DrainIntake, _: &mut Self::Context) {
        self.draining = true;
    }
}
