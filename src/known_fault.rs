//! Every fault of a set-up that codeferry knows, with the id that `doctor`, the log and `docs/troubleshooting.md` share.
//! An id is never reused for something else.

/// A fault of a set-up.
#[derive(Debug, PartialEq, Eq)]
pub struct KnownFault {
    /// Its id, such as `CF101`.
    pub id: &'static str,
    /// What is wrong.
    pub title: &'static str,
    /// What to do about it, where a check has nothing better to say.
    pub cure: &'static str,
}

macro_rules! known_faults {
    ($($name:ident $id:literal $title:literal, $cure:literal;)+) => {
        $(
            #[doc = $title]
            pub const $name: KnownFault = KnownFault { id: $id, title: $title, cure: $cure };
        )+
        /// All of them, by id.
        pub const ALL: &[KnownFault] = &[$($name),+];
    };
}

known_faults! {
    CONFIG "CF001" "The configuration has an error.",
        "Correct the key that the line names. `codeferry config check` shows all errors, `codeferry config defaults` every key.";
    SECRET_MISSING "CF002" "A secret is not set.",
        "Set the variable that the line names, or its `_FILE` form.";
    SECRET_SHAPE "CF003" "A secret has the wrong shape: quotes, white space, a carriage return, too few bytes.",
        "Give the value alone, on one line, without quotes.";
    SECRETS_SWAPPED "CF004" "The bot token and the client secret are swapped.",
        "The token is on the portal's page \"Bot\", the secret on the page \"OAuth2\".";
    SECRETS_EQUAL "CF005" "Two secrets are the same.",
        "Make another one with `openssl rand -base64 32`.";
    SECRET_READABLE "CF006" "Other users of this machine can read a file with a secret.",
        "chmod 600 the file, and let the user that runs codeferry own it.";
    SINK_FILE "CF010" "A file of results cannot be written.",
        "Let the user that runs codeferry write the file and its folder, or name another path.";
    FOLDER "CF011" "A folder cannot be used.",
        "Let the user that runs codeferry own the folder, or name another path.";
    PORT "CF012" "A port cannot be listened on.",
        "Free the port, or name another one.";
    PAGES "CF013" "A page of your own cannot be used.",
        "docs/relays.md lists the pages and their variables.";
    FILE_SYSTEM "CF014" "The journal is on a network file system, or one that is kept in memory.",
        "Set journal.path to a folder on a local disk.";
    ROOM "CF015" "The disk is almost full.",
        "Free some room: below 64 MB codes stay in the channel.";
    STORE_OPEN "CF016" "Other users of this machine can read the journal or its keys.",
        "chmod 700 the folder.";
    AUTHORITIES "CF017" "tls.extra_ca cannot be used.",
        "Name a readable file with certificates in PEM form.";
    PROXY "CF018" "The proxy of the environment cannot be used.",
        "Set HTTPS_PROXY to an http URL, or name the hosts in NO_PROXY.";

    UNREACHABLE "CF100" "Discord cannot be reached.",
        "Check the network, the proxy and discord.api_base.";
    TOKEN "CF101" "Discord refuses the bot token.",
        "Reset the token on the portal's page \"Bot\" and set CODEFERRY_BOT_TOKEN.";
    APPLICATION "CF102" "The bot token belongs to another application than discord.application_id.",
        "Use the token and the id of one application.";
    CLIENT_SECRET "CF103" "Discord refuses the client secret.",
        "Reset the secret on the portal's page \"OAuth2\" and set CODEFERRY_CLIENT_SECRET.";
    REDIRECT "CF104" "The redirect URI is not registered with the application.",
        "Add it, letter by letter, on the portal's page \"OAuth2\" under \"Redirects\".";
    NO_REDIRECT "CF105" "The application has no redirect at all.",
        "Add discord.redirect_uri on the portal's page \"OAuth2\" under \"Redirects\".";
    SCOPE "CF106" "Discord does not know a scope.",
        "Correct discord.scopes.";
    SCOPE_NOT_ELIGIBLE "CF107" "The application may not ask for a scope.",
        "Remove it from discord.scopes, or ask Discord for access.";
    SCOPE_OF_RESOURCE "CF108" "A resource of fetch.resources needs a scope that links do not ask for.",
        "Add the scope to discord.scopes, or remove the resource.";
    CONTENT_INTENT "CF109" "Unsigned messages are accepted, but MESSAGE CONTENT INTENT is off.",
        "Switch it on on the portal's page \"Bot\", or let the relay begin each message with a mention of the bot.";
    INTERACTIONS "CF110" "The application has an Interactions Endpoint URL: slash commands never reach the gateway.",
        "Remove the URL on the portal's page \"General Information\", or remove commands.connect.";
    SESSIONS "CF111" "Few gateway sessions are left today.",
        "Find the program of this bot that restarts in a loop. Below 50 codeferry reads the history alone.";
    SHARDS "CF112" "The bot is in so many guilds that Discord asks for shards.",
        "codeferry then reads the history alone; codes arrive a little later.";
    CLOCK "CF113" "This machine's clock differs from Discord's.",
        "Switch on NTP.";
    BOT_ID "CF114" "The relay mentions another user than this bot.",
        "Set relay.bot_id to the bot's user id, in every relay.";
    MEMBER_GUILD "CF115" "The guild of the resource \"member\" is not one that the bot knows.",
        "Correct discord.guild_id.";

    CHANNEL_UNKNOWN "CF200" "A lane's channel does not exist.",
        "Correct channel_id: right click on the channel, \"Copy Channel ID\".";
    CHANNEL_HIDDEN "CF201" "The bot cannot see a lane's channel.",
        "Invite the bot into the server, then Edit Channel > Permissions > the bot > View Channel: allow.";
    CHANNEL_TYPE "CF202" "A lane's channel is no text channel.",
        "Make a text channel for the codes.";
    CHANNEL_PUBLIC "CF203" "Every member of the server can read a lane's channel.",
        "Edit Channel > Permissions > @everyone > View Channel: deny.";
    CHANNEL_ROLE "CF204" "A role can read a lane's channel: its members see codes.",
        "Edit Channel > Permissions > the role > View Channel: deny.";
    NO_HISTORY "CF205" "The bot lacks Read Message History in a lane's channel.",
        "Edit Channel > Permissions > the bot > Read Message History: allow.";
    NO_REMOVAL "CF206" "Spent messages cannot be removed from a lane's channel.",
        "Give the bot Manage Messages there, or set CODEFERRY_WEBHOOK_TOKENS, or intake.after_receipt = \"keep\".";
    NO_REACTION "CF207" "The bot lacks Add Reactions, which intake.after_receipt = \"react\" needs.",
        "Edit Channel > Permissions > the bot > Add Reactions: allow.";
    WEBHOOK_UNKNOWN "CF210" "A lane's webhook does not exist.",
        "Correct webhook_id, or make a new webhook on the channel's page \"Integrations\".";
    WEBHOOK_TOKEN "CF211" "A webhook's token is wrong.",
        "Copy the webhook's URL again: the token in CODEFERRY_WEBHOOK_TOKENS is its last part.";
    WEBHOOK_ELSEWHERE "CF212" "A lane's webhook posts into another channel.",
        "Correct intake.lanes, or move the webhook.";
    WEBHOOK_FOREIGN "CF213" "A lane's webhook belongs to another application, which can post through it.",
        "Make a webhook of your own on the channel's page \"Integrations\".";

    PROBE_REFUSED "CF220" "A probe cannot be posted through a lane's webhook.",
        "Look at the lane's other lines: its webhook, its token, Discord's state.";
    PROBE_NOT_SHOWN "CF221" "The channel's history does not show a probe.",
        "Look at the lane's other lines: the webhook posts elsewhere, or the bot cannot read the history.";
    PROBE_NOT_TAKEN "CF222" "The running service does not take a probe from the channel's history.",
        "Restart the service: it runs with another CODEFERRY_RELAY_KEY, relay.bot_id or lane than `doctor` has read.";
    PROBE_NO_GATEWAY "CF223" "A probe reaches the running service by the history, but not by the gateway.",
        "Look in the service's log for the gateway's session; until it is there codes wait for intake.poll_every.";
    PROBE_LEFT "CF224" "A probe cannot be removed from a lane's channel.",
        "A running service removes it once a code would be dead; without one, remove the message by hand.";

    REDIRECT_DNS "CF300" "The redirect URI's host has no address.",
        "Correct discord.redirect_uri, or its DNS record.";
    REDIRECT_CLOSED "CF301" "Nothing answers at the redirect URI.",
        "Start the relay, set intake.http.listen, or open the port in the firewall.";
    REDIRECT_TLS "CF302" "The redirect URI's certificate is not accepted.",
        "Renew the certificate, for this host name and with its chain.";
    REDIRECT_FOREIGN "CF303" "Something else than codeferry answers at the redirect URI.",
        "Point the host, or the proxy's rule for /callback, at the relay or at direct intake.";
    REDIRECT_PATH "CF304" "The redirect URI has another path than codeferry serves.",
        "End discord.redirect_uri with /callback, or let the proxy pass that path on as /callback.";

    SINK_UNREACHABLE "CF400" "A receiver of results cannot be reached.",
        "Start the receiver, or correct the sink's url.";
    SINK_WEBHOOK "CF401" "The webhook of a sink does not exist, or its token is wrong.",
        "Correct webhook_id and CODEFERRY_WEBHOOK_TOKENS.";
    SINK_IN_LANE "CF402" "A sink posts results into a lane's channel, and they share its 30 messages a minute.",
        "Post results into another channel.";
    SINK_TEST "CF403" "A receiver does not accept a signed test.",
        "See what it answered; a 401 mostly means that it checks with another CODEFERRY_CALLBACK_SECRET.";

    NO_SERVICE "CF500" "No service answers at the control socket.",
        "Start it with `codeferry run`, or let control.socket be the same path for both.";
    PARKED "CF501" "Deliveries have failed for a day and are parked.",
        "See `codeferry debug queue list --parked`, correct the receiver, then `debug queue requeue ID`.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_in_order() {
        assert!(ALL.is_sorted_by(|a, b| a.id < b.id));
        for fault in ALL {
            let digits = fault.id.strip_prefix("CF").expect("CF");
            assert!(digits.len() == 3 && digits.parse::<u16>().is_ok(), "{}", fault.id);
            assert!(fault.title.ends_with('.') && fault.cure.ends_with('.'), "{}", fault.id);
        }
    }
}
