//! The service when its disk fails or has failed: how it ends, what it says, and the ways back that
//! docs/durability.md describes, walked with the commands a person would use.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::crash::judge::{Posted, judge, nothing_is_open, on_the_way};
use super::test_support::{PERSON, Site, exits};
use crate::patience::{Finish as _, until};
use crate::store::killed::can_trace;
use crate::tally::{Tally, tell};

/// A site whose journal exists, so that a start has little to write.
fn used() -> (Site, Posted) {
    let site = Site::without_limits("");
    let service = site.run_ready();
    let codes = site.sign_in(0, 1);
    until(Duration::from_secs(20), "a result", || site.results().len() == 1);
    service.drain();
    let posted = Posted {
        codes: vec![(0, codes[0].clone())],
        ..Posted::default()
    };
    (site, posted)
}

/// Runs the service with every thread's n-th sync going wrong, until it ends by itself; and then without.
fn syncs_go_wrong(kind: &str, fault: &str, says: &str) {
    if !can_trace() {
        return;
    }
    let (site, mut posted) = used();
    posted.sync_failed = true;
    let inject = format!("inject=fdatasync:{fault}:when=9");
    let words = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        &inject,
    ];
    let mut service = site.run_behind(&words);
    service.ready();
    posted.codes.extend((1..).zip(site.sign_in(1, 8)));
    // Within 5 s of the fault nothing is begun any more; the rest is for a loaded machine.
    assert_eq!(service.ends(Duration::from_mins(1)), 74, "{}", service.log());
    assert!(service.log().contains(says), "{}", service.log());
    posted.on_the_way.extend(on_the_way(&site));
    let service = site.run_ready();
    until(Duration::from_mins(1), "all outcomes", || posted.have_ended(&site));
    let (tally, faults) = judge(&site, &posted);
    nothing_is_open(&site, 0);
    service.drain();
    assert_eq!(site.json(&["debug", "verify"])["ok"], true);
    tell(kind, tally);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_sync_that_fails_once_ends_the_service_with_74_and_the_next_start_goes_on() {
    syncs_go_wrong(
        "disk: a sync fails under the service",
        "error=EIO",
        "the journal cannot be written",
    );
}

/// The delay is longer than the service takes to end, and strace lets go of a delayed thread only when it is over.
#[test]
fn a_commit_that_hangs_ends_the_service_with_74_and_the_next_start_goes_on() {
    syncs_go_wrong(
        "disk: a commit hangs under the service",
        "delay_enter=12000000",
        "a commit hangs",
    );
}

/// What `vfat` and many network file systems answer.
#[test]
fn a_service_starts_on_a_file_system_without_hard_links() {
    if !can_trace() {
        return;
    }
    let mut site = Site::without_limits("");
    for made_by_the_first_start in ["CODEFERRY_STATE_KEY", "CODEFERRY_PKCE_KEY"] {
        site.variables.remove(made_by_the_first_start);
    }
    let words = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "links",
        "-e",
        "trace=link,linkat",
        "-e",
        "inject=link,linkat:error=EPERM",
    ];
    let service = site.run_behind(&words);
    service.ready();
    let link = site.json(&["link", &PERSON.to_string()]);
    assert!(link["url"].is_string(), "{link}");
    service.drain();
    let links = std::fs::read_to_string(site.path("links")).expect("a log");
    assert!(links.contains("EPERM"), "nothing asked for a link: {links}");
    for key in ["state.key", "pkce.key"] {
        let key = std::fs::read(site.path("data/keys").join(key)).expect("made");
        assert!(key.len() >= 32, "{key:?}");
    }
    let service = site.run_ready();
    service.drain();
}

/// Runs a command that a person would type.
fn typed(words: &[&str], at: &Path) {
    let output = Command::new(words[0]).args(&words[1..]).current_dir(at).finish();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

/// Starts the service, which must refuse the journal; answers what it says.
fn refuses(site: &Site) -> String {
    let (_, said) = exits(&site.codeferry(&["run"]), 74);
    assert!(
        said.contains("the journal is damaged") && said.contains("kept in `"),
        "{said}"
    );
    let kept = said
        .split("kept in `")
        .nth(1)
        .and_then(|rest| rest.split('`').next())
        .expect("a path");
    assert!(site.folder.path().join(kept).exists(), "{kept}");
    assert!(
        said.contains("restore the data folder from a backup") && said.contains("aside"),
        "{said}"
    );
    said
}

/// The page's ways back, in its order: the copy, which here has the same damage; a backup; an empty journal.
fn ways_back(kind: &str, says: &str, damage: impl Fn(&Site)) {
    // Results that cannot be delivered keep grants open.
    let site = {
        let mut site =
            Site::without_limits("[[delivery]]\nname = \"away\"\nkind = \"http\"\nurl = \"http://127.0.0.1:9/\"\n");
        let secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned();
        site.variables.insert("CODEFERRY_CALLBACK_SECRET".to_owned(), secret);
        site
    };
    let folder = site.folder.path();
    let open = || {
        site.json(&["debug", "queue", "list"])["total"]
            .as_u64()
            .expect("a number")
    };
    let service = site.run_ready();
    site.sign_in(0, 3);
    until(Duration::from_secs(20), "three results", || {
        site.results_of("completed") == 3
    });
    service.drain();
    typed(&["cp", "-a", "data", "backup"], folder);
    let service = site.run_ready();
    site.sign_in(3, 2);
    until(Duration::from_secs(20), "five results", || {
        site.results_of("completed") == 5
    });
    // A spent code whose message is still there would be read again with the backup.
    let channel = site.lane(0).0;
    until(Duration::from_secs(20), "no source message is left", || {
        site.simulator.message_count(channel) == 0
    });
    service.kill();
    damage(&site);
    let said = refuses(&site);
    assert!(said.contains(says), "{said}");
    typed(&["cp", "-a", "data", "safe"], folder);

    if folder.join("data/journal/damaged").exists() {
        typed(&["mv", "data/journal/engine", "data/journal/engine.aside"], folder);
        typed(&["cp", "-a", "data/journal/damaged", "data/journal/engine"], folder);
        refuses(&site);
    }

    typed(&["mv", "data", "data.aside"], folder);
    typed(&["cp", "-a", "backup", "data"], folder);
    let service = site.run_ready();
    assert_eq!(open(), 3, "what was open when the backup was made");
    service.kill();

    damage(&site);
    refuses(&site);
    let codes = site.sign_in(5, 2);
    assert_eq!(codes.len(), 2);
    typed(&["mv", "data/journal", "journal.aside"], folder);
    let service = site.run_ready();
    until(
        Duration::from_secs(20),
        "codes that are in the channel are read again",
        || site.results_of("completed") == 7,
    );
    assert_eq!(open(), 2);
    service.drain();
    assert_eq!(site.json(&["debug", "verify"])["ok"], true);
    tell(
        kind,
        Tally {
            tried: 2,
            survived: 2,
            ..Tally::default()
        },
    );
}

#[test]
fn a_log_whose_end_is_gone_is_refused_and_the_ways_back_lead_back() {
    ways_back("disk: the end of the log is gone", "high_water_mark", |site| {
        let file = site.path("data/journal/engine/write-ahead");
        let mut log = fs::read(&file).expect("read");
        // Its header tells of a commit that the log does not have, with the sum that belongs to it.
        for slot in [0, 4096].map(|at| at..at + 52) {
            let header = &mut log[slot];
            header[32..40].copy_from_slice(&(1_u64 << 40).to_be_bytes());
            let sum = crc32fast::hash(&header[..48]);
            header[48..].copy_from_slice(&sum.to_be_bytes());
        }
        fs::write(file, log).expect("written");
    });
}

#[test]
fn a_missing_file_is_refused_and_the_ways_back_lead_back() {
    ways_back("disk: a file is missing", "missing", |site| {
        fs::remove_file(site.path("data/journal/engine/conf")).expect("removed");
    });
}

#[test]
fn a_flipped_bit_in_a_sealing_key_is_refused_and_the_ways_back_lead_back() {
    ways_back("disk: a bit of a key is flipped", "seal", |site| {
        let keys = fs::read_dir(site.path("data/keys/seal")).expect("listed");
        for key in keys {
            let key = key.expect("listed").path();
            let mut bytes = fs::read(&key).expect("read");
            bytes[7] ^= 16;
            fs::write(key, bytes).expect("written");
        }
    });
}
