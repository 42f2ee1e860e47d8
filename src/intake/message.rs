//! Reads a source message, whichever version it is written in.

use super::entry::{Malformed, Parsed};
use super::{v0, v1};
use crate::ids::UserId;
use crate::secret::Keys;

/// Discord's own limit on a message is 2,000 characters (4,000 with Nitro); nothing longer is looked at.
const LONGEST: usize = 8_000;

/// What happens to a source message once its codes are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterReceipt {
    /// It is deleted.
    Delete,
    /// It gets a check mark.
    React,
    /// Nothing.
    Keep,
}

/// Which versions are accepted, and the keys of version 1.
#[derive(Debug, Clone)]
pub struct Accept {
    /// Version 0.
    pub v0: bool,
    /// Version 1 with the relay's keys.
    pub v1: Option<Keys>,
}

/// Reads a message's content.
pub fn parse(content: &str, bot: UserId, accept: &Accept) -> Result<Parsed, Malformed> {
    if content.trim().is_empty() {
        return Err(Malformed::Empty);
    }
    if content.len() > LONGEST {
        return Err(Malformed::TooLong);
    }
    if let Some(found) = mentioned(content).filter(|found| *found != bot) {
        return Err(Malformed::WrongMention { found, bot });
    }
    match v1::after_mention(content, bot) {
        Some((1, lines)) => {
            let keys = accept.v1.as_ref().ok_or(Malformed::VersionNotAccepted(1))?;
            return v1::parse(content, lines, keys);
        }
        Some((later @ 2.., _)) => return Err(Malformed::LaterVersion(later)),
        _ => {}
    }
    let body = v0::after_mention(content, bot);
    if !body.starts_with('{') {
        return Err(if body == content.trim() {
            Malformed::UnknownVersion
        } else {
            Malformed::NotJson
        });
    }
    if !accept.v0 {
        return Err(Malformed::VersionNotAccepted(0));
    }
    v0::parse(body)
}

/// Whom a message mentions at its beginning.
fn mentioned(content: &str) -> Option<UserId> {
    let (mention, _) = content.trim_start().strip_prefix("<@")?.split_once('>')?;
    mention.strip_prefix('!').unwrap_or(mention).parse().ok()
}

#[cfg(test)]
mod tests;
