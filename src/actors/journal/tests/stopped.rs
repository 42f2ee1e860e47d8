//! What stops the journal: draining, refused credentials, a store that failed.

use super::*;
use crate::actors::journal::message::{Drain, OutstandingWork};
use crate::actors::journal::message::{ResumeExchange, Stalled};

#[test]
fn while_draining_no_code_is_claimed_or_begun_and_none_holds_a_revocation_up() {
    paused(async || {
        let site = Site::new(None);
        site.post([1]).await;
        complete(&site, 1).await;
        site.post([1]).await;
        let claimed = claim(&site, Task::Exchange, 1).await;
        site.journal.send(Drain).await.expect("it lives");
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Stale);
        assert_eq!(claim(&site, Task::Exchange, 1).await, []);
        let revoking = begun(&site, Task::Revoke).await;
        report(&site, revoking, Task::Revoke, Event::Revoked).await;
        let states: Vec<String> = site.open().await.into_iter().map(|view| view.state).collect();
        assert_eq!(states, ["received"], "it goes on at the next start");
    });
}

#[test]
fn a_code_on_the_wire_is_outstanding_as_a_token_is() {
    paused(async || {
        let site = Site::new(None);
        let outstanding = async || {
            let outstanding = site.journal.send(OutstandingWork).await.expect("it lives");
            (outstanding.tokens, outstanding.steps)
        };
        site.post([1]).await;
        assert_eq!(outstanding().await, (0, 0));
        let grant = begun(&site, Task::Exchange).await;
        assert_eq!(outstanding().await, (1, 1), "it may bring a token any moment");
        report(&site, grant, Task::Exchange, exchanged(grant)).await;
        assert_eq!(outstanding().await, (1, 0));
    });
}

#[test]
fn refused_credentials_stop_codes_and_nothing_else_until_they_work_again() {
    paused(async || {
        let site = Site::new(None);
        site.post([1]).await;
        let hints = watched(&site.journal, Task::Exchange).await;
        complete(&site, 1).await;
        site.post([2, 3]).await;
        let claimed = claim(&site, Task::Exchange, 1).await;
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Go);
        report(&site, claimed[0], Task::Exchange, Event::CredentialsRefused).await;
        assert!(site.journal.send(Stalled).await.expect("it lives"));
        sleep(SECOND).await;
        hints.set(0);
        assert_eq!(claim(&site, Task::Exchange, 2).await, []);
        sleep(SECOND).await;
        assert_eq!(hints.get(), 0);
        begun(&site, Task::Revoke).await;
        site.journal.send(ResumeExchange).await.expect("it lives");
        assert!(!site.journal.send(Stalled).await.expect("it lives"));
        sleep(SECOND / 10).await;
        assert!(hints.get() > 0);
        assert_eq!(claim(&site, Task::Exchange, 3).await.len(), 2, "the refused one too");
    });
}

#[test]
fn a_store_that_failed_stops_everything_that_must_be_written_down() {
    paused(async || {
        // The receipt of both, the intent of the first, its token.
        let site = Site::with(None, 10, Some(Fault::FullAtCommit(3)));
        site.post([1, 2]).await;
        let claimed = claim(&site, Task::Exchange, 2).await;
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Go);
        let report = Report {
            grant: claimed[0],
            task: Task::Exchange,
            event: exchanged(claimed[0]),
            data: None,
            failed: None,
        };
        let failed = |error: &JournalError| matches!(error, JournalError::Store(error) if error.is_disk_full());
        let kept = site.journal.send(report).await.expect("it lives");
        assert!(kept.as_ref().is_err_and(failed), "{kept:?}");
        let (grant, task) = (claimed[1], Task::Exchange);
        let begun = site.journal.send(Begin { grant, task }).await.expect("it lives");
        assert!(begun.as_ref().is_err_and(failed), "{begun:?}");
        let (slots, step) = (1, PhantomData);
        let leases = site.journal.send(Claim::<Fake> { task, slots, step }).await;
        assert!(leases.expect("it lives").as_ref().is_err_and(failed));
        let appended = site.append(vec![site.carried(3)]).await;
        assert!(appended.as_ref().is_err_and(failed), "{appended:?}");
        let outstanding = site.journal.send(OutstandingWork).await.expect("it lives");
        assert!(outstanding.failed.is_some());
    });
}

#[test]
fn what_could_not_be_stored_is_neither_acknowledged_nor_presented() {
    paused(async || {
        let full = |error: &JournalError| matches!(error, JournalError::Store(StoreError::Full));
        let site = Site::with(None, 10, Some(Fault::FullAtCommit(1)));
        let appended = site.append(vec![site.carried(1)]).await;
        assert!(appended.as_ref().is_err_and(full), "the receipt: {appended:?}");

        let site = Site::with(None, 10, Some(Fault::FullAtCommit(2)));
        site.post([1]).await;
        let (grant, task) = (claim(&site, Task::Exchange, 1).await[0], Task::Exchange);
        let begun = site.journal.send(Begin { grant, task }).await.expect("it lives");
        assert!(begun.as_ref().is_err_and(full), "the intent: {begun:?}");
    });
}

/// The governor's spending was once the first to find the disk full. The journal knew nothing of it: stages claimed, got
/// no permit, gave back and claimed again, as fast as they could, until the process ended.
#[test]
fn nothing_is_claimed_once_anybodys_commit_has_failed() {
    paused(async || {
        let site = Site::with(None, 10, Some(Fault::FullAtCommit(1)));
        assert_eq!(claim(&site, Task::Revoke, 1).await, []);
        let somebody_elses = crate::store::Change::MoveCursor {
            channel: crate::actors::test_support::CHANNEL,
            read_to: crate::ids::MessageId(1),
        };
        assert_eq!(site.store.commit(vec![somebody_elses]).await, Err(StoreError::Full));
        let (task, slots, step) = (Task::Revoke, 1, PhantomData);
        let refused = site.journal.send(Claim::<Fake> { task, slots, step }).await;
        let refused = refused.expect("it lives");
        assert!(matches!(refused, Err(JournalError::Store(StoreError::Full))));
    });
}
