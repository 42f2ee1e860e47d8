//! Single scenes in the world, in which everything is known beforehand.

use std::time::Duration;

use codeferry::grant::Outcome;

use super::faults::{Kind, Weather};
use super::run::{Report, World};
use super::script::{Act, LENGTH, Post, person};

fn at(ms: u64, act: Act) -> (Duration, Act) {
    (Duration::from_millis(ms), act)
}

fn approval(who: u64) -> Act {
    Act::Post(Post::Approval(person(who)))
}

/// Plays it; every promise holds, and every code completes.
#[track_caller]
fn all_complete(acts: Vec<(Duration, Act)>, codes: u64) -> Report {
    let report = World::new(1, acts).play();
    assert_eq!(report.broken, [""; 0]);
    assert_eq!(report.outcomes, [(Outcome::Completed, codes)].into());
    report
}

#[test]
fn in_fine_weather_every_code_is_presented_within_a_second() {
    let acts = (0..200).map(|n| at(1_000 + n * 2_500, approval(n))).collect();
    let report = all_complete(acts, 200);
    assert!(
        report.longest_wait < Duration::from_secs(1),
        "{:?}",
        report.longest_wait
    );
}

/// Revoking one's token kills the other's: neither fetch is cut off, whichever is slow.
#[test]
fn a_sign_in_while_another_of_the_same_person_is_in_flight_completes_and_so_does_that() {
    for slow in [Kind::ExchangeSlow, Kind::FetchSlow, Kind::RevokeSlow] {
        for apart in [1, 150, 300, 700, 1_500, 4_000, 9_000] {
            let acts = vec![
                at(0, Act::Weather(Weather::always(&[slow]))),
                at(1_000, approval(1)),
                at(1_000 + apart, approval(1)),
                at(1_000 + 2 * apart, approval(1)),
            ];
            let report = all_complete(acts, 3);
            assert!(
                report.longest_wait < Duration::from_mins(1),
                "{slow:?} {apart}: {:?}",
                report.longest_wait
            );
        }
    }
}

#[test]
fn somebody_who_clicks_every_two_seconds_starves_nobody_and_leaves_no_token() {
    let length = LENGTH.as_millis() as u64;
    let mut acts: Vec<_> = (0..length / 2_000).map(|n| at(n * 2_000, approval(1))).collect();
    let others = length / 7_000;
    acts.extend((0..others).map(|n| at(n * 7_000 + 333, approval(100 + n))));
    acts.sort_by_key(|(at, _)| *at);
    let codes = acts.len() as u64;
    let report = all_complete(acts, codes);
    assert!(
        report.longest_wait < Duration::from_secs(40),
        "{:?}",
        report.longest_wait
    );
}

/// A step of the wall clock once let every code that waited expire at once, and each that came after, for without an
/// exchange there was no answer that told Discord's time.
#[test]
fn no_code_dies_of_a_step_of_the_wall_clock() {
    let mut acts: Vec<_> = (0..40).map(|n| at(1_000 + n * 5_000, approval(n))).collect();
    acts.extend([
        at(29_000, Act::Step(3_600)),
        at(61_000, Act::Step(-7_200)),
        at(120_500, Act::Step(3_600)),
    ]);
    acts.sort_by_key(|(at, _)| *at);
    let report = all_complete(acts, 40);
    assert!(
        report.longest_wait < Duration::from_secs(2),
        "{:?}",
        report.longest_wait
    );
}

/// A panic in the probe of refused credentials once ended the actor that watches all the others: exchanges stayed paused,
/// and nothing could be drained.
#[test]
fn a_probe_that_panics_is_made_again() {
    let refused = Weather::always(&[Kind::Credentials, Kind::RevokePanic]);
    let mut acts = vec![at(0, Act::Weather(refused)), at(1_000, approval(1))];
    acts.push(at(150_000, Act::Weather(Weather::default())));
    acts.extend((0..5).map(|n| at(200_000 + n * 1_000, approval(n))));
    let report = World::new(1, acts).play();
    assert_eq!(report.broken, [""; 0]);
    assert_eq!(report.outcomes, [(Outcome::Completed, 5), (Outcome::Expired, 1)].into());
}

/// A reading of history that panicked once ended the listener, and nobody noticed: no code was read any more.
#[test]
fn a_listener_that_dies_ends_the_process_and_the_next_one_reads_on() {
    let mut acts = vec![at(
        5_000,
        Act::Weather(Weather::always(&[Kind::ListenerDied, Kind::NoteDropped])),
    )];
    acts.push(at(40_000, Act::Weather(Weather::default())));
    acts.extend((0..6).map(|n| at(8_000 + n * 9_000, approval(n))));
    acts.sort_by_key(|(at, _)| *at);
    all_complete(acts, 6);
}

/// The same with revocations that fail for a while: then that person's codes wait, and nobody else's.
#[test]
fn nobody_waits_for_another_persons_revocation() {
    let failing = Act::Weather(Weather::always(&[Kind::RevokeFailed]));
    let mut acts = vec![at(0, failing), at(120_000, Act::Weather(Weather::default()))];
    acts.extend((0..30).map(|n| at(n * 2_000, approval(n))));
    acts.sort_by_key(|(at, _)| *at);
    let report = all_complete(acts, 30);
    assert!(
        report.longest_wait < Duration::from_secs(2),
        "{:?}",
        report.longest_wait
    );
}
