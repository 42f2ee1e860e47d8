//! The one-person rule, as `Begin` tests it.

use super::*;

#[test]
fn an_exchange_does_not_begin_while_a_revocation_of_that_person_is_on_the_wire() {
    paused(async || {
        let site = Site::new(None);
        site.post([1]).await;
        complete(&site, 1).await;
        let revoking = begun(&site, Task::Revoke).await;
        site.post([1, 2]).await;
        let mut claimed = claim(&site, Task::Exchange, 2).await;
        let open = site.open().await;
        let person = |grant: GrantId| open.iter().find(|view| view.id == grant).and_then(|view| view.person);
        claimed.sort_by_key(|grant| person(*grant));
        assert_eq!(begin(&site, claimed[0], Task::Exchange).await, Begun::Stale);
        assert_eq!(
            begin(&site, claimed[1], Task::Exchange).await,
            Begun::Go,
            "other people notice nothing"
        );
        report(&site, revoking, Task::Revoke, Event::Revoked).await;
        // The revocation's end frees the code, before the half second is over.
        assert_eq!(begun(&site, Task::Exchange).await, claimed[0]);
    });
}

#[test]
fn a_revocation_does_not_begin_while_that_person_has_a_code_or_a_token_in_use() {
    paused(async || {
        let site = Site::new(None);
        site.post([1]).await;
        let first = complete(&site, 1).await;
        let revoke = async || {
            sleep(SECOND).await;
            let claimed = claim(&site, Task::Revoke, 2).await;
            begin(&site, claimed[0], Task::Revoke).await
        };
        site.post([1]).await;
        assert_eq!(revoke().await, Begun::Stale, "a code waits");
        let second = begun(&site, Task::Exchange).await;
        assert_eq!(revoke().await, Begun::Stale, "the code is on the wire");
        report(&site, second, Task::Exchange, exchanged(second)).await;
        assert_eq!(revoke().await, Begun::Stale, "its token is in use");
        assert_eq!(begun(&site, Task::Fetch).await, second);
        let fetched = Event::Fetched {
            person: UserId(PERSON + 1),
            missing: Vec::new(),
        };
        report(&site, second, Task::Fetch, fetched).await;
        sleep(SECOND).await;
        let claimed = claim(&site, Task::Revoke, 2).await;
        assert_eq!(begin(&site, claimed[0], Task::Revoke).await, Begun::Go);
        assert_eq!(
            begin(&site, claimed[1], Task::Revoke).await,
            Begun::Stale,
            "one serves both"
        );
        report(&site, claimed[0], Task::Revoke, Event::Revoked).await;
        assert_eq!(site.outcomes(), [Outcome::Completed; 2]);
        assert!(claimed.contains(&first) && claimed.contains(&second));
    });
}

#[test]
fn a_revocation_that_is_owed_for_20_s_goes_before_a_waiting_code() {
    paused(async || {
        let site = Site::new(None);
        site.post([1]).await;
        complete(&site, 1).await;
        let mut turns = Vec::new();
        for _ in 0..12 {
            sleep(SECOND * 2).await;
            site.post([1]).await;
            let code = claim(&site, Task::Exchange, 1).await[0];
            let revocation = claim(&site, Task::Revoke, 1).await[0];
            turns.push(begin(&site, revocation, Task::Revoke).await);
            if turns.ends_with(&[Begun::Go]) {
                assert_eq!(begin(&site, code, Task::Exchange).await, Begun::Stale);
                break;
            }
            site.journal
                .send(ReleaseStage(Task::Exchange))
                .await
                .expect("it lives")
                .expect("it works");
        }
        assert_eq!(turns.len(), 11, "at 22 s: {turns:?}");
    });
}
