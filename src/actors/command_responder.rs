//! The `CommandResponder`: answers the bot's own slash command with a private link, within Discord's 3 s. It owns that
//! command and looks at no other: another program may serve the same bot.
//!
//! A link takes a place that another sign-in could have, so none is made for a use that is too old to be answered, and
//! none twice for one that the gateway brings twice.

use std::collections::{BTreeSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, StreamHandler};
use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::calls::Calls;
use crate::ids::InteractionId;
use crate::intake::mint::Wanted;
use crate::metrics::{self, CommandAnswer};
use crate::port::contact::{Button, CommandUse, Contact, LinkIssuer, NoLink, Note, minutes_left};
use crate::port::discord::BotError;
use crate::port::later::Later;
use crate::text::{Phrases, TextError};
use crate::time::{SharedClock, Timestamp};

/// An interaction must be answered within this (Discord Docs/Interactions/Receiving and Responding).
pub const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Answers under way at once. Discord limits them in no way; this bounds what is held in memory.
const AT_ONCE: usize = 64;
/// Uses that wait for a free place; of more than these the last ones would be too old when their turn comes.
const WAITING: usize = 512;
/// A replay brings what is younger than this, if it is to be answered at all; the rest is for clocks that differ.
const REMEMBER: Duration = Duration::from_mins(1);
/// `Interaction has already been acknowledged`.
const ALREADY_ACKNOWLEDGED: u32 = 40060;

/// What every answer needs.
pub struct Desk {
    /// The command's name.
    pub command: String,
    /// Its texts.
    pub phrases: Vec<Phrases>,
    /// `state.purposes`.
    pub purposes: Vec<String>,
    /// Where links come from.
    pub link_issuer: Rc<dyn LinkIssuer>,
    /// Takes answers to Discord.
    pub contact: Rc<dyn Contact>,
    /// Discord's time as far as it is known.
    pub clock: SharedClock,
}

/// See the file's head.
pub struct CommandResponder {
    uses: Option<mpsc::Receiver<CommandUse>>,
    desk: Rc<Desk>,
    /// What was taken up; a resumed session may bring it again.
    seen: BTreeSet<InteractionId>,
    waiting: VecDeque<CommandUse>,
    busy: usize,
    calls: Calls<Served>,
}

/// One use is done with.
struct Served;

impl CommandResponder {
    /// A command responder that takes up uses of slash commands, as the gateway tells of them, as soon as it is
    /// started.
    pub fn new(desk: Desk, uses: mpsc::Receiver<CommandUse>) -> Self {
        Self {
            uses: Some(uses),
            desk: Rc::new(desk),
            seen: BTreeSet::new(),
            waiting: VecDeque::new(),
            busy: 0,
            calls: Calls::default(),
        }
    }

    /// Whether a use is ours and is met for the first time.
    fn is_new(&mut self, used: &CommandUse) -> bool {
        let now = self.desk.clock.now();
        self.seen.retain(|id| now.since(id.created_at()) < REMEMBER);
        used.command == self.desk.command && self.seen.insert(used.id)
    }

    fn take_up(&mut self) {
        while self.busy < AT_ONCE
            && let Some(used) = self.waiting.pop_front()
        {
            self.busy += 1;
            let desk = Rc::clone(&self.desk);
            self.calls.start(async move {
                let served = AssertUnwindSafe(desk.serve(&used)).catch_unwind().await;
                metrics::command_answered(served.unwrap_or_else(|_| {
                    tracing::error!(interaction = %used.id, "the answer to a command panicked");
                    CommandAnswer::Lost
                }));
                Served
            });
        }
    }
}

impl Desk {
    async fn serve(&self, used: &CommandUse) -> CommandAnswer {
        if self.is_over(used) {
            tracing::info!(interaction = %used.id, "a command older than 3 s was ignored: Discord no longer accepts an answer");
            return CommandAnswer::TooLate;
        }
        let Some(phrases) = Phrases::choose(&self.phrases, &used.locale) else {
            return CommandAnswer::Lost;
        };
        let Some(purpose) = self.purpose(used) else {
            tracing::info!(interaction = %used.id, "a command named a purpose that no longer exists");
            return match phrases.gone.fill(&[]) {
                Ok(text) => {
                    self.answer(used, &Note { text, button: None }, CommandAnswer::Gone)
                        .await
                }
                Err(error) => not_filled_in(&error),
            };
        };
        let wanted = Wanted {
            user: used.person,
            purpose,
            again: false,
        };
        let minted = self.link_issuer.mint(wanted).await;
        let (note, meant) = match minted {
            Ok(link) => {
                let minutes = minutes_left(&link, self.clock.now());
                let text = phrases.link.fill(&[("minutes", minutes.into())]);
                let button = phrases.button.fill(&[]).map(|label| Button { label, url: link.url });
                match (text, button) {
                    (Ok(text), Ok(button)) => (Ok((text, Some(button))), CommandAnswer::Link),
                    (Err(error), _) | (_, Err(error)) => (Err(error), CommandAnswer::Lost),
                }
            }
            Err(NoLink::Later(after)) => {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                let text = phrases.later.fill(&[("seconds", seconds.into())]);
                (text.map(|text| (text, None)), CommandAnswer::Later)
            }
            Err(NoLink::Failed(_) | NoLink::Stopping) => {
                (phrases.failed.fill(&[]).map(|text| (text, None)), CommandAnswer::Failed)
            }
        };
        match note {
            Ok((text, button)) => self.answer(used, &Note { text, button }, meant).await,
            Err(error) => not_filled_in(&error),
        }
    }

    /// The index of the purpose that was chosen, of the first where none was. People's clients and a service that has
    /// just been started may know different ones for a while.
    fn purpose(&self, used: &CommandUse) -> Option<u8> {
        let Some(chosen) = &used.purpose else { return Some(0) };
        let index = self.purposes.iter().position(|name| name == chosen);
        index.and_then(|index| u8::try_from(index).ok())
    }

    /// Answers, and once more after a fault that may pass, while there is time.
    async fn answer(&self, used: &CommandUse, note: &Note, meant: CommandAnswer) -> CommandAnswer {
        loop {
            match self.contact.answer(used, note).await {
                Ok(()) => return meant,
                // The first answer came through although it seemed not to, or the use is over.
                Err(BotError::Refused {
                    code: ALREADY_ACKNOWLEDGED,
                }) => return meant,
                Err(BotError::NotFound { .. }) => {
                    tracing::debug!(interaction = %used.id, "Discord no longer accepted the answer to a command");
                    return CommandAnswer::TooLate;
                }
                Err(BotError::Transient(Later { after, reason })) => {
                    let wait = after.unwrap_or(Duration::from_millis(200));
                    if self.left(used) <= wait {
                        tracing::warn!(interaction = %used.id, reason, "a command could not be answered in time");
                        return CommandAnswer::Lost;
                    }
                    tokio::time::sleep(wait).await;
                }
                Err(error) => {
                    tracing::error!(interaction = %used.id, %error, "Discord refused the answer to a command");
                    return CommandAnswer::Lost;
                }
            }
        }
    }

    fn is_over(&self, used: &CommandUse) -> bool {
        self.left(used).is_zero()
    }

    fn left(&self, used: &CommandUse) -> Duration {
        let ends: Timestamp = used.id.created_at() + ANSWER_WITHIN;
        ends.since(self.clock.now())
    }
}

/// Every text was tried out when the configuration was checked.
fn not_filled_in(error: &TextError) -> CommandAnswer {
    tracing::error!(%error, "a text of the command could not be rendered");
    CommandAnswer::Lost
}

impl Actor for CommandResponder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.add_stream(self.calls.stream());
        if let Some(mut uses) = self.uses.take() {
            ctx.add_stream(futures_util::stream::poll_fn(move |cx| uses.poll_recv(cx)));
        }
    }
}

impl StreamHandler<CommandUse> for CommandResponder {
    fn handle(&mut self, used: CommandUse, _: &mut Self::Context) {
        if !self.is_new(&used) {
            return;
        }
        if self.waiting.len() >= WAITING {
            tracing::warn!("too many commands at once: some are not answered");
            metrics::command_answered(CommandAnswer::Lost);
            return;
        }
        self.waiting.push_back(used);
        self.take_up();
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The session ended; answers under way go on.
    }
}

impl StreamHandler<Served> for CommandResponder {
    fn handle(&mut self, Served: Served, _: &mut Self::Context) {
        self.busy -= 1;
        self.take_up();
    }
}

#[cfg(test)]
mod tests;
