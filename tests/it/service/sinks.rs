//! Every kind of sink through the running service, as the application behind it sees it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultRule};
use serde_json::Value;
use standardwebhooks::Webhook;

use super::receiver::Receiver;
use super::test_support::{PERSON, Service, Site, exits};
use crate::files::Mounted;
use crate::patience::until;
use crate::tally::{Tally, tell};

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
fn a_receivers_status_and_the_next_attempt_are_told_in_the_log_and_by_queue_show() {
    let receiver = Receiver::new(401);
    let (site, _) = with_callback(&receiver);
    let service = site.run_ready();
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "three attempts", || receiver.count(401) >= 3);
    receiver.answers(410);
    until(Duration::from_secs(20), "another answer", || receiver.count(410) >= 1);
    let show = || {
        let listed = site.json(&["debug", "queue", "list"]);
        let id = listed["grants"][0]["id"].as_str().expect("an id").to_owned();
        (site.json(&["debug", "queue", "show", &id]), id)
    };
    until(Duration::from_secs(5), "the answer is written down", || {
        show().0["failed_calls"].as_array().is_some_and(|all| all.len() >= 4)
    });
    let (shown, id) = show();
    let told: Vec<_> = shown["failed_calls"].as_array().into_iter().flatten().collect();
    assert_eq!(
        (&told[0]["status"], &told[3]["status"]),
        (&401.into(), &410.into()),
        "{shown}"
    );
    assert_eq!(
        (&told[3]["reason"], &told[3]["call"]),
        (&"http_410".into(), &"deliver callback".into())
    );
    assert!(shown["next_attempts"]["deliver callback"].is_string(), "{shown}");
    let (text, _) = exits(&site.codeferry(&["debug", "queue", "show", &id]), 0);
    assert!(text.contains("deliver callback: http_410"), "{text}");
    let log = service.log();
    for once in ["reason=\"http_401\"", "reason=\"http_410\"", "outcome=\"completed\""] {
        assert_eq!(log.matches(once).count(), 1, "{once}: {log}");
    }
    // The history is the store's as well.
    service.drain();
    assert_eq!(
        site.json(&["debug", "queue", "show", &id])["failed_calls"],
        shown["failed_calls"]
    );
}

#[test]
fn a_requeue_that_cannot_be_done_says_why() {
    let receiver = Receiver::new(503);
    let (site, _) = with_callback(&receiver);
    let service = site.run_ready();
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "the other sink has it", || {
        receiver.count(503) >= 1 && site.results_of("completed") == 1
    });
    let listed = site.json(&["debug", "queue", "list"]);
    let id = listed["grants"][0]["id"].as_str().expect("an id").to_owned();
    let check = || {
        for (sink, says) in [
            (
                "callback",
                "`callback` is being retried already: the next attempt is at 2",
            ),
            ("results", "`results` has this result already"),
            ("calback", "has no delivery to `calback`: it has `callback`, `results`"),
        ] {
            let (_, error) = exits(&site.codeferry(&["debug", "queue", "requeue", &id, "--sink", sink]), 1);
            assert!(error.contains(says) && !error.contains("not possible"), "{error}");
        }
        let (_, error) = exits(&site.codeferry(&["debug", "queue", "requeue", &id]), 1);
        assert!(
            error.contains("has no parked delivery that can be retried: `callback` owed, `results` done"),
            "{error}"
        );
    };
    check();
    service.drain();
    check();
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
fn a_start_with_one_dead_sink_parks_its_deliveries_and_serves_the_others() {
    let site = Site::without_limits(CHANNEL);
    let webhook = site.about.results.webhook.id.parse().expect("an id");
    assert!(site.simulator.change_webhook(webhook, None));
    let service = site.run_ready();
    service.logs("delivery `channel`: webhook");
    site.sign_in(0, 1);
    let parked = || site.json(&["debug", "queue", "list", "--parked"])["total"] == 1;
    until(
        Duration::from_secs(20),
        "one is parked, the other one delivered",
        || site.results_of("completed") == 1 && parked(),
    );
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
    service.logs("an incomplete last line was removed");
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

/// What logrotate and people do to a file of results while it is written: the file that keeps the earlier results.
fn rotate(kind: u64, path: &Path, kept: PathBuf, service: &Service) -> PathBuf {
    match kind % 5 {
        // logrotate's default, without and with its `create` and its SIGHUP.
        0 => fs::rename(path, &kept).expect("moved"),
        1 => {
            fs::rename(path, &kept).expect("moved");
            fs::write(path, "").expect("created");
        }
        2 => {
            fs::rename(path, &kept).expect("moved");
            service.signal(rustix::process::Signal::HUP);
            until(Duration::from_secs(20), "a new file", || path.exists());
        }
        // Removed; another name keeps what stood in it.
        3 => {
            fs::hard_link(path, &kept).expect("linked");
            fs::remove_file(path).expect("removed");
        }
        // copytruncate.
        _ => {
            fs::copy(path, &kept).expect("copied");
            let file = fs::OpenOptions::new().write(true).open(path).expect("opens");
            file.set_len(0).expect("truncated");
        }
    }
    kept
}

/// How often each person's result stands in these files.
fn people_in(files: &[PathBuf]) -> BTreeMap<u64, u64> {
    let mut people = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(file).expect("text, without NUL bytes");
        // A last line that is being written is no result yet.
        for line in text[..text.rfind('\n').map_or(0, |end| end + 1)].lines() {
            let result: Value = serde_json::from_str(line).expect("a whole line of JSON");
            let person = result["state"]["user_id"].as_str().expect("a person");
            *people.entry(person.parse().expect("an id")).or_default() += 1;
        }
    }
    people
}

#[test]
fn results_are_found_at_their_path_or_in_the_rotated_file_whatever_is_done_to_the_file() {
    let rotations = if std::env::var_os("CODEFERRY_SLOW").is_some() {
        500
    } else {
        15
    };
    let site = Site::without_limits("");
    let service = site.run_ready();
    let path = site.path("results.jsonl");
    let (mut files, mut denied) = (vec![path.clone()], 0);
    for n in 0..rotations {
        site.deny_from(denied, 3);
        denied += 3;
        let arrived = || people_in(&files).len() as u64;
        // A copy misses what is written while it is made, and a result that is on its way opens the new file before SIGHUP
        // does: the other ways come in the midst of results.
        let wanted = if matches!(n % 5, 2 | 4) { denied } else { denied - 2 };
        until(Duration::from_secs(20), "results of this round", || arrived() >= wanted);
        let kept = rotate(n, &path, site.path(&format!("rotated.{n}")), &service);
        files.push(kept);
        site.deny_from(denied, 1);
        denied += 1;
        until(Duration::from_secs(20), "a new file at the path", || path.exists());
    }
    until(Duration::from_secs(20), "everything is delivered", || {
        open(&site) == Some(0)
    });
    service.drain();
    let people = people_in(&files);
    let lost = denied - people.len() as u64;
    let twice = people.values().filter(|count| **count > 1).count() as u64;
    let survived = if lost + twice == 0 { rotations } else { 0 };
    tell(
        "file rotation",
        Tally {
            tried: rotations,
            survived,
            lost,
            twice,
            ..Tally::default()
        },
    );
    assert_eq!((lost, twice), (0, 0), "{people:?}");
    assert_eq!(people.len() as u64, denied);
}

#[test]
fn a_truncated_file_on_a_full_disk_gets_whole_lines_only_and_every_result_once_there_is_room() {
    let site = Site::without_limits("");
    let options = ["-t", "tmpfs", "-o", "size=64k", "codeferry-test"];
    let Some(disk) = Mounted::over(&site.path("out"), &options) else {
        return;
    };
    let text = fs::read_to_string(site.file()).expect("a configuration");
    fs::write(site.file(), text.replace("\"results.jsonl\"", "\"out/results.jsonl\"")).expect("written");
    let (path, filler) = (disk.at().join("results.jsonl"), disk.at().join("filler"));
    let service = site.run_ready();
    site.deny_from(0, 18);
    let files = [path.clone()];
    until(Duration::from_secs(20), "results", || people_in(&files).len() == 18);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
    file.set_len(0).expect("truncated");
    drop(fs::write(&filler, vec![b'x'; 1 << 17]));
    site.deny_from(18, 18);
    service.logs("results cannot be written");
    assert!(!fs::read(&path).expect("reads").contains(&0));
    fs::remove_file(&filler).expect("room");
    until(Duration::from_secs(20), "the results come once there is room", || {
        people_in(&files).len() == 18
    });
    service.drain();
    let people = people_in(&files);
    assert!(
        people.keys().eq((PERSON + 18..PERSON + 36).collect::<Vec<_>>().iter()),
        "{people:?}"
    );
    assert!(people.values().all(|count| *count == 1), "{people:?}");
    let tally = Tally {
        tried: 1,
        survived: 1,
        ..Tally::default()
    };
    tell("file rotation", tally);
}
