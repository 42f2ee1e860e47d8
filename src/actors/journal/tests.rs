//! The actor over a real store, in paused time.

use std::marker::PhantomData;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::grant::Policy;
use crate::ids::{ChannelId, MessageId};
use crate::store::{Change, Committer, Fault, StoreOptions, Sync, open};
use crate::testing::paused;
use crate::time::{Clock, VirtualClock};

/// The governor's spending was once the first to find the disk full. The journal knew nothing of it: stages claimed, got
/// no permit, gave back and claimed again, as fast as they could, until the process ended.
#[test]
fn nothing_is_claimed_once_anybodys_commit_has_failed() {
    paused(|| async {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = VirtualClock::starting_at(Timestamp::from_secs(1_786_363_204));
        let options = StoreOptions {
            sync: Sync::Counted,
            fault: Some(Fault::FullAtCommit(1)),
            reserve_bytes: 4_096,
            ..StoreOptions::new(folder.path().join("journal"), clock.clone())
        };
        let opened = open(&options).expect("it opens");
        let store = Committer::inline(opened.store);
        let policy = Policy {
            code_lifetime: Duration::from_secs(100),
            sinks: Vec::new(),
            keep_parked: Duration::from_hours(1),
        };
        let book = Book::new(opened.loaded, policy, false, StdRng::seed_from_u64(1), clock.now());
        let settings = Settings {
            store: store.clone(),
            clock,
            max_open: 10,
            closed_retention: Duration::from_hours(1),
            on_closed: None,
        };
        let journal = Journal::new(settings, book).start();
        let claim = || Claim::<crate::steps::Revoke> {
            task: Task::Revoke,
            slots: 1,
            step: PhantomData,
        };
        assert!(journal.send(claim()).await.expect("it lives").is_ok());
        let somebody_elses = Change::MoveCursor {
            channel: ChannelId(1),
            read_to: MessageId(1),
        };
        assert_eq!(store.commit(vec![somebody_elses]).await, Err(StoreError::Full));
        let refused = journal.send(claim()).await.expect("it lives");
        assert!(
            matches!(refused, Err(JournalError::Store(StoreError::Full))),
            "{:?}",
            refused.map(|leases| leases.len())
        );
    });
}
