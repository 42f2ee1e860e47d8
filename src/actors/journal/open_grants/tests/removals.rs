//! Removals of source messages are claimed by an index: once each, and again when their time has come.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::{Carried, OpenGrants, OpenGrantsRules};
use crate::grant::Policy;
use crate::ids::{ChannelId, Lane, MessageId};
use crate::intake::gate::GateRules;
use crate::store::{Loaded, SourceMessage};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_786_363_204);
const CHANNEL: ChannelId = ChannelId(1_536_000_000_000_000_002);

fn open_grants(loaded: Loaded) -> OpenGrants {
    let policy = Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: vec!["results".to_owned()],
        keep_parked: Duration::from_hours(1),
        reinvite: false,
    };
    let gate = GateRules::unlimited(policy.code_lifetime);
    let rules = OpenGrantsRules {
        policy,
        keep_messages: false,
        gate,
    };
    OpenGrants::new(loaded, rules, StdRng::seed_from_u64(1), NOW).0
}

fn claimed(open_grants: &mut OpenGrants, most: usize, now: Timestamp) -> Vec<u64> {
    open_grants
        .claim_removals(most, now)
        .iter()
        .map(|c| c.message.0)
        .collect()
}

#[test]
fn a_removal_is_claimed_once_and_again_only_when_its_time_has_come() {
    let mut open_grants = open_grants(Loaded::default());
    // Messages that were not understood carry no code: their removal is owed at once.
    let malformed = |n| Carried {
        unread_lines: false,
        message: MessageId(n),
        channel: CHANNEL,
        lane: Lane(0),
        redirects: Vec::new(),
    };
    let (_, changed) = open_grants.append((1..=3).map(malformed).collect(), NOW);
    assert_eq!(
        claimed(&mut open_grants, 5, NOW),
        [0_u64; 0],
        "not before it is on the disk"
    );
    open_grants.durable(&changed.grants, &changed.source_messages, NOW);
    assert_eq!(claimed(&mut open_grants, 2, NOW), [1, 2]);
    assert_eq!(claimed(&mut open_grants, 5, NOW), [3]);
    assert_eq!(claimed(&mut open_grants, 5, NOW), [0_u64; 0]);
    let later = NOW + Duration::from_secs(10);
    let changed = open_grants.removed(MessageId(1), Some(later));
    open_grants.durable(&changed.grants, &changed.source_messages, NOW);
    open_grants.removed(MessageId(2), None);
    assert_eq!(claimed(&mut open_grants, 5, NOW), [0_u64; 0]);
    assert_eq!(claimed(&mut open_grants, 5, later), [1]);
    assert_eq!(open_grants.source_messages(), 2);
}

#[test]
fn removals_that_were_owed_before_a_restart_are_claimed_after_it() {
    let source_message = |n, unspent| SourceMessage {
        message: MessageId(n),
        lane: Lane(0),
        channel: CHANNEL,
        unspent,
        attempts: 1,
        not_before: NOW,
    };
    let mut open_grants = open_grants(Loaded {
        source_messages: vec![source_message(1, 0), source_message(2, 1)],
        ..Loaded::default()
    });
    assert_eq!(claimed(&mut open_grants, 5, NOW), [1]);
}
