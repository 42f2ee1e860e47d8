//! What the Gateway asks about the world: the bot behind a token, and what it may see.

use std::sync::{Arc, Weak};

use super::gateway::{BotIdentity, Directory};
use super::object;
use super::state::State;

/// Answers from the state, held weakly because the state owns the Gateway.
pub struct StateDirectory(Weak<State>);

impl StateDirectory {
    /// Answers from this state as long as it lives.
    pub fn of(state: &Arc<State>) -> Self {
        Self(Arc::downgrade(state))
    }
}

impl Directory for StateDirectory {
    fn bot(&self, token: &str) -> Option<BotIdentity> {
        let state = self.0.upgrade()?;
        let inner = state.lock();
        let application = &inner.world.application;
        (token.strip_prefix("Bot ").unwrap_or(token) == application.bot_token).then(|| BotIdentity {
            user: inner.world.user_json(application.bot_id).unwrap_or_default(),
            application_id: application.id,
            application_flags: application.flags,
            guilds: vec![object::guild_create(&inner.world)],
        })
    }

    fn may_view(&self, channel_id: u64) -> bool {
        self.0.upgrade().is_some_and(|state| {
            let inner = state.lock();
            let channel = inner.world.channels.get(&channel_id);
            channel.is_some_and(|c| c.recipient.is_some() || c.permissions.view)
        })
    }
}
