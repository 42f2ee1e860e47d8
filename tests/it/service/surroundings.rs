//! Bad configuration and bad surroundings at a start: one message that says what to do, and the right exit code; and the
//! code that was posted meanwhile completes after the cure.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use codeferry::simulator::gateway::GatewayFault;
use codeferry::simulator::options::BotPermissions;
use codeferry::simulator::{Endpoint, Fault, FaultRule, PortalChange, SimulatorOptions};

use super::test_support::Site;
use crate::patience::until;

const LIMITS: &str = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
const LANE: &str = "[[intake.lanes]]\nchannel_id = \"1536340000000000100\"\nwebhook_id = \"1536343300000000100\"\n";

/// Something wrong, and what the service says to the operator about it, whole. `<folder>` stands for the folder.
struct Case {
    spoil: fn(&mut Site),
    exit: i32,
    says: &'static str,
}

/// Takes a variable away.
fn unset(site: &mut Site, name: &str) {
    site.variables.remove(name).expect("it was set");
}

/// Gives a variable another value.
fn set(site: &mut Site, name: &str, value: &str) {
    site.variables.insert(name.to_owned(), value.to_owned());
}

/// Replaces a text in the configuration.
fn edit(site: &Site, from: &str, to: &str) {
    let text = fs::read_to_string(site.file()).expect("a configuration");
    assert!(text.contains(from), "`{from}` is not in the configuration");
    fs::write(site.file(), text.replace(from, to)).expect("written");
}

/// Changes what the bot may do in the lane's channel.
fn permit(site: &Site, change: impl FnOnce(&mut BotPermissions)) {
    let mut permissions = BotPermissions::default();
    change(&mut permissions);
    assert!(site.simulator.permit(site.lane(0).0, permissions), "the channel exists");
}

/// Puts configuration, variables and permissions right.
fn cure(site: &mut Site) {
    site.variables = Site::variables_for(&site.about);
    site.configure(LIMITS);
    permit(site, |_| {});
}

const CASES: &[Case] = &[
    Case {
        spoil: |site| fs::remove_file(site.file()).expect("removed"),
        exit: 2,
        says: "codeferry: <folder>/codeferry.toml: the configuration cannot be read: no such file or directory; \
               name another file with --config or CODEFERRY_CONFIG\n",
    },
    Case {
        spoil: |site| unset(site, "CODEFERRY_BOT_TOKEN"),
        exit: 2,
        says: "codeferry: environment CODEFERRY_BOT_TOKEN: is not set: the bot that reads the lanes needs it; copy the \
               token from the developer portal, page Bot (CODEFERRY_BOT_TOKEN_FILE may name a file instead)\n",
    },
    Case {
        spoil: |site| set(site, "CODEFERRY_BOT_TOKEN", "MTUzNg.wrong.token"),
        exit: 2,
        says: "codeferry: Discord does not accept the bot: Discord refused the bot's token (401) [CF101]\n  \
               check CODEFERRY_BOT_TOKEN (page \"Bot\" of the portal; reset it there if in doubt)\n",
    },
    Case {
        spoil: |site| edit(site, "\"1536000000000000001\"", "\"1536000000000000002\""),
        exit: 2,
        says: "codeferry: the bot token belongs to application 1536000000000000001, but discord.application_id is \
               1536000000000000002 [CF102]\n  \
               use the token and the id of one application, from its pages \"Bot\" and \"General Information\"\n",
    },
    Case {
        spoil: |site| unset(site, "CODEFERRY_CLIENT_SECRET"),
        exit: 2,
        says: "codeferry: environment CODEFERRY_CLIENT_SECRET: is not set: exchanging codes needs it; copy it from the \
               developer portal, page OAuth2 (CODEFERRY_CLIENT_SECRET_FILE may name a file instead)\n",
    },
    Case {
        spoil: |site| set(site, "CODEFERRY_CLIENT_SECRET", "not the secret"),
        exit: 2,
        says: "codeferry: Discord refuses the application's credentials (invalid_client) [CF103]\n  \
               check discord.application_id and CODEFERRY_CLIENT_SECRET (page \"OAuth2\" of the portal)\n",
    },
    Case {
        spoil: |site| edit(site, LANE, ""),
        exit: 2,
        says: "codeferry: <folder>/codeferry.toml: `intake.lanes` is missing; codes must come from somewhere: add \
               `[[intake.lanes]]` with `channel_id` and `webhook_id`, or set `intake.http.listen`\n",
    },
    Case {
        spoil: |site| edit(site, "channel_id = \"1536340000000000100\"\n", ""),
        exit: 2,
        says: "codeferry: <folder>/codeferry.toml:6: `intake.lanes[0].channel_id` is missing; write for example \
               `channel_id = \"1536000000000000003\"`\n",
    },
    Case {
        spoil: |site| edit(site, "1536340000000000100", "1536340000000000999"),
        exit: 2,
        says: "codeferry: channel 1536340000000000999 of intake.lanes cannot be read: Discord answered 404 (code 10003) [CF200]\n  \
               check channel_id, and that the bot is a member of that server\n",
    },
    Case {
        spoil: |site| permit(site, |p| p.view = false),
        exit: 2,
        says: "codeferry: channel 1536340000000000100 of intake.lanes cannot be read: Discord answered 403 (code 50001): \
               a permission is missing [CF201]\n  \
               give the bot View Channel and Read Message History in that channel\n",
    },
    Case {
        spoil: |site| edit(site, "webhook_id = \"1536343300000000100\"\n", ""),
        exit: 2,
        says: "codeferry: <folder>/codeferry.toml:6: `intake.lanes[0].webhook_id` is missing; write for example \
               `webhook_id = \"1536000000000000004\"`\n",
    },
    Case {
        spoil: |site| edit(site, "1536343300000000100", "1536343300000000999"),
        exit: 2,
        says: "codeferry: lane 0: webhook 1536343300000000999: Discord answered 404 (code 10015) [CF210]\n  \
               check webhook_id; if the webhook was deleted, make a new one on the channel's page \"Integrations\"\n",
    },
    Case {
        spoil: |site| edit(site, "1536343300000000100", "1536343300000000020"),
        exit: 2,
        says: "codeferry: lane 0: webhook 1536343300000000020 posts into channel 1536340000000000020, not \
               1536340000000000100 [CF212]\n  \
               correct intake.lanes, or move the webhook\n",
    },
    Case {
        spoil: |site| edit(site, "redirect_uri = \"http://127.0.0.1:8710/callback\"\n", ""),
        exit: 2,
        says: "codeferry: <folder>/codeferry.toml:1: `discord.redirect_uri` is missing; set it to the redirect of the \
               developer portal, page OAuth2: your relay's URL\n",
    },
    Case {
        spoil: |site| edit(site, "127.0.0.1:8710/callback", "127.0.0.1:8710/callback/"),
        exit: 2,
        says: "codeferry: discord.redirect_uri `http://127.0.0.1:8710/callback/` is not registered with the application [CF104]\n  \
               add it, character by character, under \"OAuth2\" > \"Redirects\" in the developer portal\n",
    },
    Case {
        spoil: |site| edit(site, &site.about.api_base, "http://10.1.2.3/api/v10"),
        exit: 2,
        says: "codeferry: <folder>/codeferry.toml:2: `discord.api_base` is plain http to `10.1.2.3`, which is not a \
               loopback address; use https: what is sent there is secret\n",
    },
    Case {
        spoil: |site| {
            edit(
                site,
                "path = \"results.jsonl\"",
                "path = \"codeferry.toml/results.jsonl\"",
            );
        },
        exit: 2,
        says: "codeferry: delivery `results`: cannot write results to `<folder>/codeferry.toml/results.jsonl`: \
               File exists (os error 17)\n  \
               correct the path, or let the user that runs codeferry write there\n",
    },
    Case {
        spoil: |site| {
            edit(
                site,
                "[limits]",
                "[journal]\npath = \"codeferry.toml/journal\"\n[limits]",
            );
        },
        exit: 74,
        says: "codeferry: the journal cannot be opened: cannot write to `<folder>/codeferry.toml/journal`: the user that \
               runs codeferry must own the folder, on a file system that is not read-only: \
               Not a directory (os error 20)\n",
    },
];

#[test]
fn each_fault_of_the_surroundings_gives_one_message_with_what_to_do_and_loses_nothing() {
    for case in CASES {
        let mut site = Site::without_limits("");
        site.sign_in(0, 1);
        (case.spoil)(&mut site);
        let mut service = site.run();
        let code = service.ends(Duration::from_secs(30));
        let folder = site.folder.path().display().to_string();
        let says = service.last_words().replace(&folder, "<folder>");
        assert_eq!((says.as_str(), code), (case.says, case.exit), "{}", service.log());
        assert!(!service.log().contains("panicked"), "{}", service.log());

        cure(&mut site);
        let _service = site.run_ready();
        until(Duration::from_secs(20), "the code completes after the cure", || {
            site.results_of("completed") == 1
        });
    }
}

#[test]
fn a_port_in_use_ends_with_1_and_names_the_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    let mut site = Site::without_limits(&format!("[control]\nlisten = \"{address}\"\n"));
    set(
        &mut site,
        "CODEFERRY_CONTROL_TOKEN",
        "a random text of more than 32 bytes",
    );
    site.sign_in(0, 1);
    let mut service = site.run();
    let code = service.ends(Duration::from_secs(30));
    let says = format!(
        "codeferry: the control interface cannot be opened: cannot listen on {address}: Address already in use (os error 98)\n  \
         free the port, or set control.listen to another one, or to \"\" for none\n"
    );
    assert_eq!((service.last_words(), code), (says, 1), "{}", service.log());
    drop(taken);
    let service = site.run_ready();
    until(Duration::from_secs(20), "the code completes", || {
        site.results_of("completed") == 1
    });
    service.drain();
}

#[test]
fn a_bot_whose_sessions_of_the_day_are_spent_lives_from_the_history() {
    let mut options = SimulatorOptions::without_limits();
    options.gateway.session_starts = 49;
    let site = Site::new(options, &format!("[intake]\npoll_every = \"1s\"\n{LIMITS}"));
    let service = site.run_ready();
    service.logs("49 gateway sessions are left of those that Discord allows the bot in a day");
    site.sign_in(0, 2);
    until(Duration::from_secs(20), "the codes complete", || {
        site.results_of("completed") == 2
    });
    assert_eq!(site.simulator.gateway_status().identifies, 0);
    service.drain();
}

#[test]
fn message_content_is_not_asked_for_where_only_signed_messages_are_accepted() {
    let site = Site::without_limits("");
    let service = site.run_ready();
    // Whoever asks for it now is refused.
    site.simulator.change_portal(PortalChange {
        flags: Some(0),
        ..PortalChange::default()
    });
    site.simulator
        .gateway_fault(GatewayFault::Invalidate { resumable: false });
    until(Duration::from_secs(30), "a new session", || {
        site.simulator.gateway_status().identifies == 2
    });
    assert!(!service.log().contains("4014"), "{}", service.log());
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "the code completes", || {
        site.results_of("completed") == 1
    });
    service.drain();
}

#[test]
fn an_intent_that_was_switched_off_in_the_portal_is_done_without() {
    let mut site = Site::without_limits("");
    set(&mut site, "CODEFERRY_INTAKE__ACCEPT", "['v0', 'v1']");
    let service = site.run_ready();
    // The flags were asked for at the start; the next IDENTIFY asks for too much.
    site.simulator.change_portal(PortalChange {
        flags: Some(0),
        ..PortalChange::default()
    });
    site.simulator
        .gateway_fault(GatewayFault::Invalidate { resumable: false });
    service.logs("the gateway refused MESSAGE_CONTENT (close code 4014)");
    until(Duration::from_secs(30), "a session without it", || {
        site.simulator.gateway_status().identifies == 2
    });
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "the code completes", || {
        site.results_of("completed") == 1
    });
    service.drain();
}

#[test]
fn an_intent_that_is_refused_even_so_ends_with_2_and_names_the_switch() {
    let mut site = Site::without_limits("");
    set(&mut site, "CODEFERRY_INTAKE__ACCEPT", "['v0', 'v1']");
    let mut service = site.run_ready();
    let refuse = || site.simulator.gateway_fault(GatewayFault::Close { code: 4014 });
    refuse();
    service.logs("the gateway refused MESSAGE_CONTENT (close code 4014)");
    until(Duration::from_secs(30), "a session without it", || {
        site.simulator.gateway_status().identifies == 2
    });
    refuse();
    let code = service.ends(Duration::from_secs(30));
    let says = "codeferry: the gateway closed the session for good (close code 4014): an intent was refused\n  \
                switch on MESSAGE CONTENT INTENT on the page \"Bot\" of the portal and start again\n";
    assert_eq!((service.last_words().as_str(), code), (says, 2), "{}", service.log());
    site.sign_in(0, 1);
    let service = site.run_ready();
    until(Duration::from_secs(20), "the code completes", || {
        site.results_of("completed") == 1
    });
    service.drain();
}

#[test]
fn a_start_that_waits_for_discord_can_be_looked_at() {
    let site = Site::without_limits("");
    let down = Fault::Status {
        status: 502,
        body: codeferry::simulator::FaultBody::Html,
        retry_after: None,
        after_work: false,
    };
    site.simulator.faults().add(FaultRule::on(Endpoint::Application, down));
    let service = site.run();
    service.logs("Discord cannot be reached: retrying");
    assert_eq!(site.json(&["debug", "queue", "stats"])["links"], 0);
    assert!(
        site.json(&["debug", "watch", "--looks", "1"])["running"]
            .as_bool()
            .expect("told")
    );
    // A signal ends it, and leaves no socket behind.
    service.drain();
    assert!(!site.path("data/control.sock").exists());
    site.simulator.faults().clear();
    site.run_ready().drain();
}

#[test]
fn ready_tells_what_is_not_fine_yet() {
    let site = Site::without_limits("");
    permit(&site, |p| p.read_history = false);
    let service = site.run_ready();
    let log = service.log();
    let line = log
        .lines()
        .find(|line| line.contains("READY: codes are taken"))
        .expect("a line");
    for part in [
        "WARN",
        "lane 0: the bot lacks Read Message History in channel 1536340000000000100",
        "nothing listens at discord.redirect_uri `http://127.0.0.1:8710/callback`: start the relay, or set intake.http.listen",
    ] {
        assert!(line.contains(part), "{line}");
    }
    service.drain();
    // With the permission, and somebody at the port, all is fine.
    permit(&site, |_| {});
    let relay = TcpListener::bind("127.0.0.1:8710");
    let service = site.run_ready();
    assert_eq!(
        service.log().contains("not all is fine yet"),
        relay.is_err(),
        "{}",
        service.log()
    );
    service.drain();
}

#[test]
fn a_service_whose_surroundings_are_refused_is_never_ready() {
    let site = Site::without_limits("");
    edit(&site, "1536343300000000100", "1536343300000000999");
    // The gateway's session begins long before the webhook's answer.
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::WebhookItself, Fault::DelayAnswer { ms: 2_000 }));
    let mut service = site.run();
    assert_eq!(service.ends(Duration::from_secs(30)), 2, "{}", service.log());
    let log = service.log();
    assert!(
        log.contains("the gateway session began") && !log.contains("READY"),
        "{log}"
    );
}

#[test]
fn an_empty_history_is_not_an_empty_channel_and_the_missing_permission_is_named() {
    let mut site = Site::without_limits("");
    set(&mut site, "CODEFERRY_INTAKE__POLL_EVERY", "500ms");
    permit(&site, |p| p.read_history = false);
    let service = site.run_ready();
    // The gateway brings these; that the history lacks several, one reading after the other, is no accident.
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, Fault::DelayAnswer { ms: 1_500 }));
    let mut brought = 0;
    until(Duration::from_secs(30), "the missing permission is named", || {
        site.sign_in(brought, 1);
        brought += 1;
        std::thread::sleep(Duration::from_millis(400));
        service.log().contains(
            "the bot lacks READ_MESSAGE_HISTORY there; give it that permission, or a code that the gateway misses is lost",
        )
    });
    // The gateway misses this one: only the history has it.
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Webhook, Fault::DeliverNever));
    site.sign_in(brought, 1);
    until(Duration::from_secs(20), "what was brought completes", || {
        site.results_of("completed") as u64 == brought
    });
    permit(&site, |_| {});
    until(Duration::from_secs(20), "the last completes after the cure", || {
        site.results_of("completed") as u64 == brought + 1
    });
    service.drain();
}

#[test]
fn a_discord_that_cannot_be_reached_at_the_start_is_waited_for() {
    let site = Site::without_limits(
        "[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"1536343300000000020\"\n",
    );
    site.sign_in(0, 1);
    for endpoint in [Endpoint::Application, Endpoint::WebhookItself, Endpoint::GatewayUrl] {
        let down = Fault::Status {
            status: 502,
            body: codeferry::simulator::FaultBody::Html,
            retry_after: None,
            after_work: false,
        };
        site.simulator.faults().add(FaultRule::on(endpoint, down).times(2));
    }
    let service = site.run_ready();
    until(Duration::from_secs(20), "the code completes", || {
        site.results_of("completed") == 1
    });
    assert!(
        service.log().contains("Discord cannot be reached: retrying"),
        "{}",
        service.log()
    );
    service.drain();
}
