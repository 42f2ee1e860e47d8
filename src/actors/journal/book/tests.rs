//! The journal's memory where no actor is needed to see it.

use rand::SeedableRng;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_786_363_204);

fn book() -> Book {
    let policy = Policy {
        code_lifetime: Duration::from_secs(100),
        sinks: vec!["results".to_owned()],
        keep_parked: Duration::from_hours(168),
    };
    Book::new(Loaded::default(), policy, false, StdRng::seed_from_u64(1), NOW).0
}

/// A denial is spent from the start, and the channel holds the only other copy of it. A message was once removed while
/// its receipt was still on the way to the disk: a kill at that moment left no trace of it anywhere.
#[test]
fn a_message_is_not_removed_before_what_it_brought_is_durable() {
    let mut book = book();
    let denied = Carried {
        message: MessageId(1_536_343_372_988_416_000),
        channel: ChannelId(1),
        lane: Lane(0),
        redirects: vec![Redirected {
            redirected_at: None,
            result: Err(Reason::new("access_denied")),
            requested: Ok(Requested::default()),
        }],
    };
    let (_, changed) = book.append(vec![denied], NOW);
    assert_eq!(book.claim_removals(4, NOW), []);
    book.durable(&changed.grants, &changed.carriers, NOW);
    assert_eq!(book.claim_removals(4, NOW).len(), 1);
}
