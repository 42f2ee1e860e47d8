//! What a call needs and what the limits are: plain values that the callers, the configuration and the rules share.

use crate::ids::ChannelId;

/// The limits in force. `None` switches a limit off. Its `Default` reads the configuration's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Webhook posts, for each channel.
    pub webhook: Option<WebhookLimit>,
    /// Everything that is not a webhook post.
    pub global: Option<RateLimit>,
    /// The OAuth2 endpoints, within `global`.
    pub oauth: Option<RateLimit>,
    /// Answers of 401, 403 and 429 within ten minutes at which everything stops; 0 never stops. Discord bans an address at
    /// 10,000 ([Discord Docs/Rate Limits](https://docs.discord.com/developers/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans)).
    pub invalid_requests: u32,
}

/// A strict total: never more than `per_minute` in any closed 60 s, of which `burst` may go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookLimit {
    /// The total of any minute.
    pub per_minute: u32,
    /// How many may go at once after a pause; less than `per_minute`, since the refill is what is left of it.
    pub burst: u32,
}

/// A plain rate: `burst` at once, refilled `per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The refill.
    pub per_second: u32,
    /// The depth.
    pub burst: u32,
}

/// What a call needs a permit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// What it is charged to.
    pub budget: Budget,
    /// Who goes first where permits are short.
    pub urgency: Urgency,
}

/// What a call is charged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Budget {
    /// A webhook post, charged to its channel.
    Webhook(ChannelId),
    /// A call to an OAuth2 endpoint; charged to `oauth` and to `global` together.
    OAuth,
    /// Any other call without the bot's token.
    Global,
}

/// Who goes first when permits are short. A waiter rises one step for every ten seconds of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// A code dies while it waits.
    Exchange,
    /// A token lives while it waits.
    Revoke,
    /// A user waits.
    Fetch,
    /// Results can wait.
    Deliver,
}
