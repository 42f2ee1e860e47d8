//! The world's channels and sinks behind the service's ports: history and removal, an application that takes results, and
//! a webhook that shows them.

use std::time::Duration;

use codeferry::grant::Reason;
use codeferry::ids::{ApplicationId, ChannelId, GrantId, MessageId, UserId, WebhookId};
use codeferry::port::contact::{CommandUse, Contact, Note, OwnCommand};
use codeferry::port::discord::{Answered, ApplicationFacts, BotApi, BotError, ChannelMessage, HistoryPage};
use codeferry::port::later::Later;
use codeferry::port::permit::Permit;
use codeferry::port::sink::{Delivery, DeliveryAnswer, Sink};
use codeferry::port::webhook::{PostAnswer, RecentPost, WebhookPost};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use rand::RngExt;
use serde_json::Value;
use tokio::time::sleep;

use super::discord::Call;
use super::faults::Kind;
use super::outside::{Fate, Outside, Struck, UNTOUCHED};
use super::script::LANES;

pub const APPLICATION: ApplicationId = ApplicationId(1_536_000_000_000_000_001);
pub const BOT: UserId = UserId(1_536_000_000_000_000_009);
/// The channel and the webhook in which results are shown.
pub const RESULTS: (ChannelId, WebhookId) = (
    ChannelId(1_536_000_000_000_000_021),
    WebhookId(1_536_000_000_000_000_022),
);

/// A third lane, where one is wanted.
pub const THIRD: (ChannelId, WebhookId) = (
    ChannelId(1_536_000_000_000_000_015),
    WebhookId(1_536_000_000_000_000_016),
);

fn transient() -> BotError {
    BotError::Transient(Later::because("on purpose"))
}

impl Outside {
    async fn pages(&self, channel: ChannelId, page: HistoryPage) -> Result<Vec<ChannelMessage>, BotError> {
        self.only_alive().await;
        let failed = self.with(|d| d.strikes(Kind::HistoryFailed));
        let wait = self.with(|d| {
            if d.strikes(Kind::HistorySlow) {
                d.between(1_000, 9_000)
            } else {
                d.between(20, 200)
            }
        });
        sleep(wait).await;
        if self.with(|d| d.strikes(Kind::ListenerDied)) {
            std::panic::resume_unwind(Box::new("a reading panics on purpose"));
        }
        if failed {
            return Err(transient());
        }
        Ok(self.with(|d| {
            let now = d.now();
            // Which end of a range a page of `after=` starts from is not promised.
            let newest = d.random.random_bool(0.5);
            let visible = d.channels.get(&channel).into_iter().flatten();
            let visible = visible.filter(|(_, p)| p.visible_at <= now).map(|(_, p)| &p.message);
            let mut found: Vec<ChannelMessage> = match page {
                HistoryPage::After(after) => visible.filter(|m| m.id.0 > after).cloned().collect(),
                HistoryPage::Before(before) => visible.filter(|m| m.id.0 < before).cloned().collect(),
            };
            if found.len() > 100 {
                let from = if newest || matches!(page, HistoryPage::Before(_)) {
                    found.len() - 100
                } else {
                    0
                };
                found = found.drain(from..from + 100).collect();
            }
            found.reverse();
            found
        }))
    }

    async fn remove(&self, channel: ChannelId, message: MessageId) -> Result<(), BotError> {
        self.only_alive().await;
        let needed = self.with(|d| {
            d.view.with(|view| {
                let mut carried = view.open.values().filter(|g| g.origin.message == message);
                carried.find(|g| !g.is_spent()).map(|g| g.id)
            })
        });
        if let Some(id) = needed {
            self.with(|d| d.breaks(format!("message {message} is removed while grant {id} still needs it")));
        }
        let failed = self.with(|d| d.strikes(Kind::RemovalFailed));
        let happens = !failed || self.with(|d| d.random.random_bool(0.5));
        let wait = self.with(|d| d.between(20, 200));
        sleep(wait).await;
        if happens {
            self.with(|d| d.channels.get_mut(&channel).and_then(|c| c.remove(&message.0)));
        }
        if failed { Err(transient()) } else { Ok(()) }
    }
}

impl BotApi for Outside {
    fn application(&self) -> LocalBoxFuture<'_, Result<ApplicationFacts, BotError>> {
        let facts = ApplicationFacts {
            name: String::new(),
            icon: None,
            id: APPLICATION,
            bot: BOT,
            message_content: true,
            redirect_uris: Vec::new(),
        };
        std::future::ready(Ok(facts)).boxed_local()
    }

    fn channel(&self, _: ChannelId) -> LocalBoxFuture<'_, Result<(), BotError>> {
        std::future::ready(Ok(())).boxed_local()
    }

    fn webhook_channel(&self, webhook: WebhookId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>> {
        let place = LANES
            .into_iter()
            .chain([THIRD, RESULTS])
            .find(|place| place.1 == webhook);
        let channel = place.map(|place| place.0).ok_or(BotError::NotFound { code: 10_015 });
        std::future::ready(channel).boxed_local()
    }

    fn history(
        &self,
        channel: ChannelId,
        page: HistoryPage,
    ) -> LocalBoxFuture<'_, Result<Vec<ChannelMessage>, BotError>> {
        self.pages(channel, page).boxed_local()
    }

    fn delete_message(
        &self,
        channel: ChannelId,
        _: WebhookId,
        message: MessageId,
    ) -> LocalBoxFuture<'_, Result<(), BotError>> {
        self.remove(channel, message).boxed_local()
    }

    fn react(&self, _: ChannelId, _: MessageId) -> LocalBoxFuture<'_, Result<(), BotError>> {
        std::future::ready(Ok(())).boxed_local()
    }
}

impl Contact for Outside {
    fn set_command<'a>(&'a self, _: ApplicationId, _: &'a OwnCommand<'a>) -> LocalBoxFuture<'a, Result<(), BotError>> {
        unreachable!("the world has no slash command")
    }

    fn answer<'a>(&'a self, _: &'a CommandUse, _: &'a Note) -> LocalBoxFuture<'a, Result<(), BotError>> {
        unreachable!("the world has no slash command")
    }

    fn open_direct(&self, person: UserId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>> {
        async move {
            self.only_alive().await;
            sleep(Duration::from_millis(50)).await;
            // A channel of direct messages goes by its person here.
            Ok(ChannelId(person.0))
        }
        .boxed_local()
    }

    fn send_direct<'a>(
        &'a self,
        channel: ChannelId,
        note: &'a Note,
        mark: &'a str,
    ) -> LocalBoxFuture<'a, Result<(), BotError>> {
        async move {
            self.only_alive().await;
            let link = note.button.as_ref().is_some_and(|b| b.url.contains("&state=s1."));
            assert!(link, "a message without a link");
            let fate = self.fate(Struck {
                limited: Some(Kind::InviteLimited),
                cut: Some(Kind::InviteCut),
                refused: Some(Kind::InviteClosed),
                panic: Some(Kind::InvitePanic),
                ..UNTOUCHED
            });
            let shown = (UserId(channel.0), mark.to_owned());
            let sending = self.travel(Call::Invite, fate, move |d| d.direct.insert(shown));
            sending.await;
            match fate.0 {
                Fate::Limited(wait) => Err(BotError::Transient(Later {
                    after: Some(wait),
                    reason: "429 on purpose".to_owned(),
                })),
                Fate::Cut(_) => Err(transient()),
                Fate::Refused => Err(BotError::Forbidden { code: 50007 }),
                _ => Ok(()),
            }
        }
        .boxed_local()
    }
}

/// The application's own sink: takes results, each as often as it comes.
pub struct App(pub Outside);

impl Sink for App {
    fn channel(&self) -> Option<ChannelId> {
        // Asked outside of what a stage guards: a panic here ends the whole stage.
        if self.0.with(|d| d.strikes(Kind::StageDied)) {
            std::panic::resume_unwind(Box::new("a stage dies on purpose"));
        }
        None
    }

    fn deliver<'a>(&'a self, delivery: &'a Delivery, permit: Permit) -> LocalBoxFuture<'a, DeliveryAnswer> {
        drop(permit);
        let (outside, id) = (&self.0, delivery.id);
        async move {
            outside.only_alive().await;
            let fate = outside.fate(Struck {
                failed: Some(Kind::DeliveryFailed),
                cut: Some(Kind::DeliveryCut),
                refused: Some(Kind::DeliveryRefused),
                panic: Some(Kind::DeliveryPanic),
                ..UNTOUCHED
            });
            outside.with(|d| d.judge_delivery("app", id));
            outside.with(|d| d.judge_invitation(delivery.body.expose()));
            // An application that says no has not taken it.
            let fate = if let Fate::Failed(_) = fate.0 {
                (Fate::Failed(false), fate.1)
            } else {
                fate
            };
            outside.travel(Call::Deliver, fate, move |d| d.accept("app", id)).await;
            let again = |uncertain| DeliveryAnswer::Later {
                later: Later::because("on purpose"),
                uncertain,
            };
            match fate.0 {
                Fate::Failed(_) => again(false),
                Fate::Cut(_) => again(true),
                Fate::Refused => DeliveryAnswer::Refused {
                    reason: "on purpose".to_owned(),
                },
                _ => DeliveryAnswer::Delivered,
            }
        }
        .boxed_local()
    }
}

/// The webhook's own port, below the real sink.
pub struct Posts(pub Outside);

fn id_in(body: &Value) -> Option<GrantId> {
    body["embeds"][0]["footer"]["text"].as_str()?.parse().ok()
}

impl WebhookPost for Posts {
    fn execute<'a>(&'a self, _: WebhookId, body: &'a Value) -> LocalBoxFuture<'a, Answered<PostAnswer>> {
        let outside = &self.0;
        async move {
            outside.only_alive().await;
            let fate = outside.fate(Struck {
                limited: Some(Kind::PostLimited),
                cut: Some(Kind::PostUnknown),
                ..UNTOUCHED
            });
            let id = id_in(body);
            let limited = matches!(fate.0, Fate::Limited(_));
            // Discord counts what it refuses for its limit as well: it arrives.
            let arrives = if limited { (Fate::Failed(true), fate.1) } else { fate };
            if let Some(id) = id {
                outside.with(|d| d.judge_delivery("people", id));
            }
            let posting = outside.travel(Call::Deliver, arrives, move |d| {
                d.count_post();
                if let Some(id) = id.filter(|_| !limited) {
                    d.accept("people", id);
                }
            });
            posting.await;
            let (outcome, feedback) = match fate.0 {
                Fate::Limited(wait) => (
                    PostAnswer::Later(Later::limited(wait)),
                    Some(outside.heard(429, Some(wait))),
                ),
                Fate::Cut(_) => (PostAnswer::Unknown(Reason::new("timeout")), None),
                _ => (PostAnswer::Posted(MessageId(1)), Some(outside.heard(200, None))),
            };
            Answered { outcome, feedback }
        }
        .boxed_local()
    }

    fn recent(&self, _: ChannelId, _: WebhookId, _: u64) -> LocalBoxFuture<'_, Result<Vec<RecentPost>, BotError>> {
        let outside = &self.0;
        async move {
            outside.only_alive().await;
            let failed = outside.with(|d| d.strikes(Kind::ReadBackFailed));
            sleep(Duration::from_millis(50)).await;
            if failed {
                return Err(transient());
            }
            Ok(outside.with(|d| {
                let shown = d.results.keys().filter(|(sink, _)| *sink == "people");
                let footers = shown.map(|(_, id)| id.to_string()).collect();
                vec![RecentPost {
                    id: MessageId(1),
                    footers,
                }]
            }))
        }
        .boxed_local()
    }
}
