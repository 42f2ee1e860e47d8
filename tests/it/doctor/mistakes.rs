//! The table of mistakes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use codeferry::permission::{Permissions, Role};
use codeferry::simulator::{GUILD_ID, PortalChange};

use super::{SetUp, WayIn, each_is_named, free_port, register, serve};

const VOICE: u8 = 2;

fn mode(set_up: &SetUp, name: &str, mode: u32) {
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(set_up.site.path(name), permissions).expect("changed");
}

#[test]
fn mistakes_in_configuration_and_secrets_are_named() {
    each_is_named(&[
        ("scope", "CF001", |s| s.add_to_discord("scope = []")),
        ("is not set", "CF002", |s| {
            s.site.variables.remove("CODEFERRY_CLIENT_SECRET");
        }),
        ("has no token for webhook", "CF002", |s| {
            s.set("CODEFERRY_WEBHOOK_TOKENS", "1536343300000000031:x");
            s.add_channel_sink();
        }),
        ("stands in quotes", "CF003", |s| {
            let quoted = format!("\"{}\"", s.site.variables["CODEFERRY_BOT_TOKEN"]);
            s.set("CODEFERRY_BOT_TOKEN", &quoted);
        }),
        ("a carriage return", "CF003", |s| {
            s.set("CODEFERRY_RELAY_KEY", "0123456789abcdef0123456789abcdef-cr\r");
        }),
        ("fewer than 32", "CF003", |s| s.set("CODEFERRY_STATE_KEY", "too short")),
        ("looks like a bot's token", "CF004", |s| {
            let token = "MTUzNjAwMDAwMDAwMDAwMDAwOQ.GAbCdE.a2345678901234567890123456789012345678";
            s.set("CODEFERRY_CLIENT_SECRET", token);
        }),
        ("is the same as", "CF005", |s| {
            let relay = s.site.variables["CODEFERRY_RELAY_KEY"].clone();
            s.set("CODEFERRY_STATE_KEY", &relay);
        }),
        ("other users can read", "CF006", |s| {
            let secret = s.site.variables.remove("CODEFERRY_CLIENT_SECRET").expect("given");
            fs::write(s.site.path("secret"), secret).expect("written");
            mode(s, "secret", 0o644);
            s.set("CODEFERRY_CLIENT_SECRET_FILE", "secret");
        }),
    ]);
}

#[test]
fn mistakes_of_this_machine_are_named() {
    each_is_named(&[
        ("which is a folder", "CF010", |s| {
            fs::create_dir(s.site.path("results.jsonl")).expect("made");
        }),
        ("needs a folder", "CF011", |s| {
            s.add("[journal]\npath = \"codeferry.toml/journal\"");
        }),
        ("cannot be listened on", "CF012", |s| {
            let taken = s.way_in;
            s.set("CODEFERRY_CONTROL_TOKEN", "a-token-of-the-control-interface-012345");
            s.add(&format!("[control]\nlisten = \"127.0.0.1:{taken}\""));
        }),
        ("success.html", "CF013", |s| {
            fs::create_dir(s.site.path("pages")).expect("made");
            fs::write(s.site.path("pages/success.html"), "{{ wipe }}{% if").expect("written");
            s.add("[intake.http]\nlisten = \"127.0.0.1:0\"\npages = \"pages\"");
        }),
        ("other users can open", "CF016", |s| {
            fs::create_dir_all(s.site.path("data/journal")).expect("made");
            mode(s, "data/journal", 0o755);
        }),
        ("tls.extra_ca", "CF017", |s| {
            s.add("[tls]\nextra_ca = \"codeferry.toml\"");
        }),
        ("HTTPS_PROXY", "CF018", |s| {
            s.set("HTTPS_PROXY", "socks5://127.0.0.1:1");
            s.edit("api_base = \"http://127.0.0.1", "api_base = \"https://discord.invalid");
        }),
    ]);
}

#[test]
fn mistakes_in_the_portal_are_named() {
    each_is_named(&[
        ("(401)", "CF101", |s| {
            s.change_portal(PortalChange {
                bot_token: Some("MTUz.another.token-made-in-the-portal".to_owned()),
                ..PortalChange::default()
            });
        }),
        ("discord.application_id is 1536000000000000002", "CF102", |s| {
            s.edit(
                "application_id = \"1536000000000000001",
                "application_id = \"1536000000000000002",
            );
        }),
        ("invalid_client", "CF103", |s| {
            s.change_portal(PortalChange {
                client_secret: Some("another-secret-made-in-the-portal".to_owned()),
                ..PortalChange::default()
            });
        }),
        ("it has a final /", "CF104", |s| {
            register(&s.site, &[&format!("{}/", s.site.about.redirect_uri)]);
        }),
        ("character 5 is `s` there and `:` here", "CF104", |s| {
            let secure = s.site.about.redirect_uri.replacen("http", "https", 1);
            register(&s.site, &["https://far.example/x", &secure]);
        }),
        ("no redirect", "CF105", |s| register(&s.site, &[])),
        ("gilds", "CF106", |s| {
            s.add_to_discord("scopes = [\"identify\", \"gilds\"]");
        }),
        ("may not ask for `rpc`", "CF107", |s| {
            s.add_to_discord("scopes = [\"identify\", \"rpc\"]");
        }),
        ("connections", "CF108", |s| {
            s.add("[fetch]\nresources = [\"user\", \"connections\"]");
        }),
        ("MESSAGE CONTENT INTENT is off", "CF109", |s| {
            s.edit(
                "[[intake.lanes]]",
                "[intake]\naccept = [\"v1\", \"v0\"]\n[[intake.lanes]]",
            );
            s.change_portal(PortalChange {
                flags: Some(0),
                ..PortalChange::default()
            });
        }),
        ("https://app.example/interactions", "CF110", |s| {
            s.add("[commands]\nconnect = \"connect\"");
            s.change_portal(PortalChange {
                interactions_endpoint_url: Some("https://app.example/interactions".to_owned()),
                ..PortalChange::default()
            });
        }),
        ("s behind Discord", "CF113", |s| s.site.simulator.step_clock(60_000)),
        ("s ahead of Discord", "CF113", |s| s.site.simulator.step_clock(-60_000)),
        ("it mentions 1536000000000000077", "CF114", |s| {
            s.edit("bot_id = \"1536000000000000009", "bot_id = \"1536000000000000077");
        }),
        ("but this bot is", "CF114", |s| {
            s.edit("bot_id = \"1536000000000000009\"", "");
        }),
        ("is not in discord.guild_id", "CF115", |s| {
            s.add_to_discord("guild_id = \"1536340000000000009\"");
        }),
    ]);
}

#[test]
fn mistakes_of_channels_and_webhooks_are_named() {
    each_is_named(&[
        ("there is no channel 1536340000000009999", "CF200", |s| {
            s.edit(&s.site.lane(0).0.to_string(), "1536340000000009999");
            s.move_webhook(Some(1_536_340_000_000_009_999));
        }),
        ("that is the webhook's id", "CF200", |s| {
            let (channel, webhook) = s.site.lane(0);
            s.edit(&channel.to_string(), &webhook.to_string());
            s.move_webhook(Some(webhook));
        }),
        ("cannot see channel", "CF201", |s| s.permit(|held| held.view = false)),
        ("of type 2", "CF202", |s| {
            assert!(s.site.simulator.change_channel(s.site.lane(0).0, VOICE, &[]));
        }),
        ("every member", "CF203", |s| {
            s.overwrite(GUILD_ID, Permissions::VIEW_CHANNEL);
        }),
        ("the role \"Moderator\"", "CF204", |s| {
            let id = 1_536_340_000_000_000_444;
            s.site.simulator.set_role(Role {
                id,
                name: "Moderator".to_owned(),
                permissions: Permissions::default(),
            });
            s.overwrite(id, Permissions::VIEW_CHANNEL);
        }),
        ("cannot read the history", "CF205", |s| {
            s.permit(|held| held.read_history = false);
        }),
        ("lacks Manage Messages", "CF206", |s| {
            s.without_webhook_tokens();
            s.permit(|held| held.manage_messages = false);
        }),
        ("lacks Add Reactions", "CF207", |s| {
            s.edit(
                "[[intake.lanes]]",
                "[intake]\nafter_receipt = \"react\"\n[[intake.lanes]]",
            );
            s.permit(|held| held.add_reactions = false);
        }),
        ("there is no webhook", "CF210", |s| s.move_webhook(None)),
        ("the token of webhook", "CF211", |s| {
            let wrong = format!("{}:{}", s.site.lane(0).1, "x".repeat(68));
            s.set("CODEFERRY_WEBHOOK_TOKENS", &wrong);
        }),
        ("posts into channel", "CF212", |s| {
            let results = s.site.about.results.channel_id.parse().expect("an id");
            s.move_webhook(Some(results));
        }),
        ("belongs to application 1536000000000000666", "CF213", |s| {
            let (_, webhook) = s.site.lane(0);
            assert!(s.site.simulator.give_webhook(webhook, 1_536_000_000_000_000_666));
        }),
    ]);
}

#[test]
fn mistakes_of_the_way_in_and_of_receivers_are_named() {
    each_is_named(&[
        ("could not be resolved", "CF300", |s| {
            s.comes_in_at("https://codeferry.invalid/callback");
        }),
        ("it was refused", "CF301", |s| {
            s.comes_in_at(&format!("http://127.0.0.1:{}/callback", free_port()));
        }),
        ("TLS failed", "CF302", |s| {
            let plain = s.way_in;
            s.comes_in_at(&format!("https://127.0.0.1:{plain}/callback"));
        }),
        ("not with codeferry's page", "CF303", |s| {
            s.comes_in_at(&format!("http://127.0.0.1:{}/callback", serve(WayIn::Foreign)));
        }),
        ("codeferry is there", "CF304", |s| {
            s.comes_in_at(&format!("http://127.0.0.1:{}/oauth", serve(WayIn::ElsewhereOnTheHost)));
        }),
        ("it was refused", "CF400", |s| {
            s.set(
                "CODEFERRY_CALLBACK_SECRET",
                "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            );
            let url = format!("http://127.0.0.1:{}/hook", free_port());
            s.add(&format!(
                "[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"{url}\""
            ));
        }),
        ("there is no webhook", "CF401", |s| {
            let webhook = s.add_channel_sink();
            assert!(s.site.simulator.change_webhook(webhook, None));
        }),
        ("posts into the channel of lane 0", "CF402", |s| {
            let webhook = s.add_channel_sink();
            let (channel, _) = s.site.lane(0);
            assert!(s.site.simulator.change_webhook(webhook, Some(channel)));
        }),
    ]);
}
