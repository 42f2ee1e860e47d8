//! The data folder: taken, not writable, full, damaged. One message each, and nothing is lost.

use std::fs;
use std::path::Path;
use std::time::Duration;

use codeferry::simulator::{Endpoint, Fault, FaultRule};

use super::judge::{everything_ended, on_the_way, slow_down};
use super::test_support::{Site, exits};
use crate::files::{Mounted, copy_folder};
use crate::patience::until;

/// A small file system in memory over the site's data folder.
fn small_disk(site: &Site, options: &str) -> Option<Mounted> {
    Mounted::over(&site.path("data"), &["-t", "tmpfs", "-o", options, "codeferry-test"])
}

#[track_caller]
fn refused(site: &Site, code: i32, says: &[&str]) {
    let mut service = site.run();
    assert_eq!(service.ends(Duration::from_secs(30)), code, "{}", service.log());
    let words = service.last_words();
    for part in says {
        assert!(words.contains(part), "`{part}` is not in: {words}");
    }
    assert_eq!(words.matches("codeferry: ").count(), 1, "{words}");
}

#[track_caller]
fn completes(site: &Site, count: usize) {
    let service = site.run_ready();
    until(Duration::from_secs(30), "the codes complete", || {
        site.results_of("completed") >= count
    });
    until(Duration::from_secs(20), "no token is left", || {
        site.simulator.summary().tokens_left == 0
    });
    service.drain();
    assert_eq!(site.results_of("completed"), count);
    assert_eq!(site.json(&["debug", "verify"])["ok"], true);
}

#[test]
fn a_second_instance_is_told_who_is_there_and_disturbs_nothing() {
    let site = Site::without_limits("");
    let first = site.run_ready();
    let mut second = site.run_with_log("second.log");
    assert_eq!(second.ends(Duration::from_secs(30)), 1, "{}", second.log());
    let says = format!(
        "codeferry: the journal cannot be opened: the journal `{}` is in use by process {}: stop that one first, or ask it \
         through its control socket\n",
        site.path("data/journal").display(),
        first.pid()
    );
    assert_eq!(second.last_words(), says);
    site.sign_in(0, 1);
    until(Duration::from_secs(20), "the first goes on", || {
        site.results_of("completed") == 1
    });
    until(Duration::from_secs(20), "nothing is left open", || {
        site.json(&["debug", "queue", "list"])["total"] == 0
    });
    first.drain();
}

#[test]
fn a_data_folder_that_cannot_be_written_ends_with_74_and_loses_nothing() {
    let site = Site::without_limits("");
    let Some(mount) = small_disk(&site, "size=40m,mode=0700") else {
        return;
    };
    site.sign_in(0, 1);
    mount.remount("ro");
    let says = [
        "cannot write to `",
        "the user that runs codeferry must own the folder, on a file system that is not read-only",
    ];
    refused(&site, 74, &says);
    mount.remount("rw");
    completes(&site, 1);
    // With something in it that is not done, too.
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, Fault::InvalidClient { status: 401 }));
    let service = site.run_ready();
    site.sign_in(1, 1);
    service.logs("Discord refused the application's credentials");
    service.kill();
    mount.remount("ro");
    refused(&site, 74, &says);
    let (_, error) = exits(&site.codeferry(&["debug", "queue", "list"]), 74);
    assert!(error.contains("cannot write to `"), "{error}");
    mount.remount("rw");
    site.simulator.faults().clear();
    completes(&site, 2);
}

#[test]
fn a_disk_that_fills_up_ends_with_74_and_everything_completes_once_there_is_room() {
    // The log has its room already, so what is open goes on. More codes close than the engine keeps of closed ones: the
    // next write to their own files finds the disk full.
    const CODES: u64 = 160;
    let site = Site::without_limits("");
    let Some(mount) = small_disk(&site, "size=64m,mode=0700") else {
        return;
    };
    // Slow enough that there is work in hand, with tokens among it, when the room ends.
    slow_down(&site, 1_500);
    let mut service = site.run_ready();
    site.sign_in(0, CODES);
    until(Duration::from_secs(20), "the first have their tokens", || {
        site.simulator.ledger().answer_count("me", 200) >= 1
    });
    fill(&mount.at().join("filler"));
    assert_eq!(service.ends(Duration::from_secs(30)), 74, "{}", service.log());
    let says = "codeferry: the journal cannot be written: the disk is full\n  \
                free some room on the disk and start again; codes that arrived meanwhile are in the channel\n";
    assert_eq!(service.last_words(), says);
    // A token that could not be stored was revoked directly: its code is the only kind that can be lost.
    fs::remove_file(mount.at().join("filler")).expect("room");
    let on_their_way = on_the_way(&site);
    site.simulator.faults().clear();
    let service = site.run_ready();
    everything_ended(&site, CODES, &on_their_way);
    service.drain();
}

#[test]
fn with_little_room_left_codes_stay_in_the_channel_until_there_is_more() {
    let site = Site::without_limits("");
    let Some(mount) = small_disk(&site, "size=64m,mode=0700") else {
        return;
    };
    let service = site.run_ready();
    let filler = mount.at().join("filler");
    fill(&filler);
    // Full but for 8 MB, before anything needs to be written.
    let file = fs::OpenOptions::new().write(true).open(&filler).expect("the filler");
    let length = file.metadata().expect("its length").len();
    file.set_len(length - 8_000_000).expect("a little room");
    // The room of a file that is open somewhere is not given back.
    drop(file);
    service.logs("codes stay in the channel");
    site.sign_in(0, 3);
    let channel = site.lane(0).0;
    assert_eq!(site.simulator.message_count(channel), 3);
    fs::remove_file(&filler).expect("room");
    until(Duration::from_mins(1), "they complete without a restart", || {
        site.results_of("completed") == 3
    });
    service.drain();
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("a file");
    // Large blocks first, then what is left.
    for size in [64 * 1024, 4 * 1024, 1] {
        let block = vec![b'x'; size];
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }
}

#[test]
fn a_damaged_store_ends_with_74_keeps_its_files_and_goes_on_from_a_backup() {
    let site = Site::without_limits("");
    site.simulator
        .faults()
        .add(FaultRule::on(Endpoint::Token, Fault::InvalidClient { status: 401 }));
    let service = site.run_ready();
    site.sign_in(0, 3);
    service.logs("Discord refused the application's credentials");
    until(Duration::from_secs(20), "three in the journal", || {
        site.json(&["debug", "queue", "list"])["total"] == 3
    });
    service.drain();
    let backup = tempfile::tempdir().expect("a folder");
    copy_folder(&site.path("data"), backup.path());

    fs::remove_file(site.path("data/journal/engine/write-ahead")).expect("damaged");
    let kept = format!("its files are kept in `{}", site.path("data/journal").display());
    let says = [
        "the journal cannot be opened: the journal is damaged: the file `",
        &kept,
        "restore the data folder from a backup, or move `",
    ];
    refused(&site, 74, &says);
    let (_, error) = exits(&site.codeferry(&["debug", "verify"]), 74);
    assert!(error.contains("the journal is damaged"), "{error}");

    fs::remove_dir_all(site.path("data")).expect("moved away");
    copy_folder(backup.path(), &site.path("data"));
    site.simulator.faults().clear();
    completes(&site, 3);
}
