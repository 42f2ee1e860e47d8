//! The configuration as serde reads it: every key optional, texts not yet looked into. Only shapes are decided here,
//! rules in `check`. The JSON schema, the walk over keys and the names of variables all come from these types.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, de};

/// The whole file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename = "codeferry")]
pub(super) struct RawConfig {
    /// The application and where Discord is.
    pub discord: RawDiscord,
    /// How codes come in.
    pub intake: RawIntake,
    /// What only `codeferry relay` reads.
    pub relay: RawRelay,
    /// The OAuth2 state.
    pub state: RawState,
    /// How many links may be outstanding.
    pub gate: RawGate,
    /// What is read with a token.
    pub fetch: RawFetch,
    /// Rates; applied without a restart.
    pub limits: RawLimits,
    /// Slots and timeouts of the four steps.
    pub stages: RawStages,
    /// Where results go.
    pub delivery: Vec<RawDelivery>,
    /// The store.
    pub journal: RawJournal,
    /// The running service's own interface.
    pub control: RawControl,
    /// The bot's own slash command.
    pub commands: RawCommands,
    /// What is done when a code dies.
    pub reinvite: RawReinvite,
    /// The Hookdeck project that `codeferry hookdeck` sets up.
    pub hookdeck: RawHookdeck,
    /// How the service ends.
    pub shutdown: RawShutdown,
    /// Logging; applied without a restart.
    pub log: RawLog,
}

/// `[discord]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDiscord {
    /// URL of Discord's API with its version.
    pub api_base: Option<String>,
    /// URL of the page on which a person approves.
    pub authorize_url: Option<String>,
    /// Id of the application.
    pub application_id: Option<RawId>,
    /// The redirect URI exactly as registered.
    pub redirect_uri: Option<String>,
    /// The OAuth2 scopes that links ask for.
    pub scopes: Option<Vec<String>>,
    /// Id of the guild whose member object is fetched.
    pub guild_id: Option<RawId>,
}

/// `[intake]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawIntake {
    /// How long an authorization code lives.
    pub code_lifetime: Option<String>,
    /// The accepted message versions: v1, v0.
    pub accept: Option<Vec<String>>,
    /// delete, react or keep.
    pub after_receipt: Option<String>,
    /// How often each channel's history is read.
    pub poll_every: Option<String>,
    /// The channels through which codes arrive.
    pub lanes: Vec<RawLane>,
    /// Direct intake.
    pub http: RawHttpIntake,
}

/// `[[intake.lanes]]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLane {
    /// Id of the private channel.
    pub channel_id: Option<RawId>,
    /// Id of the webhook that posts into it.
    pub webhook_id: Option<RawId>,
    /// How many codes one message may carry, 1 to 18.
    pub pack: Option<u64>,
}

/// `[intake.http]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHttpIntake {
    /// Address and port, or "" for none.
    pub listen: Option<String>,
    /// Networks of proxies whose word on addresses is believed.
    pub trusted_proxies: Option<Vec<String>>,
    /// Folder of own pages, or "" for none.
    pub pages: Option<String>,
}

/// `[relay]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRelay {
    /// Address and port.
    pub listen: Option<String>,
    /// Networks of proxies whose word on addresses is believed.
    pub trusted_proxies: Option<Vec<String>>,
    /// Folder of the relay's own journal.
    pub journal: Option<String>,
    /// Folder of own pages, or "" for none.
    pub pages: Option<String>,
    /// The bot's user id, where it is not the application's.
    pub bot_id: Option<RawId>,
    /// The webhooks that it posts through.
    pub lanes: Vec<RawRelayLane>,
}

/// `[[relay.lanes]]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRelayLane {
    /// Id of the channel; lanes of one channel share its budget.
    pub channel_id: Option<RawId>,
    /// Id of the webhook.
    pub webhook_id: Option<RawId>,
    /// How many codes one message may carry, 1 to 18.
    pub pack: Option<u64>,
}

/// `[state]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawState {
    /// signed, user_id or any.
    pub mode: Option<String>,
    /// How long a link may be used.
    pub lifetime: Option<String>,
    /// Names for what links are made for.
    pub purposes: Option<Vec<String>>,
}

/// `[gate]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGate {
    /// How much of the room that the limits leave is used for links, above 0 to 1.
    pub share: Option<f64>,
}

/// `[fetch]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawFetch {
    /// user, connections, guilds, member.
    pub resources: Option<Vec<String>>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    /// Webhook posts for each channel in any 60 seconds.
    pub webhook: Option<RawLimit<RawPerMinute>>,
    /// Calls a second to anything but webhooks.
    pub global: Option<RawLimit<RawPerSecond>>,
    /// Calls a second to the OAuth2 endpoints.
    pub oauth: Option<RawLimit<RawPerSecond>>,
    /// Refused requests within ten minutes at which everything stops; 0 = never.
    pub invalid_requests: Option<u64>,
}

/// `{ per_minute, burst }`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPerMinute {
    /// The total of any minute.
    pub per_minute: Option<u64>,
    /// How many may go at once; less than per_minute.
    pub burst: Option<u64>,
}

/// `{ per_second, burst }`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPerSecond {
    /// The refill.
    pub per_second: Option<u64>,
    /// How many may go at once.
    pub burst: Option<u64>,
}

/// `[stages]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStages {
    /// Presenting codes.
    pub exchange: RawStage,
    /// Reading data.
    pub fetch: RawStage,
    /// Handing results over.
    pub deliver: RawStage,
    /// Revoking tokens.
    pub revoke: RawStage,
}

/// `[stages.*]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStage {
    /// Grants in hand at once.
    pub slots: Option<u64>,
    /// The longest that one call may take.
    pub timeout: Option<String>,
}

/// `[[delivery]]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDelivery {
    /// Name of the sink, unique.
    pub name: Option<String>,
    /// jsonl, http or discord_webhook.
    pub kind: Option<String>,
    /// Only jsonl: the file.
    pub path: Option<String>,
    /// Only jsonl: megabytes at which a new file is begun.
    pub rotate_mb: Option<u64>,
    /// Only http: where results are posted.
    pub url: Option<String>,
    /// Only discord_webhook: id of the webhook.
    pub webhook_id: Option<RawId>,
}

/// `[journal]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawJournal {
    /// Folder of the store.
    pub path: Option<String>,
    /// Cache in megabytes.
    pub cache_mb: Option<u64>,
    /// Open grants at which intake stops.
    pub max_open: Option<u64>,
    /// How long a closed grant is remembered.
    pub closed_retention: Option<String>,
    /// How long a parked delivery is kept.
    pub keep_parked: Option<String>,
}

/// `[control]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawControl {
    /// Unix socket, or "" for none.
    pub socket: Option<String>,
    /// Address and port, or "" for none.
    pub listen: Option<String>,
}

/// `[commands]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCommands {
    /// Name of the slash command that gives a link, or "" for none.
    pub connect: Option<String>,
    /// Texts by language.
    pub texts: Vec<RawCommandTexts>,
}

/// `[[commands.texts]]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawCommandTexts {
    /// Discord's name of the language; en serves everybody else.
    pub locale: Option<String>,
    /// What stands beside the command.
    pub description: Option<String>,
    /// What stands beside the choice of a purpose.
    pub purpose: Option<String>,
    /// What stands above the button with the link.
    pub link: Option<String>,
    /// What stands on the button.
    pub button: Option<String>,
    /// What is said when there is no room for a link.
    pub later: Option<String>,
    /// What is said when no link could be made.
    pub failed: Option<String>,
    /// What is said when a purpose was chosen that there is not any more.
    pub gone: Option<String>,
}

/// `[reinvite]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReinvite {
    /// Whether somebody whose code died is sent a fresh link.
    pub enabled: Option<bool>,
    /// The message.
    pub text: Option<String>,
    /// What stands on the button.
    pub button: Option<String>,
}

/// `[hookdeck]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHookdeck {
    /// URL of Hookdeck's API with its version.
    pub api_base: Option<String>,
    /// Begins the name of everything in the project.
    pub name: Option<String>,
}

/// `[shutdown]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawShutdown {
    /// How long work in hand may take to end.
    pub grace: Option<String>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLog {
    /// off, error, warn, info, debug or trace.
    pub level: Option<String>,
    /// text or json.
    pub format: Option<String>,
}

/// An id as it was written: a text or an integer.
#[derive(Debug)]
pub(super) struct RawId(pub String);

impl<'de> Deserialize<'de> for RawId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = RawId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<RawId, E> {
                Ok(RawId(v.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<RawId, E> {
                Ok(RawId(v.to_string()))
            }
        }
        d.deserialize_any(Visitor)
    }
}

impl JsonSchema for RawId {
    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "pattern": "^[0-9]{17,20}$" })
    }
}

/// A limit, or `"off"`. Written by hand because an untagged enum would say only that nothing matched.
#[derive(Debug)]
pub(super) enum RawLimit<T> {
    /// A text, which ought to be `off`.
    Word(String),
    /// The limit.
    On(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for RawLimit<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = RawLimit<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a limit or \"off\"")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(RawLimit::Word(v.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(RawLimit::On)
            }
        }
        d.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for RawLimit<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}OrOff", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let on = generator.subschema_for::<T>();
        json_schema!({ "oneOf": [{ "const": "off" }, on] })
    }
}
