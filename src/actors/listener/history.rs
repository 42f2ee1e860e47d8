//! Reads a range of a channel's history without leaving a gap, whatever end of it a page starts from.

use super::super::journal::message::JournalError;
use crate::crash;
use crate::ids::ChannelId;
use crate::port::discord::{BotApi, BotError, ChannelMessage, HistoryPage};

/// A page of this many messages may hide more.
pub const FULL_PAGE: usize = 100;

/// Why a reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Discord did not give a page.
    #[error(transparent)]
    Bot(#[from] BotError),
    /// The journal did not take what was read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Intake has ended.
    #[error("intake has ended")]
    Draining,
}

/// Reads every message with `after < id <= up_to`, each page sorted by id, into `enter`. With a page comes the id up to
/// which nothing is left out once that page is in, where there is one.
///
/// Discord does not say whether a page of `after=` holds the messages closest to it or the newest ones, so a full
/// page is followed both ways until no gap is left.
pub async fn read_range(
    bot: &dyn BotApi,
    channel: ChannelId,
    after: u64,
    up_to: u64,
    enter: &mut impl AsyncFnMut(Vec<ChannelMessage>, Option<u64>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut low = after;
    loop {
        let page = page(bot, channel, HistoryPage::After(low), low, up_to).await?;
        // What answers with nothing newer than it was asked for would be asked for ever.
        let Some(highest) = page.highest.filter(|highest| *highest > low) else {
            return Ok(());
        };
        if page.full {
            let mut top = page.lowest;
            while let Some(below) = top.filter(|lowest| *lowest > low) {
                let further = self::page(bot, channel, HistoryPage::Before(below), low, up_to).await?;
                top = further.lowest.filter(|_| further.full);
                enter(further.messages, None).await?;
            }
        }
        enter(page.messages, Some(highest.min(up_to))).await?;
        low = highest;
        if !page.full || low >= up_to {
            return Ok(());
        }
    }
}

struct Page {
    messages: Vec<ChannelMessage>,
    /// Of the page as it came, before it was cut to the range.
    lowest: Option<u64>,
    highest: Option<u64>,
    full: bool,
}

async fn page(bot: &dyn BotApi, channel: ChannelId, at: HistoryPage, low: u64, up_to: u64) -> Result<Page, BotError> {
    crash::point("history.before");
    let mut messages = bot.history(channel, at).await?;
    crash::point("history.after");
    messages.sort_by_key(|m| m.id);
    let full = messages.len() >= FULL_PAGE;
    let (lowest, highest) = (messages.first().map(|m| m.id.0), messages.last().map(|m| m.id.0));
    messages.retain(|m| m.id.0 > low && m.id.0 <= up_to);
    Ok(Page {
        messages,
        lowest,
        highest,
        full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{MessageId, WebhookId};
    use crate::port::discord::ApplicationFacts;
    use futures_util::FutureExt;
    use futures_util::future::LocalBoxFuture;

    struct Channel {
        ids: Vec<u64>,
        closest_first: bool,
    }

    impl BotApi for Channel {
        fn history(
            &self,
            channel: ChannelId,
            at: HistoryPage,
        ) -> LocalBoxFuture<'_, Result<Vec<ChannelMessage>, BotError>> {
            let mut ids: Vec<u64> = match at {
                HistoryPage::After(a) => self.ids.iter().copied().filter(|i| *i > a).collect(),
                HistoryPage::Before(b) => self.ids.iter().copied().filter(|i| *i < b).collect(),
            };
            ids.sort_unstable();
            let newest = matches!(at, HistoryPage::Before(_)) || !self.closest_first;
            let ids = if newest {
                ids.split_off(ids.len().saturating_sub(100))
            } else {
                ids.into_iter().take(100).collect()
            };
            let made = ids.into_iter().rev().map(|id| ChannelMessage {
                id: MessageId(id),
                channel,
                webhook: Some(WebhookId(1)),
                content: String::new(),
            });
            std::future::ready(Ok(made.collect())).boxed_local()
        }
        fn application(&self) -> LocalBoxFuture<'_, Result<ApplicationFacts, BotError>> {
            unreachable!()
        }
        fn channel(&self, _: ChannelId) -> LocalBoxFuture<'_, Result<(), BotError>> {
            unreachable!()
        }
        fn webhook_channel(&self, _: WebhookId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>> {
            unreachable!()
        }
        fn delete_message(&self, _: ChannelId, _: WebhookId, _: MessageId) -> LocalBoxFuture<'_, Result<(), BotError>> {
            unreachable!()
        }
        fn react(&self, _: ChannelId, _: MessageId) -> LocalBoxFuture<'_, Result<(), BotError>> {
            unreachable!()
        }
    }

    #[tokio::test]
    async fn no_message_of_a_range_is_left_out_whichever_way_pages_are_cut() {
        for closest_first in [true, false] {
            for count in [0_u64, 1, 99, 100, 101, 200, 250, 999] {
                let channel = Channel {
                    ids: (1..=count).map(|n| n * 7).collect(),
                    closest_first,
                };
                let mut read = Vec::new();
                let mut enter = async |page: Vec<ChannelMessage>, whole_to: Option<u64>| {
                    read.extend(page.iter().map(|m| m.id.0));
                    if let Some(whole_to) = whole_to {
                        let below = channel.ids.iter().filter(|i| **i > 21 && **i <= whole_to);
                        let lacking: Vec<_> = below.filter(|i| !read.contains(i)).collect();
                        assert!(lacking.is_empty(), "{lacking:?} left out below {whole_to}");
                    }
                    Ok(())
                };
                read_range(&channel, ChannelId(1), 21, 7 * 500, &mut enter)
                    .await
                    .expect("read");
                read.sort_unstable();
                read.dedup();
                let wanted: Vec<u64> = channel.ids.iter().copied().filter(|i| *i > 21 && *i <= 3500).collect();
                assert_eq!(read, wanted, "{count} messages, closest first: {closest_first}");
            }
        }
    }
}
