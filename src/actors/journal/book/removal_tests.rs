//! Removals of carrier messages are claimed by an index: once each, and again when their time has come.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Book, BookRules, Carried};
use crate::grant::Policy;
use crate::ids::{ChannelId, Lane, MessageId};
use crate::intake::gate::GateRules;
use crate::store::{Carrier, Loaded};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_786_363_204);
const CHANNEL: ChannelId = ChannelId(1_536_000_000_000_000_002);

fn book(loaded: Loaded) -> Book {
    let policy = Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: vec!["results".to_owned()],
        keep_parked: Duration::from_hours(1),
        reinvite: false,
    };
    let gate = GateRules::unlimited(policy.code_lifetime);
    let rules = BookRules {
        policy,
        keep_messages: false,
        gate,
    };
    Book::new(loaded, rules, StdRng::seed_from_u64(1), NOW).0
}

fn claimed(book: &mut Book, most: usize, now: Timestamp) -> Vec<u64> {
    book.claim_removals(most, now).iter().map(|c| c.message.0).collect()
}

#[test]
fn a_removal_is_claimed_once_and_again_only_when_its_time_has_come() {
    let mut book = book(Loaded::default());
    // Messages that were not understood carry no code: their removal is owed at once.
    let malformed = |n| Carried {
        message: MessageId(n),
        channel: CHANNEL,
        lane: Lane(0),
        redirects: Vec::new(),
    };
    let (_, changed) = book.append((1..=3).map(malformed).collect(), NOW);
    assert_eq!(claimed(&mut book, 5, NOW), [0_u64; 0], "not before it is on the disk");
    book.durable(&changed.grants, &changed.carriers, NOW);
    assert_eq!(claimed(&mut book, 2, NOW), [1, 2]);
    assert_eq!(claimed(&mut book, 5, NOW), [3]);
    assert_eq!(claimed(&mut book, 5, NOW), [0_u64; 0]);
    let later = NOW + Duration::from_secs(10);
    let changed = book.removed(MessageId(1), Some(later));
    book.durable(&changed.grants, &changed.carriers, NOW);
    book.removed(MessageId(2), None);
    assert_eq!(claimed(&mut book, 5, NOW), [0_u64; 0]);
    assert_eq!(claimed(&mut book, 5, later), [1]);
    assert_eq!(book.carriers(), 2);
}

#[test]
fn removals_that_were_owed_before_a_restart_are_claimed_after_it() {
    let carrier = |n, unspent| Carrier {
        message: MessageId(n),
        lane: Lane(0),
        channel: CHANNEL,
        unspent,
        attempts: 1,
        not_before: NOW,
    };
    let mut book = book(Loaded {
        carriers: vec![carrier(1, 0), carrier(2, 1)],
        ..Loaded::default()
    });
    assert_eq!(claimed(&mut book, 5, NOW), [1]);
}
