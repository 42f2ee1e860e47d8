//! The removal of source messages.

use super::*;
use crate::port::later::Later;

fn deleting() -> Options {
    Options {
        after_receipt: AfterReceipt::Delete,
        ..Options::default()
    }
}

#[test]
fn a_source_message_goes_once_every_code_in_it_is_exchanged_or_dead() {
    paused(|| async {
        let site = Site::listening(&deleting());
        let redirect = |result| Redirect {
            time: START.as_secs(),
            result,
            state: None,
        };
        let redirects = [
            redirect(Err("access_denied".to_owned())),
            redirect(Ok("a-code-that-nobody-takes".to_owned())),
        ];
        let source_message = site.put(START, Some(WEBHOOK), v1::encode(BOT, &redirects, &key()));
        sleep(seconds(95)).await;
        assert_eq!(site.received().await, 2);
        assert_eq!(
            site.outside.ids(),
            [source_message],
            "the channel is the second copy of a live code"
        );
        sleep(seconds(10)).await;
        assert!(site.outside.ids().is_empty());
        assert_eq!(site.stats().await.source_messages, 0);
    });
}

#[test]
fn a_message_some_of_whose_lines_cannot_be_read_goes_once_these_would_be_dead_too() {
    paused(|| async {
        let site = Site::listening(&deleting());
        let denial = |state: &str| Redirect {
            time: START.as_secs(),
            result: Err("access_denied".to_owned()),
            state: Some(state.to_owned()),
        };
        let lines = [denial("-"), denial("of a later version")];
        let mixed = site.put(START, Some(WEBHOOK), v1::encode(BOT, &lines, &key()));
        sleep(seconds(99)).await;
        assert_eq!(site.received().await, 1);
        assert_eq!(
            site.outside.ids(),
            [mixed],
            "the line that could not be read may hold a live code"
        );
        sleep(seconds(10)).await;
        assert!(site.outside.ids().is_empty());
    });
}

#[test]
fn a_probe_that_was_left_behind_goes_once_a_code_would_be_dead() {
    paused(|| async {
        let site = Site::listening(&deleting());
        let left = site.put(START, Some(WEBHOOK), v1::encode_probe(BOT, START, &key()));
        sleep(seconds(99)).await;
        assert_eq!((site.received().await, site.outside.ids()), (0, vec![left]));
        sleep(seconds(100)).await;
        assert!(site.outside.ids().is_empty());
        assert_eq!(site.received().await, 0, "it is no grant");
    });
}

#[test]
fn unreadable_messages_of_the_own_webhook_go_once_they_are_dead_and_those_of_others_are_never_touched() {
    paused(|| async {
        let site = Site::listening(&deleting());
        let malformed = site.put(START, Some(WEBHOOK), "not a code".to_owned());
        let others = [
            site.put(START, None, site.code()),
            site.put(START, Some(WebhookId(WEBHOOK.0 + 1)), site.code()),
            site.put(START, Some(WebhookId(WEBHOOK.0 + 1)), "not a code".to_owned()),
        ];
        for id in others {
            site.bring(id).await;
        }
        sleep(seconds(99)).await;
        assert!(site.outside.ids().contains(&malformed), "its code may still live");
        sleep(seconds(100)).await;
        assert_eq!(site.outside.ids(), others);
        let removals: Vec<_> = site.outside.removals.borrow().iter().map(|(id, _)| *id).collect();
        assert_eq!(removals, [malformed]);
    });
}

#[test]
fn a_removal_that_fails_is_tried_again_at_growing_distances_until_it_is_done() {
    paused(|| async {
        let site = Site::listening(&deleting());
        let limited = BotError::Transient(Later {
            after: Some(seconds(50)),
            ..Later::because("Discord answered 429")
        });
        *site.outside.removal_errors.borrow_mut() = vec![limited, passing(), passing()];
        site.put(START, Some(WEBHOOK), denied());
        sleep(seconds(100)).await;
        let removals: Vec<_> = site.outside.removals.borrow().iter().map(|(_, at)| *at).collect();
        let waits: Vec<_> = removals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits.len(), 3, "{waits:?}");
        for (wait, least) in waits.iter().zip([1, 2, 50]) {
            assert!((seconds(least)..=seconds(least + 2)).contains(wait), "{waits:?}");
        }
        assert!(site.outside.ids().is_empty());
    });
}

#[test]
fn a_refused_removal_is_named_once_and_means_keep_without_piling_up() {
    let log = logged(|| {
        paused(|| async {
            let site = Site::listening(&deleting());
            let refused = BotError::Forbidden { code: 50013 };
            *site.outside.removal_errors.borrow_mut() = vec![refused; 100];
            let mut posted = Vec::new();
            for _ in 0..10 {
                posted.push(site.put(site.clock.now(), Some(WEBHOOK), denied()));
                sleep(seconds(20)).await;
            }
            assert_eq!(site.outside.ids(), posted);
            assert_eq!(site.outside.removals.borrow().len(), 1, "Discord has said no");
            assert_eq!(site.stats().await.source_messages, 0, "their records are settled");
        });
    });
    assert_eq!(log.matches("MANAGE_MESSAGES").count(), 1, "{log}");
}

#[test]
fn a_message_that_is_gone_already_is_removed() {
    paused(|| async {
        let site = Site::listening(&deleting());
        *site.outside.removal_errors.borrow_mut() = vec![BotError::NotFound { code: 10008 }];
        site.put(START, Some(WEBHOOK), denied());
        sleep(seconds(60)).await;
        assert_eq!(site.outside.removals.borrow().len(), 1);
        assert_eq!(site.stats().await.source_messages, 0);
    });
}

#[test]
fn spent_messages_are_marked_once_or_left_alone_as_configured() {
    for (after_receipt, marks) in [(AfterReceipt::React, 1), (AfterReceipt::Keep, 0)] {
        paused(|| async {
            let site = Site::listening(&Options {
                after_receipt,
                ..Options::default()
            });
            let code = site.post();
            sleep(seconds(200)).await;
            assert_eq!(site.outside.ids(), [code]);
            assert_eq!(site.outside.marks.borrow().len(), marks);
            assert!(site.outside.removals.borrow().is_empty());
        });
    }
}
