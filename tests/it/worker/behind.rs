//! What a link's owner makes up does not stand in the way of others, in the Worker as in the relay.

use super::cloud::{Cloud, START, callback, code, link, state};
use super::plan::codes;

/// Codes in the order in which they were posted, one a message, after one that goes at once.
fn order(pack: u8, paths: &[String]) -> Vec<String> {
    let cloud = Cloud::new(1, pack);
    cloud.visit("first", START, &callback(99, 0));
    for (n, path) in (1..).zip(paths) {
        cloud.visit(&n.to_string(), START + n, path);
    }
    cloud.run(START + 90_000);
    let posted = codes(&cloud).into_iter().skip(1);
    let short = posted.map(|(_, code)| code.trim_start_matches('0').to_owned());
    short.collect()
}

fn path(code: &str, state: &str) -> String {
    format!("/callback?code={code}&state={state}")
}

#[test]
fn of_a_links_codes_one_is_posted_and_later_ones_after_everybody_elses_first() {
    let made_up = [101, 102].map(|n| path(&code(n), &state(1, 0, START / 1_000 + 600)));
    let denied = state(2, 0, START / 1_000 + 600);
    let deny = format!("/callback?error=access_denied&state={denied}");
    let approve = path(&code(103), &denied);
    let paths = [
        vec![callback(1, 0)],
        made_up.into(),
        vec![deny, approve, callback(3, 0)],
    ]
    .concat();
    assert_eq!(order(1, &paths), ["1", "3", "101", "102", "103"]);
}

#[test]
fn what_comes_after_its_links_end_waits_behind() {
    let ended = |seconds: u64| state(seconds, 0, START / 1_000 - seconds);
    let paths = [path(&code(1), &ended(15)), path(&code(2), &ended(14)), callback(3, 0)];
    assert_eq!(order(1, &paths), ["2", "3", "1"]);
}

#[test]
fn a_line_that_takes_the_room_of_others_waits_behind_them() {
    let long = [
        path(&format!("{:0512}", 7), &state(7, 0, START / 1_000 + 600)),
        callback(3, 0),
    ];
    assert_eq!(order(18, &long), ["3", "7"]);
    assert_eq!(order(1, &long), ["7", "3"], "alone, it takes nobody's room");
}

#[test]
fn made_up_codes_take_nobodys_room() {
    let cloud = Cloud::new(1, 1);
    for n in 0..30 {
        let state = link(1, 1_000 + n / 3, 0, START / 1_000 + 600);
        cloud.visit(&(1_000 + n).to_string(), START, &path(&code(1_000 + n), &state));
    }
    for person in 0..25 {
        cloud.visit(&person.to_string(), START + 1_000, &callback(person, 0));
    }
    cloud.run(START + 90_000);
    let seen = cloud.seen();
    assert!((0..25).all(|n: u32| seen[&n.to_string()].page() == "success"));
    let honest = codes(&cloud)
        .into_iter()
        .filter(|(_, code)| code.len() - code.trim_start_matches('0').len() > 26);
    assert_eq!(honest.filter(|(at, _)| at - START < 86_000).count(), 25);
}
