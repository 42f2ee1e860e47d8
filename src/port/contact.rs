//! How the service speaks with people: its own slash command, and direct messages. The adapter stands in `discord`.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use super::discord::BotError;
use crate::ids::{ApplicationId, ChannelId, InteractionId, UserId};
use crate::intake::mint::{Link, Wanted};
use crate::secret::InteractionToken;
use crate::text::Phrases;

/// The longest address that a button can hold, in characters (Discord Docs/Components/Reference, button).
pub const LONGEST_BUTTON_URL: usize = 512;

/// The most choices that an option may have (Discord Docs/Interactions/Application Commands).
pub const MOST_CHOICES: usize = 25;

/// The option of the slash command by which users choose one of several purposes.
pub const PURPOSE: &str = "purpose";

/// A user used a slash command of the application.
#[derive(Debug, Clone)]
pub struct CommandUse {
    /// The interaction; its time is when the command was used.
    pub id: InteractionId,
    /// The command's name.
    pub command: String,
    /// What was chosen for [`PURPOSE`], if anything.
    pub purpose: Option<String>,
    /// Who.
    pub person: UserId,
    /// The language of the user's client, by Discord's name for it; empty where unknown.
    pub locale: String,
    /// Lets us answer, once and within 3 s.
    pub token: InteractionToken,
}

/// A message to a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Note {
    /// The text.
    pub text: String,
    /// A button below it.
    pub button: Option<Button>,
}

/// A button that opens a link.
#[derive(Clone, PartialEq, Eq)]
pub struct Button {
    /// What stands on it.
    pub label: String,
    /// What it opens. It is one user's own link, so it is not logged.
    pub url: String,
}

/// The bot's own slash command, as Discord is to know it.
#[derive(Debug, Clone, Copy)]
pub struct OwnCommand<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its texts.
    pub phrases: &'a [Phrases],
    /// What users choose from, the first [`MOST_CHOICES`] of these; where it is empty there is no option.
    pub purposes: &'a [String],
}

/// What Discord offers to reach a user.
pub trait Contact {
    /// Makes the command of this name what it is to be, whether or not there is one; no other command is touched.
    fn set_command<'a>(
        &'a self,
        application: ApplicationId,
        command: &'a OwnCommand<'a>,
    ) -> LocalBoxFuture<'a, Result<(), BotError>>;

    /// Answers a command; only the user who used it sees the answer.
    fn answer<'a>(&'a self, used: &'a CommandUse, note: &'a Note) -> LocalBoxFuture<'a, Result<(), BotError>>;

    /// The channel of direct messages with a user.
    fn open_direct(&self, person: UserId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>>;

    /// Posts into it; within a few minutes the same mark never makes a second message.
    fn send_direct<'a>(
        &'a self,
        channel: ChannelId,
        note: &'a Note,
        mark: &'a str,
    ) -> LocalBoxFuture<'a, Result<(), BotError>>;
}

/// Where links come from.
pub trait LinkIssuer {
    /// A link, whose place is durable when it is handed out.
    fn mint(&self, wanted: Wanted) -> LocalBoxFuture<'_, Result<Link, NoLink>>;
}

/// Why there is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLink {
    /// As many links are out as can be carried and exchanged in time, or the user has had as many as a user may. A place
    /// is kept; to be asked again after this.
    #[error("no link is free for this user yet: a place is reserved; try again in {} s, and within 30 s after that", .0.as_secs())]
    Later(Duration),
    /// The service is stopping.
    #[error("the service is stopping: ask again when it runs")]
    Stopping,
    /// The journal cannot hold a place for it, for this reason.
    #[error("{0}")]
    Failed(String),
}

/// A link's life to the nearest minute, at least one; `None` where it has no end.
pub fn minutes_left(link: &Link, now: crate::time::Timestamp) -> Option<u64> {
    link.expires_at.map(|at| ((at.since(now).as_secs() + 30) / 60).max(1))
}
