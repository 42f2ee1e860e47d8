//! Rules about more than one key. They look at the merged tree, not at checked values, so that a fault at one key hides
//! none of those that another would have.

use std::net::SocketAddr;

use toml::Value;
use url::Url;

use super::check::Checker;
use super::rules::from_word;
use crate::intake::state::StateMode;
use crate::port::discord::Resource;

/// `sun_path` of unix(7) has 108 bytes, the last of which is 0.
const LONGEST_SOCKET: usize = 107;

impl Checker<'_> {
    /// Names what does not fit together in the configuration of a service.
    pub(super) fn relations(&mut self) {
        let tree = self.layers;
        let direct = tree.is_filled("intake.http.listen");
        if tree.items("intake.lanes").is_empty() && !direct {
            self.missing(
                "intake.lanes",
                "codes must come from somewhere: add `[[intake.lanes]]` with `channel_id` and `webhook_id`, or set \
                 `intake.http.listen`",
            );
        }
        if direct {
            self.signed_for("intake.http.listen");
            self.served("intake.http.listen");
        }
        if tree.is_true("reinvite.enabled") && tree.text("state.mode").is_some_and(|mode| mode != "signed") {
            self.bad(
                "reinvite.enabled",
                "is true, but only a signed state proves which user to message",
                "set `state.mode = \"signed\"`, or set it to false",
            );
        }
        let of_lanes = tree.texts("intake.lanes", "webhook_id");
        let kinds = tree.texts("delivery", "kind");
        for (i, webhook) in tree.texts("delivery", "webhook_id").iter().enumerate() {
            if webhook.is_some() && kinds[i].as_deref() == Some("discord_webhook") && of_lanes.contains(webhook) {
                self.bad(
                    &format!("delivery[{i}].webhook_id"),
                    "is the webhook of a lane: results would be taken for codes and removed",
                    "create another webhook for results",
                );
            }
        }
        self.control();
        self.socket();
        self.resources();
        self.refill();
    }

    /// Plain http stays on this machine unless the operator says otherwise.
    fn control(&mut self) {
        let tree = self.layers;
        let address = tree
            .text("control.listen")
            .and_then(|listen| listen.parse::<SocketAddr>().ok());
        if address.is_some_and(|address| !address.ip().to_canonical().is_loopback())
            && !tree.is_true("control.insecure_network")
        {
            self.bad(
                "control.listen",
                "is an address that other machines reach, and the interface is plain http",
                "listen on 127.0.0.1, with a proxy that encrypts in front, or set `control.insecure_network = true`",
            );
        }
    }

    /// The strict window of `limits.webhook` needs a rest after the burst.
    fn refill(&mut self) {
        let whole = |key| self.layers.get(key).and_then(Value::as_integer);
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
        let tree = self.layers;
        let words = tree.items("fetch.resources").iter();
        let known: Vec<Option<Resource>> = words.map(|word| from_word(word.as_str()?)).collect();
        // Scopes that could not be read have been named; nothing is said about what they may lack.
        let scopes: Vec<_> = tree.items("discord.scopes").iter().map(Value::as_str).collect();
        for (i, resource) in known.iter().enumerate().filter_map(|(i, r)| Some((i, (*r)?))) {
            let (key, name, scope) = (format!("fetch.resources[{i}]"), resource.name(), resource.scope());
            if !scopes.is_empty() && !scopes.contains(&Some(scope)) {
                if resource == Resource::User {
                    let problem = format!("lacks \"{scope}\", without which the user is unknown");
                    self.bad("discord.scopes", problem, format!("add \"{scope}\""));
                } else {
                    let cure = format!("add \"{scope}\" to `discord.scopes`, or remove \"{name}\"");
                    self.bad(&key, format!("is \"{name}\", which needs the scope \"{scope}\""), cure);
                }
            }
            let guild = "discord.guild_id";
            if resource == Resource::Member && tree.get(guild).is_none() && !self.faults.touch(guild) {
                let cure = "set `discord.guild_id`, or remove \"member\"";
                self.bad(&key, "is \"member\", which needs a guild", cure);
            }
        }
        if !known.contains(&Some(Resource::User)) && known.iter().all(Option::is_some) {
            let problem = "lacks \"user\", without which the user is unknown";
            self.bad("fetch.resources", problem, "add \"user\"");
        }
    }

    /// Names a `state.mode` that a public callback cannot live with.
    fn signed_for(&mut self, key: &str) {
        let mode = self.layers.text("state.mode").unwrap_or_default();
        if let Some(StateMode::UserId | StateMode::Any) = from_word(&mode) {
            self.bad(
                "state.mode",
                format!("is \"{mode}\", whose states cannot be verified, but `{key}` accepts callbacks from anyone"),
                "use \"signed\", or receive the codes through another relay",
            );
        }
    }

    /// Names a redirect URI that our own front would answer with 404. A proxy before it may take a prefix away.
    fn served(&mut self, key: &str) {
        let uri = self
            .layers
            .text("discord.redirect_uri")
            .and_then(|uri| Url::parse(&uri).ok());
        if let Some(uri) = uri
            && !uri.path().ends_with("/callback")
        {
            self.bad(
                "discord.redirect_uri",
                format!(
                    "has the path `{}`, but with `{key}` only `/callback` is served",
                    uri.path()
                ),
                "let it end with `/callback`, here and on the page OAuth2 of the developer portal",
            );
        }
    }

    /// Names a socket whose path the system refuses.
    fn socket(&mut self) {
        let key = "control.socket";
        let path = self.layers.text(key).filter(|path| !path.is_empty());
        let bytes = path.map_or(0, |path| self.layers.base.join(path).as_os_str().len());
        if bytes > LONGEST_SOCKET {
            let problem = format!("is a path of {bytes} bytes, and a socket's has at most {LONGEST_SOCKET}");
            self.bad(
                key,
                problem,
                "use a shorter one, such as \"/run/codeferry/control.sock\"",
            );
        }
    }

    /// Names what the relay of a service's file would refuse, if there is one.
    pub(super) fn relation_to_relay(&mut self) {
        if !self.layers.items("relay.lanes").is_empty() {
            self.signed_for("relay.lanes");
            self.served("relay.lanes");
        }
    }

    /// Names what a relay lacks.
    pub(super) fn relations_of_relay(&mut self) {
        let tree = self.layers;
        if tree.get("relay.bot_id").is_none() && tree.get("discord.application_id").is_none() {
            let cure = "set it to the \"Application ID\" of the developer portal, which is the bot's user id too; for an \
                        old application whose bot has another id, set `relay.bot_id`";
            self.missing("discord.application_id", cure);
        }
        if tree.items("relay.lanes").is_empty() {
            let cure = "add `[[relay.lanes]]` with `webhook_id`, one for each lane of the service, in the same order";
            self.missing("relay.lanes", cure);
        }
        self.relation_to_relay();
        self.refill();
    }
}
