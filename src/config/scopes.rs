//! The scopes that Discord knows. One that it does not know ends every sign-in with `invalid_scope`.

use super::error::{nearest, shown};
use super::rules::{Rule, text};

/// [Discord Docs/OAuth2](https://docs.discord.com/developers/topics/oauth2#shared-resources-oauth2-scopes), with those of
/// the Social SDK.
const KNOWN: &[&str] = &[
    "account.global_name.update",
    "activities.invites.write",
    "activities.read",
    "activities.write",
    "application_identities.write",
    "applications.builds.read",
    "applications.builds.upload",
    "applications.commands",
    "applications.commands.permissions.update",
    "applications.commands.update",
    "applications.entitlements",
    "applications.store.update",
    "bot",
    "connections",
    "dm_channels.messages.read",
    "dm_channels.messages.write",
    "dm_channels.read",
    "email",
    "gateway.connect",
    "gdm.join",
    "guilds",
    "guilds.channels.read",
    "guilds.join",
    "guilds.members.read",
    "identify",
    "identify.premium",
    "lobbies.write",
    "messages.read",
    "openid",
    "payment_sources.country_code",
    "presences.read",
    "presences.write",
    "relationships.read",
    "relationships.write",
    "role_connections.write",
    "rpc",
    "rpc.activities.write",
    "rpc.api",
    "rpc.notifications.read",
    "rpc.screenshare.read",
    "rpc.screenshare.write",
    "rpc.video.read",
    "rpc.video.write",
    "rpc.voice.read",
    "rpc.voice.write",
    "sdk.social_layer",
    "sdk.social_layer_presence",
    "voice",
    "webhook.incoming",
];

/// A scope of Discord's.
pub(super) fn scope() -> Rule<String> {
    text("", |text, at| {
        // Visible ASCII without quote and backslash (RFC 6749 section 3.3).
        let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if text.is_empty() || !text.bytes().all(fits) {
            let cure = "write one scope an element, as in `[\"identify\", \"guilds\"]`";
            return at.bad(format!("is {}, not a valid scope", shown(text)), cure);
        }
        if KNOWN.contains(&text) {
            return Some(text.to_owned());
        }
        let cure = match nearest(text, KNOWN.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => "see the list of scopes in Discord's documentation, page OAuth2".to_owned(),
        };
        at.bad(format!("is {}, not a scope of Discord's", shown(text)), cure)
    })
}
