//! A launch in virtual time: many people want to sign in at once, over every way in. The relay, the gate, the governor and
//! all other actors are the real ones; Discord, the browsers and the other relays are played.
//!
//! `just launch` plays it all and prints the table; the normal run plays the bursts.

mod hostile;
mod people;
mod play;
mod relays;

use std::time::Duration;

use self::play::{Came, people, play};

/// What stands between the browser and the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// The classic script: version 0, the bare id as state, one message every 2 s, no gate.
    Classic,
    /// Hookdeck with our script and our gate: one code a message, 28 a minute, first come, first served.
    Hookdeck,
    /// codeferry's own relay.
    Own,
}

/// One way in.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    name: &'static str,
    relay: Relay,
    lanes: usize,
    pack: u8,
}

const WAYS: [Way; 4] = [
    Way {
        name: "classic relay, no gate",
        relay: Relay::Classic,
        lanes: 1,
        pack: 1,
    },
    Way {
        name: "Hookdeck, gate, 1 lane",
        relay: Relay::Hookdeck,
        lanes: 1,
        pack: 1,
    },
    Way {
        name: "Hookdeck, gate, 3 lanes",
        relay: Relay::Hookdeck,
        lanes: 3,
        pack: 1,
    },
    Way {
        name: "own relay, gate, 1 lane",
        relay: Relay::Own,
        lanes: 1,
        pack: 18,
    },
];

/// When people come.
struct Load {
    name: &'static str,
    people: u32,
    over: Duration,
}

const BURST: Load = Load {
    name: "100 at once",
    people: 100,
    over: Duration::ZERO,
};
const STEADY: Load = Load {
    name: "45 a minute for 30 minutes",
    people: 1_350,
    over: Duration::from_mins(30),
};
const RUSH: Load = Load {
    name: "300 a minute for 5 minutes",
    people: 1_500,
    over: Duration::from_mins(5),
};

/// Plays a load over every way, prints the table, and holds what is promised against it.
fn launch(load: &Load) {
    println!(
        "\n{}\n{:<26} {:>7} {:>9} {:>10} {:>6} {:>13} {:>12} {:>10}",
        load.name, "", "links", "approved", "completed", "lost", "told to wait", "longest wait", "gave up"
    );
    for way in WAYS {
        let came = play(way, |crowd, random| people(crowd, random, load.people, load.over));
        println!("{:<26} {}", way.name, came.row(load.people));
        judge(way, load, &came);
    }
}

fn judge(way: Way, load: &Load, came: &Came) {
    let about = format!("{} over {}: {came:?}", load.name, way.name);
    assert_eq!(came.broken, Vec::<String>::new(), "{about}");
    assert!(came.approved > 0, "{about}");
    if way.relay == Relay::Classic {
        assert!(came.lost > 0, "nothing is to be mended where nothing is lost: {about}");
        return;
    }
    assert_eq!((came.lost, came.completed), (0, came.approved), "{about}");
    if way.relay == Relay::Own {
        assert!(came.worst_minute <= 30, "the channel's limit was overshot: {about}");
        assert_eq!((came.told, came.gave_up), (0, 0), "300 a minute are carried: {about}");
    }
}

#[test]
fn whoever_gets_a_link_and_approves_completes_in_a_burst_of_100() {
    launch(&BURST);
}

#[test]
fn whoever_gets_a_link_and_approves_completes_at_45_and_at_300_a_minute() {
    if std::env::var_os("CODEFERRY_SLOW").is_some() {
        launch(&STEADY);
        launch(&RUSH);
        return;
    }
    launch(&Load {
        name: "300 a minute for 40 s",
        people: 200,
        over: Duration::from_secs(40),
    });
}
