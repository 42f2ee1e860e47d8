use proptest::prelude::*;

use super::*;
use crate::testing::minter;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn rules(packs: &[u8]) -> GateRules {
    GateRules {
        packs: packs.to_vec(),
        direct: false,
        webhook: Some((30, 5)),
        oauth_per_second: Some(10),
        code_lifetime: Duration::from_secs(100),
        share_permille: 800,
        links_per_person: 6,
    }
}

fn gate(packs: &[u8]) -> Gate {
    Gate::new(rules(packs), [], [])
}

/// What the journal would hold.
#[derive(Default)]
struct Kept {
    places: BTreeMap<[u8; 8], HeldPlace>,
    accounts: BTreeMap<UserId, Account>,
}

impl Kept {
    fn take(&mut self, gate: &mut Gate) {
        for change in gate.take_changes() {
            match change {
                GateChange::Hold(place) => drop(self.places.insert(place.token.nonce, place)),
                GateChange::Free(nonce) => drop(self.places.remove(&nonce)),
                GateChange::Keep(account) => drop(self.accounts.insert(account.user, account)),
                GateChange::Forget(user) => drop(self.accounts.remove(&user)),
            }
        }
    }

    fn reopened(&self, rules: GateRules) -> Gate {
        Gate::new(rules, self.places.values().copied(), self.accounts.values().cloned())
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
    gate.mint(&minter(), user(n), now, (n << 8 | nth).to_be_bytes())
}

/// Lets in as many people as the gate lets in, and tells their nonces.
fn fill(gate: &mut Gate, now: Timestamp) -> Vec<[u8; 8]> {
    let mut nonces = Vec::new();
    for n in 0.. {
        match ask(gate, n, 0, now) {
            Minted::New(_) => nonces.push((n << 8).to_be_bytes()),
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

fn after(minted: &Minted) -> Duration {
    match minted {
        Minted::Later { after } => *after,
        other => panic!("{other:?}"),
    }
}

fn is_new(minted: &Minted) -> bool {
    matches!(minted, Minted::New(_))
}

#[test]
fn no_more_links_are_out_than_can_be_carried_and_each_that_ends_makes_room_for_one() {
    let mut gate = gate(&[1]);
    let nonces = fill(&mut gate, NOW);
    assert_eq!((nonces.len(), gate.held()), (32, 32));
    assert!(gate.free(nonces[0]) && !gate.free(nonces[0]));
    assert!(is_new(&ask(&mut gate, 1000, 0, NOW)));
    assert!(matches!(ask(&mut gate, 1001, 0, NOW), Minted::Later { .. }));
}

#[test]
fn all_lanes_together_stay_within_what_can_be_exchanged() {
    assert_eq!(fill(&mut gate(&[18, 18]), NOW).len(), 340);
}

#[test]
fn links_go_to_the_lane_with_the_most_room_for_its_size() {
    let mut gate = gate(&[1, 3]);
    for n in 0..40 {
        assert!(is_new(&ask(&mut gate, n, 0, NOW)));
    }
    assert_eq!((gate.held_by(Lane(0)), gate.held_by(Lane(1))), (10, 30));
}

#[test]
fn a_lane_that_is_out_gets_no_link_and_comes_back() {
    let mut gate = gate(&[1, 1]);
    assert!(gate.set_lane(Lane(0), false) && !gate.set_lane(Lane(0), false));
    assert_eq!(fill(&mut gate, NOW).len(), 32);
    assert_eq!(gate.held_by(Lane(0)), 0);
    gate.set_lane(Lane(1), false);
    assert_eq!(ask(&mut gate, 500, 0, NOW), Minted::Later { after: NO_LANE });
    assert!(gate.set_lane(Lane(0), true));
    assert!(
        is_new(&ask(&mut gate, 500, 0, NOW)),
        "before its time, for there is room"
    );
}

#[test]
fn with_direct_intake_links_are_made_although_every_lane_is_out() {
    let mut gate = Gate::new(
        GateRules {
            direct: true,
            ..rules(&[1])
        },
        [],
        [],
    );
    fill(&mut gate, NOW);
    assert_eq!(gate.held(), 32, "codes may come by the lane");
    gate.set_lane(Lane(0), false);
    assert_eq!(
        gate.held() + (1000..2000).take_while(|n| is_new(&ask(&mut gate, *n, 0, NOW))).count(),
        340
    );
    assert!(
        after(&ask(&mut gate, 2000, 0, NOW)) > NO_LANE,
        "when a place is free, not when a lane works"
    );
}

#[test]
fn a_place_ends_when_nothing_can_come_of_the_link_any_more() {
    let mut gate = gate(&[1]);
    fill(&mut gate, NOW);
    // Half of them were made before the gate was busy. A code that was approved in the last moment lives 100 s more.
    for (end, left) in [(159, 32), (160, 16), (399, 16), (400, 0)] {
        gate.expire(NOW + Duration::from_secs(end));
        assert_eq!((gate.held(), gate.held_by(Lane(0))), (left, left), "after {end} s");
    }
    assert!(gate.by_person.is_empty() && gate.ending.is_empty());
}

#[test]
fn a_waiting_time_is_kept_for_each_user_and_moves_for_nobody() {
    let mut gate = gate(&[1]);
    fill(&mut gate, NOW);
    // One user was told to wait while the gate was filled. Sixteen places end after 160 s; each that is kept may be
    // used 30 s later, for 160 s. The other sixteen end after 400 s.
    let waits: Vec<u64> = (0..50)
        .map(|n| after(&ask(&mut gate, 1000 + n, 0, NOW)).as_secs())
        .collect();
    let expected = [vec![160; 15], vec![350; 16], vec![400; 16], vec![540; 3]].concat();
    assert_eq!(waits, expected);
    for again in 0..1000 {
        let now = NOW + Duration::from_millis(again);
        assert_eq!(after(&ask(&mut gate, 1001, 0, now)).as_secs(), 160);
    }
    assert_eq!(
        after(&ask(&mut gate, 2000, 0, NOW)).as_secs(),
        540,
        "asking often delays nobody"
    );
    let now = NOW + Duration::from_secs(160 + 30);
    assert!((0..15).all(|n| is_new(&ask(&mut gate, 1000 + n, 0, now))));
    assert!(
        matches!(ask(&mut gate, 1015, 0, now), Minted::Later { .. }),
        "its time has not come"
    );
}

#[test]
fn whoever_comes_before_the_time_told_gets_a_link_if_a_place_is_free_by_then() {
    let mut gate = gate(&[1]);
    let nonces = fill(&mut gate, NOW);
    assert_eq!(after(&ask(&mut gate, 1000, 0, NOW)).as_secs(), 160);
    gate.free(nonces[20]);
    assert!(is_new(&ask(&mut gate, 1000, 0, NOW + Duration::from_secs(1))));
}

#[test]
fn a_reservation_lapses_thirty_seconds_after_its_time() {
    let mut gate = gate(&[1]);
    fill(&mut gate, NOW);
    let told = NOW + after(&ask(&mut gate, 1000, 0, NOW));
    gate.expire(told + LAPSES_AFTER);
    assert_eq!(
        gate.reserved.len(),
        2,
        "the one who was told to wait while the gate was filled waits as well"
    );
    gate.expire(told + LAPSES_AFTER + Duration::from_millis(1));
    assert!(gate.reserved.is_empty());
}

#[test]
fn while_the_gate_is_busy_a_user_holds_one_place_and_new_links_live_a_minute() {
    let mut gate = gate(&[1]);
    let lives = |minted| match minted {
        Minted::New(link) => link.expires_at.expect("it expires").since(NOW).as_secs(),
        other => panic!("{other:?}"),
    };
    for n in 0..5 {
        for nth in 0..3 {
            assert_eq!(lives(ask(&mut gate, n, nth, NOW)), 300);
        }
    }
    assert_eq!(lives(ask(&mut gate, 5, 0, NOW)), 300);
    // Sixteen of 32 are held.
    assert_eq!(lives(ask(&mut gate, 6, 0, NOW)), 60);
    assert!(matches!(ask(&mut gate, 6, 1, NOW), Minted::Again(_)));
    let other = Wanted { purpose: 1, ..user(6) };
    assert_eq!(after(&gate.mint(&minter(), other, NOW, [9; 8])).as_secs(), 160);
}

#[test]
fn while_anybody_waits_the_gate_is_busy_however_many_places_are_free() {
    let mut gate = gate(&[1]);
    let nonces = fill(&mut gate, NOW);
    assert_eq!(after(&ask(&mut gate, 1000, 0, NOW)).as_secs(), 160);
    for nonce in nonces {
        assert!(gate.free(nonce));
    }
    assert!(is_new(&ask(&mut gate, 7, 0, NOW)));
    assert!(matches!(ask(&mut gate, 7, 1, NOW), Minted::Again(_)));
    gate.expire(NOW + Duration::from_secs(159));
    assert!(gate.is_busy(), "the waiting time that was told is not over");
    gate.expire(NOW + Duration::from_secs(191));
    assert!(!gate.is_busy());
}

#[test]
fn one_user_holds_three_places_at_most_and_then_gets_the_newest_link_again() {
    let mut gate = gate(&[18]);
    let mut urls = Vec::new();
    for nth in 0..3 {
        match ask(&mut gate, 7, nth, NOW + Duration::from_secs(nth)) {
            Minted::New(link) => urls.push(link.url),
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
    let refused = gate.mint(&minter(), other, NOW + Duration::from_secs(4), [9; 8]);
    assert_eq!(after(&refused).as_secs(), 398, "when the last of the three ends");
    assert!(!gate.is_busy(), "nobody waits for anybody else");
}

#[test]
fn a_user_gets_six_new_links_in_ten_minutes_and_then_a_place_is_kept() {
    let mut gate = gate(&[1]);
    for nth in 0..6 {
        let now = NOW + Duration::from_secs(10 * nth);
        assert!(is_new(&ask(&mut gate, 7, nth, now)));
        gate.free((7 << 8 | nth).to_be_bytes());
    }
    let now = NOW + Duration::from_mins(1);
    assert_eq!(after(&ask(&mut gate, 7, 6, now)).as_secs(), 540);
    assert!(is_new(&ask(&mut gate, 8, 0, now)), "others are not meant");
    assert!(is_new(&ask(&mut gate, 7, 6, now + Duration::from_mins(9))));
    let seventh = ask(&mut gate, 7, 7, now + Duration::from_secs(541));
    assert!(matches!(seventh, Minted::Again(_)), "the link that is still good");
}

#[test]
fn what_the_journal_held_counts() {
    let mut gate = gate(&[1]);
    let nonces = fill(&mut gate, NOW);
    let told = after(&ask(&mut gate, 1000, 0, NOW));
    let mut kept = Kept::default();
    kept.take(&mut gate);
    let mut again = kept.reopened(rules(&[1]));
    assert_eq!(after(&ask(&mut again, 1000, 0, NOW)), told);
    assert!(matches!(ask(&mut again, 1001, 0, NOW), Minted::Later { .. }));
    assert!(again.free(nonces[3]));
    assert!(is_new(&ask(&mut again, 1001, 0, NOW)));
}

#[test]
fn users_of_whom_nothing_counts_any_more_are_forgotten() {
    let (mut gate, mut kept) = (gate(&[1]), Kept::default());
    fill(&mut gate, NOW);
    ask(&mut gate, 1000, 0, NOW);
    kept.take(&mut gate);
    assert_eq!(kept.accounts.len(), 34);
    gate.forget(NOW + Duration::from_secs(599));
    kept.take(&mut gate);
    assert_eq!(
        (kept.accounts.len(), kept.places.len()),
        (32, 0),
        "their links still count"
    );
    gate.forget(NOW + Duration::from_mins(10));
    kept.take(&mut gate);
    assert!(kept.accounts.is_empty() && gate.accounts.is_empty());
}

#[test]
fn a_bare_id_holds_no_place() {
    let mut gate = gate(&[1]);
    let bare = Minter {
        mode: StateMode::UserId,
        ..minter()
    };
    for n in 0..100 {
        assert!(is_new(&gate.mint(&bare, user(n), NOW, [0; 8])));
    }
    assert_eq!((gate.held(), gate.take_changes()), (0, Vec::new()));
}

/// What a user does next.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Asks, for one of two purposes: early, late, or in time.
    Ask(u64, u8),
    /// The newest link of a user is over: it completed, was denied, or its code was refused.
    End(u64),
    Pass(u64),
    Restart,
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        8 => (0..60_u64, 0..2_u8).prop_map(|(n, purpose)| Does::Ask(n, purpose)),
        4 => (0..60_u64).prop_map(Does::End),
        3 => (0..60_000_u64).prop_map(Does::Pass),
        1 => Just(Does::Restart),
    ]
}

proptest! {
    /// Whatever they do, and however the service is restarted in between.
    #[test]
    fn whoever_comes_back_when_told_gets_a_link(all in prop::collection::vec(does(), 0..400), late in 0..29_000_u64) {
        // One lane of eight places.
        let rules = GateRules { share_permille: 200, ..rules(&[1]) };
        let places = rules.lane_places(Lane(0));
        let (mut gate, mut kept) = (Gate::new(rules.clone(), [], []), Kept::default());
        let (mut now, mut nonce) = (NOW, 0_u64);
        // Honest users come when they were told to, up to 30 s late: every third one.
        let mut told: BTreeMap<Timestamp, BTreeSet<u64>> = BTreeMap::new();
        let mut made: BTreeMap<u64, Vec<Timestamp>> = BTreeMap::new();
        for does in all {
            let mut asks = Vec::new();
            match does {
                Does::Ask(n, purpose) => asks.push((now, n, purpose, false)),
                Does::End(n) => {
                    let newest = gate.by_person.get(&user(n).user).and_then(|theirs| theirs.last().copied());
                    newest.map(|(_, nonce)| gate.free(nonce));
                }
                Does::Pass(ms) => {
                    now = now + Duration::from_millis(ms);
                    while let Some(due) = told.first_entry().filter(|due| *due.key() <= now) {
                        let (at, users) = due.remove_entry();
                        asks.extend(users.into_iter().map(|n| (at, n, 0, true)));
                    }
                    gate.forget(asks.first().map_or(now, |(at, ..)| *at));
                }
                Does::Restart => gate = kept.reopened(rules.clone()),
            }
            for (at, n, purpose, was_told) in asks {
                nonce += 1;
                gate.expire(at);
                let (waits, holds) = (gate.is_busy(), gate.places_of(user(n).user));
                let minted = gate.mint(&minter(), Wanted { purpose, ..user(n) }, at, nonce.to_be_bytes());
                match &minted {
                    Minted::New(link) => {
                        let lives = link.expires_at.expect("it expires").since(at);
                        prop_assert!(!waits || (lives <= BUSY_LIFETIME && holds == 0), "{lives:?}, holds {holds}");
                        made.entry(n).or_default().push(at);
                        for users in told.values_mut() {
                            users.remove(&n);
                        }
                    }
                    Minted::Again(_) => prop_assert!(holds > 0),
                    Minted::Later { after } => {
                        prop_assert!(!was_told, "{n} was told to come at {at:?}, and then in {after:?}");
                        if n % 3 == 0 && !told.values().any(|users| users.contains(&n)) {
                            told.entry(at + *after + Duration::from_millis(late)).or_default().insert(n);
                        }
                    }
                }
                prop_assert!(gate.held() <= places);
                kept.take(&mut gate);
            }
            kept.take(&mut gate);
        }
        for times in made.values() {
            let within = |at: &Timestamp| times.iter().filter(|t| *t <= at && at.since(**t) < COUNTED).count();
            prop_assert!(times.iter().all(|at| within(at) <= 6));
        }
    }
}
