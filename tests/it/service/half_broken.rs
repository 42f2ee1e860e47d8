//! A service some of whose surroundings are broken goes on with the rest.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use codeferry::simulator::options::BotPermissions;
use codeferry::simulator::{PortalChange, SimulatorOptions};

use super::test_support::{PERSON, Site};
use crate::patience::{Process, until};

const LIMITS: &str = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
/// Of a bot that cannot see a channel.
const UNSEEN: BotPermissions = BotPermissions {
    view: false,
    read_history: true,
    send: true,
    manage_messages: true,
    manage_webhooks: true,
    add_reactions: true,
};

/// A site with this many lanes, all but the first of which are dead: by turns the channel is unreadable and the webhook
/// deleted.
fn with_dead_lanes(lanes: u8, more: &str) -> Site {
    let options = SimulatorOptions {
        lanes,
        ..SimulatorOptions::without_limits()
    };
    let site = Site::new(options, &format!("{LIMITS}{more}"));
    for n in 1..usize::from(lanes) {
        let (channel, webhook) = site.lane(n);
        let (permitted, gone) = if n % 2 == 1 {
            (UNSEEN, false)
        } else {
            (BotPermissions::default(), true)
        };
        assert!(site.simulator.permit(channel, permitted));
        assert!(!gone || site.simulator.change_webhook(webhook, None));
    }
    site
}

#[test]
fn a_start_takes_dead_lanes_out_names_them_and_ends_with_2_only_if_none_is_left() {
    let site = with_dead_lanes(3, "");
    site.sign_in(0, 1);
    let service = site.run_ready();
    service.logs(&format!("channel {} cannot be read", site.lane(1).0));
    service.logs(&format!("webhook {} was deleted", site.lane(2).1));
    until(Duration::from_secs(20), "the code completes", || {
        site.results_of("completed") == 1
    });
    for person in 0..4 {
        let link = site.json(&["link", &(PERSON + person).to_string()]);
        assert_eq!(link["lane"], 0, "{link}");
    }
    service.drain();
    assert!(site.simulator.change_webhook(site.lane(0).1, None));
    let mut service = site.run();
    assert_eq!(service.ends(Duration::from_secs(30)), 2, "{}", service.log());
    assert!(service.last_words().contains("lane 0: webhook"), "{}", service.log());
}

#[test]
fn without_any_lane_left_direct_intake_is_a_way_in() {
    let mut site = with_dead_lanes(2, "[intake.http]\nlisten = \"127.0.0.1:0\"\n");
    let uri = "http://127.0.0.1:8710/callback".to_owned();
    site.simulator.change_portal(PortalChange {
        redirect_uris: Some(vec![uri.clone()]),
        ..PortalChange::default()
    });
    site.variables.insert("CODEFERRY_DISCORD__REDIRECT_URI".to_owned(), uri);
    assert!(site.simulator.permit(site.lane(0).0, UNSEEN));
    let mut service = site.run_ready();
    for lane in [0, 1] {
        service.logs(&format!("channel {} cannot be read", site.lane(lane).0));
        service.logs(&format!("channel {} of intake.lanes cannot be read", site.lane(lane).0));
    }
    assert!(service.ended().is_none(), "{}", service.log());
    service.drain();
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_code() {
    let mut site = Site::without_limits("");
    site.variables
        .insert("CODEFERRY_LOG".to_owned(), "codeferry=trace".to_owned());
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    // As full as a pipe of 64 KiB may be and still take the first lines.
    writer.write_all(&vec![b'.'; 63_000]).expect("there is room");
    let mut command = site.command(&["run"]);
    let process = Process::start(command.stderr(writer).stdout(Stdio::null()));
    drop(command);
    site.sign_in(0, 30);
    until(Duration::from_secs(30), "every code completes", || {
        site.results_of("completed") == 30
    });
    // What came meanwhile is lost, and the log says so when somebody reads again.
    let mut log = vec![0; 65_536];
    let read = reader.read(&mut log).expect("it is full");
    assert!(read > 60_000);
    site.sign_in(30, 5);
    let mut log = String::new();
    while !log.contains("log lines were dropped") {
        let mut some = [0; 4096];
        let read = reader.read(&mut some).expect("more");
        assert!(read > 0, "it ended: {log}");
        log.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    drop(process);
}
