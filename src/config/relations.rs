//! Rules about more than one key. They look at the merged tree, not at checked values, so that a fault at one key hides
//! none of those that another would have.

use super::check::Checker;
use super::rules::from_word;
use super::tree::Node;
use crate::intake::state::StateMode;
use crate::port::discord::Resource;

/// The scope that each resource needs ([Discord Docs/OAuth2 Scopes](https://docs.discord.com/developers/topics/oauth2#shared-resources-oauth2-scopes)).
const fn scope_of(resource: Resource) -> &'static str {
    match resource {
        Resource::User => "identify",
        Resource::Connections => "connections",
        Resource::Guilds => "guilds",
        Resource::Member => "guilds.members.read",
    }
}

impl Checker<'_> {
    /// Names what does not fit together in the configuration of a service.
    pub(super) fn relations(&mut self) {
        let tree = &self.layers.root;
        let lanes = list(tree, "intake.lanes");
        let direct = filled(tree, "intake.http.listen");
        if lanes.is_empty() && !direct {
            self.missing(
                "intake.lanes",
                "codes must come from somewhere: add `[[intake.lanes]]` with `channel_id` and `webhook_id`, or set \
                 `intake.http.listen`",
            );
        }
        if direct {
            self.signed_for("intake.http.listen");
        }
        if is_true(tree, "reinvite.enabled") && text(tree, "state.mode").is_some_and(|mode| mode != "signed") {
            self.bad(
                "reinvite.enabled",
                "is true, but only a signed state proves which user to message",
                "set `state.mode = \"signed\"`, or set it to false",
            );
        }
        let of_lanes: Vec<_> = lanes.iter().filter_map(|lane| text(lane, "webhook_id")).collect();
        for (i, sink) in list(tree, "delivery").iter().enumerate() {
            let webhook = text(sink, "webhook_id").filter(|_| text(sink, "kind").as_deref() == Some("discord_webhook"));
            if webhook.is_some_and(|id| of_lanes.contains(&id)) {
                self.bad(
                    &format!("delivery[{i}].webhook_id"),
                    "is the webhook of a lane: results would be taken for codes and removed",
                    "create another webhook for results",
                );
            }
        }
        self.resources();
        self.refill();
    }

    /// The strict window of `limits.webhook` needs a rest after the burst.
    fn refill(&mut self) {
        let whole = |key| self.layers.root.get(key)?.to_value().as_integer();
        let limits = whole("limits.webhook.per_minute").zip(whole("limits.webhook.burst"));
        if let Some((per_minute, burst)) = limits
            && burst >= per_minute
        {
            self.bad(
                "limits.webhook",
                format!("has a burst of {burst}, which is not less than per_minute ({per_minute})"),
                format!(
                    "write for example `webhook = {{ per_minute = {per_minute}, burst = {} }}`: the rest of the minute is \
                     the refill",
                    (per_minute / 6).max(1)
                ),
            );
        }
    }

    /// Each resource has its scope, and "user" is among them.
    fn resources(&mut self) {
        let tree = &self.layers.root;
        let words: Vec<_> = list(tree, "fetch.resources").iter().map(Node::text).collect();
        let known: Vec<_> = words
            .iter()
            .map(|word| from_word::<Resource>(word.as_deref()?))
            .collect();
        // Scopes that could not be read have been named; nothing is said about what they may lack.
        let scopes: Vec<_> = list(tree, "discord.scopes").iter().map(Node::text).collect();
        for (i, resource) in known.iter().enumerate().filter_map(|(i, r)| Some((i, (*r)?))) {
            let (key, name, scope) = (format!("fetch.resources[{i}]"), resource.name(), scope_of(resource));
            if !scopes.is_empty() && !scopes.iter().flatten().any(|s| s == scope) {
                if resource == Resource::User {
                    let problem = format!("lacks \"{scope}\", without which the user is unknown");
                    self.bad("discord.scopes", problem, format!("add \"{scope}\""));
                } else {
                    self.bad(
                        &key,
                        format!("is \"{name}\", which needs the scope \"{scope}\""),
                        format!("add \"{scope}\" to `discord.scopes`, or remove \"{name}\""),
                    );
                }
            }
            let guild = "discord.guild_id";
            if resource == Resource::Member && tree.get(guild).is_none() && !self.faults.touch(guild) {
                let cure = "set `discord.guild_id`, or remove \"member\"";
                self.bad(&key, "is \"member\", which needs a guild", cure);
            }
        }
        if !known.contains(&Some(Resource::User)) && known.iter().all(Option::is_some) {
            self.bad(
                "fetch.resources",
                "lacks \"user\", without which the user is unknown",
                "add \"user\"",
            );
        }
    }

    /// Names a `state.mode` that a public callback cannot live with.
    fn signed_for(&mut self, key: &str) {
        let mode = text(&self.layers.root, "state.mode").unwrap_or_default();
        if let Some(StateMode::UserId | StateMode::Any) = from_word(&mode) {
            self.bad(
                "state.mode",
                format!("is \"{mode}\", whose states cannot be verified, but `{key}` accepts callbacks from anyone"),
                "use \"signed\", or receive the codes through another relay",
            );
        }
    }

    /// Names what the relay of a service's file would refuse, if there is one.
    pub(super) fn relation_to_relay(&mut self) {
        if !list(&self.layers.root, "relay.lanes").is_empty() {
            self.signed_for("relay.lanes");
        }
    }

    /// Names what a relay lacks.
    pub(super) fn relations_of_relay(&mut self) {
        let tree = &self.layers.root;
        if tree.get("relay.bot_id").is_none() && tree.get("discord.application_id").is_none() {
            let cure = "set it to the \"Application ID\" of the developer portal, which is the bot's user id too; for an \
                        old application whose bot has another id, set `relay.bot_id`";
            self.missing("discord.application_id", cure);
        }
        if list(tree, "relay.lanes").is_empty() {
            let cure = "add `[[relay.lanes]]` with `webhook_id`, one for each lane of the service, in the same order";
            self.missing("relay.lanes", cure);
        }
        self.relation_to_relay();
        self.refill();
    }
}

/// Why each secret is needed, if it is; told even of a configuration that has faults.
#[derive(Debug)]
pub(super) struct Needs {
    pub bot_token: Option<&'static str>,
    pub relay_key: Option<&'static str>,
    pub callback_secret: Option<&'static str>,
    pub control_token: Option<&'static str>,
    /// Webhook ids with the names of their sinks.
    pub webhooks: Vec<(String, String)>,
}

impl Needs {
    pub(super) fn of(tree: &Node) -> Self {
        let sinks = |kind: &'static str| {
            let of_kind = move |sink: &&Node| text(sink, "kind").as_deref() == Some(kind);
            list(tree, "delivery").iter().filter(of_kind)
        };
        let lanes = !list(tree, "intake.lanes").is_empty();
        let bots_own = [
            (lanes, "the bot that reads the lanes needs it"),
            (
                sinks("discord_webhook").next().is_some(),
                "the bot reads back what a webhook sink has posted",
            ),
            (
                filled(tree, "commands.connect"),
                "the command of `commands.connect` is the bot's",
            ),
            (
                is_true(tree, "reinvite.enabled"),
                "the bot sends the messages of `reinvite`",
            ),
        ];
        let signed = list(tree, "intake.accept")
            .iter()
            .filter_map(Node::text)
            .any(|word| word == "v1");
        let http = sinks("http").next().is_some();
        Self {
            bot_token: bots_own.into_iter().find_map(|(needed, why)| needed.then_some(why)),
            relay_key: (lanes && signed).then_some("`intake.accept` has \"v1\", whose messages are signed with it"),
            callback_secret: http.then_some("a sink of kind `http` signs with it"),
            control_token: filled(tree, "control.listen").then_some("`control.listen` opens a TCP port that needs it"),
            webhooks: sinks("discord_webhook")
                .filter_map(|sink| text(sink, "webhook_id").zip(text(sink, "name")))
                .collect(),
        }
    }
}

/// Whether a configuration is a relay's alone: it has relay lanes, and nothing that a service needs.
pub(super) fn is_for_relay(tree: &Node) -> bool {
    let none = |path| list(tree, path).is_empty();
    !none("relay.lanes") && none("intake.lanes") && none("delivery") && !filled(tree, "intake.http.listen")
}

fn list<'t>(tree: &'t Node, path: &str) -> &'t [Node] {
    tree.get(path).map_or(&[], Node::items)
}

fn text(tree: &Node, path: &str) -> Option<String> {
    tree.get(path).and_then(Node::text)
}

fn filled(tree: &Node, path: &str) -> bool {
    text(tree, path).is_some_and(|text| !text.is_empty())
}

fn is_true(tree: &Node, path: &str) -> bool {
    tree.get(path)
        .is_some_and(|node| node.to_value() == toml::Value::Boolean(true))
}
