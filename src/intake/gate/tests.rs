use super::*;
use crate::testing::minter;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn rules(packs: &[u8]) -> GateRules {
    GateRules {
        packs: packs.to_vec(),
        webhook: Some((30, 5)),
        oauth_per_second: Some(10),
        code_lifetime: Duration::from_secs(100),
        share_permille: 800,
    }
}

fn user(n: u64) -> Wanted {
    Wanted {
        user: UserId(80_000_000_000_000_000 + n),
        purpose: 0,
        again: false,
    }
}

fn ask(gate: &mut Gate, n: u64, nth: u64, now: Timestamp) -> Minted {
    gate.mint(&minter(), user(n), 0, now, (n << 8 | nth).to_be_bytes())
}

/// Lets in as many people as the gate lets in, and tells their nonces.
fn fill(gate: &mut Gate, now: Timestamp) -> Vec<[u8; 8]> {
    let mut nonces = Vec::new();
    for n in 0.. {
        match ask(gate, n, 0, now) {
            Minted::New(_, Some(place)) => nonces.push(place.token.nonce),
            _ => break,
        }
    }
    nonces
}

#[test]
fn the_room_is_what_the_limits_leave() {
    // 0.8 x 1 x (5 + 25/60 x 85) and 0.8 x 10/2 x 85.
    assert_eq!(rules(&[1]).lane_places(Lane(0)), 32);
    assert_eq!(rules(&[18]).lane_places(Lane(0)), 582);
    assert_eq!(rules(&[1]).all_places(), 340);
    let off = GateRules::unlimited(Duration::from_secs(100));
    assert_eq!((off.lane_places(Lane(0)), off.all_places()), (usize::MAX, usize::MAX));
    let tiny = GateRules {
        share_permille: 1,
        ..rules(&[1])
    };
    assert_eq!((tiny.lane_places(Lane(0)), tiny.all_places()), (1, 1));
    let short = GateRules {
        code_lifetime: Duration::from_secs(10),
        ..rules(&[1])
    };
    assert_eq!(short.lane_places(Lane(0)), 4, "only the burst is in time");
}

#[test]
fn no_more_links_are_out_than_can_be_carried_and_each_that_comes_back_makes_room_for_one() {
    let mut gate = Gate::new(rules(&[1]), []);
    let nonces = fill(&mut gate, NOW);
    assert_eq!((nonces.len(), gate.held()), (32, 32));
    assert!(gate.free(nonces[0]) && !gate.free(nonces[0]));
    assert!(matches!(ask(&mut gate, 1000, 0, NOW), Minted::New(..)));
    assert!(matches!(ask(&mut gate, 1001, 0, NOW), Minted::Later { .. }));
}

#[test]
fn all_lanes_together_stay_within_what_can_be_exchanged_with_those_who_wait_already() {
    let mut gate = Gate::new(rules(&[18, 18]), []);
    assert_eq!(fill(&mut gate, NOW).len(), 340);
    let mut gate = Gate::new(rules(&[18]), []);
    let refused = gate.mint(&minter(), user(1), 340, NOW, [1; 8]);
    assert!(matches!(refused, Minted::Later { .. }));
    assert!(matches!(
        gate.mint(&minter(), user(1), 339, NOW, [1; 8]),
        Minted::New(..)
    ));
}

#[test]
fn links_go_to_the_lane_with_the_most_room_for_its_size() {
    let mut gate = Gate::new(rules(&[1, 3]), []);
    for n in 0..40 {
        assert!(matches!(ask(&mut gate, n, 0, NOW), Minted::New(..)));
    }
    assert_eq!((gate.held_by(Lane(0)), gate.held_by(Lane(1))), (10, 30));
}

#[test]
fn a_lane_that_is_out_gets_no_link_and_comes_back() {
    let mut gate = Gate::new(rules(&[1, 1]), []);
    assert!(gate.set_lane(Lane(0), false) && !gate.set_lane(Lane(0), false));
    assert_eq!(fill(&mut gate, NOW).len(), 32);
    assert_eq!(gate.held_by(Lane(0)), 0);
    gate.set_lane(Lane(1), false);
    assert_eq!(ask(&mut gate, 500, 0, NOW), Minted::Later { after: NO_LANE });
    assert!(gate.set_lane(Lane(0), true));
    assert!(matches!(ask(&mut gate, 500, 0, NOW), Minted::New(..)));
}

#[test]
fn a_place_ends_when_nothing_can_come_of_the_link_any_more() {
    let mut gate = Gate::new(rules(&[1]), []);
    fill(&mut gate, NOW);
    assert!(gate.expire(NOW + Duration::from_secs(399)).is_empty());
    // Expiry after 5 min, and a code that was approved in the last moment lives 100 s more.
    assert_eq!(gate.expire(NOW + Duration::from_secs(400)).len(), 32);
    assert_eq!((gate.held(), gate.held_by(Lane(0))), (0, 0));
    assert!(gate.by_person.is_empty() && gate.ending.is_empty());
}

#[test]
fn who_is_told_to_wait_is_told_a_moment_of_their_own_and_keeps_it() {
    let mut gate = Gate::new(rules(&[1]), []);
    fill(&mut gate, NOW);
    let waits: Vec<u64> = (0..100)
        .map(|n| match ask(&mut gate, 1000 + n, 0, NOW) {
            Minted::Later { after } => after.as_secs(),
            other => panic!("{other:?}"),
        })
        .collect();
    // 25 a minute: one in 2.4 s. One was told so while the gate was filled.
    assert_eq!(waits[..4], [5, 8, 10, 12]);
    assert!(waits.iter().all(|wait| *wait <= 400), "{waits:?}");
    for _ in 0..1000 {
        let again = ask(&mut gate, 1001, 0, NOW + Duration::from_secs(2));
        assert_eq!(
            again,
            Minted::Later {
                after: Duration::from_secs(6)
            }
        );
    }
    let next = ask(&mut gate, 2000, 0, NOW);
    assert_eq!(
        next,
        Minted::Later {
            after: Duration::from_secs(245)
        }
    );
}

#[test]
fn one_person_holds_three_places_at_most_and_then_gets_the_newest_link_again() {
    let mut gate = Gate::new(rules(&[1]), []);
    let mut urls = Vec::new();
    for nth in 0..3 {
        match ask(&mut gate, 7, nth, NOW + Duration::from_secs(nth)) {
            Minted::New(link, Some(_)) => urls.push(link.url),
            other => panic!("{other:?}"),
        }
    }
    for nth in 3..200 {
        match ask(&mut gate, 7, nth, NOW + Duration::from_secs(4)) {
            Minted::Again(link) => assert_eq!(link.url, urls[2]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gate.held(), 3);
    let other = Wanted { purpose: 1, ..user(7) };
    let refused = gate.mint(&minter(), other, 0, NOW + Duration::from_secs(4), [9; 8]);
    assert_eq!(
        refused,
        Minted::Later {
            after: Duration::from_secs(396)
        }
    );
}

#[test]
fn what_the_journal_held_counts() {
    let mut gate = Gate::new(rules(&[1]), []);
    let nonces = fill(&mut gate, NOW);
    let held: Vec<HeldPlace> = gate.places.values().copied().collect();
    let mut again = Gate::new(rules(&[1]), held);
    assert!(matches!(ask(&mut again, 1000, 0, NOW), Minted::Later { .. }));
    assert!(again.free(nonces[3]));
    assert!(matches!(ask(&mut again, 1000, 0, NOW), Minted::New(..)));
}

#[test]
fn a_bare_id_holds_no_place() {
    let mut gate = Gate::new(rules(&[1]), []);
    let bare = Minter {
        mode: StateMode::UserId,
        ..minter()
    };
    for n in 0..100 {
        assert!(matches!(
            gate.mint(&bare, user(n), 0, NOW, [0; 8]),
            Minted::New(_, None)
        ));
    }
}
