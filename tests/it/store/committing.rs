//! The committer: order, group commit, one error for all, hangs.

use std::time::Duration;

use codeferry::grant::Outcome;
use codeferry::store::{Change, Committer, CommitterHandle, Fault, Health, StoreError, StoreOptions, Sync, open};
use futures_util::future::join_all;

use super::test_support::*;

fn committer(dir: &std::path::Path, fault: Option<Fault>, hung_after: Duration) -> CommitterHandle {
    let store = open(&StoreOptions { fault, ..options(dir) }).expect("opens").store;
    Committer::spawn(store, hung_after).expect("starts")
}

fn patient(dir: &std::path::Path, fault: Option<Fault>) -> CommitterHandle {
    committer(dir, fault, Duration::from_mins(1))
}

#[tokio::test]
async fn commits_take_effect_in_the_order_of_their_calls() {
    let dir = tempfile::tempdir().expect("folder");
    let handle = patient(dir.path(), None);
    // Every grant is put and closed, without waiting in between; reads in between see what came before them.
    let mut commits = Vec::new();
    let mut reads = Vec::new();
    for n in 0..300 {
        commits.push(handle.commit(vec![put(n), data(n, 40)]));
        if n % 50 == 0 {
            reads.push((n, handle.data(id(n)), handle.closed(id(n))));
        }
        commits.push(handle.commit(vec![Change::Close(closed(n, Outcome::Completed, NOON))]));
    }
    for result in join_all(commits).await {
        result.expect("commits");
    }
    for (n, data, closed) in reads {
        assert!(data.await.expect("reads").is_some(), "{n} was open then");
        assert!(closed.await.expect("reads").is_none(), "{n} was not closed then");
    }
    assert_eq!(
        handle.closed_totals().await.expect("counts").of(Outcome::Completed),
        300
    );
    assert_eq!(handle.verify().await.expect("verifies"), []);
    assert_eq!(handle.health(), Health::Fine);
    handle.close().await.expect("closes");
    assert_eq!(handle.commit(vec![put(1)]).await, Err(StoreError::Closed));
    assert_eq!(opened(dir.path()).loaded.closed, 300);
}

#[tokio::test]
async fn a_dropped_future_takes_nothing_back() {
    let dir = tempfile::tempdir().expect("folder");
    let handle = patient(dir.path(), None);
    drop(handle.commit(vec![put(1)]));
    handle.close().await.expect("closes");
    assert_eq!(opened(dir.path()).loaded.grants, [grant(1)]);
}

#[tokio::test]
async fn waiting_commits_share_their_syncs() {
    let dir = tempfile::tempdir().expect("folder");
    // The first commit hangs for a moment, so that all others wait together; the third transaction would fail.
    let fault = Some(Fault::HangAtCommit(1, Duration::from_millis(200)));
    let handle = patient(dir.path(), fault);
    let first = handle.commit(vec![put(0)]);
    let others: Vec<_> = (1..400).map(|n| handle.commit(vec![put(n)])).collect();
    first.await.expect("commits");
    for result in join_all(others).await {
        result.expect("commits");
    }
    handle.close().await.expect("closes");
    // The log's header counts commits; the first may have had company.
    let log = std::fs::read(dir.path().join("journal/engine/write-ahead")).expect("read");
    let base = |slot: usize| u64::from_be_bytes(log[slot + 24..slot + 32].try_into().expect("8 bytes"));
    assert!(base(0).max(base(4096)) <= 3, "{} {}", base(0), base(4096));
    assert_eq!(opened(dir.path()).loaded.grants.len(), 400);
}

#[tokio::test]
async fn a_full_disk_answers_everybody_frees_the_reserve_and_the_next_start_works() {
    for fault in [Fault::FullAtCommit(3), Fault::FullAtSyncOfCommit(3)] {
        let dir = tempfile::tempdir().expect("folder");
        let handle = patient(dir.path(), Some(fault));
        let reserve = dir.path().join("journal/reserve");
        assert!(reserve.exists());
        for n in 0..2 {
            handle.commit(vec![put(n)]).await.expect("commits");
        }
        assert!(handle.room().await.expect("asks").reserve_held);
        let e = handle.commit(vec![put(2)]).await.expect_err("full");
        assert!(e.is_disk_full(), "{e}");
        assert!(!reserve.exists());
        for result in join_all((3..9).map(|n| handle.commit(vec![put(n)]))).await {
            assert_eq!(result, Err(StoreError::Full));
        }
        assert_eq!(handle.data(id(0)).await, Err(StoreError::Full));
        assert_eq!(handle.health(), Health::Failed(StoreError::Full));
        assert_eq!(handle.close().await, Err(StoreError::Full), "it lets go of its files");
        let again = opened(dir.path());
        let kept = again.loaded.grants.len();
        assert!((2..=3).contains(&kept), "both acknowledged grants are there: {kept}");
        assert!(reserve.exists(), "the reserve is taken again");
    }
}

#[tokio::test]
async fn a_failed_sync_and_a_panic_stay_for_ever() {
    // Each commit syncs once. The first one also makes a key, in two.
    for fault in [1, 2, 3, 4]
        .map(Fault::FailSync)
        .into_iter()
        .chain([Fault::PanicAtCommit(2)])
    {
        let dir = tempfile::tempdir().expect("folder");
        let handle = patient(dir.path(), Some(fault));
        let mut acknowledged = Vec::new();
        let mut failed = None;
        for n in 0..4 {
            match handle.commit(vec![put(n)]).await {
                Ok(()) => acknowledged.push(id(n)),
                Err(e) => failed = Some(e),
            }
        }
        let failed = failed.expect("it failed");
        assert!(acknowledged.len() < 2, "{fault:?}");
        assert_eq!(handle.health(), Health::Failed(failed.clone()));
        assert_eq!(handle.newest_closed(9).await, Err(failed.clone()));
        assert_eq!(handle.close().await, Err(failed), "it lets go of its files");
        let loaded = opened(dir.path()).loaded;
        for id in acknowledged {
            assert!(loaded.grants.iter().any(|g| g.id == id), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_hung_commit_is_reported_and_everybody_who_waits_is_answered() {
    let dir = tempfile::tempdir().expect("folder");
    let hang = Duration::from_secs(2);
    let handle = committer(
        dir.path(),
        Some(Fault::HangAtCommit(2, hang)),
        Duration::from_millis(100),
    );
    handle.commit(vec![put(0)]).await.expect("commits");
    assert_eq!(handle.hung_for(), None);
    let mut health = handle.watch_health();
    let (first, second, read) = (
        handle.commit(vec![put(1)]),
        handle.commit(vec![put(2)]),
        handle.data(id(0)),
    );
    health.wait_for(|h| *h == Health::Hung).await.expect("reported");
    assert!(
        handle
            .hung_for()
            .is_some_and(|busy| busy >= Duration::from_millis(100) && busy < hang)
    );
    assert_eq!(first.await, Err(StoreError::Hung));
    assert_eq!(second.await, Err(StoreError::Hung));
    assert_eq!(read.await, Err(StoreError::Hung));
    assert_eq!(handle.health(), Health::Hung);
}

#[tokio::test(start_paused = true)]
async fn inline_commits_need_no_thread_and_no_time() {
    let dir = tempfile::tempdir().expect("folder");
    let opened_inline = open(&StoreOptions {
        sync: Sync::Counted,
        ..options(dir.path())
    })
    .expect("opens");
    let handle = Committer::inline(opened_inline.store);
    let before = tokio::time::Instant::now();
    for n in 0..50 {
        handle.commit(vec![put(n), data(n, 40)]).await.expect("commits");
    }
    assert!(handle.data(id(7)).await.expect("reads").is_some());
    assert_eq!(tokio::time::Instant::now(), before);
    let other = handle.clone();
    other.close().await.expect("closes");
    assert_eq!(handle.commit(vec![put(1)]).await, Err(StoreError::Closed));
    assert_eq!(opened(dir.path()).loaded.grants.len(), 50);
}
