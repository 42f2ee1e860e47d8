//! The relay's own journal: lines that wait, callbacks that are known, posts that were made. The service's store in a folder
//! of its own, so that what was learnt about disks holds here too: a line is a grant that is never more than received.
//!
//! Codes are sealed under the hour's key, which is destroyed once its hour is over and nothing of it waits any more.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::queue::{EXPIRED, Waiting, Word};
use crate::grant::state::{Origin, Presentations, Requested};
use crate::grant::{ClosedGrant, Grant, Outcome, Reason, State};
use crate::ids::{ChannelId, CodeHash, MessageId, snowflake_at, snowflake_time};
use crate::secret::{AuthorizationCode, Key};
use crate::store::keys::{KeyError, code_hash_key};
use crate::store::{
    self, Change, Committer, CommitterHandle, Health, OpenError, SeenCode, Store, StoreError, StoreOptions,
};
use crate::time::{SharedClock, Timestamp};

/// How long a line that is settled leaves a trace: it only keeps the store's count.
const TRACE: Duration = Duration::from_mins(10);
/// A line has no message yet, but a record has an id there, of at least 17 digits.
const NO_MESSAGE: MessageId = MessageId(1_000_000_000_000_000_000);

/// Why the journal cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RelayJournalError {
    /// The store.
    #[error("the relay's journal cannot be opened")]
    Open(#[from] OpenError),
    /// The key of the hashes.
    #[error("the key that hashes codes cannot be read")]
    Key(#[from] KeyError),
    /// No thread.
    #[error("the store's thread cannot be started")]
    Thread(#[source] io::Error),
}

/// The journal, for everybody who changes it.
#[derive(Clone)]
pub struct RelayJournal {
    store: CommitterHandle,
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Lines that wait.
    pub waiting: Vec<Waiting>,
    /// Callbacks that are known.
    pub known: BTreeMap<CodeHash, Known>,
    /// Send times by budget.
    pub spending: BTreeMap<ChannelId, Vec<Timestamp>>,
    /// What the operator should know.
    pub notices: Vec<String>,
}

/// A callback that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// From then on a repetition would be refused, so it may be forgotten.
    pub until: Timestamp,
    /// Its state's nonce: which link it came from.
    pub nonce: [u8; 8],
}

/// Opens the journal in a folder, with the key under which callbacks are hashed.
pub fn open(
    folder: &Path,
    clock: SharedClock,
    hung_after: Duration,
) -> Result<(RelayJournal, Recovered, Key), RelayJournalError> {
    let (journal, found) = open_on_its_thread(&StoreOptions::new(folder.join("store"), clock), hung_after)?;
    let key = code_hash_key(folder)?;
    Ok((journal, found, key))
}

/// Opens it with a thread of its own.
pub fn open_on_its_thread(
    options: &StoreOptions,
    hung_after: Duration,
) -> Result<(RelayJournal, Recovered), RelayJournalError> {
    let (store, found) = read(options)?;
    let store = Committer::spawn(store, hung_after).map_err(RelayJournalError::Thread)?;
    Ok((RelayJournal { store }, found))
}

/// Opens it for virtual time: everything is done in the caller.
pub fn open_inline(options: &StoreOptions) -> Result<(RelayJournal, Recovered), OpenError> {
    let (store, found) = read(options)?;
    let store = Committer::inline(store);
    Ok((RelayJournal { store }, found))
}

fn read(options: &StoreOptions) -> Result<(Box<dyn Store>, Recovered), OpenError> {
    let opened = store::open(options)?;
    let found = Recovered {
        waiting: opened.loaded.grants.iter().filter_map(waiting).collect(),
        known: opened
            .loaded
            .codes
            .iter()
            .map(|seen| (seen.hash, known(seen)))
            .collect(),
        spending: opened.loaded.spending,
        notices: opened.notices,
    };
    Ok((opened.store, found))
}

impl RelayJournal {
    /// A new line, and the callback that brought it; both are on the disk when it answers.
    pub fn accept(&self, waiting: &Waiting, known: Known) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.store.commit(vec![
            Change::PutGrant(Box::new(grant(waiting))),
            Change::SeeCode(seen(waiting.hash, known)),
        ])
    }

    /// A line says something else from now on.
    pub fn rewrite(&self, waiting: &Waiting) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.store.commit(vec![Change::PutGrant(Box::new(grant(waiting)))])
    }

    /// Lines that are settled: what they held is erased.
    pub fn settle(
        &self,
        lines: &[Waiting],
        outcome: Outcome,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let changes = lines.iter().map(|w| {
            Change::Close(ClosedGrant {
                id: w.id,
                received_at: w.came_at,
                closed_at: now,
                lane: w.lane,
                outcome,
                reason: None,
            })
        });
        self.store.commit(changes.collect())
    }

    /// The send times of a budget, before the next post leaves.
    pub fn spend(
        &self,
        budget: ChannelId,
        sent_at: Vec<Timestamp>,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.store.commit(vec![Change::PutSpending {
            channel: budget,
            sent_at,
        }])
    }

    /// Callbacks that would be refused by now if they came again.
    pub fn forget(&self, codes: Vec<CodeHash>) -> impl Future<Output = Result<(), StoreError>> + use<> {
        self.store.commit(vec![Change::Forget {
            messages: Vec::new(),
            codes,
            nonces: Vec::new(),
        }])
    }

    /// Removes traces and destroys keys that nothing needs.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store.sweep(now - TRACE).await?;
        self.store.destroy_idle_keys(now).await.map(drop)
    }

    /// The error that ends the process, if there is one.
    pub fn failed(&self) -> Option<StoreError> {
        match self.store.health() {
            Health::Fine => None,
            Health::Hung => Some(StoreError::Hung),
            Health::Failed(error) => Some(error),
        }
    }

    /// Ends it cleanly.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

/// The store's record of a code that was read has two numbers: here they are a moment and a nonce.
fn seen(hash: CodeHash, known: Known) -> SeenCode {
    SeenCode {
        hash,
        message: MessageId(snowflake_at(known.until)),
        channel: ChannelId(u64::from_be_bytes(known.nonce)),
    }
}

fn known(seen: &SeenCode) -> Known {
    Known {
        until: snowflake_time(seen.message.0),
        nonce: seen.channel.0.to_be_bytes(),
    }
}

/// A line as the store keeps it: its word stands where a code would, as it is written into the message.
fn grant(waiting: &Waiting) -> Grant {
    let word = match &waiting.word {
        Word::Code(code) => code.clone(),
        Word::Denied(reason) => AuthorizationCode::new(format!("!{reason}")),
        Word::Expired => AuthorizationCode::new(format!("!{EXPIRED}")),
    };
    Grant {
        id: waiting.id,
        origin: Origin {
            lane: waiting.lane,
            message: NO_MESSAGE,
            index: 0,
        },
        received_at: waiting.came_at,
        deadline: waiting.deadline,
        redirected_at: Some(waiting.came_at),
        code_hash: Some(waiting.hash),
        requested: Requested {
            nonce: Some(waiting.nonce),
            raw: Some(waiting.state.clone()),
            ..Requested::default()
        },
        person: None,
        state: State::Received {
            code: word,
            presentations: Presentations::default(),
        },
    }
}

/// The line of a record; `None` for what this program never wrote.
fn waiting(grant: &Grant) -> Option<Waiting> {
    let State::Received { code, .. } = &grant.state else {
        return None;
    };
    let word = match code.expose().strip_prefix('!') {
        None => Word::Code(code.clone()),
        Some(EXPIRED) => Word::Expired,
        Some(reason) => Word::Denied(Reason::new(reason)),
    };
    Some(Waiting {
        id: grant.id,
        lane: grant.origin.lane,
        came_at: grant.received_at,
        deadline: grant.deadline,
        word,
        state: grant.requested.raw.clone()?,
        hash: grant.code_hash?,
        nonce: grant.requested.nonce?,
        alone: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GrantId, Lane};
    use crate::secret::RawState;
    use crate::store::Sync;
    use crate::time::SystemClock;

    fn line(n: u8, word: Word) -> Waiting {
        let at = Timestamp::from_millis(1_700_000_000_123);
        Waiting {
            id: GrantId::new(at, u128::from(n)),
            lane: Lane(3),
            came_at: at,
            deadline: at + Duration::from_secs(100),
            word,
            state: RawState::new("s1.state"),
            hash: CodeHash([n; 16]),
            nonce: [n; 8],
            alone: false,
        }
    }

    #[tokio::test]
    async fn what_the_relay_journals_is_found_again_and_what_is_settled_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = StoreOptions {
            sync: Sync::Counted,
            ..StoreOptions::new(folder.path().join("store"), SystemClock::shared())
        };
        let lines = [
            line(1, Word::Code(AuthorizationCode::new("CODE-THAT-IS-SEALED"))),
            line(2, Word::Denied(Reason::new("access_denied"))),
            line(3, Word::Expired),
        ];
        let until = Timestamp::from_millis(1_700_000_700_000);
        let known = Known { until, nonce: [9; 8] };
        {
            let (journal, found) = open_inline(&options).expect("opens");
            assert!(found.waiting.is_empty() && found.known.is_empty());
            for line in &lines {
                journal.accept(line, known).await.expect("kept");
            }
            journal.spend(ChannelId(7), vec![until]).await.expect("kept");
            journal
                .settle(&lines[1..2], Outcome::Denied, until)
                .await
                .expect("settled");
            journal.close().await.expect("closed");
        }
        let (journal, mut found) = open_inline(&options).expect("opens again");
        found.waiting.sort_by_key(Waiting::rank);
        assert_eq!(found.waiting, [lines[0].clone(), lines[2].clone()]);
        assert_eq!(found.known.len(), 3, "a repetition is known after it is posted too");
        assert!(found.known.values().all(|k| *k == known));
        assert_eq!(found.spending[&ChannelId(7)], [until]);
        journal
            .forget(found.known.keys().copied().collect())
            .await
            .expect("forgotten");
        journal.close().await.expect("closed");
        let bytes = std::fs::read(folder.path().join("store/engine/db")).expect("the engine's file");
        assert!(!bytes.windows(8).any(|w| w == b"CODE-THA"), "codes are sealed");
        let (_, found) = open_inline(&options).expect("opens again");
        assert!(found.known.is_empty());
    }
}
