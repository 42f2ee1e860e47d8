//! What a step or the listener asks of the outside, as traits: the adapters stand in `discord` and `delivery`, the
//! fakes in tests. An answer is already judged here: status and content type were looked at before anything was parsed.

use std::borrow::Cow;

use futures_util::future::LocalBoxFuture;

use super::later::Later;
use crate::grant::Reason;
use crate::grant::state::Token;
use crate::ids::{ApplicationId, ChannelId, MessageId, UserId, WebhookId};
use crate::rate::feedback::HttpFeedback;
use crate::secret::{AccessToken, AuthorizationCode, CodeVerifier, PersonalData};

/// A judged answer, with what it tells the governor (`None` where no HTTP answer came).
#[derive(Debug)]
pub struct Answered<T> {
    /// What it means.
    pub outcome: T,
    /// Status and rate headers.
    pub feedback: Option<HttpFeedback>,
}

impl<T> Answered<T> {
    /// Where no HTTP answer came.
    pub fn unsent(outcome: T) -> Self {
        Self {
            outcome,
            feedback: None,
        }
    }
}

/// What presenting a code led to.
#[derive(Debug)]
pub enum ExchangeAnswer {
    /// 200 with a well-formed token.
    Token(Token),
    /// The connection was never opened: the code was surely not presented.
    NotSent(Reason),
    /// 429, or 503 with `Retry-After`: not processed.
    Later(Later),
    /// A complete answer that does not tell: 500, 502, 504, any other 5xx, or an error that is not JSON.
    Unclear(Reason),
    /// Success without a token that can be read: the code is spent.
    Unreadable,
    /// A timeout or a cut connection before it was known whether the code was accepted.
    CutOff(Reason),
    /// An OAuth2 error answer (RFC 6749 section 5.2), such as `invalid_grant`.
    Refused(Reason),
    /// `invalid_client`: the application's own credentials are wrong; the code was not looked at.
    CredentialsRefused,
}

/// What revoking a token led to (RFC 7009).
#[derive(Debug)]
pub enum RevokeAnswer {
    /// The token is dead: 200, or an answer that says it is unknown.
    Revoked,
    /// Not done.
    Later(Later),
    /// `invalid_client`: the application's own credentials are wrong.
    CredentialsRefused,
}

/// A resource that the user approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// `GET /users/@me`; always needed.
    User,
    /// `GET /users/@me/connections`.
    Connections,
    /// `GET /users/@me/guilds`.
    Guilds,
    /// `GET /users/@me/guilds/{guild_id}/member`.
    Member,
}

impl Resource {
    /// The key under which it stands in a result and in `fetch.resources`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Connections => "connections",
            Self::Guilds => "guilds",
            Self::Member => "member",
        }
    }

    /// The scope that it needs ([Discord Docs/OAuth2
    /// Scopes](https://docs.discord.com/developers/topics/oauth2#shared-resources-oauth2-scopes)).
    pub const fn scope(self) -> &'static str {
        match self {
            Self::User => "identify",
            Self::Connections => "connections",
            Self::Guilds => "guilds",
            Self::Member => "guilds.members.read",
        }
    }
}

/// What fetching one resource led to.
#[derive(Debug)]
pub enum FetchAnswer {
    /// 200 with JSON of the right shape; for `user` its id was read.
    Data {
        /// The JSON text, as it came.
        json: PersonalData,
        /// The user's id, for [`Resource::User`] only.
        user: Option<UserId>,
    },
    /// 401: the token is dead, or not yet known everywhere, or lacks the scope.
    Unauthorized,
    /// It will never work: 403, 404, a wrong shape.
    Refused(Reason),
    /// 429, 5xx, network.
    Later(Later),
}

/// The authorization server's two endpoints that we call with the application's credentials.
pub trait TokenEndpoint {
    /// Presents a code once (RFC 6749 section 4.1.3), with its verifier where the link was minted with PKCE.
    fn exchange<'a>(
        &'a self,
        code: &'a AuthorizationCode,
        verifier: Option<&'a CodeVerifier>,
    ) -> LocalBoxFuture<'a, Answered<ExchangeAnswer>>;

    /// Revokes a token (RFC 7009 section 2.1), and with it every token of that user.
    fn revoke<'a>(&'a self, token: &'a AccessToken) -> LocalBoxFuture<'a, Answered<RevokeAnswer>>;
}

/// The resource server, called with the user's token.
pub trait ResourceServer {
    /// Fetches one resource.
    fn fetch<'a>(&'a self, token: &'a AccessToken, resource: Resource) -> LocalBoxFuture<'a, Answered<FetchAnswer>>;
}

/// A channel message as the listener needs it. The content may hold codes: it has no `Debug`.
#[derive(Clone)]
pub struct ChannelMessage {
    /// Its id.
    pub id: MessageId,
    /// Its channel.
    pub channel: ChannelId,
    /// The webhook that posted it; Discord sets it, so it cannot be forged.
    pub webhook: Option<WebhookId>,
    /// What it says.
    pub content: String,
}

impl std::fmt::Debug for ChannelMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChannelMessage({}, {} bytes)", self.id, self.content.len())
    }
}

/// Where a page of history starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryPage {
    /// Messages newer than this id, those closest to it or the newest: both are met in practice.
    After(u64),
    /// Messages older than this id, newest first.
    Before(u64),
}

/// Why a call with the bot's token failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BotError {
    /// 401: the token is wrong or was reset.
    #[error("Discord refused the bot's token (401)")]
    Unauthorized,
    /// 403 or an empty view: the permission is missing.
    #[error("Discord answered 403 (code {code}): a permission is missing")]
    Forbidden {
        /// Discord's own error code, such as 50001 or 50013.
        code: u32,
    },
    /// 404: it does not exist.
    #[error("Discord answered 404 (code {code})")]
    NotFound {
        /// Discord's own error code, such as 10003, 10008 or 10015.
        code: u32,
    },
    /// 400: what was sent is not taken.
    #[error("Discord answered 400 (code {code})")]
    Refused {
        /// Discord's own error code, such as 40060 or 50035.
        code: u32,
    },
    /// Anything that may pass: network, 429, 5xx, an answer that is not JSON.
    #[error("{}", .0.reason)]
    Transient(Later),
}

/// What the application's own record says.
#[derive(Debug, Clone)]
pub struct ApplicationFacts {
    /// Its name.
    pub name: String,
    /// The hash of its icon, by which the CDN has it.
    pub icon: Option<String>,
    /// The application.
    pub id: ApplicationId,
    /// The bot's user id.
    pub bot: UserId,
    /// Whether message content will arrive without a mention (flags bit 18 or 19).
    pub message_content: bool,
    /// The registered redirect URIs.
    pub redirect_uris: Vec<String>,
}

/// The routes called with the bot's token (or a webhook's). Paced by the adapter's own per-route limiter.
pub trait BotApi {
    /// `GET /applications/@me`.
    fn application(&self) -> LocalBoxFuture<'_, Result<ApplicationFacts, BotError>>;
    /// `GET /channels/{id}`: whether the bot can see it.
    fn channel(&self, channel: ChannelId) -> LocalBoxFuture<'_, Result<(), BotError>>;
    /// `GET /webhooks/{id}` (or with its token): the channel it posts into.
    fn webhook_channel(&self, webhook: WebhookId) -> LocalBoxFuture<'_, Result<ChannelId, BotError>>;
    /// `GET /channels/{id}/messages`, at most 100.
    fn history(
        &self,
        channel: ChannelId,
        page: HistoryPage,
    ) -> LocalBoxFuture<'_, Result<Vec<ChannelMessage>, BotError>>;
    /// `DELETE` of a source message: with the webhook's token where it is known, else as the bot. 404 counts as done.
    fn delete_message(
        &self,
        channel: ChannelId,
        webhook: WebhookId,
        message: MessageId,
    ) -> LocalBoxFuture<'_, Result<(), BotError>>;
    /// Marks a message as done with a check mark.
    fn react(&self, channel: ChannelId, message: MessageId) -> LocalBoxFuture<'_, Result<(), BotError>>;
}

/// What the gateway session tells the listener. Only hints: the history is the truth.
#[derive(Debug, Clone)]
pub enum GatewayNote {
    /// A session began.
    Ready,
    /// A session was resumed.
    Resumed,
    /// A message in one of the watched channels.
    Message(ChannelMessage),
    /// An event for us could not be parsed; its kind only.
    Unparsed(String),
    /// The connection is gone for this reason and will be made again.
    Disconnected(Cow<'static, str>),
    /// There is no gateway for this reason, so that the history alone brings codes.
    HistoryOnly(String),
    /// The session ended for good with this close code.
    Fatal {
        /// Discord's close code.
        code: u16,
    },
}
