//! Every kind of sink through the running service, as the application behind it sees it.

use std::fs;
use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultRule};
use serde_json::Value;
use standardwebhooks::Webhook;

use super::receiver::Receiver;
use super::test_support::{Site, exits};
use crate::patience::until;

const LIMITS: &str = "[limits]\nwebhook = \"off\"\nglobal = \"off\"\noauth = \"off\"\n";
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const CHANNEL: &str =
    "[[delivery]]\nname = \"channel\"\nkind = \"discord_webhook\"\nwebhook_id = \"1536343300000000020\"\n";

fn with_callback(receiver: &Receiver) -> (Site, String) {
    let more = format!(
        "{LIMITS}[[delivery]]\nname = \"callback\"\nkind = \"http\"\nurl = \"{}\"\n",
        receiver.url
    );
    let mut site = Site::without_limits("");
    site.variables
        .insert("CODEFERRY_CALLBACK_SECRET".to_owned(), SECRET.to_owned());
    site.configure(&more);
    (site, more)
}

fn open(site: &Site) -> Option<u64> {
    site.json(&["debug", "queue", "list"])["total"].as_u64()
}

#[track_caller]
fn all_closes(site: &Site, people: usize) {
    // What was not taken yet is not open either.
    until(Duration::from_secs(40), "everything closes", || {
        site.results_of("completed") >= people && open(site) == Some(0)
    });
}

#[test]
fn a_callback_is_signed_and_made_again_with_the_same_id_while_the_other_sink_and_the_revocation_go_on() {
    let receiver = Receiver::new(500);
    let (site, _) = with_callback(&receiver);
    let service = site.run_ready();
    site.sign_in(0, 3);
    until(Duration::from_secs(20), "each was tried twice", || {
        receiver.count(500) >= 6
    });
    // One sink that is down holds up neither the other one nor the revocation.
    assert_eq!(site.results_of("completed"), 3);
    until(Duration::from_secs(20), "no token is left", || {
        site.simulator.summary().tokens_left == 0
    });
    assert_eq!(open(&site), Some(3));
    receiver.answers(204);
    all_closes(&site, 3);
    service.drain();
    assert_eq!(receiver.count(204), 3);
    let key = Webhook::new(SECRET).expect("a secret");
    let results = site.results();
    receiver.look(|came| {
        for callback in came {
            key.verify(&callback.body, &callback.headers).expect("a good signature");
            let body: Value = serde_json::from_slice(&callback.body).expect("JSON");
            assert_eq!(callback.headers["webhook-id"], body["id"].as_str().expect("an id"));
            // The same result, to the byte, at every attempt and in every sink.
            assert!(results.contains(&body), "{body}");
            let mut forged = callback.body.clone();
            forged[0] = b' ';
            assert!(key.verify(&forged, &callback.headers).is_err());
        }
    });
}

#[test]
fn a_delivery_is_parked_without_its_sink_and_goes_out_when_it_is_requeued() {
    let receiver = Receiver::new(503);
    let (site, with_sink) = with_callback(&receiver);
    let service = site.run_ready();
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "a first attempt", || receiver.count(503) >= 1);
    service.drain();

    site.configure(LIMITS);
    let service = site.run_ready();
    let parked = || site.json(&["debug", "queue", "list", "--parked"]);
    until(Duration::from_secs(20), "it is parked", || parked()["total"] == 1);
    let id = parked()["grants"][0]["id"].as_str().expect("an id").to_owned();
    let requeue = || site.codeferry(&["debug", "queue", "requeue", &id]);
    let (_, error) = exits(&requeue(), 1);
    assert!(error.contains("codeferry: "), "{error}");
    service.drain();

    site.configure(&with_sink);
    let service = site.run_ready();
    assert_eq!(
        parked()["total"],
        1,
        "the sink being back is no reason to deliver: somebody parked it"
    );
    receiver.answers(200);
    exits(&requeue(), 0);
    all_closes(&site, 1);
    assert_eq!(receiver.count(200), 1);
    service.drain();
}

#[test]
fn a_post_whose_answer_was_lost_is_found_in_the_channel_and_not_made_again() {
    let site = Site::without_limits(CHANNEL);
    let channel: u64 = site.about.results.channel_id.parse().expect("an id");
    let service = site.run_ready();
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Webhook, Fault::LostAnswer).times(1));
    site.sign_in(0, 1);
    all_closes(&site, 1);
    assert_eq!(site.simulator.message_count(channel), 1);

    // The same where the process is killed between the post and the answer.
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Webhook, Fault::DelayAnswer { ms: 3_000 }).times(1));
    site.sign_in(1, 1);
    until(Duration::from_secs(20), "the second post", || {
        site.simulator.message_count(channel) == 2
    });
    service.kill();
    let service = site.run_ready();
    all_closes(&site, 2);
    service.drain();
    assert_eq!(site.simulator.message_count(channel), 2);
    let posts = site.simulator.ledger();
    assert_eq!(posts.posts.iter().filter(|p| p.channel_id == channel).count(), 2);
}

#[test]
fn a_torn_last_line_is_cut_off_and_a_file_that_has_grown_is_rotated() {
    let site = Site::without_limits("");
    let path = site.path("results.jsonl");
    // A power cut in the middle of a line.
    fs::write(&path, "{\"id\":\"01J00000000000000000000000\"}\n{\"id\":\"01J0000000").expect("written");
    let service = site.run_ready();
    service.logs("a torn last line was cut off");
    site.sign_in(0, 2);
    until(Duration::from_secs(20), "two results", || {
        site.results_of("completed") == 2
    });
    assert_eq!(site.results().len(), 3);
    service.drain();

    let mut grown = fs::read_to_string(&path).expect("results");
    while grown.len() < 1_000_000 {
        grown += "{\"id\":\"01J00000000000000000000001\",\"type\":\"filler\",\"more\":\"0123456789012345678901234567890123456789\"}\n";
    }
    fs::write(&path, &grown).expect("written");
    let text = fs::read_to_string(site.file()).expect("a configuration");
    let text = text.replace("path = \"results.jsonl\"", "path = \"results.jsonl\"\nrotate_mb = 1");
    fs::write(site.file(), text).expect("written");
    let service = site.run_ready();
    site.sign_in(2, 1);
    until(Duration::from_secs(20), "a new file with the result", || {
        site.results().len() == 1
    });
    service.drain();
    let rotated = fs::read_dir(site.folder.path()).expect("a folder");
    let rotated: Vec<_> = rotated
        .map(|f| f.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.starts_with("results.") && name != "results.jsonl")
        .collect();
    assert_eq!(rotated.len(), 1, "{rotated:?}");
    assert_eq!(fs::read_to_string(site.path(&rotated[0])).expect("the old file"), grown);
}
